//! Keys in Redis, in the words of [`KeyStore`](super::KeyStore): the typed operations of [`RedisStore`] put together.
//!
//! Each change is published after it was made. What was published before it would send verifiers to look at what is not there yet.

use super::{Awareness, Listed, StoreFault};
use crate::keys::record::{KeyRecord, KeyText, Next, Previous};
use crate::keys::redis::change::Expected;
use crate::keys::redis::{Companion, Entry, EntryFault, RedisStore, SecondKey, StoreError, Stored};
use crate::keys::usage::ServiceUsage;
use crate::signature::key::{Fingerprint, ServiceId};
use std::time::Duration;
use zeroize::Zeroizing;

pub(super) async fn list(store: &RedisStore) -> Result<Vec<Listed>, StoreFault> {
    let listing = store.list([]).await?;
    let seconds = listing.redis_millis / 1000;
    let of = |(id, stored): (ServiceId, Result<Stored, EntryFault>)| {
        let fault = |fault| StoreFault::Redis(StoreError::Entry { entry: Entry::Key(id.clone()), fault });
        let record = stored.and_then(|stored| record(stored, seconds)).map_err(fault);
        (id, record)
    };
    Ok(listing.keys.into_iter().map(of).collect())
}

pub(super) async fn read(store: &RedisStore, id: &ServiceId) -> Result<Option<KeyRecord>, StoreFault> {
    let Some(stored) = store.fetch(id).await? else { return Ok(None) };
    let fault = |fault| StoreFault::Redis(StoreError::Entry { entry: Entry::Key(id.clone()), fault });
    record(stored, crate::clock::unix_seconds()).map(Some).map_err(fault)
}

pub(super) async fn create(
    store: &RedisStore,
    id: &ServiceId,
    key: &KeyText,
    now: u64,
    ttl: Duration,
    replace: bool,
) -> Result<(), StoreFault> {
    let companion = Companion { made: Some(now), ..Companion::default() };
    if replace {
        store.put(id, key.reveal(), Some(ttl), &companion).await?;
    } else if !store.create(id, key.reveal(), ttl, &companion).await? && !has(store, id, key).await? {
        return Err(StoreFault::Exists { id: id.clone(), place: format!("redis at {}", store.servers()) });
    }
    Ok(store.publish(id).await?)
}

/// An answer may have been lost and the creation tried twice: then it is our own key that is there.
async fn has(store: &RedisStore, id: &ServiceId, key: &KeyText) -> Result<bool, StoreFault> {
    Ok(store.fetch(id).await?.is_some_and(|stored| KeyText::parse(&stored.text).is_ok_and(|there| there.is(key))))
}

pub(super) async fn swap(
    store: &RedisStore,
    id: &ServiceId,
    before: &KeyRecord,
    after: &KeyRecord,
    now: u64,
) -> Result<bool, StoreFault> {
    let second = |key: &KeyText, at| SecondKey { text: Zeroizing::new(key.reveal().to_owned()), at };
    let companion = Companion {
        previous: after.previous.as_ref().map(|previous| second(&previous.key, previous.until)),
        next: after.next.as_ref().map(|next| second(&next.key, next.since)),
        made: after.made,
        revoked: None,
    };
    let expected = Expected {
        current: before.current.reveal(),
        next: before.next.as_ref().map(|next| next.key.reveal()),
        previous: before.previous.as_ref().map(|previous| previous.key.reveal()),
    };
    let is_new = !after.current.is(&before.current);
    let life = Duration::from_secs(after.expires.unwrap_or(now).saturating_sub(now));
    let key = is_new.then(|| (after.current.reveal(), life));
    if companion.next.is_some() {
        // Word about a key that was staged before would be taken for word about this one only if it were the same key.
        store.forget_seen(id).await?;
    }
    let swapped = store.swap(id, expected, key, &companion).await?;
    // An answer may have been lost and the swap tried twice: then it is our own that is there.
    if !swapped && !read(store, id).await?.is_some_and(|there| there.has_keys_of(after)) {
        return Ok(false);
    }
    store.publish(id).await?;
    if after.previous.is_none() && after.next.is_none() {
        let gone: Vec<String> = store.used(id).await?.into_keys().collect();
        let gone: Vec<String> =
            gone.into_iter().filter(|key| *key != after.current.fingerprint().to_string()).collect();
        store.forget_used(id, &gone).await?;
    }
    Ok(true)
}

pub(super) async fn revoke(
    store: &RedisStore,
    id: &ServiceId,
    now: u64,
    remember: Duration,
) -> Result<bool, StoreFault> {
    let there = store.revoke(id, now, remember).await?;
    // Whoever serves a lapsed key on must hear of it too.
    store.publish(id).await?;
    Ok(there)
}

pub(super) async fn usage(store: &RedisStore, id: &ServiceId) -> Result<ServiceUsage, StoreFault> {
    let used = store.used(id).await?;
    Ok(used.into_iter().filter_map(|(key, used)| Some((Fingerprint::parse(&key)?, used))).collect())
}

pub(super) async fn awareness(
    store: &RedisStore,
    id: &ServiceId,
    next: Fingerprint,
) -> Result<Awareness, StoreFault> {
    let (running, seen) = (store.verifiers().await?, store.seen(id).await?);
    let next = next.to_string();
    let unaware = running.iter().filter(|name| seen.get(*name) != Some(&next));
    Ok(Awareness { running: running.len(), unaware: unaware.map(ToString::to_string).collect() })
}

fn record(stored: Stored, now: u64) -> Result<KeyRecord, EntryFault> {
    let key = |text: &str| KeyText::parse(text).map_err(EntryFault::NotAKey);
    let Companion { previous, next, made, .. } = stored.companion;
    let previous = previous.map(|second| Ok(Previous { key: key(&second.text)?, until: second.at })).transpose()?;
    let next = next.map(|second| Ok(Next { key: key(&second.text)?, since: second.at })).transpose()?;
    // A part of a second counts as one: what has a moment left has not lapsed.
    let left = stored.ttl.map(|ttl| ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
    let expires = left.map(|left| now.saturating_add(left));
    Ok(KeyRecord { current: key(&stored.text)?, made, expires, previous, next })
}
