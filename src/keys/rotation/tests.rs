//! The states and what is done in each, as a table; time is an argument.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use Asked::{Now, WhenDue};

const DAY: u64 = 86_400;
const RULES: Rules = Rules { ttl: 90 * DAY, unused_for: DAY, rotate_before: 7 * DAY };

fn key(letter: &str) -> KeyText {
    KeyText::parse(&letter.repeat(64)).unwrap()
}

fn print(letter: &str) -> Fingerprint {
    key(letter).fingerprint()
}

/// Made on day 0.
fn at_rest() -> KeyRecord {
    KeyRecord::single(key("a"), Some(0))
}

fn staged() -> KeyRecord {
    KeyRecord { next: Some(Next { key: key("b"), since: 0 }), ..at_rest() }
}

/// Rotated on day 0, the old key promised until day 1.
fn overlapping() -> KeyRecord {
    KeyRecord { previous: Some(Previous { key: key("o"), until: DAY }), ..at_rest() }
}

fn used_at(seconds: u64) -> ServiceUsage {
    let used = |at| Used { at, client: "192.0.2.1".into(), verifier: "main-backend".into() };
    // The current key's use is of no importance to the old one's.
    ServiceUsage::from([(print("o"), used(seconds)), (print("a"), used(u64::MAX))])
}

fn unused() -> ServiceUsage {
    ServiceUsage::new()
}

#[track_caller]
fn planned(record: &KeyRecord, usage: &ServiceUsage, asked: Asked, force: bool, now: u64) -> Plan {
    plan(record, Some(usage), &RULES, asked, force, now)
}

#[test]
fn a_settled_key_is_rotated_when_asked_for_and_when_due_and_not_before() {
    let rotate = Plan::Rotate { ends: None };
    assert_eq!(planned(&at_rest(), &unused(), Now, false, 1), rotate);
    assert_eq!(planned(&at_rest(), &unused(), WhenDue, false, 83 * DAY), Plan::Nothing);
    assert_eq!(planned(&at_rest(), &unused(), WhenDue, true, 83 * DAY), Plan::Nothing, "force is about overlaps");
    assert_eq!(planned(&at_rest(), &unused(), WhenDue, false, 83 * DAY + 1), rotate);
    assert_eq!(planned(&at_rest(), &unused(), WhenDue, false, 900 * DAY), rotate);
    let ageless = KeyRecord::single(key("a"), None);
    assert_eq!(planned(&ageless, &unused(), WhenDue, false, 900 * DAY), Plan::Nothing, "nobody knows its age");
    let lapsing = KeyRecord { expires: Some(20 * DAY), ..at_rest() };
    assert_eq!(planned(&lapsing, &unused(), WhenDue, false, 14 * DAY), rotate, "the store's word counts");
}

#[test]
fn a_staged_key_is_gone_on_with_whoever_asks() {
    for (asked, force) in [(Now, false), (Now, true), (WhenDue, false), (WhenDue, true)] {
        assert_eq!(planned(&staged(), &unused(), asked, force, 1), Plan::Resume { next: print("b") });
    }
}

#[test]
fn a_running_overlap_refuses_a_rotation_and_does_not_bother_a_timer() {
    let Plan::Refuse(overlap) = planned(&overlapping(), &used_at(5), Now, false, DAY - 1) else { panic!("taken") };
    assert_eq!((overlap.old, overlap.until, overlap.stage), (print("o"), DAY, OverlapStage::Running));
    assert_eq!(overlap.used.unwrap().at, 5);
    assert_eq!(planned(&overlapping(), &unused(), WhenDue, false, DAY - 1), Plan::Nothing);
    // Force breaks a promise, and does no more than it was asked for.
    let broken = planned(&overlapping(), &unused(), WhenDue, true, DAY - 1);
    assert_eq!(broken, Plan::EndOverlap { old: print("o") });
    assert_eq!(planned(&overlapping(), &used_at(5), Now, true, 1), Plan::Rotate { ends: Some(print("o")) });
}

