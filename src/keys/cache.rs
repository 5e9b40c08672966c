//! [`KeyCache`]: which keys count now, given what Redis said when? A pure state machine: no clock, no socket.
//!
//! | Redis says | the cached key |
//! |---|---|
//! | here it is | counts; the next word about it replaces this one |
//! | not there, before its known expiry | was deleted: dropped at once, loudly |
//! | not there, and the database's mark is gone or another | was lost with all the data: serves on for `stale`, loudly |
//! | not there, at or after its known expiry | lapsed: serves on for `grace`, loudly |
//! | there, but no key (another type, 10 MB, no text) | serves on for `stale`, loudly; the other keys are as ever |
//! | nothing: it cannot be reached | all serve on for `stale`, loudly; unknown ids are told that keys cannot be had |
//!
//! Word of a revocation ends what serves on because it was lost or lapsed. Data are lost when Redis was emptied, or restarted
//! without any.
//!
//! A Redis that restarts without its data would otherwise refuse every caller of a fleet. A key that was revoked before that is
//! not cached any more, so losing the data brings none back; one that is to be revoked meanwhile is revoked by word
//! ([`Companion::revoked`](super::redis::Companion)), which needs no data.
//!
//! Expiry is counted by Redis's clock, which is the one that lets a key lapse: a sidecar whose own clock jumped ahead (a host
//! that slept) takes no deleted key for a lapsed one. What cannot be told apart: a key deleted while Redis was out of
//! our reach, or in its last seconds, and only missed after its expiry; it gets the grace. A revocation leaves word of
//! itself for that ([`Companion::revoked`](super::redis::Companion)).

use super::redis::{EntryFault, Listing, SecondKey, Stored};
use crate::signature::key::{Fingerprint, ServiceId, ServiceKey, ServiceKeys};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long what is cached serves on without word from Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// While Redis cannot be reached, or holds nonsense in the key's place.
    pub stale: Duration,
    /// After Redis let the key lapse.
    pub grace: Duration,
}

/// What Redis last said of each key.
#[derive(Debug, Default)]
pub struct KeyCache {
    pub(super) entries: BTreeMap<ServiceId, Entry>,
    /// When Redis last told all, by our clock; `None`: it never did, and nothing was sealed.
    pub(super) good_at: Option<Millis>,
    /// Redis's clock minus ours.
    pub(super) offset: i64,
    reachable: bool,
    /// What stands in a key's place and is none, and since when, by our clock.
    unreadable: BTreeMap<ServiceId, (EntryFault, Millis)>,
    /// The mark of the database whose keys these are.
    pub(super) database: Option<String>,
}

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// One cached key.
pub(super) struct Entry {
    pub(super) text: Zeroizing<String>,
    pub(super) key: Arc<ServiceKey>,
    pub(super) other: Option<Other>,
    /// When Redis will let it lapse, by Redis's clock.
    pub(super) expires: Option<Millis>,
    /// Why it serves although Redis does not have it.
    pub(super) gone: Option<Gone>,
}

/// Why a key serves on that Redis does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// It came to its expiry.
    Lapsed,
    /// The data was lost, at that time by our clock.
    Lost(Millis),
}

/// The other key of a rotation.
pub(super) struct Other {
    pub(super) text: Zeroizing<String>,
    pub(super) key: Arc<ServiceKey>,
    /// It is on its way out, at the earliest then, in Unix seconds. `None`: it is about to be the current one.
    pub(super) until: Option<u64>,
}

/// Shows fingerprints, never keys.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let other = self.other.as_ref().map(|other| (&other.key, other.until));
        write!(f, "{:?} other {other:?} expires {:?} gone {:?}", self.key, self.expires, self.gone)
    }
}

/// What a person should hear of, once for each time it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEvent {
    /// A key was revoked, by word. It no longer counts.
    Revoked(ServiceId),
    /// A key is gone before its time: it was deleted. It no longer counts.
    Deleted(ServiceId),
    /// Redis let a key lapse; until when it still serves, by Redis's clock (`None`: no longer).
    Lapsed(ServiceId, Option<Millis>),
    /// A key is gone along with the data of Redis. It serves on for `stale`.
    Lost(ServiceId),
    /// It did so for long enough. It no longer counts.
    LostTooLong(ServiceId),
    /// The grace of a lapsed key is over. It no longer counts.
    GraceEnded(ServiceId),
    /// What stands in the place of a key is none. Does one from before still serve?
    Unreadable(ServiceId, EntryFault, bool),
    /// For so long nothing good stood in the key's place that what was cached no longer counts.
    UnreadableTooLong(ServiceId),
    /// Redis was out of reach for so long that nothing cached counts any more; how many keys that were.
    TooStale(usize),
}

