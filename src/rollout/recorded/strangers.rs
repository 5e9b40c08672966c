//! [`Strangers`]: calls from addresses of nobody (browsers, scanners, a service whose address is not configured), bounded.
//!
//! Outsiders choose how many addresses there are, so at most [`Strangers::MOST`] are told apart. When a new one finds no room,
//! the half that called least is summed up and forgotten: who calls a lot stays. Sums are always exact; the count of one address is
//! a lower bound once anything was summed up, and [`Strangers::summed`] says how much was.
//!
//! Rules and reasons are ours and few; paths are never kept.

use super::{Seen, Tally};
use std::collections::{BTreeMap, HashMap};

/// What they did, by rule and reason: `None` for a service path that no rule names, or a request that could not be read.
pub type ByRule = BTreeMap<(Option<Box<str>>, Box<str>), Tally>;

/// Calls that failed, or passed with an override, from addresses of nobody.
#[derive(Debug, Default)]
pub struct Strangers {
    /// All refusals, carried out or not.
    pub all: Tally,
    /// Passed with an override.
    pub overrides: Tally,
    /// Refusals by rule and reason.
    pub by_rule: ByRule,
    by_address: HashMap<Box<str>, Tally>,
    summed: Tally,
}

impl Strangers {
    /// Addresses told apart.
    pub const MOST: usize = 10_000;
    /// Rule and reason together: more than any configuration has.
    const MOST_RULES: usize = 10_000;

    /// One refusal.
    pub fn add(&mut self, seen: &Seen<'_>) {
        self.all.add(seen.unix_micros);
        let key = (seen.rule.map(Box::from), Box::from(seen.cause.or(seen.reason).unwrap_or("unknown")));
        if self.by_rule.len() < Strangers::MOST_RULES || self.by_rule.contains_key(&key) {
            self.by_rule.entry(key).or_default().add(seen.unix_micros);
        }
        if let Some(tally) = self.by_address.get_mut(seen.client) {
            tally.add(seen.unix_micros);
            return;
        }
        if self.by_address.len() >= Strangers::MOST {
            self.sum_up();
        }
        let mut tally = Tally::default();
        tally.add(seen.unix_micros);
        self.by_address.insert(seen.client.into(), tally);
    }

    /// The addresses that called most, and the rest of all summed: how many addresses at least, how many calls.
    pub fn top(&self, most: usize) -> (Vec<(&str, Tally)>, u64, u64) {
        let mut list: Vec<(&str, Tally)> = self.by_address.iter().map(|(name, tally)| (&**name, *tally)).collect();
        list.sort_by(|(one, ones), (other, others)| others.count.cmp(&ones.count).then(one.cmp(other)));
        let addresses = list.len().saturating_sub(most) as u64;
        list.truncate(most);
        let told: u64 = list.iter().map(|(_, tally)| tally.count).sum();
        (list, addresses, self.all.count - told)
    }

    /// Calls whose address was forgotten: with any, the count of an address is a lower bound.
    pub fn summed(&self) -> u64 {
        self.summed.count
    }

    fn sum_up(&mut self) {
        let mut counts: Vec<u64> = self.by_address.values().map(|tally| tally.count).collect();
        let middle = counts.len() / 2;
        let (_, &mut median, _) = counts.select_nth_unstable(middle);
        let mut to_go = middle.max(1);
        let summed = &mut self.summed;
        self.by_address.retain(|_, tally| {
            let goes = to_go > 0 && tally.count <= median;
            if goes {
                to_go -= 1;
                summed.merge(*tally);
            }
            !goes
        });
    }
}
