//! `keys import`: key files from where a fleet keeps them, into the key directory.
//!
//! 1. Read every file named, and every `*.env` of the directories named. A file open to others is read all the same,
//!    because taking the key out of it is the point; that it was open is said.
//! 2. Whose key it is: what `SERVICE_ID` says, else the name of the file. Both must agree where both are given.
//! 3. Two different keys of one service, a file that gives none, a different key in the directory without
//!    `--force`: each is reported, and nothing at all is written.
//! 4. Write the rest. The same key in its place already is left alone.
//!
//! With `--to redis` the same into the Redis of the configuration: the whole fleet then has them.

use super::arguments::{Import, ImportTo};
use super::{KeyPlace, key_source};
use crate::cli::output::{Answer, CliError, Output};
use crate::clock;
use crate::keys::dir::key_files;
use crate::keys::key_file::{KeyFile, service_of};
use crate::keys::record::KeyText;
use crate::keys::redis::RedisStore;
use crate::keys::secret_file::SecretReader;
use crate::keys::store::KeyStore;
use crate::keys::write::{key_path, write};
use crate::signature::key::ServiceId;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the fleet's installation scripts put them.
const FLEET_DIRECTORY: &str = "/etc/autobot/service-keys";

/// A key that was read.
pub(super) struct Found {
    id: ServiceId,
    file: KeyFile,
    source: PathBuf,
    /// Who else can read or change the source.
    warning: Option<String>,
    action: Action,
}

/// What is to be done with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Import,
    Replace,
    Unchanged,
}

impl Action {
    const fn code(self) -> &'static str {
        match self {
            Action::Import => "import",
            Action::Replace => "replace",
            Action::Unchanged => "unchanged",
        }
    }
}

pub(super) fn run(arguments: Import, output: &Output) -> Result<Answer, CliError> {
    let Import { config, dir, to, force, paths, from, dry_run } = arguments;
    let sources: Vec<PathBuf> = paths.into_iter().chain(from).collect();
    let sources = if sources.is_empty() { vec![PathBuf::from(FLEET_DIRECTORY)] } else { sources };
    let place = KeyPlace::of(dir.as_deref(), &config)?;
    let target = match to {
        ImportTo::Files => Target::Directory(place.directory.clone()),
        ImportTo::Redis => {
            let store = place.keys.redis.as_ref().map(|settings| KeyStore::Redis(RedisStore::new(settings)));
            let store =
                store.ok_or_else(|| CliError::Usage("--to redis: the configuration names no [keys].redis".into()))?;
            Target::Redis(store, place.keys.ttl)
        }
    };
    let found = import(&target, &sources, force, dry_run)?;
    show(&found, &target, dry_run, output)?;
    Ok(Answer::Done)
}

/// Where keys go.
pub(super) enum Target {
    Directory(PathBuf),
    /// And how long they live there.
    Redis(KeyStore, Duration),
}

impl Target {
    fn place(&self, id: &ServiceId) -> String {
        match self {
            Target::Directory(directory) => key_path(directory, id).display().to_string(),
            Target::Redis(store, _) => store.place(),
        }
    }

    fn write(&self, key: &Found) -> Result<(), CliError> {
        let replace = key.action == Action::Replace;
        match self {
            Target::Directory(directory) => write(directory, &key.id, &key.file.text, key.file.made, replace)
                .map(drop)
                .map_err(|fault| CliError::Failed(fault.to_string())),
            Target::Redis(store, ttl) => {
                let text = KeyText::parse(&key.file.text).map_err(|error| CliError::Failed(error.to_string()))?;
                let made = key.file.made.unwrap_or_else(clock::unix_seconds);
                key_source::block_on(async {
                    store.create(&key.id, &text, made, *ttl, replace).await.map_err(key_source::failed)
                })
            }
        }
    }

    /// What stands where this key would: nothing, the same, or another.
    fn compare(&self, key: &Found) -> Result<Action, CliError> {
        let same = match self {
            Target::Directory(directory) => {
                let path = key_path(directory, &key.id);
                if path.symlink_metadata().is_err() {
                    return Ok(Action::Import);
                }
                KeyFile::read(&SecretReader::of_process(), &path).is_ok_and(|there| *there.text == *key.file.text)
            }
            Target::Redis(store, _) => {
                let there = key_source::block_on(async { Ok(store.read(&key.id).await) })?;
                match there {
                    Ok(None) => return Ok(Action::Import),
                    Ok(Some(there)) => *there.current.reveal() == **key.file.text,
                    Err(fault) if fault.is_outage() => return Err(key_source::failed(fault)),
                    // What stands there is no key.
                    Err(_) => false,
                }
            }
        };
        Ok(if same { Action::Unchanged } else { Action::Replace })
    }
}

