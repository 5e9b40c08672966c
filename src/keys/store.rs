//! [`KeyStore`]: where the keys of services live, for the commands that make, rotate and revoke them: a directory, or Redis.
//!
//! Both keep the same facts ([`KeyRecord`]) and the same promises, which one suite of tests runs against each:
//!
//! 1. A key is made only where there is none, unless a replacement is asked for.
//! 2. A change says what it believes to be there ([`KeyStore::swap`]); where something else is, nothing changes. So a revocation need
//!    not wait for anybody, and a rotation cannot bring a revoked key back.
//! 3. One rotation of a service at a time ([`KeyStore::lease`]), whoever runs it and wherever; a crash gives the right back.
//! 4. Running verifiers hear of each change by themselves: through Redis, or by watching the directory.
//!
//! What differs: in Redis a key lapses by itself after its time to live; a file does not.

use super::dir::{KeyFault, KeyProblem};
use super::record::{KeyRecord, KeyText};
use super::redis::{RedisStore, StoreError};
use super::usage::ServiceUsage;
use super::write::WriteFault;
use crate::signature::key::{Fingerprint, ServiceId};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

mod directory;
mod lock;
mod redis;

pub use directory::DirectoryStore;

/// Where keys live.
#[derive(Debug)]
pub enum KeyStore {
    /// One `.env` file for each.
    Directory(DirectoryStore),
    /// One entry for each, shared by a fleet.
    Redis(RedisStore),
}

/// One service that has a key, with it or with what is wrong with it.
pub type Listed = (ServiceId, Result<KeyRecord, StoreFault>);

/// The right to rotate one service's key. It ends with the process, or soon after.
#[derive(Debug)]
pub enum Lease {
    /// A locked file.
    Directory(lock::LockFile),
    /// An entry that expires.
    Redis(super::redis::Lease),
}

/// Which running verifiers take a staged key?
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Awareness {
    /// How many are known to run.
    pub running: usize,
    /// Those of them that do not take it yet.
    pub unaware: Vec<String>,
}

/// Why a store did not do what it was asked. As text: what was found and what to do; never a secret.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// There is a key already.
    #[error("{id} has a key already in {place}; it was not touched")]
    Exists {
        /// Whose.
        id: ServiceId,
        /// Where.
        place: String,
    },
    /// Somebody else rotates this key now.
    #[error("another rotation of {0} is under way; it holds the lease")]
    Leased(ServiceId),
    /// The lease ran out, or was taken.
    #[error("the lease on {0} was lost; nothing more was changed, and the next rotation goes on from here")]
    LeaseLost(ServiceId),
    /// What a file holds.
    #[error(transparent)]
    Key(#[from] KeyProblem),
    /// Where a link leads, others may count on what is there.
    #[error("{} is a symbolic link: it is not written through; change the key where the link leads", .0.display())]
    Link(PathBuf),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteFault),
    /// The system does not let us.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// What Redis said.
    #[error(transparent)]
    Redis(#[from] StoreError),
}

impl StoreFault {
    /// Would every other key meet it too?
    pub fn is_of_all(&self) -> bool {
        match self {
            StoreFault::Key(problem) => matches!(problem.fault, KeyFault::NoDirectory),
            other => other.is_outage(),
        }
    }

    /// Is it the way to the store that failed?
    pub fn is_outage(&self) -> bool {
        match self {
            StoreFault::Redis(error) => error.is_outage(),
            StoreFault::Exists { .. }
            | StoreFault::Leased(_)
            | StoreFault::LeaseLost(_)
            | StoreFault::Key(_)
            | StoreFault::Link(_)
            | StoreFault::Write(_)
            | StoreFault::Io { .. } => false,
        }
    }
}

impl KeyStore {
    /// Where it is, in words.
    pub fn place(&self) -> String {
        match self {
            KeyStore::Directory(store) => store.path().display().to_string(),
            KeyStore::Redis(store) => format!("redis at {}", store.servers()),
        }
    }

