//! What counters are made of: relaxed atomics, merged by adding when read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down: what came less what went. Two counters, so that the sum over workers is right even
/// when a thing comes on one worker and goes on another.
#[derive(Debug, Default)]
pub(super) struct UpDown {
    came: Count,
    went: Count,
}

impl UpDown {
    pub(super) fn change(&self, by: i64) {
        let side = if by < 0 { &self.went } else { &self.came };
        side.add(by.unsigned_abs());
    }

    pub(super) fn came(&self) -> u64 {
        self.came.value()
    }

    pub(super) fn went(&self) -> u64 {
        self.went.value()
    }
}

/// Counts by a constant word. The words that are known in advance have their place; any other (a new word in the code,
/// never one from a request) gets one when it first comes.
#[derive(Debug)]
pub(super) struct Words {
    known: &'static [&'static str],
    counts: Box<[Count]>,
    others: Mutex<BTreeMap<&'static str, u64>>,
}

impl Words {
    pub(super) fn new(known: &'static [&'static str]) -> Words {
        Words { known, counts: known.iter().map(|_| Count::default()).collect(), others: Mutex::default() }
    }

    pub(super) fn add(&self, word: &'static str) {
        match self.known.iter().position(|known| *known == word) {
            Some(place) => self.counts[place].add(1),
            None => *self.others.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1,
        }
    }

    /// Adds these counts to a sum.
    pub(super) fn add_to(&self, sum: &mut BTreeMap<&'static str, u64>) {
        for (word, count) in self.known.iter().zip(&self.counts) {
            *sum.entry(word).or_default() += count.value();
        }
        for (word, count) in self.others.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *sum.entry(word).or_default() += count;
        }
    }
}

/// Durations in buckets.
#[derive(Debug)]
pub(super) struct Histogram {
    /// Upper bounds, seconds.
    bounds: &'static [f64],
    /// The same, nanoseconds.
    bounds_nanos: Box<[u64]>,
    /// One more than bounds: the last is for what is beyond.
    buckets: Box<[Count]>,
    sum_nanos: Count,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Histogram {
        // bounds are positive and far below what a u64 of nanoseconds holds
        let bounds_nanos = bounds.iter().map(|seconds| (seconds * 1e9).round() as u64).collect();
        let buckets = (0..=bounds.len()).map(|_| Count::default()).collect();
        Histogram { bounds, bounds_nanos, buckets, sum_nanos: Count::default() }
    }

    pub(super) fn observe(&self, nanos: u64) {
        self.buckets[self.bounds_nanos.partition_point(|bound| *bound < nanos)].add(1);
        self.sum_nanos.add(nanos);
    }

    /// Adds these observations to a sum over the same bounds.
    pub(super) fn add_to(&self, sum: &mut HistogramSum) {
        sum.buckets.resize_with(self.buckets.len(), || (f64::INFINITY, 0));
        for (place, bucket) in self.buckets.iter().enumerate() {
            let (bound, count) = &mut sum.buckets[place];
            *bound = self.bounds.get(place).copied().unwrap_or(f64::INFINITY);
            *count += bucket.value();
        }
        sum.nanos += self.sum_nanos.value();
    }
}

/// Several histograms in one.
#[derive(Debug, Default)]
pub(super) struct HistogramSum {
    /// Upper bound in seconds, and how many fell into this bucket and no lower one.
    pub(super) buckets: Vec<(f64, u64)>,
    nanos: u64,
}

impl HistogramSum {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_lowest_bucket_that_holds_it() {
        let histogram = Histogram::new(&[0.001, 0.01]);
        for nanos in [0, 1_000_000, 1_000_001, 10_000_000, 10_000_001, u64::from(u32::MAX)] {
            histogram.observe(nanos);
        }
        let mut sum = HistogramSum::default();
        histogram.add_to(&mut sum);
        histogram.add_to(&mut sum);
        assert_eq!(sum.buckets, [(0.001, 4), (0.01, 4), (f64::INFINITY, 4)]);
        assert_eq!(sum.count(), 12);
        assert!((sum.seconds() - 2.0 * 4.316_967_297).abs() < 1e-9, "{}", sum.seconds());
    }

    #[test]
    fn known_words_are_there_from_the_start_and_new_ones_from_their_first_time() {
        let words = Words::new(&["a", "b"]);
        words.add("b");
        words.add("c");
        let mut sum = BTreeMap::new();
        words.add_to(&mut sum);
        assert_eq!(sum, [("a", 0), ("b", 1), ("c", 1)].into());
    }

    #[test]
    fn what_comes_on_one_worker_may_go_on_another() {
        let (one, other) = (UpDown::default(), UpDown::default());
        one.change(1);
        one.change(1);
        other.change(-1);
        assert_eq!(one.came() + other.came() - one.went() - other.went(), 1);
    }
}
