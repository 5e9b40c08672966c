//! Row 9 of the table: what counts against an address, and whom the limit holds.

use super::*;

/// Ten carried-out refusals from client 1.
fn exhausted(world: World) -> World {
    for _ in 0..10 {
        assert_eq!(world.judge(&Request::to("/api/internal")).reason, Some(Refusal::MissingSignature));
    }
    world
}

#[test]
fn the_eleventh_refusal_is_rate_limited_and_keeps_its_true_cause() {
    for (request, reason) in &*REFUSED {
        let world = World::new();
        for _ in 0..10 {
            assert_eq!(world.judge(request).reason, Some(*reason));
        }
        for _ in 0..3 {
            let decision = world.judge(request);
            assert_eq!((decision.outcome, decision.reason), (Outcome::Refuse, Some(Refusal::RateLimited)));
            assert_eq!(decision.cause, Some(*reason));
            assert_eq!(decision.retry_after, Some(Duration::from_secs(300)));
        }
        assert_eq!(world.judge(&request.clone().from(2)).reason, Some(*reason), "another address");
    }
}

#[test]
fn what_the_limit_refused_is_not_counted_and_the_window_slides() {
    let mut world = exhausted(World::new());
    world.elapsed = 299;
    for _ in 0..50 {
        let decision = world.judge(&Request::to("/api/internal"));
        assert_eq!(
            (decision.reason, decision.retry_after),
            (Some(Refusal::RateLimited), Some(Duration::from_secs(1)))
        );
    }
    world.elapsed = 300;
    assert_eq!(world.judge(&Request::to("/api/internal")).reason, Some(Refusal::MissingSignature));
}

