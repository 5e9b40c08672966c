//! What do the audit records say of the phase? Read three times: for the changes of state (when did it begin?), for whose address is
//! whose, for everything.
//!
//! The period is the last `--records` of the phase (else `--elapsed`), or the whole phase where it is shorter. Announced tests count nowhere.

use super::Args;
use super::standing::Asked;
use crate::cli::args::ConfigArgs;
use crate::cli::evidence::{Evidence, EvidenceArgs, inbound, is_beyond_us};
use crate::cli::output::CliError;
use crate::cli::report::words::at;
use crate::config::Config;
use crate::policy::enforcement::Mode;
use crate::rollout::gates::figures::Fact;
use crate::rollout::gates::history::{Change, History, Uptime, What};
use crate::rollout::gates::phase::Phase;
use crate::rollout::recorded::continuity::Continuity;
use crate::telemetry::audit::read::{StoredChange, StoredLine, StoredRecord, TimeRange};
use serde_json::Value;
use std::time::Duration;

/// Figures from records.
pub(super) struct Records {
    pub(super) elapsed: Fact<u64>,
    pub(super) phase: Fact<Phase>,
    pub(super) drilled: Fact<Option<u64>>,
}

impl Records {
    /// For a gate that asks for none.
    pub(super) fn not_asked() -> Records {
        Records::none("there is no phase before the start")
    }

    fn none(why: &str) -> Records {
        Records { elapsed: Err(why.to_owned()), phase: Err(why.to_owned()), drilled: Err(why.to_owned()) }
    }
}

/// Reads them.
pub(super) fn read(args: &Args, config: &Config, asked: Option<&Asked>) -> Records {
    gathered(args, config, asked).unwrap_or_else(|error| Records::none(&error.to_string().replace('\n', "; ")))
}

fn gathered(args: &Args, config: &Config, asked: Option<&Asked>) -> Result<Records, CliError> {
    let named = ConfigArgs { config: Some(args.sidecar.config.path().to_owned()) };
    let back = args.records.unwrap_or(args.elapsed);
    let furthest = args.elapsed.max(back).max(args.drilled_within);
    let since = furthest.saturating_add(MARGIN);
    let mut evidence = Evidence::of(&EvidenceArgs { config: named, audit: args.audit.clone(), since })?;
    let now = evidence.period.until;
    let past = past(&evidence)?;
    let ago = |then: u64| now.saturating_sub(then) / 1_000_000;
    let drilled = Ok(past.history.rehearsed().map(ago));
    let mode = asked.map(|asked| asked.mode).or_else(|| past.history.mode());
    let begin = mode.and_then(|mode| past.history.begin(mode, asked.and_then(|asked| asked.moved)));
    let Some(begin) = begin else {
        return Ok(Records { drilled, ..Records::none("no record says when the phase began") });
    };
    let from = begin.max(now.saturating_sub(u64::try_from(back.as_micros()).unwrap_or(u64::MAX)));
    evidence.period = TimeRange { from, until: now };
    let mut phase = phase(&evidence, config)?;
    phase.rollbacks = past.history.rollbacks_after(from).into_iter().map(str::to_owned).collect();
    let late = past.begins.filter(|begins| *begins > from.saturating_add(TOLERANCE));
    if let (Some(begins), None) = (late, &phase.not_whole) {
        phase.not_whole = Some(format!("records begin only at {}", at(begins)));
    }
    Ok(Records { elapsed: Ok(ago(begin)), phase: Ok(phase), drilled })
}

/// The first line of the period need not be at its very beginning.
const MARGIN: Duration = Duration::from_secs(86_400);
/// Between the first move and the first record of a start.
const TOLERANCE: u64 = 60_000_000;

/// What was done, and the time of the first line.
struct Past {
    history: History,
    begins: Option<u64>,
}

fn past(evidence: &Evidence) -> Result<Past, CliError> {
    let mut past = Past { history: History::default(), begins: None };
    evidence.each(|line| {
        past.begins = Some(past.begins.map_or(line.unix_micros, |begins| begins.min(line.unix_micros)));
        match &line.record {
            StoredRecord::Change(change) => past.history.add(of_line(line, change)),
            StoredRecord::Decision(decision) if past.history.mode().is_none() => {
                // Only the oldest: a decision of before may be written behind a change.
                let mode = of_code(&decision.mode);
                past.history.add(Change { unix_micros: line.unix_micros, what: What::Other, mode, why: "" });
            }
            StoredRecord::Decision(_) => {}
        }
    })?;
    Ok(past)
}

fn of_line<'l>(line: &StoredLine, change: &'l StoredChange) -> Change<'l> {
    let facts: Value = serde_json::from_str(&line.text).unwrap_or_default();
    let what = match (&*change.event, facts["kind"].as_str()) {
        ("rollback", Some("drill")) => What::Drill,
        // Of a rule alone, too: it holds then.
        ("rollback", Some("lift")) if facts["held"] != "yes" => What::Other,
        ("rollback", _) => What::Rollback,
        _ => What::Other,
    };
    let mode = facts["in_force_mode"].as_str().and_then(of_code);
    Change { unix_micros: line.unix_micros, what, mode, why: &change.why }
}

fn of_code(code: &str) -> Option<Mode> {
    [Mode::Log, Mode::Enforce].into_iter().find(|mode| mode.code() == code)
}

fn phase(evidence: &Evidence, config: &Config) -> Result<Phase, CliError> {
    let peers = evidence.peers()?;
    let TimeRange { from, until } = evidence.period;
    let (mut phase, mut uptime, mut beyond_us) = (Phase::of(from, until, &peers), Uptime::of(from), 0);
    let continuity = evidence.each(|line| {
        let is_start = matches!(&line.record, StoredRecord::Change(change) if change.event == "start");
        uptime.record(&line.boot, line.unix_micros, is_start);
        beyond_us += u64::from(is_beyond_us(line));
        let StoredRecord::Decision(decision) = &line.record else { return };
        if let Some(seen) = inbound(line).filter(|_| !decision.probe) {
            phase.add(&seen, decision.own_us, decision.upstream_us, &peers);
        }
    })?;
    phase.down = uptime.down();
    phase.not_whole = not_whole(&continuity, beyond_us);
    let own = config.service.as_ref().map(|service| service.id.as_str());
    for service in &mut phase.services {
        let unused = config.services.iter().any(|(id, said)| id.as_str() == service.id && said.unused);
        service.may_be_silent = unused || own == Some(service.id.as_str());
    }
    Ok(phase)
}

fn not_whole(continuity: &Continuity, beyond_us: u64) -> Option<String> {
    let mut lacks = Vec::new();
    for (count, what) in
        [(continuity.lost, "lost"), (continuity.torn, "torn"), (beyond_us, "in words of a newer version")]
    {
        if count > 0 {
            lacks.push(format!("{count} records are {what}"));
        }
    }
    (!lacks.is_empty()).then(|| lacks.join(", "))
}
