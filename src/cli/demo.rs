//! `demo`: every outcome of the contract on free localhost ports, without configuration, without root.
//!
//! Everything is real: a backend on a socket, the sidecar that guards it and one that signs for a service that calls it,
//! both started as `run` does, with configuration, key and audit files in a temporary directory, and a client that writes
//! bytes to a socket. What is shown as recorded is read
//! back from the audit file, what the backend saw is what the backend noted; nothing is computed beside. The exit code
//! is 0 only if every request came out as the contract says.
//!
//! Each case calls from an address of its own (127.0.0.x): refusals are counted per address, and the case that shows the
//! limit must not depend on the others.

use super::output::{Answer, CliError, Output};
use crate::app::control::Signals;
use crate::app::{App, RunError};
use serde::Serialize;
use std::io;

mod backend;
mod cases;
mod client;
mod judge;
mod setup;
mod table;

use judge::Row;
use setup::Stage;

const AFTER_HELP: &str = "\
Most requests go to the guarding sidecar, signed (or not) by the demo's client itself; those that say so go through the
signing sidecar, unsigned.

Examples:
  Every outcome as a table, then clean up (a few seconds):
    countersign demo
  Keep it running, with addresses and curl lines to paste:
    countersign demo --stay

Exit code 0 only if every request came out as the contract says.";

/// `countersign demo`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Keep running afterwards, with the addresses and ready-to-paste curl lines, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'r> {
    as_promised: bool,
    requests: &'r [Row],
    #[serde(skip_serializing_if = "Option::is_none")]
    staying: Option<setup::Addresses>,
}

/// Runs the demonstration.
///
/// # Errors
/// When it cannot be set up, or a request got no answer at all.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot make a runtime: {error}")))?;
    runtime.block_on(show(args, output))
}

async fn show(args: Args, output: &Output) -> Result<Answer, CliError> {
    let mut signals = Signals::install().map_err(|error| failed("take signals", &error))?;
    let mut stage = Stage::set().await?;
    let rows = tokio::select! {
        rows = cases::play(&mut stage) => rows.map_err(|error| failed("call the guarded backend", &error))?,
        () = signals.next_stop() => return Err(CliError::Failed("interrupted".to_owned())),
    };
    let as_promised = rows.iter().all(|row| row.as_promised);
    if args.stay {
        stage.configure(setup::Mode::Enforce).map_err(|error| failed("write the configuration", &error))?;
    }
    let staying = args.stay.then(|| stage.addresses());
    if output.is_json() {
        output.json(&Report { as_promised, requests: &rows, staying })?;
    } else {
        output.text(table::render(&rows, output.is_colourful()))?;
        if let Some(addresses) = staying {
            output.text(table::invitation(&addresses, &stage.sign("npu-worker", cases::RESULTS, 0)))?;
        }
    }
    stage.end(args.stay.then_some(signals)).await?;
    Ok(if as_promised { Answer::Done } else { Answer::No })
}

fn failed(action: &str, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot {action}: {error}"))
}

/// Ends the sidecar: at once, or when a signal says so.
async fn end(app: App, signals: Option<Signals>) -> Result<(), CliError> {
    match signals {
        Some(signals) => match app.serve(signals).await {
            // A second Ctrl-C is a way to leave, too.
            Ok(()) | Err(RunError::Cut) => Ok(()),
            Err(error) => Err(CliError::Failed(error.to_string())),
        },
        None => {
            app.stop("demo", setup::DRAIN).await;
            Ok(())
        }
    }
}
