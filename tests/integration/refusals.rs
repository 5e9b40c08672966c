//! The contract's table of decisions, seen from outside: status, body, headers, and nothing upstream.

use super::support::raw::{exchange, get, get_with};
use super::support::recorder::Recorder;
use super::support::refusal::assert_refused;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, KEY_B, eventually, sign};

const PATH: &str = "/api/internal/x";

fn guarded() -> (Recorder, Sidecar) {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    (upstream, sidecar)
}

/// The lines of a good signature without the one that begins so.
fn without(name: &str) -> String {
    let lines = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    lines.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect()
}

/// The lines of a good signature with one value replaced.
fn with(name: &str, value: &str) -> String {
    format!("{}{name}: {value}\r\n", without(name))
}

#[test]
fn a_valid_signature_passes_and_its_service_is_told_to_the_upstream() {
    let (upstream, sidecar) = guarded();
    let answer = get_with(sidecar.address, PATH, &sign::headers(KEY_A, "npu-worker", "GET", PATH));
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.the(PATH).fields.one("x-authenticated-service"), Some("npu-worker"));
    let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
    for (name, value) in [
        ("outcome", "authenticated"),
        ("service", "npu-worker"),
        ("claimed_service", "npu-worker"),
        ("class", "service"),
        ("rule", "internals"),
        ("scheme", "hmac-v1"),
        ("direction", "inbound"),
        ("method", "GET"),
        ("path", PATH),
        ("mode", "enforce"),
    ] {
        assert_eq!(record[name], value, "{name} of {record}");
    }
    assert_eq!((&record["status"], &record["percentage"]), (&200.into(), &100.into()), "{record}");
    assert!(
        record["reason"].is_null() && record["skew_seconds"].as_i64().is_some_and(|skew| skew.abs() < 5),
        "{record}"
    );
}

