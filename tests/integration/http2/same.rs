//! One table over both protocols: the same request gets the same verdict, and the upstream the same target.

use super::super::support::frames::{Frames, Outcome, pseudo};
use super::super::support::raw::{Answer, exchange, get};
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::Builder;
use super::super::support::{KEY_A, KEY_B, sign};
use serde_json::Value;

/// Method, path, header lines.
type Case = (&'static str, String, String);

fn cases() -> Vec<Case> {
    let case = |method, path: &str, lines: String| (method, path.to_owned(), lines);
    let signed = |method: &str, path: &str| sign::headers(KEY_A, "npu-worker", method, path);
    let mut cases = Vec::new();
    for path in [
        "/",
        "/health",
        "/api/chat",
        "/api/chat/x",
        "/api/internal",
        "/api/internal/x",
        "/api/internal.json",
        "/api/internal;a",
        "/api/%69nternal",
        "/api%2finternal",
        "/api/internal%0a",
        "/api//internal",
        "/api/chat/../internal",
        "/api/chat/..%2finternal/x",
        "/api/./internal",
        "/API/Internal",
        "/api\\internal",
        "/api/chat/%252e%252e/internal",
        "/api/files/a%2Fb",
        "/api/chat/50%off",
        "/api/chat/a%09b",
        "/files/caf%C3%A9",
        "/files/a%20b?x=/api/internal",
        "//evil/",
        "/api/chat#x",
        "/api/chat?a#b",
        "/@evil/",
        "/api/npu/results/1",
        "/api/npu/workers",
    ] {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "get"] {
            cases.push(case(method, path, String::new()));
        }
    }
    for (path, decoded) in [
        ("/api/internal/a", "/api/internal/a"),
        ("/api/internal/a%20b?q=1", "/api/internal/a b"),
        ("/api/internal/caf%C3%A9", "/api/internal/caf\u{e9}"),
        ("/api/internal/a%20b", "/api/internal/a%20b"),
    ] {
        cases.push(case("GET", path, signed("GET", decoded)));
        cases.push(case("POST", path, signed("POST", decoded)));
        cases.push(case("POST", path, signed("GET", decoded)));
    }
    let path = "/api/internal/a";
    let stamp = sign::now();
    cases.extend([
        case("GET", path, sign::headers(KEY_B, "npu-worker", "GET", path)),
        case("GET", path, sign::headers(KEY_A, "nobody", "GET", path)),
        case("GET", path, sign::headers_at(KEY_A, "npu-worker", "GET", path, stamp - 1_000)),
        case("GET", path, signed("GET", path).to_uppercase()),
        case("GET", path, format!("{}X-Service-ID: npu-worker\r\n", signed("GET", path))),
        case("GET", path, "X-Service-ID: npu-worker\r\n".to_owned()),
        case("GET", path, "X-Service-ID: a:b\r\nX-Service-Timestamp: 1\r\nX-Service-Signature: x\r\n".to_owned()),
        case("POST", "/api/npu/results/1", sign::headers(KEY_B, "ai-stack", "POST", "/api/npu/results/1")),
        case("POST", "/api/npu/results/1", signed("POST", "/api/npu/results/1")),
        case("GET", path, "X-Override-Token: a-token-for-tests\r\n".to_owned()),
        case("GET", path, "X-Override-Token: another\r\n".to_owned()),
        case("GET", "/health", "X-Override-Token: another\r\n".to_owned()),
    ]);
    cases
}

/// What was said, and why, as far as both protocols can say it.
fn verdict(status: u16, head_only: bool, body: &[u8], record: &Value) -> (u16, String, Vec<String>) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let reason = if head_only { "" } else { body["reason"].as_str().unwrap_or_default() };
    let facts = ["outcome", "reason", "class", "rule", "service", "claimed_service", "method", "path", "fault"];
    (status, reason.to_owned(), facts.iter().map(|fact| record[*fact].to_string()).collect())
}

#[test]
fn both_protocols_are_judged_and_forwarded_alike() {
    for mode in ["enforce", "log"] {
        let upstream = Recorder::plain();
        let sidecar = Builder::guarding(upstream.address)
            .set("inbound", "h2c", "true")
            .set("enforcement", "mode", format!("{mode:?}"))
            .override_token("a-token-for-tests")
            .set("signature", "replay", "\"off\"")
            .unlimited()
            .start();
        let mut client = Frames::connect(sidecar.address);
        let mut wrong = Vec::new();
        for (number, (method, path, lines)) in cases().into_iter().enumerate() {
            let (one, two) = (format!("one-{mode}-{number}"), format!("two-{mode}-{number}"));
            let lines_one = format!("X-Request-ID: {one}\r\n{lines}");
            let plain: Answer = exchange(
                sidecar.address,
                format!("{method} {path} HTTP/1.1\r\nHost: backend.test\r\n{lines_one}\r\n"),
            );
            let lines: Vec<(String, &str)> = lines
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value))
                .collect();
            let mut fields = pseudo(method, &path).to_vec();
            fields.push(("x-request-id", &two));
            fields.extend(lines.iter().map(|(name, value)| (name.as_str(), *value)));
            let stream = client.request(&fields, true);
            let framed: Outcome = client.outcome(stream);
            let head_only = method == "HEAD";
            let first = verdict(
                plain.status,
                head_only,
                &plain.body.bytes,
                &sidecar.record(plain.fields.one("x-request-id").unwrap()),
            );
            let second =
                verdict(framed.status, head_only, &framed.body, &sidecar.record(framed.one("x-request-id").unwrap()));
            if first != second {
                wrong.push(format!("{method} {path} {lines:?}: {first:?} / {second:?}"));
            }
            let targets =
                |id: &str| upstream.marked(id).into_iter().map(|r| (r.method, r.target)).collect::<Vec<_>>();
            if targets(&one) != targets(&two) {
                wrong.push(format!("{method} {path}: upstream saw {:?} / {:?}", targets(&one), targets(&two)));
            }
        }
        assert!(wrong.is_empty(), "{mode} mode: {} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn the_failure_limit_counts_a_client_over_both_protocols_and_all_streams() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).set("inbound", "h2c", "true").start();
    let mut client = Frames::connect(sidecar.address);
    for _ in 0..5 {
        assert_eq!(client.get("/api/internal", &[]).status, 401);
        assert_eq!(get(sidecar.address, "/api/internal").status, 401);
    }
    let limited = client.get("/api/internal", &[]);
    assert_eq!((limited.status, limited.reason().as_str()), (429, "rate_limited"));
    assert!(limited.one("retry-after").is_some());
    assert_eq!(Frames::connect(sidecar.address).get("/api/internal", &[]).status, 429);
    assert_eq!(client.get("/health", &[]).status, 200, "what is exempt never is");
}
