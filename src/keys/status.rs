//! [`KeyStatus`]: how it stands with the keys of Redis, for those who watch. Written by the follower, read by a scrape.

use super::cache::{KeyCache, Millis};
use super::redis::VerifierName;
use crate::signature::key::ServiceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The latest state, shared.
#[derive(Debug, Default)]
pub struct KeyStatus(Mutex<Standing>);

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Under which name this sidecar is known among the verifiers; `None` where it asks no Redis.
    pub name: Option<VerifierName>,
    /// When each key lapses, by our clock; those that never do are not here.
    pub expiries: BTreeMap<ServiceId, Millis>,
    /// Since when Redis has told nothing, if it cannot be reached.
    pub unheard_since: Option<Millis>,
    /// Keys that serve although Redis let them lapse.
    pub lapsed: usize,
    /// Keys that serve although the data of Redis was lost.
    pub lost: usize,
    /// Places of keys that hold something else.
    pub unreadable: usize,
    /// Keys that were deleted before their expiry, since the start.
    pub deleted: u64,
    /// Times Redis told all.
    pub heard: u64,
    /// Times it could not be asked.
    pub unheard: u64,
}

impl KeyStatus {
    /// How it stands now.
    pub fn read(&self) -> Standing {
        self.lock().clone()
    }

    /// After Redis was asked; `heard`: did it answer? `deleted`: keys that it turned out to have deleted.
    pub(super) fn asked(&self, heard: bool, deleted: u64) {
        let mut standing = self.lock();
        *(if heard { &mut standing.heard } else { &mut standing.unheard }) += 1;
        standing.deleted += deleted;
    }

    /// Under which name this sidecar asks.
    pub(super) fn named(&self, name: VerifierName) {
        self.lock().name = Some(name);
    }

    /// What the cache holds now.
    pub(super) fn shows(&self, cache: &KeyCache, unheard_since: Option<Millis>) {
        let mut standing = self.lock();
        standing.expiries = cache.expiries();
        standing.unheard_since = unheard_since;
        standing.lapsed = cache.lapsed();
        standing.lost = cache.lost();
        standing.unreadable = cache.unreadable();
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Days until each key lapses, 0 for one that has.
    pub fn days_left(&self, now: Millis) -> impl Iterator<Item = (&ServiceId, f64)> {
        self.expiries.iter().map(move |(id, expires)| (id, expires.saturating_sub(now) as f64 / DAY))
    }

    /// Seconds since Redis told something, while it cannot be reached.
    pub fn stale_seconds(&self, now: Millis) -> f64 {
        self.unheard_since.map_or(0.0, |since| now.saturating_sub(since) as f64 / 1000.0)
    }
}

const DAY: f64 = 86_400_000.0;
