//! `explain`: what happens to a request, and why, before it happens.
//!
//! Answers from the configuration alone ([`crate::explain`]), or, with `--live`, asks the running sidecar, which answers with the same code
//! from what it judges by right now. Nothing is sent to an upstream, counted or remembered.

use super::control::{SidecarArgs, percent_encoded};
use super::output::{Answer, CliError, Output};
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::explain::{InForce, Report, Verdict};
use crate::signature::key::ServiceId;
use hyper::Method;
use serde_json::Value;

const AFTER_HELP: &str = "\
Answers by the configuration, without a running sidecar; the environment counts as it does for `run`. With --live the running sidecar \
answers, by the configuration it has loaded, and by the mode, the percentages and the hold that are in force now.

Examples:
  countersign explain GET /api/npu/workers
  countersign explain GET '/api/npu/../internal'
  countersign explain --as npu-worker POST /api/npu/results/42
  countersign explain --live POST /api/npu/results/42
  countersign explain --json GET '/api/chat/..%2finternal' | jq .readings

Exit codes: 0 explained; 1 with --as: that service's signed request is not allowed; 2 configuration or usage error; 3 with --live: \
the sidecar cannot be reached.";

/// `countersign explain`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which file, or which sidecar.
    pub sidecar: SidecarArgs,
    /// Ask the running sidecar what would happen now
    #[arg(long)]
    pub live: bool,
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
/// When the configuration is not good, the sidecar cannot be reached, or the answer cannot be printed.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let caller = match &args.caller {
        None => None,
        Some(text) => Some(ServiceId::parse(text).ok_or_else(|| not_an_id(text))?),
    };
    if args.live {
        return live(&args, caller.as_ref(), output);
    }
    if args.sidecar.socket.is_some() {
        return Err(CliError::Usage("--socket names a running sidecar: say --live to ask it".to_owned()));
    }
    let environment = Environment::of_process();
    let file = args.sidecar.config.path();
    let loaded = check::load(Some(file), &environment, &Overrides::default(), Purpose::Inspect)
        .map_err(|problems| CliError::Configuration(Box::new(problems)))?;
    let in_force = InForce::configured(&loaded.config);
    let report = Report::of(&loaded.config, in_force, &args.method, &args.path, caller.as_ref());
    if output.is_json() {
        output.json(&report.to_json())?;
    } else {
        output.text(report.to_text())?;
    }
    let refused = match &report.verdict {
        Verdict::Malformed(_) => caller.is_some(),
        Verdict::Judged(judged) => judged.asked.is_some_and(|asked| !asked.is_allowed()),
    };
    Ok(if refused { Answer::No } else { Answer::Done })
}

fn live(args: &Args, caller: Option<&ServiceId>, output: &Output) -> Result<Answer, CliError> {
    let mut question =
        format!("/v1/explain?method={}&path={}", percent_encoded(&args.method), percent_encoded(&args.path));
    if let Some(caller) = caller {
        question.push_str("&as=");
        question.push_str(&percent_encoded(caller.as_str()));
    }
    if question.len() > LONGEST {
        return Err(CliError::Usage(format!(
            "method and path are {} bytes as they would be sent to the sidecar; it takes {LONGEST}",
            question.len()
        )));
    }
    let mut told = args.sidecar.find()?.done(&Method::GET, &question, None)?;
    let text = told.as_object_mut().and_then(|told| told.remove("text"));
    if output.is_json() {
        output.json(&told)?;
    } else {
        output.text(text.as_ref().and_then(Value::as_str).unwrap_or_default())?;
    }
    let refused = match caller {
        None => false,
        Some(_) => told["asked"]["allowed"] != true,
    };
    Ok(if refused { Answer::No } else { Answer::Done })
}

/// Bytes of a question; the control API takes heads of 64 KiB.
const LONGEST: usize = 60 * 1024;

fn not_an_id(text: &str) -> CliError {
    CliError::Usage(format!("--as {text:?} is no service id; expected 1 to 64 of A-Z a-z 0-9 . _ -"))
}
