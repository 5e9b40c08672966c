//! One criterion → its [`Finding`]: which figure it looks at, and what to do where it does not hold.

use super::figures::{Asked, Fact};
use super::limits;
use super::{Criterion, Figures, Finding, Gate, Limits, Verdict, observed, prepared};

/// What came of looking at a figure.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) measured: String,
}

impl Judged {
    /// It is known.
    pub(super) fn known(holds: bool, measured: impl Into<String>) -> Judged {
        let verdict = if holds { Verdict::Pass } else { Verdict::Fail };
        Judged { verdict, measured: measured.into() }
    }

    /// Nobody can tell: why.
    pub(super) fn unknown(why: impl Into<String>) -> Judged {
        Judged { verdict: Verdict::Unknown, measured: why.into() }
    }

    /// Nothing is wrong, then something wrong, then what could not be seen: in this order of weight.
    pub(super) fn of_lists(wrong: &[String], unseen: &[String], good: impl Into<String>) -> Judged {
        match (wrong, unseen) {
            ([], []) => Judged::known(true, good),
            ([], unseen) => Judged::unknown(few(unseen)),
            (wrong, _) => Judged::known(false, few(wrong)),
        }
    }
}

/// The first few of a list, and how many more there are.
pub(super) fn few(list: &[String]) -> String {
    const MOST: usize = 6;
    let shown = list.iter().take(MOST).cloned().collect::<Vec<_>>().join("; ");
    match list.len().checked_sub(MOST) {
        None | Some(0) => shown,
        Some(more) => format!("{shown}; and {more} more"),
    }
}

/// `26 h`, `90 d`, `2 s`: the largest unit that gives a whole number of at least two, else seconds.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    match units.into_iter().find(|(unit, _)| seconds >= 2 * unit) {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} s"),
    }
}

/// The finding of one criterion.
pub(super) fn finding(criterion: Criterion, gate: Gate, figures: &Figures, limits: &Limits) -> Finding {
    let judged = match criterion {
        Criterion::Keys => of(&figures.keys, |keys| prepared::keys(keys, gate)),
        Criterion::EnvFiles => of(&figures.env_files, prepared::env_files),
        Criterion::RedisClock => of(&figures.redis_clock, |offset| prepared::redis_clock(*offset)),
        Criterion::UpstreamAround => of(&figures.around, prepared::around),
        Criterion::Ready => of(&figures.standing, |standing| Judged::of_lists(&standing.not_ready, &[], "it is")),
        Criterion::Upstream => of(&figures.standing, prepared::upstream),
        Criterion::Configuration => of(&figures.standing, prepared::configuration),
        Criterion::StateDurable => of(&figures.standing, prepared::durable),
        Criterion::NoHold => of(&figures.standing, prepared::no_hold),
        Criterion::Monitoring => of(&figures.standing, |standing| prepared::monitoring(standing, limits)),
        Criterion::Baseline => of(&figures.standing, |standing| prepared::baseline(standing.baseline)),
        Criterion::InForce => of(&figures.standing, |standing| prepared::in_force(standing, figures.last_stage)),
        Criterion::Elapsed => of(&figures.elapsed, |elapsed| {
            Judged::known(*elapsed >= limits.elapsed, format!("for {}", span(*elapsed)))
        }),
        Criterion::Drilled => of(&figures.drilled, |ago| prepared::drilled(*ago, limits)),
        Criterion::NoCritical => observed::no_critical(&figures.standing, &figures.phase),
        Criterion::ExemptReachable => observed::exempt(&figures.suite, &figures.phase),
        Criterion::ServiceRefused => observed::refused(&figures.suite, &figures.phase),
        Criterion::Evidence
        | Criterion::Uptime
        | Criterion::NoRollback
        | Criterion::Signed
        | Criterion::Signatures
        | Criterion::Timestamps
        | Criterion::Callers
        | Criterion::Overrides
        | Criterion::CallerClocks
        | Criterion::SuccessRate
        | Criterion::Availability
        | Criterion::UpstreamErrors
        | Criterion::Overhead
        | Criterion::RequestLatency
        | Criterion::RateLimited
        | Criterion::Unauthorized
        | Criterion::InvalidSignatures
        | Criterion::LateTimestamps
        | Criterion::Blocked => of(&figures.phase, |phase| observed::phase(criterion, phase)),
    };
    let Judged { verdict, measured } = judged;
    let remedy = match verdict {
        Verdict::Pass => None,
        Verdict::Fail => Some(remedy(criterion)),
        Verdict::Unknown => Some(unknown_remedy(criterion, figures)),
    };
    let remedy = remedy.map(str::to_owned);
    Finding { criterion, verdict, measured, limit: limit(criterion, gate, figures, limits), remedy, waived: None }
}

