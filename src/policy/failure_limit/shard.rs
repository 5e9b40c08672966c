//! One shard of the failure limit: which keys were refused when, and which of them goes first when room is needed.

use super::Admission;
use crate::request::client::LimitKey;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The figures, as they concern one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    failures: usize,
    window: Duration,
    keys: usize,
}

impl Limits {
    pub(super) fn of(failures: u32, window: Duration, addresses: usize, shards: usize) -> Limits {
        Limits { failures: (failures as usize).max(1), window, keys: (addresses / shards).max(1) }
    }

    fn remembers(self, refused: Instant, now: Instant) -> bool {
        now.saturating_duration_since(refused) < self.window
    }
}

/// The refusals of some keys.
pub(super) struct Shard {
    limits: Limits,
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
    /// In order, at most `failures`, never empty.
    times: VecDeque<Instant>,
    /// The key under which this stands in `below` or `reached`.
    turn: Turn,
}

impl Shard {
    pub(super) fn new(limits: Limits) -> Shard {
        Shard { limits, keys: HashMap::new(), below: BTreeMap::new(), reached: BTreeMap::new(), next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn refuse(&mut self, key: LimitKey, now: Instant) -> Admission {
        if let Some(retry_after) = self.is_limited(key, now) {
            return Admission::Limited { retry_after };
        }
        self.forget_expired(now);
        if !self.keys.contains_key(&key) {
            self.make_room(self.limits.keys - 1);
        }
        let Limits { failures, .. } = self.limits;
        let turn = self.next;
        self.next += 1;
        let refusals = self.keys.entry(key).or_insert_with(|| Refusals { times: VecDeque::with_capacity(1), turn });
        self.below.remove(&refusals.turn);
        self.reached.remove(&refusals.turn);
        refusals.turn = turn;
        refusals.times.retain(|refused| self.limits.remembers(*refused, now));
        // A thread that read the clock first may get the lock second.
        let time = refusals.times.back().map_or(now, |last| now.max(*last));
        refusals.times.push_back(time);
        let order = if refusals.times.len() < failures { &mut self.below } else { &mut self.reached };
        order.insert(turn, key);
        Admission::Counted
    }

    pub(super) fn is_limited(&self, key: LimitKey, now: Instant) -> Option<Duration> {
        let Limits { failures, window, .. } = self.limits;
        let times = &self.keys.get(&key)?.times;
        // The one whose leaving makes room: the oldest of the last `failures` (after a reload there may be more).
        let oldest = *times.get(times.len().checked_sub(failures)?)?;
        let wait = window.checked_sub(now.saturating_duration_since(oldest)).filter(|wait| !wait.is_zero())?;
        Some(wait.max(Duration::from_secs(1)))
    }

    pub(super) fn reconfigure(&mut self, limits: Limits) {
        self.limits = limits;
        self.make_room(limits.keys);
        let (below, reached) = (std::mem::take(&mut self.below), std::mem::take(&mut self.reached));
        for (turn, key) in below.into_iter().chain(reached) {
            let full = self.keys.get(&key).is_some_and(|refusals| refusals.times.len() >= limits.failures);
            let order = if full { &mut self.reached } else { &mut self.below };
            order.insert(turn, key);
        }
    }

    /// Drops at most one key of each order, if all its refusals have left the window.
    fn forget_expired(&mut self, now: Instant) {
        for order in [&mut self.below, &mut self.reached] {
            let Some(first) = order.first_entry() else { continue };
            let last = self.keys.get(first.get()).and_then(|refusals| refusals.times.back());
            if last.is_none_or(|last| !self.limits.remembers(*last, now)) {
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
