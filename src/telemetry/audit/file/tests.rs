use super::super::read::{AuditReader, TimeRange};
use super::super::sink::tests_support::lines_of;
use super::*;
use crate::config::{AuditSink, OnFull};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const NOON: u64 = 1_763_812_800_000_000;
const HOUR: u64 = 3_600_000_000;

fn config(path: &Path) -> Audit {
    Audit {
        sink: AuditSink::File(path.to_owned()),
        rotate_size: 1_000,
        rotate_age: Duration::from_secs(24 * 3_600),
        rotate_keep: 14,
        keep_service: Duration::from_secs(90 * 86_400),
        on_full: OnFull::DropAndCount,
    }
}

fn open(path: &Path, now: u64) -> FileSink {
    match FileSink::open_any(path, &config(path), now).unwrap() {
        Sink::File(file) => *file,
        _ => panic!("not a regular file?"),
    }
}

/// Lines of 100 bytes with a time, numbered from `first`.
fn lines(first: usize, count: usize) -> String {
    (first..first + count)
        .map(|n| {
            let line = format!("{{\"time\":\"2025-11-22T12:00:00.000000Z\",\"seq\":{n},\"pad\":\"");
            format!("{line}{}\"}}\n", "x".repeat(97 - line.len()))
        })
        .collect()
}

fn write(sink: &mut FileSink, text: &str, now: u64) {
    let written = sink.write(text.as_bytes(), &lines_of(text), now);
    assert!(written.error.is_none(), "{written:?}");
}

fn numbers(path: &Path) -> Vec<u64> {
    AuditReader::open(path, TimeRange::ALL).unwrap().map(|line| line.unwrap().seq).collect()
}

fn plain_files(path: &Path) -> usize {
    1 + files::rotated(path).unwrap().len()
}

#[test]
fn file_and_directory_are_made_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log/countersign/audit.jsonl");
    let _sink = open(&path, NOON);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path) & 0o137, 0);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn what_stands_there_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    fs::write(&path, lines(1, 2)).unwrap();
    write(&mut open(&path, NOON), &lines(3, 1), NOON);
    assert_eq!(numbers(&path), [1, 2, 3]);
}

#[test]
fn a_file_never_grows_beyond_its_size_and_no_line_is_lost_or_split() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut sink = open(&path, NOON);
    write(&mut sink, &lines(1, 35), NOON);
    write(&mut sink, &lines(36, 3), NOON);
    sink.finish().unwrap();
    assert_eq!(numbers(&path), (1..=38).collect::<Vec<_>>());
    assert_eq!(plain_files(&path), 4);
    assert_eq!(fs::metadata(&path).unwrap().len(), 800);
}

#[test]
fn a_line_longer_than_the_size_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut sink = open(&path, NOON);
    let long = format!("{{\"time\":\"2025-11-22T12:00:00.000000Z\",\"seq\":2,\"pad\":\"{}\"}}\n", "x".repeat(5_000));
    write(&mut sink, &[lines(1, 1), long, lines(3, 1)].concat(), NOON);
    sink.finish().unwrap();
    assert_eq!(numbers(&path), [1, 2, 3]);
    assert_eq!(plain_files(&path), 3);
}

#[test]
fn a_file_is_rotated_when_its_first_record_is_old_enough_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut sink = open(&path, NOON);
    sink.tick(NOON + 48 * HOUR);
    assert_eq!((plain_files(&path), sink.due(NOON)), (1, None), "an empty file is not rotated");
    drop(sink);
    let mut sink = open(&path, NOON);
    write(&mut sink, &lines(1, 1), NOON);
    assert_eq!(sink.due(NOON + HOUR), Some(23 * HOUR));
    sink.tick(NOON + 24 * HOUR - 1);
    assert_eq!(plain_files(&path), 1);
    sink.tick(NOON + 24 * HOUR);
    assert_eq!(plain_files(&path), 2);
    write(&mut sink, &lines(2, 1), NOON + 25 * HOUR);
    assert_eq!(sink.due(NOON + 25 * HOUR), Some(23 * HOUR), "its age counts from its own beginning");
    sink.finish().unwrap();
    assert_eq!(numbers(&path), [1, 2]);
}

#[test]
fn the_age_of_a_file_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    fs::write(&path, lines(1, 1)).unwrap();
    let mut sink = open(&path, NOON + 20 * HOUR);
    assert_eq!(sink.due(NOON + 20 * HOUR), Some(4 * HOUR));
    write(&mut sink, &lines(2, 1), NOON + 24 * HOUR);
    assert_eq!(plain_files(&path), 2);
}

