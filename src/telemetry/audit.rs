//! [`AuditRecord`]: one JSON line per decision, made from a `Decision`; and the queue that takes it to the sink.

use crate::policy::decision::{Outcome, Refusal};
use crate::policy::enforcement::Mode;
use crate::rules::classify::Class;

/// Evidence of one decision. Field names are those of page 3 and do not change once released; absent facts are left out.
#[derive(Debug, Clone)]
pub struct AuditRecord {
    /// When the decision was made; microseconds since the epoch, printed as RFC 3339 UTC.
    pub unix_micros: u64,
    /// The request id, as sent up and back.
    pub request_id: Box<str>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it is or would be refused.
    pub reason: Option<Refusal>,
    /// The refusal that `rate_limited` stands in for.
    pub cause: Option<Refusal>,
    /// For `malformed_request`: which fault, a constant word.
    pub fault: Option<&'static str>,
    /// Absent when the request could not be read.
    pub class: Option<Class>,
    /// The first deciding rule.
    pub rule: Option<Box<str>>,
    /// Proved.
    pub service: Option<Box<str>>,
    /// Claimed: only when it is a well-formed id.
    pub claimed_service: Option<Box<str>>,
    /// The caller's clock minus ours.
    pub skew_seconds: Option<i64>,
    /// As it came; absent when it could not be read.
    pub method: Option<Box<str>>,
    /// As it came, without query; absent when it could not be read. May hold any byte: escaped as JSON, lossily as UTF-8.
    pub path: Option<Box<[u8]>>,
    /// The client address, or `unix:<uid>`.
    pub client: Box<str>,
    /// The mode in force.
    pub mode: Mode,
    /// The effective percentage.
    pub percentage: u8,
    /// What was answered (upgrade: 101); absent when the client was gone before an answer began.
    pub status: Option<u16>,
    /// Our own time, microseconds: from the end of the head to the first byte upstream, plus from the upstream's head to ours.
    pub own_us: u32,
    /// From the request sent to the head of the upstream's answer, microseconds.
    pub upstream_us: Option<u32>,
    /// The configuration that judged it.
    pub generation: u64,
}

/// The way to the sink: bounded, shared by all workers, cheap to clone. A slot is reserved before a request is
/// forwarded, so that nothing is let through that could not be recorded (`on_full = "block"`).
#[derive(Debug, Clone)]
pub struct AuditQueue {}

/// Room for one record. Dropped unfilled, it gives the room back.
#[derive(Debug)]
pub struct AuditSlot {}

impl AuditQueue {
    /// Room now, or `None` (not counted: the caller decides whether that is a drop).
    pub fn try_reserve(&self) -> Option<AuditSlot> {
        unimplemented!()
    }

    /// Room within 1 s, or `None`.
    pub async fn reserve(&self) -> Option<AuditSlot> {
        unimplemented!()
    }

    /// Counts a record that had no room.
    pub fn count_dropped(&self) {
        unimplemented!()
    }
}

impl AuditSlot {
    /// Hands the record over. Never waits, makes no system call.
    pub fn fill(self, _record: AuditRecord) {
        unimplemented!()
    }
}
