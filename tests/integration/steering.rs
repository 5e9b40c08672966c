//! Enforcement is steered while it runs: switched, rolled back at once, held, lifted, and kept through every kind of end.

use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar, countersign};
use crate::support::{eventually, raw};
use serde_json::Value;
use std::process::Output;

mod kept;
mod rollback;

/// A sidecar in log mode whose every failed check would count.
fn in_log(upstream: &Recorder) -> Builder {
    Builder::guarding(upstream.address).log_mode().unlimited()
}

/// What an unsigned call of a guarded path gets.
fn unsigned(sidecar: &Sidecar) -> u16 {
    raw::get(sidecar.address, "/api/internal").status
}

/// Runs a command of this sidecar.
fn command(sidecar: &Sidecar, arguments: &[&str]) -> Output {
    countersign().args(arguments).arg("--config").arg(sidecar.config_path()).output().unwrap()
}

/// Runs it, wants this exit code, and gives what `--json` printed.
#[track_caller]
fn told(sidecar: &Sidecar, arguments: &[&str], code: i32) -> Value {
    let output = command(sidecar, &[arguments, &["--json"]].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}\n{err}"))
}

/// The changes of this kind on record so far.
fn events(sidecar: &Sidecar, event: &str) -> Vec<Value> {
    sidecar.audit().into_iter().filter(|record| record["event"] == event).collect()
}

#[test]
fn enforce_takes_effect_at_once_without_a_restart_and_is_on_record_with_who_and_why() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream).start();
    assert_eq!(unsigned(&sidecar), 200);
    let state = told(&sidecar, &["enforce", "100%", "--reason", "the first stage"], 0);
    assert_eq!(
        (&state["mode"], &state["percentage"], &state["durable"]),
        (&"enforce".into(), &100.into(), &true.into())
    );
    assert_eq!(state["before"]["mode"], "log");
    assert_eq!(unsigned(&sidecar), 401);
    assert_eq!(told(&sidecar, &["enforce", "0%"], 0)["percentage"], 0);
    assert_eq!(unsigned(&sidecar), 200);
    told(&sidecar, &["enforce", "100%"], 0);
    assert_eq!(unsigned(&sidecar), 401);
    told(&sidecar, &["enforce", "log"], 0);
    assert_eq!(unsigned(&sidecar), 200);
    let record = eventually("records", || {
        let events = events(&sidecar, "mode");
        (events.len() == 4).then(|| events[0].clone())
    });
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(record["who"], format!("uid:{uid}"), "{record}");
    assert_eq!(record["why"], "the first stage");
    assert_eq!((&record["before_mode"], &record["in_force_mode"]), (&"log".into(), &"enforce".into()));
}

#[test]
fn a_rule_has_a_percentage_of_its_own_which_counts_until_its_line_is_edited() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream).start();
    told(&sidecar, &["enforce", "100%"], 0);
    let npu = || raw::get(sidecar.address, "/api/npu/results").status;
    assert_eq!((unsigned(&sidecar), npu()), (401, 401));
    let state = told(&sidecar, &["enforce", "--rule", "npu", "0%"], 0);
    assert_eq!(state["rules"]["npu"]["percentage"], 0);
    assert_eq!((unsigned(&sidecar), npu()), (401, 200));
    // An edit elsewhere leaves it, one of the rule's own `enforce` ends it.
    let text = sidecar.config();
    std::fs::write(sidecar.config_path(), format!("{text}\n# a comment\n")).unwrap();
    told(&sidecar, &["reload"], 0);
    assert_eq!(npu(), 200);
    let edited = text.replace("callers = [\"npu-worker\"]", "callers = [\"npu-worker\"]\nenforce = 100");
    std::fs::write(sidecar.config_path(), edited).unwrap();
    told(&sidecar, &["reload"], 0);
    assert_eq!(npu(), 401);
    let refused = told(&sidecar, &["enforce", "--rule", "nobody", "10%"], 2);
    assert!(refused["error"]["message"].as_str().unwrap().contains("no service rule"), "{refused}");
}

#[test]
fn what_is_no_mode_and_no_percentage_changes_nothing() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream).start();
    for arguments in [
        &["enforce", "101%"][..],
        &["enforce", "all"],
        &["enforce"],
        &["enforce", "-5%"],
        &["enforce", "10.5%"],
        &["enforce", "--rule", "npu", "log"],
        &["rollback"],
        &["rollback", "--reason", " "],
    ] {
        let output = command(&sidecar, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let status = told(&sidecar, &["status"], 0);
    assert_eq!((&status["enforcement"]["mode"], &status["enforcement"]["revision"]), (&"log".into(), &1.into()));
}

#[test]
fn commands_say_when_no_sidecar_can_be_reached() {
    let upstream = Recorder::plain();
    let mut sidecar = in_log(&upstream).start();
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    for arguments in [&["status"][..], &["enforce", "10%"], &["reload"], &["rollback", "--lift", "--reason", "x"]] {
        let output = command(&sidecar, arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {err}");
        assert!(err.contains("admin.sock"), "{err}");
    }
}

#[test]
fn a_reload_that_is_refused_says_why_and_changes_nothing() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream).start();
    let (good, socket) = (sidecar.config(), sidecar.directory.join("state/admin.sock"));
    std::fs::write(sidecar.config_path(), format!("{good}\n[enforcment]\n")).unwrap();
    let broken = command(&sidecar, &["reload"]);
    let err = String::from_utf8_lossy(&broken.stderr);
    assert_eq!(broken.status.code(), Some(2), "{err}");
    assert!(err.contains("enforcment") && err.contains("countersign.toml:"), "{err}");
    let asked = countersign().args(["reload", "--socket"]).arg(&socket).output().unwrap();
    let err = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(1), "{err}");
    assert!(err.contains("enforcment") && err.contains("the running one stays"), "{err}");
    std::fs::write(sidecar.config_path(), good).unwrap();
    assert!(told(&sidecar, &["reload"], 0)["generation"].as_u64().unwrap() >= 2);
}
