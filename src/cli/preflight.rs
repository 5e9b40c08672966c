//! `preflight`: may the next step of the rollout be taken? Gathers the figures of [`gates`], has them judged, and
//! prints a line for each criterion.
//!
//! | file | where its figures come from |
//! |---|---|
//! | `keys` | the store of keys, as `keys list` reads it |
//! | `files` | `.env` files: who may read them |
//! | `around` | connections to the upstream's port on every address of this machine |
//! | `standing` | the running sidecar, `GET /v1/status` |
//! | `records` | its audit log |
//! | `suite` | requests of our own, those of `validate` |
//!
//! Nothing is changed by it, and a figure that cannot be had takes none of the others away: it is unknown, which is no-go. The sidecar
//! that cannot be reached is exit code 3, with everything that can be told without it.

use super::args::ConfigArgs;
use super::control::SidecarArgs;
use super::key_source;
use super::output::{Answer, CliError, Output};
use crate::clock;
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::config::{Config, Upstream, duration_argument, url_argument};
use crate::keys::redis::RedisStore;
use crate::rollout::gates::figures::{Fact, Figures, Offset};
use crate::rollout::gates::{self, Criterion, Gate, Limits};
use crate::rollout::stage::Target;
use std::path::PathBuf;
use std::time::Duration;

mod around;
mod files;
mod keys;
mod records;
mod show;
mod standing;
mod suite;

const AFTER_HELP: &str = "\
Gates, each before its step:
  start  log-only: keys, clocks, files, the upstream and who else reaches it, monitoring
  soft   soft enforcement: and the log-only phase, by its audit records and by requests of its own
  ramp   the ramp by percentages: and the phase of soft enforcement
  full   full enforcement: and that the last stage below it is in force
Without --gate: the next one after what is in force.

A criterion that nobody can tell is `unknown`, and as good as failed. --waive takes one out, with a reason that is shown.
The requests are those of `validate`: announced to the sidecar, counted nowhere, without effect.

Examples:
  countersign preflight
  countersign preflight --gate soft --elapsed 48h --records 24h
  countersign preflight --gate start --waive upstream_around=\"firewalled, see runbook\" --json

Exit codes: 0 go, 1 no-go, 2 usage or configuration, 3 the sidecar cannot be reached (the rest is told).";

/// `countersign preflight`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Before which step [default: the next one]
    #[arg(long, value_name = "start|soft|ramp|full", value_parser = gate_argument)]
    gate: Option<Gate>,
    /// How long the phase must have lasted
    #[arg(long, value_name = "DURATION", value_parser = duration_argument, default_value = "24h")]
    elapsed: Duration,
    /// How far back into the phase its records are looked at [default: as --elapsed]
    #[arg(long, value_name = "DURATION", value_parser = duration_argument)]
    records: Option<Duration>,
    /// How long ago the last rollback, or drill of one, may be
    #[arg(long, value_name = "DURATION", value_parser = duration_argument, default_value = "30d")]
    drilled_within: Duration,
    /// How long ago the last scrape of /metrics may be
    #[arg(long, value_name = "DURATION", value_parser = duration_argument, default_value = "5m")]
    scraped_within: Duration,
    /// Leave a criterion out of the answer, and say why (repeatable)
    #[arg(long, value_name = "CRITERION=REASON", value_parser = waiver_argument)]
    waive: Vec<(Criterion, String)>,
    /// Where the guarded system is reached by the requests [default: the first inbound listener]
    #[arg(long, value_name = "URL", value_parser = url_argument, conflicts_with = "no_requests")]
    url: Option<Upstream>,
    /// Send no requests: the audit records have to do
    #[arg(long)]
    no_requests: bool,
    /// Audit log to read [default: the configuration's]
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

fn gate_argument(text: &str) -> Result<Gate, String> {
    let found = Gate::ALL.into_iter().find(|gate| gate.code() == text);
    found.ok_or_else(|| "expected start, soft, ramp or full".to_owned())
}

fn waiver_argument(text: &str) -> Result<(Criterion, String), String> {
    let (code, reason) = text.split_once('=').ok_or("expected CRITERION=REASON")?;
    let criterion = Criterion::parse(code).ok_or_else(|| {
        let codes: Vec<&str> = Criterion::ALL.into_iter().map(Criterion::code).collect();
        format!("there is no criterion {code:?}; expected one of {}", codes.join(", "))
    })?;
    match reason.trim() {
        "" => Err("the reason is missing: CRITERION=REASON".to_owned()),
        reason => Ok((criterion, reason.to_owned())),
    }
}

