use super::super::samples::{GOOD, peers, unsigned};
use super::*;

fn of(calls: &[Seen<'_>]) -> (Daily, Peers) {
    let peers = peers(calls);
    let mut daily = Daily::default();
    calls.iter().for_each(|seen| daily.add(seen, &peers));
    (daily, peers)
}

#[test]
fn every_request_is_counted_once_as_what_it_is() {
    let exempt = Seen { class: Some(Class::Exempt), outcome: Outcome::Allow, reason: None, ..unsigned("10.0.0.22") };
    let malformed =
        Seen { class: None, outcome: Outcome::Refuse, reason: Some("malformed_request"), ..unsigned("x") };
    // A body that breaks off behind a good signature.
    let broken_off = Seen { outcome: Outcome::Refuse, reason: Some("malformed_request"), ..GOOD };
    let limited = Seen {
        outcome: Outcome::Refuse,
        reason: Some("rate_limited"),
        cause: Some("missing_signature"),
        ..unsigned("10.9.9.9")
    };
    let (daily, peers) = of(&[
        GOOD,
        Seen { reason: Some("replayed"), ..GOOD },
        unsigned("10.0.0.22"),
        Seen { outcome: Outcome::Refuse, ..unsigned("10.9.9.9") },
        limited,
        exempt,
        Seen { class: Some(Class::Open), ..exempt },
        malformed,
        broken_off,
        Seen { outcome: Outcome::Override, reason: None, ..unsigned("10.0.24.1") },
    ]);
    assert_eq!(daily.all.count, 10);
    assert_eq!((daily.successes, daily.exempt, daily.open, daily.malformed), (2, 1, 1, 2));
    assert_eq!(daily.failed(), Refusals { refused: 2, would_refuse: 1 });
    assert_eq!((daily.rate_limited(), daily.strangers), (1, 2));
    let npu = daily.calls(peers.find("npu-worker").unwrap());
    assert_eq!((npu.authenticated, npu.refused, npu.would_refuse, npu.overrides), (2, 0, 1, 0));
    assert_eq!(daily.calls(peers.find("ai-stack").unwrap()).overrides, 1);
    assert_eq!(daily.calls(peers.find("frontend").unwrap()).authenticated, 0);
}

#[test]
fn overrides_are_told_by_grant_and_bounded() {
    fn with(grant: Option<&str>) -> Seen<'_> {
        Seen { outcome: Outcome::Override, reason: None, grant, ..unsigned("10.9.9.9") }
    }
    let (daily, _) = of(&[with(None), with(Some("g1")), with(Some("g1")), with(Some("g2"))]);
    let uses: Vec<_> = daily.overrides.iter().map(|(grant, times)| (grant.as_deref(), times.count)).collect();
    assert_eq!(uses, [(None, 1), (Some("g1"), 2), (Some("g2"), 1)]);
    let peers = peers([]);
    let mut daily = Daily::default();
    for n in 0..Daily::MOST_GRANTS + 5 {
        daily.add(&with(Some(&format!("g{n}"))), &peers);
    }
    assert_eq!(daily.overrides.len(), Daily::MOST_GRANTS + 1);
    assert_eq!(daily.overrides[&Some("others".into())].count, 5);
}

#[test]
fn a_status_is_the_upstreams_own_only_where_it_answered() {
    let with = |status, upstream_answered| Seen { status, upstream_answered, ..GOOD };
    let (daily, _) = of(&[
        with(Some(200), true),
        with(Some(404), true),
        with(Some(500), true),
        with(Some(503), true),
        with(Some(502), false),
        with(Some(504), false),
        with(Some(504), false),
        with(None, false),
        // Ours, but no word about the upstream: too slow a body, a refusal while keys cannot be read.
        with(Some(408), false),
        Seen { outcome: Outcome::Refuse, reason: Some("keys_unavailable"), ..with(Some(503), false) },
    ]);
    let expected = Upstream {
        answered: 4,
        errors: BTreeMap::from([(500, 1), (503, 1)]),
        ours: BTreeMap::from([(502, 1), (504, 2)]),
    };
    assert_eq!(daily.upstream, expected);
    assert_eq!(daily.upstream.failed_in_10_000(), Some(5 * 10_000 / 7));
    assert_eq!(Upstream::default().failed_in_10_000(), None);
}

#[test]
fn drift_is_that_of_known_callers_alone() {
    let late = Seen { reason: Some("timestamp_outside_window"), skew_seconds: Some(-400), ..unsigned("10.0.0.22") };
    let limited = Seen { reason: Some("rate_limited"), cause: late.reason, skew_seconds: Some(-401), ..late };
    let forged = Seen { reason: Some("invalid_signature"), skew_seconds: Some(77), ..late };
    let stranger = Seen { client: "10.9.9.9", claimed: Some("npu-worker"), ..late };
    let (daily, peers) = of(&[GOOD, Seen { skew_seconds: Some(2), ..GOOD }, late, limited, forged, stranger]);
    let drift = daily.calls(peers.find("npu-worker").unwrap()).drift;
    assert_eq!((drift.figures(), drift.total()), (Some((-401, -400, 2)), 4));
}

#[test]
fn what_leaves_is_signed_a_tunnel_or_refused() {
    let mut outbound = Outbound::default();
    outbound.add(None, true, Some(200), true);
    outbound.add(None, true, Some(502), false);
    outbound.add(None, false, Some(200), false);
    outbound.add(Some("host_not_allowed"), false, Some(403), false);
    assert_eq!((outbound.signed, outbound.unsigned, outbound.refused["host_not_allowed"]), (2, 1, 1));
    assert_eq!((outbound.upstream.answered, outbound.upstream.ours[&502]), (1, 1));
}
