//! `--json`: every verb has it, and what a verb then prints on standard output is JSON, whatever came of it.

use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, countersign};
use serde_json::Value;
use std::collections::BTreeSet;

fn help(verb: &[String]) -> String {
    let output = countersign().args(verb).arg("--help").output().unwrap();
    assert!(output.status.success(), "{verb:?} --help: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs that a help lists.
fn listed(help: &str) -> Vec<String> {
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = below.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Those verbs below this one that do something themselves.
fn leaves(verb: &[String], found: &mut Vec<Vec<String>>) {
    let text = help(verb);
    assert!(text.contains("--json"), "{verb:?} has no --json:\n{text}");
    let below = listed(&text);
    if below.is_empty() {
        found.push(verb.to_vec());
    }
    for name in below {
        leaves(&[verb, &[name]].concat(), found);
    }
}

/// Each verb with what it needs to print something. `C` stands for `--config` and the file of a running sidecar, `U` for its URL.
const EACH: &[&str] = &[
    "run --config /nonexistent",
    "demo",
    "check C",
    "explain C GET /api/internal",
    "explain C --live GET /api/internal",
    "sign C --service npu-worker --key-file keys/npu-worker.env GET /api/internal",
    "verify C --method GET --path /api/internal",
    "preflight C --gate start",
    "keys generate C browser-service",
    "keys list C",
    "keys export C --out exported npu-worker",
    "keys import C keys/ai-stack.env",
    "keys rotate C --due",
    "keys revoke C browser-service",
    "status C",
    "enforce C log",
    "rollback C --reason drill --dry-run",
    "override grant C --for 1m --path /api/npu --reason drill",
    "override list C",
    "override revoke C ffffffffffff",
    "ramp plan C",
    "ramp start C",
    "ramp status C",
    "ramp pause C",
    "ramp resume C",
    "ramp advance C --reason drill",
    "ramp abort C",
    "maintenance C 1m",
    "reload C",
    "report C",
    "learn C",
    "validate C U --safe-only",
    "completions bash",
    "man",
];

#[test]
fn every_verb_has_it_and_prints_it() {
    let mut verbs = Vec::new();
    leaves(&[], &mut verbs);
    assert!(verbs.len() > 25, "{verbs:?}");
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let called: BTreeSet<Vec<String>> = EACH
        .iter()
        .map(|line| {
            let mut command = countersign();
            command.current_dir(&sidecar.directory).arg("--json");
            for word in line.split(' ') {
                match word {
                    "C" => command.arg("--config").arg(sidecar.config_path()),
                    "U" => command.arg(format!("http://{}", sidecar.address)),
                    word => command.arg(word),
                };
            }
            let output = command.output().unwrap();
            let said: Result<Value, _> = serde_json::from_slice(&output.stdout);
            assert!(matches!(said, Ok(Value::Object(_) | Value::Array(_))), "{line}: {said:?}: {output:?}");
            let usage = said.unwrap()["error"]["kind"] == "usage";
            let expected = ["override revoke", "ramp"].iter().any(|verb| line.starts_with(verb));
            assert!(!usage || expected, "{line} is no way to call it: {output:?}");
            let words = line.split(' ').map(str::to_owned);
            let verb: Vec<String> = words.collect();
            verbs.iter().find(|known| verb.starts_with(known)).cloned().unwrap_or(verb)
        })
        .collect();
    let all: BTreeSet<Vec<String>> = verbs.into_iter().collect();
    assert_eq!(called, all, "a row for each verb");
}

#[test]
fn a_usage_error_is_an_object_too() {
    for arguments in [&["--json", "stauts"][..], &["enforce", "--json"], &["keys", "--json"], &["top", "--json"]] {
        let output = countersign().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        assert_eq!(
            (&said["error"]["kind"], &said["error"]["exit_code"]),
            (&"usage".into(), &2.into()),
            "{arguments:?}"
        );
        assert!(!output.stderr.is_empty(), "people are told as well");
    }
}