/// Gathers, judges, prints.
///
/// # Errors
/// When there is no good configuration, or the answer cannot be printed.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let config = loaded(&args.sidecar.config)?;
    let asked = standing::ask(&args.sidecar, &config);
    let gate = args.gate.unwrap_or_else(|| next(&asked));
    let limits = Limits {
        elapsed: args.elapsed.as_secs(),
        drilled_within: args.drilled_within.as_secs(),
        scraped_within: args.scraped_within.as_secs(),
    };
    let records = match gate {
        Gate::Start => records::Records::not_asked(),
        Gate::Soft | Gate::Ramp | Gate::Full => records::read(&args, &config, asked.as_ref().ok()),
    };
    let suite = match (gate, &asked) {
        (Gate::Start, _) => Err("not asked before the start".to_owned()),
        (_, Err(_)) => Err(UNREACHABLE.to_owned()),
        (_, Ok(asked)) => suite::ask(&args, &config, asked),
    };
    let figures = Figures {
        keys: keys::gather(&args.sidecar.config),
        env_files: files::look(&config, args.sidecar.config.path()),
        redis_clock: redis_clock(&config),
        around: Ok(around::attempt(&config)),
        // Once is enough to say why.
        standing: asked.as_ref().map(|asked| asked.standing.clone()).map_err(|_| UNREACHABLE.to_owned()),
        elapsed: records.elapsed,
        phase: records.phase,
        drilled: records.drilled,
        last_stage: last_stage(&config),
        suite,
    };
    let mut findings = gates::judge(gate, &figures, &limits);
    for finding in &mut findings {
        let waiver = args.waive.iter().find(|(criterion, _)| *criterion == finding.criterion);
        finding.waived = waiver.map(|(_, reason)| reason.clone());
    }
    let report = show::Report {
        gate,
        findings: &findings,
        unreachable: asked.as_ref().err().map(String::as_str),
        phase: figures.phase.as_ref().ok(),
        mode: asked.as_ref().ok().map(|asked| asked.mode),
    };
    if output.is_json() {
        output.json(&report.to_json())?;
    } else {
        output.text(report.to_text(output.is_colourful()))?;
    }
    Ok(match (&asked, gates::is_go(&findings)) {
        (Err(_), _) => Answer::Unreachable,
        (Ok(_), true) => Answer::Done,
        (Ok(_), false) => Answer::No,
    })
}

const UNREACHABLE: &str = "the sidecar cannot be reached";

/// The step after what is in force.
fn next(asked: &Fact<standing::Asked>) -> Gate {
    match asked {
        Err(_) => Gate::Start,
        Ok(asked) if !asked.standing.enforces => Gate::Soft,
        Ok(asked) if !asked.standing.below.is_empty() => Gate::Ramp,
        Ok(_) => Gate::Full,
    }
}

fn loaded(args: &ConfigArgs) -> Result<Config, CliError> {
    check::load(Some(args.path()), &Environment::of_process(), &Overrides::default(), Purpose::Inspect)
        .map(|loaded| loaded.config)
        .map_err(|problems| CliError::Configuration(Box::new(problems)))
}

/// Redis's clock against ours, at the middle of a round trip.
fn redis_clock(config: &Config) -> Fact<Option<Offset>> {
    let Some(settings) = &config.keys.redis else { return Ok(None) };
    let store = RedisStore::new(settings);
    let measured = key_source::block_on(async {
        let unreachable = |error: crate::keys::redis::StoreError| CliError::Unreachable(error.to_string());
        // The connection is made first: it is no part of the round trip.
        store.ping().await.map_err(unreachable)?;
        let sent = clock::unix_micros();
        let theirs = store.time().await.map_err(unreachable)?;
        Ok((sent, theirs, clock::unix_micros()))
    });
    let (sent, theirs, answered) = measured.map_err(|error| error.to_string())?;
    let half = answered.saturating_sub(sent) / 2;
    let offset = i128::from(theirs) - i128::from(sent + half);
    // Clocks that are further apart than that are as far apart as can be.
    let milliseconds = i64::try_from(offset / 1_000).unwrap_or(i64::MAX);
    Ok(Some(Offset { milliseconds, uncertain: half.div_ceil(1_000) }))
}

/// The highest percentage below full of the configured stages.
fn last_stage(config: &Config) -> u8 {
    let percentage = |target: &Target| match target {
        Target::Percentage(percentage) => Some(percentage.value()),
        Target::Group(_) => None,
    };
    let stages = config.ramp.stages.iter().filter_map(|stage| percentage(&stage.target));
    stages.filter(|percentage| *percentage < 100).max().unwrap_or(0)
}