/// Everything but the arguments and the answer.
pub(super) fn import(
    target: &Target,
    sources: &[PathBuf],
    force: bool,
    dry_run: bool,
) -> Result<Vec<Found>, CliError> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for path in paths(sources, &mut problems) {
        match read(&path) {
            Ok(key) => found.push(key),
            Err(problem) => problems.push(format!("{}: {problem}", path.display())),
        }
    }
    let mut found = merged(found, &mut problems);
    for key in &mut found {
        key.action = target.compare(key)?;
        if key.action == Action::Replace && !force {
            let place = target.place(&key.id);
            problems
                .push(format!("{place} is there already with another key of {}; replace it with --force", key.id));
        }
    }
    if !problems.is_empty() {
        return Err(CliError::Failed(format!("{}\nnothing was written", problems.join("\n"))));
    }
    if !dry_run {
        found.iter().filter(|key| key.action != Action::Unchanged).try_for_each(|key| target.write(key))?;
    }
    Ok(found)
}

/// The files to read: those named, and the key files of the directories named.
fn paths(sources: &[PathBuf], problems: &mut Vec<String>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for source in sources {
        if !source.is_dir() {
            paths.push(source.clone());
            continue;
        }
        match key_files(source) {
            Ok(files) if files.is_empty() => problems.push(format!("{}: holds no *.env file", source.display())),
            Ok(files) => paths.extend(files),
            Err(error) => problems.push(format!("{}: cannot be listed: {error}", source.display())),
        }
    }
    paths
}

fn read(path: &Path) -> Result<Found, String> {
    let (text, fault) = SecretReader::of_process().read_anyway(path).map_err(|fault| fault.to_string())?;
    let file = KeyFile::parse(&text).map_err(|fault| fault.to_string())?;
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let (id, file) = match (file.id.clone(), service_of(path)) {
        // The fleet's `.env` names its service inside.
        (Some(id), Err(_)) => (id, file),
        (Some(id), Ok(_)) if hidden => (id, file),
        (_, Ok(id)) => (id.clone(), file.belongs_to(&id).map_err(|fault| fault.to_string())?),
        (None, Err(fault)) => return Err(format!("has no SERVICE_ID, and {fault}")),
    };
    let warning = fault.map(|fault| format!("{}: {fault}", path.display()));
    Ok(Found { id, file, source: path.to_owned(), warning, action: Action::Import })
}

/// One key for each service: the same key in two files is one, two keys are a problem.
fn merged(found: Vec<Found>, problems: &mut Vec<String>) -> Vec<Found> {
    let mut merged: Vec<Found> = Vec::new();
    for key in found {
        match merged.iter_mut().find(|other| other.id == key.id) {
            None => merged.push(key),
            Some(other) if *other.file.text == *key.file.text => {
                other.warning = other.warning.take().or(key.warning);
            }
            Some(other) => problems.push(format!(
                "{} and {} give different keys for {}; name the one to import",
                other.source.display(),
                key.source.display(),
                key.id
            )),
        }
    }
    merged
}

fn show(found: &[Found], target: &Target, dry_run: bool, output: &Output) -> Result<(), CliError> {
    if output.is_json() {
        let keys = found.iter().map(|key| -> Value {
            json!({
                "service": key.id.as_str(),
                "fingerprint": key.file.key.fingerprint().to_string(),
                "from": key.source.display().to_string(),
                "path": target.place(&key.id),
                "action": key.action.code(),
                "warning": key.warning,
            })
        });
        return output.json(&json!({ "dry_run": dry_run, "keys": keys.collect::<Vec<_>>() }));
    }
    for key in found {
        output.text(format_args!(
            "{}  fingerprint {}  {} -> {} ({}{})",
            key.id,
            key.file.key.fingerprint(),
            key.source.display(),
            target.place(&key.id),
            if dry_run && key.action != Action::Unchanged { "would " } else { "" },
            key.action.code(),
        ))?;
        if let Some(warning) = &key.warning {
            output.text(format_args!("  warning: {warning}"))?;
        }
    }
    Ok(())
}
