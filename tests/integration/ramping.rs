//! A ramp with real traffic and second-long stages: it goes up while all is well, and comes back by itself when a known service breaks, and
//! for nobody else.

use crate::support::process::Process;
use crate::support::recorder::{Recorder, Then};
use crate::support::sidecar::{Builder, Sidecar, countersign};
use crate::support::{KEY_A, KEY_B, eventually, raw, sign};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

mod orders;
mod rollback;

const NPU: &str = "10.9.0.22";
const AI: &str = "10.9.0.24";
const STRANGER: &str = "10.66.6.6";

/// A sidecar in log mode that believes the test about where requests come from, and knows where services call from.
fn in_log(upstream: &Recorder, stages: &str) -> Builder {
    Builder::guarding(upstream.address)
        .log_mode()
        .unlimited()
        .set("inbound", "trusted_proxies", "[\"127.0.0.1\"]")
        .set("inbound", "health", "{ path = \"/health\", interval = \"1s\" }")
        .set("services.npu-worker", "addresses", format!("[\"{NPU}\"]"))
        .set("services.ai-stack", "addresses", format!("[\"{AI}\"]"))
        .set("ramp", "stages", stages)
        .set("ramp", "rollback_when", "{ min_requests = 5, upstream_down = \"2s\" }")
}

/// A request from an address, with these header lines besides.
fn from(sidecar: &Sidecar, client: &str, path: &str, headers: &str) -> u16 {
    raw::exchange(
        sidecar.address,
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n{headers}\r\n"),
    )
    .status
}

/// Paths that differ, so that no signature is one seen before.
fn path() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("/api/internal/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn signed(sidecar: &Sidecar, id: &str, key: &str, client: &str) -> u16 {
    let path = path();
    from(sidecar, client, &path, &sign::headers(key, id, "GET", &path))
}

/// A good call of each service.
#[track_caller]
fn honest(sidecar: &Sidecar) {
    assert_eq!(signed(sidecar, "npu-worker", KEY_A, NPU), 200, "an honest call was refused");
    assert_eq!(signed(sidecar, "ai-stack", KEY_B, AI), 200, "an honest call was refused");
}

/// Runs a command of this sidecar.
#[track_caller]
fn told(sidecar: &Sidecar, arguments: &[&str], code: i32) -> Value {
    let mut command = countersign();
    let output = command.args(arguments).args(["--json", "--config"]).arg(sidecar.config_path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}\n{err}"))
}

/// How the ramp stands, over the admin socket.
fn ramp(sidecar: &Sidecar) -> Value {
    let mut command = countersign();
    let output = command.args(["ramp", "status", "--json", "--config"]).arg(sidecar.config_path()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Calls in log mode until there is a baseline, and every one of them is in it: none counts for what comes next.
#[track_caller]
fn measure(sidecar: &Sidecar) {
    let baseline = || ramp(sidecar)["baseline"].clone();
    // What was called before the first sample would only be what the others are compared with.
    let before = eventually("the first sample", || {
        let baseline = baseline();
        (baseline["measured_seconds"] != 0).then(|| baseline["calls"].as_u64().unwrap())
    });
    (0..5).for_each(|_| honest(sidecar));
    eventually("a baseline of both services", || {
        let baseline = baseline();
        let expected = baseline["expected"].as_array().unwrap().len();
        let all = baseline["calls"].as_u64().unwrap() >= before + 10;
        (all && baseline["is_enough"] == true && expected == 2).then_some(())
    });
}

/// Honest traffic until the ramp has ended; how.
#[track_caller]
fn until_ended(sidecar: &Sidecar) -> Value {
    eventually("the end of the ramp", || {
        honest(sidecar);
        let told = ramp(sidecar);
        told["ramp"].is_null().then(|| told["ended"].clone())
    })
}

fn events(sidecar: &Sidecar, event: &str) -> Vec<Value> {
    sidecar.audit().into_iter().filter(|record| record["event"] == event).collect()
}

#[test]
fn a_ramp_of_short_stages_runs_to_the_end_under_traffic_with_no_honest_request_refused() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1s\", \"50% 1s\", \"100%\"]").start();
    measure(&sidecar);
    assert_eq!(from(&sidecar, STRANGER, "/api/internal", ""), 200);
    let begun = told(&sidecar, &["ramp", "start", "--reason", "change 4711"], 0);
    assert_eq!((&begun["state"], &begun["ramp"]["stage"]), (&"running".into(), &1.into()), "{begun}");
    assert_eq!((&begun["enforcement"]["mode"], &begun["enforcement"]["percentage"]), (&"enforce".into(), &10.into()));
    let ended = until_ended(&sidecar);
    assert_eq!(ended["how"], "finished", "{ended}");
    assert_eq!(from(&sidecar, STRANGER, "/api/internal", ""), 401);
    assert_eq!(told(&sidecar, &["status"], 0)["enforcement"]["percentage"], 100);
    let percentages = eventually("records", || {
        let events = events(&sidecar, "ramp");
        (events.last()?["ramp"] == "finished")
            .then(|| events.iter().filter_map(|event| event["in_force_percentage"].as_u64()).collect::<Vec<_>>())
    });
    assert_eq!(percentages, [10, 50, 100]);
    let refused = told(&sidecar, &["ramp", "start"], 1);
    assert!(refused["error"]["message"].as_str().unwrap().contains("no stage is above"), "{refused}");
}

