//! `explain`: it tells what the sidecar does, for people and for programs, and changes nothing.

use super::support::raw::{get, get_with};
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, countersign};
use super::support::{KEY_A, KEY_B, sign};
use serde_json::Value;
use std::process::Output;

const FLEET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/autobot.toml");

fn explain(config: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = countersign();
    command.args(["explain", "--config", config]).args(arguments).envs(environment.iter().copied());
    command.output().unwrap()
}

fn text(config: &str, arguments: &[&str]) -> String {
    let output = explain(config, &[], arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(config: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Value {
    let output = explain(config, environment, &[&["--json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A configuration file with these rules, enforced at 50 %.
fn enforcing(rules: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("countersign.toml");
    let text = "[inbound]\nlisten = \"127.0.0.1:8001\"\nupstream = \"http://127.0.0.1:18001\"\n\
        [enforcement]\nmode = \"enforce\"\npercentage = 50\n[services.npu-worker]\n[services.ai-stack]\n";
    std::fs::write(&path, format!("{text}{rules}")).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn every_reading_is_told_with_how_it_is_made_and_what_it_falls_under() {
    let told = text(FLEET, &["GET", "/api/npu/../internal"]);
    for part in [
        "class      service, by rule \"internal\"",
        "3 readings",
        "service: rule \"internal\", /api/internal\n    /api/internal         dots resolved",
        "open: no rule\n    /api/npu/../internal  as it came",
        "log, 100%: nothing is refused",
        "unsigned   passes, recorded as would_refuse for missing_signature",
    ] {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }
    let told = text(FLEET, &["GET", "/api/internal.json"]);
    assert!(told.contains("begins with the text of /api/internal"), "{told}");
    let told = text(FLEET, &["GET", "/api/npu/workers"]);
    assert!(told.contains("exempt, by rule \"browsers\""), "{told}");
    assert!(!told.contains("signed by"), "{told}");
    let told = text(FLEET, &["GET", "/nothing/of/the/kind"]);
    assert!(told.contains("open, no rule covers it") && told.contains("unsigned   passes\n"), "{told}");
}

#[test]
fn the_query_is_told_not_to_count() {
    let told = text(FLEET, &["GET", "/api/chat?next=/api/internal"]);
    assert!(told.contains("?next=/api/internal does not count"), "{told}");
    assert!(told.contains("exempt"), "{told}");
    let answer = json(FLEET, &[], &["GET", "/api/chat?next=/api/internal"]);
    assert_eq!((&answer["path"], &answer["query"]), (&"/api/chat".into(), &"next=/api/internal".into()));
    assert_eq!(answer["readings"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_refused_unread_says_so() {
    for (method, target, fault) in [
        ("GET", "/api/chat#x", "target_byte"),
        ("GET", "/caf\u{e9}", "target_byte"),
        ("GET", "/a<b", "target_byte"),
        ("GET", "/a\tb", "target_byte"),
        ("GET", "http://backend/api", "target_form"),
        ("GET", "api/chat", "target_form"),
        ("CONNECT", "backend:443", "connect"),
        ("GET", "/a b", "request_line"),
        ("G\u{e9}T", "/a", "method"),
    ] {
        let answer = json(FLEET, &[], &[method, target]);
        assert_eq!(answer["malformed"]["fault"], fault, "{method} {target}: {answer}");
        assert_eq!(answer["malformed"]["status"], 400, "{method} {target}");
        assert_eq!(answer["class"], Value::Null);
        let told = text(FLEET, &[method, target]);
        assert!(told.contains("400 malformed_request") && told.contains("in both modes"), "{told}");
    }
    let long = format!("/{}", "a".repeat(20_000));
    assert_eq!(json(FLEET, &[], &["GET", &long])["malformed"]["status"], 414);
}

#[test]
fn hundreds_of_readings_are_grouped_for_people_and_whole_for_programs() {
    let path = "/api/chat/%252e%252e%252f..;x//A%5c%0a.%20/..%2finternal./";
    let answer = json(FLEET, &[], &["GET", path]);
    let readings = answer["readings"].as_array().unwrap();
    assert!(readings.len() > 100, "{}", readings.len());
    let told = text(FLEET, &["GET", path]);
    assert!(told.lines().count() < 80, "{}", told.lines().count());
    assert!(told.contains("more; --json has them all"), "{told}");
    assert!(told.starts_with(&format!("GET {path}\n")));
}

#[test]
fn a_path_cannot_write_to_the_terminal() {
    let told = text(FLEET, &["GET", "/api/chat/%1b%5b2J%0a%e2%80%ae"]);
    assert!(told.chars().all(|char| char == '\n' || !char.is_control()), "{told:?}");
    assert!(told.contains("\\u{1b}[2J\\n\\u{202e}"), "{told}");
}

#[test]
fn a_path_too_long_to_be_read_says_so() {
    let path = format!("/api/chat/{}", "%41".repeat(700));
    let answer = json(FLEET, &[], &["GET", &path]);
    assert_eq!((&answer["class"], &answer["overlong"]), (&"service".into(), &true.into()));
    assert_eq!(answer["rule"], Value::Null);
    assert!(text(FLEET, &["GET", &path]).contains("over 2048 bytes and not clean"));
}

#[test]
fn mode_and_percentages_say_what_happens_now() {
    let (_directory, config) = enforcing(
        "[[rule]]\nname = \"half\"\npaths = [\"/half\"]\naccess = \"service\"\ncallers = [\"npu-worker\"]\n\
         [[rule]]\nname = \"tenth\"\npaths = [\"/tenth\"]\naccess = \"service\"\nenforce = 10\n\
         [[rule]]\nname = \"waits\"\npaths = [\"/waits\"]\naccess = \"service\"\nenforce = 0\n",
    );
    let full = [("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE", "100")];
    for (environment, path, percentage, outcome, status) in [
        (&[][..], "/half", 50, "refuse_or_would_refuse", 401.into()),
        (&[], "/tenth", 10, "refuse_or_would_refuse", 401.into()),
        (&[], "/waits", 0, "would_refuse", Value::Null),
        (&[], "/half/..%2ftenth", 50, "refuse_or_would_refuse", 401.into()),
        (&full, "/half", 100, "refuse", 401.into()),
        (&full, "/tenth", 10, "refuse_or_would_refuse", 401.into()),
        (&full, "/free", 100, "allow", Value::Null),
    ] {
        let answer = json(&config, environment, &["GET", path]);
        assert_eq!(answer["mode"], "enforce");
        assert_eq!(answer["percentage"], percentage, "{path}");
        assert_eq!(answer["unsigned"]["outcome"], outcome, "{path}");
        assert_eq!(answer["unsigned"]["status"], status, "{path}");
    }
    let answer = json(&config, &[], &["GET", "/half"]);
    assert_eq!(answer["signed"]["npu-worker"]["outcome"], "authenticated");
    assert_eq!(answer["signed"]["ai-stack"]["reason"], "caller_not_allowed");
    assert_eq!(answer["signed"]["ai-stack"]["status"], 403);
    assert_eq!(answer["signed_by_others"]["reason"], "caller_not_allowed");
    let told = text(&config, &["GET", "/tenth"]);
    assert!(told.contains("signed by  ai-stack, npu-worker, any other service with a key: passes"), "{told}");
    assert!(told.contains("enforce, 50%, 10% here: 10% of what fails its checks is refused"), "{told}");
    assert!(told.contains("10% are answered 401 missing_signature"), "{told}");
}

#[test]
fn asked_for_one_service_the_exit_code_answers() {
    for (arguments, code) in [
        (&["--as", "npu-worker", "POST", "/api/npu/results/1"][..], 0),
        (&["--as", "ai-stack", "POST", "/api/npu/results/1"], 1),
        (&["--as", "ai-stack", "POST", "/api/chat"], 0),
        (&["--as", "nobody-knows-it", "POST", "/api/npu/results/1"], 1),
        // allowed by one of the rules that the readings fall under, not by the other
        (&["--as", "npu-worker", "POST", "/api/npu/results/..%2f..%2fbrowser/logs"], 1),
        (&["--as", "npu-worker", "POST", "/a#b"], 1),
        (&["--as", "no id", "POST", "/api/chat"], 2),
        (&["POST", "/api/npu/results/1"], 0),
        (&["POST"], 2),
    ] {
        let output = explain(FLEET, &[], arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn without_a_good_configuration_there_is_no_answer() {
    let output = explain("/nonexistent/countersign.toml", &[], &["GET", "/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/countersign.toml"));
    let (_directory, config) = enforcing("[[rule]]\npaths = [\"/a%20b\"]\naccess = \"service\"\n");
    let output = explain(&config, &[], &["GET", "/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write the path decoded"), "{output:?}");
}

#[test]
fn what_is_explained_is_what_the_sidecar_does() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let config = sidecar.config_path().to_str().unwrap().to_owned();
    for path in [
        "/health",
        "/open",
        "/api/internal",
        "/api/internal.json?x",
        "/api/chat/..%2finternal/x",
        "/api/chat/..%2ffiles",
        "/api/chat/..%2fopen",
        "/api/npu/results/1",
        "/api/npu/resultsx",
        "/api/npu/results/..%2f..%2finternal",
        "/api/chat/a%0ab",
        "/API/Internal",
        "/api/chat#x",
        "/api/chat<",
    ] {
        let told = json(&config, &[], &["GET", path]);
        let status = |fate: &Value| fate["status"].as_u64().unwrap_or(200);
        let is_malformed = told["malformed"].is_object();
        let unsigned = if is_malformed { status(&told["malformed"]) } else { status(&told["unsigned"]) };
        let answer = get(sidecar.address, path);
        assert_eq!(u64::from(answer.status), unsigned, "{path}: {told}");
        let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
        for fact in ["class", "rule"] {
            assert_eq!(record.get(fact).unwrap_or(&Value::Null), &told[fact], "{fact} of {path}");
        }
        for (id, key) in [("npu-worker", KEY_A), ("ai-stack", KEY_B)] {
            if told["class"] == "service" {
                let plain = path.split('?').next().unwrap().replace("%2f", "/");
                let answer = get_with(sidecar.address, path, &sign::headers(key, id, "GET", &plain));
                assert_eq!(
                    u64::from(answer.status),
                    status(told["signed"].get(id).unwrap_or(&told["signed_by_others"])),
                    "{path} by {id}: {told}"
                );
            }
        }
    }
}
