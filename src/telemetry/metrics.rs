//! Counters per worker, merged when read; the exposition.

use crate::policy::decision::Decision;
use std::sync::Arc;

/// All counters: one shard per worker, merged when read.
#[derive(Debug)]
pub struct Metrics {}

/// One worker's counters. Relaxed atomics that only this worker writes.
#[derive(Debug)]
pub struct WorkerMetrics {}

/// Which upstream fault answered 502, 503 or 504; the code in `X-Countersign-Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamFault {
    /// Nothing listens, or the connection could not be made: 502 `upstream_unreachable`.
    Unreachable,
    /// Connecting took too long: 504 `upstream_connect_timeout`.
    ConnectTimeout,
    /// No first byte of the answer in time: 504 `upstream_timeout`.
    FirstByteTimeout,
    /// The connection ended before a whole head came: 502 `upstream_closed`.
    Closed,
    /// What came is not an acceptable answer: 502 `upstream_invalid_answer`.
    InvalidAnswer,
    /// Too many requests in flight: 503 `upstream_busy`.
    Busy,
}

impl Metrics {
    /// The shard of worker `index`.
    pub fn worker(&self, _index: usize) -> Arc<WorkerMetrics> {
        unimplemented!()
    }
}

impl WorkerMetrics {
    /// One decision about a readable request. `claimed`: the well-formed id it claimed, if any. `auth_nanos`: what the
    /// checks took (service paths only).
    pub fn decided(&self, _decision: &Decision, _claimed: Option<&str>, _auth_nanos: u64) {
        unimplemented!()
    }

    /// One unreadable request; the fault's constant word.
    pub fn malformed(&self, _fault: &'static str) {
        unimplemented!()
    }

    /// One answer's head: its status and the whole time to it.
    pub fn answered(&self, _status: u16, _own_us: u32, _upstream_us: Option<u32>) {
        unimplemented!()
    }

    /// One answer of our own in the upstream's place.
    pub fn upstream_fault(&self, _fault: UpstreamFault) {
        unimplemented!()
    }

    /// One idempotent request sent again on a new connection.
    pub fn upstream_retried(&self) {
        unimplemented!()
    }

    /// One informational answer other than 100 and 101, dropped.
    pub fn informational_dropped(&self) {
        unimplemented!()
    }

    /// A downstream connection opened (+1) or ended (-1).
    pub fn connections(&self, _change: i64) {
        unimplemented!()
    }

    /// A connection refused by a limit; which (`connections`, `connections_per_address`).
    pub fn connection_refused(&self, _limit: &'static str) {
        unimplemented!()
    }

    /// A request went in flight upstream (+1) or ended (-1).
    pub fn in_flight(&self, _change: i64) {
        unimplemented!()
    }

    /// A tunnel (WebSocket or other upgrade) opened (+1) or ended (-1).
    pub fn tunnels(&self, _change: i64) {
        unimplemented!()
    }

    /// A timer cut a connection; which (`head`, `body_idle`, `write_idle`, `tunnel_idle`).
    pub fn timed_out(&self, _timer: &'static str) {
        unimplemented!()
    }
}
