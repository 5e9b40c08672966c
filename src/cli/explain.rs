//! `explain`: what happens to a request, and why, before it happens.

use super::args::ConfigArgs;
use super::output::{Answer, CliError, Output};

/// `countersign explain`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Method of the request
    pub method: String,
    /// Path of the request, as it would be sent
    pub path: String,
}

/// Answers the verb.
///
/// # Errors
/// When it cannot be answered.
pub fn run(_args: Args, _output: &Output) -> Result<Answer, CliError> {
    Err(CliError::Failed("`explain` is not wired yet".into()))
}
