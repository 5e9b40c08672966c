//! Where a verb finds keys: a directory or file that was named, the configuration, or the environment, in this order.
//!
//! Where the configuration's first source is Redis, keys are asked for there; files are asked only when Redis cannot be *reached*,
//! as in the sidecar.

use super::args::ConfigArgs;
use super::output::CliError;
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::config::{Config, KeySourceKind, Keys, OwnKey, Redis, ServiceIdentity};
use crate::keys::dir::{KeyFault, own_key};
use crate::keys::redis::{RedisStore, StoreError};
use crate::keys::store::{DirectoryStore, KeyStore, StoreFault};
use crate::signature::key::ServiceKey;
use std::path::{Path, PathBuf};

/// The configuration, if one was named or stands in its usual place; with a missing usual one, none.
pub(super) fn configuration(args: &ConfigArgs) -> Result<Option<Config>, CliError> {
    if !args.is_named() && !args.path().exists() {
        return Ok(None);
    }
    let environment = Environment::of_process();
    match check::load(Some(args.path()), &environment, &Overrides::default(), Purpose::Inspect) {
        Ok(loaded) => Ok(Some(loaded.config)),
        Err(problems) => Err(CliError::Configuration(Box::new(problems))),
    }
}

/// The keys that a verb works on, and what the configuration says of them.
pub(super) struct KeyPlace {
    /// Where they live.
    pub(super) store: KeyStore,
    /// The key directory.
    pub(super) directory: PathBuf,
    /// `[keys]`, or its defaults.
    pub(super) keys: Keys,
    /// The whole, where there is one.
    pub(super) config: Option<Config>,
}

impl KeyPlace {
    /// `named`: a directory, which then counts before everything else.
    pub(super) fn of(named: Option<&Path>, args: &ConfigArgs) -> Result<KeyPlace, CliError> {
        let config = match named {
            // A command about a directory needs nothing else, whatever stands in the usual place.
            Some(_) if !args.is_named() => None,
            Some(_) | None => configuration(args)?,
        };
        let keys = config.as_ref().map(|config| config.keys.clone()).unwrap_or_default();
        let directory = named.map_or_else(|| keys.dir.clone(), Path::to_owned);
        let store = match redis(&keys).filter(|_| named.is_none()) {
            Some(settings) => KeyStore::Redis(RedisStore::new(settings)),
            None => {
                // The sidecar on this machine uses the directory of its configuration, and no other.
                let state_dir = config.as_ref().filter(|config| is_same(&config.keys.dir, &directory));
                let state_dir = state_dir.map(|config| config.state_dir.clone());
                KeyStore::Directory(DirectoryStore::new(directory.clone(), state_dir))
            }
        };
        Ok(KeyPlace { store, directory, keys, config })
    }

    /// The files that are asked when the store cannot be reached.
    pub(super) fn files(&self) -> Option<KeyStore> {
        match &self.store {
            KeyStore::Directory(_) => None,
            KeyStore::Redis(_) => {
                let asked = self.keys.sources.contains(&KeySourceKind::Files);
                asked.then(|| KeyStore::Directory(DirectoryStore::new(self.directory.clone(), None)))
            }
        }
    }
}

/// Do both lead to one directory, however they are spelled?
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Redis, where keys live there: where it is who is asked first.
pub(super) fn redis(keys: &Keys) -> Option<&Redis> {
    keys.redis.as_ref().filter(|_| keys.sources.first() == Some(&KeySourceKind::Redis))
}

/// Runs what waits for a store.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::Failed(format!("cannot make a runtime: {error}")))?.block_on(work)
}

/// What a store says, with the exit code that belongs to it.
pub(super) fn failed(fault: StoreFault) -> CliError {
    match &fault {
        StoreFault::Redis(StoreError::Settings(_)) => CliError::Usage(fault.to_string()),
        StoreFault::Key(problem) if matches!(problem.fault, KeyFault::NoDirectory) => {
            CliError::Usage(fault.to_string())
        }
        fault if fault.is_outage() => CliError::Unreachable(fault.to_string()),
        fault => CliError::Failed(fault.to_string()),
    }
}

/// What a service of this configuration signs with; `None` when nobody has a key of it.
pub(super) fn signing_key(keys: &Keys, service: &ServiceIdentity) -> Result<Option<ServiceKey>, CliError> {
    let settings = match &service.key {
        OwnKey::Redis => keys.redis.as_ref(),
        OwnKey::Directory => redis(keys),
        OwnKey::File(_) | OwnKey::Environment(_) => None,
    };
    let Some(settings) = settings else { return in_files(keys, service) };
    let store = KeyStore::Redis(RedisStore::new(settings));
    block_on(async {
        match store.read(&service.id).await {
            Ok(Some(record)) => {
                ServiceKey::from_text(record.current.reveal()).map(Some).map_err(|e| CliError::Failed(e.to_string()))
            }
            Ok(None) => Ok(None),
            Err(fault) if fault.is_outage() && files_may_serve(keys, service) => match in_files(keys, service) {
                Ok(Some(key)) => Ok(Some(key)),
                // That Redis is away is why, whatever is wrong with the files.
                Ok(None) | Err(_) => Err(failed(fault)),
            },
            Err(fault) => Err(failed(fault)),
        }
    })
}

fn files_may_serve(keys: &Keys, service: &ServiceIdentity) -> bool {
    service.key == OwnKey::Directory && keys.sources.contains(&KeySourceKind::Files)
}

fn in_files(keys: &Keys, service: &ServiceIdentity) -> Result<Option<ServiceKey>, CliError> {
    match own_key(keys, service) {
        Ok(file) => Ok(file.map(|file| file.key)),
        Err(problem) => Err(CliError::Usage(problem.to_string())),
    }
}

/// Where the key of such a service would have been found.
pub(super) fn place_of(keys: &Keys, own: &OwnKey) -> String {
    match (own, &keys.redis) {
        (OwnKey::Redis, Some(settings)) => in_words(settings),
        (OwnKey::Directory, _) => redis(keys).map_or_else(|| keys.dir.display().to_string(), in_words),
        (OwnKey::Redis | OwnKey::File(_) | OwnKey::Environment(_), _) => keys.dir.display().to_string(),
    }
}

fn in_words(settings: &Redis) -> String {
    KeyStore::Redis(RedisStore::new(settings)).place()
}
