//! `countersign rollback`: back to log-only, at once, whoever is still there to answer.
//!
//! 1. The sidecar is asked through its admin socket.
//! 2. Where nobody answers, the marker file is made in the state directory: a running sidecar sees it, and one that starts later
//!    begins in `log`. The process that holds the state directory, if there is one, is also sent SIGUSR2.
//! 3. It holds until an operator lifts it: `--lift`.

use super::control::{Sidecar, SidecarArgs, sudo_user};
use super::enforce::{add, show};
use super::output::{Answer, CliError, Output};
use super::status;
use crate::clock;
use crate::state::file::StateFiles;
use clap::Args as ClapArgs;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::PathBuf;

mod fleet;
mod standard;

/// Back to log-only: from the next request on nothing is refused any more, until an operator lifts it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  Now:
    countersign rollback --reason \"npu-worker is refused\"
  Now, and wait until the whole fleet has heard of it:
    countersign rollback --fleet --reason \"npu-worker is refused\"
  With a backup, a verification and a record of it:
    countersign rollback --standard --reason \"planned\"
  See that it would work, and change nothing:
    countersign rollback --dry-run --reason \"weekly drill\"
  Only one group of rules:
    countersign rollback --rule \"npu internals\" --reason \"its key is wrong\"
  When it is mended:
    countersign rollback --lift --reason \"key exported again\"

Where the sidecar does not answer, the marker file `rollback` is made in its state directory, and it is sent SIGUSR2.")]
pub struct Args {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    /// Keep a backup of state and configuration, verify afterwards, append the record
    #[arg(long, conflicts_with_all = ["lift", "rule", "dry_run"])]
    standard: bool,
    /// Do everything but the rollback: the drill, which is recorded as such
    #[arg(long, conflicts_with_all = ["lift", "rule"])]
    dry_run: bool,
    /// End the hold of a rollback; switches nothing on by itself
    #[arg(long, conflicts_with = "rule")]
    lift: bool,
    /// Wait for every sidecar that shares its state, and name those it does not reach; exit code 1 where there are any
    #[arg(long, conflicts_with_all = ["lift", "dry_run", "standard"])]
    fleet: bool,
    /// Only the rules of this name, to 0 %
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// The state directory, where the sidecar does not answer [default: as its configuration says]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Rolls back, or lifts.
///
/// # Errors
/// When neither the sidecar nor its state directory can be reached, or it refuses.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let sidecar = args.sidecar.find_anyway(args.state_dir.as_deref())?;
    let mut body = json!({ "reason": args.reason });
    add(&mut body, "sudo_user", sudo_user());
    if args.lift {
        let told = sidecar.done(&Method::POST, "/v1/rollback/lift", Some(&body))?;
        return show(&told, output);
    }
    if args.dry_run {
        body["dry_run"] = json!(true);
        let began = clock::monotonic();
        let told = sidecar.done(&Method::POST, "/v1/rollback", Some(&body))?;
        return drilled(&told, clock::monotonic().duration_since(began).as_millis(), output);
    }
    if args.standard {
        body["kind"] = json!("standard");
        let done = standard::run(&sidecar, &args.reason, &body)?;
        if output.is_json() {
            output.json(&done.to_json())?;
        } else {
            output.text(of_standard(&done))?;
        }
        return Ok(if done.is_good() && done.told["durable"] == true { Answer::Done } else { Answer::No });
    }
    if args.fleet {
        body["fleet"] = json!(true);
    }
    let for_a_rule = args.rule.is_some();
    add(&mut body, "rule", args.rule.clone());
    if for_a_rule {
        let told = sidecar.done(&Method::POST, "/v1/rollback", Some(&body))?;
        return fleet::show(&told, args.fleet, output);
    }
    match sidecar.ask(&Method::POST, "/v1/rollback", Some(&body)) {
        Ok(answered) if answered.status == 200 => fleet::show(&answered.body, args.fleet, output),
        Ok(answered) if answered.status == 400 => {
            Err(CliError::Usage(answered.body["detail"].as_str().unwrap_or_default().to_owned()))
        }
        Ok(answered) => {
            let why = answered.body["detail"].as_str().unwrap_or("it gave no reason").to_owned();
            without_an_answer(&sidecar, &args, &why, output)
        }
        Err(unanswered) => without_an_answer(&sidecar, &args, &unanswered.to_string(), output),
    }
}

