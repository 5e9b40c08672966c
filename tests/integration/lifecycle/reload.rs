//! Signals while it runs: another configuration takes effect whole or not at all; other signals end nothing.

use super::admin;
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar, write_private};
use crate::support::{KEY_B, eventually, raw, sign};

fn edit(sidecar: &Sidecar, from: &str, to: &str) {
    let text = sidecar.config();
    assert!(text.contains(from), "{from:?} is not in:\n{text}");
    // As an editor does: a new file in the place of the old one.
    let new = sidecar.directory.join("countersign.toml.new");
    std::fs::write(&new, text.replace(from, to)).unwrap();
    std::fs::rename(new, sidecar.config_path()).unwrap();
}

fn status(sidecar: &Sidecar) -> u16 {
    raw::get(sidecar.address, "/api/internal").status
}

#[test]
fn an_edited_file_takes_effect_by_itself_and_on_a_signal() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    assert_eq!(status(&sidecar), 401);
    edit(&sidecar, "mode = \"enforce\"", "mode = \"log\"");
    eventually("mode log by the file watch", || (status(&sidecar) == 200).then_some(()));
    edit(&sidecar, "mode = \"log\"", "mode = \"enforce\"");
    sidecar.process.signal("HUP");
    eventually("mode enforce", || (status(&sidecar) == 401).then_some(()));
    let changes = eventually("both changes on record", || {
        let changes: Vec<_> = sidecar.audit().into_iter().filter(|record| record["event"] == "mode").collect();
        (changes.len() == 2).then_some(changes)
    });
    assert_eq!(changes[0]["in_force_mode"], "log");
    for (name, number) in [("in_force_percentage", 100), ("services_with_keys", 2)] {
        assert_eq!(changes[0][name], number, "numbers are numbers: {}", changes[0]);
    }
    assert!(changes[0]["rules"].as_u64().is_some_and(|rules| rules > 0), "{}", changes[0]);
    assert_eq!(changes[1]["in_force_mode"], "enforce");
}

#[test]
fn a_broken_file_changes_nothing_and_is_logged_counted_and_shown_with_its_line() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let mut open = raw::Client::connect(sidecar.address);
    open.send("GET /health HTTP/1.1\r\nHost: backend.test\r\n\r\n");
    assert_eq!(open.answer().status, 200);
    let good = sidecar.config();
    edit(&sidecar, "mode = \"enforce\"", "mode = \"enfroce\"");
    let line = sidecar.config().lines().position(|line| line.contains("enfroce")).unwrap() + 1;
    sidecar.process.signal("HUP");
    let place = format!("countersign.toml:{line}");
    eventually("the line in the log", || {
        let said = sidecar.process.stderr.text();
        (said.contains(&place) && said.contains("enfroce")).then_some(())
    });
    eventually("the failure on record", || {
        sidecar.audit().iter().any(|record| record["event"] == "reload_failed").then_some(())
    });
    assert_eq!(status(&sidecar), 401, "the old rules must hold");
    open.send("GET /health HTTP/1.1\r\nHost: backend.test\r\n\r\n");
    assert_eq!(open.answer().status, 200, "open connections must live");
    assert_eq!(admin(sidecar.admin, "/readyz"), 200, "it serves, so it is ready");
    let metrics = sidecar.metrics();
    let shown: Vec<&str> = metrics.lines().filter(|line| line.contains("reload")).collect();
    assert!(shown.iter().any(|line| line.contains("fail")), "{shown:#?}");

    std::fs::write(sidecar.config_path(), good.replace("mode = \"enforce\"", "mode = \"log\"")).unwrap();
    sidecar.process.signal("HUP");
    eventually("the mended file", || (status(&sidecar) == 200).then_some(()));
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
fn the_signal_of_a_later_version_is_logged_and_ends_nothing() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).start();
    sidecar.process.signal("USR2");
    eventually("a warning", || sidecar.process.stderr.text().contains("not built yet").then_some(()));
    assert!(sidecar.process.ended().is_none());
    assert_eq!(status(&sidecar), 401, "it must not switch anything either");
}
