//! A whole rollout on the fleet: from log mode to 100 % under traffic, through floods, a crash and a broken key.

use super::super::support::{eventually, sign};
use super::cast::{Fleet, Program, STRANGER, at, request};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Stages of seconds, not of hours.
const RAMP: &str = "\n[ramp]\nstages = [\"10% 2s\", \"50% 2s\", \"100%\"]\n";

/// So many forged requests of a hostile host.
const FORGED: usize = 10_000;

fn programs(fleet: &Fleet) -> Vec<Program> {
    let base = [("BASE_URL", "http://127.0.0.1:9001")];
    vec![fleet.program(22, "npu_worker", &base), fleet.program(24, "ai_stack", &base)]
}

fn go_on(programs: &mut [Program]) {
    for program in programs {
        program.goes_on(40);
        program.assert_nothing_failed();
    }
}

/// How the ramp on the backend's VM stands; its exit code says only whether one runs.
fn ramp(fleet: &Fleet) -> Value {
    let output = fleet.host(20).output(&fleet.countersign(&["--json", "ramp", "status"]));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn enforcement(fleet: &Fleet) -> Value {
    let output = fleet.host(20).output(&fleet.countersign(&["--json", "status"]));
    serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()["enforcement"].clone()
}

/// A command as an operator on the backend's VM gives it; with `--nocapture` it can be followed.
fn operator(fleet: &Fleet, arguments: &[&str]) -> (i32, String) {
    let output = fleet.host(20).output(&fleet.countersign(arguments));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim_end().to_owned();
    let words =
        arguments.iter().map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() });
    println!("$ countersign {}\n{said}\n", words.collect::<Vec<_>>().join(" "));
    (output.status.code().unwrap_or(-1), said)
}

