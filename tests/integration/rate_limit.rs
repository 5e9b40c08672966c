//! The failure limit: it slows guessing down and locks nobody out who can sign.

use super::support::raw::{get, get_from, get_with};
use super::support::recorder::Recorder;
use super::support::refusal::assert_refused;
use super::support::sidecar::Builder;
use super::support::{KEY_A, KEY_B, sign};
use std::net::Ipv4Addr;

const PATH: &str = "/api/internal/x";
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn the_eleventh_refusal_is_answered_429_with_its_true_cause_in_the_record() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for _ in 0..10 {
        assert_refused(&get(sidecar.address, PATH), 401, "missing_signature");
    }
    let limited = get(sidecar.address, PATH);
    let id = assert_refused(&limited, 429, "rate_limited");
    let wait: u64 = limited.fields.one("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&wait), "Retry-After: {wait}");
    let record = sidecar.record(&id);
    assert_eq!(
        (&record["reason"], &record["cause"]),
        (&"rate_limited".into(), &"missing_signature".into()),
        "{record}"
    );
    assert_eq!(record["status"], 429);
    let wrong = get_with(sidecar.address, PATH, &sign::headers(KEY_B, "npu-worker", "GET", PATH));
    let id = assert_refused(&wrong, 429, "rate_limited");
    assert_eq!(sidecar.record(&id)["cause"], "invalid_signature");
    // A valid signature passes, and what needs none is not slowed.
    let good = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    assert_eq!(get_with(sidecar.address, PATH, &good).status, 200);
    assert_eq!(get(sidecar.address, "/api/chat/x").status, 200);
    assert_eq!(get(sidecar.address, "/open").status, 200);
    // Another address has its own count.
    assert_refused(&get_from(OTHER, sidecar.address, PATH, ""), 401, "missing_signature");
}

#[test]
fn every_kind_of_carried_out_refusal_counts() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let path = "/api/npu/results";
    let kinds = [
        String::new(),
        "X-Service-ID: x y\r\nX-Service-Timestamp: 1\r\nX-Service-Signature: 1\r\n".to_owned(),
        sign::headers_at(KEY_A, "npu-worker", "GET", path, 1_000_000_000),
        sign::headers(KEY_A, "nobody", "GET", path),
        sign::headers(KEY_B, "npu-worker", "GET", path),
        sign::headers(KEY_B, "ai-stack", "GET", path),
    ];
    for lines in kinds.iter().chain(&kinds[..4]) {
        assert!(matches!(get_with(sidecar.address, path, lines).status, 401 | 403));
    }
    assert_refused(&get(sidecar.address, path), 429, "rate_limited");
}

#[test]
fn malformed_requests_passes_and_429s_do_not_count() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for _ in 0..30 {
        assert_eq!(get(sidecar.address, "/bad<path").status, 400);
        assert_eq!(get(sidecar.address, "/open").status, 200);
    }
    assert_refused(&get(sidecar.address, PATH), 401, "missing_signature");
}

#[test]
fn refusals_that_are_not_carried_out_do_not_count() {
    let upstream = Recorder::plain();
    let log = Builder::guarding(upstream.address).log_mode().start();
    let none = Builder::guarding(upstream.address).set("enforcement", "percentage", "0").start();
    for _ in 0..30 {
        assert_eq!((get(log.address, PATH).status, get(none.address, PATH).status), (200, 200));
    }
    assert!(log.audit().iter().chain(&none.audit()).all(|record| record["reason"] != "rate_limited"));
}

#[test]
fn a_chosen_x_forwarded_for_neither_evades_nor_inflicts_the_limit() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for n in 0..10 {
        let lines =
            format!("X-Forwarded-For: 127.0.0.2, 10.0.0.{n}\r\nX-Real-IP: 127.0.0.2\r\nForwarded: for=127.0.0.2\r\n");
        assert_eq!(get_with(sidecar.address, PATH, &lines).status, 401);
    }
    assert_eq!(get_with(sidecar.address, PATH, "X-Forwarded-For: 10.9.9.9\r\n").status, 429, "evaded");
    assert_eq!(get_from(OTHER, sidecar.address, PATH, "").status, 401, "inflicted");
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_count() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).set("inbound", "trusted_proxies", "[\"127.0.0.1\"]").start();
    let of = |client: &str| get_with(sidecar.address, PATH, &format!("X-Forwarded-For: {client}\r\n")).status;
    for _ in 0..10 {
        assert_eq!(of("198.51.100.1"), 401);
    }
    assert_eq!((of("198.51.100.1"), of("198.51.100.2")), (429, 401));
    // IPv6 counts by its /64, and an IPv4 address in IPv6 clothes is the IPv4 address.
    for n in 0..10 {
        assert_eq!(of(&format!("2001:db8::{n:x}")), 401);
    }
    assert_eq!((of("2001:db8::ffff:1"), of("2001:db8:0:1::1")), (429, 401));
    assert_eq!(of("::ffff:198.51.100.1"), 429);
}

#[test]
fn with_lockout_even_a_valid_signature_waits() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .set("enforcement", "rate_limit", "{ failures = 3, window = \"5m\", lockout = true }")
        .start();
    for _ in 0..3 {
        assert_eq!(get(sidecar.address, PATH).status, 401);
    }
    let good = || sign::headers(KEY_A, "npu-worker", "GET", PATH);
    assert_refused(&get_with(sidecar.address, PATH, &good()), 429, "rate_limited");
    assert_eq!(get_from(OTHER, sidecar.address, PATH, &good()).status, 200);
}

#[test]
fn the_window_slides() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .set("enforcement", "rate_limit", "{ failures = 2, window = \"1s\" }")
        .start();
    while get(sidecar.address, PATH).status != 429 {}
    super::support::eventually("the window to pass", || (get(sidecar.address, PATH).status == 401).then_some(()));
}
