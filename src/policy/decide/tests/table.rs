//! Rows 1 to 8 of the table, their order, and what a decision says beside its outcome.

use super::*;

#[test]
fn exempt_and_open_are_allowed_and_nothing_is_looked_at() {
    for (path, class) in [("/api/chat/1", Class::Exempt), ("/other", Class::Open)] {
        for request in [
            Request::to(path),
            Request::to(path).by_npu_worker(),
            Request::to(path).signed("npu-worker", "b"),
            Request::to(path).header("X-Service-ID", "a:b"),
            Request::to(path).token("wrong"),
            Request::to(path).token(TOKEN),
        ] {
            let world = World::new();
            let decision = world.judge(&request);
            assert_eq!((decision.outcome, decision.classification.class()), (Outcome::Allow, class));
            assert_eq!((decision.reason, decision.cause, decision.retry_after), (None, None, None));
            assert_eq!((decision.service, decision.skew_seconds), (None, None), "no identity is set");
            assert!(!decision.drawn_in && !decision.wrong_override);
            assert_eq!((world.counted(1), world.replays.len()), (0, 0));
        }
    }
}

#[test]
fn a_valid_signature_of_an_allowed_caller_is_authenticated() {
    for (path, id, letter) in [
        ("/api/npu/results", "npu-worker", "a"),
        ("/api/npu/results/42", "npu-worker", "a"),
        ("/api/internal/x", "npu-worker", "a"),
        ("/api/internal/x", "ai-stack", "b"),
        ("/api/chat/..%2finternal/x", "ai-stack", "b"),
    ] {
        let world = World::new();
        let decision = world.judge(&Request::to(path).signed_at(id, letter, -7));
        assert_eq!((decision.outcome, decision.reason), (Outcome::Authenticated, None), "{path} {id}");
        assert_eq!(decision.service.as_ref().unwrap().id().as_str(), id);
        assert_eq!((decision.skew_seconds, decision.drawn_in), (Some(-7), true));
        assert_eq!(world.counted(1), 0);
    }
}

#[test]
fn every_refusal_has_its_reason_in_every_mode_and_is_carried_out_only_in_enforce() {
    for (request, reason) in &*REFUSED {
        for (mode, percentage, outcome) in [
            (Mode::Enforce, 100, Outcome::Refuse),
            (Mode::Enforce, 0, Outcome::WouldRefuse),
            (Mode::Log, 100, Outcome::WouldRefuse),
            (Mode::Log, 0, Outcome::WouldRefuse),
        ] {
            let decision = World::new().mode(mode, percentage).judge(request);
            assert_eq!((decision.outcome, decision.reason), (outcome, Some(*reason)), "{mode:?} {percentage}");
            assert_eq!((decision.cause, decision.retry_after), (None, None));
            assert_eq!(decision.drawn_in, outcome == Outcome::Refuse);
            assert_eq!(decision.percentage.value(), percentage);
            // a proved caller is known also when it may not come; an unproved one never
            assert_eq!(decision.service.is_some(), *reason == Refusal::CallerNotAllowed);
        }
    }
}

#[test]
fn the_first_thing_that_is_wrong_is_the_reason() {
    // each request has everything wrong that the later ones have, and one thing more
    let to = || Request::to("/api/npu/results");
    let stale = to().signed_at("ai-stack", "z", -400);
    let malformed = stale.clone().header("X-Service-Signature", "00");
    let mut missing = malformed.clone();
    missing.headers.retain(|(name, _)| name != "X-Service-Timestamp");
    for (request, reason) in [
        (missing, Refusal::MissingSignature),
        (malformed, Refusal::MalformedSignature),
        (stale, Refusal::TimestampOutsideWindow),
        (to().signed("ai-stack", "z"), Refusal::InvalidSignature),
        (to().signed("ai-stack", "b"), Refusal::CallerNotAllowed),
    ] {
        assert_eq!(World::new().judge(&request).reason, Some(reason));
    }
}

