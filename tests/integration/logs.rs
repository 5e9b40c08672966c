//! Evidence under hostile bytes: every record and every log line stays one line of valid JSON; no request makes a series.

use super::support::random::Random;
use super::support::raw::{Client, get_with};
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_B, count, eventually, sign};
use std::collections::BTreeSet;

/// Bytes that break log formats: quotes, escapes, line ends of Unicode, terminal controls, bidi, markup, no UTF-8.
const HOSTILE: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"\\\"",
    b"\",\"outcome\":\"allow\",\"x\":\"",
    b"'; DROP TABLE x; --",
    b"<script>alert(1)</script>",
    b"${jndi:ldap://x}",
    b"{{7*7}}",
    b"%n%s%x",
    b"\\u0000\\n",
    b"\xe2\x80\xa8 line separator",
    b"\xe2\x80\xae bidi",
    b"\xc2\x85 next line",
    b"\xff\xfe no utf-8",
    b"\xed\xa0\x80 surrogate",
    b"\xf4\x90\x80\x80 too great",
    b"\t tab",
];

/// What may stand in a path.
const PATHS: &[&str] = &[
    "/a\"b",
    "/a\\b",
    "/a\\\",\\\"outcome",
    "/%0a%0d",
    "/%00",
    "/%22%7d%0a%7b%22",
    "/a'b",
    "/%e2%80%a8",
    "/%ff",
    "/{}",
    "/%1b[31m",
];

#[test]
fn hostile_bytes_leave_one_line_of_valid_json_each() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .unlimited()
        .set("log", "level", "\"trace\"")
        .set("log", "format", "\"json\"")
        .start();
    let mut sent = 0;
    for hostile in HOSTILE {
        for name in [
            "X-Service-ID",
            "X-Service-Timestamp",
            "X-Service-Signature",
            "User-Agent",
            "Referer",
            "X-Request-ID",
            "Cookie",
            "X-Forwarded-For",
            "X-Override-Token",
        ] {
            for path in ["/api/internal/x", "/api/chat/x"] {
                let mut client = Client::connect(sidecar.address);
                let head = format!("GET {path} HTTP/1.1\r\nHost: b\r\n{name}: ");
                client.send([head.as_bytes(), hostile, b"\r\n\r\n"].concat());
                client.answer();
                sent += 1;
            }
        }
    }
    for path in PATHS {
        for prefix in ["", "/api/internal", "/api/chat"] {
            let answer = get_with(sidecar.address, &format!("{prefix}{path}"), "");
            let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
            assert_eq!(record["path"], format!("{prefix}{path}"));
            sent += 1;
        }
    }
    // Methods and heads that cannot be read.
    for hostile in HOSTILE {
        for bytes in [
            [b"GET /", *hostile, b" HTTP/1.1\r\nHost: b\r\n\r\n"].concat(),
            [*hostile, b" / HTTP/1.1\r\nHost: b\r\n\r\n"].concat(),
            [b"GET / HTTP/1.1\r\nHost: ", *hostile, b"\r\n\r\n"].concat(),
        ] {
            let mut client = Client::connect(sidecar.address);
            client.send(bytes);
            client.answer();
            sent += 1;
        }
    }
    eventually("a record of each", || (decisions(&sidecar) >= sent).then_some(()));
    assert_eq!(decisions(&sidecar), sent);
    for line in sidecar.process.stderr.text().lines() {
        let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "a log line that is no JSON object: {line:?}");
    }
    let text = std::fs::read_to_string(sidecar.directory.join("audit.jsonl")).expect("valid UTF-8");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "a control character in the audit file");
}

fn decisions(sidecar: &Sidecar) -> usize {
    sidecar.audit().iter().filter(|record| record["outcome"].is_string() && record["request_id"].is_string()).count()
}

#[test]
fn a_claim_is_recorded_only_when_it_is_a_well_formed_id() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let record = |lines: &str| {
        let answer = get_with(sidecar.address, "/api/internal/x", lines);
        sidecar.record(answer.fields.one("x-request-id").unwrap())
    };
    assert_eq!(record(&sign::headers(KEY_B, "who-ever", "GET", "/api/internal/x"))["claimed_service"], "who-ever");
    for id in ["a b", "a:b", "\"", "-a", &"a".repeat(65)] {
        let malformed =
            record(&format!("X-Service-ID: {id}\r\nX-Service-Timestamp: 1\r\nX-Service-Signature: 1\r\n"));
        assert!(malformed["claimed_service"].is_null() && malformed["service"].is_null(), "{malformed}");
    }
}