#[test]
fn a_stage_without_enough_evidence_holds_and_says_whose_calls_are_missing() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1s\", \"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    let held = eventually("the time of the stage", || {
        assert_eq!(signed(&sidecar, "ai-stack", KEY_B, AI), 200);
        let told = ramp(&sidecar);
        let missing = told["ramp"]["missing"].as_array()?.clone();
        let only_calls = !missing.is_empty() && missing.iter().all(|missing| missing["what"] == "calls");
        (only_calls && missing.len() == 1).then(|| missing[0]["text"].as_str().unwrap().to_owned())
    });
    assert_eq!(held, "calls of npu-worker: 0 of 5 seen in this stage");
    let advanced = told(&sidecar, &["ramp", "advance", "--reason", "it is a quiet one"], 0);
    assert_eq!(advanced["enforcement"]["percentage"], 100);
    assert_eq!(until_ended(&sidecar)["how"], "finished");
}

#[test]
fn a_ramp_without_a_baseline_is_refused_with_what_is_missing() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]").start();
    let refused = told(&sidecar, &["ramp", "start"], 1);
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("there is no baseline: 0 authenticated calls") && said.contains("5 are needed"), "{said}");
    assert_eq!(told(&sidecar, &["status"], 0)["enforcement"]["mode"], "log");
    let begun = told(&sidecar, &["ramp", "start", "--without-baseline"], 0);
    assert_eq!((&begun["ramp"]["without_baseline"], &begun["enforcement"]["percentage"]), (&true.into(), &10.into()));
}

#[test]
fn a_killed_sidecar_goes_on_in_the_middle_of_its_stage() {
    let upstream = Recorder::plain();
    let mut sidecar = in_log(&upstream, "[\"10% 1s\", \"40% 1h\", \"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    let in_second = |told: &Value| told["ramp"]["stage"] == 2;
    eventually("the second stage", || {
        honest(&sidecar);
        in_second(&ramp(&sidecar)).then_some(())
    });
    // What was served is written every few seconds.
    let served = eventually("time served on disk", || {
        honest(&sidecar);
        let kept = std::fs::read(sidecar.directory.join("state/ramp.json")).ok()?;
        let kept: Value = serde_json::from_slice(&kept).ok()?;
        kept["progress"]["served_ms"].as_u64().filter(|served| *served > 2_000)
    });
    sidecar.process.signal("KILL");
    sidecar.process.wait();
    start(&mut sidecar);
    let told = ramp(&sidecar);
    assert!(in_second(&told) && told["state"] == "running", "{told}");
    assert!(told["ramp"]["served_seconds"].as_u64().unwrap() >= served / 1_000, "{told}");
    assert!(told["ramp"]["started_by"].as_str().unwrap().starts_with("uid:"), "{told}");
    assert_eq!(told_percentage(&sidecar), 40);
}

fn told_percentage(sidecar: &Sidecar) -> u64 {
    told(sidecar, &["status"], 0)["enforcement"]["percentage"].as_u64().unwrap()
}

fn start(sidecar: &mut Sidecar) {
    let mut run = countersign();
    run.arg("run").arg("--config").arg(sidecar.config_path()).current_dir(&sidecar.directory);
    sidecar.process = Process::start(&run);
    eventually("the sidecar ready again", || {
        let mut client = raw::Client::try_connect(sidecar.admin)?;
        client.send(format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", sidecar.admin));
        (client.try_answer("GET").ok()?.status == 200).then_some(())
    });
}

/// An upstream whose status can be changed while it runs; `/health` is always well.
fn with_status() -> (Recorder, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    let upstream = Recorder::with(move |exchange| {
        if exchange.body().is_err() {
            return Then::Close;
        }
        let is_check = exchange.request.target == "/health";
        exchange.reply(if is_check { 200 } else { now.load(Ordering::Relaxed) }, "x")
    });
    (upstream, status)
}
