//! Criteria about what happened in the phase, from its audit records.
//!
//! Something wrong is wrong however many records are missing. That nothing is wrong is only said where they are whole.

use super::figures::{Fact, Standing, Suite};
use super::judged::{Judged, asked, few};
use super::limits::{self, critical};
use super::phase::{Hour, Phase, Service};
use super::prepared::counted_u64 as counted;
use super::{Criterion, Verdict};
use crate::rollout::baseline::BasisPoints;

/// One of those that look at nothing but the phase.
pub(super) fn phase(criterion: Criterion, phase: &Phase) -> Judged {
    match criterion {
        Criterion::Evidence => match &phase.not_whole {
            Some(why) => Judged::unknown(why),
            None => Judged::known(true, "all"),
        },
        Criterion::Uptime => at_least(phase, phase.uptime(), limits::UPTIME, || {
            let (_, restarts) = phase.down;
            format!("{}, {}", phase.uptime(), counted(restarts, "restart"))
        }),
        Criterion::NoRollback => none(phase, &phase.rollbacks),
        Criterion::Signed => signed(phase),
        Criterion::Signatures => none(phase, &by_service(phase, |service| service.bad_signatures, "failed")),
        Criterion::Timestamps => none(phase, &by_service(phase, |service| service.late, "outside the window")),
        Criterion::Callers => none(phase, &by_service(phase, |service| service.not_allowed, "not allowed there")),
        Criterion::Overrides => none(phase, &by_service(phase, |service| service.overrides, "passed by it")),
        Criterion::CallerClocks => clocks(phase),
        Criterion::SuccessRate => share(phase, phase.success(), limits::SUCCESS),
        Criterion::Availability => share(phase, phase.served(), limits::AVAILABILITY),
        Criterion::UpstreamErrors => {
            let (errors, answered) = phase.upstream();
            if answered == 0 {
                return Judged::unknown("nothing went upstream");
            }
            // With the counts themselves: a rounded share may hide the last one.
            let holds = errors * 10_000 <= answered * limits::UPSTREAM_ERRORS.0;
            whole(
                phase,
                Judged::known(holds, format!("{} ({errors} of {answered})", BasisPoints::of(errors, answered))),
            )
        }
        Criterion::Overhead => time(phase, phase.own.percentile(95), limits::OVERHEAD_P95),
        Criterion::RequestLatency => time(phase, phase.whole.percentile(95), limits::REQUEST_P95),
        Criterion::RateLimited => hourly(phase, |hour| hour.rate_limited, limits::RATE_LIMITED),
        Criterion::Unauthorized => hourly(phase, |hour| hour.unauthorized, limits::UNAUTHORIZED),
        Criterion::InvalidSignatures => hourly(phase, |hour| hour.invalid, limits::INVALID_SIGNATURES),
        Criterion::LateTimestamps => hourly(phase, |hour| hour.late, limits::LATE_TIMESTAMPS),
        Criterion::Blocked => hourly(phase, |hour| hour.blocked, limits::BLOCKED),
        Criterion::Keys
        | Criterion::EnvFiles
        | Criterion::RedisClock
        | Criterion::UpstreamAround
        | Criterion::Ready
        | Criterion::Upstream
        | Criterion::Configuration
        | Criterion::StateDurable
        | Criterion::NoHold
        | Criterion::Monitoring
        | Criterion::Baseline
        | Criterion::InForce
        | Criterion::Elapsed
        | Criterion::NoCritical
        | Criterion::Drilled
        | Criterion::ExemptReachable
        | Criterion::ServiceRefused => Judged::unknown("the phase says nothing of it"),
    }
}

/// Alerts that stand now, and hours of the phase that were critical.
pub(super) fn no_critical(standing: &Fact<Standing>, phase: &Fact<Phase>) -> Judged {
    let mut found: Vec<String> = standing.iter().flat_map(|standing| standing.alerts.iter().cloned()).collect();
    found.extend(phase.iter().flat_map(criticals));
    match (standing, phase) {
        _ if !found.is_empty() => Judged::known(false, few(&found)),
        (Ok(_), Ok(phase)) => none(phase, &found),
        (Err(why), _) | (_, Err(why)) => Judged::unknown(why),
    }
}

/// Exempt paths: by requests of our own, and by what browsers met.
pub(super) fn exempt(suite: &Fact<Suite>, phase: &Fact<Phase>) -> Judged {
    let met = match phase {
        Ok(phase) => {
            let worst = phase.worst(|hour| hour.exempt_unauthorized);
            if worst > limits::EXEMPT_UNAUTHORIZED {
                return Judged::known(false, format!("{worst} answered 401 within an hour"));
            }
            match phase.exempt {
                0 => Judged::unknown("none was asked for in the phase"),
                some => whole(phase, Judged::known(true, format!("{} answered", counted(some, "request")))),
            }
        }
        Err(why) => Judged::unknown(why),
    };
    beside(suite, met, |suite| match suite {
        Suite::Asked { exempt, .. } => Some(asked(exempt, "asked, each reachable")),
        Suite::NotAsked => None,
    })
}

/// Service paths: by requests of our own without a signature, and by those of others.
pub(super) fn refused(suite: &Fact<Suite>, phase: &Fact<Phase>) -> Judged {
    let met = match phase {
        Ok(phase) if phase.let_in > 0 => {
            return Judged::known(false, format!("{} let in", counted(phase.let_in, "unproved call")));
        }
        Ok(phase) if phase.unsigned == 0 => Judged::unknown("nobody called without a valid signature in the phase"),
        Ok(phase) => {
            let text = format!("{} refused, or recorded as such", counted(phase.unsigned, "unproved call"));
            whole(phase, Judged::known(true, text))
        }
        Err(why) => Judged::unknown(why),
    };
    beside(suite, met, |suite| match suite {
        Suite::Asked { unsigned, .. } => Some(asked(unsigned, "asked, each refused")),
        Suite::NotAsked => None,
    })
}

