//! The first sight is the first for one only; memory is bounded, and what that costs is counted.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const NOW: u64 = 1_759_742_876;

/// MACs look random; these do, and tell apart by number.
fn mac(number: u64) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(number.to_be_bytes()).into()
}

#[test]
fn the_second_sight_inside_the_window_is_known() {
    let table = ReplayTable::new(100);
    assert!(!table.seen(&mac(1), NOW + 300, NOW));
    assert!(table.seen(&mac(1), NOW + 300, NOW));
    assert!(table.seen(&mac(1), NOW + 300, NOW + 300));
    assert!(!table.seen(&mac(2), NOW + 300, NOW));
}

#[test]
fn what_is_out_of_its_window_is_forgotten_and_not_counted_as_lost() {
    let table = ReplayTable::new(100);
    for number in 0..50 {
        table.seen(&mac(number), NOW + 300, NOW);
    }
    assert_eq!(table.len(), 50);
    assert!(!table.seen(&mac(100), NOW + 700, NOW + 301));
    assert_eq!((table.len(), table.forgotten()), (1, 0));
}

#[test]
fn of_simultaneous_sights_exactly_one_is_the_first() {
    let table = ReplayTable::new(100_000);
    for round in 0..200 {
        let first = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    if !table.seen(&mac(round), NOW + 300, NOW) {
                        first.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(first.into_inner(), 1, "round {round}");
    }
}

#[test]
fn a_full_table_forgets_the_oldest_counts_it_and_never_takes_a_new_one_for_a_replay() {
    for capacity in [1, 10, 5000] {
        let table = ReplayTable::new(capacity);
        let count = 20_000;
        for number in 0..count {
            assert!(!table.seen(&mac(number), NOW + 300, NOW), "{number}");
        }
        assert!(table.len() <= capacity, "{} of {capacity}", table.len());
        assert_eq!(table.len() as u64 + table.forgotten(), count);
        assert!(table.seen(&mac(count - 1), NOW + 300, NOW), "the newest is remembered");
        assert!(!table.seen(&mac(0), NOW + 300, NOW), "the oldest is not");
    }
}

#[test]
fn a_clock_at_its_end_does_not_panic() {
    let table = ReplayTable::new(0);
    assert!(!table.seen(&mac(1), u64::MAX, u64::MAX));
    assert!(table.seen(&mac(1), u64::MAX, 0));
    assert!(!table.is_empty());
}
