//! The audit log of the running program: one line per decision, exact, whatever is sent and whatever happens.

use super::support::message::Text;
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, KEY_B, count, eventually, raw, sign};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

fn request(path: &str, id: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-ID: {id}\r\n{more}\r\n")
}

fn decisions(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line.get("outcome").is_some()).collect()
}

/// All lines over all files of the log, rotated and compressed ones too.
fn all_lines(directory: &Path) -> Vec<Value> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("audit.jsonl"))
        .collect();
    // `audit.jsonl` itself comes last
    names.sort_by_key(|name| (name == "audit.jsonl", name.clone()));
    let mut lines = Vec::new();
    for name in names {
        let bytes = std::fs::read(directory.join(&name)).unwrap();
        let mut text = String::new();
        match name.ends_with(".gz") {
            true => MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap(),
            false => bytes.as_slice().read_to_string(&mut text).unwrap(),
        };
        lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    lines
}

#[test]
fn there_is_exactly_one_line_per_decision_and_the_metrics_say_the_same() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).unlimited().start();
    let rounds = count(100, 5_000);
    let mut client = raw::Client::connect(sidecar.address);
    for n in 0..rounds {
        let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
        let wrong_caller = sign::headers(KEY_B, "ai-stack", "GET", "/api/npu/results");
        for (path, more, status) in [
            ("/health", "", 200),
            ("/elsewhere", "", 200),
            ("/api/internal", "", 401),
            ("/api/internal", signed.as_str(), 200),
            ("/api/npu/results", wrong_caller.as_str(), 403),
        ] {
            client.send(request(path, &format!("r{n}-{status}-{}", path.len()), more));
            assert_eq!(client.answer().status, status, "{path}");
        }
    }
    let malformed = raw::exchange(sidecar.address, "GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(malformed.status, 400);
    let total = rounds * 5 + 1;
    let lines = eventually("every line", || Some(sidecar.audit()).filter(|lines| decisions(lines).len() >= total));
    assert_eq!(decisions(&lines).len(), total);
    let numbers: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>(), "no number is missing or doubled");
    assert_eq!(lines.iter().map(|line| line["boot"].as_str().unwrap()).collect::<BTreeSet<_>>().len(), 1);
    let ids: BTreeSet<&str> = decisions(&lines).iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), total);
    for outcome in ["allow", "authenticated", "override", "refuse", "would_refuse"] {
        let written = decisions(&lines).iter().filter(|line| line["outcome"] == outcome).count();
        let counted = sidecar.metric("countersign_requests_total", &[&format!("outcome=\"{outcome}\"")]);
        assert_eq!(written as f64, counted, "{outcome}");
    }
    for reason in ["missing_signature", "caller_not_allowed", "malformed_request"] {
        let written = decisions(&lines).iter().filter(|line| line["reason"] == reason).count();
        let labels = [&*format!("reason=\"{reason}\""), "carried_out=\"yes\""];
        assert_eq!(written as f64, sidecar.metric("countersign_refusals_total", &labels), "{reason}");
    }
    for (id, result) in [("npu-worker", "success"), ("none", "failed"), ("ai-stack", "failed")] {
        let labels = [&*format!("service_id=\"{id}\""), &*format!("result=\"{result}\"")];
        assert_eq!(sidecar.metric("service_auth_attempts_total", &labels), rounds as f64, "{id} {result}");
    }
    assert_eq!(sidecar.metric("countersign_audit_records_dropped_total", &[]), 0.0);
    sidecar.process.signal("TERM");
    assert!(sidecar.process.wait().success());
    let end = sidecar.audit();
    assert_eq!(end.last().unwrap()["event"], "stop");
    assert_eq!(end.last().unwrap()["seq"], end.len());
}

#[test]
fn a_line_holds_the_promised_names() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let signed = sign::headers(KEY_A, "npu-worker", "POST", "/api/npu/results/7");
    let answer = raw::exchange(
        sidecar.address,
        format!(
            "POST /api/npu/results/7?q=1 HTTP/1.1\r\nHost: a\r\nX-Request-ID: full\r\nContent-Length: 0\r\n{signed}\r\n"
        ),
    );
    assert_eq!(answer.status, 200);
    let record = sidecar.record("full");
    for (name, value) in [
        ("direction", "inbound".into()),
        ("outcome", "authenticated".into()),
        ("class", "service".into()),
        ("rule", "npu".into()),
        ("service", "npu-worker".into()),
        ("claimed_service", "npu-worker".into()),
        ("scheme", "hmac-v1".into()),
        ("method", "POST".into()),
        ("path", "/api/npu/results/7".into()),
        ("client", "127.0.0.1".into()),
        ("mode", "enforce".into()),
        ("percentage", 100.into()),
        ("status", 200.into()),
        ("generation", Value::from(1)),
    ] {
        assert_eq!(record[name], value, "{name} in {record}");
    }
    assert!(record["skew_seconds"].as_i64().unwrap().abs() < 60);
    assert!(record["own_us"].is_u64() && record["upstream_us"].is_u64());
    let time = record["time"].as_str().unwrap();
    assert_eq!((time.len(), &time[19..20], &time[26..]), (27, ".", "Z"), "{time}");
    for absent in ["reason", "cause", "fault", "grant", "peer_uid", "trace_id", "chain"] {
        assert_eq!(record.get(absent), None, "{absent} in {record}");
    }
    assert!(!record.to_string().contains(KEY_A));
}