/// Names and labels of every series.
fn series(sidecar: &Sidecar) -> BTreeSet<String> {
    let text = sidecar.metrics();
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[test]
fn random_ids_methods_paths_and_hosts_make_no_new_series() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let mut random = Random::seeded(3);
    let mut client = Client::connect(sidecar.address);
    let mut send = |rounds: usize| {
        for _ in 0..rounds {
            let word = format!("{:x}", random.next());
            let prefix = random.pick(&["/api/internal", "/api/chat", "/open", "/api/npu/results"]);
            let path = format!("{prefix}/{word}");
            let lines = match random.below(4) {
                0 => sign::headers(KEY_B, &format!("s{word}"), "GET", &path),
                1 => sign::headers(super::support::KEY_A, "npu-worker", "GET", &path),
                2 => format!("X-Service-ID: {word}\r\nX-Override-Token: {word}\r\n"),
                _ => String::new(),
            };
            let method = if random.one_in(3) { format!("M{word}") } else { "GET".to_owned() };
            client
                .send(format!("{method} {path} HTTP/1.1\r\nHost: {word}.test\r\nUser-Agent: {word}\r\n{lines}\r\n"));
            client.answer();
        }
    };
    send(200);
    let before = series(&sidecar);
    send(count(5_000, 50_000));
    let new: Vec<_> = series(&sidecar).difference(&before).cloned().collect();
    assert_eq!(new, [""; 0]);
    for name in [
        "service_auth_attempts_total",
        "service_auth_duration_seconds_bucket",
        "service_auth_active_services",
        "service_key_ttl_days",
    ] {
        let there = before.iter().any(|series| series.starts_with(name)) || name == "service_key_ttl_days";
        assert!(there, "{name} is missing among {before:?}");
    }
}

#[test]
fn attempts_are_counted_by_service_and_result() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let send = |lines: &str| get_with(sidecar.address, "/api/internal/x", lines).status;
    for _ in 0..3 {
        assert_eq!(send(&sign::headers(super::support::KEY_A, "npu-worker", "GET", "/api/internal/x")), 200);
    }
    assert_eq!(send(&sign::headers(KEY_B, "npu-worker", "GET", "/api/internal/x")), 401);
    assert_eq!(send(&sign::headers(KEY_B, "nobody", "GET", "/api/internal/x")), 401);
    assert_eq!(send(""), 401);
    assert_eq!(get_with(sidecar.address, "/api/chat/x", "").status, 200);
    let attempts = |service: &str, result: &str| {
        let labels = [format!("service_id=\"{service}\""), format!("result=\"{result}\"")];
        sidecar.metric("service_auth_attempts_total", &[&labels[0], &labels[1]])
    };
    eventually("the counts", || (attempts("npu-worker", "success") >= 3.0).then_some(()));
    assert_eq!(attempts("npu-worker", "success"), 3.0);
    assert_eq!(attempts("npu-worker", "failed"), 1.0);
    assert_eq!(attempts("unknown", "failed"), 1.0);
    assert_eq!(attempts("none", "failed"), 1.0);
    assert_eq!(sidecar.metric("service_auth_attempts_total", &[]), 6.0, "exempt calls are not counted");
    for bucket in ["0.001", "0.005", "0.01", "0.025", "0.05", "0.1"] {
        assert!(
            sidecar.metrics().contains(&format!("service_auth_duration_seconds_bucket{{le=\"{bucket}\"")),
            "{bucket}"
        );
    }
}

#[test]
fn there_is_one_record_for_each_decision() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let (threads, each) = (4, count(25_000, 250_000));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let address = sidecar.address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..each {
                    let target = ["/api/internal/x", "/open", "/api/chat/x"][n % 3];
                    client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\nX-Request-ID: r-{thread}-{n}\r\n\r\n"));
                    client.answer();
                }
            });
        }
    });
    eventually("every record", || (decisions(&sidecar) >= threads * each).then_some(()));
    let ids: BTreeSet<String> =
        sidecar.audit().iter().filter_map(|r| r["request_id"].as_str().map(str::to_owned)).collect();
    assert_eq!((decisions(&sidecar), ids.len()), (threads * each, threads * each));
}
