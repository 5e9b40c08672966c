//! `preflight` says no-go for the right reasons, each by its name and with its figure and remedy, and go after they are mended.

use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, Sidecar, countersign, write_private};
use super::support::{KEY_A, KEY_B, eventually, raw, sign};
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

mod around;
mod offline;

/// A short phase, whose records are looked at from its beginning.
const SHORT: [&str; 4] = ["--elapsed", "1s", "--records", "1h"];

/// What was said.
struct Said {
    code: Option<i32>,
    json: Value,
    text: String,
}

impl Said {
    /// The line of this criterion.
    #[track_caller]
    fn of(&self, criterion: &str) -> &Value {
        let all = self.json["criteria"].as_array().unwrap_or_else(|| panic!("no criteria: {}", self.text));
        let found = all.iter().find(|line| line["criterion"] == criterion);
        found.unwrap_or_else(|| panic!("no {criterion}: {}", self.text))
    }

    /// The criteria that do not hold, with their verdicts.
    fn wrong(&self) -> Vec<(&str, &str)> {
        let all = self.json["criteria"].as_array().unwrap_or_else(|| panic!("no criteria: {}", self.text));
        let wrong = all.iter().filter(|line| line["verdict"] != "pass");
        wrong.map(|line| (line["criterion"].as_str().unwrap(), line["verdict"].as_str().unwrap())).collect()
    }

    /// No-go for these criteria alone, each with this in its figure, and something to do.
    #[track_caller]
    fn is_no_go_for(&self, expected: &[(&str, &str, &str)]) {
        let wrong: Vec<_> = expected.iter().map(|(criterion, verdict, _)| (*criterion, *verdict)).collect();
        assert_eq!(self.wrong(), wrong, "{}", self.text);
        assert_eq!((self.code, &self.json["go"]), (Some(1), &false.into()), "{}", self.text);
        for (criterion, _, figure) in expected {
            let line = self.of(criterion);
            let measured = line["measured"].as_str().unwrap();
            assert!(measured.contains(figure), "{criterion}: no {figure:?} in {measured:?}");
            assert!(!line["limit"].as_str().unwrap().is_empty() && !line["remedy"].as_str().unwrap().is_empty());
        }
    }

    #[track_caller]
    fn is_go(&self) {
        assert_eq!(self.wrong(), [], "{}", self.text);
        assert_eq!((self.code, &self.json["go"]), (Some(0), &true.into()), "{}", self.text);
    }
}

#[track_caller]
fn preflight(sidecar: &Sidecar, arguments: &[&str]) -> Said {
    let mut command = countersign();
    command.arg("preflight").args(arguments).arg("--config").arg(sidecar.config_path()).arg("--json");
    let output = command.output().unwrap();
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Said { code: output.status.code(), json, text }
}

/// Before soft enforcement, after a short phase.
#[track_caller]
fn soft(sidecar: &Sidecar) -> Said {
    preflight(sidecar, &[&["--gate", "soft"][..], &SHORT].concat())
}

