//! `learn`: what it proposes passes `check` beside the configuration, and nothing that strangers do gets into it.

use super::{AI, AS_AI, AS_NPU, NPU, STRANGER, guard, json, run, signed, text, unsigned, written};
use crate::support::raw;
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar, countersign};

/// Checks the configuration with this text below it.
#[track_caller]
fn checked(sidecar: &Sidecar, pasted: &str) -> std::path::PathBuf {
    let path = sidecar.directory.join("pasted.toml");
    std::fs::write(&path, sidecar.config() + pasted).unwrap();
    let output = countersign().arg("check").arg("--config").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}\n{pasted}", text(&output));
    path
}

#[track_caller]
fn explained(config: &std::path::Path, caller: &str, path: &str) -> (String, bool) {
    let output = countersign()
        .args(["explain", "--json", "--as", caller, "GET", path, "--config"])
        .arg(config)
        .output()
        .unwrap();
    (json(&output)["class"].as_str().unwrap_or_default().to_owned(), output.status.success())
}

fn start() -> (Sidecar, Recorder) {
    let upstream = Recorder::with(|exchange| match exchange.request.target.contains("/nowhere") {
        true => exchange.reply(404, "no"),
        false => exchange.reply(200, "ok"),
    });
    let sidecar = guard(Builder::guarding(upstream.address)).log_mode().start();
    (sidecar, upstream)
}

