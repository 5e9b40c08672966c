//! Exactly so many, in any window, from any number of threads, in bounded memory.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

const WINDOW: Duration = Duration::from_secs(300);

fn address(number: u32) -> LimitKey {
    LimitKey::V4(Ipv4Addr::from_bits(number))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn limited(count: u64) -> Admission {
    Admission::Limited { retry_after: seconds(count) }
}

#[test]
fn ten_refusals_are_counted_and_the_eleventh_is_limited() {
    let limit = FailureLimit::new(10, WINDOW, 100);
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(limit.is_limited(address(1), start), None);
        assert_eq!(limit.refuse(address(1), start), Admission::Counted);
    }
    assert_eq!(limit.refuse(address(1), start), limited(300));
    assert_eq!(limit.is_limited(address(1), start), Some(WINDOW));
    assert_eq!(limit.refuse(address(2), start), Admission::Counted);
}

#[test]
fn the_window_slides_and_what_leaves_it_makes_room_for_one() {
    let limit = FailureLimit::new(3, WINDOW, 100);
    let start = Instant::now();
    for at in [0, 100, 200] {
        assert_eq!(limit.refuse(address(1), start + seconds(at)), Admission::Counted);
    }
    assert_eq!(limit.refuse(address(1), start + seconds(210)), limited(90));
    assert_eq!(limit.refuse(address(1), start + seconds(299)), limited(1));
    // the first left, one more is counted, then the second is the oldest
    assert_eq!(limit.refuse(address(1), start + seconds(300)), Admission::Counted);
    assert_eq!(limit.refuse(address(1), start + seconds(300)), limited(100));
    assert_eq!(limit.refuse(address(1), start + seconds(400)), Admission::Counted);
    assert_eq!(limit.refuse(address(1), start + seconds(401)), limited(99));
}

#[test]
fn limited_refusals_are_not_counted() {
    let limit = FailureLimit::new(1, WINDOW, 100);
    let start = Instant::now();
    assert_eq!(limit.refuse(address(1), start), Admission::Counted);
    for at in 1..300 {
        assert!(matches!(limit.refuse(address(1), start + seconds(at)), Admission::Limited { .. }));
    }
    assert_eq!(limit.refuse(address(1), start + seconds(300)), Admission::Counted);
}

#[test]
fn the_time_to_wait_is_at_least_a_second() {
    let limit = FailureLimit::new(1, WINDOW, 100);
    let start = Instant::now();
    limit.refuse(address(1), start);
    let late = start + WINDOW - Duration::from_millis(1);
    assert_eq!(limit.refuse(address(1), late), limited(1));
    assert_eq!(limit.is_limited(address(1), late), Some(seconds(1)));
    assert_eq!(limit.is_limited(address(1), start + WINDOW), None);
}

#[test]
fn asking_counts_nothing() {
    let limit = FailureLimit::new(2, WINDOW, 100);
    let now = Instant::now();
    for _ in 0..100 {
        assert_eq!(limit.is_limited(address(1), now), None);
    }
    assert!(limit.is_empty());
}

#[test]
fn a_clock_read_early_and_used_late_is_no_way_around() {
    let limit = FailureLimit::new(2, WINDOW, 100);
    let start = Instant::now();
    let late = start + seconds(200);
    assert_eq!(limit.refuse(address(1), late), Admission::Counted);
    assert_eq!(limit.refuse(address(1), start), Admission::Counted);
    assert!(matches!(limit.refuse(address(1), start), Admission::Limited { .. }));
    assert!(matches!(limit.refuse(address(1), late + seconds(299)), Admission::Limited { .. }));
    assert_eq!(limit.refuse(address(1), late + seconds(300)), Admission::Counted);
}