#[test]
fn skew_is_told_wherever_a_timestamp_could_be_read() {
    for (request, skew) in [
        (Request::to("/api/internal"), None),
        (Request::to("/api/internal").signed("npu-worker", "a").header("X-Service-ID", "x"), None),
        (Request::to("/api/internal").signed_at("npu-worker", "a", -5000), Some(-5000)),
        (Request::to("/api/internal").signed_at("nobody", "a", 3), Some(3)),
        (Request::to("/api/internal").signed_at("npu-worker", "z", 12), Some(12)),
    ] {
        assert_eq!(World::new().judge(&request).skew_seconds, skew);
    }
}

#[test]
fn a_valid_override_lets_every_refusal_pass_and_is_recorded_as_such() {
    for (request, _) in &*REFUSED {
        for (mode, percentage) in [(Mode::Enforce, 100), (Mode::Enforce, 0), (Mode::Log, 100)] {
            let world = World::new().mode(mode, percentage);
            let decision = world.judge(&request.clone().token(TOKEN));
            assert_eq!((decision.outcome, decision.reason), (Outcome::Override, None));
            assert!(!decision.wrong_override);
            assert_eq!(world.counted(1), 0);
        }
    }
}

#[test]
fn a_valid_signature_beside_a_valid_override_is_authenticated() {
    let decision = World::new().judge(&Request::to("/api/internal").by_npu_worker().token(TOKEN));
    assert_eq!(decision.outcome, Outcome::Authenticated);
    assert_eq!(decision.service.unwrap().id().as_str(), "npu-worker");
}

#[test]
fn an_override_proves_nobody() {
    let decision = World::new().judge(&Request::to("/api/internal").signed("npu-worker", "b").token(TOKEN));
    assert_eq!((decision.outcome, decision.service), (Outcome::Override, None));
}

#[test]
fn wrong_tokens_open_nothing_and_none_configured_looks_the_same() {
    for token in ["", "x", "fake-override-token-for-test", "FAKE-OVERRIDE-TOKEN-FOR-TESTS"] {
        let request = Request::to("/api/internal").token(token);
        let decision = World::new().judge(&request);
        assert_eq!((decision.outcome, decision.reason), (Outcome::Refuse, Some(Refusal::MissingSignature)));
        assert!(decision.wrong_override);
        let without = World { token: None, ..World::new() };
        assert_eq!(without.judge(&request), decision);
    }
    let repeated = Request::to("/api/internal").token(TOKEN).token(TOKEN);
    assert_eq!(World::new().judge(&repeated).outcome, Outcome::Refuse);
    let without = World { token: None, ..World::new() };
    assert_eq!(without.judge(&Request::to("/api/internal").token(TOKEN)).outcome, Outcome::Refuse);
}

#[test]
fn the_caller_must_be_allowed_by_every_rule_that_a_reading_falls_under() {
    let rules = || {
        vec![
            rule(Access::Service, "/api/one", &["npu-worker"], None),
            rule(Access::Service, "/api/two", &["ai-stack"], None),
            rule(Access::Service, "/api/both", &["ai-stack", "npu-worker"], None),
        ]
    };
    for (path, allowed) in [
        ("/api/one", "npu-worker"),
        ("/api/two", "ai-stack"),
        ("/api/both", "ai-stack npu-worker"),
        ("/api/one/..%2ftwo", ""),
        ("/api/one/..%2fboth", "npu-worker"),
        ("/api/both/%2e%2e/two", "ai-stack"),
    ] {
        for (id, letter) in [("npu-worker", "a"), ("ai-stack", "b")] {
            let decision = World::with(rules()).judge(&Request::to(path).signed(id, letter));
            let expected = if allowed.contains(id) { None } else { Some(Refusal::CallerNotAllowed) };
            assert_eq!(decision.reason, expected, "{path} {id}");
        }
    }
}