#[test]
fn what_is_proposed_passes_check_below_the_configuration_and_does_what_it_says() {
    let (sidecar, _upstream) = start();
    for n in 0..3 {
        // No rule covers these.
        assert_eq!(unsigned(&sidecar, NPU, &format!("/api/tasks/{n}/log")), 200);
        assert_eq!(unsigned(&sidecar, AI, "/api/models"), 200);
        assert_eq!(unsigned(&sidecar, NPU, "/api/models"), 200);
        // "internals" lets every service call.
        assert_eq!(signed(&sidecar, NPU, AS_NPU, &format!("/api/internal/jobs/{n}")), 200);
        assert_eq!(signed(&sidecar, AI, AS_AI, "/api/internal/embed"), 200);
        // "npu" names its callers already, and these are exempt.
        assert_eq!(signed(&sidecar, NPU, AS_NPU, "/api/npu/results/1"), 200);
        assert_eq!(unsigned(&sidecar, NPU, "/api/chat"), 200);
    }
    written(&sidecar, 21);
    let output = run(&sidecar, &["learn"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let proposed = text(&output);
    for expected in
        ["\"=/api/tasks/*/log\"", "\"=/api/models\"", "\"=/api/internal/jobs/*\"", "\"=/api/internal/embed\""]
    {
        assert!(proposed.contains(expected), "{expected} in:\n{proposed}");
    }
    assert!(!proposed.contains("/api/npu") && !proposed.contains("/api/chat"), "{proposed}");
    let config = checked(&sidecar, &proposed);
    for (caller, path, class, allowed) in [
        ("npu-worker", "/api/tasks/77/log", "service", true),
        ("ai-stack", "/api/tasks/77/log", "service", false),
        ("ai-stack", "/api/models", "service", true),
        ("npu-worker", "/api/models", "service", true),
        ("npu-worker", "/api/internal/jobs/9", "service", true),
        ("ai-stack", "/api/internal/jobs/9", "service", false),
        ("ai-stack", "/api/internal/embed", "service", true),
        ("npu-worker", "/api/internal/else", "service", true),
        ("npu-worker", "/api/chat", "exempt", true),
    ] {
        assert_eq!(explained(&config, caller, path), (class.to_owned(), allowed), "{caller} {path}\n{proposed}");
    }
    // Beside rules that cover all of it nothing is left to propose.
    std::fs::write(sidecar.config_path(), std::fs::read_to_string(&config).unwrap()).unwrap();
    let again = json(&run(&sidecar, &["learn", "--json"]));
    assert_eq!(again["rules"], serde_json::json!([]), "{again}");
}

#[test]
fn what_strangers_call_is_told_and_never_proposed_for_anybody() {
    let (sidecar, _upstream) = start();
    assert_eq!(unsigned(&sidecar, STRANGER, "/api/page"), 200);
    assert_eq!(unsigned(&sidecar, STRANGER, "/api/nowhere/admin"), 404);
    // A claim is no proof, on a path where nobody checks it.
    assert_eq!(signed(&sidecar, STRANGER, AS_NPU, "/api/claimed"), 200);
    assert_eq!(unsigned(&sidecar, STRANGER, "/api/internal/x"), 200);
    assert_eq!(unsigned(&sidecar, NPU, "/api/both"), 200);
    assert_eq!(unsigned(&sidecar, STRANGER, "/api/both"), 200);
    written(&sidecar, 6);
    let report = json(&run(&sidecar, &["learn", "--json"]));
    for rule in report["rules"].as_array().unwrap() {
        assert_eq!(rule["proposed"], false, "{report}");
        let paths = rule["paths"].to_string();
        assert!(!paths.contains("nowhere") && !paths.contains("internal"), "{report}");
        let callers = if paths.contains("both") { "[\"npu-worker\"]" } else { "[]" };
        assert_eq!(rule["callers"].to_string(), callers, "{report}");
    }
    assert_eq!(report["rules"].as_array().unwrap().len(), 3, "{report}");
    let pasted = report["toml"].as_str().unwrap();
    assert!(pasted.lines().all(|line| line.is_empty() || line.starts_with('#')), "{pasted}");
    checked(&sidecar, pasted);
}

#[test]
fn a_flood_of_strangers_crowds_out_no_service() {
    let (sidecar, _upstream) = start();
    let mut client = raw::Client::connect_from(STRANGER, sidecar.address);
    let word = |n: usize| {
        format!("{}-{}", "abcdefghijklmnopqrstuvwxyz".chars().nth(n % 26).unwrap(), "x".repeat(n / 26 + 1))
    };
    for n in 0..2_100 {
        // No path is like another in one segment alone.
        client.send(format!("GET /{}/{}/flood HTTP/1.1\r\nHost: a\r\n\r\n", word(n % 800), word((n * 7) % 790)));
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(unsigned(&sidecar, NPU, "/api/models"), 200);
    written(&sidecar, 2_101);
    let report = json(&run(&sidecar, &["learn", "--json"]));
    let proposed: Vec<_> =
        report["rules"].as_array().unwrap().iter().filter(|rule| rule["proposed"] == true).collect();
    assert_eq!(proposed.len(), 1, "{proposed:?}");
    assert_eq!(proposed[0]["paths"], serde_json::json!(["=/api/models"]));
    assert!(report["rules"].as_array().unwrap().len() <= 2_001);
    assert!(report["notes"].to_string().contains("calls of strangers were left out"), "{}", report["notes"]);
}

#[test]
fn nothing_is_ever_overwritten() {
    let (sidecar, _upstream) = start();
    assert_eq!(unsigned(&sidecar, NPU, "/api/models"), 200);
    written(&sidecar, 1);
    let before = sidecar.config();
    let out = sidecar.directory.join("learned.toml");
    let arguments = ["learn", "--out", out.to_str().unwrap()];
    let output = run(&sidecar, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let first = std::fs::read_to_string(&out).unwrap();
    checked(&sidecar, &first);
    let output = run(&sidecar, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("is there already"), "{}", text(&output));
    let link = sidecar.directory.join("link.toml");
    std::os::unix::fs::symlink(sidecar.directory.join("target.toml"), &link).unwrap();
    assert_eq!(run(&sidecar, &["learn", "--out", link.to_str().unwrap()]).status.code(), Some(1));
    assert!(!sidecar.directory.join("target.toml").exists());
    assert_eq!((std::fs::read_to_string(&out).unwrap(), sidecar.config()), (first, before));
}

#[test]
fn without_a_configuration_there_is_nothing_to_propose_rules_beside() {
    let (sidecar, _upstream) = start();
    let output =
        countersign().arg("learn").arg("--audit").arg(sidecar.directory.join("audit.jsonl")).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}
