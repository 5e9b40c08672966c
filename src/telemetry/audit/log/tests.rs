use super::super::read::{AuditReader, StoredLine, StoredRecord, TimeRange};
use super::super::record::{AuditRecord, samples};
use super::*;
use crate::config::{AuditSink, OnFull};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

fn config(sink: AuditSink) -> Audit {
    Audit {
        sink,
        rotate_size: 100 << 20,
        rotate_age: Duration::from_secs(86_400),
        rotate_keep: 14,
        keep_service: Duration::from_secs(90 * 86_400),
        on_full: OnFull::DropAndCount,
    }
}

fn file(path: &Path) -> Audit {
    config(AuditSink::File(path.to_owned()))
}

fn records(path: &Path) -> Vec<StoredLine> {
    AuditReader::open(path, TimeRange::ALL).unwrap().map(Result::unwrap).collect()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_hundred_thousand_records_from_several_workers_are_written_once_each_and_in_order() {
    const WORKERS: u64 = 4;
    const EACH: u64 = 25_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    // small files, so that rotation and compression go on beside the writing
    let log = AuditLog::start(&Audit { rotate_size: 4 << 20, rotate_keep: 100, ..file(&path) }, 4).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let queue = log.queue().worker(worker as usize);
            scope.spawn(move || {
                for n in 0..EACH {
                    let id = format!("{worker}-{n}");
                    let slot = loop {
                        match queue.try_reserve() {
                            Some(slot) => break slot,
                            None => std::thread::yield_now(),
                        }
                    };
                    slot.fill(&AuditRecord {
                        request_id: &id,
                        unix_micros: 1_763_778_660_000_000 + n,
                        ..samples::full()
                    });
                }
            });
        }
    });
    assert_eq!(log.close(LONG), 0);
    let all = records(&path);
    assert_eq!(all.len() as u64, WORKERS * EACH);
    assert!(all.iter().enumerate().all(|(index, line)| line.seq == index as u64 + 1 && line.boot == log.boot()));
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for line in &all {
        let StoredRecord::Decision(decision) = &line.record else { panic!("{line:?}") };
        let (worker, n) = decision.request_id.split_once('-').unwrap();
        let next = next.entry(worker.to_owned()).or_default();
        assert_eq!(n.parse(), Ok(*next), "one worker's records keep their order");
        *next += 1;
    }
    assert_eq!(next.into_values().collect::<Vec<_>>(), [EACH; WORKERS as usize]);
    let counts = log.queue().counts();
    assert_eq!((counts.written, counts.queued, counts.lost, counts.dropped), (WORKERS * EACH, 0, 0, 0));
}

#[test]
fn a_record_is_written_soon_without_asking_also_after_idleness() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = AuditLog::start(&file(&path), 1).unwrap();
    for round in 1..=3 {
        log.queue().try_reserve().unwrap().fill(&samples::full());
        eventually("written", || records(&path).len() == round);
        eventually("the writer has parked", || log.queue().writer_sleeps());
    }
    assert_eq!(log.close(LONG), 0);
}

#[test]
fn a_sink_that_takes_nothing_fills_the_queue_and_no_more() {
    let log = AuditLog::with_capacity(&file(Path::new("/dev/full")), 1, 10).unwrap();
    let mut filled = 0;
    eventually("an error is counted, and a hundred are dropped", || {
        match log.queue().try_reserve() {
            Some(slot) => {
                slot.fill(&samples::full());
                filled += 1;
            }
            None => log.queue().count_dropped(),
        }
        let counts = log.queue().counts();
        counts.write_errors > 0 && counts.dropped >= 100
    });
    let counts = log.queue().counts();
    assert_eq!((filled, counts.queued, counts.written), (10, 10, 0));
    let dropped = counts.dropped;
    assert_eq!(log.close(Duration::from_millis(300)), 10 + dropped);
    assert_eq!(log.queue().counts().lost, 10);
}

#[tokio::test(start_paused = true)]
async fn who_may_wait_is_told_after_a_second_that_the_sink_is_full() {
    let log = AuditLog::with_capacity(&file(Path::new("/dev/full")), 1, 1).unwrap();
    log.queue().reserve().await.unwrap().fill(&samples::full());
    assert!(log.queue().reserve().await.is_none());
    log.close(Duration::ZERO);
}

#[test]
fn what_a_full_disk_held_up_goes_where_the_log_is_moved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = AuditLog::start(&file(Path::new("/dev/full")), 1).unwrap();
    for _ in 0..5 {
        log.queue().try_reserve().unwrap().fill(&samples::full());
    }
    eventually("the full disk is noticed", || log.queue().counts().write_errors > 0);
    log.reconfigure(&file(&path)).unwrap();
    assert_eq!(log.close(LONG), 0);
    assert_eq!(records(&path).iter().map(|line| line.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_sink_that_cannot_be_opened_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = AuditLog::start(&file(&path), 1).unwrap();
    let error = log.reconfigure(&file(Path::new("/proc/nonexistent/a"))).unwrap_err();
    assert!(error.to_string().contains("/proc/nonexistent/a"), "{error}");
    log.queue().try_reserve().unwrap().fill(&samples::full());
    assert_eq!(log.close(LONG), 0);
    assert_eq!(records(&path).len(), 1);
}

#[test]
fn dropped_records_leave_a_gap_in_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = AuditLog::start(&file(&path), 1).unwrap();
    log.queue().count_dropped();
    log.queue().count_dropped();
    log.queue().try_reserve().unwrap().fill(&samples::full());
    assert_eq!(log.close(LONG), 2);
    assert_eq!(records(&path)[0].seq, 3);
}

#[test]
fn reopening_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("audit.jsonl"), dir.path().join("moved"));
    let log = AuditLog::start(&file(&path), 1).unwrap();
    log.queue().try_reserve().unwrap().fill(&samples::full());
    eventually("written", || records(&path).len() == 1);
    std::fs::rename(&path, &moved).unwrap();
    log.reopen().unwrap();
    log.queue().state_change(samples::change());
    assert_eq!(log.close(LONG), 0);
    assert_eq!((records(&moved).len(), records(&path).len()), (1, 1));
    assert_eq!(records(&path)[0].seq, 2);
}

#[test]
fn closing_twice_and_filling_after_the_end_are_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = AuditLog::start(&file(&path), 1).unwrap();
    let slot = log.queue().try_reserve().unwrap();
    assert!(log.is_running());
    assert_eq!(log.close(LONG), 0);
    eventually("the writer has ended", || !log.is_running());
    slot.fill(&samples::full());
    assert_eq!(log.close(LONG), 1, "it is counted");
    log.reopen().unwrap();
    log.reconfigure(&file(&path)).unwrap();
    assert!(records(&path).is_empty());
}

#[test]
fn nowhere_is_a_place_that_takes_all() {
    let log = AuditLog::start(&config(AuditSink::None), 1).unwrap();
    log.queue().try_reserve().unwrap().fill(&samples::full());
    assert_eq!(log.close(LONG), 0);
    assert_eq!(log.queue().counts().written, 1);
}
