//! Back to log-only: at once, by every way there is, held until somebody lifts it.

use super::{command, events, in_log, told, unsigned};
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Sidecar, countersign};
use crate::support::{eventually, raw};
use std::path::PathBuf;

fn enforcing(upstream: &Recorder) -> Sidecar {
    let sidecar = in_log(upstream).start();
    told(&sidecar, &["enforce", "100%"], 0);
    assert_eq!(unsigned(&sidecar), 401);
    sidecar
}

fn marker(sidecar: &Sidecar) -> PathBuf {
    sidecar.directory.join("state/rollback")
}

#[test]
fn a_rollback_is_immediate_durable_when_reported_and_holds_until_it_is_lifted() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    let state = told(&sidecar, &["rollback", "--reason", "npu-worker is refused"], 0);
    assert!(marker(&sidecar).exists(), "the marker is there before success is reported");
    assert_eq!(
        (&state["mode"], &state["held"], &state["hold"]["kind"]),
        (&"log".into(), &true.into(), &"emergency".into())
    );
    assert_eq!(unsigned(&sidecar), 200);
    let refused = told(&sidecar, &["enforce", "10%"], 1);
    assert!(refused["error"]["message"].as_str().unwrap().contains("rollback --lift"), "{refused}");
    assert_eq!(unsigned(&sidecar), 200);

    let lifted = told(&sidecar, &["rollback", "--lift", "--reason", "key exported again"], 0);
    assert_eq!((&lifted["mode"], &lifted["held"]), (&"log".into(), &false.into()), "lifting switches nothing on");
    assert!(!marker(&sidecar).exists());
    assert_eq!(unsigned(&sidecar), 200);
    told(&sidecar, &["enforce", "100%"], 0);
    assert_eq!(unsigned(&sidecar), 401);
    told(&sidecar, &["rollback", "--lift", "--reason", "nothing to lift"], 1);
    let records = eventually("both on record", || {
        let records = events(&sidecar, "rollback");
        (records.len() == 2).then_some(records)
    });
    assert_eq!((&records[0]["kind"], &records[1]["kind"]), (&"emergency".into(), &"lift".into()));
    assert_eq!(
        (&records[0]["why"], &records[0]["before_mode"]),
        (&"npu-worker is refused".into(), &"enforce".into())
    );
    assert_eq!(sidecar.metric("countersign_rollbacks_total", &["kind=\"emergency\""]), 1.0);
    assert_eq!(sidecar.metric("countersign_rollback_held", &[]), 0.0);
}

#[test]
fn an_edited_configuration_does_not_get_around_a_rollback_and_log_always_takes_effect() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    told(&sidecar, &["rollback", "--reason", "x"], 0);
    let text = sidecar.config();
    std::fs::write(sidecar.config_path(), text.replace("mode = \"log\"", "mode = \"enforce\"")).unwrap();
    told(&sidecar, &["reload"], 0);
    assert_eq!(unsigned(&sidecar), 200);
    eventually("a warning", || sidecar.process.stderr.text().contains("edited to enforce").then_some(()));
    told(&sidecar, &["enforce", "100%", "--lift"], 0);
    assert_eq!(unsigned(&sidecar), 401);
    let lifted = eventually("the lift on record", || {
        events(&sidecar, "rollback").into_iter().find(|record| record["kind"] == "lift")
    });
    assert_eq!(lifted["lifted_why"], "x", "{lifted}");
    std::fs::write(sidecar.config_path(), text).unwrap();
    told(&sidecar, &["reload"], 0);
    assert_eq!(unsigned(&sidecar), 200, "a change to log always takes effect");
}

#[test]
fn the_signal_and_the_marker_file_roll_back_a_running_sidecar() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    sidecar.process.signal("USR2");
    eventually("the signal's rollback", || (unsigned(&sidecar) == 200).then_some(()));
    told(&sidecar, &["enforce", "100%", "--lift"], 0);
    assert_eq!(unsigned(&sidecar), 401);
    std::fs::write(marker(&sidecar), "made by hand\n").unwrap();
    eventually("the marker's rollback", || (unsigned(&sidecar) == 200).then_some(()));
    let status = told(&sidecar, &["status"], 0);
    let hold = &status["enforcement"]["hold"];
    assert_eq!((&hold["by"], &hold["reason"]), (&"marker".into(), &"made by hand".into()));
    told(&sidecar, &["rollback", "--lift", "--reason", "done"], 0);
    assert!(!marker(&sidecar).exists());
}

#[test]
fn without_an_answer_the_command_makes_the_marker_and_signals_the_process() {
    let upstream = Recorder::plain();
    let mut sidecar = enforcing(&upstream);
    // The socket's file is gone, the process is not.
    std::fs::remove_file(sidecar.directory.join("state/admin.sock")).unwrap();
    let told_it = told(&sidecar, &["rollback", "--reason", "no socket"], 0);
    assert_eq!((&told_it["rolled_back_by"], &told_it["signalled"]), (&"marker".into(), &true.into()), "{told_it}");
    assert_eq!(told_it["process"], sidecar.process.pid());
    eventually("its rollback", || (unsigned(&sidecar) == 200).then_some(()));
    let record = eventually("its record", || events(&sidecar, "rollback").pop());
    assert!(record["why"].as_str().unwrap().contains("no socket (uid:"), "who and why are not lost: {record}");

    sidecar.process.signal("KILL");
    sidecar.process.wait();
    std::fs::remove_file(marker(&sidecar)).unwrap();
    let told_it = told(&sidecar, &["rollback", "--reason", "nobody there"], 0);
    assert_eq!((&told_it["process"], &told_it["signalled"]), (&serde_json::Value::Null, &false.into()));
    assert!(marker(&sidecar).exists());
}

