//! An audit sink that takes nothing: service requests wait and are refused, or records are dropped and counted, as the
//! operator chose; what needs no signature never waits, and memory stays bounded.

use super::support::raw::{Client, get, get_with};
use super::support::recorder::Recorder;
use super::support::refusal::assert_own_failure;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, sign};

/// A sidecar whose audit file is always full, after more records than it will keep in memory.
fn filled(upstream: &Recorder, on_full: &str) -> Sidecar {
    let sidecar = Builder::guarding(upstream.address)
        .set("audit", "file", "\"/dev/full\"")
        .set("audit", "on_full", format!("{on_full:?}"))
        .start();
    let target = format!("/open/{}", "a".repeat(16_000));
    let mut client = Client::connect(sidecar.address);
    for _ in 0..6_000 {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n"));
        assert_eq!(client.answer().status, 200, "a request that needs no signature was refused");
    }
    sidecar
}

/// Kilobytes of the process in memory.
fn resident(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn signed() -> String {
    sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/x")
}

#[test]
fn with_block_no_service_request_passes_unrecorded_and_nobody_else_waits() {
    let upstream = Recorder::plain();
    let sidecar = filled(&upstream, "block");
    let answer = get_with(sidecar.address, "/api/internal/x", &signed());
    assert_eq!(assert_own_failure(&answer, 503), "audit_unavailable");
    assert!(upstream.marked("/api/internal").is_empty());
    assert_eq!((get(sidecar.address, "/open").status, get(sidecar.address, "/api/chat/x").status), (200, 200));
    assert!(sidecar.metric("countersign_refusals_total", &["audit_unavailable", "carried_out=\"yes\""]) >= 1.0);
}

#[test]
fn with_block_nothing_leaves_signed_and_unrecorded() {
    let upstream = Recorder::plain();
    let sidecar = Builder::signing(&format!("http://{}", upstream.address))
        .set("audit", "file", "\"/dev/full\"")
        .set("audit", "on_full", "\"block\"")
        .start();
    let mut client = Client::connect(sidecar.address);
    let target = format!("/{}", "a".repeat(16_000));
    for sent in 0.. {
        assert!(sent < 6_000, "it goes on and on");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", sidecar.address));
        let answer = client.answer();
        if answer.status != 200 {
            assert_eq!(assert_own_failure(&answer, 503), "audit_unavailable");
            assert_eq!(upstream.requests().len(), sent, "it left all the same");
            break;
        }
    }
    assert!(sidecar.metric("countersign_outbound_refusals_total", &["audit_unavailable"]) >= 1.0);
}

#[test]
fn with_drop_and_count_requests_pass_and_the_missing_records_are_counted() {
    let upstream = Recorder::plain();
    let sidecar = filled(&upstream, "drop_and_count");
    assert_eq!(get_with(sidecar.address, "/api/internal/x", &signed()).status, 200);
    assert!(sidecar.metric("countersign_audit_records_dropped_total", &[]) > 100.0);
    let before = resident(&sidecar);
    for _ in 0..500 {
        get(sidecar.address, &format!("/open/{}", "b".repeat(16_000)));
    }
    let after = resident(&sidecar);
    assert!(after < before + 4_000, "{before} kB grew to {after} kB");
}
