//! [`Row::of`]: is this the answer that the rules promise? Pure: answers in, rows out.
//!
//! What tells an answer of the sidecar from an upstream's own: `WWW-Authenticate: Countersign`, `X-Countersign-Error` (which it drops
//! from upstreams' answers), or the JSON body of a refusal. Any other answer came through.
//!
//! | asked | good | bad |
//! |---|---|---|
//! | exempt path | anything that came through: also the upstream's own 401, 404, 405 | a refusal of ours; nobody there (5xx of a gateway) |
//! | what has to be refused | refused for that reason; 429 | came through, where it had to be carried out |
//! | signed | came through | refused |
//!
//! Where a refusal is not carried out (`log`, below 100 %), coming through is no failure. An announced probe is told by the sidecar what
//! it was judged, and then that counts; else it stays unknown, and the row says so.

use super::client::{Answer, ClientFault};
use super::plan::{Check, Probe};
use super::standing::{SaidBy, Standing};
use crate::policy::decision::{Outcome, Refusal};
use crate::signature::key::ServiceId;
use serde_json::Value;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// What was looked at.
    pub(super) check: &'static str,
    /// A pattern, a rule, a service.
    pub(super) subject: String,
    /// In whose name.
    pub(super) caller: Option<String>,
    /// What was sent, `GET /x`.
    pub(super) request: Option<String>,
    /// What came back.
    pub(super) status: Option<u16>,
    pub(super) result: Judgement,
    /// In words.
    pub(super) detail: String,
}

/// How a row ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Judgement {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Nobody can say.
    Unknown,
}

/// What the sidecar says it judged an announced probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Refusal>,
    /// `exempt`, `open` or `service`.
    pub(super) class: String,
    /// This machine's clock minus the sidecar's, by a signed probe.
    pub(super) skew_seconds: Option<i64>,
}

/// What is known when an answer is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) standing: &'k Standing,
    /// Did a sidecar answer at all? What is malformed it refuses in every mode.
    pub(super) has_sidecar: bool,
    /// Is it a failure that refusals are not carried out?
    pub(super) expect_enforced: bool,
}

/// Whose answer it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The sidecar refused, or could not go on: its code.
    Refusal { status: u16, code: String },
    /// It came through.
    Through { status: u16 },
}

impl Said {
    pub(super) fn of(answer: &Answer) -> Said {
        let status = answer.status;
        if let Some(code) = answer.values("x-countersign-error").next() {
            return Said::Refusal { status, code: code.to_owned() };
        }
        let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        let reason = body.get("reason").and_then(Value::as_str);
        let is_challenge = answer.values("www-authenticate").any(|value| value.starts_with("Countersign"));
        // Whoever else answers like this does not know the id, which the sidecar names in a header of its own.
        let id = body.get("request_id").and_then(Value::as_str);
        let is_ours = body.get("authenticated") == Some(&Value::Bool(false))
            && id.is_some_and(|id| answer.values("x-request-id").eq([id]));
        match reason {
            Some(reason) if (is_challenge || is_ours) && status >= 400 => {
                Said::Refusal { status, code: reason.to_owned() }
            }
            _ if is_challenge && status == 401 => Said::Refusal { status, code: String::new() },
            _ => Said::Through { status },
        }
    }

    const fn status(&self) -> u16 {
        match self {
            Said::Refusal { status, .. } | Said::Through { status } => *status,
        }
    }
}

type Verdict = (Judgement, String);

impl Row {
    /// What this answer to this probe means.
    pub(super) fn of(
        probe: &Probe,
        answer: &Result<Answer, ClientFault>,
        told: Option<&Told>,
        known: Known<'_>,
    ) -> Row {
        let said = answer.as_ref().map(Said::of);
        let (result, detail) = match &said {
            Err(fault) => (Judgement::Failed, fault.to_string()),
            Ok(said) => match &probe.check {
                Check::Exempt => exempt(said, told),
                Check::Signed(_) | Check::Override => accepted(&probe.check, said, told, probe, known),
                Check::Malformed => malformed(said),
                Check::Unsigned
                | Check::WrongSignature(_)
                | Check::Stale(_)
                | Check::WrongCaller(_)
                | Check::WrongOverride => refused(probe, said, told, known),
            },
        };
        Row {
            check: probe.check.name(),
            subject: probe.subject.clone(),
            caller: probe.check.caller().map(ToString::to_string),
            request: Some(format!("{} {}", probe.method, probe.path)),
            status: said.ok().map(|said| said.status()),
            result,
            detail,
        }
    }

