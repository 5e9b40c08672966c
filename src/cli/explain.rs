//! `explain`: what happens to a request, and why, before it happens.
//!
//! Answers from the configuration alone, with the sidecar's own code: the head is read by `RequestHead::parse`, the steps are
//! `RuleSet::trace`, and what would come of it is what `judge` says of the request unsigned, and signed by each service
//! with a key made up for the purpose. Nothing is sent, counted or remembered.

mod report;
mod words;

use super::args::ConfigArgs;
use super::output::{Answer, CliError, Output};
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::signature::key::ServiceId;
use report::{Report, Verdict};

const AFTER_HELP: &str = "\
Answers by the configuration, without a running sidecar; the environment counts as it does for `run`.

Examples:
  countersign explain GET /api/npu/workers
  countersign explain GET '/api/npu/../internal'
  countersign explain --as npu-worker POST /api/npu/results/42
  countersign explain --json GET '/api/chat/..%2finternal' | jq .readings

Exit codes: 0 explained; 1 with --as: that service's signed request is not allowed; 2 configuration or usage error.";

/// `countersign explain`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Ask whether this service, signing validly, may make the request
    #[arg(long = "as", value_name = "SERVICE")]
    pub caller: Option<String>,
    /// Method of the request
    pub method: String,
    /// Path of the request, as it would be sent (percent-encoded, in quotes)
    pub path: String,
}

/// Answers the verb.
///
/// # Errors
/// When the configuration is not good, or the answer cannot be printed.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let caller = match &args.caller {
        None => None,
        Some(text) => Some(ServiceId::parse(text).ok_or_else(|| not_an_id(text))?),
    };
    let environment = Environment::of_process();
    let loaded = check::load(Some(args.config.path()), &environment, &Overrides::default(), Purpose::Inspect)
        .map_err(|problems| CliError::Configuration(Box::new(problems)))?;
    let report = Report::of(&loaded.config, &args.method, &args.path, caller.as_ref());
    if output.is_json() {
        output.json(&report.to_json())?;
    } else {
        output.text(report.to_text())?;
    }
    let refused = match &report.verdict {
        Verdict::Malformed(_) => caller.is_some(),
        Verdict::Judged(judged) => judged.asked.as_ref().is_some_and(|asked| !asked.is_allowed()),
    };
    Ok(if refused { Answer::No } else { Answer::Done })
}

fn not_an_id(text: &str) -> CliError {
    CliError::Usage(format!("--as {text:?} is no service id; expected 1 to 64 of A-Z a-z 0-9 . _ -"))
}
