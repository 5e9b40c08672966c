//! The network on the downstream side: accept, read strictly, judge, forward, answer.
//!
//! The HTTP/1.1 codec here is our own on both sides, not hyper's. A verifier must see what hyper hides from its service
//! (fragments cut, `Content-Length` beside `Transfer-Encoding` removed, duplicate lengths collapsed, bare LF accepted),
//! so a strict reader is needed under it in any case; with it, hyper's second reading of the same bytes adds cost,
//! holds 12 KiB per idle connection, hides how many answer bytes came (retries), swallows 1xx, and cannot carry a
//! target byte for byte. One task serves a connection and both directions of its exchange; nothing is spawned per request.

use crate::config::Inbound;
use crate::policy::failure_limit::FailureLimit;
use crate::policy::replay::ReplayTable;
use crate::snapshot::SnapshotCell;
use crate::telemetry::audit::AuditQueue;
use crate::telemetry::metrics::Metrics;
use crate::upstream::health::UpstreamHealth;
use std::sync::Arc;
use std::time::Duration;

/// What every worker shares. Only snapshots, the failure limit and the replay table are touched per request by more
/// than one worker.
pub struct Shared {
    /// Configuration, keys, enforcement.
    pub snapshot: Arc<SnapshotCell>,
    /// Refusals per client address.
    pub failure_limit: Arc<FailureLimit>,
    /// Signatures seen.
    pub replay: Arc<ReplayTable>,
    /// The sampling salt: random, made once, kept in the state directory.
    pub salt: [u8; 32],
    /// Where audit records go.
    pub audit: AuditQueue,
    /// Counters; each worker takes its own shard.
    pub metrics: Arc<Metrics>,
}

/// A bound, listening socket.
#[derive(Debug)]
pub enum BoundListener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix; peers are known by uid.
    Unix(std::os::unix::net::UnixListener),
}

/// One listening socket, and what is behind it.
#[derive(Debug)]
pub struct Listener {
    /// Where connections come from.
    pub socket: BoundListener,
    /// The place in [`Config::inbound`](crate::config::Config::inbound) of every generation: a reload may change its
    /// trusted proxies and timeouts, never its address or its place.
    pub inbound: usize,
    /// What it guards, as configured at start.
    pub guards: Arc<Inbound>,
    /// What is known of the upstream: a worker that cannot reach it says so.
    pub health: Arc<UpstreamHealth>,
}

/// The running proxy: one acceptor, and the workers it feeds.
pub struct Proxy {}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections still in use when the deadline came; they were cut.
    pub cut: usize,
}

impl Proxy {
    /// Starts worker threads and the acceptor; connections are taken from now on.
    ///
    /// # Errors
    /// When a thread, a runtime or a socket registration cannot be made.
    pub fn start(_shared: Arc<Shared>, _listeners: Vec<Listener>, _workers: usize) -> std::io::Result<Proxy> {
        unimplemented!()
    }

    /// Stops accepting, lets requests in flight finish (keep-alive connections end after their answer), cuts what is
    /// left at the deadline.
    pub async fn drain(&self, _deadline: Duration) -> Drained {
        unimplemented!()
    }

    /// Did the accept loop turn lately? What the watchdog asks.
    pub fn accepting(&self) -> bool {
        unimplemented!()
    }
}
