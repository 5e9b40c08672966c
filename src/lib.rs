//! Countersign: an authenticating reverse proxy that stands in front of an unchanged backend.
//!
//! ```text
//! bytes in → request facts → classification → verification → decision → enforcement → forward → audit, metrics
//! proxy      request         rules            signature      policy     policy        proxy     telemetry
//! ```
//!
//! What leaves this machine takes a shorter way: request facts, whether it may leave and where to ([`policy::outbound`]), the
//! signature, and then the same forwarding and audit.
//!
//! Pure modules, in the order of the flow; none imports an edge:
//!
//! | module | the question it answers | may import |
//! |---|---|---|
//! | [`request`] | What was sent? | |
//! | [`rules`] | Which rules apply? | `request`, `signature` |
//! | [`signature`] | Who sent it, provably? | `request` |
//! | [`policy`] | What do we do about it? | all of them |
//! | [`rollout`] | Where does the rollout stand, and what may happen next? | all of them |
//!
//! Classification comes before verification, because most requests need no proof; yet `rules` imports
//! [`signature::key`], since a rule names its callers by service id. `signature` knows no rules.
//!
//! Edges, named by the other side: [`clock`] (time and chance), [`config`] (the operator's wishes), [`keys`]
//! and [`state`] (secrets and state kept elsewhere), [`wire`] (bytes on sockets), [`tls`] (certificates and
//! handshakes), [`proxy`] and [`upstream`] (the network, downstream and
//! upstream), [`telemetry`] and [`admin`] (those who watch), [`systemd`] (the service manager), [`cli`] (the operator's
//! hands), [`explain`] (a request's fate, told beforehand), [`app`] (wiring). [`snapshot`] holds what one request is judged by: configuration, keys and enforcement of one
//! generation.
//!
//! Where a doc says *the contract*, it means the promises on the wire that callers, upstreams and operators rely on, in
//! log mode and out of it: README, "What happens to a request".
//!
//! Invariants, kept by `tests/integration/architecture.rs`: pure modules import what the table allows and no edge; every
//! module has a doc of at least a sentence; no source file is longer than its limit.
//!
//! Deliberately absent: a hyper server on the forwarding path. hyper hides from its service what a verifier must
//! see (a fragment in the target, `Content-Length` beside `Transfer-Encoding`, bare LF), so the path from socket to
//! socket is our own, strict HTTP/1.1 codec: heads in [`request::head`], body framing in [`request::framing`], answers in
//! [`upstream::answer`], and bodies from socket to socket in [`wire`]; `proxy/mod.rs` says why. HTTP/2 is no second codec: its
//! frames are the `h2` crate's, and each stream passes through this one, on both sides (`proxy/h2`, `upstream/h2`).

pub mod policy;
pub mod request;
pub mod rollout;
pub mod rules;
pub mod signature;

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod explain;
pub mod keys;
pub mod proxy;
pub mod snapshot;
pub mod state;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod wire;
