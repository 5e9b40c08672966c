//! `validate`: it finds what is broken, names it, and leaves no trace where it asks.

use super::support::python::{Parser, Uvicorn};
use super::support::recorder::{Recorded, Recorder};
use super::support::sidecar::{Builder, RULES, Sidecar, countersign, write_private};
use super::support::{KEY_A, KEY_B, free_address};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

mod announced;
mod broken;
mod harmless;

/// What a run said.
struct Said {
    code: Option<i32>,
    json: Value,
    stderr: String,
}

impl Said {
    /// The rows of this check.
    fn of(&self, check: &str) -> Vec<&Value> {
        let rows =
            self.json["checks"].as_array().unwrap_or_else(|| panic!("no checks: {} {}", self.json, self.stderr));
        rows.iter().filter(|row| row["check"] == check).collect()
    }

    /// Check, what it is about and in words: of everything with this result.
    fn with(&self, result: &str) -> Vec<(String, String, String)> {
        let rows =
            self.json["checks"].as_array().unwrap_or_else(|| panic!("no checks: {} {}", self.json, self.stderr));
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = rows.iter().filter(|row| row["result"] == result);
        rows.map(|row| (text(row, "check"), text(row, "about"), text(row, "detail"))).collect()
    }

    #[track_caller]
    fn all_passed(&self) {
        let text = serde_json::to_string_pretty(&self.json).unwrap();
        assert_eq!(self.code, Some(0), "{text}\n{}", self.stderr);
        assert_eq!((self.with("failed"), &self.json["ok"]), (vec![], &Value::Bool(true)), "{text}");
    }

    /// This check failed, and no other kind did.
    #[track_caller]
    fn failed_alone(&self, checks: &[&str], words: &str) {
        let text = serde_json::to_string_pretty(&self.json).unwrap();
        assert_eq!(self.code, Some(1), "{text}\n{}", self.stderr);
        let failed = self.with("failed");
        for check in checks {
            assert!(failed.iter().any(|(name, ..)| name == check), "{check} did not fail: {text}");
        }
        assert!(failed.iter().all(|(name, ..)| checks.contains(&&**name)), "{failed:?}");
        assert!(failed.iter().any(|(.., detail)| detail.contains(words)), "no {words:?} in {failed:?}");
    }
}

fn validate(to: SocketAddr, config: &Path, arguments: &[&str]) -> Said {
    validate_url(&format!("http://{to}"), config, arguments)
}

fn validate_url(url: &str, config: &Path, arguments: &[&str]) -> Said {
    let mut command = countersign();
    command.args(["--json", "validate", url, "--config"]).arg(config).args(arguments);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Said { code: output.status.code(), json, stderr }
}

/// What a backend with side effects would have done something for.
#[track_caller]
fn assert_harmless(requests: &[Recorded]) {
    assert!(!requests.is_empty());
    for request in requests {
        assert!(["GET", "HEAD", "OPTIONS"].contains(&&*request.method), "{request:?}");
        let is_made_up = request.target.contains("countersign-validate-");
        assert!(is_made_up || ["/health", "/readyz"].contains(&&*request.target), "{request:?}");
        assert!(request.body.bytes.is_empty(), "{request:?}");
        for name in ["x-countersign-probe", "x-override-token"] {
            assert!(!request.fields.has(name), "{request:?}");
        }
    }
}

/// Refuses like an honest framework does, in its own words.
fn backend() -> Recorder {
    Recorder::with(|exchange| {
        let _ = exchange.body();
        match &*exchange.request.target {
            "/health" => exchange.reply(200, "{\"status\": \"healthy\"}"),
            _ => exchange.reply(404, "{\"detail\": \"Not Found\"}"),
        }
    })
}

fn guarding(backend: &Recorder) -> Builder {
    Builder::guarding(backend.address).set(
        "inbound",
        "health",
        "{ path = \"/health\", json = { status = \"healthy\" } }",
    )
}