fn drilled(told: &Value, millis: u128, output: &Output) -> Result<Answer, CliError> {
    if output.is_json() {
        let mut told = told.clone();
        told["drill"] = json!({ "answered_in_ms": u64::try_from(millis).unwrap_or(u64::MAX) });
        output.json(&told)?;
    } else {
        let (mode, percentage) = (told["mode"].as_str().unwrap_or_default(), &told["percentage"]);
        let disk = told["trouble"].as_str().map_or_else(
            || "the state directory takes it".to_owned(),
            |trouble| format!("IT WOULD NOT SURVIVE THE PROCESS: {trouble}"),
        );
        output.text(format!(
            "drill: nothing changed. A rollback would go from {mode} at {percentage} % to log, and hold.\n\
             The sidecar answered in {millis} ms; {disk}."
        ))?;
    }
    Ok(if told["durable"] == true { Answer::Done } else { Answer::No })
}

fn of_standard(done: &standard::Done) -> String {
    let mut text = status::moved(&done.told);
    let reach = fleet::text(&done.told["fleet"], false);
    if !reach.is_empty() {
        let _ = write!(text, "\n{}", reach.trim_end());
    }
    let _ = write!(text, "\n{:<14}{}", "backup", done.backup.display());
    for check in &done.checks {
        let verdict = if check.passed { "ok" } else { "FAILED" };
        let _ = write!(text, "\n{:<14}{}: {}", verdict, check.name, check.found);
    }
    for problem in &done.problems {
        let _ = write!(text, "\n{:<14}{problem}", "PROBLEM");
    }
    text
}

/// Nobody answered: the marker, and a signal.
fn without_an_answer(sidecar: &Sidecar, args: &Args, why: &str, output: &Output) -> Result<Answer, CliError> {
    let reason = &args.reason;
    let files = StateFiles::of(&sidecar.state_dir);
    let who = sudo_user().map(|user| format!(" sudo:{user}")).unwrap_or_default();
    let uid = rustix::process::getuid().as_raw();
    files.mark(&format!("{reason} (uid:{uid}{who})")).map_err(|error| {
        CliError::Unreachable(format!(
            "{why}\nand the marker {} cannot be made: {error}\nnothing was rolled back",
            files.marker_path().display()
        ))
    })?;
    let signalled = holder(&sidecar.state_dir).map(|process| (process, signal(process)));
    let marker = files.marker_path().display().to_string();
    if output.is_json() {
        let process = signalled.as_ref().map(|(process, _)| process);
        let sent = signalled.as_ref().is_some_and(|(_, sent)| sent.is_ok());
        output.json(&json!({
            "rolled_back_by": "marker", "marker": marker, "process": process, "signalled": sent, "unanswered": why,
            "fleet_told": if args.fleet { json!(false) } else { Value::Null },
        }))?;
    } else {
        let next = match &signalled {
            None => "no sidecar runs there: the next one that starts begins in log, held".to_owned(),
            Some((process, Ok(()))) => format!("process {process} was told by SIGUSR2 and rolls back"),
            Some((process, Err(error))) => {
                format!(
                    "process {process} could not be signalled ({error}); it looks for the marker by itself within seconds"
                )
            }
        };
        output.text(format!("{why}\nmade the marker {marker}\n{next}"))?;
        if args.fleet {
            output.text(
                "NO OTHER SIDECAR WAS TOLD: run this on each of them, or where the fleet's state can be reached",
            )?;
        }
    }
    // Asked was for all of them.
    Ok(if args.fleet { Answer::No } else { Answer::Done })
}

/// The process that holds the state directory, if one does.
fn holder(state_dir: &std::path::Path) -> Option<i32> {
    let mut lock = File::open(state_dir.join("lock")).ok()?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        // Nobody holds it: the number in it is of one that has ended.
        Ok(()) | Err(TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn signal(process: i32) -> Result<(), String> {
    let process = Pid::from_raw(process).ok_or("no process")?;
    kill_process(process, Signal::USR2).map_err(|error| error.to_string())
}
