//! `run`: guard a backend, from a file, from flags, or from both.

use super::args::{ConfigArgs, DEFAULT_CONFIG};
use super::output::{Answer, CliError, Output};
use crate::app::{self, RunError, StartError};
use crate::config::check::Overrides;
use crate::config::env::Environment;
use crate::config::reload::Source;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
With --upstream no file is needed: then a key is made in the state directory at the first start, and nothing is \
refused (mode log) until you say `--mode enforce`. A flag beats the environment, the environment beats the file.

Examples:
  From a file:
    countersign run --config countersign.toml
  The same, but refusing a quarter of what fails its checks:
    countersign run --config countersign.toml --mode enforce --percentage 25
  Without a file:
    countersign run --upstream http://127.0.0.1:8000 \\
      --listen 127.0.0.1:8001 --protect /api/internal

A file may guard ([inbound]), sign ([[outbound]]), or both; config/countersign.toml has every key. A program's calls get to \
an [[outbound]] by another base URL, by HTTP_PROXY (with NO_PROXY for what is not listed; aiohttp wants trust_env=True), \
by a redirected port (nft), or by a unix socket.

Environment: SERVICE_ID with SERVICE_KEY_FILE or SERVICE_KEY (who signs); BACKEND_HOST and BACKEND_PORT (where an [[outbound]] \
leads that names no upstream); REDIS_HOST and REDIS_PORT (where keys come from, if Redis is asked and no URL names it), \
REDIS_PASSWORD; AUTH_TIMESTAMP_WINDOW, SERVICE_AUTH_ENFORCEMENT_MODE, SERVICE_AUTH_ENFORCEMENT_PERCENTAGE, \
SERVICE_AUTH_OVERRIDE_TOKEN, SERVICE_AUTH_RATE_LIMIT_WINDOW, SERVICE_AUTH_RATE_LIMIT_MAX_FAILURES.

Signals: HUP reloads, USR1 reopens the audit file, TERM and INT drain and stop; a second one stops at once (exit 1).";

/// `countersign run`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Backend to guard, `http://host:port`
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// Where to listen: `host:port`, `unix:/path` or `systemd:NAME`
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Path that needs a signature (repeatable, or separated by commas)
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub protect: Vec<String>,
    /// Path that never needs one, also below a protected path (repeatable, or separated by commas)
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub exempt: Vec<String>,
    /// What is done about a request that fails its checks: `log` lets it pass and records it, `enforce` refuses it
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// How much of what fails is refused in mode enforce, 0 to 100
    #[arg(long, value_name = "N")]
    pub percentage: Option<String>,
    /// Directory for keys made at first start, the sampling salt and the lock
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Directory of `*.env` files, one key each [default: keys in the state directory]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Read-only listener for /metrics, /healthz and /readyz: `host:port`, or `off`
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Where audit records go: a file, `stdout` or `journald`
    #[arg(long, value_name = "FILE")]
    pub audit: Option<String>,
    /// Worker threads; 0 is one per core
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log format: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// Runs until told to stop.
///
/// # Errors
/// When the configuration is not good, or the surroundings do not let it start or go on.
pub fn run(args: Args, _: &Output) -> Result<Answer, CliError> {
    match app::run(source(args)) {
        Ok(()) => Ok(Answer::Done),
        Err(RunError::Configuration(problems)) => Err(CliError::Configuration(Box::new(problems))),
        Err(RunError::Start(error @ StartError::Keys(_))) => Err(CliError::Usage(error.to_string())),
        Err(RunError::Start(StartError::Listen(errors))) => {
            Err(CliError::FailedAll(errors.iter().map(ToString::to_string).collect()))
        }
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

/// A backend named by a flag needs no file: then only a file that somebody names is read.
fn source(args: Args) -> Source {
    let file = match (&args.config.config, &args.upstream) {
        (Some(named), _) => Some(named.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(PathBuf::from(DEFAULT_CONFIG)),
    };
    let Args {
        upstream,
        listen,
        protect,
        exempt,
        mode,
        percentage,
        state_dir,
        keys,
        audit,
        admin,
        workers,
        log_level,
        log_format,
        ..
    } = args;
    Source {
        file,
        environment: Environment::of_process(),
        overrides: Overrides {
            upstream,
            listen,
            protect,
            exempt,
            mode,
            percentage,
            state_dir,
            keys_dir: keys,
            audit,
            admin,
            workers,
            log_level,
            log_format,
        },
    }
}
