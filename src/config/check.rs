//! `FileConfig` and the environment → [`Config`](super::Config): every problem reported at once.

use super::Config;
use super::diagnostic::Diagnostics;
use super::env::Environment;
use super::reload::Watched;
use std::path::{Path, PathBuf};

/// Where `run` looks when no file is named and no `--upstream` is given.
pub const DEFAULT_FILE: &str = "/etc/countersign/countersign.toml";

/// The flags of `run`, as they were typed: they are checked with everything else, so that all mistakes come at once.
/// A flag beats the environment, which beats the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--upstream URL`
    pub upstream: Option<String>,
    /// `--listen ADDR`
    pub listen: Option<String>,
    /// `--protect PATH`, any number: one more rule, `access = "service"`.
    pub protect: Vec<String>,
    /// `--exempt PATH`, any number: one more rule, `access = "exempt"`.
    pub exempt: Vec<String>,
    /// `--mode log|enforce`
    pub mode: Option<String>,
    /// `--percentage N`
    pub percentage: Option<String>,
    /// `--state-dir DIR`
    pub state_dir: Option<PathBuf>,
    /// `--keys DIR`
    pub keys_dir: Option<PathBuf>,
    /// `--audit FILE|stdout|journald`
    pub audit: Option<String>,
    /// `--admin ADDR|off`
    pub admin: Option<String>,
    /// `--workers N`
    pub workers: Option<String>,
    /// `--log-level LEVEL`
    pub log_level: Option<String>,
    /// `--log-format text|json`
    pub log_format: Option<String>,
}

/// What a load is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run with: a secret file that cannot be read is an error.
    Run,
    /// To look at, perhaps on another machine: that is a warning.
    Check,
}

/// A configuration that stands.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// What a person should look at.
    pub warnings: Diagnostics,
    /// Every file it depends on, for the watcher.
    pub watched: Watched,
}

/// Reads and checks a whole configuration. Without a file, the flags must say what is guarded (`--upstream`, `--listen`).
///
/// # Errors
/// Every problem at once.
pub fn load(
    _file: Option<&Path>,
    _environment: &Environment,
    _overrides: &Overrides,
    _purpose: Purpose,
) -> Result<Loaded, Diagnostics> {
    unimplemented!()
}
