//! Countersign: an authenticating reverse proxy that stands in front of an unchanged backend.
//!
//! ```text
//! bytes in → request facts → classification → verification → decision → enforcement → forward → audit, metrics
//! proxy      request         rules            signature      policy     policy        proxy     telemetry
//! ```
//!
//! Pure modules, in the order of the flow; each imports only modules to its left and never an edge:
//!
//! | module | the question it answers |
//! |---|---|
//! | [`request`] | What was sent? |
//! | [`signature`] | Who sent it, provably? |
//! | [`rules`] | Which rules apply? |
//! | [`policy`] | What do we do about it? |
//!
//! Edges, named by the other side: [`clock`] (time and chance), [`config`] (the operator's wishes), [`keys`]
//! (secrets kept elsewhere), [`proxy`] and [`upstream`] (the network), [`telemetry`] and [`admin`] (those who
//! watch), [`systemd`] (the service manager), [`cli`] (the operator's hands), [`app`] (wiring).
//!
//! Invariants, kept by `tests/integration/architecture.rs`: pure modules import no edge and only leftward; every
//! module has a doc; no source file is longer than its limit.
//!
//! Deliberately absent: a hyper server on the forwarding path. hyper hides from its service what a verifier must
//! see (a fragment in the target, `Content-Length` beside `Transfer-Encoding`, bare LF), so the path from socket to
//! socket is our own, strict, HTTP/1.1 codec in [`proxy`]; see `proxy/mod.rs`.

pub mod policy;
pub mod request;
pub mod rules;
pub mod signature;

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod keys;
pub mod proxy;
pub mod snapshot;
pub mod systemd;
pub mod telemetry;
pub mod upstream;
pub mod wire;
