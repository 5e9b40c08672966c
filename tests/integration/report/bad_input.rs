//! Logs that are missing, torn, unreadable, of another kind, or have nothing in the period.

use super::{AI, AS_AI, AS_NPU, NPU, guard, json, run, run_on, service, signed, text, written};
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar, countersign};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn with_good_calls() -> (Sidecar, Recorder) {
    let upstream = Recorder::plain();
    let sidecar = guard(Builder::guarding(upstream.address)).log_mode().start();
    for n in 0..4 {
        assert_eq!(signed(&sidecar, NPU, AS_NPU, &format!("/api/npu/results/{n}")), 200);
        assert_eq!(signed(&sidecar, AI, AS_AI, "/api/internal/x"), 200);
    }
    written(&sidecar, 8);
    (sidecar, upstream)
}

#[test]
fn no_log_no_file_or_a_place_that_cannot_be_read_back_is_told_and_never_taken_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("audit.jsonl");
    for verb in [&["report"][..], &["report", "--readiness"], &["report", "--json"]] {
        let output = run_on(&missing, verb);
        assert_eq!(output.status.code(), Some(2), "{verb:?}: {}", text(&output));
        assert!(text(&output).contains("there is no audit log"), "{verb:?}: {}", text(&output));
        let output = run_on(directory.path(), verb);
        assert_eq!(output.status.code(), Some(2), "{verb:?}");
        assert!(text(&output).contains("is no file"), "{verb:?}: {}", text(&output));
    }
    let output = countersign().args(["report", "--config", "/nonexistent/c.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    std::fs::write(
        sidecar.config_path(),
        sidecar.config().replace(&format!("file = {:?}", sidecar.directory.join("audit.jsonl")), "file = \"stdout\""),
    )
    .unwrap();
    let output = run(&sidecar, &["report", "--readiness"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("cannot be read back"), "{}", text(&output));
}

#[test]
fn a_log_that_cannot_be_read_is_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (log, program) = (directory.path().join("audit.jsonl"), directory.path().join("countersign"));
    std::fs::write(&log, "").unwrap();
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_countersign"), &program).unwrap();
    for verb in [&["report"][..], &["report", "--readiness"]] {
        // As nobody: root may read everything.
        let mut command = match rustix::process::geteuid().is_root() {
            true => Command::new("setpriv"),
            false => Command::new("env"),
        };
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let output = command.arg(&program).args(verb).arg("--audit").arg(&log).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {}", text(&output));
        assert!(text(&output).contains("cannot read the audit log"), "{}", text(&output));
        assert!(output.stdout.is_empty(), "half a report would be taken for a whole one: {}", text(&output));
    }
}

#[test]
fn a_period_that_is_none_is_a_usage_error() {
    let (sidecar, _upstream) = with_good_calls();
    for since in ["nonsense", "24", "-1h", "", "yesterday", "99999999d"] {
        for verb in ["report", "learn"] {
            let output = run(&sidecar, &[verb, &format!("--since={since}")]);
            assert_eq!(output.status.code(), Some(2), "{verb} {since}: {}", text(&output));
        }
    }
}

