//! `keys`: make service keys, or import them from where a fleet keeps them today.
//!
//! Both read and check everything before the first file is written; a key that is there already stays unless `--force`
//! says otherwise. What is printed of a key is its fingerprint.

mod import;

use super::args::ConfigArgs;
use super::key_source;
use super::output::{Answer, CliError, Output};
use crate::keys::write::{self, Written, key_path};
use crate::signature::key::ServiceId;
use std::path::{Path, PathBuf};

const GENERATE_HELP: &str = "\
A key is 256 random bits as 64 lowercase hex digits, in DIR/ID.env with mode 600. Give the same file to the service that
signs with it. The key itself is never printed.

Examples:
  countersign keys generate npu-worker ai-stack
  countersign keys generate npu-worker --dir ./keys --force";

const IMPORT_HELP: &str = "\
Each file is checked before anything is written. Files stay as they are where they are; only SERVICE_ID and
SERVICE_KEY are taken over. One that others can read is imported too, and reported: its key may be known.

Examples:
  countersign keys import                        everything below /etc/autobot/service-keys
  countersign keys import --dry-run ~/.env       what would be done with one file
  countersign keys import --from /mnt/keys --dir ./keys";

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
    #[command(after_help = GENERATE_HELP)]
    Generate {
        #[command(flatten)]
        /// Where to.
        place: PlaceArgs,
        /// Service ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Copy key files into the key directory, with owner and mode set right
    #[command(after_help = IMPORT_HELP)]
    Import {
        #[command(flatten)]
        /// Where to.
        place: PlaceArgs,
        /// Key files, or directories of them [default: /etc/autobot/service-keys]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// The same, as a flag (repeatable)
        #[arg(long, value_name = "PATH")]
        from: Vec<PathBuf>,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Where keys are written to.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Key directory, made (0700) if missing [default: the configuration's, or /etc/countersign/keys]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Replace keys that are there already
    #[arg(long)]
    pub force: bool,
}

/// Does it.
///
/// # Errors
/// When it cannot be done.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    match args.verb {
        KeysVerb::Generate { place, ids } => {
            let written = generate(&place.directory()?, &ids, place.force)?;
            show(&written, output)?;
            Ok(Answer::Done)
        }
        KeysVerb::Import { place, paths, from, dry_run } => {
            let sources = paths.into_iter().chain(from).collect();
            import::run(&place, sources, dry_run, output)
        }
    }
}

impl PlaceArgs {
    fn directory(&self) -> Result<PathBuf, CliError> {
        key_source::directory(self.dir.as_deref(), &self.config)
    }
}

/// Makes all of them or, as far as can be known beforehand, none.
fn generate(directory: &Path, ids: &[String], force: bool) -> Result<Vec<Written>, CliError> {
    let mut wanted: Vec<ServiceId> = Vec::new();
    for text in ids {
        let id = ServiceId::parse(text).ok_or_else(|| {
            CliError::Usage(format!(
                "{text:?} is no service id; expected 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit"
            ))
        })?;
        if !wanted.contains(&id) {
            wanted.push(id);
        }
    }
    let there = wanted.iter().map(|id| key_path(directory, id)).filter(|path| path.symlink_metadata().is_ok());
    let there: Vec<String> = there.map(|path| format!("{} is there already", path.display())).collect();
    if !force && !there.is_empty() {
        let there = there.join("\n");
        return Err(CliError::Failed(format!("{there}\nnothing was written; replace with --force")));
    }
    let mut written: Vec<Written> = Vec::new();
    for id in &wanted {
        match write::generate(directory, id, force) {
            Ok(key) => written.push(key),
            Err(fault) => {
                let made = written.iter().map(|key| format!("\nwritten before that: {}", key.path.display()));
                return Err(CliError::Failed(format!("{fault}{}", made.collect::<String>())));
            }
        }
    }
    Ok(written)
}

fn show(written: &[Written], output: &Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&serde_json::json!({ "written": written.iter().map(as_json).collect::<Vec<_>>() }));
    }
    written.iter().try_for_each(|key| {
        output.text(format_args!("{}  fingerprint {}  {}", key.id, key.fingerprint, key.path.display()))
    })
}

fn as_json(key: &Written) -> serde_json::Value {
    serde_json::json!({
        "service": key.id.as_str(),
        "fingerprint": key.fingerprint.to_string(),
        "path": key.path.display().to_string(),
    })
}

#[cfg(test)]
mod tests;
