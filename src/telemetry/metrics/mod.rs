//! Counters per worker, merged when read; the exposition.

use super::audit::AuditQueue;
use crate::policy::decision::Decision;
use crate::policy::enforcement::Enforcement;
use crate::rules::classify::Class;
use crate::upstream::health::UpstreamHealth;
use std::sync::Arc;
use std::time::Instant;

/// All counters: one shard per worker, merged when read.
#[derive(Debug)]
pub struct Metrics {}

/// One worker's counters: relaxed atomics, in memory that no other worker writes.
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

impl UpstreamFault {
    /// The word in `X-Countersign-Error`, in bodies and in metrics.
    pub const fn code(self) -> &'static str {
        match self {
            UpstreamFault::Unreachable => "upstream_unreachable",
            UpstreamFault::ConnectTimeout => "upstream_connect_timeout",
            UpstreamFault::FirstByteTimeout => "upstream_timeout",
            UpstreamFault::Closed => "upstream_closed",
            UpstreamFault::InvalidAnswer => "upstream_invalid_answer",
            UpstreamFault::Busy => "upstream_busy",
        }
    }
}

impl Metrics {
    /// All at zero. `services`: the ids that may become label values, see [`Metrics::set_services`].
    pub fn new<'s>(_workers: usize, _services: impl IntoIterator<Item = &'s str>) -> Metrics {
        unimplemented!()
    }

    /// The shard of worker `index`.
    pub fn worker(&self, _index: usize) -> Arc<WorkerMetrics> {
        unimplemented!()
    }

    /// The ids that may become label values: those of `[services]` and of the key table. Called at start and whenever
    /// either changes. Series of ids that are gone keep their counts.
    pub fn set_services<'s>(&self, _services: impl IntoIterator<Item = &'s str>) {
        unimplemented!()
    }

    /// What is in force from now on.
    pub fn set_in_force(&self, _enforcement: Enforcement, _generation: u64) {
        unimplemented!()
    }

    /// One attempt to reload; `unix_seconds` now.
    pub fn reloaded(&self, _succeeded: bool, _unix_seconds: u64) {
        unimplemented!()
    }

    /// Shows this queue's counters.
    pub fn watch_audit(&self, _queue: AuditQueue) {
        unimplemented!()
    }

    /// Shows these upstreams' health.
    pub fn watch_upstreams(&self, _upstreams: Vec<Arc<UpstreamHealth>>) {
        unimplemented!()
    }

    /// The exposition in the OpenMetrics text format.
    pub fn openmetrics(&self, _now: Instant) -> String {
        unimplemented!()
    }
}

impl WorkerMetrics {
    /// One decision about a readable request. `claimed`: the well-formed id it claimed, if any. `auth_nanos`: what the
    /// checks took (counted for service paths only). `now`: the monotonic time of the decision.
    pub fn decided(&self, _decision: &Decision, _claimed: Option<&str>, _auth_nanos: u64, _now: Instant) {
        unimplemented!()
    }

    /// One unreadable request; the fault's constant word.
    pub fn malformed(&self, _fault: &'static str) {
        unimplemented!()
    }

    /// One answer's head: its status and the time to it. `class` is absent for unreadable requests; `upstream_us` is
    /// present when, and only when, the answer is the upstream's.
    pub fn answered(&self, _class: Option<Class>, _status: u16, _own_us: u32, _upstream_us: Option<u32>) {
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

    /// Something refused by a limit; which (`connections`, `connections_per_address`, `upstream_requests`, `head`, …).
    pub fn limit_hit(&self, _limit: &'static str) {
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

    /// A timer cut a connection; which (`first_byte`, `head`, `body_idle`, `write_idle`, `tunnel_idle`).
    pub fn timed_out(&self, _timer: &'static str) {
        unimplemented!()
    }
}
