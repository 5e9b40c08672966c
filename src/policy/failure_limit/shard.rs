//! One shard of the failure limit: which keys were refused when, and which of them goes first when room is needed.

use super::Admission;
use crate::request::client::LimitKey;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The figures, as they concern one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    failures: u64,
    window: Nanos,
    keys: usize,
    /// To what times are rounded up: refusals of one tick share an entry.
    tick: Nanos,
}

/// Nanoseconds since the shard was first used.
type Nanos = u64;

/// Times that are kept of one key at most. Up to so many allowed failures every refusal has its own.
const KEPT_TIMES: u32 = 64;

impl Limits {
    pub(super) fn of(failures: u32, window: Duration, addresses: usize, shards: usize) -> Limits {
        let window = nanos(window).max(1);
        let tick = if failures <= KEPT_TIMES { 1 } else { window.div_ceil(u64::from(KEPT_TIMES)) };
        Limits { failures: u64::from(failures.max(1)), window, keys: (addresses / shards).max(1), tick }
    }

    fn remembers(self, refused: Nanos, now: Nanos) -> bool {
        now.saturating_sub(refused) < self.window
    }
}

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The refusals of some keys.
pub(super) struct Shard {
    limits: Limits,
    /// When it was first used.
    base: Option<Instant>,
    keys: HashMap<LimitKey, Refusals>,
    /// Keys below the limit, the one refused longest ago first.
    below: BTreeMap<Turn, LimitKey>,
    /// Keys that reached the limit, likewise. One that has since slid below it stays here until its next refusal.
    reached: BTreeMap<Turn, LimitKey>,
    next: Turn,
}

/// Counts counted refusals: an order that no clock can confuse.
type Turn = u64;

struct Refusals {
    /// In order, never empty.
    times: VecDeque<Time>,
    /// The key under which this stands in `below` or `reached`.
    turn: Turn,
}

/// Refusals at the same time.
struct Time {
    at: Nanos,
    count: u32,
}

impl Refusals {
    fn total(&self) -> u64 {
        self.times.iter().map(|time| u64::from(time.count)).sum()
    }

    fn last(&self) -> Option<Nanos> {
        self.times.back().map(|time| time.at)
    }

    /// One more. A thread that read the clock first may get the lock second: time never runs backwards here.
    fn add(&mut self, at: Nanos) {
        match self.times.back_mut() {
            Some(last) if last.at >= at => last.count = last.count.saturating_add(1),
            Some(_) | None => {
                if self.times.len() == self.times.capacity() {
                    self.times.reserve_exact(self.times.len().clamp(1, 8));
                }
                self.times.push_back(Time { at, count: 1 });
            }
        }
    }
}

impl Shard {
    pub(super) fn new(limits: Limits) -> Shard {
        let (below, reached) = (BTreeMap::new(), BTreeMap::new());
        Shard { limits, base: None, keys: HashMap::new(), below, reached, next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    #[cfg(test)]
    pub(super) fn kept_times(&self) -> usize {
        self.keys.values().map(|refusals| refusals.times.len()).sum()
    }

    pub(super) fn refuse(&mut self, key: LimitKey, now: Instant) -> Admission {
        if let Some(retry_after) = self.is_limited(key, now) {
            return Admission::Limited { retry_after };
        }
        let now = nanos(now.saturating_duration_since(*self.base.get_or_insert(now)));
        self.forget_expired(now);
        if !self.keys.contains_key(&key) {
            self.make_room(self.limits.keys - 1);
        }
        let (limits, turn) = (self.limits, self.next);
        self.next += 1;
        let refusals = self.keys.entry(key).or_insert_with(|| Refusals { times: VecDeque::new(), turn });
        self.below.remove(&refusals.turn);
        self.reached.remove(&refusals.turn);
        refusals.turn = turn;
        refusals.times.retain(|time| limits.remembers(time.at, now));
        refusals.add(now.div_ceil(limits.tick).saturating_mul(limits.tick));
        let order = if refusals.total() < limits.failures { &mut self.below } else { &mut self.reached };
        order.insert(turn, key);
        Admission::Counted
    }

    pub(super) fn is_limited(&self, key: LimitKey, now: Instant) -> Option<Duration> {
        let Limits { failures, window, .. } = self.limits;
        let now = nanos(now.saturating_duration_since(self.base?));
        let mut counted = 0;
        // The one whose leaving makes room: with it and all later ones the limit is reached.
        let oldest = self.keys.get(&key)?.times.iter().rev().find(|time| {
            counted += u64::from(time.count);
            counted >= failures
        })?;
        let wait = (oldest.at.saturating_add(window)).checked_sub(now).filter(|wait| *wait > 0)?;
        Some(Duration::from_nanos(wait.min(window)).max(Duration::from_secs(1)))
    }

    pub(super) fn reconfigure(&mut self, limits: Limits) {
        self.limits = limits;
        self.make_room(limits.keys);
        let (below, reached) = (std::mem::take(&mut self.below), std::mem::take(&mut self.reached));
        for (turn, key) in below.into_iter().chain(reached) {
            let full = self.keys.get(&key).is_some_and(|refusals| refusals.total() >= limits.failures);
            let order = if full { &mut self.reached } else { &mut self.below };
            order.insert(turn, key);
        }
    }

    /// Drops at most one key of each order, if all its refusals have left the window.
    fn forget_expired(&mut self, now: Nanos) {
        for order in [&mut self.below, &mut self.reached] {
            let Some(first) = order.first_entry() else { continue };
            let last = self.keys.get(first.get()).and_then(Refusals::last);
            if last.is_none_or(|last| !self.limits.remembers(last, now)) {
                self.keys.remove(&first.remove());
            }
        }
    }

    /// Forgets keys until at most `room` are left, those below the limit first.
    fn make_room(&mut self, room: usize) {
        while self.keys.len() > room {
            let Some((_, key)) = self.below.pop_first().or_else(|| self.reached.pop_first()) else { break };
            self.keys.remove(&key);
        }
    }
}
