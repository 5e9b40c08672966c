//! `verify`: which check a signed request fails, and why.
//!
//! The checks are the sidecar's own code (`PresentedSignature::parse`, `verify`, and with a configuration `judge`); what is added
//! is words, and the search for the mistake that would explain a wrong signature. Nothing is sent, counted or remembered.

mod report;
mod words;

use super::args::ConfigArgs;
use super::key_source;
use super::output::{Answer, CliError, Output, complain};
use crate::clock;
use crate::config::{Config, KeySourceKind, OwnKey, Redis, Signature, defaults};
use crate::keys::dir::{DirectoryKey, KeyFault, own_key, read_all};
use crate::keys::redis::RedisStore;
use crate::keys::secret_file::SecretReader;
use crate::keys::store::KeyStore;
use report::{Known, Question, Report};
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
The keys and the window come from --dir and --window, else from the configuration, whose rules are then looked at too.

Examples:
  countersign verify --method POST --path /api/npu/results/42 --dir /etc/countersign/keys \\
      -H 'X-Service-ID: npu-worker' -H 'X-Service-Timestamp: 1759742876' -H 'X-Service-Signature: de80db4c...'

Exit code 0: verified; 1: not; 2: it could not be tried.";

/// `countersign verify`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Method of the request, as it was sent
    #[arg(long, value_name = "METHOD")]
    pub method: String,
    /// Path of the request, as it was sent; a query helps to find mistakes
    #[arg(long, value_name = "PATH")]
    pub path: String,
    /// A header of the request, `Name: value` (repeatable)
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub header: Vec<String>,
    /// Directory of key files [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Seconds a timestamp may be off [default: the configuration's, or 300]
    #[arg(long, value_name = "SECONDS")]
    pub window: Option<u64>,
    /// Check as of this time, in Unix seconds [default: now]
    #[arg(long, value_name = "SECONDS")]
    pub now: Option<u64>,
}

/// Answers the verb.
///
/// # Errors
/// When there are no keys to try, or the arguments are no request.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let config = match &args.dir {
        Some(_) if !args.config.is_named() => None,
        Some(_) | None => key_source::configuration(&args.config)?,
    };
    let (keys, problems) = known_keys(args.dir.as_deref(), config.as_ref())?;
    let window = config.as_ref().map_or(Signature::default(), |config| config.signature).window_seconds;
    let (path, query) = match args.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*args.path, None),
    };
    if !path.starts_with('/') {
        return Err(CliError::Usage(format!(
            "--path {path:?} does not begin with /; expected the path of the request"
        )));
    }
    let headers = args.header.iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
    let question = Question {
        method: &args.method,
        path,
        query,
        headers: &headers,
        window: args.window.unwrap_or(window),
        now: args.now.unwrap_or_else(clock::unix_seconds),
    };
    let report = Report::of(&question, &keys, config.as_ref());
    if output.is_json() {
        output.json(&report.to_json(&problems))?;
    } else {
        problems.iter().for_each(|problem| complain(problem));
        output.text(report.to_text())?;
    }
    Ok(if report.verified() { Answer::Done } else { Answer::No })
}

fn header(text: &str) -> Result<(&str, &str), CliError> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim(), value.trim())),
        Some(_) | None => Err(CliError::Usage(format!("{text:?} is no header; expected `Name: value`"))),
    }
}

/// The keys that can be read, and what is wrong with the others: one bad file does not hide what the good ones tell.
fn known_keys(named: Option<&Path>, config: Option<&Config>) -> Result<(Vec<Known>, Vec<String>), CliError> {
    let own = config.filter(|_| named.is_none());
    let (mut keys, mut problems) = match own.and_then(|config| key_source::redis(&config.keys)) {
        Some(settings) => match in_redis(settings) {
            // As in the sidecar: files are asked where Redis cannot be reached, and only then.
            Err(CliError::Unreachable(why)) if files_may_serve(config) => {
                let (keys, mut problems) = in_directory(None, config)?;
                problems.push(why);
                (keys, problems)
            }
            answer => answer?,
        },
        None => in_directory(named, config)?,
    };
    if let Some((config, service)) = own.and_then(|config| Some((config, config.service.as_ref()?)))
        && !matches!(service.key, OwnKey::Directory | OwnKey::Redis)
    {
        match own_key(&config.keys, service) {
            // As in the sidecar: what was named for the service itself counts.
            Ok(Some(file)) => {
                keys.retain(|key| key.id != service.id);
                keys.push(Known::new(service.id.clone(), file));
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    Ok((keys, problems))
}

fn files_may_serve(config: Option<&Config>) -> bool {
    config.is_some_and(|config| config.keys.sources.contains(&KeySourceKind::Files))
}

fn in_redis(settings: &Redis) -> Result<(Vec<Known>, Vec<String>), CliError> {
    let store = KeyStore::Redis(RedisStore::new(settings));
    let listed = key_source::block_on(async { store.list().await.map_err(key_source::failed) })?;
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for (id, found) in listed {
        match found.map(|record| Known::stored(id, record)) {
            Ok(Ok(known)) => keys.push(known),
            Ok(Err(error)) => problems.push(error.to_string()),
            Err(fault) => problems.push(fault.to_string()),
        }
    }
    Ok((keys, problems))
}

fn in_directory(named: Option<&Path>, config: Option<&Config>) -> Result<(Vec<Known>, Vec<String>), CliError> {
    let directory = named.or(config.map(|config| &*config.keys.dir)).unwrap_or(Path::new(defaults::KEYS_DIR));
    let (found, problems) = read_all(&SecretReader::of_process(), directory);
    if let Some(problem) =
        problems.iter().find(|problem| matches!(problem.fault, KeyFault::NoDirectory | KeyFault::Directory(_)))
    {
        return Err(CliError::Usage(problem.to_string()));
    }
    let problems = problems.iter().map(ToString::to_string).collect();
    Ok((found.into_iter().map(|DirectoryKey { id, file, .. }| Known::new(id, file)).collect(), problems))
}

#[cfg(test)]
mod tests;
