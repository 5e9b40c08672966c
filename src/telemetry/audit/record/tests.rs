//! The lines as they are written.

use super::*;

fn decision(record: &AuditRecord<'_>) -> String {
    let mut out = Vec::new();
    LineWriter::new("b0").decision(&mut out, record);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_names_on_a_line_do_not_change() {
    assert_eq!(
        decision(&samples::full()),
        concat!(
            r#"{"time":"2025-11-22T02:31:00.123456Z","boot":"b0","seq":1,"request_id":"r1","direction":"inbound","#,
            r#""outcome":"would_refuse","reason":"rate_limited","cause":"invalid_signature","fault":"bare_lf","#,
            r#""class":"service","rule":"npu internals","service":"npu-worker","claimed_service":"ai-stack","#,
            r#""scheme":"hmac-v1","grant":"0123456789ab","skew_seconds":-3,"method":"POST","path":"/api/npu/results/1","#,
            r#""client":"172.16.168.22","mode":"enforce","percentage":25,"status":200,"own_us":41,"#,
            r#""upstream_us":1250,"generation":7,"probe":true}"#,
            "\n"
        )
    );
}

#[test]
fn absent_facts_are_left_out() {
    assert_eq!(
        decision(&samples::bare()),
        concat!(
            r#"{"time":"2025-11-22T02:31:00.123457Z","boot":"b0","seq":1,"request_id":"r2","direction":"inbound","#,
            r#""outcome":"allow","client":"::1","mode":"log","percentage":100,"own_us":0,"generation":1}"#,
            "\n"
        )
    );
}

#[test]
fn what_left_says_as_whom_and_where_to_and_no_mode() {
    assert_eq!(
        decision(&samples::outbound()),
        concat!(
            r#"{"time":"2025-11-22T02:31:00.123457Z","boot":"b0","seq":1,"request_id":"r3","direction":"outbound","#,
            r#""outcome":"allow","service":"npu-worker","scheme":"hmac-v1","method":"POST","#,
            r#""path":"/api/npu/results/1","client":"unix:1000","upstream":"172.16.168.20:8001","status":200,"#,
            r#""own_us":30,"upstream_us":1250,"generation":1}"#,
            "\n"
        )
    );
}

#[test]
fn a_change_of_state_says_who_and_why() {
    let mut out = Vec::new();
    LineWriter::new("b0").change(&mut out, &samples::change());
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"time":"2025-11-22T02:31:00.000000Z","boot":"b0","seq":1,"event":"reload","who":"signal","#,
            r#""why":"SIGHUP","file":"/etc/countersign/countersign.toml","rules":17,"generation":8}"#,
            "\n"
        )
    );
}

#[test]
fn numbers_are_consecutive_and_a_dropped_record_leaves_a_gap() {
    let mut writer = LineWriter::new("b0");
    let mut out = Vec::new();
    writer.decision(&mut out, &samples::bare());
    writer.change(&mut out, &samples::change());
    writer.skip(2);
    writer.decision(&mut out, &samples::bare());
    let numbers: Vec<u64> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 5]);
}

#[test]
fn a_hostile_path_stays_on_its_line() {
    let path = b"/api/\n{\"outcome\":\"allow\"}\r\x1b[2J\xff\"";
    let line = decision(&AuditRecord { path: Some(path), ..samples::bare() });
    assert_eq!(line.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["path"], "/api/\n{\"outcome\":\"allow\"}\r\u{1b}[2J\u{fffd}\"");
    assert_eq!(value["outcome"], "allow");
}
