//! Which sidecars run, what have they loaded, which key did they see last?
//!
//! A rotation asks this: the new key may be used when every running verifier has loaded it, and the old one ends when none has
//! seen it for a while. Only what a verifier itself wrote counts, and a running one says so every few seconds.

use super::read::{text, wrong_type};
use super::{Entry, RedisStore, StoreError, VerifierName, names};
use crate::keys::usage::Used;
use crate::signature::key::{Fingerprint, ServiceId};
use redis::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Word of one's presence lives so long.
pub const PRESENCE: Duration = Duration::from_secs(30);

/// Nobody has more VMs.
const MOST_VERIFIERS: usize = 10_000;

impl RedisStore {
    /// This verifier runs.
    ///
    /// # Errors
    /// When Redis cannot be asked, or takes no writes.
    pub async fn present(&self, name: &VerifierName) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(Entry::Verifier(name.clone()).to_string()).arg("1").arg("EX").arg(PRESENCE.as_secs());
        self.query("SET", &command).await
    }

    /// This verifier ends: nobody waits for it any more.
    ///
    /// # Errors
    /// As [`RedisStore::present`].
    pub async fn absent(&self, name: &VerifierName) -> Result<(), StoreError> {
        let mut command = redis::cmd("DEL");
        command.arg(Entry::Verifier(name.clone()).to_string());
        self.query::<u64>("DEL", &command).await.map(drop)
    }

    /// Every verifier that runs, in the order of their names.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn verifiers(&self) -> Result<Vec<VerifierName>, StoreError> {
        let pattern = &format!("{}*", names::VERIFIERS);
        let found = self.on_link(|link| async move { link.scan(pattern, MOST_VERIFIERS).await }).await?;
        let mut verifiers: Vec<_> = found.iter().filter_map(|name| names::verifier_of(name)).collect();
        verifiers.sort();
        verifiers.dedup();
        Ok(verifiers)
    }

    /// This verifier takes signatures made with this key-to-be from now on.
    ///
    /// # Errors
    /// As [`RedisStore::present`].
    pub async fn mark_seen(&self, id: &ServiceId, by: &VerifierName, key: Fingerprint) -> Result<(), StoreError> {
        let mut command = redis::cmd("HSET");
        command.arg(Entry::Seen(id.clone()).to_string()).arg(by.as_str()).arg(key.to_string());
        self.query::<u64>("HSET", &command).await.map(drop)
    }

    /// Which key-to-be each verifier has loaded, by fingerprint.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn seen(&self, id: &ServiceId) -> Result<BTreeMap<VerifierName, String>, StoreError> {
        let seen = self.hash(Entry::Seen(id.clone())).await?;
        Ok(seen.into_iter().filter_map(|(name, key)| Some((VerifierName::parse(&name)?, key))).collect())
    }

    /// Forgets who has loaded what: before another key-to-be is made known.
    ///
    /// # Errors
    /// As [`RedisStore::present`].
    pub async fn forget_seen(&self, id: &ServiceId) -> Result<(), StoreError> {
        let mut command = redis::cmd("DEL");
        command.arg(Entry::Seen(id.clone()).to_string());
        self.query::<u64>("DEL", &command).await.map(drop)
    }

    /// These keys of the service were used. Later words about the same key replace earlier ones.
    ///
    /// # Errors
    /// As [`RedisStore::present`].
    pub async fn mark_used(&self, id: &ServiceId, keys: &[(Fingerprint, Used)]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("HSET");
        command.arg(Entry::Used(id.clone()).to_string());
        for (key, used) in keys {
            command.arg(key.to_string()).arg(used.to_text());
        }
        self.query::<u64>("HSET", &command).await.map(drop)
    }

    /// When each key of the service was last used, by fingerprint.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn used(&self, id: &ServiceId) -> Result<BTreeMap<String, Used>, StoreError> {
        let used = self.hash(Entry::Used(id.clone())).await?;
        Ok(used.into_iter().filter_map(|(key, text)| Some((key, Used::parse(&text)?))).collect())
    }

    /// Forgets when these keys were used: those that are gone for good.
    ///
    /// # Errors
    /// As [`RedisStore::present`].
    pub async fn forget_used(&self, id: &ServiceId, keys: &[String]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("HDEL");
        command.arg(Entry::Used(id.clone()).to_string()).arg(keys);
        self.query::<u64>("HDEL", &command).await.map(drop)
    }

    async fn hash(&self, entry: Entry) -> Result<BTreeMap<String, String>, StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(entry.to_string());
        let answer: Result<Vec<(Value, Value)>, _> = self.query("HGETALL", &command).await;
        let pairs = answer.map_err(|error| wrong_type(error, &entry))?;
        // What is no text was not written by us, and tells nothing.
        let of = |value| text(value).ok().map(|text| (*text).clone());
        Ok(pairs.into_iter().filter_map(|(name, value)| Some((of(name)?, of(value)?))).collect())
    }
}
