//! While it runs: changed keys are followed whole, and signals that are no order to stop end nothing.
//! What a changed configuration does is in `reload.rs` beside this folder.

use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar, write_private};
use crate::support::{KEY_B, eventually, raw, sign};

fn status(sidecar: &Sidecar) -> u16 {
    raw::get(sidecar.address, "/api/internal").status
}

#[test]
fn a_key_file_that_comes_changes_or_breaks_is_followed_whole() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let call = || {
        let signed = sign::headers(KEY_B, "newcomer", "GET", "/api/internal");
        raw::exchange(sidecar.address, format!("GET /api/internal HTTP/1.1\r\nHost: a\r\n{signed}\r\n")).status
    };
    assert_eq!(call(), 401);
    let path = sidecar.directory.join("keys/newcomer.env");
    write_private(&path, &format!("SERVICE_KEY={KEY_B}\n"));
    eventually("the new key", || (call() == 200).then_some(()));
    write_private(&path, "SERVICE_KEY=short\n");
    eventually("a refused reload", || {
        sidecar.audit().iter().any(|record| record["event"] == "reload_failed").then_some(())
    });
    assert_eq!(call(), 200, "keys that stood must stay");
    std::fs::remove_file(&path).unwrap();
    eventually("the key gone", || (call() == 401).then_some(()));
    assert!(!sidecar.process.stderr.text().contains(KEY_B), "a key was logged");
}

#[test]
fn the_audit_file_is_opened_anew_after_an_outside_rotation() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    assert_eq!(raw::get(sidecar.address, "/health").status, 200);
    let (path, rotated) = (sidecar.directory.join("audit.jsonl"), sidecar.directory.join("rotated.jsonl"));
    eventually("a record", || (!sidecar.audit().is_empty()).then_some(()));
    std::fs::rename(&path, &rotated).unwrap();
    sidecar.process.signal("USR1");
    eventually("a new file", || path.exists().then_some(()));
    let answer = raw::get(sidecar.address, "/health");
    let id = answer.fields.one("x-request-id").unwrap().to_owned();
    sidecar.record(&id);
}

#[test]
fn the_signal_of_an_emergency_rolls_back_and_ends_nothing() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).start();
    assert_eq!(status(&sidecar), 401);
    sidecar.process.signal("USR2");
    eventually("the rollback", || (status(&sidecar) == 200).then_some(()));
    assert!(sidecar.process.ended().is_none());
}