#[test]
fn of_simultaneous_refusals_exactly_ten_are_answered_with_their_reason() {
    let world = World::new();
    let reasons: Vec<_> = std::thread::scope(|scope| {
        let ask = || (0..20).map(|_| world.judge(&Request::to("/api/internal")).reason).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = |reason| reasons.iter().filter(|found| **found == Some(reason)).count();
    assert_eq!((count(Refusal::MissingSignature), count(Refusal::RateLimited)), (10, 70));
}

#[test]
fn a_valid_signature_an_override_and_what_is_exempt_or_open_pass_from_an_address_over_the_limit() {
    let world = exhausted(World::new());
    for (request, outcome) in [
        (Request::to("/api/internal").by_npu_worker(), Outcome::Authenticated),
        (Request::to("/api/internal").token(TOKEN), Outcome::Override),
        (Request::to("/api/chat"), Outcome::Allow),
        (Request::to("/other"), Outcome::Allow),
    ] {
        assert_eq!(world.judge(&request).outcome, outcome);
    }
    assert_eq!(world.judge(&Request::to("/api/internal")).reason, Some(Refusal::RateLimited));
}

#[test]
fn lockout_also_holds_valid_signatures_and_tokens_of_that_address_alone() {
    let world = exhausted(World { lockout: true, ..World::new() });
    for request in [
        Request::to("/api/internal").by_npu_worker(),
        Request::to("/api/internal").token(TOKEN),
        Request::to("/api/internal").by_npu_worker().token("wrong"),
    ] {
        let decision = world.judge(&request);
        assert_eq!((decision.outcome, decision.reason), (Outcome::Refuse, Some(Refusal::RateLimited)));
        assert_eq!((decision.cause, decision.retry_after), (None, Some(Duration::from_secs(300))));
        assert_ne!(world.judge(&request.from(2)).outcome, Outcome::Refuse);
    }
    let signed = Request::to("/api/npu/results").by_npu_worker();
    assert_eq!(world.judge(&signed).service.unwrap().id().as_str(), "npu-worker", "known, and held");
    assert_eq!(world.judge(&Request::to("/api/chat")).outcome, Outcome::Allow);
    assert_eq!(world.replays.len(), 1, "only what passed, from the other address, is remembered");
}

#[test]
fn lockout_refuses_nothing_where_refusals_are_not_carried_out() {
    let mut world = exhausted(World { lockout: true, ..World::new() });
    for (mode, percentage) in [(Mode::Log, 100), (Mode::Enforce, 0)] {
        world = world.mode(mode, percentage);
        let decision = world.judge(&Request::to("/api/internal").by_npu_worker());
        assert_eq!(decision.outcome, Outcome::Authenticated);
    }
}

#[test]
fn rate_limited_never_appears_where_refusals_are_not_carried_out() {
    for (mode, percentage) in [(Mode::Log, 100), (Mode::Enforce, 0)] {
        let world = exhausted(World::new()).mode(mode, percentage);
        for (request, reason) in &*REFUSED {
            let decision = world.judge(request);
            assert_eq!((decision.outcome, decision.reason), (Outcome::WouldRefuse, Some(*reason)));
            assert_eq!((decision.cause, decision.retry_after), (None, None));
        }
    }
}

#[test]
fn what_is_not_carried_out_does_not_count() {
    for (mode, percentage) in [(Mode::Log, 100), (Mode::Enforce, 0)] {
        let world = World::new().mode(mode, percentage);
        for (request, _) in &*REFUSED {
            world.judge(request);
        }
        assert_eq!(world.counted(1), 0);
    }
}

#[test]
fn a_wrong_token_counts_once_whatever_else_comes_of_the_request() {
    let wrong = |request: Request| request.token("wrong");
    for (world, request) in [
        (World::new(), wrong(Request::to("/api/internal"))),
        (World::new(), wrong(Request::to("/api/internal").by_npu_worker())),
        (World::new(), wrong(Request::to("/api/internal").signed("npu-worker", "b"))),
        (World::new(), wrong(Request::to("/api/internal")).token("wrong again")),
        (World::new().mode(Mode::Log, 100), wrong(Request::to("/api/internal"))),
        (World::new().mode(Mode::Log, 100), wrong(Request::to("/api/internal").by_npu_worker())),
        (World::new().mode(Mode::Enforce, 0), wrong(Request::to("/api/internal"))),
        (World { keys_available: false, ..World::new() }, wrong(Request::to("/api/internal").by_npu_worker())),
        (World { token: None, ..World::new() }, wrong(Request::to("/api/internal").by_npu_worker())),
    ] {
        let decision = world.judge(&request);
        assert!(decision.wrong_override);
        assert_eq!(world.counted(1), 1, "{:?} {:?}", decision.outcome, decision.reason);
    }
}

#[test]
fn guessing_tokens_is_limited_also_beside_a_valid_signature() {
    let world = World::new();
    for _ in 0..10 {
        let decision = world.judge(&Request::to("/api/internal").by_npu_worker().token("guess"));
        assert_eq!(decision.outcome, Outcome::Authenticated);
    }
    let decision = world.judge(&Request::to("/api/internal").token("guess"));
    assert_eq!((decision.reason, decision.cause), (Some(Refusal::RateLimited), Some(Refusal::MissingSignature)));
}

#[test]
fn unavailable_keys_are_answered_as_such_over_the_limit_too_and_never_counted() {
    let world = World { keys_available: false, ..World::new() };
    for _ in 0..20 {
        let decision = world.judge(&Request::to("/api/internal").by_npu_worker());
        assert_eq!(decision.reason, Some(Refusal::KeysUnavailable));
    }
    assert_eq!(world.counted(1), 0);
    // now it is full
    for request in
        [Request::to("/api/internal").by_npu_worker(), Request::to("/api/internal").by_npu_worker().token("wrong")]
    {
        let decision = world.judge(&request);
        assert_eq!((decision.reason, decision.retry_after), (Some(Refusal::KeysUnavailable), Some(KEYS_RETRY_AFTER)));
    }
}

#[test]
fn an_announced_probe_is_judged_as_the_same_request_is_and_counts_nothing() {
    for lockout in [false, true] {
        let worlds = || {
            [
                World { lockout, ..World::new() },
                World { lockout, ..World::new() }.mode(Mode::Log, 100),
                World { lockout, keys_available: false, ..World::new() },
                exhausted(World { lockout, ..World::new() }),
            ]
        };
        let passing = [Request::to("/api/chat"), Request::to("/other"), Request::to("/api/internal").by_npu_worker()];
        let tokens = [Request::to("/api/internal").token(TOKEN), Request::to("/api/internal").token("wrong")];
        // too few to reach the limit where it was not reached before
        let requests = || REFUSED.iter().map(|(request, _)| request).chain(&passing).chain(&tokens);
        for (counting, probed) in worlds().iter().zip(&worlds()) {
            let before = probed.limit.len();
            for request in requests() {
                let usual = counting.judge(request);
                let probe = probed.judge(&request.clone().announced());
                assert!(probe.is_probe && !usual.is_probe);
                assert_eq!(Decision { is_probe: false, ..probe }, usual);
            }
            assert_eq!(probed.limit.len(), before);
        }
    }
}

#[test]
fn any_number_of_announced_probes_leaves_the_limit_as_it_was() {
    let world = World::new();
    for _ in 0..50 {
        for (request, reason) in &*REFUSED {
            assert_eq!(world.judge(&request.clone().announced()).reason, Some(*reason));
        }
        world.judge(&Request::to("/api/internal").by_npu_worker().token("wrong").announced());
    }
    assert_eq!(world.counted(1), 0);
}
