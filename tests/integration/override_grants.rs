//! Override grants: what they open and what not, how often, across restarts and crashes, and that their tokens show nowhere.

use super::support::eventually;
use super::support::message::find;
use super::support::raw::{exchange, get_with};
use super::support::recorder::Recorder;
use super::support::refusal::assert_refused;
use super::support::sidecar::{Builder, Sidecar};
use countersign::policy::grants::{Grant, GrantId, GrantScope, GrantTable, GrantTerms, GrantToken};
use countersign::state::grants::{GRANTS_FILE, GrantFile, to_text};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const PATH: &str = "/api/internal/x";

/// A grant that was kept from before.
struct Kept {
    path: &'static str,
    method: Option<&'static str>,
    seconds: u64,
    uses: Option<u64>,
}

const KEPT: Kept = Kept { path: "/api/internal", method: None, seconds: 600, uses: None };

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn id(number: u8) -> String {
    GrantId::from_random([number; 6]).to_string()
}

fn line(number: u8) -> String {
    format!("X-Override-Token: {}\r\n", GrantToken::from_random(&[number; 32]).reveal())
}

/// Writes the grants of a state directory as a sidecar would have, numbered from 1.
fn keep(state: &Path, kept: &[Kept]) {
    let grants = (1..).zip(kept).map(|(number, kept): (u8, &Kept)| {
        let scope = GrantScope::new(kept.path, kept.method).unwrap();
        let lifetime = Duration::from_secs(kept.seconds);
        let terms = GrantTerms::new(scope, lifetime, kept.uses, "a test", "uid:0", now()).unwrap();
        let hash = GrantToken::from_random(&[number; 32]).hash();
        Arc::new(Grant::new(GrantId::from_random([number; 6]), hash, terms, 0, (now(), Instant::now())))
    });
    GrantFile::of(state).write(&to_text(&GrantTable::new(grants.collect()).unwrap())).unwrap();
}

/// A state directory of its own, which outlives a sidecar.
fn state() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("countersign-grants-").tempdir().unwrap()
}

fn guarding(upstream: &Recorder, state: &Path) -> Builder {
    Builder::guarding(upstream.address).set("", "state_dir", format!("{state:?}"))
}

fn status(sidecar: &Sidecar, target: &str, lines: &str) -> u16 {
    get_with(sidecar.address, target, lines).status
}

fn grant_events(sidecar: &Sidecar) -> Vec<serde_json::Value> {
    sidecar.audit().into_iter().filter(|record| record["event"] == "grant").collect()
}

#[test]
fn a_grant_opens_its_path_and_its_record_names_it() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[KEPT]);
    let sidecar = guarding(&upstream, state.path()).start();
    let answer = get_with(sidecar.address, PATH, &line(1));
    assert_eq!(answer.status, 200);
    let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
    assert_eq!((&record["outcome"], &record["grant"]), (&"override".into(), &id(1).into()), "{record}");
    assert!(record["service"].is_null());
    let sent = upstream.the(PATH);
    assert_eq!((sent.fields.one("x-authenticated-service"), sent.fields.one("x-override-token")), (None, None));
    assert_eq!(sidecar.metric("countersign_override_grants_open", &[]), 1.0);
    assert_eq!(sidecar.metric("countersign_override_grant_uses_total", &[]), 1.0);
    eventually("a warning", || sidecar.process.stderr.text().contains("grants from before").then_some(()));
}