#[test]
fn a_period_with_nothing_in_it_proves_nothing() {
    let (sidecar, _upstream) = with_good_calls();
    let output = run(&sidecar, &["report", "--readiness", "--json", "--since", "0s"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = json(&output);
    assert_eq!(service(&report, "npu-worker")["verdict"], "silent");
    assert_eq!(report["evidence"]["records"], 0);
    let output = run(&sidecar, &["report", "--json", "--since", "0s"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(json(&output)["requests"], 0);
    let empty = sidecar.directory.join("empty.jsonl");
    std::fs::write(&empty, "").unwrap();
    let output = run_on(&empty, &["report", "--readiness", "--json"]);
    assert_eq!(output.status.code(), Some(1), "with nobody to judge nobody is safe");
}

#[test]
fn evidence_with_holes_is_named_and_no_service_is_safe_by_it() {
    let (mut sidecar, _upstream) = with_good_calls();
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    let path = sidecar.directory.join("audit.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    assert_eq!(run(&sidecar, &["report", "--readiness"]).status.code(), Some(0));

    let lines: Vec<&str> = whole.lines().collect();
    let without = [&lines[..3], &lines[5..]].concat().join("\n") + "\n";
    std::fs::write(&path, without).unwrap();
    let output = run(&sidecar, &["report", "--readiness", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = json(&output);
    assert_eq!(report["evidence"]["lost"], 2);
    assert_eq!(
        (&report["evidence"]["gaps"][0]["first_seq"], &report["evidence"]["gaps"][0]["last_seq"]),
        (&4.into(), &5.into())
    );
    assert_eq!(service(&report, "npu-worker")["verdict"], "incomplete");
    assert!(text(&run(&sidecar, &["report", "--readiness"])).contains("2 records are lost"));

    for torn in ["{\"time\":\"2026-11-22T0", "\u{0}\u{1}\n", "{}\n", "[1]\n"] {
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(whole.as_bytes()).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        let output = run(&sidecar, &["report", "--readiness", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{torn:?}");
        let report = json(&output);
        assert_eq!((&report["evidence"]["torn_lines"], &report["evidence"]["complete"]), (&1.into(), &false.into()));
        assert!(text(&run(&sidecar, &["report"])).contains("1 lines are torn"), "{torn:?}");
    }

    // Another start of the process, whose first record is missing, behind an end that nobody announced.
    let cut: Vec<&str> = lines[..lines.len() - 1].to_vec();
    let again = cut[1..].iter().map(|line| {
        let boot = serde_json::from_str::<serde_json::Value>(line).unwrap()["boot"].as_str().unwrap().to_owned();
        line.replace(&boot, "another")
    });
    let both: Vec<String> = cut.iter().map(ToString::to_string).chain(again).collect();
    std::fs::write(&path, both.join("\n") + "\n").unwrap();
    let report = json(&run(&sidecar, &["report", "--readiness", "--json"]));
    assert_eq!((&report["evidence"]["lost"], &report["evidence"]["abrupt_ends"]), (&1.into(), &1.into()));
    assert_eq!(report["evidence"]["gaps"][0]["boot"], "another");
}

#[test]
fn hostile_texts_in_a_log_reach_no_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let now = crate::support::sign::now();
    let time = |back: u64| {
        let at = Command::new("date").args(["-u", "-d", &format!("@{}", now - back), "+%FT%TZ"]).output();
        String::from_utf8(at.unwrap().stdout).unwrap().trim().to_owned()
    };
    let line =
        |seq: u64, more: &str| format!("{{\"time\":\"{}\",\"boot\":\"b\",\"seq\":{seq},{more}}}\n", time(9 - seq));
    let hostile = "\\u001b[2J\\u0007";
    let text_of_log = [
        line(1, &format!("\"event\":\"{hostile}\",\"who\":\"{hostile}\",\"why\":\"{hostile}\"")),
        line(
            2,
            &format!(
                "\"direction\":\"inbound\",\"outcome\":\"refuse\",\"reason\":\"{hostile}\",\"class\":\"service\",\"rule\":\"{hostile}\",\"client\":\"{hostile}\""
            ),
        ),
        line(
            3,
            &format!(
                "\"direction\":\"inbound\",\"outcome\":\"authenticated\",\"class\":\"service\",\"service\":\"{hostile}\",\"client\":\"x\""
            ),
        ),
        line(4, "\"direction\":\"inbound\",\"outcome\":\"something_newer\",\"client\":\"x\""),
    ];
    std::fs::write(&path, text_of_log.concat()).unwrap();
    for verb in [&["report"][..], &["report", "--readiness"]] {
        let said = text(&run_on(&path, verb));
        assert!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{said:?}");
        assert!(said.contains("1 records are in words of a newer version"), "{said}");
    }
    assert_eq!(
        run_on(&path, &["report", "--readiness"]).status.code(),
        Some(1),
        "what is not understood proves nothing"
    );
}
