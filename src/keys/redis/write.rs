//! How does a key change, in one step; who may change it now?
//!
//! A key and what goes with it share a cluster slot and change in one transaction: no reader ever sees a new key beside the
//! companion of the old one. Whoever changes one holds its lease, so that of the timers on all VMs one does the work.

use super::read::Companion;
use super::{Entry, RedisStore, StoreError, names};
use crate::clock;
use crate::signature::key::ServiceId;
use data_encoding::HEXLOWER;
use redis::Pipeline;
use std::time::Duration;
use zeroize::Zeroizing;

impl RedisStore {
    /// Writes a key, for how long it lives (`None`: until it is deleted), and all that goes with it, in one step. What the
    /// companion held before is gone.
    ///
    /// # Errors
    /// When Redis cannot be asked, or takes no writes.
    pub async fn put(
        &self,
        id: &ServiceId,
        key: &str,
        ttl: Option<Duration>,
        companion: &Companion,
    ) -> Result<(), StoreError> {
        let mut steps = redis::pipe();
        steps.atomic();
        let set = steps.cmd("SET").arg(Entry::Key(id.clone()).to_string()).arg(key);
        if let Some(ttl) = ttl {
            set.arg("PX").arg(millis(ttl));
        }
        set.ignore();
        write_companion(&mut steps, id, companion, ttl);
        self.transaction("SET", &steps).await
    }

    /// Takes a key away for good, with all that goes with it, and leaves word that it was revoked for `remember`: so a
    /// verifier that serves it on because it lapsed drops it too. `false`: there was none.
    ///
    /// # Errors
    /// As [`RedisStore::put`].
    pub async fn revoke(&self, id: &ServiceId, unix_seconds: u64, remember: Duration) -> Result<bool, StoreError> {
        let mut steps = redis::pipe();
        steps.atomic();
        steps.cmd("DEL").arg(Entry::Key(id.clone()).to_string());
        for entry in [Entry::Seen(id.clone()), Entry::Used(id.clone())] {
            steps.cmd("DEL").arg(entry.to_string()).ignore();
        }
        let companion = Companion { revoked: Some(unix_seconds), ..Companion::default() };
        write_companion(&mut steps, id, &companion, Some(remember));
        match self.transaction::<(u64,)>("DEL", &steps).await {
            Ok((removed,)) => Ok(removed > 0),
            // Then no word of it can be left, but the key goes.
            Err(error) if error.is_out_of_memory() => {
                let mut removed = 0;
                for entry in [Entry::Key(id.clone()), Entry::Companion(id.clone())] {
                    let mut command = redis::cmd("DEL");
                    command.arg(entry.to_string());
                    removed += self.query::<u64>("DEL", &command).await?;
                }
                Ok(removed > 0)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells every verifier that listens to look at this key now. How many listened is not known in a cluster.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn publish(&self, id: &ServiceId) -> Result<(), StoreError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(names::CHANNEL).arg(id.as_str());
        self.query::<u64>("PUBLISH", &command).await.map(drop)
    }

    /// Marks the database, unless somebody has: what its mark says from now on.
    ///
    /// # Errors
    /// As [`RedisStore::put`].
    pub async fn mark_database(&self) -> Result<Option<String>, StoreError> {
        let random = clock::random_bytes::<16>()
            .map_err(|error| StoreError::Settings(format!("the system has no random bytes for a mark: {error}")))?;
        let name = Entry::Database.to_string();
        let mut command = redis::cmd("SET");
        command.arg(&name).arg(HEXLOWER.encode(&random)).arg("NX");
        self.query::<Option<String>>("SET", &command).await?;
        self.query("GET", redis::cmd("GET").arg(&name)).await
    }

    /// The right to change this key, for at most `ttl`. `None`: somebody else has it.
    ///
    /// # Errors
    /// As [`RedisStore::put`].
    pub async fn lease(&self, id: &ServiceId, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let random = clock::random_bytes::<16>()
            .map_err(|error| StoreError::Settings(format!("the system has no random bytes for a lease: {error}")))?;
        let token = HEXLOWER.encode(&random);
        let mut command = redis::cmd("SET");
        command.arg(Entry::Lease(id.clone()).to_string()).arg(&token).arg("NX").arg("PX").arg(millis(ttl));
        let taken: Option<String> = self.query("SET", &command).await?;
        // A first try may have got through although its answer was lost: then it is our own token that stands there.
        if taken.is_none() {
            let mut holder = redis::cmd("GET");
            holder.arg(Entry::Lease(id.clone()).to_string());
            if self.query::<Option<String>>("GET", &holder).await?.as_deref() != Some(&token) {
                return Ok(None);
            }
        }
        Ok(Some(Lease { id: id.clone(), token }))
    }

    /// Holds a lease for `ttl` more from now. `false`: it was lost.
    ///
    /// # Errors
    /// As [`RedisStore::put`].
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(RENEW).arg(1).arg(Entry::Lease(lease.id.clone()).to_string()).arg(&lease.token).arg(millis(ttl));
        self.query("EVAL", &command).await
    }

    /// Gives a lease back, unless somebody else has it by now.
    ///
    /// # Errors
    /// As [`RedisStore::put`].
    pub async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(RELEASE).arg(1).arg(Entry::Lease(lease.id).to_string()).arg(&lease.token);
        self.query::<u64>("EVAL", &command).await.map(drop)
    }
}

/// The right to change one key. It ends by itself.
#[derive(Debug)]
pub struct Lease {
    id: ServiceId,
    token: String,
}

const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
const RENEW: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end";

/// The companion as it stands here and nothing else; it does not outlive the key.
fn write_companion(steps: &mut Pipeline, id: &ServiceId, companion: &Companion, ttl: Option<Duration>) {
    let name = Entry::Companion(id.clone()).to_string();
    steps.cmd("DEL").arg(&name).ignore();
    let fields = companion_fields(companion);
    if fields.is_empty() {
        return;
    }
    let set = steps.cmd("HSET").arg(&name);
    for (name, value) in &fields {
        set.arg(*name).arg(value.as_str());
    }
    set.ignore();
    if let Some(ttl) = ttl {
        steps.cmd("PEXPIRE").arg(&name).arg(millis(ttl)).ignore();
    }
}

/// Names and values of what a companion says. Keys are among them: wiped when dropped.
pub(super) fn companion_fields(companion: &Companion) -> Vec<(&'static str, Zeroizing<String>)> {
    let number = |name, value: Option<u64>| value.map(|value| (name, Zeroizing::new(value.to_string())));
    let mut fields = Vec::new();
    fields.extend(number("made", companion.made));
    fields.extend(number("revoked", companion.revoked));
    for (name, at, key) in
        [("previous", "previous_until", &companion.previous), ("next", "next_since", &companion.next)]
    {
        fields.extend(key.as_ref().map(|key| (name, key.text.clone())));
        fields.extend(number(at, key.as_ref().map(|key| key.at)));
    }
    fields
}

/// At least one: Redis refuses a life of none.
pub(super) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64)
}
