//! The command line as scripts and people meet it: exit codes, suggestions, help, JSON, pipes whose reader has left.

use super::support::sidecar::countersign;
use std::io::Read;
use std::process::{Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    countersign().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_mistyped_verb_or_flag_is_a_usage_error_with_a_suggestion() {
    for (arguments, suggestion) in [
        (&["chekc"][..], "'check'"),
        (&["demmo"], "'demo'"),
        (&["keys", "genrate"], "'generate'"),
        (&["run", "--upstraem", "http://127.0.0.1:1"], "'--upstream'"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(suggestion), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn a_verb_of_a_later_version_says_that_it_is_not_built_yet() {
    for arguments in [&["top"][..], &["audit", "query"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("not built yet in this version"), "{}", text(&output.stderr));
    }
    let help = text(&run(&["--help"]).stdout);
    for later in ["\n  top", "\n  audit"] {
        assert!(!help.contains(later), "{later} is listed:\n{help}");
    }
}

#[test]
fn help_and_version_are_answers_and_help_fits_a_screen() {
    for verb in [
        "run",
        "demo",
        "check",
        "explain",
        "sign",
        "verify",
        "keys",
        "report",
        "learn",
        "preflight",
        "completions",
        "man",
    ] {
        let output = run(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        let lines = text(&output.stdout).lines().count();
        assert!(lines <= 60, "{verb} --help has {lines} lines");
    }
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    for arguments in [&["completions", "bash"][..], &["man"], &["--help"]] {
        let mut child = countersign().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}: {said}");
        assert!(said.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn an_error_is_text_for_people_and_with_json_also_an_object() {
    let output = run(&["run", "--json", "--config", "/nonexistent/countersign.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nonexistent/countersign.toml"), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["exit_code"], 2, "{answer}");
    assert_eq!(answer["error"]["kind"], "configuration", "{answer}");
}

#[test]
fn the_configuration_file_can_be_named_by_the_environment() {
    let output = countersign().arg("run").env("COUNTERSIGN_CONFIG", "/nonexistent/other.toml").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nonexistent/other.toml"), "{}", text(&output.stderr));
}

#[test]
fn pages_are_written_one_per_verb_and_scripts_for_every_shell() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("man1");
    assert!(run(&["man", "--out", out.to_str().unwrap()]).status.success());
    for page in ["countersign.1", "countersign-run.1", "countersign-keys-import.1"] {
        assert!(out.join(page).is_file(), "{page}");
    }
    let refused = run(&["man", "--out", "/dev/null/man1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("/dev/null/man1"));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(script.status.success());
        assert!(text(&script.stdout).contains("explain"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}
