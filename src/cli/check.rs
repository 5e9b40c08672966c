//! `check`: every problem of a configuration at once.

use super::args::ConfigArgs;
use super::output::{Answer, CliError, Output};

/// `countersign check`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
}

/// Answers the verb.
///
/// # Errors
/// When it cannot be answered.
pub fn run(_args: Args, _output: &Output) -> Result<Answer, CliError> {
    Err(CliError::Failed("`check` is not wired yet".into()))
}
