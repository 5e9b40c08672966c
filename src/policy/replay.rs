//! [`ReplayTable`]: has this very signature been seen inside the window?
//!
//! Only signatures that verified are noted, so outsiders cannot fill the table: it holds what honest callers send within a
//! window (two, for a clock that is ahead). Looking and noting happen under one lock: of simultaneous sights of one
//! signature exactly one is the first.
//!
//! **When full**, the entry noted longest ago makes room and is counted as forgotten. A replay of it would then pass as
//! new: with too small a table the check misses replays rather than refusing honest callers, and the metric
//! `countersign_replay_forgotten_total` says so. The same holds after a restart, which starts with an empty table.
//!
//! Left out: a respelled path. A signature stays the same bytes whatever path it is presented with, so the replay is
//! known again; two requests in the same second of one caller to one path *are* the same signature, which is
//! why reporting is the default and refusing is a choice.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Signatures seen, bounded in number and age, sharded. Reads no clock.
pub struct ReplayTable {
    shards: Box<[Mutex<Shard>]>,
}

/// Half a MAC: for signatures that verified, 128 bits of it do not meet by chance.
type Mark = [u8; 16];

struct Shard {
    capacity: usize,
    seen: HashSet<Mark>,
    /// In the order they were noted, each with the last second at which its signature is inside the window.
    order: VecDeque<(Mark, u64)>,
    forgotten: u64,
}

/// Enough that two workers seldom meet.
const SHARDS: usize = 16;
/// Below this capacity a table is not split.
const WORTH_SPLITTING: usize = 1024;

impl ReplayTable {
    /// At most `capacity` signatures are remembered (at least 1); about 80 bytes each, taken as they come.
    pub fn new(capacity: usize) -> ReplayTable {
        let count = if capacity < WORTH_SPLITTING { 1 } else { SHARDS };
        let shard = || Shard {
            capacity: (capacity / count).max(1),
            seen: HashSet::new(),
            order: VecDeque::new(),
            forgotten: 0,
        };
        ReplayTable { shards: (0..count).map(|_| Mutex::new(shard())).collect() }
    }

    /// Notes a verified MAC that is valid until `expires` (unix seconds, inclusive); was it there already?
    pub fn seen(&self, mac: &[u8; 32], expires: u64, now: u64) -> bool {
        let [mark @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, picks] = mac;
        let mut shard = lock(&self.shards[usize::from(*picks) % self.shards.len()]);
        shard.forget_expired(now);
        if !shard.seen.insert(*mark) {
            return true;
        }
        if shard.order.len() >= shard.capacity
            && let Some((oldest, _)) = shard.order.pop_front()
        {
            shard.seen.remove(&oldest);
            shard.forgotten += 1;
        }
        shard.order.push_back((*mark, expires));
        false
    }

    /// How many signatures are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).order.len()).sum()
    }

    /// Is none remembered?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were forgotten before they expired, for want of room.
    pub fn forgotten(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).forgotten).sum()
    }
}

impl std::fmt::Debug for ReplayTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Shard {
    /// Entries leave in the order they came; one that expires later holds back those behind it, for one window at most.
    fn forget_expired(&mut self, now: u64) {
        while let Some((mark, expires)) = self.order.front()
            && *expires < now
        {
            self.seen.remove(mark);
            self.order.pop_front();
        }
    }
}

/// A shard is whole between any two statements that could panic, so a poisoned one is still good.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
