//! [`FailureLimit`]: bounded refusal counts per client address.
//!
//! It answers guessing: of signatures, of service ids, of override tokens. A guess costs a refusal, and after
//! `failures` of them in a `window` (10 in 5 minutes, unless configured: `config::defaults`) the address is told 429
//! without being told whether it guessed right. What is valid passes all the same; see [`decide`](super::decide).
//!
//! Sliding and exact: at most `failures` refusals of one key are counted in any `window`; the next one is limited, and how
//! long until the oldest leaves the window is known. Every counted refusal keeps its own time, so nothing is forgiven at
//! the turn of an interval and nobody gets a double share around it. Looking and counting happen under one lock, so of any
//! number of simultaneous refusals exactly `failures` are counted. Limited ones are not counted: whoever keeps knocking
//! is let in again as soon as the oldest counted refusal is out of the window.
//!
//! Beyond 64 allowed failures the times of one key are rounded up to a 64th of the window and counted together, so that a
//! limit set out of reach costs no memory; it then holds a little longer, never shorter.
//!
//! **Bounded.** Keys are outsiders' addresses, so at most `addresses` of them are remembered, in shards of equal size. What
//! makes room in a full shard, in this order: a key whose refusals have all left the window; of the keys that are not at
//! the limit the one refused longest ago; only then, of those at the limit, the one refused longest ago. A flood of
//! addresses, one refusal each, therefore pushes out its own kind and never a key that is being limited; to do that it must spend
//! `failures` refusals from each of `addresses` addresses. What it can do is forget counts below the limit.
//!
//! Left out: a periodic sweep. Each refusal first drops up to two forgotten keys of its shard, so the table shrinks with use
//! and never beyond its bound without.

mod shard;

use crate::request::client::LimitKey;
use shard::{Limits, Shard};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sliding-window refusal counts, sharded, bounded. A state machine over `now`: reads no clock.
pub struct FailureLimit {
    shards: Box<[Mutex<Shard>]>,
    /// Picks the shard; keyed anew in each process, so that nobody can aim at one.
    hasher: RandomState,
}

/// What the limit says of one more refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Under the limit, and now counted.
    Counted,
    /// Over the limit, not counted; how long until the oldest refusal leaves the window.
    Limited {
        /// At least 1 s, at most the window.
        retry_after: Duration,
    },
}

/// Enough that two workers seldom meet.
const SHARDS: usize = 16;
/// Below this many addresses a table is not split: shards of a handful would be full while others are empty.
const WORTH_SPLITTING: usize = 1024;

impl FailureLimit {
    /// `failures` refusals in `window` per key; at most `addresses` keys are remembered (each at least 1).
    pub fn new(failures: u32, window: Duration, addresses: usize) -> FailureLimit {
        let count = if addresses < WORTH_SPLITTING { 1 } else { SHARDS };
        let limits = Limits::of(failures, window, addresses, count);
        let shards = (0..count).map(|_| Mutex::new(Shard::new(limits))).collect();
        FailureLimit { shards, hasher: RandomState::new() }
    }

    /// Changes the figures on reload; counts stay, as far as the new window and bound let them.
    pub fn reconfigure(&self, failures: u32, window: Duration, addresses: usize) {
        let limits = Limits::of(failures, window, addresses, self.shards.len());
        for shard in &self.shards {
            lock(shard).reconfigure(limits);
        }
    }

    /// One more refusal from `key`: atomically counted or limited.
    pub fn refuse(&self, key: LimitKey, now: Instant) -> Admission {
        self.shard(key).refuse(key, now)
    }

    /// Is this key over the limit, and for how long? Counts nothing (for `lockout`).
    pub fn is_limited(&self, key: LimitKey, now: Instant) -> Option<Duration> {
        self.shard(key).is_limited(key, now)
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Is none remembered?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cfg(test)]
    fn kept_times(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).kept_times()).sum()
    }

    fn shard(&self, key: LimitKey) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(key) % self.shards.len() as u64;
        lock(&self.shards[index as usize])
    }
}

/// A shard is whole between any two statements that could panic, so a poisoned one is still good.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
