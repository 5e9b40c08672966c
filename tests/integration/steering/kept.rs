//! What is in force survives every kind of end, and what cannot be known is never guessed at.

use super::{command, in_log, told, unsigned};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::raw;
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Sidecar, countersign};
use std::path::PathBuf;

/// Ends it without a chance to write anything, and starts it again on what is there.
fn start_again(sidecar: &mut Sidecar) {
    stop(sidecar);
    start(sidecar);
}

fn stop(sidecar: &mut Sidecar) {
    sidecar.process.signal("KILL");
    sidecar.process.wait();
}

fn start(sidecar: &mut Sidecar) {
    let mut run = countersign();
    run.arg("run").arg("--config").arg(sidecar.config_path()).current_dir(&sidecar.directory);
    sidecar.process = Process::start(&run);
    eventually("the sidecar listening again", || {
        let mut client = raw::Client::try_connect(sidecar.admin)?;
        client.send(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", sidecar.admin));
        (client.try_answer("GET").ok()?.status == 200).then_some(())
    });
}

fn state_file(sidecar: &Sidecar) -> PathBuf {
    sidecar.directory.join("state/enforcement.json")
}

fn ready(sidecar: &Sidecar) -> (u16, String) {
    let answer = raw::exchange(
        sidecar.admin,
        format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", sidecar.admin),
    );
    (answer.status, answer.text())
}

#[test]
fn mode_percentage_and_rules_survive_a_kill() {
    let upstream = Recorder::plain();
    let mut sidecar = in_log(&upstream).start();
    told(&sidecar, &["enforce", "100%"], 0);
    told(&sidecar, &["enforce", "--rule", "npu", "0%"], 0);
    start_again(&mut sidecar);
    assert_eq!((unsigned(&sidecar), raw::get(sidecar.address, "/api/npu/results").status), (401, 200));
    told(&sidecar, &["enforce", "log"], 0);
    start_again(&mut sidecar);
    assert_eq!(unsigned(&sidecar), 200);
}

#[test]
fn a_rollback_survives_a_kill_also_where_the_configuration_says_enforce() {
    let upstream = Recorder::plain();
    let mut sidecar = crate::support::sidecar::Builder::guarding(upstream.address).unlimited().start();
    assert_eq!(unsigned(&sidecar), 401);
    told(&sidecar, &["rollback", "--reason", "x"], 0);
    start_again(&mut sidecar);
    assert_eq!(unsigned(&sidecar), 200, "an old `enforce` never undoes a rollback");
    told(&sidecar, &["enforce", "10%"], 1);
    // Either of the two files alone is enough.
    stop(&mut sidecar);
    std::fs::remove_file(sidecar.directory.join("state/rollback")).unwrap();
    start(&mut sidecar);
    assert_eq!(unsigned(&sidecar), 200);
    stop(&mut sidecar);
    std::fs::remove_file(state_file(&sidecar)).unwrap();
    std::fs::write(sidecar.directory.join("state/rollback"), "").unwrap();
    start(&mut sidecar);
    assert_eq!(unsigned(&sidecar), 200);
    told(&sidecar, &["enforce", "10%"], 1);
    told(&sidecar, &["enforce", "100%", "--lift"], 0);
    start_again(&mut sidecar);
    assert_eq!(unsigned(&sidecar), 401);
}

#[test]
fn an_edit_made_while_it_was_down_is_an_edit_and_an_unchanged_file_is_none() {
    let upstream = Recorder::plain();
    let mut sidecar = in_log(&upstream).start();
    told(&sidecar, &["enforce", "100%"], 0);
    stop(&mut sidecar);
    let text = sidecar.config();
    std::fs::write(sidecar.config_path(), format!("{text}\n# elsewhere\n")).unwrap();
    start(&mut sidecar);
    assert_eq!(unsigned(&sidecar), 401);
    stop(&mut sidecar);
    std::fs::write(sidecar.config_path(), text.replace("mode = \"log\"", "mode = \"log\"\npercentage = 0")).unwrap();
    start(&mut sidecar);
    assert_eq!(unsigned(&sidecar), 200, "0 % of mode enforce");
    assert_eq!(told(&sidecar, &["status"], 0)["enforcement"]["mode"], "enforce");
}

#[test]
fn a_state_that_cannot_be_relied_on_is_the_configurations_word_held_and_not_ready() {
    let upstream = Recorder::plain();
    let mut sidecar = crate::support::sidecar::Builder::guarding(upstream.address).unlimited().start();
    let good = std::fs::read_to_string(state_file(&sidecar)).unwrap();
    let cases: [(&str, Option<String>); 5] = [
        ("missing", None),
        ("empty", Some(String::new())),
        ("cut", Some(good[..good.len() / 2].to_owned())),
        ("newer", Some(good.replace("\"version\": 1", "\"version\": 2"))),
        ("odd", Some(good.replace("\"enforce\"", "\"sometimes\""))),
    ];
    for (name, text) in cases {
        stop(&mut sidecar);
        match &text {
            Some(text) => std::fs::write(state_file(&sidecar), text).unwrap(),
            None => std::fs::remove_file(state_file(&sidecar)).unwrap(),
        }
        start(&mut sidecar);
        assert_eq!(unsigned(&sidecar), 401, "{name}: never falls open");
        let (status, body) = ready(&sidecar);
        assert_eq!(status, 503, "{name}: {body}");
        assert!(body.contains("not known what was in force"), "{name}: {body}");
        assert!(sidecar.process.stderr.text().contains("enforcement.json"), "{name}: the log names the file");
        told(&sidecar, &["enforce", "50%"], 1);
        // Not by another restart either.
        start_again(&mut sidecar);
        assert_eq!(ready(&sidecar).0, 503, "{name}");
        if let Some(text) = text {
            let aside = std::fs::read_to_string(sidecar.directory.join("state/enforcement.json.unreadable")).unwrap();
            assert_eq!(aside, text, "{name}: nothing is lost");
        }
        told(&sidecar, &["rollback", "--lift", "--reason", "looked at it"], 0);
        eventually("ready", || (ready(&sidecar).0 == 200).then_some(()));
        assert_eq!(unsigned(&sidecar), 401, "{name}");
    }
}

#[test]
fn what_the_disk_does_not_take_is_in_force_in_memory_and_said() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream).start();
    let state = sidecar.directory.join("state");
    // Also root cannot write a file in the place of a directory.
    std::fs::remove_file(state_file(&sidecar)).unwrap();
    std::fs::create_dir_all(state_file(&sidecar).join("in the way")).unwrap();
    let moved = told(&sidecar, &["enforce", "100%"], 1);
    assert_eq!((&moved["mode"], &moved["durable"]), (&"enforce".into(), &false.into()));
    assert!(moved["trouble"].as_str().unwrap().contains(state.to_str().unwrap()), "{moved}");
    assert_eq!(unsigned(&sidecar), 401);
    assert_eq!(sidecar.metric("countersign_enforcement_state_durable", &[]), 0.0);
    assert!(ready(&sidecar).1.contains("in memory only"));
    let rolled_back = told(&sidecar, &["rollback", "--reason", "x"], 1);
    assert_eq!(rolled_back["mode"], "log");
    assert_eq!(unsigned(&sidecar), 200);
    assert!(state.join("rollback").exists(), "the marker alone makes it last");

    std::fs::remove_dir_all(state_file(&sidecar)).unwrap();
    eventually("what is in force on disk, without another move", || {
        (sidecar.metric("countersign_enforcement_state_durable", &[]) == 1.0).then_some(())
    });
    assert!(std::fs::read_to_string(state_file(&sidecar)).unwrap().contains("\"emergency\""));
    assert_eq!(told(&sidecar, &["enforce", "100%", "--lift"], 0)["durable"], true);
    assert_eq!(command(&sidecar, &["status"]).status.code(), Some(0));
}