#[test]
fn nothing_but_its_method_and_path_is_opened_however_the_path_is_spelt() {
    let (upstream, state) = (Recorder::plain(), state());
    let kept = Kept { path: "/api/npu", method: Some("GET"), ..KEPT };
    keep(state.path(), &[kept]);
    let sidecar = guarding(&upstream, state.path()).unlimited().start();
    assert_eq!(status(&sidecar, "/api/npu/results/7", &line(1)), 200);
    assert_eq!(status(&sidecar, "/api/npu/results/a%2Fb", &line(1)), 200);
    for trick in [
        "/api/internal/x",
        "/api/npu/../internal/x",
        "/api/npu/..%2finternal/x",
        "/api/npu/%2e%2e/internal/x",
        "/api/npu/..%252finternal/x",
        "/api/npu/..;/internal/x",
        "/api/npu/..%5cinternal/x",
        "/api/npu/results/..%2f..%2finternal",
        "/api/%69nternal",
        "/api/internal/../npu/results",
        "/api/internal/..%2fnpu/results",
        "//api/internal",
        "/api/npu/%0d../internal",
    ] {
        assert_refused(&get_with(sidecar.address, trick, &line(1)), 401, "missing_signature");
    }
    let post = format!(
        "POST /api/npu/results HTTP/1.1\r\nHost: b\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n",
        line(1)
    );
    assert_eq!(exchange(sidecar.address, post).status, 401);
    assert_eq!(status(&sidecar, "/api/npu/results", &format!("{}{}", line(1), line(1))), 401, "a doubled token");
    let upper = line(1).to_uppercase().replace("X-OVERRIDE-TOKEN", "X-Override-Token");
    assert_eq!(status(&sidecar, "/api/npu/results", &upper), 401);
}

#[test]
fn a_grant_ends_at_its_time_and_that_is_on_record() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[Kept { seconds: 4, ..KEPT }, KEPT]);
    let sidecar = guarding(&upstream, state.path()).unlimited().start();
    eventually("its end", || (status(&sidecar, PATH, &line(1)) == 401).then_some(()));
    assert_eq!(status(&sidecar, PATH, &line(2)), 200, "the other is open");
    assert_eq!(sidecar.metric("countersign_override_grants_open", &[]), 1.0);
    let event = eventually("a record", || grant_events(&sidecar).pop());
    assert_eq!((&event["change"], &event["grant_id"]), (&"expired".into(), &id(1).into()), "{event}");
    let file = state.path().join(GRANTS_FILE);
    eventually("the file", || (!std::fs::read_to_string(&file).unwrap().contains(&id(1))).then_some(()));
}

#[test]
fn of_n_uses_exactly_n_requests_pass_however_many_come_at_once() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[Kept { uses: Some(17), ..KEPT }]);
    let sidecar = guarding(&upstream, state.path()).set("", "workers", "4").unlimited().start();
    let passed: usize = std::thread::scope(|scope| {
        let ask = || (0..12).filter(|_| status(&sidecar, PATH, &line(1)) == 200).count();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((passed, upstream.requests().len()), (17, 17));
    let event = eventually("a record", || grant_events(&sidecar).pop());
    assert_eq!((&event["change"], &event["used"]), (&"used_up".into(), &17.into()), "{event}");
    eventually("none open", || (sidecar.metric("countersign_override_grants_open", &[]) == 0.0).then_some(()));
}

#[test]
fn what_needs_no_override_takes_no_use() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[Kept { uses: Some(1), ..KEPT }]);
    let sidecar = guarding(&upstream, state.path()).start();
    let signed = super::support::sign::headers(super::support::KEY_A, "npu-worker", "GET", PATH);
    for (target, lines) in [(PATH, signed + &line(1)), ("/open", line(1)), ("/api/chat/x", line(1))] {
        assert_eq!(status(&sidecar, target, &lines), 200);
    }
    assert_eq!((status(&sidecar, PATH, &line(1)), status(&sidecar, PATH, &line(1))), (200, 401));
}

#[test]
fn a_crash_gives_back_no_use_that_let_a_request_pass() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[Kept { uses: Some(5), ..KEPT }, KEPT]);
    let mut passed = 0;
    for used in [2, 2, 9] {
        // Dropped, it is killed by SIGKILL.
        let sidecar = guarding(&upstream, state.path()).unlimited().start();
        passed += (0..used).filter(|_| status(&sidecar, PATH, &line(1)) == 200).count();
        assert_eq!(status(&sidecar, PATH, &line(2)), 200, "a restart keeps the other");
    }
    assert_eq!(passed, 5);
}