    /// What could not be asked.
    pub(super) fn unknown(check: &Check, subject: &str, why: impl Into<String>) -> Row {
        let caller = check.caller().map(ToString::to_string);
        Row { caller, ..Row::plain(check.name(), subject, Judgement::Unknown, why) }
    }

    /// What no single request tells.
    pub(super) fn plain(check: &'static str, subject: &str, result: Judgement, detail: impl Into<String>) -> Row {
        let detail = detail.into();
        Row { check, subject: subject.to_owned(), caller: None, request: None, status: None, result, detail }
    }
}

impl Check {
    pub(super) const fn caller(&self) -> Option<&ServiceId> {
        match self {
            Check::Signed(id) | Check::WrongCaller(id) => Some(id),
            Check::WrongSignature(id) | Check::Stale(id) => id.as_ref(),
            Check::Exempt | Check::Unsigned | Check::WrongOverride | Check::Override | Check::Malformed => None,
        }
    }

    /// The reason for which it has to be refused, and the word the caller is told.
    const fn reason(&self) -> Option<Refusal> {
        match self {
            Check::Unsigned | Check::WrongOverride => Some(Refusal::MissingSignature),
            Check::WrongSignature(_) => Some(Refusal::InvalidSignature),
            Check::Stale(_) => Some(Refusal::TimestampOutsideWindow),
            Check::WrongCaller(_) => Some(Refusal::CallerNotAllowed),
            Check::Malformed => Some(Refusal::MalformedRequest),
            Check::Exempt | Check::Signed(_) | Check::Override => None,
        }
    }
}

fn exempt(said: &Said, told: Option<&Told>) -> Verdict {
    let guarded = |told: &&Told| told.class == "service";
    match said {
        Said::Refusal { status: 500.., code } => (Judgement::Failed, format!("passes, but {}", upstream(code))),
        Said::Refusal { status, code } => {
            (Judgement::Failed, format!("refused with {status} {code}: it is guarded, and browsers are locked out"))
        }
        Said::Through { .. } if told.filter(guarded).is_some() => {
            (Judgement::Failed, "passes by the mode alone: it is guarded, and would be refused".to_owned())
        }
        Said::Through { status: 502..=504 } => {
            (Judgement::Failed, "does not reach the upstream: what stands between says so".to_owned())
        }
        Said::Through { status } => (Judgement::Passed, format!("reachable; the upstream answers {status}")),
    }
}

fn refused(probe: &Probe, said: &Said, told: Option<&Told>, known: Known<'_>) -> Verdict {
    let Some(reason) = probe.check.reason() else { return (Judgement::Unknown, String::new()) };
    let status = if reason == Refusal::CallerNotAllowed { 403 } else { 401 };
    match said {
        Said::Refusal { status: 429, .. } => {
            (Judgement::Passed, "refused; this address is over the failure limit".to_owned())
        }
        Said::Refusal { status: found, code } if *found == status && is_said(code, reason) => {
            (Judgement::Passed, format!("refused: {code}"))
        }
        Said::Refusal { status: 503, code } if code == Refusal::KeysUnavailable.code() => {
            (Judgement::Failed, "the sidecar cannot read its keys".to_owned())
        }
        Said::Refusal { status: 500.., code } => through(probe, reason, told, known, &upstream(code)),
        // Every refusal will do for who presents nothing.
        Said::Refusal { status, code } if probe.check == Check::Unsigned => {
            (Judgement::Passed, format!("refused with {status} {code}"))
        }
        Said::Refusal { status, code } => {
            let hint = hint(code, probe.check.caller());
            (Judgement::Failed, format!("refused with {status} {code}, expected {}{hint}", reason.public_code()))
        }
        Said::Through { .. } => through(probe, reason, told, known, "reaches the upstream"),
    }
}

