use super::super::samples::{GOOD, peers, unsigned};
use super::*;

const WHOLE: Expected = Expected { may_be_silent: false, evidence_is_whole: true };

fn of(calls: &[Seen<'_>]) -> (Readiness, Peers) {
    let peers = peers(calls);
    let mut readiness = Readiness::default();
    calls.iter().for_each(|seen| readiness.add(seen, &peers));
    (readiness, peers)
}

fn verdict(calls: &[Seen<'_>], expected: Expected) -> Verdict {
    let (readiness, peers) = of(calls);
    readiness.verdict(peers.find("npu-worker").unwrap(), expected)
}

#[test]
fn a_verdict_follows_from_the_calls_and_from_nothing_else() {
    let refused = |reason| Seen { reason: Some(reason), ..unsigned("10.0.0.22") };
    let exempt = Seen { class: Some(Class::Exempt), outcome: Outcome::Allow, reason: None, ..unsigned("10.0.0.22") };
    for (calls, expected) in [
        (&[][..], Verdict::Silent),
        (&[GOOD], Verdict::Safe),
        (&[GOOD, unsigned("10.0.0.22")], Verdict::WouldBreak),
        (&[unsigned("10.0.0.22")], Verdict::WouldBreak),
        (&[GOOD, Seen { outcome: Outcome::Refuse, ..refused("invalid_signature") }], Verdict::WouldBreak),
        (&[GOOD, refused("keys_unavailable")], Verdict::WouldBreak),
        (
            &[GOOD, Seen { outcome: Outcome::WouldRefuse, reason: Some("caller_not_allowed"), ..GOOD }],
            Verdict::WouldBreak,
        ),
        (&[GOOD, Seen { outcome: Outcome::Override, reason: None, ..unsigned("10.0.0.22") }], Verdict::WouldBreak),
        // Others, and what enforcement does not change.
        (&[GOOD, unsigned("10.9.9.9")], Verdict::Safe),
        (&[GOOD, unsigned("10.0.24.7")], Verdict::Safe),
        (&[GOOD, Seen { claimed: Some("npu-worker"), ..unsigned("10.9.9.9") }], Verdict::Safe),
        (&[GOOD, Seen { reason: Some("replayed"), ..GOOD }], Verdict::Safe),
        (&[GOOD, Seen { outcome: Outcome::Refuse, class: None, ..refused("malformed_request") }], Verdict::Safe),
        (&[GOOD, exempt], Verdict::Safe),
        (&[exempt], Verdict::Silent),
        (&[Seen { class: Some(Class::Open), ..exempt }], Verdict::Silent),
        (&[Seen { claimed: Some("npu-worker"), ..unsigned("10.9.9.9") }], Verdict::Silent),
    ] {
        assert_eq!(verdict(calls, WHOLE), expected, "{calls:?}");
    }
}

#[test]
fn missing_evidence_makes_nobody_safe_and_excuses_nobody() {
    let holes = Expected { evidence_is_whole: false, ..WHOLE };
    assert_eq!(verdict(&[GOOD], holes), Verdict::Incomplete);
    assert_eq!(verdict(&[GOOD, unsigned("10.0.0.22")], holes), Verdict::WouldBreak);
    assert_eq!(verdict(&[], holes), Verdict::Silent);
}

#[test]
fn who_need_not_call_may_be_silent_but_not_wrong() {
    let unused = Expected { may_be_silent: true, ..WHOLE };
    assert_eq!(verdict(&[], unused), Verdict::Unused);
    assert_eq!(verdict(&[GOOD], unused), Verdict::Safe);
    assert_eq!(verdict(&[unsigned("10.0.0.22")], unused), Verdict::WouldBreak);
}

#[test]
fn only_safe_and_unused_stand_in_nobodys_way() {
    for verdict in [Verdict::Safe, Verdict::WouldBreak, Verdict::Silent, Verdict::Unused, Verdict::Incomplete] {
        assert_eq!(verdict.is_ready(), matches!(verdict, Verdict::Safe | Verdict::Unused), "{}", verdict.code());
    }
}

#[test]
fn an_address_counts_for_its_service_before_and_after_the_service_proved_itself_there() {
    let there = Seen { client: "192.0.2.1", ..GOOD };
    let (readiness, peers) = of(&[unsigned("192.0.2.1"), there, unsigned("192.0.2.1")]);
    let conduct = readiness.conduct(peers.find("npu-worker").unwrap());
    assert_eq!((conduct.broken().count, readiness.strangers.all.count), (2, 0));
}

#[test]
fn a_replayed_signature_gives_nobody_an_address() {
    let replayed = Seen { client: "192.0.2.1", outcome: Outcome::WouldRefuse, reason: Some("replayed"), ..GOOD };
    let limited =
        Seen { reason: Some("rate_limited"), cause: Some("replayed"), outcome: Outcome::Refuse, ..replayed };
    let (readiness, peers) = of(&[GOOD, replayed, limited, unsigned("192.0.2.1")]);
    assert_eq!(readiness.conduct(peers.find("npu-worker").unwrap()).broken().count, 0);
    assert_eq!(readiness.strangers.all.count, 3);
}

#[test]
fn a_shared_address_counts_for_each_unless_the_call_names_one_of_them() {
    let other = Seen { service: Some("frontend"), claimed: Some("frontend"), ..GOOD };
    let named = Seen { claimed: Some("frontend"), ..unsigned("10.0.0.22") };
    let (readiness, peers) = of(&[GOOD, other, unsigned("10.0.0.22"), named]);
    let broken = |id| readiness.conduct(peers.find(id).unwrap()).broken().count;
    assert_eq!((broken("npu-worker"), broken("frontend"), broken("ai-stack")), (1, 2, 0));
}

#[test]
fn rows_are_told_apart_by_rule_reason_and_cause_with_first_and_last_time() {
    let at = |unix_micros, seen: Seen<'static>| Seen { unix_micros, ..seen };
    let mine = unsigned("10.0.0.22");
    let carried_out = Seen { outcome: Outcome::Refuse, ..mine };
    let limited = Seen { reason: Some("rate_limited"), cause: Some("missing_signature"), ..carried_out };
    let (readiness, peers) =
        of(&[at(9, mine), at(3, carried_out), at(5, limited), at(7, Seen { rule: None, ..mine })]);
    let conduct = readiness.conduct(peers.find("npu-worker").unwrap());
    let rows: Vec<_> = conduct
        .refusals
        .iter()
        .map(|((rule, reason, cause), refused)| {
            let Tally { count, first, last } = refused.all;
            (rule.as_deref(), &**reason, cause.as_deref(), count, refused.carried_out, first, last)
        })
        .collect();
    assert_eq!(
        rows,
        [
            (None, "missing_signature", None, 1, 0, 7, 7),
            (Some("npu"), "missing_signature", None, 2, 1, 3, 9),
            (Some("npu"), "rate_limited", Some("missing_signature"), 1, 1, 5, 5),
        ]
    );
}

#[test]
fn examples_are_few_and_say_when_there_were_more() {
    let mut few = Few::default();
    for text in ["a", "b", "a", "c"] {
        few.add(text);
    }
    assert_eq!((few.texts.len(), few.more), (3, false));
    few.add("d");
    assert_eq!((few.texts.len(), few.more), (3, true));
}
