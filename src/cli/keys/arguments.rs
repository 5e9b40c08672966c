//! The arguments of `keys`, with what their help says.

use crate::cli::args::ConfigArgs;
use crate::config::duration_argument;
use std::path::PathBuf;
use std::time::Duration;

const GENERATE_HELP: &str = "\
A key is 256 random bits as 64 lowercase hex digits: in Redis where the configuration asks there
first, else in DIR/ID.env with mode 600. Give the same key to the service that signs with it
(keys export). The key itself is never printed.

Examples:
  countersign keys generate npu-worker ai-stack
  countersign keys generate npu-worker --dir ./keys --force";

const LIST_HELP: &str = "\
LEFT is the time until Redis lets the key lapse. A key in a file never lapses: there it is
reckoned from [keys].ttl.

Examples:
  countersign keys list
  countersign keys list --fail-below 30d
      exit code 1 where a key has less, or a configured service none";

const EXPORT_HELP: &str = "\
DIR/ID.env, mode 600: SERVICE_ID, SERVICE_KEY, and what else a service of the fleet reads there.
Never to a terminal or a pipe.

Example:
  countersign keys export npu-worker --out ./for-vm22";

const IMPORT_HELP: &str = "\
Each file is checked before anything is written. Files stay as they are where they are; only
SERVICE_ID and SERVICE_KEY are taken over. One that others can read is imported too, and
reported: its key may be known.

Examples:
  countersign keys import                        everything below /etc/autobot/service-keys
  countersign keys import --dry-run ~/.env       what would be done with one file
  countersign keys import --from /mnt/keys --dir ./keys
  countersign keys import --to redis             into Redis, for the whole fleet";

const ROTATE_HELP: &str = "\
1. A new key is staged: verifiers take it, nobody signs with it.
2. Every running verifier says that it takes it; while one does not, nothing is switched (exit 1).
3. It becomes the key. The one before stays valid for [keys].overlap, and beyond that while a
   verifier still sees it used.
No request is refused for it. An interrupted rotation is gone on with by the next one; --force switches
without the verifiers that have not said so.

Examples:
  countersign keys rotate npu-worker
  countersign keys rotate --due
      for a timer: what has little time left, and overlaps that are over
  countersign keys rotate --due --force npu-worker
      ends an overlap although the old key is still used";

const REVOKE_HELP: &str = "\
At once and without asking: running sidecars drop the key within two seconds, the service is
refused from then on. To go on with another key, and no request refused, rotate instead.

Example:
  countersign keys revoke npu-worker && countersign keys generate npu-worker";

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
    Generate(Generate),
    /// Tell of every key: its age, the time it has left, who used it last
    #[command(after_help = LIST_HELP)]
    List(List),
    /// Write keys to files for the services that sign with them
    #[command(after_help = EXPORT_HELP)]
    Export(Export),
    /// Copy key files into the key directory, with owner and mode set right, or into Redis
    #[command(after_help = IMPORT_HELP)]
    Import(Import),
    /// Replace keys without one refused request
    #[command(after_help = ROTATE_HELP)]
    Rotate(Rotate),
    /// Take keys away at once
    #[command(after_help = REVOKE_HELP)]
    Revoke(Revoke),
}

/// Which keys are worked on.
#[derive(Debug, clap::Args)]
pub struct Place {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Key directory, whatever the configuration says [default: Redis or the directory of the configuration]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `keys generate`
#[derive(Debug, clap::Args)]
pub struct Generate {
    #[command(flatten)]
    /// Where to.
    pub place: Place,
    /// Replace keys that are there already; who signs with them is refused from then on
    #[arg(long, alias = "replace")]
    pub force: bool,
    /// How long the keys live in Redis [default: the configuration's, or 90d]
    #[arg(long, value_name = "DURATION", value_parser = duration_argument)]
    pub ttl: Option<Duration>,
    /// Service ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
}

/// `keys list`
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    /// Which keys.
    pub place: Place,
    /// Exit with 1 where the key of a service in use has less time left, or a configured service has none
    #[arg(long, value_name = "DURATION", value_parser = duration_argument)]
    pub fail_below: Option<Duration>,
    /// Service ids [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
}

/// `keys export`
#[derive(Debug, clap::Args)]
pub struct Export {
    #[command(flatten)]
    /// Which keys.
    pub place: Place,
    /// Directory to write to, made (0700) if missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace files that hold another key
    #[arg(long)]
    pub force: bool,
    /// Service ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
}

/// `keys import`
#[derive(Debug, clap::Args)]
pub struct Import {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Key directory, made (0700) if missing [default: the configuration's, or /etc/countersign/keys]
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    pub dir: Option<PathBuf>,
    /// Where to: the key directory, or the Redis of the configuration
    #[arg(long, value_name = "STORE", default_value = "files")]
    pub to: ImportTo,
    /// Replace keys that are there already
    #[arg(long)]
    pub force: bool,
    /// Key files, or directories of them [default: /etc/autobot/service-keys]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The same, as a flag (repeatable)
    #[arg(long, value_name = "PATH")]
    pub from: Vec<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Where imported keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportTo {
    /// The key directory.
    Files,
    /// The Redis of the configuration.
    Redis,
}

/// `keys rotate`
#[derive(Debug, clap::Args)]
pub struct Rotate {
    #[command(flatten)]
    /// Which keys.
    pub place: Place,
    /// Do what is due: rotate keys with little time left, end overlaps that are over
    #[arg(long)]
    pub due: bool,
    /// End an overlap whose old key is promised or may still be used (who uses it is refused then); switch although a running
    /// verifier has not taken the new key
    #[arg(long)]
    pub force: bool,
    /// How long the old key stays valid at least [default: the configuration's, or 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration_argument)]
    pub overlap: Option<Duration>,
    /// How long verifiers nobody knows of are given to take the new key
    #[arg(long, value_name = "DURATION", value_parser = duration_argument, default_value = "2s")]
    pub settle: Duration,
    /// Service ids [default with --due: all]
    #[arg(required_unless_present = "due", value_name = "ID")]
    pub ids: Vec<String>,
}

/// `keys revoke`
#[derive(Debug, clap::Args)]
pub struct Revoke {
    #[command(flatten)]
    /// Which keys.
    pub place: Place,
    /// Service ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
}