/// What had to be refused came through.
fn through(probe: &Probe, reason: Refusal, told: Option<&Told>, known: Known<'_>, how: &str) -> Verdict {
    if !known.has_sidecar {
        return (Judgement::Failed, format!("OPEN: {how}, and no sidecar is in the way"));
    }
    let share = known.standing.share(&probe.rules);
    let in_force = match share {
        0 if known.standing.is_log() => "log mode".to_owned(),
        share => format!("enforced at {share}%"),
    };
    match told {
        Some(Told { outcome: Outcome::Allow, class, .. }) => {
            return (Judgement::Failed, format!("OPEN: {how}; the running rules say {class}"));
        }
        Some(Told { outcome: Outcome::Authenticated | Outcome::Override, .. }) => {
            return (Judgement::Failed, format!("OPEN: {how}, and the sidecar took it for a valid call"));
        }
        Some(Told { outcome: Outcome::WouldRefuse, reason: found, .. })
            if found.map(Refusal::public_code) != Some(reason.public_code()) =>
        {
            let found = found.map_or("nothing", Refusal::code);
            return (Judgement::Failed, format!("would be refused for {found}, expected {}", reason.code()));
        }
        Some(Told { outcome: Outcome::WouldRefuse | Outcome::Refuse, .. }) | None => {}
    }
    if share == 100 {
        let hint = match known.standing.said_by {
            SaidBy::Sidecar | SaidBy::Argument => "",
            SaidBy::Configuration => " by the configuration (was it switched to log since? --mode log)",
        };
        return (Judgement::Failed, format!("OPEN: {how}, although it is enforced{hint}"));
    }
    let word = if told.is_some() { "recorded as would_refuse" } else { "to be recorded as would_refuse" };
    let said = format!("{in_force}: passes, {word} ({})", reason.code());
    (if known.expect_enforced { Judgement::Failed } else { Judgement::Passed }, said)
}

fn accepted(check: &Check, said: &Said, told: Option<&Told>, probe: &Probe, known: Known<'_>) -> Verdict {
    let wanted = if *check == Check::Override { Outcome::Override } else { Outcome::Authenticated };
    match said {
        Said::Refusal { status: 503, code } if code == Refusal::KeysUnavailable.code() => {
            (Judgement::Failed, "the sidecar cannot read its keys".to_owned())
        }
        Said::Refusal { status: 500.., code } => (Judgement::Failed, format!("let in, but {}", upstream(code))),
        Said::Refusal { status: 429, .. } => {
            let why = "refused: this address is over the failure limit, which holds valid calls too (lockout), or it was not valid";
            (Judgement::Failed, why.to_owned())
        }
        Said::Refusal { status, code } => {
            (Judgement::Failed, format!("refused with {status} {code}{}", hint(code, check.caller())))
        }
        Said::Through { status: 502..=504 } => {
            (Judgement::Failed, "does not reach the upstream: what stands between says so".to_owned())
        }
        Said::Through { status } => match told {
            Some(told) if told.outcome == wanted => {
                (Judgement::Passed, format!("let in; the upstream answers {status}"))
            }
            Some(Told { outcome: Outcome::WouldRefuse, reason, .. }) => {
                let code = reason.map_or("", Refusal::public_code);
                (Judgement::Failed, format!("would be refused: {code}{}", hint(code, check.caller())))
            }
            Some(told) => (Judgement::Failed, format!("passes unproved: the running rules say {}", told.class)),
            None if !known.has_sidecar => {
                (Judgement::Unknown, "no sidecar is there that could look at it".to_owned())
            }
            None if known.standing.share(&probe.rules) == 100 => {
                (Judgement::Passed, format!("let in; the upstream answers {status}"))
            }
            None => (
                Judgement::Unknown,
                "passes, as everything does where it is not enforced; only an announced probe could tell".to_owned(),
            ),
        },
    }
}

fn malformed(said: &Said) -> Verdict {
    match said {
        Said::Refusal { status: 400, code } if is_said(code, Refusal::MalformedRequest) => {
            (Judgement::Passed, format!("refused: {code}"))
        }
        Said::Refusal { status, code } => (Judgement::Failed, format!("answered {status} {code}, expected 400")),
        Said::Through { status } => {
            (Judgement::Failed, format!("no sidecar answers here: the upstream got it, and answers {status}"))
        }
    }
}

/// Is this code what a caller is told of this reason? An answer to HEAD tells none.
fn is_said(code: &str, reason: Refusal) -> bool {
    code.is_empty() || code == reason.public_code()
}

fn upstream(code: &str) -> String {
    format!("the upstream does not answer ({code})")
}

/// What most likely is wrong where a valid call is refused.
fn hint(code: &str, caller: Option<&ServiceId>) -> String {
    let known = |refusal: Refusal| refusal.public_code() == code;
    let whose = caller.map_or_else(|| "it".to_owned(), ToString::to_string);
    if known(Refusal::InvalidSignature) {
        format!(": the sidecar has another key of {whose}, or none")
    } else if known(Refusal::TimestampOutsideWindow) {
        ": the clock of this machine or of the sidecar's is off".to_owned()
    } else if known(Refusal::CallerNotAllowed) {
        format!(": the running rules do not name {whose} there")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests;