#[test]
fn an_overlap_ends_when_its_time_has_come_and_the_old_key_is_unused() {
    let ended = Plan::EndOverlap { old: print("o") };
    assert_eq!(planned(&overlapping(), &unused(), WhenDue, false, DAY), ended);
    assert_eq!(planned(&overlapping(), &used_at(DAY), WhenDue, false, 2 * DAY), ended);
    let rotated = Plan::Rotate { ends: Some(print("o")) };
    assert_eq!(planned(&overlapping(), &unused(), Now, false, DAY), rotated);
    assert_eq!(planned(&overlapping(), &used_at(DAY), WhenDue, false, 89 * DAY), rotated);
}

#[test]
fn an_overlap_whose_old_key_is_used_is_kept_for_as_long_as_it_is_used_and_alerts() {
    for now in [DAY, 3 * DAY, 89 * DAY, 900 * DAY] {
        for last in [now - DAY + 1, now, now + 60, u64::MAX] {
            let alerted = planned(&overlapping(), &used_at(last), WhenDue, false, now);
            assert!(matches!(&alerted, Plan::Overdue(over) if over.stage == OverlapStage::StillUsed), "{alerted:?}");
            assert!(matches!(planned(&overlapping(), &used_at(last), Now, false, now), Plan::Refuse(_)));
        }
    }
    assert_eq!(planned(&overlapping(), &used_at(DAY), WhenDue, true, DAY), Plan::EndOverlap { old: print("o") });
    assert_eq!(planned(&overlapping(), &used_at(DAY), Now, true, DAY), Plan::Rotate { ends: Some(print("o")) });
}

#[test]
fn an_overlap_of_whose_old_key_nobody_knows_the_use_is_ended_by_force_alone() {
    let planned = |asked, force, now| plan(&overlapping(), None, &RULES, asked, force, now);
    for now in [DAY, 89 * DAY, 900 * DAY] {
        let Plan::Overdue(kept) = planned(WhenDue, false, now) else { panic!("ended at {now}") };
        assert_eq!((kept.stage, kept.known), (OverlapStage::Unknown, false));
        assert!(matches!(planned(Now, false, now), Plan::Refuse(_)));
    }
    assert_eq!(planned(WhenDue, false, DAY - 1), Plan::Nothing, "its time has not come");
    assert_eq!(planned(WhenDue, true, DAY), Plan::EndOverlap { old: print("o") });
    assert_eq!(planned(Now, true, DAY), Plan::Rotate { ends: Some(print("o")) });
    assert_eq!(
        plan(&at_rest(), None, &RULES, Now, false, 1),
        Plan::Rotate { ends: None },
        "no overlap is in the way"
    );
}

#[test]
fn from_staged_to_switched_to_settled_at_most_two_keys_are_taken_and_none_is_lost() {
    let staged = super::staged(&overlapping(), &key("b"), 7);
    assert_eq!(staged.next.as_ref().map(|next| (next.key.fingerprint(), next.since)), Some((print("b"), 7)));
    assert!(staged.current.is(&key("a")) && staged.previous.is_none());
    assert!(switched(&at_rest(), DAY, 90 * DAY, 9).is_none(), "nothing is staged");
    let switched = switched(&staged, DAY, 90 * DAY, 9).unwrap();
    assert!(switched.current.is(&key("b")) && switched.next.is_none());
    assert_eq!((switched.made, switched.expires), (Some(9), Some(9 + 90 * DAY)));
    let previous = switched.previous.as_ref().unwrap();
    assert!(previous.key.is(&key("a")));
    assert_eq!(previous.until, 9 + DAY);
    let settled = super::settled(&switched);
    assert!(settled.current.is(&key("b")) && settled.previous.is_none());
    assert_eq!(settled.expires, switched.expires);
}