/// Judges what is known.
fn of<T>(fact: &Fact<T>, judge: impl FnOnce(&T) -> Judged) -> Judged {
    match fact {
        Ok(figure) => judge(figure),
        Err(why) => Judged::unknown(why),
    }
}

/// Answers to requests of our own.
pub(super) fn asked(asked: &Asked, good: &str) -> Judged {
    if asked.good == 0 && asked.bad.is_empty() && asked.unknown.is_empty() {
        return Judged::unknown("nothing was there to ask");
    }
    Judged::of_lists(&asked.bad, &asked.unknown, format!("{} {good}", asked.good))
}

/// What the figure may be.
fn limit(criterion: Criterion, gate: Gate, figures: &Figures, limits: &Limits) -> String {
    match criterion {
        Criterion::Keys => format!("more than {}", span(limits::key_seconds(gate))),
        Criterion::RedisClock | Criterion::CallerClocks => format!("less than {} s", limits::CLOCKS),
        Criterion::EnvFiles
        | Criterion::UpstreamAround
        | Criterion::NoHold
        | Criterion::NoRollback
        | Criterion::NoCritical
        | Criterion::Signatures
        | Criterion::Timestamps
        | Criterion::Callers
        | Criterion::Overrides => "none".to_owned(),
        Criterion::Ready | Criterion::Upstream | Criterion::Configuration => "yes".to_owned(),
        Criterion::StateDurable | Criterion::Evidence => "all of them".to_owned(),
        Criterion::Monitoring => format!("within {}", span(limits.scraped_within)),
        Criterion::Baseline => "enough calls in log mode".to_owned(),
        Criterion::InForce => format!("enforce at {} % or more, every rule too", figures.last_stage),
        Criterion::Elapsed => format!("at least {}", span(limits.elapsed)),
        Criterion::Drilled => format!("within {}", span(limits.drilled_within)),
        Criterion::Signed => "all".to_owned(),
        Criterion::ExemptReachable => {
            format!("all; at most {} an hour answered 401", limits::EXEMPT_UNAUTHORIZED)
        }
        Criterion::ServiceRefused => "all".to_owned(),
        Criterion::Uptime => format!("at least {}", limits::UPTIME),
        Criterion::SuccessRate => format!("at least {}", limits::SUCCESS),
        Criterion::Availability => format!("at least {}", limits::AVAILABILITY),
        Criterion::UpstreamErrors => format!("at most {}", limits::UPSTREAM_ERRORS),
        Criterion::Overhead => format!("p95 at most {} ms", limits::OVERHEAD_P95 / 1_000),
        Criterion::RequestLatency => format!("p95 at most {} ms", limits::REQUEST_P95 / 1_000),
        Criterion::RateLimited => format!("at most {} an hour", limits::RATE_LIMITED),
        Criterion::Unauthorized => format!("at most {} an hour", limits::UNAUTHORIZED),
        Criterion::InvalidSignatures => format!("at most {} an hour", limits::INVALID_SIGNATURES),
        Criterion::LateTimestamps => format!("at most {} an hour", limits::LATE_TIMESTAMPS),
        Criterion::Blocked => format!("at most {} an hour", limits::BLOCKED),
    }
}