#[test]
fn a_good_system_passes_and_nothing_was_done_to_its_backend() {
    let backend = backend();
    // RULES have four unsigned and three wrong ones of each of two rules: more than the usual limit leaves room for.
    let sidecar = guarding(&backend).unlimited().start();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off"]);
    said.all_passed();
    for (check, count) in [
        ("upstream health", 1),
        ("exempt path", 5),
        ("unsigned", 3),
        ("signed", 4),
        ("wrong signature", 2),
        ("old timestamp", 2),
        ("wrong caller", 1),
        ("wrong override", 1),
        ("malformed", 1),
        ("key", 2),
    ] {
        assert_eq!(said.of(check).len(), count, "{check}: {}", said.json);
        assert!(said.of(check).iter().all(|row| row["result"] == "passed"), "{check}: {}", said.json);
    }
    let refused = said.of("unsigned");
    assert!(refused.iter().all(|row| row["status"] == 401 && row["detail"] == "refused: missing_signature"));
    assert_eq!(
        (&said.of("wrong caller")[0]["status"], &said.of("malformed")[0]["status"]),
        (&403.into(), &400.into())
    );
    assert_harmless(&backend.requests());
    assert_eq!(said.json["announced"], false);
}

#[test]
fn in_log_mode_passing_is_no_failure_unless_enforcement_is_expected() {
    let backend = backend();
    let sidecar = guarding(&backend).log_mode().start();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off"]);
    said.all_passed();
    let detail = said.of("unsigned")[0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("log mode: passes"), "{detail}");
    assert!(said.of("signed").iter().all(|row| row["result"] == "unknown"), "{}", said.json);
    assert_harmless(&backend.requests());
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off", "--expect-enforced"]);
    said.failed_alone(
        &["unsigned", "wrong signature", "old timestamp", "wrong caller", "wrong override"],
        "log mode: passes",
    );
    // What it is told counts, and not what is in the file.
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off", "--mode", "enforce"]);
    said.failed_alone(
        &["unsigned", "wrong signature", "old timestamp", "wrong caller", "wrong override"],
        "OPEN: reaches the upstream, although it is enforced",
    );
}

#[test]
fn unannounced_it_stays_under_the_failure_limit_and_says_what_it_did_not_send() {
    let backend = backend();
    let sidecar = guarding(&backend).start();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off"]);
    assert_eq!(said.code, Some(0), "{}", said.json);
    assert_eq!(sidecar.metric("countersign_refusals_total", &["rate_limited"]), 0.0);
    let not_sent = said.with("unknown");
    assert!(not_sent.iter().any(|(.., detail)| detail.contains("--spread")), "{not_sent:?}");
    // The first of each kind and rule went before.
    for check in ["unsigned", "wrong signature", "old timestamp", "wrong caller", "wrong override"] {
        assert_eq!(said.of(check)[0]["result"], "passed", "{check}: {}", said.json);
    }
    assert_eq!(sidecar.metric("service_auth_attempts_total", &["result=\"failed\""]), 8.0);
    assert_eq!(
        sidecar.metric("service_auth_attempts_total", &["result=\"failed\"", "npu-worker"]),
        0.0,
        "wrong ones are nobody's"
    );
}

#[test]
fn what_is_really_refused_counts_whatever_anybody_says_is_in_force() {
    let backend = backend();
    let sidecar = guarding(&backend).start();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off", "--mode", "log"]);
    assert_eq!(said.code, Some(0), "{}", said.json);
    assert_eq!(sidecar.metric("countersign_refusals_total", &["rate_limited"]), 0.0);
    assert_eq!(sidecar.metric("service_auth_attempts_total", &["result=\"failed\""]), 8.0);
    assert!(
        said.json["notes"].to_string().contains("refusals are carried out there, though --mode says"),
        "{}",
        said.json
    );
}

