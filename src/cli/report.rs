//! `report`: what the audit log says of a period; with `--readiness`, whether enforcement may be switched on.
//!
//! All figures are those of `rollout::recorded`, taken from the records themselves: nothing is asked of a running sidecar.

mod daily;
mod daily_json;
mod daily_text;
mod readiness;
mod readiness_text;
pub(super) mod words;

use super::evidence::{Evidence, EvidenceArgs};
use super::output::{Answer, CliError, Output};

const AFTER_HELP: &str = "\
Without --readiness: successes, failures, rate limiting, overrides, calls per service, key lifetimes, upstream
health, clock drift and changes of state, as text for a mail.

With --readiness: a verdict for each service, from refusals carried out and those that log mode let pass.
  safe         it called, and every call was good
  would_break  calls of its own were or would have been refused
  silent       it never called: nothing is known (`unused = true` in [services.X] where that is right)
  incomplete   nothing speaks against it, but records are missing
Calls from addresses of nobody are shown apart; exempt traffic never counts.

Examples:
  countersign report
  countersign report --readiness --since 7d
  countersign report --readiness --audit ./audit.jsonl --json | jq .services

Exit codes: 0 done; with --readiness, every service is safe. 1 it is not, or the log cannot be read;
2 usage or configuration error; 3 printed, but the store of keys cannot be reached.";

/// `countersign report`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which records.
    pub evidence: EvidenceArgs,
    /// Tell for each service whether enforcement would break it
    #[arg(long)]
    pub readiness: bool,
    /// How many addresses of nobody to show with --readiness
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub top: u16,
}

/// Answers the verb.
///
/// # Errors
/// When the configuration is not good, the log cannot be read, or the answer cannot be printed.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let evidence = Evidence::of(&args.evidence)?;
    if args.readiness {
        let report = readiness::Report::of(&evidence, args.top.into())?;
        if output.is_json() {
            output.json(&report.to_json())?;
        } else {
            output.text(readiness_text::to_text(&report))?;
        }
        return Ok(if report.is_ready() { Answer::Done } else { Answer::No });
    }
    let report = daily::Report::of(&evidence, &args.evidence.config)?;
    if output.is_json() {
        output.json(&daily_json::to_json(&report))?;
    } else {
        output.text(daily_text::to_text(&report))?;
    }
    Ok(report.answer())
}