/// One that must succeed.
#[track_caller]
fn done(fleet: &Fleet, arguments: &[&str]) -> String {
    let (code, said) = operator(fleet, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

/// An unsigned call of a guarded path of the backend, from its own VM.
fn unsigned(fleet: &Fleet) -> u16 {
    fleet
        .host(20)
        .inside(|| request(at(20, 8001), "POST /api/npu/heartbeat", "", "").map_or(0, |answer| answer.status))
}

#[track_caller]
fn reaches(fleet: &Fleet, percentage: u64) {
    eventually(&format!("the ramp at {percentage} %: {:#}", ramp(fleet)), || {
        let state = enforcement(fleet);
        assert_eq!(state["held"], false, "it rolled back: {:#}\n{:#}", state, ramp(fleet));
        (state["mode"] == "enforce" && state["percentage"] == percentage).then_some(())
    });
}

/// Log mode first, whatever the fleet's environment says; short stages; a baseline of honest calls.
pub(super) fn begins_in_log_mode(fleet: &Fleet, programs: &mut [Program]) {
    let file = fleet.host(20).path("/etc/countersign/countersign.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + RAMP).unwrap();
    done(fleet, &["reload"]);
    done(fleet, &["enforce", "log", "--reason", "the rollout begins"]);
    assert_eq!(unsigned(fleet), 200);
    go_on(programs);
    eventually("a baseline", || (ramp(fleet)["baseline"]["is_enough"] == true).then_some(()));
    done(fleet, &["ramp", "plan"]);
    let plan = fleet.json(20, &["ramp", "plan"]);
    assert_eq!(plan["stages"].as_array().map(Vec::len), Some(3), "{plan:#}");
}

/// The gates before the first two steps, with what is wrong, and after it was mended.
pub(super) fn is_told_no_go_until_it_is_mended(fleet: &Fleet) {
    let host = fleet.host(20);
    let forgotten = host.path("/etc/countersign/forgotten.env");
    fs::write(&forgotten, format!("SERVICE_KEY={}\n", "a".repeat(64))).unwrap();
    fs::set_permissions(&forgotten, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(fleet.redis(&["EXPIRE", "service:key:frontend", "864000"]), "1");
    let start = ["preflight", "--gate", "start"];
    let failing = no_go(fleet, &start);
    for criterion in ["keys ", "env_files ", "monitoring "] {
        assert!(failing.iter().any(|line| line.contains(criterion)), "{criterion}: {failing:#?}");
    }
    assert_eq!(failing.len(), 3, "{failing:#?}");

    fs::remove_file(forgotten).unwrap();
    assert_eq!(fleet.redis(&["EXPIRE", "service:key:frontend", "7776000"]), "1");
    fleet.metric(20, "countersign_build_info");
    done(fleet, &start);

    let soft = ["preflight", "--gate", "soft", "--elapsed", "1s"];
    let failing = no_go(fleet, &soft);
    for criterion in ["drilled ", "signed "] {
        assert!(failing.iter().any(|line| line.contains(criterion)), "{criterion}: {failing:#?}");
    }
    assert_eq!(failing.len(), 2, "{failing:#?}");
    done(fleet, &["rollback", "--dry-run", "--reason", "before the first step"]);
    let file = host.path("/etc/countersign/rules.d/services.toml");
    let mut text = fs::read_to_string(&file).unwrap();
    // Nothing of theirs runs here.
    for service in ["browser-service", "frontend", "redis-stack"] {
        let table = format!("[services.{service}]\n");
        assert_eq!(text.matches(&table).count(), 1, "{text}");
        text = text.replace(&table, &format!("{table}unused = true\n"));
    }
    fs::write(&file, text).unwrap();
    done(fleet, &["reload"]);
    done(fleet, &soft);
}

/// What a gate says no to, line by line.
#[track_caller]
fn no_go(fleet: &Fleet, gate: &[&str]) -> Vec<String> {
    let (code, said) = operator(fleet, gate);
    assert_eq!(code, 1, "{said}");
    said.lines().filter(|line| line.starts_with("NO  ") || line.starts_with("??  ")).map(str::to_owned).collect()
}

/// To 100 %, stage by stage, and no honest call fails.
pub(super) fn ramps_to_everything(fleet: &Fleet, programs: &mut [Program]) {
    done(fleet, &["ramp", "start", "--reason", "the ramp of the test"]);
    for percentage in [10, 50, 100] {
        reaches(fleet, percentage);
        operator(fleet, &["ramp", "status"]);
        go_on(programs);
    }
    eventually("its end", || (ramp(fleet)["state"] == "none").then_some(()));
    assert_eq!(enforcement(fleet)["percentage"], 100);
    assert_eq!(unsigned(fleet), 401);
    let events = fleet.audit(20, "\"event\":\"ramp\"");
    assert!(events.len() >= 3, "each stage is on record: {events:?}");
}

/// A flood of forged requests, in the names of those who work, from a host that is nobody: it takes nothing back.
pub(super) fn shrugs_off_a_flood(fleet: &Fleet, programs: &mut [Program]) {
    done(fleet, &["enforce", "log", "--reason", "once more"]);
    done(fleet, &["ramp", "start", "--restart", "--reason", "under attack"]);
    let before = fleet.metric(20, "service_auth_attempts_total").unwrap_or_default();
    fleet.host(STRANGER).inside(|| {
        for number in 0..FORGED {
            let service = ["npu-worker", "ai-stack", "main-backend"][number % 3];
            let forged = sign::headers(&"f".repeat(64), service, "POST", "/api/npu/heartbeat");
            let answer = request(at(20, 8001), "POST /api/npu/heartbeat", &forged, "");
            assert!(answer.is_some(), "the backend's sidecar does not answer");
        }
    });
    let counted = fleet.metric(20, "service_auth_attempts_total").unwrap_or_default() - before;
    assert!(counted >= FORGED as f64, "only {counted} were seen");
    for percentage in [50, 100] {
        if enforcement(fleet)["percentage"].as_u64() < Some(percentage) {
            reaches(fleet, percentage);
        }
    }
    go_on(programs);
    assert_eq!(enforcement(fleet)["held"], false, "{:#}", enforcement(fleet));
}

/// Killed in the middle of a stage, the ramp goes on where it was.
pub(super) fn goes_on_after_a_kill(fleet: &mut Fleet) {
    done(fleet, &["enforce", "log", "--reason", "once more"]);
    done(fleet, &["ramp", "start", "--restart", "--reason", "before the crash"]);
    let before = programs(fleet);
    reaches(fleet, 50);
    // So that it is still this stage when it is killed, however slow this machine is.
    done(fleet, &["ramp", "pause", "--reason", "about to be killed"]);
    before.into_iter().for_each(|program| {
        program.finish();
    });
    fleet.restart(20, &[]);
    let state = enforcement(fleet);
    assert_eq!((&state["mode"], &state["percentage"]), (&"enforce".into(), &50.into()), "{state:#}");
    let shown = ramp(fleet);
    assert_eq!((&shown["state"], &shown["ramp"]["stage"]), (&"paused".into(), &2.into()), "{shown:#}");
    done(fleet, &["ramp", "resume", "--reason", "it is back"]);
    let mut programs = programs(fleet);
    reaches(fleet, 100);
    go_on(&mut programs);
    programs.into_iter().for_each(|program| {
        program.finish();
    });
}

/// One service signs with a wrong key: enforcement is taken back by itself, and the record names the service.
pub(super) fn takes_back_when_a_key_breaks(fleet: &mut Fleet) {
    done(fleet, &["enforce", "log", "--reason", "once more"]);
    done(fleet, &["ramp", "start", "--restart", "--reason", "and a key will break"]);
    fleet.restart(22, &[("SERVICE_KEY", &"b".repeat(64))]);
    // Its calls fail from here on: that is the point, so nobody asks it.
    let _broken = fleet.program(22, "npu_worker", &[("BASE_URL", "http://127.0.0.1:9001")]);
    let mut honest = fleet.program(24, "ai_stack", &[("BASE_URL", "http://127.0.0.1:9001")]);
    let state = eventually("the rollback", || {
        let state = enforcement(fleet);
        (state["held"] == true).then_some(state)
    });
    assert_eq!((&state["mode"], &state["hold"]["kind"]), (&"log".into(), &"automatic".into()), "{state:#}");
    assert!(state["hold"]["reason"].as_str().unwrap().contains("npu-worker"), "{state:#}");
    assert_eq!(unsigned(fleet), 200);
    honest.goes_on(20);
    honest.assert_nothing_failed();
    let record = eventually("its record", || fleet.audit(20, "\"event\":\"rollback\"").pop());
    assert!(record["why"].as_str().unwrap().contains("npu-worker"), "{record}");
    operator(fleet, &["status"]);
    let (code, said) = operator(fleet, &["ramp", "start", "--reason", "too soon"]);
    assert!(code == 1 && said.contains("rollback --lift"), "{code}: {said}");

    fleet.restart(22, &[]);
    done(fleet, &["rollback", "--lift", "--reason", "npu-worker has its key again"]);
    let mut mended = fleet.program(22, "npu_worker", &[("BASE_URL", "http://127.0.0.1:9001")]);
    mended.goes_on(20);
    mended.assert_nothing_failed();
}

pub(super) fn play(fleet: &mut Fleet) {
    let mut programs = programs(fleet);
    super::act("log mode measures what is usual", || begins_in_log_mode(fleet, &mut programs));
    super::act("no-go for the right reasons, and go when they are mended", || {
        is_told_no_go_until_it_is_mended(fleet)
    });
    super::act("a ramp to 100 % refuses no honest call", || ramps_to_everything(fleet, &mut programs));
    super::act("a flood of forged requests takes nothing back", || shrugs_off_a_flood(fleet, &mut programs));
    programs.into_iter().for_each(|program| {
        program.finish();
    });
    super::act("killed in the middle of a stage, it goes on", || goes_on_after_a_kill(fleet));
    super::act("a broken key takes it back, and is named", || takes_back_when_a_key_breaks(fleet));
}
