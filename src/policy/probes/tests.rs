#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::request::readings::Readings;
use crate::rules::classify::{DefaultAccess, RuleSet};
use crate::rules::percentage::Percentage;

const MINUTE: Duration = Duration::from_secs(60);

fn token(byte: u8) -> ProbeToken {
    ProbeToken::from_bytes(&[byte; 32])
}

fn recognise(table: &ProbeTable, token: &ProbeToken, now: Instant) -> Option<ProbeId> {
    table.recognise(token.reveal().as_bytes(), now)
}

fn decision(reason: Refusal) -> Decision {
    let rules = RuleSet::build(Vec::new(), DefaultAccess::Service).unwrap();
    Decision {
        outcome: Outcome::Refuse,
        reason: Some(Refusal::RateLimited),
        cause: Some(reason),
        classification: rules.classify("GET", &Readings::of("/x")),
        service: None,
        skew_seconds: Some(-3),
        percentage: Percentage::FULL,
        drawn_in: true,
        wrong_override: false,
        grant: None,
        is_probe: true,
        retry_after: None,
    }
}

#[test]
fn what_was_announced_is_recognised_as_often_as_was_asked_for() {
    let (table, now) = (ProbeTable::default(), Instant::now());
    let (one, other) = (token(1), token(2));
    let first = table.announce(&one, 2, MINUTE, now).unwrap();
    let second = table.announce(&other, 1, MINUTE, now).unwrap();
    assert_ne!(first, second);
    assert_eq!(recognise(&table, &other, now), Some(second));
    assert_eq!(recognise(&table, &one, now), Some(first));
    assert_eq!(recognise(&table, &other, now), None, "used up");
    assert_eq!(recognise(&table, &one, now), Some(first));
    assert_eq!(recognise(&table, &one, now), None, "used up");
}

#[test]
fn nothing_else_announces_anything() {
    let (table, now) = (ProbeTable::default(), Instant::now());
    let good = token(1);
    let upper = good.reveal().to_uppercase();
    let longer = format!("{}0", good.reveal());
    let ask = |presented: &str| table.recognise(presented.as_bytes(), now);
    assert_eq!(ask(good.reveal()), None, "nothing is announced");
    table.announce(&token(0xab), 9, MINUTE, now).unwrap();
    for presented in ["", "1", &good.reveal()[..63], &longer, good.reveal(), &"0".repeat(64), &upper] {
        assert_eq!(ask(presented), None, "{presented}");
    }
    // its hash is no token either
    let hash: [u8; 32] = Sha256::digest(token(0xab).reveal()).into();
    assert_eq!(ask(ProbeToken::from_bytes(&hash).reveal()), None);
    assert_eq!(ask(&token(0xab).reveal().to_uppercase()), None);
    assert!(ask(token(0xab).reveal()).is_some());
}

#[test]
fn an_announcement_ends_by_itself_and_on_request() {
    let (table, now) = (ProbeTable::default(), Instant::now());
    let (one, other) = (token(1), token(2));
    let first = table.announce(&one, 9, MINUTE, now).unwrap();
    let second = table.announce(&other, 9, Duration::from_secs(86_400), now).unwrap();
    assert!(table.end(first, now) && !table.end(first, now));
    assert_eq!(recognise(&table, &one, now), None);
    assert_eq!(table.report(first, now), None);
    assert!(recognise(&table, &other, now + VALID - Duration::from_nanos(1)).is_some());
    assert_eq!(recognise(&table, &other, now + VALID), None, "nobody gets a day");
    assert_eq!(table.report(second, now + VALID), None);
}

#[test]
fn announcements_and_their_probes_are_bounded() {
    let (table, now) = (ProbeTable::default(), Instant::now());
    for byte in 0..OPEN {
        table.announce(&token(byte as u8), u32::MAX, MINUTE, now).unwrap();
    }
    assert_eq!(table.announce(&token(99), 1, MINUTE, now), Err(TooManyOpen));
    let uses = (0..).take_while(|_| recognise(&table, &token(0), now).is_some()).count();
    assert_eq!(uses, USES as usize);
    assert!(table.announce(&token(99), 1, MINUTE, now + MINUTE).is_ok(), "the others are over");
}

#[test]
fn what_probes_were_judged_is_told_with_the_true_reason_and_only_of_that_announcement() {
    let (table, now) = (ProbeTable::default(), Instant::now());
    let id = table.announce(&token(1), 3, MINUTE, now).unwrap();
    let other = table.announce(&token(2), 3, MINUTE, now).unwrap();
    recognise(&table, &token(1), now).unwrap();
    table.note(id, "r1", &decision(Refusal::UnknownService), now);
    table.note(ProbeId(77), "r2", &decision(Refusal::UnknownService), now);
    let report = table.report(id, now + MINUTE / 2).unwrap();
    let verdict = ProbeVerdict {
        request_id: "r1".into(),
        outcome: Outcome::Refuse,
        reason: Some(Refusal::UnknownService),
        class: "service",
        skew_seconds: Some(-3),
    };
    assert_eq!(report, ProbeReport { left: 2, valid: MINUTE / 2, verdicts: vec![verdict] });
    assert_eq!(table.report(other, now).unwrap().verdicts, []);
    assert_eq!(table.report(ProbeId(77), now), None);
}
