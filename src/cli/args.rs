//! The command line as a whole: the verbs, and the arguments that several of them share. Each verb's own arguments stand
//! in its file.

use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// Where the configuration is when nobody says otherwise.
pub use crate::config::check::DEFAULT_FILE as DEFAULT_CONFIG;

const AFTER_HELP: &str = "\
Examples:
  See every outcome, without any configuration:
    countersign demo
  Guard a backend of your own, refusing nothing yet:
    countersign run --upstream http://127.0.0.1:8000 \\
      --listen 127.0.0.1:8001 --protect /api/internal
  Find every problem of a configuration at once:
    countersign check --config countersign.toml
  Learn what happens to a request, and why:
    countersign explain POST /api/npu/results

Exit codes: 0 done, 1 the answer is no, 2 usage or configuration error, 3 sidecar or store unreachable.";

/// Authenticating reverse proxy: a sidecar that verifies who signed each request.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_help = AFTER_HELP, subcommand_required = true)]
#[command(arg_required_else_help = false, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// Print JSON instead of text
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Guard a backend: verify, decide, forward, record
    Run(Box<super::run::Args>),
    /// Show every outcome on free localhost ports, without any configuration
    Demo(super::demo::Args),
    /// Check a configuration and report all its problems at once
    Check(super::check::Args),
    /// Tell what happens to a request, and why, before it happens
    Explain(super::explain::Args),
    /// Sign a request: its headers, or a ready curl line
    Sign(super::sign::Args),
    /// Tell which check a signed request fails, and why
    Verify(super::verify::Args),
    /// Make, list, share, rotate and revoke service keys
    Keys(super::keys::Args),
    /// Show how the running sidecar stands: what is in force, since when, by whom, why
    Status(super::status::Args),
    /// Switch to log mode, or to enforcement at a percentage
    Enforce(super::enforce::Args),
    /// Back to log-only at once, held until an operator lifts it
    Rollback(super::rollback::Args),
    /// Grant, list and revoke overrides: tokens that open one path for a while
    Override(super::override_grants::Args),
    /// Switch enforcement on in stages, each watched; roll back by itself
    Ramp(super::ramp::Args),
    /// Suspend the judgement of the rollout for a planned restart
    Maintenance(super::ramp::MaintenanceArgs),
    /// Say go or no-go before the next step of the rollout, criterion by criterion
    Preflight(Box<super::preflight::Args>),
    /// Load the configuration of the running sidecar anew
    Reload(super::reload::Args),
    /// Report what the audit log says, or whether enforcement would break a service
    Report(super::report::Args),
    /// Propose rules from what was seen, as TOML
    Learn(super::learn::Args),
    /// Ask a running system whether it does what its rules say
    Validate(Box<super::validate::Args>),
    /// Print a completion script for a shell
    Completions(super::completions::Args),
    /// Print the manual page, or write one page per verb
    Man(super::man::Args),
}

/// Which configuration file.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/countersign/countersign.toml]
    #[arg(short, long, env = "COUNTERSIGN_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file to read.
    pub fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
    }

    /// Did somebody name a file? Then it must be there, also where flags alone would do.
    pub const fn is_named(&self) -> bool {
        self.config.is_some()
    }
}
