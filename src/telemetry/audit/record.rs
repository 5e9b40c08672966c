//! [`AuditRecord`]: what one decision says in the log; [`StateChange`]: what a change of state says.
//!
//! The names on a line do not change once released: programs of others read them. Absent facts are left out, never
//! guessed. Besides them every line has `boot` (a random id of this start of the process) and `seq` (from 1,
//! one up per record): a missing number is a lost line.

use crate::policy::decision::Outcome;
use crate::policy::enforcement::Mode;
use crate::policy::grants::GrantId;
use crate::rules::classify::Class;
use crate::telemetry::json::JsonLine;
use crate::telemetry::time::Rfc3339;

/// Evidence of one decision. It borrows all text: filling a slot copies it once, without an allocation per field.
///
/// Names reserved for later, so that nobody gives them another meaning: `peer_uid` (the unix peer), `trace_id` (of `traceparent`), `chain` (the hash over the line before).
#[derive(Debug, Clone, Copy)]
pub struct AuditRecord<'r> {
    /// When the decision was made; microseconds since the epoch, printed as RFC 3339 UTC.
    pub unix_micros: u64,
    /// The request id, as sent up and back.
    pub request_id: &'r str,
    /// Did it come in or go out?
    pub direction: Direction,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it is or would be refused: the code of a refusal of its direction.
    pub reason: Option<&'static str>,
    /// The refusal that `rate_limited` stands in for.
    pub cause: Option<&'static str>,
    /// For `malformed_request`: which fault, a constant word.
    pub fault: Option<&'static str>,
    /// Absent when the request could not be read.
    pub class: Option<Class>,
    /// The first deciding rule.
    pub rule: Option<&'r str>,
    /// Proved; outbound, whom it was signed as.
    pub service: Option<&'r str>,
    /// Claimed: only when it is a well-formed id.
    pub claimed_service: Option<&'r str>,
    /// The signature scheme the request was checked by (`hmac-v1`); absent when nothing was presented or asked.
    pub scheme: Option<&'static str>,
    /// The granted override that let it pass.
    pub grant: Option<GrantId>,
    /// The caller's clock minus ours.
    pub skew_seconds: Option<i64>,
    /// As it came; absent when it could not be read.
    pub method: Option<&'r str>,
    /// As it came, without query; absent when it could not be read. May hold any byte: escaped as JSON, lossily as UTF-8.
    pub path: Option<&'r [u8]>,
    /// The client address, or `unix:<uid>`.
    pub client: &'r str,
    /// Outbound: where it went, `host:port`; inbound the listener says it.
    pub upstream: Option<&'r str>,
    /// The mode in force; absent outbound, where none is.
    pub mode: Option<Mode>,
    /// The effective percentage; absent outbound.
    pub percentage: Option<u8>,
    /// What was answered (upgrade: 101); absent when the client was gone before an answer began.
    pub status: Option<u16>,
    /// Our own time, microseconds: from the end of the head to the first byte upstream, plus from the upstream's head to ours.
    pub own_us: u32,
    /// From the request sent to the head of the upstream's answer, microseconds.
    pub upstream_us: Option<u32>,
    /// The configuration that judged it.
    pub generation: u64,
    /// An announced test: counted nowhere. Said only where it is one.
    pub probe: bool,
}

/// Which way a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the guarded backend.
    Inbound,
    /// From this machine, signed.
    Outbound,
}

impl Direction {
    /// The word in audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
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
    pub detail: Vec<(&'static str, Fact)>,
}

/// A fact beside a change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Words and names.
    Text(String),
    /// Counts and percentages.
    Number(u64),
}