#[test]
fn a_clock_that_goes_back_neither_rotates_nor_collides() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut sink = open(&path, NOON);
    write(&mut sink, &lines(1, 15), NOON);
    write(&mut sink, &lines(16, 3), NOON - 48 * HOUR);
    assert_eq!(plain_files(&path), 2);
    write(&mut sink, &lines(19, 10), NOON - 48 * HOUR);
    sink.finish().unwrap();
    assert_eq!(numbers(&path), (1..=28).collect::<Vec<_>>());
}

#[test]
fn a_torn_last_line_does_not_swallow_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    fs::write(&path, lines(1, 1) + "{\"time\":\"2025-11-").unwrap();
    write(&mut open(&path, NOON), &lines(2, 2), NOON);
    let mut reader = AuditReader::open(&path, TimeRange::ALL).unwrap();
    let numbers: Vec<u64> = reader.by_ref().map(|line| line.unwrap().seq).collect();
    assert_eq!((numbers, reader.skipped()), (vec![1, 2, 3], 1));
}

#[test]
fn a_second_writer_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let _sink = open(&path, NOON);
    let error = FileSink::open_any(&path, &config(&path), NOON).err().unwrap().to_string();
    assert!(error.contains("another process") && error.contains("audit.jsonl"), "{error}");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), Path::new("/proc/nonexistent/audit.jsonl").to_owned()] {
        let error = FileSink::open_any(&path, &config(&path), NOON).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_symbolic_link_is_not_rotated_in_the_place_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, real) = (dir.path().join("audit.jsonl"), dir.path().join("elsewhere/log"));
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let mut sink = open(&path, NOON);
    write(&mut sink, &lines(1, 15), NOON);
    sink.finish().unwrap();
    assert!(path.is_symlink());
    assert_eq!((plain_files(&path), plain_files(&real)), (1, 2));
    assert_eq!(numbers(&path), (1..=15).collect::<Vec<_>>());
}

#[test]
fn reopening_follows_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut sink = open(&path, NOON);
    write(&mut sink, &lines(1, 1), NOON);
    sink.reopen(NOON).unwrap();
    write(&mut sink, &lines(2, 1), NOON);
    fs::rename(&path, dir.path().join("moved.jsonl")).unwrap();
    write(&mut sink, &lines(3, 1), NOON);
    sink.reopen(NOON).unwrap();
    write(&mut sink, &lines(4, 1), NOON);
    assert_eq!(numbers(&dir.path().join("moved.jsonl")), [1, 2, 3]);
    assert_eq!(numbers(&path), [4]);
}

#[test]
fn a_file_that_cannot_be_rotated_is_written_on_and_tried_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut sink = open(&path, NOON);
    write(&mut sink, &lines(1, 10), NOON);
    // somebody took the name away: renaming fails
    fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    write(&mut sink, &lines(11, 10), NOON);
    assert_eq!(fs::metadata(dir.path().join("elsewhere")).unwrap().len(), 2_000);
    fs::rename(dir.path().join("elsewhere"), &path).unwrap();
    write(&mut sink, &lines(21, 1), NOON + RETRY_ROTATION_MICROS - 1);
    assert_eq!(plain_files(&path), 1);
    write(&mut sink, &lines(22, 1), NOON + RETRY_ROTATION_MICROS);
    assert_eq!(plain_files(&path), 2);
    sink.finish().unwrap();
    assert_eq!(numbers(&path), (1..=22).collect::<Vec<_>>());
}

/// A disk that is full in the middle of a line, played by the limit on the size of files. The limit is the whole
/// process's and passing it raises a signal, so the test runs itself once more behind a shell that ignores the signal.
#[test]
fn a_full_disk_leaves_only_whole_lines_and_later_takes_the_rest() {
    if std::env::var_os("COUNTERSIGN_TEST_FULL_DISK").is_some() {
        fill_the_disk();
        return;
    }
    let this = std::env::current_exe().unwrap();
    let name = "telemetry::audit::file::tests::a_full_disk_leaves_only_whole_lines_and_later_takes_the_rest";
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture"])
        .args([this.as_os_str(), name.as_ref()])
        .env("COUNTERSIGN_TEST_FULL_DISK", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn fill_the_disk() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut sink = open(&path, NOON);
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(350), maximum: before.maximum }).unwrap();
    let text = lines(1, 5);
    let written = sink.write(text.as_bytes(), &lines_of(&text), NOON);
    assert_eq!(written.lines, 3);
    assert_eq!(written.error.unwrap().kind(), std::io::ErrorKind::FileTooLarge);
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(1, 3), "no torn line is left");
    let written = sink.write(&text.as_bytes()[300..], &lines_of(&lines(4, 2)), NOON);
    assert_eq!((written.lines, written.error.is_some()), (0, true));
    setrlimit(Resource::Fsize, before).unwrap();
    write(&mut sink, &lines(4, 2), NOON);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}
