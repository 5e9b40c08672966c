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

#[cfg(test)]
mod tests {
    use super::super::samples::unsigned;
    use super::*;

    fn call(strangers: &mut Strangers, client: &str, unix_micros: u64) {
        strangers.add(&Seen { client, unix_micros, ..unsigned("") });
    }

    #[test]
    fn the_busiest_come_first_and_the_rest_is_summed() {
        let mut strangers = Strangers::default();
        for (client, times) in [("10.0.0.1", 2), ("10.0.0.2", 5), ("10.0.0.3", 1), ("10.0.0.4", 1)] {
            (0..times).for_each(|n| call(&mut strangers, client, n + 1));
        }
        let (top, addresses, calls) = strangers.top(2);
        assert_eq!(
            top,
            [
                ("10.0.0.2", Tally { count: 5, first: 1, last: 5 }),
                ("10.0.0.1", Tally { count: 2, first: 1, last: 2 }),
            ]
        );
        assert_eq!((addresses, calls, strangers.summed()), (2, 2, 0));
        assert_eq!(strangers.top(0), (vec![], 4, 9));
        assert_eq!(strangers.by_rule.values().map(|times| times.count).sum::<u64>(), 9);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_adds_up_and_does_not_hide_who_calls_a_lot() {
        let mut strangers = Strangers::default();
        for n in 0..100_000_u64 {
            call(&mut strangers, &format!("2001:db8::{n:x}"), n + 1);
            if n % 100 == 0 {
                call(&mut strangers, "10.0.0.9", n + 1);
            }
            assert!(strangers.by_address.len() <= Strangers::MOST);
        }
        let (top, _, calls) = strangers.top(1);
        assert_eq!((top[0].0, top[0].1.count), ("10.0.0.9", 1_000));
        assert_eq!((calls, strangers.all.count), (100_000, 101_000));
        let kept: u64 = strangers.by_address.values().map(|times| times.count).sum();
        assert_eq!(kept + strangers.summed(), 101_000);
    }
}