fn status(sidecar: &Sidecar) -> Value {
    let output = countersign().args(["status", "--json", "--config"]).arg(sidecar.config_path()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// The phase has lasted, and every record of it is on disk.
fn settle(sidecar: &Sidecar) {
    eventually("a second of uptime, and no record in the queue", || {
        let status = status(sidecar);
        let is_old = status["uptime_seconds"].as_u64().is_some_and(|seconds| seconds >= 2);
        (is_old && status["audit"]["queued"] == 0).then_some(())
    });
}

fn guarding(upstream: SocketAddr) -> Builder {
    Builder::guarding(upstream).log_mode().unlimited().set("services.npu-worker", "addresses", "[\"127.0.0.1\"]").set(
        "services.ai-stack",
        "unused",
        "true",
    )
}

fn signed(sidecar: &Sidecar, key: &str, id: &str, path: &str) -> u16 {
    raw::get_with(sidecar.address, path, &sign::headers(key, id, "GET", path)).status
}

#[track_caller]
fn run(sidecar: &Sidecar, arguments: &[&str]) {
    let output = countersign().args(arguments).arg("--config").arg(sidecar.config_path()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Everything a go needs.
fn make_ready(sidecar: &Sidecar) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    eventually("a baseline, of what is called while it is watched", || {
        // Each on a path of its own: the same signature again within its second is a replay, which proves nothing.
        for _ in 0..5 {
            let path = format!("/api/internal/{}", COUNT.fetch_add(1, Ordering::Relaxed));
            assert_eq!(signed(sidecar, KEY_A, "npu-worker", &path), 200);
        }
        (status(sidecar)["ramp"]["baseline"]["is_enough"] == true).then_some(())
    });
    sidecar.metrics();
    run(sidecar, &["rollback", "--dry-run", "--reason", "a drill"]);
    settle(sidecar);
}

#[test]
fn what_was_never_seen_is_no_go_and_when_it_was_it_is_go() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address).start();
    settle(&sidecar);
    let said = soft(&sidecar);
    let unknown = said.wrong().into_iter().filter(|(_, verdict)| *verdict == "unknown").map(|(name, _)| name);
    assert_eq!(
        unknown.collect::<Vec<_>>(),
        ["signed", "caller_clocks", "success_rate", "availability", "upstream_errors", "overhead", "request_latency"],
        "{}",
        said.text
    );
    let failed = said.wrong().into_iter().filter(|(_, verdict)| *verdict == "fail").map(|(name, _)| name);
    assert_eq!(failed.collect::<Vec<_>>(), ["monitoring", "baseline", "drilled"], "{}", said.text);
    assert!(said.of("signed")["measured"].as_str().unwrap().contains("npu-worker never called"), "{}", said.text);
    assert!(said.of("drilled")["remedy"].as_str().unwrap().contains("rollback --dry-run"), "{}", said.text);

    make_ready(&sidecar);
    soft(&sidecar).is_go();
    // Asking leaves no trace that the next one would see.
    soft(&sidecar).is_go();
    let said = preflight(&sidecar, &["--gate", "soft", "--records", "1h"]);
    said.is_no_go_for(&[("elapsed", "fail", "for ")]);
    assert_eq!(said.of("elapsed")["limit"], "at least 24 h");
    let text = countersign().args(["preflight", "--config"]).arg(sidecar.config_path()).args(SHORT).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("gate soft") && text.contains("GO: 35 pass, 0 fail, 0 unknown"), "{text}");
}

#[test]
fn each_thing_that_a_known_service_does_wrong_is_named_with_its_figure() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address).start();
    make_ready(&sidecar);
    (0..1000).for_each(|_| assert_eq!(signed(&sidecar, KEY_A, "npu-worker", "/api/internal/x"), 200));
    assert_eq!(signed(&sidecar, KEY_B, "ai-stack", "/api/npu/results"), 200, "log mode lets it pass");
    settle(&sidecar);
    let one = |criterion, figure| [(criterion, "fail", figure)];
    let before = one("callers", "ai-stack: 1 call not allowed there");
    soft(&sidecar).is_no_go_for(&before);

    assert_eq!(raw::get(sidecar.address, "/api/internal/x").status, 200);
    settle(&sidecar);
    soft(&sidecar).is_no_go_for(&[("signed", "fail", "npu-worker: 1 call without a signature"), before[0]]);

    assert_eq!(signed(&sidecar, KEY_B, "npu-worker", "/api/internal/x"), 200);
    let late = sign::headers_at(KEY_A, "npu-worker", "GET", "/api/internal/x", sign::now() - 400);
    assert_eq!(raw::get_with(sidecar.address, "/api/internal/x", &late).status, 200);
    settle(&sidecar);
    soft(&sidecar).is_no_go_for(&[
        ("signed", "fail", "npu-worker"),
        ("signatures", "fail", "npu-worker: 1 call failed"),
        ("timestamps", "fail", "npu-worker: 1 call outside the window"),
        before[0],
        ("caller_clocks", "fail", "npu-worker is off by -40"),
    ]);

    // A new phase, in which nothing of this happened: enforcement, and back.
    run(&sidecar, &["enforce", "100%"]);
    run(&sidecar, &["enforce", "log"]);
    assert_eq!(signed(&sidecar, KEY_A, "npu-worker", "/api/internal/y"), 200);
    eventually("go", || {
        settle(&sidecar);
        (soft(&sidecar).code == Some(0)).then_some(())
    });
}