#[test]
fn hostile_bytes_stay_on_one_line_of_valid_json() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().log_mode().start();
    let hostile = [
        "/api/internal/%0a%22outcome%22:%22allow%22",
        "/api/internal/\"},{\"outcome\":\"allow\"}",
        "/api/internal/\\u0022\\n",
        "/health/%1b[2J%e2%80%a8",
    ];
    for (n, path) in hostile.iter().enumerate() {
        let answer = raw::exchange(sidecar.address, request(path, &format!("h{n}"), "X-Service-ID: \"}{\\\r\n"));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(sidecar.record(&format!("h{n}"))["path"], *path);
    }
    let raw_bytes: [&[u8]; 4] = [
        b"GET /api/internal/\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/\xff\xfe\xe2\x80\xa8 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\"}\n{\"outcome\":\"allow\"} / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \"}\x00\n\r\n\r\n",
    ];
    for bytes in raw_bytes {
        assert_eq!(raw::exchange(sidecar.address, bytes).status, 400, "{:?}", Text(bytes));
    }
    let wanted = hostile.len() + raw_bytes.len();
    let lines = eventually("every line", || Some(sidecar.audit()).filter(|l| decisions(l).len() >= wanted));
    assert_eq!(decisions(&lines).len(), wanted);
    assert_eq!(
        decisions(&lines).iter().filter(|line| line["reason"] == "malformed_request").count(),
        raw_bytes.len()
    );
    let text = std::fs::read_to_string(sidecar.directory.join("audit.jsonl")).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn rotation_under_traffic_loses_and_doubles_nothing() {
    let upstream = Recorder::plain();
    let rotate = "{ size = \"20KB\", keep = 1000 }";
    let mut sidecar = Builder::guarding(upstream.address).set("audit", "rotate", rotate).start();
    let total = count(500, 20_000);
    let mut client = raw::Client::connect(sidecar.address);
    for n in 0..total {
        client.send(request("/health", &format!("r{n}"), ""));
        assert_eq!(client.answer().status, 200);
    }
    sidecar.process.signal("TERM");
    assert!(sidecar.process.wait().success());
    let lines = all_lines(&sidecar.directory);
    let ids: Vec<&str> = decisions(&lines).iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..total).map(|n| format!("r{n}")).collect::<Vec<_>>());
    let files = std::fs::read_dir(&sidecar.directory).unwrap().count();
    assert!(files > 5, "{files} files");
}

#[test]
fn an_outside_rotation_is_followed_at_usr1() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    assert_eq!(raw::exchange(sidecar.address, request("/health", "before", "")).status, 200);
    sidecar.record("before");
    let (current, moved) = (sidecar.directory.join("audit.jsonl"), sidecar.directory.join("moved"));
    std::fs::rename(&current, &moved).unwrap();
    sidecar.process.signal("USR1");
    eventually("a new file", || current.exists().then_some(()));
    assert_eq!(raw::exchange(sidecar.address, request("/health", "after", "")).status, 200);
    sidecar.record("after");
    let moved = std::fs::read_to_string(moved).unwrap();
    assert!(moved.contains("\"before\"") && !moved.contains("\"after\""));
}

#[test]
fn a_kill_takes_at_most_what_was_not_yet_looked_at() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).start();
    let mut client = raw::Client::connect(sidecar.address);
    for n in 0..200 {
        client.send(request("/health", &format!("r{n}"), ""));
        assert_eq!(client.answer().status, 200);
    }
    sidecar.record("r199");
    client.send(request("/health", "last", ""));
    assert_eq!(client.answer().status, 200);
    sidecar.process.signal("KILL");
    sidecar.process.wait();
    let lines = sidecar.audit();
    let written: BTreeSet<&str> = decisions(&lines).iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert!((0..200).all(|n| written.contains(&*format!("r{n}"))), "what was written stays written");
}

/// Its audit log is on a device that is always full.
fn with_full_disk(upstream: &Recorder, on_full: &str) -> Sidecar {
    Builder::guarding(upstream.address).set("audit", "file", "\"/dev/full\"").set("audit", "on_full", on_full).start()
}

#[test]
fn a_full_disk_stops_no_request_and_is_counted() {
    let upstream = Recorder::plain();
    let sidecar = with_full_disk(&upstream, "\"drop_and_count\"");
    let mut client = raw::Client::connect(sidecar.address);
    for n in 0..50 {
        let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
        client.send(request("/api/internal", &format!("r{n}"), &signed));
        assert_eq!(client.answer().status, 200);
        client.send(request("/health", &format!("e{n}"), ""));
        assert_eq!(client.answer().status, 200);
    }
    eventually("the errors are counted", || {
        (sidecar.metric("countersign_audit_write_errors_total", &[]) >= 1.0).then_some(())
    });
    assert_eq!(sidecar.metric("countersign_audit_records_written_total", &[]), 0.0);
    assert!(sidecar.metric("countersign_audit_queue_records", &[]) >= 100.0, "they wait for room on the disk");
}