/// What to do where there is no figure.
fn unknown_remedy(criterion: Criterion, figures: &Figures) -> &'static str {
    let of_sidecar = matches!(
        criterion,
        Criterion::Ready
            | Criterion::Upstream
            | Criterion::Configuration
            | Criterion::StateDurable
            | Criterion::NoHold
            | Criterion::Monitoring
            | Criterion::Baseline
            | Criterion::InForce
    );
    let of_phase = criterion.is_of_phase();
    if of_sidecar && figures.standing.is_err() {
        return "start the sidecar, or say where its admin socket is (--socket), and who may ask: root, or its own user";
    }
    let is_whole = figures.phase.as_ref().is_ok_and(|phase| phase.not_whole.is_none());
    match (of_phase, is_whole) {
        (true, false) => remedy(Criterion::Evidence),
        (true, true) if criterion != Criterion::Signed => {
            "wait until there were calls: without any, nothing is known"
        }
        (true | false, _) => remedy(criterion),
    }
}

/// What to do.
const fn remedy(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::Keys => {
            "`countersign keys generate ID` where one is missing, `countersign keys rotate ID` where one is old; `unused = true` in \
             [services.ID] for a service that calls nobody"
        }
        Criterion::EnvFiles => "`chmod 600 FILE`, and `countersign keys rotate ID` if somebody may have read it",
        Criterion::RedisClock => "let both machines follow one time server (`chronyc tracking`, `timedatectl`)",
        Criterion::UpstreamAround => {
            "let the upstream listen on 127.0.0.1 only, or close its port to others with a firewall and waive this; one on another \
             machine must take connections from this one alone"
        }
        Criterion::Ready | Criterion::Upstream => "`countersign status` says what is missing; mend that first",
        Criterion::Configuration => "`countersign check`, mend it, `countersign reload`",
        Criterion::StateDurable => {
            "look at the disks of the state directory and of the audit log; the log says what they refused"
        }
        Criterion::NoHold => "mend what caused it, then `countersign rollback --lift --reason \"...\"`",
        Criterion::Monitoring => "let Prometheus scrape /metrics of [admin].listen; without it nobody sees an alert",
        Criterion::Baseline => {
            "stay in log mode until the services have called (`countersign ramp status` says who has)"
        }
        Criterion::InForce => "go on with the ramp first: `countersign status`",
        Criterion::Elapsed => "wait",
        Criterion::Evidence => {
            "write audit records to a file that this user may read ([audit].file), keep it for longer than a phase, and wait for a period \
             whose records are whole"
        }
        Criterion::Uptime => {
            "find out why it stopped (`journalctl -u countersign`), and wait for a period without that"
        }
        Criterion::NoRollback => "mend what caused it; it counts until it is out of the period",
        Criterion::NoCritical => {
            "find the cause (`countersign ramp status`, `countersign report`); it counts until it is out of the period"
        }
        Criterion::Drilled => "`countersign rollback --dry-run --reason \"drill\"`",
        Criterion::Signed => {
            "`countersign report --readiness` names the calls; let the service sign, or wait until it calls; `unused = true` in \
             [services.ID] for one that never does"
        }
        Criterion::Signatures => {
            "compare the keys: `countersign keys list` there and here; `countersign verify` says what fails"
        }
        Criterion::Timestamps | Criterion::CallerClocks => "set that machine's clock: let it follow a time server",
        Criterion::Callers => "add it to the rule's `callers`, if it may call there",
        Criterion::Overrides => "let it sign: an override ends",
        Criterion::ExemptReachable => {
            "`countersign explain GET PATH` says which rule takes the path; `countersign validate URL` asks again"
        }
        Criterion::ServiceRefused => {
            "`countersign explain POST PATH` says which rule takes the path; `countersign validate URL` asks again"
        }
        Criterion::SuccessRate => "`countersign report --readiness` names the calls that fail, and why",
        Criterion::Availability | Criterion::UpstreamErrors => {
            "mend the upstream: the audit records with status 500 and above name the calls"
        }
        Criterion::Overhead => {
            "look for a machine that is out of CPU, or an audit disk that is slow with `on_full = \"block\"`"
        }
        Criterion::RequestLatency => "the upstream is slow: `upstream_us` of its audit records",
        Criterion::RateLimited
        | Criterion::Unauthorized
        | Criterion::InvalidSignatures
        | Criterion::LateTimestamps => {
            "`countersign report --readiness` shows from which addresses; find out who that is, and wait for a quiet period"
        }
        Criterion::Blocked => "`countersign report --readiness` shows who is refused, and why",
    }
}
