//! Enforcement that a fleet shares: real sidecars, a real Redis, and what may go wrong between them.

use super::support::eventually;
use super::support::raw;
use super::support::recorder::Recorder;
use super::support::redis::{Redis, within};
use super::support::relay::Relay;
use super::support::sidecar::{Builder, Sidecar, countersign, write_private};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

mod driven;
mod forged;
mod kept;
mod parted;

/// What is promised of every move.
const FOLLOWED: Duration = Duration::from_secs(1);

const RECORD: &str = "countersign:{enforcement}";
const SIDECARS: &str = "countersign:{enforcement}:sidecars";

/// What the sidecars of one fleet have in common.
struct Fleet {
    upstream: Recorder,
    key: PathBuf,
    directory: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Fleet {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("fleet-key");
        write_private(&key, &format!("{}\n", "5".repeat(64)));
        Fleet { upstream: Recorder::plain(), key, directory }
    }

    /// A sidecar of this fleet, which reaches Redis here.
    fn sidecar(&self, redis: &str) -> Builder {
        Builder::guarding(self.upstream.address)
            .log_mode()
            .unlimited()
            .set("keys", "redis", format!("\"redis://{redis}/0\""))
            .set("keys", "sources", "[\"files\"]")
            .set("enforcement", "shared", "true")
            .set("enforcement", "shared_key_file", format!("{:?}", self.key))
    }

    /// So many, known to each other.
    #[track_caller]
    fn start<const N: usize>(&self, redis: &Redis) -> [Sidecar; N] {
        let sidecars = std::array::from_fn(|_| self.sidecar(&redis.address.to_string()).start());
        for sidecar in &sidecars {
            known(sidecar, N - 1);
        }
        sidecars
    }
}

/// Waits until this one has heard of so many others.
#[track_caller]
fn known(sidecar: &Sidecar, others: usize) {
    eventually(&format!("{others} others to be known"), || {
        let fleet = status(sidecar)["fleet"].clone();
        (fleet["sidecars"].as_array()?.len() == others && fleet["published"] == true).then_some(())
    });
}

fn command(sidecar: &Sidecar, arguments: &[&str]) -> Output {
    countersign().args(arguments).arg("--config").arg(sidecar.config_path()).output().unwrap()
}

/// Runs it, wants this exit code, and gives what `--json` printed.
#[track_caller]
fn told(sidecar: &Sidecar, arguments: &[&str], code: i32) -> Value {
    let output = command(sidecar, &[arguments, &["--json"]].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}\n{}", log(sidecar));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}\n{err}"))
}

#[track_caller]
fn status(sidecar: &Sidecar) -> Value {
    told(sidecar, &["status"], 0)
}

fn log(sidecar: &Sidecar) -> String {
    sidecar.process.stderr.text() + &sidecar.process.stdout.text()
}

/// What an unsigned call of a guarded path gets: 401 where it is enforced.
fn unsigned(sidecar: &Sidecar) -> u16 {
    raw::get(sidecar.address, "/api/internal").status
}

#[track_caller]
fn all_come_to<'s>(sidecars: impl IntoIterator<Item = &'s Sidecar>, status: u16) {
    for sidecar in sidecars {
        within(FOLLOWED, &format!("every sidecar to answer {status}"), || unsigned(sidecar) == status);
    }
}

#[test]
fn every_sidecar_follows_what_an_operator_says_at_any_of_them() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two, three] = fleet.start(&redis);
    told(&two, &["enforce", "100%", "--reason", "now"], 0);
    all_come_to([&one, &two, &three], 401);
    let shown = &status(&three)["enforcement"];
    assert_eq!((&shown["percentage"], &shown["reason"]), (&100.into(), &"now".into()));
    assert!(shown["by"].as_str().unwrap().starts_with("uid:"), "{shown}");
    let rolled_back = told(&three, &["rollback", "--fleet", "--reason", "it is refused"], 0);
    assert_eq!(rolled_back["fleet"]["not_reached"], serde_json::json!([]));
    assert_eq!([&one, &two, &three].map(unsigned), [200; 3], "it waited for all");
    let refused = command(&one, &["enforce", "10%"]);
    assert_eq!(refused.status.code(), Some(1), "it holds there too");
    let records = eventually("a rollback on record everywhere", || {
        let of = |sidecar: &Sidecar| sidecar.audit().into_iter().find(|record| record["event"] == "rollback");
        Some([of(&one)?, of(&two)?, of(&three)?])
    });
    assert!(records.iter().all(|record| record["why"] == "it is refused"), "{records:?}");
    told(&one, &["enforce", "100%", "--lift", "--reason", "mended"], 0);
    all_come_to([&one, &two, &three], 401);
    let whole = told(&two, &["status", "--fleet"], 0);
    assert_eq!(whole["fleet"]["sidecars"].as_array().unwrap().len(), 2, "{whole}");
}