#[test]
fn the_log_tells_of_a_full_disk_once_not_once_per_try() {
    let upstream = Recorder::plain();
    let mut sidecar = with_full_disk(&upstream, "\"block\"");
    assert_eq!(raw::exchange(sidecar.address, request("/health", "x", "")).status, 200);
    eventually("three tries", || (sidecar.metric("countersign_audit_write_errors_total", &[]) >= 3.0).then_some(()));
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    let log = sidecar.process.stderr.text();
    assert_eq!(log.matches("audit records cannot be written").count(), 1, "{log}");
    assert_eq!(log.matches("audit records are lost").count(), 1, "{log}");
}

#[test]
fn the_override_token_is_in_no_line_and_no_metric() {
    let upstream = Recorder::plain();
    let token = "an-override-token-of-more-than-32-characters";
    let sidecar = Builder::guarding(upstream.address).override_token(token).start();
    let mut more = String::new();
    let _ = write!(more, "X-Override-Token: {token}\r\n");
    assert_eq!(raw::exchange(sidecar.address, request("/api/internal", "over", &more)).status, 200);
    let wrong = "X-Override-Token: a-wrong-token-that-nobody-ever-issued\r\n";
    assert_eq!(raw::exchange(sidecar.address, request("/api/internal", "wrong", wrong)).status, 401);
    assert_eq!(sidecar.record("over")["outcome"], "override");
    sidecar.record("wrong");
    let all = std::fs::read_to_string(sidecar.directory.join("audit.jsonl")).unwrap()
        + &sidecar.metrics()
        + &sidecar.process.stderr.text();
    assert!(!all.contains(token) && !all.contains("nobody-ever-issued"));
    assert_eq!(sidecar.metric("service_auth_attempts_total", &["service_id=\"none\"", "result=\"override\""]), 1.0);
    assert_eq!(sidecar.metric("countersign_wrong_override_tokens_total", &[]), 1.0);
}

/// Fills the queue of a sidecar whose sink takes nothing: records with long paths take room by their bytes.
fn fill_the_queue(sidecar: &Sidecar) {
    let long = format!("/health/{}", "a".repeat(15_000));
    let mut client = raw::Client::connect(sidecar.address);
    for n in 0..4_600 {
        client.send(request(&long, &format!("fill{n}"), ""));
        assert_eq!(client.answer().status, 200, "exempt requests never wait for the audit log");
    }
    assert!(sidecar.metric("countersign_audit_records_dropped_total", &[]) > 0.0, "the queue is full");
}

#[test]
fn with_drop_and_count_a_full_queue_stops_nobody() {
    let upstream = Recorder::plain();
    let sidecar = with_full_disk(&upstream, "\"drop_and_count\"");
    fill_the_queue(&sidecar);
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
    assert_eq!(raw::exchange(sidecar.address, request("/api/internal", "service", &signed)).status, 200);
}

#[test]
fn with_block_a_full_queue_stops_service_requests_and_no_others() {
    let upstream = Recorder::plain();
    let sidecar = with_full_disk(&upstream, "\"block\"");
    fill_the_queue(&sidecar);
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
    let answer = raw::exchange(sidecar.address, request("/api/internal", "service", &signed));
    assert_eq!((answer.status, answer.reason().as_str()), (503, "audit_unavailable"));
    assert!(upstream.marked("service").is_empty(), "what cannot be recorded is not let through");
    assert_eq!(raw::exchange(sidecar.address, request("/health", "exempt", "")).status, 200);
    let labels = ["reason=\"audit_unavailable\"", "carried_out=\"yes\""];
    assert_eq!(sidecar.metric("countersign_refusals_total", &labels), 1.0);
}

#[test]
fn the_log_moves_with_a_reload_and_nothing_is_lost() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    assert_eq!(raw::exchange(sidecar.address, request("/health", "before", "")).status, 200);
    sidecar.record("before");
    let moved = sidecar.directory.join("elsewhere/moved.jsonl");
    let config = sidecar.config().replace("audit.jsonl", "elsewhere/moved.jsonl");
    std::fs::write(sidecar.config_path(), config).unwrap();
    sidecar.process.signal("HUP");
    eventually("the new file", || moved.exists().then_some(()));
    assert_eq!(raw::exchange(sidecar.address, request("/health", "after", "")).status, 200);
    let text = eventually("request and reload in the new file", || {
        let text = std::fs::read_to_string(&moved).ok()?;
        (text.contains("\"after\"") && text.contains("\"event\":\"reload\"")).then_some(text)
    });
    assert!(!text.contains("\"before\""), "{text}");
}
