//! `sign`: the headers of a signed request, or a ready curl line.

use super::args::ConfigArgs;
use super::output::{Answer, CliError, Output};

/// `countersign sign`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Method of the request
    pub method: String,
    /// URL of the request
    pub url: String,
    /// Print a ready curl line
    #[arg(long)]
    pub curl: bool,
}

/// Answers the verb.
///
/// # Errors
/// When it cannot be answered.
pub fn run(_args: Args, _output: &Output) -> Result<Answer, CliError> {
    Err(CliError::Failed("`sign` is not wired yet".into()))
}
