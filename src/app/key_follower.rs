//! The keys of Redis in a running sidecar: the follower's task, and how what it finds takes effect.
//!
//! The control loop alone swaps snapshots, so a table that comes from Redis and a reload never undo each other. A table takes
//! effect within its generation: what was configured has not changed.

use super::keys;
use super::process::host_name;
use super::start::{App, StartError, service_ids};
use crate::clock;
use crate::config::{Config, KeySourceKind, OwnKey, ServiceIdentity};
use crate::keys::follower::{Change, Followed, Follower, Settings};
use crate::keys::redis::VerifierName;
use crate::keys::sealed::SealedCopy;
use crate::keys::status::KeyStatus;
use crate::keys::{KeyTable, dir};
use crate::signature::key::ServiceKey;
use crate::signature::signer::Signer;
use crate::snapshot::Snapshot;
use crate::telemetry::audit::record::Event;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The task that follows Redis.
pub(super) struct KeyFollower {
    changes: watch::Sender<Change>,
    found: mpsc::UnboundedReceiver<Followed>,
    task: JoinHandle<()>,
    settings: Settings,
}

/// The keys a sidecar starts with.
pub(super) struct FirstKeys {
    pub(super) table: KeyTable,
    /// What leaves is signed with it.
    pub(super) signer: Option<Signer>,
    pub(super) follower: Option<Follower>,
}

/// Does this configuration want Redis followed?
pub(super) fn settings(config: &Config) -> Option<Settings> {
    let own = config.service.as_ref().is_some_and(|service| service.key == OwnKey::Redis);
    let wanted = own || config.keys.sources.contains(&KeySourceKind::Redis);
    let redis = config.keys.redis.clone().filter(|_| wanted)?;
    let unused = config.services.iter().filter(|(_, service)| service.unused).map(|(id, _)| id.clone()).collect();
    Some(Settings { keys: config.keys.clone(), redis, service: config.service.clone(), unused })
}

/// Is Redis asked first for the keys that verify? Else it only gives what this service signs with, or is asked when the key
/// files cannot be read.
pub(super) fn verifies(config: &Config) -> bool {
    config.keys.sources.first() == Some(&KeySourceKind::Redis)
}

/// The copy that this configuration names.
pub(super) fn sealed_copy(config: &Config) -> Result<Option<Arc<SealedCopy>>, StartError> {
    let open = |key: &Path| SealedCopy::open(key, &config.state_dir).map(Arc::new);
    let opened = config.keys.sealed_copy.as_deref().map(open).transpose();
    opened.map_err(|fault| StartError::Keys(vec![fault.to_string()]))
}

/// Everything a start needs of keys. `files`: the key files, where they were read already. Redis is waited for, but not long: a
/// sidecar without keys says so to its callers (503) and recovers by itself.
pub(super) async fn begin(
    config: &Config,
    files: Option<KeyTable>,
    status: &Arc<KeyStatus>,
) -> Result<FirstKeys, StartError> {
    let of_files = || files.map_or_else(|| keys::load(config), Ok);
    let Some(settings) = settings(config) else {
        return Ok(FirstKeys { table: of_files()?, signer: keys::signer(config)?, follower: None });
    };
    let name = verifier_name();
    let mut follower = Follower::begin(settings, sealed_copy(config)?, name, Arc::clone(status)).await;
    let (followed, own) = follower.first();
    let table = if verifies(config) {
        followed
    } else {
        match of_files() {
            Ok(table) => table,
            Err(error) if config.keys.sources.contains(&KeySourceKind::Redis) => {
                tracing::error!(%error, "the key files cannot be read, the keys of redis are used until the next reload");
                followed
            }
            Err(error) => return Err(error),
        }
    };
    let signer = match &config.service {
        Some(service) if service.key == OwnKey::Redis && !config.outbound.is_empty() => {
            let missing = || {
                let why = follower.outage().map_or_else(
                    || {
                        format!(
                            "redis has no key of {}, which signs what leaves; run: countersign keys generate {}",
                            service.id, service.id
                        )
                    },
                    |error| format!("the key of {}, which signs what leaves: {error}", service.id),
                );
                StartError::OwnKey(why)
            };
            let own = own.or_else(|| follower.outage().and_then(|_| own_of_files(config, service)));
            Some(Signer { id: service.id.clone(), key: own.ok_or_else(missing)? })
        }
        Some(_) | None => keys::signer(config)?,
    };
    Ok(FirstKeys { table, signer, follower: Some(follower) })
}

/// The key file of this service, where files stand in for a Redis that cannot be reached.
fn own_of_files(config: &Config, service: &ServiceIdentity) -> Option<Arc<ServiceKey>> {
    if !config.keys.sources.contains(&KeySourceKind::Files) {
        return None;
    }
    let of_directory = ServiceIdentity { key: OwnKey::Directory, ..service.clone() };
    let key = dir::own_key(&config.keys, &of_directory).ok().flatten()?.key;
    tracing::warn!(
        service = %service.id,
        fingerprint = %key.fingerprint(),
        "redis cannot be asked, what leaves is signed with the key file until it can"
    );
    Some(Arc::new(key))
}

