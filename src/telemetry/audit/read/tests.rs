use super::super::files::{Form, RotationId};
use super::super::record::{LineWriter, samples};
use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

const NOON: u64 = 1_763_812_800;

/// A log with a retained, a compressed, a plain and a current file, one record each, an hour apart.
fn log() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    for (hour, form) in [(1, Form::Retained), (2, Form::Compressed), (3, Form::Plain)] {
        let id = RotationId { unix_seconds: NOON + hour * 3_600, serial: 0 };
        write(&id.path(&path, form), form, record(hour).as_bytes());
    }
    std::fs::write(&path, record(4)).unwrap();
    (dir, path)
}

/// A record half an hour before its file was rotated.
fn record(hour: u64) -> String {
    let mut out = Vec::new();
    let unix_micros = (NOON + hour * 3_600 - 1_800) * 1_000_000;
    let id = format!("r{hour}");
    LineWriter::new("b0")
        .decision(&mut out, &super::super::AuditRecord { unix_micros, request_id: &id, ..samples::full() });
    String::from_utf8(out).unwrap()
}

fn write(path: &Path, form: Form, bytes: &[u8]) {
    match form {
        Form::Plain => std::fs::write(path, bytes).unwrap(),
        Form::Compressed | Form::Retained => {
            let mut encoder = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
    }
}

fn ids(path: &Path, range: TimeRange) -> Vec<String> {
    AuditReader::open(path, range)
        .unwrap()
        .map(|line| match line.unwrap().record {
            StoredRecord::Decision(decision) => decision.request_id,
            StoredRecord::Change(change) => change.event,
        })
        .collect()
}

fn range(from_hour: u64, until_hour: u64) -> TimeRange {
    let at = |hour| (NOON + hour * 3_600) * 1_000_000;
    TimeRange { from: at(from_hour), until: at(until_hour) }
}

#[test]
fn all_files_are_read_oldest_first() {
    let (_dir, path) = log();
    assert_eq!(ids(&path, TimeRange::ALL), ["r1", "r2", "r3", "r4"]);
}

#[test]
fn only_the_asked_for_time_is_read() {
    let (_dir, path) = log();
    assert_eq!(ids(&path, range(1, 3)), ["r2", "r3"]);
    assert_eq!(ids(&path, range(3, 9)), ["r4"]);
    assert_eq!(ids(&path, range(5, 9)), [""; 0]);
    let first = (NOON + 1_800) * 1_000_000;
    assert_eq!(ids(&path, TimeRange { from: first, until: first + 1 }), ["r1"], "from is included");
    assert_eq!(ids(&path, TimeRange { from: 0, until: first }), [""; 0], "until is not");
}

#[test]
fn a_decision_comes_back_whole() {
    let (_dir, path) = log();
    let line = AuditReader::open(&path, range(3, 4)).unwrap().next().unwrap().unwrap();
    assert_eq!(format!("{}\n", line.text), record(4));
    assert_eq!((line.boot.as_str(), line.seq), ("b0", 1));
    let StoredRecord::Decision(decision) = line.record else { panic!("a change?") };
    let text = |word: &str| Some(word.to_owned());
    let expected = StoredDecision {
        request_id: "r4".to_owned(),
        direction: "inbound".to_owned(),
        outcome: "would_refuse".to_owned(),
        reason: text("rate_limited"),
        cause: text("invalid_signature"),
        fault: text("bare_lf"),
        class: text("service"),
        rule: text("npu internals"),
        service: text("npu-worker"),
        claimed_service: text("ai-stack"),
        scheme: text("hmac-v1"),
        grant: text("0123456789ab"),
        skew_seconds: Some(-3),
        method: text("POST"),
        path: text("/api/npu/results/1"),
        upstream: None,
        client: "172.16.168.22".to_owned(),
        mode: "enforce".to_owned(),
        percentage: Some(25),
        status: Some(200),
        own_us: Some(41),
        upstream_us: Some(1_250),
        generation: Some(7),
        probe: true,
    };
    assert_eq!(*decision, expected);
    assert_eq!((decision.outcome(), decision.reason()), (Some(Outcome::WouldRefuse), Some(Refusal::RateLimited)));
}

#[test]
fn a_change_comes_back_with_who_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut out = Vec::new();
    LineWriter::new("b0").change(&mut out, &samples::change());
    std::fs::write(&path, out).unwrap();
    let line = AuditReader::open(&path, TimeRange::ALL).unwrap().next().unwrap().unwrap();
    let StoredRecord::Change(change) = line.record else { panic!("a decision?") };
    assert_eq!((change.event.as_str(), change.who.as_str(), change.why.as_str()), ("reload", "signal", "SIGHUP"));
}

#[test]
fn what_a_newer_sidecar_wrote_is_understood_as_far_as_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let text =
        r#"{"time":"2025-11-22T12:00:00Z","outcome":"postponed","reason":"moon","chain":"ab","new":{"a":[1]}}"#;
    std::fs::write(&path, format!("{text}\n")).unwrap();
    let line = AuditReader::open(&path, TimeRange::ALL).unwrap().next().unwrap().unwrap();
    let StoredRecord::Decision(decision) = &line.record else { panic!("a change?") };
    assert_eq!((decision.outcome.as_str(), decision.outcome(), decision.reason()), ("postponed", None, None));
    assert_eq!(line.text, text, "and kept as it was");
}

