//! `keys`: make service keys, or import them from where a fleet keeps them today.

use super::args::ConfigArgs;
use super::output::{Answer, CliError, Output};
use std::path::PathBuf;

/// `countersign keys`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with keys.
    #[command(subcommand)]
    pub verb: KeysVerb,
}

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeysVerb {
    /// Make a new key for each service
    Generate {
        #[command(flatten)]
        /// Which file.
        config: ConfigArgs,
        /// Service ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Copy key files into the key directory, with owner and mode set right
    Import {
        #[command(flatten)]
        /// Which file.
        config: ConfigArgs,
        /// Key files, or directories of them
        #[arg(required = true, value_name = "PATH")]
        from: Vec<PathBuf>,
    },
}

/// Does it.
///
/// # Errors
/// When it cannot be done.
pub fn run(_args: Args, _output: &Output) -> Result<Answer, CliError> {
    Err(CliError::Failed("`keys` is not wired yet".into()))
}
