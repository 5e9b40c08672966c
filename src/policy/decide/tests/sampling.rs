//! Mode and percentage: which refusals are carried out, and that nothing a caller writes changes that.

use super::*;

const PATHS: [&str; 8] = [
    "/api/internal/a",
    "/api/internal/b",
    "/api/internal/c",
    "/api/internal/d",
    "/api/internal/e",
    "/api/internal/f",
    "/api/internal/g",
    "/api/internal/h",
];

/// Which of many calls are refused.
fn refused(world: &World) -> Vec<bool> {
    world.limit.reconfigure(1_000_000, Duration::from_secs(300), 1000);
    let calls = (1..=250).flat_map(|client| PATHS.map(|path| Request::to(path).from(client)));
    calls.map(|call| world.judge(&call).outcome == Outcome::Refuse).collect()
}

#[test]
fn what_is_refused_at_a_percentage_is_refused_at_every_larger_one() {
    for sampling in [Sampling::Call, Sampling::Caller] {
        let mut before = vec![false; 2000];
        for percentage in [0, 1, 10, 25, 50, 75, 99, 100] {
            let mut world = World::new().mode(Mode::Enforce, percentage);
            world.enforcement.sampling = sampling;
            let now = refused(&world);
            assert_eq!(now, refused(&world), "the same again");
            assert!(before.iter().zip(&now).all(|(before, now)| !before || *now), "{sampling:?} {percentage}");
            before = now;
        }
        assert!(before.iter().all(|refused| *refused));
    }
}

#[test]
fn by_call_the_share_of_calls_is_the_percentage() {
    let world = World::new().mode(Mode::Enforce, 25);
    let share = refused(&world).iter().filter(|refused| **refused).count();
    assert!((400..600).contains(&share), "{share} of 2000");
}

#[test]
fn by_caller_all_calls_of_an_address_fare_alike() {
    let mut world = World::new().mode(Mode::Enforce, 50);
    world.enforcement.sampling = Sampling::Caller;
    let fates = refused(&world);
    assert!(fates.chunks(PATHS.len()).all(|calls| calls.iter().all(|fate| *fate == calls[0])));
    let share = fates.iter().filter(|refused| **refused).count() / PATHS.len();
    assert!((85..165).contains(&share), "{share} of 250 callers");
}

#[test]
fn by_chance_each_request_is_drawn_anew() {
    let mut world = World::new().mode(Mode::Enforce, 50);
    world.enforcement.sampling = Sampling::Random;
    for (random, outcome) in [
        (0, Outcome::Refuse),
        (u64::MAX, Outcome::WouldRefuse),
        ((1 << 63) - 1, Outcome::Refuse),
        (1 << 63, Outcome::WouldRefuse),
    ] {
        let request = Request { random, ..Request::to("/api/internal") };
        assert_eq!(world.judge(&request).outcome, outcome);
    }
}

/// The attack: respell the path, change headers or the method's case until a refusal is not carried out.
#[test]
fn no_respelling_and_no_header_flips_a_verdict() {
    for percentage in [10, 50, 75] {
        let world = World::new().mode(Mode::Enforce, percentage);
        world.limit.reconfigure(1_000_000, Duration::from_secs(300), 1000);
        for client in 1..=50 {
            let plain = world.judge(&Request::to("/api/internal/x").from(client)).outcome;
            for path in [
                "/api/internal/x/",
                "/API/internal/X",
                "/api//internal/x",
                "/api/./internal/x",
                "/api/%69nternal/x",
                "/api/%2569nternal/x",
                "/api/internal/x%0a",
                "/api/internal;v=1/x",
                "/api\\internal\\x",
                "/api/chat/../internal/x",
                "/api/chat/..%2finternal/x",
                "/api/internal/x.",
            ] {
                assert_eq!(world.judge(&Request::to(path).from(client)).outcome, plain, "{path}");
            }
            for request in [
                Request { method: "post", ..Request::to("/api/internal/x") },
                Request { random: u64::MAX, ..Request::to("/api/internal/x") },
                Request::to("/api/internal/x").token("wrong"),
                Request::to("/api/internal/x").signed("npu-worker", "b"),
                Request::to("/api/internal/x").signed("somebody", "b"),
                Request::to("/api/internal/x").header("X-Service-ID", "z"),
            ] {
                assert_eq!(world.judge(&request.from(client)).outcome, plain);
            }
        }
    }
}

#[test]
fn a_valid_signature_passes_at_every_percentage_and_says_whether_it_was_drawn_in() {
    let mut drawn = 0;
    for client in 1..=200 {
        let world = World::new().mode(Mode::Enforce, 50);
        let decision = world.judge(&Request::to("/api/internal").by_npu_worker().from(client));
        assert_eq!(decision.outcome, Outcome::Authenticated);
        let refused = world.judge(&Request::to("/api/internal").from(client)).outcome == Outcome::Refuse;
        assert_eq!(decision.drawn_in, refused);
        drawn += usize::from(refused);
    }
    assert!((70..130).contains(&drawn), "{drawn} of 200");
}

#[test]
fn a_rules_own_percentage_bounds_the_global_one_and_several_count_with_their_largest() {
    let rules = || {
        vec![
            rule(Access::Service, "/api/none", &[], Some(0)),
            rule(Access::Service, "/api/half", &[], Some(50)),
            rule(Access::Service, "/api/all", &[], Some(100)),
            rule(Access::Service, "/api/unsaid", &[], None),
        ]
    };
    for (path, global, effective) in [
        ("/api/none", 100, 0),
        ("/api/half", 100, 50),
        ("/api/half", 50, 50),
        ("/api/half", 10, 10),
        ("/api/all", 100, 100),
        ("/api/all", 10, 10),
        ("/api/unsaid", 100, 100),
        ("/api/unsaid", 25, 25),
        ("/api/none/..%2fhalf", 100, 50),
        ("/api/none/..%2fhalf", 25, 25),
        ("/api/half/..%2fall", 75, 75),
        ("/api/half/..%2funsaid", 100, 100),
    ] {
        let world = World::with(rules()).mode(Mode::Enforce, global);
        assert_eq!(world.judge(&Request::to(path)).percentage.value(), effective, "{path} at {global}");
    }
    let world = World::with(rules());
    assert_eq!(world.judge(&Request::to("/api/none")).outcome, Outcome::WouldRefuse);
    assert_eq!(world.judge(&Request::to("/api/all")).outcome, Outcome::Refuse);
    assert_eq!(world.judge(&Request::to("/api/none/..%2fall")).outcome, Outcome::Refuse);
}