#[test]
fn an_upstream_that_hangs_is_not_waited_for_a_hundred_times() {
    let backend = Recorder::with(|exchange| exchange.hang());
    let sidecar = Builder::guarding(backend.address).unlimited().start();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off", "--timeout", "200ms"]);
    assert_eq!(said.code, Some(1), "{}", said.json);
    assert_eq!(said.with("failed").len(), 3, "{}", said.json);
    assert!(said.json["notes"].to_string().contains("no more were sent"), "{}", said.json);
}

#[test]
fn a_text_for_people_has_a_line_for_each_and_a_sum() {
    let backend = backend();
    let sidecar = guarding(&backend).unlimited().start();
    let url = format!("http://{}", sidecar.address);
    let output = countersign()
        .args(["validate", &url, "--socket", "off", "--config"])
        .arg(sidecar.config_path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "enforce at 100% (by the configuration); probes not announced",
        "CHECK",
        "ok  unsigned",
        "ok  signed",
        "/api/npu/results as npu-worker",
        "refused: caller_not_allowed",
        " checks: ",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains(KEY_A) && !text.contains(KEY_B));
}

#[test]
fn a_mistake_in_the_arguments_is_told_and_asks_nothing() {
    let backend = backend();
    let sidecar = guarding(&backend).start();
    let before = backend.requests().len();
    let config = sidecar.config_path();
    let run = |url: &str, arguments: &[&str]| validate_url(url, &config, arguments).code;
    let url = format!("http://{}", sidecar.address);
    for (url, arguments) in [
        ("ftp://127.0.0.1:1", &[][..]),
        ("127.0.0.1:8001/x", &[]),
        (&*format!("{url}/api"), &[]),
        (&*url, &["--mode", "perhaps"]),
        (&*url, &["--service", "browser-service"]),
        (&*url, &["--service", "no:id"]),
        (&*url, &["--key-file", "/nonexistent/key.env"]),
        (&*url, &["--ca", "/nonexistent/ca.pem"]),
        (&*url, &["--override-token-file", "/nonexistent/token"]),
    ] {
        assert_eq!(run(url, arguments), Some(2), "{url} {arguments:?}");
    }
    let missing = countersign().args(["validate", &url, "--config", "/nonexistent.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    let made_up = |request: &&Recorded| request.target.contains("countersign-validate");
    assert_eq!(backend.requests()[before..].iter().filter(made_up).count(), 0);
}

#[test]
fn the_right_override_token_is_tried_only_where_it_is_handed_over() {
    let backend = backend();
    let sidecar = guarding(&backend).unlimited().override_token("a-fake-override-token-for-tests").start();
    let token = sidecar.directory.join("override-token");
    let arguments = ["--socket", "off", "--override-token-file", token.to_str().unwrap()];
    let said = validate(sidecar.address, &sidecar.config_path(), &arguments);
    said.all_passed();
    assert_eq!(said.of("override")[0]["result"], "passed");
    let without = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off"]);
    assert_eq!(without.of("override"), Vec::<&Value>::new());
    assert_eq!(sidecar.metric("countersign_overrides_total", &[]), 1.0);
    assert_harmless(&backend.requests());
}

#[test]
fn a_real_fastapi_backend_behind_the_fleets_rules_passes_whole() {
    let Some(uvicorn) = Uvicorn::start(Parser::Httptools) else { return };
    let fleet = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/autobot.toml")).unwrap();
    let rules = &fleet[fleet.find("[[rule]]").unwrap()..];
    let sidecar = Builder::guarding(uvicorn.address).rules(rules).unlimited().start();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off"]);
    said.all_passed();
    assert!(said.of("exempt path").len() > 35 && said.of("unsigned").len() >= 17, "{}", said.json);
    let through = validate(uvicorn.address, &sidecar.config_path(), &["--socket", "off"]);
    assert_eq!(through.code, Some(1));
    assert!(through.of("unsigned").iter().all(|row| row["result"] == "failed"), "{}", through.json);
}
