//! Which refusals are carried out, and that nobody can shop for a better draw.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const SALT: [u8; 32] = [7; 32];

fn percent(value: u8) -> Percentage {
    Percentage::new(value).unwrap()
}

fn client(last: u8) -> LimitKey {
    LimitKey::V4(Ipv4Addr::new(192, 0, 2, last))
}

#[test]
fn log_carries_out_nothing_at_any_percentage() {
    for value in 0..=100 {
        let log = Enforcement { mode: Mode::Log, percentage: percent(value), sampling: Sampling::Call };
        assert!(!log.carries_out(percent(value), |_| panic!("drew in log")));
    }
}

#[test]
fn nothing_is_drawn_at_0_and_100_percent() {
    let enforce = |value| Enforcement { mode: Mode::Enforce, percentage: percent(value), sampling: Sampling::Call };
    assert!(!enforce(0).carries_out(percent(0), |_| panic!("drew at 0 %")));
    assert!(enforce(100).carries_out(percent(100), |_| panic!("drew at 100 %")));
    // it is the effective percentage that counts
    assert!(!enforce(100).carries_out(percent(0), |_| panic!("drew at 0 %")));
    assert!(enforce(50).carries_out(percent(50), |_| Draw(0)));
    assert!(!enforce(50).carries_out(percent(50), |_| Draw(u64::MAX)));
}

#[test]
fn a_draw_is_in_exactly_below_its_hundredths() {
    for (draw, lowest) in [
        (0, 1),
        (u64::MAX, 100),
        (1 << 63, 51),
        ((1 << 63) - 1, 50),
        (u64::MAX / 100, 1),
        (u64::MAX / 100 + 1, 2),
        (u64::MAX / 4, 25),
        (u64::MAX / 4 + 1, 26),
    ] {
        for value in 0..=100 {
            assert_eq!(Draw(draw).is_in(percent(value)), value >= lowest, "{draw} at {value} %");
        }
    }
}

#[test]
fn the_share_of_calls_that_is_in_is_the_percentage() {
    for value in [1, 10, 25, 50, 75, 99] {
        let all = 20_000u32;
        let inside = (0..all)
            .filter(|at| Draw::by_call(&SALT, client(1), "POST", &format!("/api/x/{at}")).is_in(percent(value)))
            .count();
        let share = 100.0 * inside as f64 / f64::from(all);
        // 4 standard deviations of a binomial at 50 % are 1.4 points here; the draws are fixed by the salt
        assert!((share - f64::from(value)).abs() < 1.5, "{share} instead of {value}");
    }
}

#[test]
fn a_draw_is_the_same_each_time_and_another_with_another_salt_client_method_or_path() {
    let draw = Draw::by_call(&SALT, client(1), "POST", "/api/x");
    assert_eq!(draw, Draw::by_call(&SALT, client(1), "POST", "/api/x"));
    for other in [
        Draw::by_call(&[8; 32], client(1), "POST", "/api/x"),
        Draw::by_call(&SALT, client(2), "POST", "/api/x"),
        Draw::by_call(&SALT, client(1), "PUT", "/api/x"),
        Draw::by_call(&SALT, client(1), "POST", "/api/y"),
        // the boundary between method and path is part of what is drawn by
        Draw::by_call(&SALT, client(1), "POST/", "api/x"),
        Draw::by_call(&SALT, client(1), "POS", "T/api/x"),
        Draw::by_call(&SALT, client(1), "", "POST/api/x"),
        Draw::by_caller(&SALT, client(1)),
    ] {
        assert_ne!(draw, other);
    }
    assert_ne!(Draw::by_caller(&SALT, client(1)), Draw::by_caller(&SALT, client(2)));
    assert_ne!(Draw::by_caller(&SALT, client(1)), Draw::by_caller(&[8; 32], client(1)));
}

#[test]
fn the_case_of_a_method_does_not_redraw() {
    let draw = Draw::by_call(&SALT, client(1), "POST", "/api/x");
    for method in ["post", "Post", "pOsT"] {
        assert_eq!(Draw::by_call(&SALT, client(1), method, "/api/x"), draw, "{method}");
    }
}

#[test]
fn clients_of_different_kinds_never_share_a_draw() {
    let keys = [
        LimitKey::V4(Ipv4Addr::new(0, 0, 0, 1)),
        LimitKey::V6Net(1),
        LimitKey::Unix(1),
        LimitKey::V6Net(1 << 32),
        LimitKey::V4(Ipv4Addr::new(1, 0, 0, 0)),
    ];
    for (at, one) in keys.iter().enumerate() {
        for other in &keys[at + 1..] {
            assert_ne!(Draw::by_caller(&SALT, *one), Draw::by_caller(&SALT, *other), "{one:?} {other:?}");
            assert_ne!(Draw::by_call(&SALT, *one, "GET", "/"), Draw::by_call(&SALT, *other, "GET", "/"));
        }
    }
}

/// What page 2 and the design say, computed a second time.
#[test]
fn a_draw_is_the_first_8_bytes_of_the_mac() {
    let mut text = b"c4".to_vec();
    text.extend([192, 0, 2, 1]);
    text.extend(4u64.to_be_bytes());
    text.extend(b"POST/api/x");
    let mac = Hmac::<Sha256>::new_from_slice(&SALT).unwrap().chain_update(&text).finalize().into_bytes();
    let expected = u64::from_be_bytes(mac[..8].try_into().unwrap());
    assert_eq!(Draw::by_call(&SALT, client(1), "post", "/api/x"), Draw(expected));
}

proptest! {
    #[test]
    fn what_is_in_stays_in_as_the_percentage_grows(draw in any::<u64>(), low in 0u8..=100, high in 0u8..=100) {
        let (low, high) = (low.min(high), low.max(high));
        prop_assert!(!Draw(draw).is_in(percent(low)) || Draw(draw).is_in(percent(high)));
        prop_assert!(!Draw(draw).is_in(percent(0)));
        prop_assert!(Draw(draw).is_in(percent(100)));
    }
}