#[test]
fn each_refusal_has_its_status_its_reason_and_reaches_nobody() {
    let (upstream, sidecar) = guarded();
    let now = sign::now();
    let at = |timestamp| sign::headers_at(KEY_A, "npu-worker", "GET", PATH, timestamp);
    let signed = |key, id, method: &str, path: &str| sign::headers(key, id, method, path);
    // lines, the reason told to the caller, the true reason
    let table = [
        (String::new(), "missing_signature", "missing_signature"),
        (without("X-Service-ID"), "missing_signature", "missing_signature"),
        (without("X-Service-Timestamp"), "missing_signature", "missing_signature"),
        (without("X-Service-Signature"), "missing_signature", "missing_signature"),
        ("X-Service-ID: npu-worker\r\n".to_owned(), "missing_signature", "missing_signature"),
        (with("X-Service-ID", ""), "malformed_signature", "malformed_signature"),
        (with("X-Service-ID", "-npu"), "malformed_signature", "malformed_signature"),
        (with("X-Service-ID", "npu:worker"), "malformed_signature", "malformed_signature"),
        (with("X-Service-ID", "npu worker"), "malformed_signature", "malformed_signature"),
        (with("X-Service-ID", "../npu-worker"), "malformed_signature", "malformed_signature"),
        (with("X-Service-ID", &"a".repeat(65)), "malformed_signature", "malformed_signature"),
        (with("X-Service-ID", "caf\u{e9}"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Timestamp", "0123"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Timestamp", "+1759742876"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Timestamp", "-1"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Timestamp", "1759742876.5"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Timestamp", "1759742876123"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Timestamp", "0x68"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Timestamp", ""), "malformed_signature", "malformed_signature"),
        (with("X-Service-Signature", "00"), "malformed_signature", "malformed_signature"),
        (with("X-Service-Signature", &"A".repeat(64)), "malformed_signature", "malformed_signature"),
        (with("X-Service-Signature", &"g".repeat(64)), "malformed_signature", "malformed_signature"),
        (with("X-Service-Signature", &"0".repeat(65)), "malformed_signature", "malformed_signature"),
        (at(now - 400), "timestamp_outside_window", "timestamp_outside_window"),
        (at(now + 400), "timestamp_outside_window", "timestamp_outside_window"),
        (at(1), "timestamp_outside_window", "timestamp_outside_window"),
        (at(999_999_999_999), "timestamp_outside_window", "timestamp_outside_window"),
        (signed(KEY_A, "nobody", "GET", PATH), "invalid_credentials", "unknown_service"),
        (signed(KEY_A, "NPU-worker", "GET", PATH), "invalid_credentials", "unknown_service"),
        (signed(KEY_B, "npu-worker", "GET", PATH), "invalid_credentials", "invalid_signature"),
        (signed(KEY_A, "ai-stack", "GET", PATH), "invalid_credentials", "invalid_signature"),
        (signed(KEY_A, "npu-worker", "POST", PATH), "invalid_credentials", "invalid_signature"),
        (signed(KEY_A, "npu-worker", "get", PATH), "invalid_credentials", "invalid_signature"),
        (signed(KEY_A, "npu-worker", "GET", "/api/internal/y"), "invalid_credentials", "invalid_signature"),
        (with("X-Service-Signature", &"0".repeat(64)), "invalid_credentials", "invalid_signature"),
        (with("X-Service-Timestamp", &(now - 100).to_string()), "invalid_credentials", "invalid_signature"),
    ];
    for (lines, told, truly) in table {
        let id = assert_refused(&get_with(sidecar.address, PATH, &lines), 401, told);
        let record = sidecar.record(&id);
        assert_eq!((&record["outcome"], &record["reason"]), (&"refuse".into(), &truly.into()), "{lines}: {record}");
        assert_eq!(record["status"], 401);
        assert!(record["service"].is_null(), "{record}");
    }
    assert!(upstream.marked("/api/internal").is_empty());
}

#[test]
fn a_valid_signature_of_the_wrong_caller_is_refused_with_403() {
    let (upstream, sidecar) = guarded();
    let path = "/api/npu/results/7";
    let id = assert_refused(
        &get_with(sidecar.address, path, &sign::headers(KEY_B, "ai-stack", "GET", path)),
        403,
        "caller_not_allowed",
    );
    let record = sidecar.record(&id);
    assert_eq!(
        (&record["service"], &record["rule"], &record["status"]),
        (&"ai-stack".into(), &"npu".into(), &403.into())
    );
    assert_eq!(get_with(sidecar.address, path, &sign::headers(KEY_A, "npu-worker", "GET", path)).status, 200);
    assert_eq!(upstream.marked(path).len(), 1);
}

#[test]
fn timestamps_well_inside_the_window_pass_and_its_width_is_configured() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let narrow = Builder::guarding(upstream.address).set("signature", "window", "\"60s\"").start();
    let now = sign::now();
    for (timestamp, wide_ok, narrow_ok) in
        [(now - 290, true, false), (now + 290, true, false), (now - 50, true, true), (now + 50, true, true)]
    {
        let lines = sign::headers_at(KEY_A, "npu-worker", "GET", PATH, timestamp);
        assert_eq!(get_with(sidecar.address, PATH, &lines).status == 200, wide_ok, "{timestamp}");
        assert_eq!(get_with(narrow.address, PATH, &lines).status == 200, narrow_ok, "{timestamp}");
    }
}

#[test]
fn in_log_mode_everything_passes_and_is_recorded_with_its_true_reason() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).log_mode().start();
    let path = "/api/npu/results/7";
    let table = [
        (String::new(), "missing_signature"),
        (
            "X-Service-ID: a b\r\nX-Service-Timestamp: 1\r\nX-Service-Signature: 0\r\n".to_owned(),
            "malformed_signature",
        ),
        (sign::headers_at(KEY_A, "npu-worker", "GET", path, sign::now() - 4000), "timestamp_outside_window"),
        (sign::headers(KEY_A, "nobody", "GET", path), "unknown_service"),
        (sign::headers(KEY_B, "npu-worker", "GET", path), "invalid_signature"),
        (sign::headers(KEY_B, "ai-stack", "GET", path), "caller_not_allowed"),
    ];
    // More than the failure limit: it never shows in log mode.
    for (lines, reason) in table.iter().cycle().take(30) {
        let answer = get_with(sidecar.address, path, lines);
        assert_eq!(answer.status, 200, "{reason}");
        let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
        assert_eq!((&record["outcome"], &record["reason"]), (&"would_refuse".into(), &(*reason).into()), "{record}");
        assert_eq!((&record["mode"], &record["status"]), (&"log".into(), &200.into()), "{record}");
    }
}

