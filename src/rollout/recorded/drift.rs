//! [`Drift`]: how far off is a caller's clock? Smallest, median and largest of the skews of its signed requests.
//!
//! The median of any number of records needs their distribution, not the records: counts per second up to `EXACT`, per minute
//! up to a day, and one for all beyond. So within an hour it is exact, and the table has some 11 000 entries at most.
//! The median of an even number is the lower one of the two in the middle: always a skew that was seen.

use std::collections::BTreeMap;

/// Seconds up to which every skew has a count of its own.
const EXACT: i64 = 4_096;
const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// The skews of one caller, its clock minus ours, seconds.
#[derive(Debug, Clone, Default)]
pub struct Drift {
    counts: BTreeMap<i64, u64>,
    total: u64,
    least: i64,
    most: i64,
}

impl Drift {
    /// One more signed request.
    pub fn add(&mut self, skew_seconds: i64) {
        if self.total == 0 {
            (self.least, self.most) = (skew_seconds, skew_seconds);
        }
        self.least = self.least.min(skew_seconds);
        self.most = self.most.max(skew_seconds);
        self.total += 1;
        *self.counts.entry(coarse(skew_seconds)).or_default() += 1;
    }

    /// Smallest, median, largest; `None` when nothing was signed.
    pub fn figures(&self) -> Option<(i64, i64, i64)> {
        let middle = self.total.div_ceil(2);
        let mut passed = 0;
        let median = self.counts.iter().find_map(|(skew, count)| {
            passed += count;
            (passed >= middle).then_some(*skew)
        })?;
        Some((self.least, median, self.most))
    }

    /// Of how many requests.
    pub fn total(&self) -> u64 {
        self.total
    }
}

fn coarse(skew: i64) -> i64 {
    if (-EXACT..=EXACT).contains(&skew) { skew } else { (skew / MINUTE * MINUTE).clamp(-DAY, DAY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(skews: impl IntoIterator<Item = i64>) -> Option<(i64, i64, i64)> {
        let mut drift = Drift::default();
        skews.into_iter().for_each(|skew| drift.add(skew));
        drift.figures()
    }

    #[test]
    fn smallest_median_and_largest_are_those_of_the_sorted_list() {
        for (skews, expected) in [
            (&[][..], None),
            (&[7], Some((7, 7, 7))),
            (&[-3, 4], Some((-3, -3, 4))),
            (&[5, -1, 0], Some((-1, 0, 5))),
            (&[2, 2, 2, 300], Some((2, 2, 300))),
            (&[-301, -300, 299, 300, 301], Some((-301, 299, 301))),
        ] {
            assert_eq!(figures(skews.iter().copied()), expected, "{skews:?}");
        }
    }

    #[test]
    fn any_number_of_wild_skews_needs_a_bounded_table() {
        let mut drift = Drift::default();
        for n in -1_000_000_i64..1_000_000 {
            drift.add(n * 499_999);
        }
        assert!(drift.counts.len() < 12_000, "{}", drift.counts.len());
        let (least, _, most) = drift.figures().unwrap();
        assert_eq!((least, most), (-499_999_000_000, 499_998_500_001));
        assert_eq!(drift.total(), 2_000_000);
    }
}
