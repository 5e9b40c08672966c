//! `demo`: every outcome of the contract, shown on free localhost ports.

use super::output::{Answer, CliError, Output};

/// `countersign demo`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep running afterwards, with the addresses and ready-to-paste curl lines
    #[arg(long)]
    pub stay: bool,
}

/// Runs the demonstration.
///
/// # Errors
/// When it cannot be set up.
pub fn run(_args: Args, _output: &Output) -> Result<Answer, CliError> {
    Err(CliError::Failed("the demo is not wired yet".into()))
}