impl KeyFollower {
    /// Follows from now on.
    pub(super) fn start(follower: Follower) -> KeyFollower {
        let settings = follower.settings().clone();
        // What it begins with is no change.
        let (changes, changed) = watch::channel((settings.clone(), None));
        let (out, found) = mpsc::unbounded_channel();
        KeyFollower { changes, found, task: tokio::spawn(follower.run(changed, out)), settings }
    }

    /// What it found next; never anything without a follower.
    pub(super) async fn found(follower: &mut Option<KeyFollower>) -> Followed {
        let found = match follower {
            Some(follower) => follower.found.recv().await,
            None => None,
        };
        match found {
            Some(found) => found,
            // Its end is seen by the looks.
            None => std::future::pending().await,
        }
    }

    /// Did it end although nobody stopped it?
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it. Redis is told, if it can be.
    pub(super) async fn stop(self) {
        drop((self.changes, self.found));
        let _ = tokio::time::timeout(crate::keys::follower::START_WAIT, self.task).await;
    }
}

impl App {
    /// Keys that changed in Redis take effect.
    pub(super) fn take_up(&mut self, found: Followed) {
        let running = self.shared.snapshot.load_full();
        let config = &running.config;
        let unavailable = found.table.is_unavailable();
        let keys = if verifies(config) { Arc::new(found.table) } else { Arc::clone(&running.keys) };
        let signer = match &config.service {
            Some(service) if service.key == OwnKey::Redis && !config.outbound.is_empty() => match found.own {
                Some(key) => Some(Arc::new(Signer { id: service.id.clone(), key })),
                None => {
                    if unavailable {
                        tracing::warn!(
                            service = %service.id,
                            "redis cannot be asked for the key of this service, what leaves is signed with the one in use"
                        );
                    } else {
                        tracing::error!(
                            service = %service.id,
                            "redis has no key of this service, what leaves is signed with the last one"
                        );
                    }
                    running.signer.clone()
                }
            },
            Some(_) | None => running.signer.clone(),
        };
        let changes = keys::changes(&running.keys, &keys);
        let snapshot = Snapshot { keys, signer, ..Snapshot::clone(&running) };
        self.shared.metrics.set_services(service_ids(config, &snapshot.keys));
        tracing::info!(
            services_with_keys = snapshot.keys.len(),
            unavailable = snapshot.keys.is_unavailable(),
            "keys of redis took effect"
        );
        self.shared.snapshot.store(Arc::new(snapshot));
        // A table that does not verify is not in force: nobody may be told that we take its keys.
        if verifies(config) {
            // The follower may be gone; then nobody waits.
            let _ = found.in_force.send(());
        }
        for (why, facts) in changes {
            self.record(Event::Key, "redis", why.to_owned(), facts);
        }
    }

    /// After a reload: another configuration for the follower, a first one, or its end.
    pub(super) fn follow_redis(&mut self, config: &Config, sealed: Option<Arc<SealedCopy>>) {
        match (settings(config), &mut self.key_follower) {
            (Some(settings), Some(follower)) => {
                if settings != follower.settings {
                    // It takes the last one between two looks. Where its task has ended, that is seen by the looks.
                    let _ = follower.changes.send((settings.clone(), sealed));
                    follower.settings = settings;
                }
            }
            (Some(settings), follower @ None) => {
                self.shared.metrics.watch_keys(Arc::clone(&self.key_status));
                self.readiness.watch_keys(Arc::clone(&self.key_status));
                let name = verifier_name();
                *follower =
                    Some(KeyFollower::start(Follower::new(settings, sealed, name, Arc::clone(&self.key_status))));
            }
            // Without anybody to tell, its task ends.
            (None, follower) => *follower = None,
        }
    }
}

/// Who this sidecar is among those that share a Redis: never anybody else, also where machines were cloned and have the same name
/// and the same directories. If two had one name, a rotation would take the word of one for both, and switch before the other takes
/// the new key. So it is another one after each start; the one before is forgotten with its presence.
fn verifier_name() -> VerifierName {
    let host = host_name().unwrap_or_default();
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    let host: String = host.chars().filter(is_plain).take(64).collect();
    let name = format!("{host}-{}", clock::request_id(clock::unix_micros(), &mut [0; clock::REQUEST_ID]));
    #[expect(clippy::unwrap_used, reason = "at most 101 characters, each of the set that a name is made of")]
    VerifierName::parse(&name).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_verifiers_have_one_name() {
        assert_ne!(verifier_name(), verifier_name());
    }
}