impl From<String> for Fact {
    fn from(text: String) -> Fact {
        Fact::Text(text)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Fact {
        Fact::Text(text.to_owned())
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Fact {
        Fact::Number(number)
    }
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
    /// Enforcement was rolled back, or such a hold was lifted.
    Rollback,
    /// The ramp began, advanced, stood still or ended; judgement was suspended.
    Ramp,
    /// Keys came, changed or went.
    Key,
    /// An override was granted, revoked, or is over.
    Grant,
    /// Probes were announced, which are counted nowhere.
    Probe,
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
            Event::Rollback => "rollback",
            Event::Ramp => "ramp",
            Event::Key => "key",
            Event::Grant => "grant",
            Event::Probe => "probe",
            Event::Audit => "audit",
        }
    }
}

/// What every line of one start of the process carries.
#[derive(Debug)]
pub(super) struct LineWriter {
    boot: Box<str>,
    /// The number of the last record.
    seq: u64,
    time: Rfc3339,
}

impl LineWriter {
    /// Numbers start at 1.
    pub(super) fn new(boot: &str) -> LineWriter {
        LineWriter { boot: boot.into(), seq: 0, time: Rfc3339::default() }
    }

    /// Leaves numbers out for records that had no room, so that they are missed.
    pub(super) fn skip(&mut self, records: u64) {
        self.seq += records;
    }

    /// Appends the line of a decision.
    pub(super) fn decision(&mut self, out: &mut Vec<u8>, record: &AuditRecord<'_>) {
        let mut line = self.begin(out, record.unix_micros);
        line.text("request_id", record.request_id);
        line.word("direction", record.direction.code());
        line.word("outcome", record.outcome.code());
        optional(record.reason, |reason| line.word("reason", reason));
        optional(record.cause, |cause| line.word("cause", cause));
        optional(record.fault, |fault| line.word("fault", fault));
        optional(record.class, |class| line.word("class", class_code(class)));
        optional(record.rule, |rule| line.text("rule", rule));
        optional(record.service, |service| line.text("service", service));
        optional(record.claimed_service, |claimed| line.text("claimed_service", claimed));
        optional(record.scheme, |scheme| line.word("scheme", scheme));
        optional(record.grant, |grant| line.text("grant", &grant.to_string()));
        optional(record.skew_seconds, |skew| line.signed("skew_seconds", skew));
        optional(record.method, |method| line.text("method", method));
        optional(record.path, |path| line.bytes("path", path));
        line.text("client", record.client);
        optional(record.upstream, |upstream| line.text("upstream", upstream));
        optional(record.mode, |mode| line.word("mode", mode.code()));
        optional(record.percentage, |percentage| line.unsigned("percentage", percentage.into()));
        optional(record.status, |status| line.unsigned("status", status.into()));
        line.unsigned("own_us", record.own_us.into());
        optional(record.upstream_us, |us| line.unsigned("upstream_us", us.into()));
        line.unsigned("generation", record.generation);
        if record.probe {
            line.boolean("probe", true);
        }
        line.end();
    }

    /// Appends the line of a change of state.
    pub(super) fn change(&mut self, out: &mut Vec<u8>, change: &StateChange) {
        let mut line = self.begin(out, change.unix_micros);
        line.word("event", change.event.code());
        line.text("who", &change.who);
        line.text("why", &change.why);
        for (name, value) in &change.detail {
            match value {
                Fact::Text(text) => line.text(name, text),
                Fact::Number(number) => line.unsigned(name, *number),
            }
        }
        line.unsigned("generation", change.generation);
        line.end();
    }

    fn begin<'o>(&mut self, out: &'o mut Vec<u8>, unix_micros: u64) -> JsonLine<'o> {
        self.seq += 1;
        let mut line = JsonLine::begin(out);
        line.text("time", self.time.print(unix_micros));
        line.text("boot", &self.boot);
        line.unsigned("seq", self.seq);
        line
    }
}

/// The word for a class in audit records and metrics.
pub const fn class_code(class: Class) -> &'static str {
    match class {
        Class::Exempt => "exempt",
        Class::Open => "open",
        Class::Service => "service",
    }
}

fn optional<T>(value: Option<T>, write: impl FnOnce(T)) {
    if let Some(value) = value {
        write(value);
    }
}

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;
