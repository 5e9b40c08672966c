//! `countersign demo`: with nothing at all, every outcome of the contract, judged a second time here.

use super::support::process::Process;
use super::support::sidecar::countersign;
use super::support::{eventually, raw};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Every outcome and reason of the contract that a request can meet while keys and audit file are there.
const SHOWN: [&str; 20] = [
    "allow",
    "authenticated",
    "override",
    "refuse",
    "would_refuse",
    "missing_signature",
    "malformed_signature",
    "timestamp_outside_window",
    "unknown_service",
    "invalid_signature",
    "replayed",
    "caller_not_allowed",
    "rate_limited",
    "malformed_request",
    "cross_origin",
    "host_not_allowed",
    "connect_not_allowed",
    "outbound",
    "service",
    "exempt",
];

/// The demo with a temporary directory of its own, to see what it leaves there.
fn demo(temporary: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = countersign();
    command.arg("demo").args(arguments).env("TMPDIR", temporary).current_dir(temporary);
    command
}

#[test]
fn every_outcome_comes_out_as_promised_and_nothing_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path(), &["--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert_eq!(output.status.code(), Some(0), "{said}\n{report:#}");
    assert_eq!(report["as_promised"], true);
    let rows = report["requests"].as_array().unwrap();
    let mut shown = BTreeSet::new();
    for row in rows {
        // The demo's own verdict is not believed: answer, record and arrival must tell the same story.
        let record = &row["record"];
        assert_eq!(row["status"], record["status"], "{row:#}");
        let arrived = row["arrived"].as_array().unwrap();
        assert_eq!(arrived.len(), usize::from(record["outcome"] != "refuse"), "{row:#}");
        for seen in arrived {
            assert_eq!(seen["authenticated_service"], record["service"], "{row:#}");
            assert_eq!(seen["forwarded_for"], record["client"], "{row:#}");
            assert_eq!(seen["target"], row["target"], "{row:#}");
        }
        for fact in ["direction", "outcome", "reason", "class"] {
            shown.extend(record[fact].as_str());
        }
        if let Some(left) = row.get("left") {
            assert_eq!((&left["direction"], &left["outcome"]), (&"outbound".into(), &"allow".into()), "{row:#}");
            for fact in ["service", "status", "path", "request_id"] {
                assert_eq!(left[fact], record[fact], "{row:#}");
            }
        }
    }
    for word in SHOWN {
        assert!(shown.contains(word), "no request shows {word}: {shown:?}");
    }
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn as_text_it_is_a_table_with_a_verdict_and_without_secrets() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path(), &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("came out as the contract says"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours in a pipe:\n{text}");
    let hex_runs = text.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(hex_runs < Some(32), "something like a key is in:\n{text}");
}

#[test]
fn it_can_stay_and_its_lines_can_be_pasted() {
    let temporary = tempfile::tempdir().unwrap();
    let mut process = Process::start(&demo(temporary.path(), &["--stay"]));
    let text = eventually("an invitation", || {
        let text = process.stdout.text();
        text.contains("tail -f").then_some(text)
    });
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let statuses: Vec<String> = lines
        .iter()
        .map(|line| {
            let output = Command::new("sh").args(["-c", line]).output().unwrap();
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            answer.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(statuses, ["200", "401", "200", "200", "200", "200"], "{lines:?}");
    let admin = text.lines().find_map(|line| line.trim().strip_prefix("admin")).unwrap();
    let admin = admin.trim().trim_start_matches("http://").split('/').next().unwrap().parse().unwrap();
    let metrics =
        raw::exchange(admin, format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"));
    assert!(metrics.text().contains("service_auth_attempts_total"), "{}", metrics.text());
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0), "{}", process.stderr.text());
    assert!(std::fs::read_dir(temporary.path()).unwrap().next().is_none(), "something was left behind");
}