#[test]
fn what_is_no_record_is_counted_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let long = format!("{{\"time\":\"2025-11-22T12:00:00Z\",\"pad\":\"{}\"}}\n", "x".repeat(LONGEST_LINE as usize));
    let mut bytes = [record(1), "\n".to_owned(), "no json\n".to_owned(), "{}\n".to_owned(), long, record(2)]
        .concat()
        .into_bytes();
    bytes.extend_from_slice(b"{\"time\":\"\xff\"}\n");
    bytes.extend_from_slice(record(3).as_bytes());
    bytes.extend_from_slice(&record(4).as_bytes()[..40]);
    std::fs::write(&path, bytes).unwrap();
    let mut reader = AuditReader::open(&path, TimeRange::ALL).unwrap();
    assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 3);
    assert_eq!(reader.skipped(), 6);
}

#[test]
fn every_shorter_prefix_of_a_line_is_no_record() {
    let line = record(1);
    let line = line.trim_end();
    assert!(parse(line.as_bytes()).is_some());
    for end in 0..line.len() {
        assert!(parse(&line.as_bytes()[..end]).is_none(), "{}", &line[..end]);
    }
}

#[test]
fn a_compressed_file_that_breaks_off_ends_there() {
    let (_dir, path) = log();
    let broken = RotationId { unix_seconds: NOON + 2 * 3_600, serial: 0 }.path(&path, Form::Compressed);
    let bytes = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let mut reader = AuditReader::open(&path, TimeRange::ALL).unwrap();
    assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 3);
    assert_eq!(reader.skipped(), 1);
}

#[test]
fn of_two_forms_of_one_rotation_only_one_is_read() {
    let (_dir, path) = log();
    let id = RotationId { unix_seconds: NOON + 3 * 3_600, serial: 0 };
    write(&id.path(&path, Form::Compressed), Form::Compressed, record(3).as_bytes());
    assert_eq!(ids(&path, TimeRange::ALL), ["r1", "r2", "r3", "r4"]);
}

#[test]
fn a_rotation_while_reading_neither_doubles_nor_loses() {
    let (_dir, path) = log();
    let reader = AuditReader::open(&path, TimeRange::ALL).unwrap();
    // the plain one is compressed, the current one rotated and begun anew
    let id = RotationId { unix_seconds: NOON + 3 * 3_600, serial: 0 };
    write(&id.path(&path, Form::Compressed), Form::Compressed, record(3).as_bytes());
    std::fs::remove_file(id.path(&path, Form::Plain)).unwrap();
    let next = RotationId { unix_seconds: NOON + 4 * 3_600, serial: 0 };
    std::fs::rename(&path, next.path(&path, Form::Plain)).unwrap();
    std::fs::write(&path, record(5)).unwrap();
    assert_eq!(reader.filter(Result::is_ok).count(), 4);
    assert_eq!(ids(&path, TimeRange::ALL), ["r1", "r2", "r3", "r4", "r5"]);
}

#[test]
fn a_rotation_between_two_looks_of_the_opening_does_not_double() {
    let (_dir, path) = log();
    // the same file under both names, as seen when it is renamed between opening and listing
    let next = RotationId { unix_seconds: NOON + 4 * 3_600, serial: 0 };
    std::fs::hard_link(&path, next.path(&path, Form::Plain)).unwrap();
    assert_eq!(ids(&path, TimeRange::ALL), ["r1", "r2", "r3", "r4"]);
}

#[test]
fn a_log_that_does_not_exist_is_empty_and_one_that_cannot_be_read_is_an_error() {
    assert!(AuditReader::open(Path::new("/nonexistent/audit.jsonl"), TimeRange::ALL).unwrap().next().is_none());
    let dir = tempfile::tempdir().unwrap();
    let mut reader = AuditReader::open(dir.path(), TimeRange::ALL).unwrap();
    assert!(reader.next().unwrap().is_err());
}

#[test]
fn a_last_line_without_an_end_is_torn_unless_the_file_is_growing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let (whole, next) = (record(1), record(2));
    let half = &next[..next.len() / 2];
    std::fs::write(&path, format!("{whole}{half}")).unwrap();
    let mut reader = AuditReader::open(&path, TimeRange::ALL).unwrap();
    assert_eq!((reader.by_ref().count(), reader.skipped()), (1, 1));

    let mut reader = AuditReader::open(&path, TimeRange::ALL).unwrap();
    assert!(reader.next().is_some());
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&next.as_bytes()[half.len()..]).unwrap();
    assert_eq!((reader.by_ref().count(), reader.skipped()), (0, 0), "it was being written");
    let mut reader = AuditReader::open(&path, TimeRange::ALL).unwrap();
    assert_eq!((reader.by_ref().count(), reader.skipped()), (2, 0));
}