#[test]
fn a_file_that_cannot_be_relied_on_grants_nothing_and_that_is_said_loudly() {
    let upstream = Recorder::plain();
    for spoil in [
        |text: String| text[..text.len() / 2].to_owned(),
        |text: String| text.replace("\"version\":1", "\"version\":2"),
        |text: String| text.replace("\"used\":0", "\"used\":0,\"unknown\":true"),
        |_| String::new(),
    ] {
        let state = state();
        keep(state.path(), &[KEPT]);
        let file = state.path().join(GRANTS_FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        GrantFile::of(state.path()).write(&spoil(text)).unwrap();
        let sidecar = guarding(&upstream, state.path()).start();
        assert_refused(&get_with(sidecar.address, PATH, &line(1)), 401, "missing_signature");
        eventually("an error", || sidecar.process.stderr.text().contains("NOT valid").then_some(()));
        let event = eventually("a record", || grant_events(&sidecar).pop());
        assert_eq!(event["change"], "lost", "{event}");
        assert_eq!(sidecar.metric("countersign_override_grants_open", &[]), 0.0);
    }
}

#[test]
fn a_state_directory_that_takes_nothing_lets_granted_requests_pass_and_counts_them() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[Kept { uses: Some(2), ..KEPT }]);
    // What is written beside its place finds the place taken by a directory.
    std::fs::create_dir(state.path().join(format!("{GRANTS_FILE}.new"))).unwrap();
    let sidecar = guarding(&upstream, state.path()).start();
    let statuses: Vec<u16> = (0..3).map(|_| status(&sidecar, PATH, &line(1))).collect();
    assert_eq!(statuses, [200, 200, 401]);
    eventually("an error", || sidecar.process.stderr.text().contains("grants cannot be written").then_some(()));
}

#[test]
fn guessing_is_limited_and_the_granted_token_still_opens() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[KEPT]);
    let sidecar = guarding(&upstream, state.path()).start();
    for guess in 0..10 {
        let lines = format!("X-Override-Token: cso_{guess:064x}\r\n");
        assert_refused(&get_with(sidecar.address, PATH, &lines), 401, "missing_signature");
    }
    assert_refused(&get_with(sidecar.address, PATH, "X-Override-Token: cso_\r\n"), 429, "rate_limited");
    assert_eq!(status(&sidecar, PATH, &line(1)), 200);
}

#[test]
fn a_reload_keeps_the_grants_and_their_counts() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[Kept { uses: Some(2), ..KEPT }]);
    let sidecar = guarding(&upstream, state.path()).start();
    assert_eq!(status(&sidecar, PATH, &line(1)), 200);
    let more = "[[rule]]\nname = \"more\"\npaths = [\"/api/more\"]\naccess = \"service\"\n";
    std::fs::write(sidecar.config_path(), sidecar.config() + more).unwrap();
    eventually("the new rule", || (status(&sidecar, "/api/more", "") != 200).then_some(()));
    assert_eq!((status(&sidecar, PATH, &line(1)), status(&sidecar, PATH, &line(1))), (200, 401));
}

#[test]
fn a_granted_token_and_its_hash_are_in_no_log_record_metric_or_answer() {
    let (upstream, state) = (Recorder::plain(), state());
    keep(state.path(), &[Kept { uses: Some(3), ..KEPT }]);
    let sidecar = guarding(&upstream, state.path()).set("log", "level", "\"trace\"").unlimited().start();
    let mut seen = Vec::new();
    for target in [PATH, "/open", "/api/npu/results", PATH, PATH, PATH] {
        let answer = get_with(sidecar.address, target, &line(1));
        seen.extend([answer.head.clone(), answer.body.bytes.clone()].concat());
    }
    eventually("the end of it", || grant_events(&sidecar).pop());
    seen.extend(sidecar.process.stderr.text().into_bytes());
    seen.extend(sidecar.process.stdout.text().into_bytes());
    seen.extend(std::fs::read(sidecar.directory.join("audit.jsonl")).unwrap());
    seen.extend(sidecar.metrics().into_bytes());
    for request in upstream.requests() {
        seen.extend(request.head);
    }
    let token = GrantToken::from_random(&[1; 32]);
    for secret in [token.reveal(), &token.reveal()[4..], &token.hash().to_hex()] {
        assert!(find(&seen, secret.as_bytes()).is_none());
    }
    assert!(find(&std::fs::read(state.path().join(GRANTS_FILE)).unwrap(), &token.reveal().as_bytes()[4..]).is_none());
}