#[test]
fn of_simultaneous_refusals_exactly_as_many_as_allowed_are_counted() {
    let limit = FailureLimit::new(10, WINDOW, 100_000);
    let now = Instant::now();
    for round in 0..50 {
        let counted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        if limit.refuse(address(round), now) == Admission::Counted {
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(counted.into_inner(), 10, "round {round}");
    }
}

#[test]
fn a_limit_out_of_reach_costs_no_memory_and_still_holds() {
    let limit = FailureLimit::new(1_000_000, WINDOW, 1);
    let start = Instant::now();
    for at in 0..300_000u64 {
        limit.refuse(address(1), start + Duration::from_millis(at));
    }
    assert!(limit.kept_times() <= 65, "{} times are kept", limit.kept_times());
    let coarse = FailureLimit::new(100, WINDOW, 1);
    let counted = (0..400u64).filter(|at| coarse.refuse(address(1), start + seconds(*at)) == Admission::Counted);
    // 100 in the first 100 s; they leave from second 300 on, rounded up to a 64th of the window
    let counted: Vec<u64> = counted.collect();
    assert_eq!(counted[..100], (0..100).collect::<Vec<_>>());
    assert!((300..=300 + 300 / 64 + 1).contains(&counted[100]), "{}", counted[100]);
    assert!(counted.len() <= 200);
}

#[test]
fn memory_is_bounded_under_a_flood_of_addresses() {
    for bound in [1, 7, 1000, 5000] {
        let limit = FailureLimit::new(10, WINDOW, bound);
        let now = Instant::now();
        for number in 0..20_000 {
            limit.refuse(address(number), now);
        }
        assert!(limit.len() <= bound, "{} of {bound}", limit.len());
        assert!(limit.len() * 10 >= bound * 9, "{} of {bound}", limit.len());
    }
}

#[test]
fn a_flood_does_not_push_out_an_address_that_is_being_limited() {
    let limit = FailureLimit::new(10, WINDOW, 500);
    let start = Instant::now();
    for _ in 0..10 {
        limit.refuse(address(0), start);
    }
    for number in 1..50_000 {
        limit.refuse(address(number), start + seconds(1));
    }
    assert_eq!(limit.refuse(address(0), start + seconds(1)), limited(299));
    // but where every address has been brought to the limit, the one refused longest ago goes
    for number in 100_000..100_500 {
        for _ in 0..10 {
            limit.refuse(address(number), start + seconds(2));
        }
    }
    assert_eq!(limit.is_limited(address(0), start + seconds(2)), None);
    assert!(limit.is_limited(address(100_499), start + seconds(2)).is_some());
}

#[test]
fn of_addresses_below_the_limit_the_one_refused_longest_ago_makes_room() {
    let limit = FailureLimit::new(2, WINDOW, 3);
    let now = Instant::now();
    for number in [1, 2, 3] {
        limit.refuse(address(number), now);
    }
    limit.refuse(address(4), now); // in place of 1
    assert_eq!(limit.refuse(address(2), now), Admission::Counted); // at the limit: it stays
    limit.refuse(address(5), now); // in place of 3
    limit.refuse(address(6), now); // in place of 4
    assert!(limit.is_limited(address(2), now).is_some());
    assert_eq!(limit.refuse(address(5), now), Admission::Counted);
    assert!(limit.is_limited(address(5), now).is_some(), "5 was remembered from before");
}

#[test]
fn what_left_the_window_goes_before_anything_else() {
    let limit = FailureLimit::new(2, WINDOW, 2);
    let start = Instant::now();
    limit.refuse(address(1), start);
    limit.refuse(address(1), start); // at the limit, but long ago
    limit.refuse(address(2), start + seconds(200));
    limit.refuse(address(3), start + seconds(300));
    assert_eq!(limit.refuse(address(2), start + seconds(300)), Admission::Counted);
    assert!(limit.is_limited(address(2), start + seconds(300)).is_some(), "2 was remembered, 1 made room");
}

#[test]
fn a_reload_changes_the_figures_and_keeps_the_counts() {
    let limit = FailureLimit::new(10, WINDOW, 100);
    let start = Instant::now();
    for at in 0..6 {
        limit.refuse(address(1), start + seconds(at));
    }
    limit.reconfigure(3, WINDOW, 100);
    // three must leave before a fourth fits: the oldest of the last three is that of second 3
    assert_eq!(limit.refuse(address(1), start + seconds(10)), limited(293));
    limit.reconfigure(7, WINDOW, 100);
    assert_eq!(limit.refuse(address(1), start + seconds(10)), Admission::Counted);
    assert_eq!(limit.refuse(address(1), start + seconds(10)), limited(290));
    limit.reconfigure(7, seconds(5), 100);
    assert_eq!(limit.refuse(address(1), start + seconds(10)), Admission::Counted);
    limit.reconfigure(7, WINDOW, 1);
    limit.refuse(address(2), start + seconds(11));
    assert_eq!(limit.len(), 1);
}

#[test]
fn figures_of_nothing_are_taken_as_one() {
    let limit = FailureLimit::new(0, WINDOW, 0);
    let now = Instant::now();
    assert_eq!(limit.refuse(address(1), now), Admission::Counted);
    assert!(matches!(limit.refuse(address(1), now), Admission::Limited { .. }));
    assert_eq!(limit.refuse(address(2), now), Admission::Counted);
    assert_eq!(limit.len(), 1);
}

proptest! {
    /// Against the plainest possible model: every counted refusal of a key, forever.
    #[test]
    fn it_counts_as_a_table_without_bounds_does(
        steps in prop::collection::vec((0u32..4, 0u64..120_000), 1..200), failures in 1u32..5
    ) {
        let limit = FailureLimit::new(failures, WINDOW, 100);
        let start = Instant::now();
        let mut model: HashMap<u32, Vec<Duration>> = HashMap::new();
        let mut now = Duration::ZERO;
        for (who, millis) in steps {
            now += Duration::from_millis(millis);
            let counted = model.entry(who).or_default();
            let inside: Vec<Duration> = counted.iter().copied().filter(|at| now - *at < WINDOW).collect();
            let expected = if inside.len() < failures as usize {
                counted.push(now);
                Admission::Counted
            } else {
                Admission::Limited { retry_after: (inside[0] + WINDOW - now).max(seconds(1)) }
            };
            prop_assert_eq!(limit.refuse(address(who), start + now), expected);
        }
    }
}
