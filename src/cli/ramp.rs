//! `countersign ramp`: enforcement in stages, each healthy for its time before the next; and `countersign maintenance`.

mod ahead;
mod plan;
mod words;

use super::control::{SidecarArgs, sudo_user};
use super::enforce::add;
use super::output::{Answer, CliError, Output};
use clap::{Args as ClapArgs, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Switches enforcement on in stages, and watches each.
#[derive(Debug, ClapArgs)]
#[command(
    subcommand_required = true,
    after_help = "\
Examples:
  What would happen, when, and to whom:
    countersign ramp plan
  Begin:
    countersign ramp start --reason \"change 4711\"
  How it stands, and what is missing before it goes on:
    countersign ramp status
  Go on although a quiet service has not called enough:
    countersign ramp advance --reason \"tried by hand\""
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the stages with their times, and who would be refused at each
    Plan(plan::Args),
    /// Begin at the stage above what is in force
    Start(StartArgs),
    /// Show the stage, what is missing before the next, and the figures; 1 where no ramp runs
    Status(StatusArgs),
    /// Stand still; what is in force stays, and is judged
    Pause(SteerArgs),
    /// Go on after a pause
    Resume(SteerArgs),
    /// Go on to the next stage now
    Advance(AdvanceArgs),
    /// End the ramp; what is in force stays in force
    Abort(SteerArgs),
}

#[derive(Debug, ClapArgs)]
struct StartArgs {
    /// One group of rules after the other (`[ramp].groups`), instead of percentages
    #[arg(long)]
    groups: bool,
    /// Begin at the first stage, also where more is in force
    #[arg(long)]
    restart: bool,
    /// Also where a rollback holds: lifts it
    #[arg(long)]
    lift: bool,
    /// Also where too little was measured in log mode
    #[arg(long)]
    without_baseline: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

#[derive(Debug, ClapArgs)]
struct StatusArgs {
    #[command(flatten)]
    sidecar: SidecarArgs,
}

#[derive(Debug, ClapArgs)]
struct SteerArgs {
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

#[derive(Debug, ClapArgs)]
struct AdvanceArgs {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Asks and prints.
///
/// # Errors
/// When the sidecar refuses, or cannot be reached.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    match args.action {
        Action::Plan(args) => plan::run(args, output),
        Action::Start(args) => {
            let mut body = json!({
                "groups": args.groups, "restart": args.restart, "lift": args.lift,
                "without_baseline": args.without_baseline,
            });
            add(&mut body, "reason", args.reason);
            order(&args.sidecar, "/v1/ramp/start", body, output)
        }
        Action::Status(args) => {
            let told = args.sidecar.find()?.done(&Method::GET, "/v1/ramp", None)?;
            show(&told, output)?;
            Ok(if told["ramp"].is_null() { Answer::No } else { Answer::Done })
        }
        Action::Pause(args) => steer(args, "/v1/ramp/pause", output),
        Action::Resume(args) => steer(args, "/v1/ramp/resume", output),
        Action::Advance(args) => order(&args.sidecar, "/v1/ramp/advance", json!({ "reason": args.reason }), output),
        Action::Abort(args) => steer(args, "/v1/ramp/abort", output),
    }
}

fn steer(args: SteerArgs, path: &str, output: &Output) -> Result<Answer, CliError> {
    let mut body = json!({});
    add(&mut body, "reason", args.reason);
    order(&args.sidecar, path, body, output)
}

/// Asks for a change and prints how the ramp stands. What would not survive the process is no success.
fn order(sidecar: &SidecarArgs, path: &str, mut body: Value, output: &Output) -> Result<Answer, CliError> {
    add(&mut body, "sudo_user", sudo_user());
    let told = sidecar.find()?.done(&Method::POST, path, Some(&body))?;
    show(&told, output)?;
    Ok(if told["durable"] == true { Answer::Done } else { Answer::No })
}

fn show(told: &Value, output: &Output) -> Result<(), CliError> {
    if output.is_json() { output.json(told) } else { output.text(words::status(told).trim_end()) }
}

/// Suspends the judgement of the rollout for a planned restart of the backend.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  The backend is restarted:
    countersign maintenance 10m --reason \"deploy 1.7\"
  It is back already:
    countersign maintenance off

While it lasts nothing rolls back by itself and no stage's time passes, also after a restart of the sidecar. `rollback`
works as ever. It counts at this sidecar alone: where several share their state, say it to each whose backend restarts.")]
pub struct MaintenanceArgs {
    /// For how long, at most a day; `off` ends it
    #[arg(value_name = "DURATION|off")]
    lasts: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Asks and prints.
///
/// # Errors
/// When the duration is none, the sidecar refuses, or cannot be reached.
pub fn maintenance(args: MaintenanceArgs, output: &Output) -> Result<Answer, CliError> {
    let lasts = match args.lasts.as_str() {
        "off" => Duration::ZERO,
        text => crate::config::duration_argument(text)
            .map_err(|why| CliError::Usage(format!("`{}` is no duration: {why}", text.escape_debug())))?,
    };
    if lasts.subsec_nanos() != 0 || (lasts.is_zero() && args.lasts != "off") {
        return Err(CliError::Usage("maintenance lasts whole seconds, one at least; `off` ends it".to_owned()));
    }
    let mut body = json!({ "seconds": lasts.as_secs() });
    add(&mut body, "reason", args.reason);
    order(&args.sidecar, "/v1/maintenance", body, output)
}
