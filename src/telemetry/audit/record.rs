//! [`AuditRecord`]: what one decision says in the log; [`StateChange`]: what a change of state says.
//!
//! The names on a line are those of page 3 of the specification and do not change once released; absent facts are left
//! out, never guessed. Besides them every line has `boot` (a random id of this start of the process) and `seq` (from 1,
//! one up per record): a missing number is a lost line.

use crate::policy::decision::{Outcome, Refusal};
use crate::policy::enforcement::Mode;
use crate::rules::classify::Class;

/// Evidence of one decision. It borrows all text: filling a slot copies it once, without an allocation per field.
///
/// Names reserved for later, so that nobody gives them another meaning: `grant` (the issued override that let it pass),
/// `peer_uid` (the unix peer), `trace_id` (of `traceparent`), `chain` (the hash over the line before).
#[derive(Debug, Clone, Copy)]
pub struct AuditRecord<'r> {
    /// When the decision was made; microseconds since the epoch, printed as RFC 3339 UTC.
    pub unix_micros: u64,
    /// The request id, as sent up and back.
    pub request_id: &'r str,
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
    pub rule: Option<&'r str>,
    /// Proved.
    pub service: Option<&'r str>,
    /// Claimed: only when it is a well-formed id.
    pub claimed_service: Option<&'r str>,
    /// The signature scheme the request was checked by (`hmac-v1`); absent when nothing was presented or asked.
    pub scheme: Option<&'static str>,
    /// The caller's clock minus ours.
    pub skew_seconds: Option<i64>,
    /// As it came; absent when it could not be read.
    pub method: Option<&'r str>,
    /// As it came, without query; absent when it could not be read. May hold any byte: escaped as JSON, lossily as UTF-8.
    pub path: Option<&'r [u8]>,
    /// The client address, or `unix:<uid>`.
    pub client: &'r str,
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

/// One change of state: a line with `event` instead of `outcome`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// When, microseconds since the epoch.
    pub unix_micros: u64,
    /// What changed.
    pub event: Event,
    /// Who: `process`, `file`, `signal`, `uid:1000`. A fixed word or a name the system gave, never a secret.
    pub who: String,
    /// Why, for people.
    pub why: String,
    /// The configuration in force after the change.
    pub generation: u64,
    /// Further facts, as `name: value`; the names must not be those of a decision.
    pub detail: Vec<(&'static str, String)>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The process took up its work.
    Start,
    /// The process ends as asked.
    Stop,
    /// A configuration took effect.
    Reload,
    /// A configuration was refused; the old one stays.
    ReloadFailed,
    /// Mode or percentage changed.
    Mode,
    /// Keys came, changed or went.
    Key,
    /// The audit log itself: reopened, moved elsewhere.
    Audit,
}

impl Event {
    /// The word in audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Event::Start => "start",
            Event::Stop => "stop",
            Event::Reload => "reload",
            Event::ReloadFailed => "reload_failed",
            Event::Mode => "mode",
            Event::Key => "key",
            Event::Audit => "audit",
        }
    }
}