/// A key that disappears so shortly before its expiry has lapsed: clocks of a cluster's nodes differ a little.
const EXPIRY_SLACK: Millis = 2_000;

impl KeyCache {
    /// What was known at `good_at`, of a Redis whose clock was `offset` ahead of ours, and nothing since.
    pub(super) fn restored(
        good_at: Millis,
        offset: i64,
        database: Option<String>,
        entries: BTreeMap<ServiceId, Entry>,
    ) -> KeyCache {
        KeyCache { entries, good_at: Some(good_at), offset, database, ..KeyCache::default() }
    }

    /// Takes in all that Redis said; `now` by our clock.
    pub fn heard(&mut self, listing: Listing, patience: Patience, now: Millis) -> Vec<KeyEvent> {
        let mut events = Vec::new();
        let redis_now = listing.redis_millis;
        self.offset = i64::try_from(redis_now).unwrap_or_default() - i64::try_from(now).unwrap_or_default();
        self.reachable = true;
        self.good_at = Some(now);
        let is_another = self.database.is_some() && self.database != listing.database;
        self.database = listing.database;
        let (mut fresh, mut bad) = (BTreeMap::new(), BTreeMap::new());
        for (id, found) in listing.keys {
            match found.and_then(|stored| Entry::of(stored, redis_now)) {
                Ok(entry) => {
                    fresh.insert(id, entry);
                }
                Err(fault) => {
                    let known = self.unreadable.get(&id).filter(|(known, _)| *known == fault);
                    let since = known.map_or(now, |(_, since)| *since);
                    if known.is_none() {
                        events.push(KeyEvent::Unreadable(id.clone(), fault.clone(), self.entries.contains_key(&id)));
                    }
                    bad.insert(id, (fault, since));
                }
            }
        }
        for (id, mut entry) in std::mem::take(&mut self.entries) {
            if fresh.contains_key(&id) {
                continue;
            }
            if bad.contains_key(&id) {
                fresh.insert(id, entry);
                continue;
            }
            let is_over = entry.expires.is_some_and(|expires| redis_now + EXPIRY_SLACK >= expires);
            if listing.revoked.contains(&id) {
                events.push(KeyEvent::Revoked(id));
                continue;
            }
            match entry.gone {
                Some(Gone::Lapsed | Gone::Lost(_)) => {}
                None if is_another => {
                    entry.gone = Some(Gone::Lost(now));
                    events.push(KeyEvent::Lost(id.clone()));
                }
                None if is_over => {
                    entry.gone = Some(Gone::Lapsed);
                    let until = entry.grace_end(patience).filter(|end| *end > redis_now);
                    events.push(KeyEvent::Lapsed(id.clone(), until));
                    if until.is_none() {
                        continue;
                    }
                }
                None => {
                    events.push(KeyEvent::Deleted(id));
                    continue;
                }
            }
            fresh.insert(id, entry);
        }
        (self.entries, self.unreadable) = (fresh, bad);
        events.extend(self.age(patience, now));
        events
    }

    /// What was kept by a clock that ran ahead is not from the future: from now on it ages. Was it?
    pub fn not_after(&mut self, now: Millis) -> bool {
        let mut was = false;
        let losses = self.entries.values_mut().filter_map(|entry| match &mut entry.gone {
            Some(Gone::Lost(since)) => Some(since),
            Some(Gone::Lapsed) | None => None,
        });
        for time in self.good_at.iter_mut().chain(losses).filter(|time| **time > now) {
            (*time, was) = (now, true);
        }
        was
    }

    /// Redis could not be asked.
    pub fn unheard(&mut self, patience: Patience, now: Millis) -> Vec<KeyEvent> {
        self.reachable = false;
        self.age(patience, now)
    }

    /// Drops what has served on for long enough; asked now and then.
    pub fn age(&mut self, patience: Patience, now: Millis) -> Vec<KeyEvent> {
        let mut events = Vec::new();
        let redis_now = self.redis_clock(now);
        let is_stale = !self.reachable && !self.entries.is_empty() && self.stale_for(now) > millis(patience.stale);
        if is_stale {
            events.push(KeyEvent::TooStale(self.entries.len()));
            self.entries.clear();
        }
        self.entries.retain(|id, entry| {
            let since = self.unreadable.get(id).map(|(_, since)| *since);
            if since.is_some_and(|since| now.saturating_sub(since) > millis(patience.stale)) {
                events.push(KeyEvent::UnreadableTooLong(id.clone()));
                return false;
            }
            let over = match entry.gone {
                None => None,
                Some(Gone::Lapsed) => entry
                    .grace_end(patience)
                    .is_none_or(|end| end <= redis_now)
                    .then(|| KeyEvent::GraceEnded(id.clone())),
                Some(Gone::Lost(since)) => {
                    (now.saturating_sub(since) > millis(patience.stale)).then(|| KeyEvent::LostTooLong(id.clone()))
                }
            };
            let stays = over.is_none();
            events.extend(over);
            stays
        });
        events
    }

