//! The reader of audit files: any bytes, never a panic, and no line is lost silently.
#![no_main]

use countersign::telemetry::audit::read::{AuditReader, TimeRange};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A file of this process, in memory.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/countersign-fuzz-audit-{}.jsonl", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("a file in memory");
    let mut reader = AuditReader::open(&FILE, TimeRange::ALL).expect("the file is there");
    let records = reader.by_ref().filter(Result::is_ok).count() as u64;
    let lines = bytes.split(|b| *b == b'\n').count() as u64;
    assert!(records + reader.skipped() <= lines);
});