#[test]
fn a_path_that_only_the_default_guards_takes_any_known_service() {
    let rules = RuleSet::build(Vec::new(), DefaultAccess::Service).unwrap();
    let world = World { rules, ..World::new() };
    assert_eq!(world.judge(&Request::to("/x").by_npu_worker()).outcome, Outcome::Authenticated);
    assert_eq!(world.judge(&Request::to("/x").signed("nobody", "a")).reason, Some(Refusal::UnknownService));
    assert_eq!(world.judge(&Request::to("/x")).reason, Some(Refusal::MissingSignature));
}

#[test]
fn a_second_sight_is_reported_refused_or_not_looked_at() {
    let request = Request::to("/api/internal").by_npu_worker();
    for (replay, outcome, reason) in [
        ((|_| ReplayPolicy::Off) as fn(&ReplayTable) -> ReplayPolicy<'_>, Outcome::Authenticated, None),
        (|table| ReplayPolicy::Report(table), Outcome::Authenticated, Some(Refusal::Replayed)),
        (|table| ReplayPolicy::Refuse(table), Outcome::Refuse, Some(Refusal::Replayed)),
    ] {
        let world = World { replay, ..World::new() };
        let first = world.judge(&request);
        assert_eq!((first.outcome, first.reason), (Outcome::Authenticated, None));
        let second = world.judge(&request.clone().from(2));
        assert_eq!((second.outcome, second.reason), (outcome, reason));
        assert_eq!(second.service.unwrap().id().as_str(), "npu-worker");
        assert_eq!(world.counted(2), usize::from(outcome == Outcome::Refuse));
        // another second is another signature
        assert_eq!(world.judge(&Request::to("/api/internal").signed_at("npu-worker", "a", 1)).reason, None);
    }
}

#[test]
fn a_replay_on_a_respelled_path_is_known_again() {
    let world = World { replay: |table| ReplayPolicy::Refuse(table), ..World::new() };
    let request = Request::to("/api/internal/x").by_npu_worker();
    assert_eq!(world.judge(&request).outcome, Outcome::Authenticated);
    let respelled = Request { path: "/api/%69nternal/x", ..request };
    assert_eq!(world.judge(&respelled).reason, Some(Refusal::Replayed));
}

#[test]
fn what_was_refused_is_not_remembered_as_seen() {
    let world = World { replay: |table| ReplayPolicy::Refuse(table), ..World::new() };
    for (request, reason) in &*REFUSED {
        for _ in 0..2 {
            assert_eq!(world.judge(&request.clone().from(9)).reason.unwrap(), *reason);
            world.limit.reconfigure(1000, Duration::from_secs(300), 1000);
        }
    }
    assert_eq!(world.replays.len(), 0);
}

#[test]
fn without_keys_a_well_formed_signature_can_be_neither_proved_nor_disproved() {
    let unavailable = || World { keys_available: false, ..World::new() };
    let request = Request::to("/api/internal").by_npu_worker();
    let decision = unavailable().judge(&request);
    assert_eq!((decision.outcome, decision.reason), (Outcome::Refuse, Some(Refusal::KeysUnavailable)));
    assert_eq!(decision.retry_after, Some(KEYS_RETRY_AFTER));
    let decision = unavailable().mode(Mode::Log, 100).judge(&request);
    assert_eq!((decision.outcome, decision.reason), (Outcome::WouldRefuse, Some(Refusal::KeysUnavailable)));
    assert_eq!(decision.retry_after, None);
    // what needs no key is told as ever
    assert_eq!(unavailable().judge(&Request::to("/api/internal")).reason, Some(Refusal::MissingSignature));
    assert_eq!(
        unavailable().judge(&Request::to("/api/internal").signed_at("nobody", "a", 999)).reason,
        Some(Refusal::TimestampOutsideWindow)
    );
    assert_eq!(unavailable().judge(&request.token(TOKEN)).outcome, Outcome::Override);
}
