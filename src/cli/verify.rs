//! `verify`: which check a signed request fails, and why.

use super::args::ConfigArgs;
use super::output::{Answer, CliError, Output};

/// `countersign verify`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Method of the request
    #[arg(long)]
    pub method: String,
    /// Path of the request, as it was sent
    #[arg(long)]
    pub path: String,
    /// A header of the request, `Name: value` (repeatable)
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub header: Vec<String>,
}

/// Answers the verb.
///
/// # Errors
/// When it cannot be answered.
pub fn run(_args: Args, _output: &Output) -> Result<Answer, CliError> {
    Err(CliError::Failed("`verify` is not wired yet".into()))
}