    /// Every service that has a key, in the order of their ids, with it or with what is wrong with it.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn list(&self) -> Result<Vec<Listed>, StoreFault> {
        match self {
            KeyStore::Directory(store) => store.list(),
            KeyStore::Redis(store) => redis::list(store).await,
        }
    }

    /// One service's keys.
    ///
    /// # Errors
    /// When the store cannot be read, or what it has is no key.
    pub async fn read(&self, id: &ServiceId) -> Result<Option<KeyRecord>, StoreFault> {
        match self {
            KeyStore::Directory(store) => store.read(id),
            KeyStore::Redis(store) => redis::read(store, id).await,
        }
    }

    /// Makes a key known that was made at `now`, for `ttl` where keys lapse. With `replace`, in the place of all the service had.
    ///
    /// # Errors
    /// When it cannot be written; without `replace`, also when there is one.
    pub async fn create(
        &self,
        id: &ServiceId,
        key: &KeyText,
        now: u64,
        ttl: Duration,
        replace: bool,
    ) -> Result<(), StoreFault> {
        match self {
            KeyStore::Directory(store) => store.create(id, key, now, replace),
            KeyStore::Redis(store) => redis::create(store, id, key, now, ttl, replace).await,
        }
    }

    /// Puts `after` in the place of `before` and tells verifiers. `false`: something else was there, and nothing changed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn swap(
        &self,
        id: &ServiceId,
        before: &KeyRecord,
        after: &KeyRecord,
        now: u64,
    ) -> Result<bool, StoreFault> {
        match self {
            KeyStore::Directory(store) => store.swap(id, before, after),
            KeyStore::Redis(store) => redis::swap(store, id, before, after, now).await,
        }
    }

    /// Takes all keys of a service away and tells verifiers. `false`: it had none. Waits for nobody.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn revoke(&self, id: &ServiceId, now: u64, remember: Duration) -> Result<bool, StoreFault> {
        match self {
            KeyStore::Directory(store) => store.revoke(id),
            KeyStore::Redis(store) => redis::revoke(store, id, now, remember).await,
        }
    }

    /// Who used which of a service's keys last, as far as verifiers have told; `None`: no verifier is known that would tell.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn usage(&self, id: &ServiceId) -> Result<Option<ServiceUsage>, StoreFault> {
        match self {
            KeyStore::Directory(store) => store.usage(id),
            KeyStore::Redis(store) => redis::usage(store, id).await.map(Some),
        }
    }

    /// Which running verifiers take this staged key?
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn awareness(&self, id: &ServiceId, next: Fingerprint) -> Result<Awareness, StoreFault> {
        match self {
            KeyStore::Directory(store) => Ok(store.awareness(id, next)),
            KeyStore::Redis(store) => redis::awareness(store, id, next).await,
        }
    }

    /// Tells verifiers once more to look at a key: what was told before a crash may not have been heard.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn tell(&self, id: &ServiceId) -> Result<(), StoreFault> {
        match self {
            // The files themselves are watched.
            KeyStore::Directory(_) => Ok(()),
            KeyStore::Redis(store) => Ok(store.publish(id).await?),
        }
    }

    /// The right to rotate the key of a service.
    ///
    /// # Errors
    /// When somebody else has it, or it cannot be asked for.
    pub async fn lease(&self, id: &ServiceId) -> Result<Lease, StoreFault> {
        match self {
            KeyStore::Directory(store) => store.lease(id).map(Lease::Directory),
            KeyStore::Redis(store) => match store.lease(id, LEASE).await? {
                Some(lease) => Ok(Lease::Redis(lease)),
                None => Err(StoreFault::Leased(id.clone())),
            },
        }
    }

    /// Holds a lease for longer; to be called every [`RENEW`] at least.
    ///
    /// # Errors
    /// When it was lost, or nobody can say.
    pub async fn renew(&self, id: &ServiceId, lease: &Lease) -> Result<(), StoreFault> {
        match (self, lease) {
            (KeyStore::Redis(store), Lease::Redis(lease)) if !store.renew(lease, LEASE).await? => {
                Err(StoreFault::LeaseLost(id.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// When the store cannot be asked; the lease then ends by itself.
    pub async fn release(&self, lease: Lease) -> Result<(), StoreFault> {
        match (self, lease) {
            (KeyStore::Redis(store), Lease::Redis(lease)) => Ok(store.release(lease).await?),
            // A locked file is unlocked when it is dropped.
            _ => Ok(()),
        }
    }
}

/// After a crash, another runner may go on this much later.
const LEASE: Duration = Duration::from_secs(10);

/// How often a lease is held for longer.
pub const RENEW: Duration = Duration::from_secs(2);