#[test]
fn a_broken_configuration_is_no_obstacle_to_a_rollback_nor_to_looking() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    let good = sidecar.config();
    std::fs::write(sidecar.config_path(), "[[[\n").unwrap();
    let lost = command(&sidecar, &["rollback", "--reason", "x"]);
    assert_eq!(lost.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("--socket"), "it says what helps");
    std::fs::write(sidecar.config_path(), format!("{good}\n[[[\n")).unwrap();
    assert_eq!(told(&sidecar, &["status"], 0)["enforcement"]["mode"], "enforce");
    told(&sidecar, &["rollback", "--reason", "whatever it takes"], 0);
    assert_eq!(unsigned(&sidecar), 200);
}

#[test]
fn a_rule_alone_can_be_rolled_back_and_is_held_alone() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    let npu = || raw::get(sidecar.address, "/api/npu/results").status;
    told(&sidecar, &["rollback", "--rule", "npu", "--reason", "its key is wrong"], 0);
    assert_eq!((unsigned(&sidecar), npu()), (401, 200));
    told(&sidecar, &["enforce", "--rule", "npu", "50%"], 1);
    told(&sidecar, &["enforce", "100%"], 0);
    assert_eq!(npu(), 200, "the whole does not switch on what is held");
    told(&sidecar, &["rollback", "--lift", "--reason", "mended"], 0);
    told(&sidecar, &["enforce", "--rule", "npu", "100%"], 0);
    assert_eq!(npu(), 401);
}

#[test]
fn a_drill_changes_nothing_and_is_on_record() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    let drilled = told(&sidecar, &["rollback", "--dry-run", "--reason", "weekly"], 0);
    assert!(drilled["drill"]["answered_in_ms"].is_u64(), "{drilled}");
    assert_eq!(unsigned(&sidecar), 401);
    assert!(!marker(&sidecar).exists());
    let record = eventually("the drill on record", || events(&sidecar, "rollback").pop());
    assert_eq!((&record["kind"], &record["in_force_mode"]), (&"drill".into(), &"enforce".into()));
    let text = command(&sidecar, &["rollback", "--dry-run", "--reason", "weekly"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("nothing changed"));
}

#[test]
fn the_standard_rollback_keeps_a_backup_verifies_and_appends_the_record() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    let output = countersign()
        .args(["rollback", "--standard", "--reason", "planned", "--json", "--config"])
        .arg(sidecar.config_path())
        .env("SUDO_USER", "alice")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&done["mode"], &done["verified"]), (&"log".into(), &true.into()), "{done}");
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(done["by"], format!("uid:{uid} sudo:alice"));
    let checks: Vec<&str> =
        done["verification"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    for name in ["mode is log", "answers", "exempt paths", "service paths"] {
        assert!(checks.iter().any(|check| check.contains(name)), "{name}: {checks:?}");
    }
    let backup = PathBuf::from(done["backup"].as_str().unwrap());
    let kept = std::fs::read_to_string(backup.join("1-countersign.toml")).unwrap();
    assert_eq!(kept, sidecar.config());
    assert!(
        std::fs::read_to_string(backup.join("enforcement.json")).unwrap().contains("\"enforce\""),
        "as it was before"
    );
    let record = std::fs::read_to_string(sidecar.directory.join("state/rollbacks/record.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(record.trim()).unwrap();
    assert_eq!(
        (&line["type"], &line["sudo_user"], &line["reason"]),
        (&"standard".into(), &"alice".into(), &"planned".into())
    );
    assert_eq!((&line["before"]["mode"], &line["after"]["mode"]), (&"enforce".into(), &"log".into()));
    assert_eq!(unsigned(&sidecar), 200);
}

#[test]
fn the_standard_rollback_says_what_it_could_not_verify() {
    let upstream = Recorder::plain();
    let sidecar = enforcing(&upstream);
    let address = upstream.address;
    drop(upstream);
    eventually("the upstream known to be down", || {
        let status = told_any(&sidecar);
        (status["upstreams"][0]["state"] == "down").then_some(())
    });
    let done = told(&sidecar, &["rollback", "--standard", "--reason", "the backend is gone"], 1);
    assert_eq!((&done["mode"], &done["verified"]), (&"log".into(), &false.into()), "it rolled back all the same");
    let failed: Vec<&serde_json::Value> =
        done["verification"].as_array().unwrap().iter().filter(|check| check["passed"] == false).collect();
    assert!(failed.iter().any(|check| check["check"].as_str().unwrap().contains(&address.to_string())), "{failed:?}");
}

/// `status`, whatever its exit code says.
fn told_any(sidecar: &Sidecar) -> serde_json::Value {
    serde_json::from_slice(&command(sidecar, &["status", "--json"]).stdout).unwrap_or_default()
}