#[test]
fn a_replayed_signature_is_reported_by_default_and_refused_when_asked() {
    let upstream = Recorder::plain();
    let lines = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    let report = Builder::guarding(upstream.address).start();
    let refuse = Builder::guarding(upstream.address).set("signature", "replay", "\"refuse\"").start();
    assert_eq!(get_with(report.address, PATH, &lines).status, 200);
    let second = get_with(report.address, PATH, &lines);
    assert_eq!(second.status, 200);
    let record = report.record(second.fields.one("x-request-id").unwrap());
    assert_eq!((&record["outcome"], &record["reason"]), (&"authenticated".into(), &"replayed".into()), "{record}");
    assert_eq!(get_with(refuse.address, PATH, &lines).status, 200);
    let id = assert_refused(&get_with(refuse.address, PATH, &lines), 401, "replayed");
    assert_eq!(refuse.record(&id)["service"], "npu-worker");
    // Another second, path or method is another signature.
    let other = sign::headers_at(KEY_A, "npu-worker", "GET", PATH, sign::now() - 100);
    assert_eq!(get_with(refuse.address, PATH, &other).status, 200);
}

#[test]
fn a_refusal_answers_head_without_a_body_and_keeps_the_connection_when_it_can() {
    let (_upstream, sidecar) = guarded();
    let mut client = super::support::raw::Client::connect(sidecar.address);
    client.send(format!("HEAD {PATH} HTTP/1.1\r\nHost: b\r\n\r\n"));
    let answer = client.answer_to("HEAD");
    assert_eq!(answer.status, 401);
    client.send("GET /open HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn the_body_of_a_refused_request_is_never_read_as_a_request() {
    let (upstream, sidecar) = guarded();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n";
    for framing in [
        format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len() * 3000),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
        format!("Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
    ] {
        let mut client = super::support::raw::Client::connect(sidecar.address);
        client.send(format!("POST {PATH} HTTP/1.1\r\nHost: b\r\n{framing}"));
        client.finish();
        assert_refused(&client.answer(), 401, "missing_signature");
        assert_ne!(client.end(), super::support::raw::End::Bytes, "{framing:.60}");
    }
    assert!(upstream.marked("/smuggled").is_empty() && upstream.marked(PATH).is_empty());
}

#[test]
fn refusals_carry_the_configured_headers_and_the_upstreams_own_answers_do_not() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .set("refusal", "headers", "{ \"Access-Control-Allow-Origin\" = \"https://ui.test\" }")
        .start();
    let name = "access-control-allow-origin";
    assert_eq!(get(sidecar.address, PATH).fields.one(name), Some("https://ui.test"));
    assert_eq!(get(sidecar.address, "/open").fields.one(name), None);
}

#[test]
fn options_is_not_exempt_by_itself() {
    let (upstream, sidecar) = guarded();
    let preflight = format!(
        "OPTIONS {PATH} HTTP/1.1\r\nHost: b\r\nOrigin: https://ui.test\r\nAccess-Control-Request-Method: POST\r\n\r\n"
    );
    assert_refused(&exchange(sidecar.address, preflight), 401, "missing_signature");
    assert!(upstream.marked(PATH).is_empty());
}

#[test]
fn a_key_that_appears_or_changes_is_used_without_a_restart() {
    let (_upstream, sidecar) = guarded();
    let lines = || sign::headers(KEY_B, "browser-service", "GET", PATH);
    assert_refused(&get_with(sidecar.address, PATH, &lines()), 401, "invalid_credentials");
    let file = sidecar.directory.join("keys/browser-service.env");
    super::support::sidecar::write_private(&file, &format!("SERVICE_KEY={KEY_B}\n"));
    eventually("the new key to be used", || (get_with(sidecar.address, PATH, &lines()).status == 200).then_some(()));
    super::support::sidecar::write_private(&file, &format!("SERVICE_KEY={KEY_A}\n"));
    eventually("the old key to be refused", || {
        (get_with(sidecar.address, PATH, &lines()).status == 401).then_some(())
    });
    std::fs::remove_file(&file).unwrap();
    let changed = || sign::headers(KEY_A, "browser-service", "GET", PATH);
    eventually("the removed key to be refused", || {
        (get_with(sidecar.address, PATH, &changed()).status == 401).then_some(())
    });
}
