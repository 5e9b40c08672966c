//! [`ExpiryWatch`]: whose key is about to lapse, told once for each mark it passes: 30, 14, 7 and 1 days. Pure.

use super::cache::Millis;
use crate::signature::key::ServiceId;
use std::collections::BTreeMap;

/// Days left at which a person should hear of it, the nearest last.
pub const MARKS: [u64; 4] = [30, 14, 7, 1];

/// Which marks were told already.
#[derive(Debug, Default)]
pub struct ExpiryWatch {
    told: BTreeMap<ServiceId, usize>,
}

/// A key with less left than a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// Whose.
    pub id: ServiceId,
    /// The mark it passed, in days.
    pub mark: u64,
    /// What is left, in milliseconds.
    pub left: Millis,
}

impl ExpiryWatch {
    /// Who has passed a mark since this was last asked. A key with more left than its last mark (it was rotated) begins anew.
    pub fn passed(&mut self, expiries: &BTreeMap<ServiceId, Millis>, now: Millis) -> Vec<Expiring> {
        self.told.retain(|id, _| expiries.contains_key(id));
        let mut passed = Vec::new();
        for (id, expires) in expiries {
            let left = expires.saturating_sub(now);
            let marks = MARKS.iter().filter(|mark| left < *mark * DAY).count();
            let told = self.told.insert(id.clone(), marks).unwrap_or_default();
            if marks > told {
                passed.push(Expiring { id: id.clone(), mark: MARKS[marks - 1], left });
            }
        }
        passed
    }
}

const DAY: Millis = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(watch: &mut ExpiryWatch, left: Millis) -> Vec<u64> {
        let id = ServiceId::parse("a").unwrap();
        watch.passed(&[(id, 1000 * DAY + left)].into(), 1000 * DAY).into_iter().map(|passed| passed.mark).collect()
    }

    #[test]
    fn each_mark_is_told_once_when_it_is_passed() {
        let mut watch = ExpiryWatch::default();
        let told: Vec<Vec<u64>> =
            [31, 30, 29, 20, 14, 13, 8, 6, 2, 1, 0, 0].iter().map(|days| passed(&mut watch, days * DAY)).collect();
        let none: Vec<u64> = vec![];
        let wanted =
            [&none, &none, &vec![30], &none, &none, &vec![14], &none, &vec![7], &none, &none, &vec![1], &none];
        assert_eq!(told.iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn who_is_first_seen_late_is_told_of_once_by_the_nearest_mark() {
        let mut watch = ExpiryWatch::default();
        assert_eq!(passed(&mut watch, 3 * DAY), [7]);
        assert_eq!(passed(&mut watch, 3 * DAY), [] as [u64; 0]);
    }

    #[test]
    fn a_rotated_key_begins_anew() {
        let mut watch = ExpiryWatch::default();
        assert_eq!(passed(&mut watch, 3 * DAY), [7]);
        assert_eq!(passed(&mut watch, 90 * DAY), [] as [u64; 0]);
        assert_eq!(passed(&mut watch, 29 * DAY), [30]);
    }
}