/// Requests of our own say more than those of others; where there are none, these have to do, and the line says so.
fn beside(suite: &Fact<Suite>, met: Judged, ask: impl FnOnce(&Suite) -> Option<Judged>) -> Judged {
    match suite {
        Ok(suite) => match ask(suite) {
            Some(asked) => asked,
            None => Judged { measured: format!("{} (from audit records; nothing was asked)", met.measured), ..met },
        },
        Err(why) => Judged { measured: format!("{} (from audit records; {why})", met.measured), ..met },
    }
}

fn signed(phase: &Phase) -> Judged {
    let wrong = by_service(phase, |service| service.unsigned, "without a signature");
    let silent = |service: &&Service| !service.may_be_silent && service.authenticated == 0;
    let silent: Vec<String> =
        phase.services.iter().filter(silent).map(|service| format!("{} never called signed", service.id)).collect();
    let calls: u64 = phase.services.iter().map(|service| service.authenticated).sum();
    if wrong.is_empty() && silent.is_empty() && calls == 0 {
        return Judged::unknown("nobody called");
    }
    let judged = Judged::of_lists(&wrong, &silent, counted(calls, "signed call"));
    whole(phase, judged)
}

fn clocks(phase: &Phase) -> Judged {
    let (mut wrong, mut furthest) = (Vec::new(), None);
    for service in &phase.services {
        let Some((least, _, most)) = service.drift.figures() else { continue };
        let skew = if least.unsigned_abs() > most.unsigned_abs() { least } else { most };
        if skew.unsigned_abs() >= limits::CLOCKS {
            wrong.push(format!("{} is off by {skew} s", service.id));
        }
        if furthest.is_none_or(|(other, _): (i64, _)| skew.unsigned_abs() > other.unsigned_abs()) {
            furthest = Some((skew, &service.id));
        }
    }
    match (furthest, &*wrong) {
        (None, _) => Judged::unknown("nobody called signed"),
        (Some((skew, id)), []) => whole(phase, Judged::known(true, format!("at most {skew} s ({id})"))),
        (Some(_), wrong) => Judged::known(false, few(wrong)),
    }
}

/// Each service with some of it.
fn by_service(phase: &Phase, of: impl Fn(&Service) -> u64, what: &str) -> Vec<String> {
    let some = phase.services.iter().filter(|service| of(service) > 0);
    some.map(|service| format!("{}: {} {what}", service.id, counted(of(service), "call"))).collect()
}

/// What would have alerted somebody as critical, by the hour.
fn criticals(phase: &Phase) -> Vec<String> {
    let rate = |part: u64, all: u64, limit: BasisPoints| all >= critical::MIN_CALLS && part * 10_000 > all * limit.0;
    let mut found = Vec::new();
    for (at, hour) in phase.hours.iter().enumerate() {
        let mut tell = |is: bool, what: String| {
            if is {
                found.push(format!("hour {}: {what}", at + 1));
            }
        };
        let calls = hour.authenticated + hour.failed;
        let failing = format!("{} of {calls} calls of known services failed", hour.failed);
        tell(rate(hour.failed, calls, critical::FAILED_RATE), failing);
        let errors = format!("{} of {} requests upstream failed", hour.errors, hour.answered);
        tell(rate(hour.errors, hour.answered, critical::UPSTREAM_ERRORS), errors);
        for (count, limit, what) in [
            (hour.rate_limited, critical::RATE_LIMITED, "rate limited"),
            (hour.unauthorized, critical::UNAUTHORIZED, "unauthorized attempts"),
            (hour.invalid, critical::INVALID_SIGNATURES, "invalid signatures"),
            (hour.late, critical::LATE_TIMESTAMPS, "timestamps outside the window"),
            (hour.blocked, critical::BLOCKED, "refusals carried out"),
            (hour.exempt_unauthorized, critical::EXEMPT_UNAUTHORIZED, "exempt requests answered 401"),
        ] {
            tell(count > limit, format!("{count} {what}"));
        }
    }
    found
}

/// There must be none.
fn none(phase: &Phase, found: &[String]) -> Judged {
    whole(phase, Judged::of_lists(found, &[], "none"))
}

fn at_least(phase: &Phase, share: BasisPoints, limit: BasisPoints, shown: impl FnOnce() -> String) -> Judged {
    whole(phase, Judged::known(share >= limit, shown()))
}

fn share(phase: &Phase, (part, all): (u64, u64), limit: BasisPoints) -> Judged {
    if all == 0 {
        return Judged::unknown("no known service called");
    }
    let share = BasisPoints::of(part, all);
    at_least(phase, share, limit, || format!("{share} ({part} of {all})"))
}

fn time(phase: &Phase, micros: Option<u64>, limit: u64) -> Judged {
    let Some(micros) = micros else { return Judged::unknown("no call to a service path") };
    let text = format!("p95 {}.{:03} ms", micros / 1_000, micros % 1_000);
    whole(phase, Judged::known(micros <= limit, text))
}

fn hourly(phase: &Phase, of: impl Fn(&Hour) -> u64, limit: u64) -> Judged {
    let worst = phase.worst(of);
    whole(phase, Judged::known(worst <= limit, format!("{worst} in the worst hour")))
}

/// A pass needs whole evidence; a failure does not.
fn whole(phase: &Phase, judged: Judged) -> Judged {
    match (&phase.not_whole, judged.verdict) {
        (Some(why), Verdict::Pass) => Judged::unknown(format!("{}, but {why}", judged.measured)),
        (Some(_) | None, _) => judged,
    }
}
