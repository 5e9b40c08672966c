//! What an operator may tell a ramp, and what is answered to what does not fit.

use super::{
    NPU, STRANGER, events, eventually, from, honest, in_log, measure, ramp, told, told_percentage, until_ended,
};
use crate::support::recorder::Recorder;

#[test]
fn pause_resume_advance_and_abort_do_what_they_say_and_are_on_record() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"50% 1h\", \"100% 1h\"]").start();
    for verb in
        [&["ramp", "pause"][..], &["ramp", "resume"], &["ramp", "abort"], &["ramp", "advance", "--reason", "x"]]
    {
        let refused = told(&sidecar, verb, 1);
        assert_eq!(refused["error"]["message"], "no ramp runs");
    }
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    assert_eq!(told(&sidecar, &["ramp", "pause", "--reason", "lunch"], 0)["state"], "paused");
    told(&sidecar, &["ramp", "pause"], 1);
    told(&sidecar, &["ramp", "start"], 1);
    assert_eq!(told(&sidecar, &["ramp", "resume"], 0)["state"], "running");
    told(&sidecar, &["ramp", "resume"], 1);
    let without_reason = crate::support::sidecar::countersign().args(["ramp", "advance"]).output().unwrap();
    assert_eq!(without_reason.status.code(), Some(2));
    assert_eq!(told(&sidecar, &["ramp", "advance", "--reason", "y"], 0)["ramp"]["stage"], 2);
    let ended = told(&sidecar, &["ramp", "abort", "--reason", "not today"], 0);
    assert_eq!((&ended["ended"]["how"], &ended["ended"]["why"]), (&"aborted".into(), &"not today".into()));
    assert_eq!(told_percentage(&sidecar), 50, "what is in force stays in force");
    // The next one begins above that.
    assert_eq!(told(&sidecar, &["ramp", "start"], 0)["ramp"]["stage"], 3);
    told(&sidecar, &["ramp", "abort"], 0);
    assert_eq!(told(&sidecar, &["ramp", "start", "--restart"], 0)["enforcement"]["percentage"], 10);
    let all = eventually("records", || {
        let all: Vec<String> =
            events(&sidecar, "ramp").iter().map(|event| event["why"].as_str().unwrap().to_owned()).collect();
        (all.len() >= 8).then_some(all)
    });
    for why in ["lunch", "y", "not today"] {
        assert!(all.iter().any(|said| said.contains(why)), "{why}: {all:?}");
    }
}

#[test]
fn an_operators_word_ends_the_ramp_and_stands() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    told(&sidecar, &["enforce", "30%", "--reason", "my own way"], 0);
    let ended = until_ended(&sidecar);
    assert_eq!(ended["how"], "overtaken");
    assert!(ended["why"].as_str().unwrap().contains("my own way"), "{ended}");
    assert_eq!(told_percentage(&sidecar), 30);
}

#[test]
fn groups_are_activated_one_after_the_other() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"100%\"]").set("ramp", "groups", "[\"npu 1s\", \"internals\"]").start();
    measure(&sidecar);
    let plan = told(&sidecar, &["ramp", "plan", "--groups"], 0);
    assert_eq!(plan["stages"][1]["begins_after_seconds"], 1, "{plan}");
    let begun = told(&sidecar, &["ramp", "start", "--groups"], 0);
    let rules = &begun["enforcement"]["rules"];
    assert_eq!(
        (&begun["enforcement"]["percentage"], &rules["internals"]["percentage"]),
        (&100.into(), &0.into()),
        "{begun}"
    );
    assert_eq!(
        (from(&sidecar, STRANGER, "/api/npu/results", ""), from(&sidecar, STRANGER, "/api/internal", "")),
        (401, 200)
    );
    assert_eq!(until_ended(&sidecar)["how"], "finished");
    assert_eq!(
        (from(&sidecar, STRANGER, "/api/npu/results", ""), from(&sidecar, STRANGER, "/api/internal", "")),
        (401, 401)
    );
    let none = in_log(&upstream, "[\"100%\"]").start();
    told(&none, &["ramp", "start", "--groups", "--without-baseline"], 2);
}

#[test]
fn the_plan_says_when_and_who_would_be_refused_at_each_stage_and_it_comes_true() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"20% 1h\", \"60% 1h\", \"100%\"]").start();
    measure(&sidecar);
    let paths: Vec<String> = (0..40).map(|n| format!("/api/internal/unsigned/{n}")).collect();
    for path in &paths {
        assert_eq!(from(&sidecar, NPU, path, ""), 200);
    }
    let plan = eventually("all of them on record", || {
        let plan = told(&sidecar, &["ramp", "plan"], 0);
        (plan["stages"][2]["refused"][0]["refused"] == 40).then_some(plan)
    });
    let after: Vec<u64> = plan["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["begins_after_seconds"].as_u64().unwrap())
        .collect();
    assert_eq!(after, [0, 3_600, 7_200]);
    for stage in [0, 1] {
        let refused = &plan["stages"][stage]["refused"][0];
        assert_eq!(
            (&refused["caller"], &refused["rule"], &refused["reason"]),
            (&"npu-worker".into(), &"internals".into(), &"missing_signature".into())
        );
        let percentage = plan["stages"][stage]["target"].as_str().unwrap();
        told(&sidecar, &["enforce", percentage], 0);
        let really = paths.iter().filter(|path| from(&sidecar, NPU, path, "") == 401).count() as u64;
        assert_eq!(refused["refused"].as_u64(), Some(really), "at {percentage}");
    }
    let text = crate::support::sidecar::countersign()
        .args(["ramp", "plan", "--restart", "--config"])
        .arg(sidecar.config_path())
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("npu-worker: ") && text.contains("under internals (missing_signature)"), "{text}");
}

#[test]
fn what_is_said_in_words_fits_what_is_said_as_json() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    let text = eventually("a look at the calls", || {
        honest(&sidecar);
        let output = crate::support::sidecar::countersign()
            .args(["ramp", "status", "--config"])
            .arg(sidecar.config_path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        text.contains("npu-worker: ").then_some(text)
    });
    for part in
        ["running, stage 1 of 2: [10%]  100%", "more of health", "rolls back by itself", "authenticated calls in"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(ramp(&sidecar)["armed"], true);
    told(&sidecar, &["ramp", "abort"], 0);
    told(&sidecar, &["ramp", "status"], 1);
    for wrong in [&["maintenance", "2d"][..], &["maintenance", "soon"], &["maintenance", "0s"]] {
        told(&sidecar, wrong, 2);
    }
}