#[test]
fn what_stands_around_it_is_named_and_mended_without_a_restart() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address).start();
    make_ready(&sidecar);
    soft(&sidecar).is_go();

    let open = sidecar.directory.join("backend.env");
    write_private(&open, &format!("REDIS_PASSWORD={KEY_A}\n"));
    let mode = |mode| std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let said = soft(&sidecar);
    said.is_no_go_for(&[("env_files", "fail", "backend.env has mode 0644")]);
    assert!(!said.text.contains(KEY_A), "{}", said.text);
    mode(0o600);
    soft(&sidecar).is_go();

    let key = sidecar.directory.join("keys/npu-worker.env");
    let old = sign::now() - 70 * 86_400 - 3_600;
    let fresh = std::fs::read_to_string(&key).unwrap();
    write_private(&key, &format!("SERVICE_KEY={KEY_A}\nSERVICE_KEY_MADE={old}\n"));
    soft(&sidecar).is_no_go_for(&[("keys", "fail", "npu-worker: 19 d left")]);
    write_private(&key, &fresh);
    let service = sidecar.config();
    std::fs::write(sidecar.config_path(), format!("{service}\n[services.redis-stack]\n")).unwrap();
    run(&sidecar, &["reload"]);
    soft(&sidecar).is_no_go_for(&[
        ("keys", "fail", "redis-stack: it has no key"),
        ("signed", "unknown", "redis-stack never called"),
    ]);
    std::fs::write(sidecar.config_path(), format!("{service}\n[services.redis-stack]\nunused = true\n")).unwrap();
    run(&sidecar, &["reload"]);
    soft(&sidecar).is_go();

    run(&sidecar, &["rollback", "--reason", "the backend is slow"]);
    settle(&sidecar);
    soft(&sidecar)
        .is_no_go_for(&[("no_hold", "fail", "the backend is slow"), ("no_rollback", "fail", "the backend is slow")]);
    run(&sidecar, &["rollback", "--lift", "--reason", "it is not"]);
    settle(&sidecar);
    soft(&sidecar).is_no_go_for(&[("no_rollback", "fail", "the backend is slow")]);
    let waived = [&["--gate", "soft", "--waive", "no_rollback=known, see the runbook"][..], &SHORT].concat();
    let said = preflight(&sidecar, &waived);
    assert_eq!(
        (said.code, &said.json["go"], &said.json["waived"]),
        (Some(0), &true.into(), &1.into()),
        "{}",
        said.text
    );
    assert_eq!(said.of("no_rollback")["waived"], "known, see the runbook");
}

#[test]
fn how_far_off_a_callers_clock_is_is_a_figure_of_the_running_sidecar() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address).start();
    assert_eq!(status(&sidecar)["monitoring"]["scraped_seconds_ago"], Value::Null);
    for (key, off) in [(KEY_A, 100), (KEY_A, 100), (KEY_B, 250)] {
        let headers = sign::headers_at(key, "npu-worker", "GET", "/api/internal/x", sign::now() - off);
        assert_eq!(raw::get_with(sidecar.address, "/api/internal/x", &headers).status, 200);
    }
    let skew = sidecar.metric("countersign_caller_skew_seconds", &["service_id=\"npu-worker\""]);
    assert!((-102.0..=-100.0).contains(&skew), "{skew}: forged ones are none");
    assert!(!sidecar.metrics().contains("countersign_caller_skew_seconds{service_id=\"ai-stack\"}"));
    let status = status(&sidecar);
    assert!((-102..=-100).contains(&status["callers"]["npu-worker"]["skew_seconds"].as_i64().unwrap()), "{status}");
    assert!(status["monitoring"]["scraped_seconds_ago"].as_u64().is_some_and(|ago| ago < 20), "{status}");
}

#[test]
fn full_enforcement_wants_the_last_stage_in_force_and_every_group_with_it() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address).start();
    make_ready(&sidecar);
    run(&sidecar, &["enforce", "50%"]);
    make_ready(&sidecar);
    let full = || preflight(&sidecar, &[&["--gate", "full"][..], &SHORT].concat());
    eventually("a phase of enforcement that lasted", || (full().of("elapsed")["verdict"] == "pass").then_some(()));
    full().is_no_go_for(&[("in_force", "fail", "enforce at 50 %")]);
    run(&sidecar, &["enforce", "75%"]);
    run(&sidecar, &["enforce", "--rule", "npu", "10%"]);
    settle(&sidecar);
    full().is_no_go_for(&[("in_force", "fail", "the rule \"npu\" at 10 %")]);
    run(&sidecar, &["enforce", "--rule", "npu", "100%"]);
    settle(&sidecar);
    full().is_go();
    // Without a gate, it is the next one.
    assert_eq!(preflight(&sidecar, &SHORT).json["gate"], "full");
}
