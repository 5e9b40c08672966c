//! Row 2 of the table, with granted tokens.

use super::*;
use crate::policy::grants::{GrantId, GrantScope, GrantTerms, GrantToken};
use std::sync::Arc;

/// Grant 1: `POST` below `/api/internal`, a minute, so many uses.
fn granting(mut world: World, uses: Option<u64>) -> World {
    let scope = GrantScope::new("/api/internal", Some("POST")).unwrap();
    let terms = GrantTerms::new(scope, Duration::from_secs(60), uses, "a test", "uid:0", NOW).unwrap();
    let grant = Grant::new(id(), token().hash(), terms, 0, (NOW, world.start));
    world.grants = GrantTable::new(vec![Arc::new(grant)]).unwrap();
    world
}

fn id() -> GrantId {
    GrantId::from_random([1; 6])
}

fn token() -> GrantToken {
    GrantToken::from_random(&[1; 32])
}

fn used(world: &World) -> u64 {
    world.grants.iter().map(|grant| grant.used()).sum()
}

fn to(path: &'static str) -> Request {
    Request::to(path).token(token().reveal())
}

#[test]
fn a_granted_token_lets_pass_what_its_scope_covers_and_the_decision_names_the_grant() {
    let world = granting(World { token: None, ..World::new() }, None);
    let decision = world.judge(&to("/api/internal/x"));
    assert_eq!((decision.outcome, decision.grant), (Outcome::Override, Some(id())));
    assert!(!decision.wrong_override && decision.service.is_none());
    assert_eq!((used(&world), world.counted(1)), (1, 0));
}

#[test]
fn the_static_token_beside_it_stays_and_names_no_grant() {
    let world = granting(World::new(), Some(1));
    let decision = world.judge(&Request::to("/api/npu/results").token(TOKEN));
    assert_eq!((decision.outcome, decision.grant, used(&world)), (Outcome::Override, None, 0));
}

#[test]
fn beyond_its_scope_its_time_or_its_uses_a_granted_token_is_a_wrong_one() {
    let in_scope = to("/api/internal");
    let out_of_scope = [
        to("/api/npu/results"),
        to("/api/internal/../npu/results"),
        to("/api/npu/..%2finternal/../npu/results"),
        Request { method: "GET", ..to("/api/internal") },
        to("/api/internal").token(token().reveal()),
    ];
    for request in &out_of_scope {
        let world = granting(World::new(), Some(2));
        let decision = world.judge(request);
        assert_eq!((decision.outcome, decision.reason), (Outcome::Refuse, Some(Refusal::MissingSignature)));
        assert!(decision.wrong_override && decision.grant.is_none());
        assert_eq!((world.counted(1), used(&world)), (1, 0), "{}", request.path);
    }
    let world = World { elapsed: 60, ..granting(World::new(), None) };
    assert_eq!(world.judge(&in_scope).outcome, Outcome::Refuse);
    let world = granting(World::new(), Some(2));
    for _ in 0..2 {
        assert_eq!(world.judge(&in_scope).outcome, Outcome::Override);
    }
    let decision = world.judge(&in_scope);
    assert_eq!((decision.outcome, decision.wrong_override), (Outcome::Refuse, true));
    assert_eq!((world.counted(1), used(&world)), (1, 2));
}

#[test]
fn only_what_the_override_lets_pass_takes_a_use() {
    let world = granting(World::new(), Some(1));
    for (request, outcome) in [
        (to("/api/internal").by_npu_worker(), Outcome::Authenticated),
        (to("/api/chat"), Outcome::Allow),
        (to("/other"), Outcome::Allow),
        (to("/api/npu/results"), Outcome::Refuse),
    ] {
        assert_eq!((world.judge(&request).outcome, used(&world)), (outcome, 0), "{}", request.path);
    }
    assert_eq!((world.judge(&to("/api/internal")).outcome, used(&world)), (Outcome::Override, 1));
}

#[test]
fn it_overrides_every_reason_and_in_every_mode() {
    for (mode, percentage) in [(Mode::Enforce, 100), (Mode::Enforce, 0), (Mode::Log, 100)] {
        for (request, _) in &*REFUSED {
            let world = granting(World::new().mode(mode, percentage), None);
            let request = Request { path: "/api/internal", ..request.clone() }.token(token().reveal());
            // Signed for another path, some of these fail for another reason now; none of them is authenticated.
            assert_eq!(world.judge(&request).outcome, Outcome::Override);
        }
        let unavailable = World { keys_available: false, ..granting(World::new().mode(mode, percentage), None) };
        assert_eq!(unavailable.judge(&to("/api/internal").by_npu_worker()).outcome, Outcome::Override);
    }
}

#[test]
fn it_passes_from_an_address_over_the_limit_but_not_with_lockout() {
    let request = to("/api/internal");
    for (lockout, outcome, uses) in [(false, Outcome::Override, 1), (true, Outcome::Refuse, 0)] {
        let world = granting(World { lockout, ..World::new() }, Some(1));
        for _ in 0..10 {
            world.judge(&Request::to("/api/internal"));
        }
        assert_eq!((world.judge(&request).outcome, used(&world)), (outcome, uses));
    }
}

#[test]
fn guessing_is_limited_alike_with_and_without_a_grant() {
    for world in [World::new(), granting(World::new(), None)] {
        for _ in 0..10 {
            let decision = world.judge(&Request::to("/api/internal").token("cso_guess"));
            assert_eq!((decision.reason, decision.wrong_override), (Some(Refusal::MissingSignature), true));
        }
        let decision = world.judge(&Request::to("/api/internal").token("cso_guess"));
        assert_eq!(decision.reason, Some(Refusal::RateLimited));
    }
}

#[test]
fn of_simultaneous_requests_exactly_as_many_pass_as_there_are_uses() {
    let world = granting(World::new(), Some(13));
    let passed: usize = std::thread::scope(|scope| {
        let ask = || (0..25).filter(|_| world.judge(&to("/api/internal")).outcome == Outcome::Override).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((passed, used(&world)), (13, 13));
}