#[test]
fn a_rule_that_is_rolled_back_is_so_everywhere() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two] = fleet.start(&redis);
    told(&one, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    told(&one, &["rollback", "--rule", "internals", "--fleet", "--reason", "its key"], 0);
    assert_eq!((unsigned(&one), unsigned(&two)), (200, 200));
    assert_eq!(raw::get(two.address, "/api/npu/results").status, 401, "the rest goes on");
    told(&two, &["rollback", "--lift", "--reason", "mended"], 0);
    told(&two, &["enforce", "--rule", "internals", "100%"], 0);
    all_come_to([&one, &two], 401);
}

#[test]
fn two_operators_at_once_never_lose_a_rollback() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let sidecars: [Sidecar; 3] = fleet.start(&redis);
    for round in 0..5 {
        told(&sidecars[0], &["enforce", "100%", "--lift", "--reason", "again"], 0);
        all_come_to(&sidecars, 401);
        std::thread::scope(|scope| {
            let switch = scope.spawn(|| command(&sidecars[round % 3], &["enforce", "50%"]));
            let back = scope.spawn(|| command(&sidecars[(round + 1) % 3], &["rollback", "--reason", "stop"]));
            assert_eq!(back.join().unwrap().status.code(), Some(0));
            // Before or after it; refused where the rollback was known.
            assert!(matches!(switch.join().unwrap().status.code(), Some(0 | 1)));
        });
        all_come_to(&sidecars, 200);
        for sidecar in &sidecars {
            within(FOLLOWED, "the hold to be everywhere", || status(sidecar)["enforcement"]["held"] == true);
        }
    }
}

#[test]
fn one_that_starts_later_takes_up_what_the_fleet_says_and_a_restart_keeps_it() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one] = fleet.start(&redis);
    told(&one, &["enforce", "100%"], 0);
    let late = fleet.sidecar(&redis.address.to_string()).start();
    all_come_to([&late], 401);
    told(&late, &["rollback", "--fleet", "--reason", "stop"], 0);
    let state = one.directory.join("state/fleet");
    let kept = std::fs::read_to_string(&state).unwrap();
    assert!(kept.contains("stop") && !kept.contains(&"5".repeat(64)));
}

#[test]
fn without_sharing_a_rollback_says_whom_it_did_not_reach() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let start = || {
        let builder = fleet.sidecar(&redis.address.to_string()).set("keys", "sources", "[\"redis\", \"files\"]");
        builder.set("enforcement", "shared", "false").start()
    };
    let (one, two) = (start(), start());
    redis.put("npu-worker", super::support::KEY_A);
    eventually("both to be known in redis", || {
        (redis.cli(&["KEYS", "countersign:verifier:*"]).lines().count() == 2).then_some(())
    });
    let answer = told(&one, &["rollback", "--reason", "stop"], 0);
    assert_eq!(answer["fleet"]["shared"], false);
    assert_eq!(answer["fleet"]["not_reached"].as_array().unwrap().len(), 1, "{answer}");
    let loud = command(&one, &["rollback", "--reason", "again"]);
    let text = String::from_utf8_lossy(&loud.stdout).into_owned();
    assert!(text.contains("NOT REACHED") && text.contains("not shared"), "{text}");
    assert_eq!(command(&two, &["status", "--fleet"]).status.code(), Some(1));
    assert_eq!(command(&two, &["rollback", "--fleet", "--reason", "all"]).status.code(), Some(1), "it reached one");
}

/// Replaces a fleet key before a start.
fn other_key(directory: &Path) -> String {
    let path = directory.join("other-key");
    write_private(&path, &"6".repeat(64));
    format!("{path:?}")
}

#[test]
fn a_rollback_is_told_by_the_sidecar_it_was_made_at_and_by_no_other() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let files = ["one", "two"].map(|name| fleet.directory.path().join(name));
    let sidecars = [0, 1].map(|n: usize| {
        let notify = format!("{{ command = [\"tee\", \"-a\", {:?}] }}", files[n]);
        fleet.sidecar(&redis.address.to_string()).set("ramp", "notify", notify).start()
    });
    sidecars.iter().for_each(|sidecar| known(sidecar, 1));
    let lines = |n: usize| {
        let text = std::fs::read_to_string(&files[n]).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].clone()).collect::<Vec<_>>()
    };
    let held = |n: usize, is_held: bool| {
        eventually("the word of the other", || {
            (status(&sidecars[n])["enforcement"]["hold"].is_object() == is_held).then_some(())
        });
    };
    told(&sidecars[0], &["enforce", "100%"], 0);
    told(&sidecars[0], &["rollback", "--reason", "made at the first"], 0);
    held(1, true);
    eventually("the first one's announcement", || (lines(0).len() == 1).then_some(()));
    told(&sidecars[1], &["rollback", "--lift", "--reason", "x"], 0);
    held(0, false);
    told(&sidecars[1], &["rollback", "--reason", "made at the second"], 0);
    held(0, true);
    eventually("the second one's announcement", || (!lines(1).is_empty()).then_some(()));
    assert_eq!((lines(0), lines(1)), (vec!["made at the first".into()], vec![Value::from("made at the second")]));
}