    /// The keys that count now.
    pub fn keys(&self) -> HashMap<ServiceId, ServiceKeys> {
        self.entries.iter().map(|(id, entry)| (id.clone(), entry.keys())).collect()
    }

    /// The ids that are asked for by name, found or not.
    pub fn ids(&self) -> impl Iterator<Item = &ServiceId> {
        self.entries.keys()
    }

    /// Did Redis answer when it was last asked?
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// For how long Redis has told nothing, while it cannot be reached; else 0.
    pub fn stale_for(&self, now: Millis) -> Millis {
        match self.good_at {
            Some(good) if !self.reachable => now.saturating_sub(good),
            Some(_) | None => 0,
        }
    }

    /// Has it ever had anything to say?
    pub fn has_heard(&self) -> bool {
        self.good_at.is_some()
    }

    /// The key that this service signs with.
    pub fn current(&self, id: &ServiceId) -> Option<&Arc<ServiceKey>> {
        self.entries.get(id).map(|entry| &entry.key)
    }

    /// The keys-to-be that are taken already: what a rotation waits to hear of.
    pub fn staged(&self) -> Vec<(ServiceId, Fingerprint)> {
        let staged = |entry: &Entry| {
            entry.other.as_ref().filter(|other| other.until.is_none()).map(|other| other.key.fingerprint())
        };
        self.entries.iter().filter_map(|(id, entry)| Some((id.clone(), staged(entry)?))).collect()
    }

    /// When each key lapses, by our clock; those that never do are not here.
    pub fn expiries(&self) -> BTreeMap<ServiceId, Millis> {
        let ours = |expires: Millis| expires.saturating_add_signed(-self.offset);
        self.entries.iter().filter_map(|(id, entry)| Some((id.clone(), ours(entry.expires?)))).collect()
    }

    /// How many keys serve although Redis let them lapse.
    pub fn lapsed(&self) -> usize {
        self.entries.values().filter(|entry| entry.gone == Some(Gone::Lapsed)).count()
    }

    /// How many keys serve although the data of Redis was lost.
    pub fn lost(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.gone, Some(Gone::Lost(_)))).count()
    }

    /// Has the database a mark, as far as we know?
    pub fn knows_database(&self) -> bool {
        self.database.is_some()
    }

    /// The database was marked just now.
    pub fn marked(&mut self, mark: String) {
        self.database = Some(mark);
    }

    /// In the place of how many keys stands something else.
    pub fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    fn redis_clock(&self, now: Millis) -> Millis {
        now.saturating_add_signed(self.offset)
    }
}

impl Entry {
    fn of(stored: Stored, redis_now: Millis) -> Result<Entry, EntryFault> {
        let key = |text: &str| ServiceKey::from_text(text).map(Arc::new).map_err(EntryFault::NotAKey);
        let companion = stored.companion;
        let other = |second: SecondKey, is_next: bool| {
            let until = (!is_next).then_some(second.at);
            Ok(Other { key: key(&second.text)?, text: second.text, until })
        };
        let other = match (companion.next, companion.previous) {
            // A key that is staged comes before one that is on its way out: signers are about to use it.
            (Some(next), _) => Some(other(next, true)?),
            (None, Some(previous)) => Some(other(previous, false)?),
            (None, None) => None,
        };
        let expires = stored.ttl.map(|ttl| redis_now.saturating_add(millis(ttl)));
        Ok(Entry { key: key(&stored.text)?, text: stored.text, other, expires, gone: None })
    }

    fn keys(&self) -> ServiceKeys {
        ServiceKeys {
            current: Arc::clone(&self.key),
            previous: self.other.as_ref().map(|other| Arc::clone(&other.key)),
            overlap_until: self.other.as_ref().and_then(|other| other.until),
        }
    }

    fn grace_end(&self, patience: Patience) -> Option<Millis> {
        self.expires.map(|expires| expires.saturating_add(millis(patience.grace)))
    }
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
