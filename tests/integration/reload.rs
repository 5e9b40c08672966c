//! Reload: all or nothing. A broken file changes nothing and is seen; a good one takes effect without a lost request.

use super::lifecycle::admin;
use super::support::raw::{Client, get};
use super::support::recorder::{Exchange, Recorder, Then};
use super::support::sidecar::{Builder, Sidecar};
use super::support::{count, eventually};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const PATH: &str = "/api/internal/x";

/// The text with the guarded path renamed: a change that shows at once.
fn renamed(text: &str) -> String {
    text.replace("\"/api/internal\"", "\"/api/renamed\"")
}

fn enforces_old_rules(sidecar: &Sidecar) -> bool {
    (get(sidecar.address, PATH).status, get(sidecar.address, "/api/renamed").status) == (401, 200)
}

fn enforces_new_rules(sidecar: &Sidecar) -> Option<()> {
    ((get(sidecar.address, PATH).status, get(sidecar.address, "/api/renamed").status) == (200, 401)).then_some(())
}

/// How often a reload failed, as the metric tells.
fn failures(sidecar: &Sidecar) -> f64 {
    sidecar.metric("countersign_config_reloads_total", &["result=\"failed\""])
}

/// Waits for the record of a change of state, and for this many of them.
#[track_caller]
fn recorded(sidecar: &Sidecar, event: &str, who: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} records of {event} by {who}"), || {
        let mut records = sidecar.audit();
        records.retain(|record| record["event"] == event && record["who"] == who);
        (records.len() >= count).then_some(records)
    })
}

fn start() -> (Recorder, Sidecar) {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    assert!(enforces_old_rules(&sidecar));
    (upstream, sidecar)
}

#[test]
fn a_changed_file_takes_effect_by_itself_and_by_signal() {
    let (_upstream, sidecar) = start();
    let text = sidecar.config();
    std::fs::write(sidecar.config_path(), renamed(&text)).unwrap();
    eventually("the file watch", || enforces_new_rules(&sidecar));
    let by_itself = recorded(&sidecar, "reload", "file", 1);
    assert!(sidecar.audit().iter().all(|record| record["who"] != "signal"), "there was no signal yet");
    std::fs::write(sidecar.config_path(), &text).unwrap();
    sidecar.process.signal("HUP");
    eventually("the old rules again", || enforces_old_rules(&sidecar).then_some(()));
    // The file watch may be the first to apply the edit; a signal is obeyed all the same, and says so.
    let by_signal = recorded(&sidecar, "reload", "signal", 1);
    assert!(by_signal[0]["generation"].as_u64() > by_itself[0]["generation"].as_u64(), "{by_signal:?}");
}

#[test]
fn a_broken_file_changes_nothing_and_is_logged_with_its_line_counted_and_recorded() {
    let (_upstream, mut sidecar) = start();
    let mut open = Client::connect(sidecar.address);
    let mut assert_open = || {
        open.send("GET /open HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(open.answer().status, 200, "open connections must live");
    };
    assert_open();
    let good = sidecar.config();
    let last = good.lines().count();
    let half = good[..good.len() / 2].to_owned() + "\n[[rule";
    let unknown = good.replace("[enforcement]", "[enforcement]\nmood = \"log\"");
    let mistyped = good.replace("mode = \"enforce\"", "mode = \"enfroce\"");
    let conflicting = good.clone() + "[[rule]]\npaths = [\"/api/internal\"]\naccess = \"exempt\"\n";
    let line_of = |text: &str, what: &str| 1 + text.lines().position(|line| line.contains(what)).unwrap();
    for (count, (name, broken, line)) in [
        ("half a file", half.as_str(), Some(half.lines().count())),
        ("an empty file", "", None),
        ("an unknown key", &unknown, Some(line_of(&unknown, "mood"))),
        ("a mistyped value", &mistyped, Some(line_of(&mistyped, "enfroce"))),
        ("a conflict", &conflicting, Some(last + 2)),
        ("no TOML", "\0\0\0", Some(1)),
    ]
    .into_iter()
    .enumerate()
    {
        let before = failures(&sidecar);
        std::fs::write(sidecar.config_path(), broken).unwrap();
        eventually(&format!("{name}: the failure to be counted"), || (failures(&sidecar) > before).then_some(()));
        assert_eq!(sidecar.metric("countersign_config_last_reload_ok", &[]), 0.0, "{name}");
        let place = line.map_or("countersign.toml".to_owned(), |line| format!("countersign.toml:{line}:"));
        eventually(&format!("{name}: {place} in the log"), || {
            let said = sidecar.process.stderr.text();
            said.lines().any(|line| line.contains("reload refused") && line.contains(&place)).then_some(())
        });
        recorded(&sidecar, "reload_failed", "file", count + 1);
        assert!(enforces_old_rules(&sidecar), "{name}");
        assert_open();
        assert_eq!(admin(sidecar.admin, "/readyz"), 200, "{name}: it serves, so it is ready");
        assert!(sidecar.process.ended().is_none());
    }
    std::fs::write(sidecar.config_path(), renamed(&good)).unwrap();
    eventually("the good file behind the broken ones", || enforces_new_rules(&sidecar));
    eventually("the metric to say so", || {
        (sidecar.metric("countersign_config_last_reload_ok", &[]) == 1.0).then_some(())
    });
}

#[test]
fn a_deleted_file_changes_nothing_until_there_is_a_new_one() {
    let (_upstream, sidecar) = start();
    let good = sidecar.config();
    let before = failures(&sidecar);
    std::fs::remove_file(sidecar.config_path()).unwrap();
    sidecar.process.signal("HUP");
    eventually("the failure to be counted", || (failures(&sidecar) > before).then_some(()));
    assert!(enforces_old_rules(&sidecar));
    std::fs::write(sidecar.config_path(), renamed(&good)).unwrap();
    eventually("the new file", || enforces_new_rules(&sidecar));
}

#[test]
fn a_file_renamed_over_the_old_one_is_seen_again_and_again() {
    let (_upstream, sidecar) = start();
    let good = sidecar.config();
    for round in 0..6 {
        let next = sidecar.directory.join("next.toml");
        std::fs::write(&next, if round % 2 == 0 { renamed(&good) } else { good.clone() }).unwrap();
        std::fs::rename(&next, sidecar.config_path()).unwrap();
        eventually("the renamed file", || {
            if round % 2 == 0 { enforces_new_rules(&sidecar) } else { enforces_old_rules(&sidecar).then_some(()) }
        });
    }
}

#[test]
fn a_directory_swapped_by_symlink_is_seen() {
    // As configuration management and Kubernetes do it: config/ is a link that is replaced.
    let upstream = Recorder::plain();
    let mut seed = Builder::guarding(upstream.address).unlimited().start();
    seed.process.signal("TERM");
    seed.process.wait();
    let directory = tempfile::tempdir().unwrap();
    for kept in ["state", "keys"] {
        std::fs::rename(seed.directory.join(kept), directory.path().join(kept)).unwrap();
    }
    let text = seed.config().replace(seed.directory.to_str().unwrap(), directory.path().to_str().unwrap());
    drop(seed);
    for (name, text) in [("one", text.clone()), ("two", renamed(&text))] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
        std::fs::write(directory.path().join(name).join("countersign.toml"), text).unwrap();
    }
    let link = directory.path().join("current");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let sidecar = Builder::guarding(upstream.address).launch_with(&link.join("countersign.toml"));
    eventually("it to listen", || Client::try_connect(sidecar.address));
    assert!(enforces_old_rules(&sidecar));
    let next = directory.path().join("next");
    std::os::unix::fs::symlink("two", &next).unwrap();
    std::fs::rename(&next, &link).unwrap();
    eventually("the swapped directory", || enforces_new_rules(&sidecar));
}

#[test]
fn open_connections_and_requests_in_flight_live_through_reloads() {
    let gate = std::sync::Arc::new(AtomicBool::new(false));
    let opened = gate.clone();
    let upstream = Recorder::with(move |exchange: &mut Exchange<'_>| -> Then {
        if exchange.request.target == "/slow" {
            eventually("the gate", || opened.load(Ordering::Relaxed).then_some(()));
        }
        exchange.reply(200, "ok")
    });
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let (mut idle, mut busy) = (Client::connect(sidecar.address), Client::connect(sidecar.address));
    idle.send("GET /open HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    busy.send("GET /slow HTTP/1.1\r\nHost: b\r\n\r\n");
    eventually("the request in flight", || (!upstream.marked("/slow").is_empty()).then_some(()));
    let text = sidecar.config();
    std::fs::write(sidecar.config_path(), renamed(&text)).unwrap();
    eventually("the reload", || enforces_new_rules(&sidecar));
    gate.store(true, Ordering::Relaxed);
    assert_eq!(busy.answer().status, 200);
    idle.send(format!("GET {PATH} HTTP/1.1\r\nHost: b\r\n\r\n"));
    assert_eq!(idle.answer().status, 200, "an old connection is judged by the new rules");
}

#[test]
fn reloads_under_load_fail_no_request_and_each_is_judged_by_one_generation() {
    let (_upstream, sidecar) = start();
    let (text, other) = (sidecar.config(), renamed(&sidecar.config()));
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = Client::connect(sidecar.address);
                while !stop.load(Ordering::Relaxed) {
                    client.send("GET /api/chat/x HTTP/1.1\r\nHost: b\r\n\r\n");
                    assert_eq!(client.answer().status, 200);
                    client.send(format!("GET {PATH} HTTP/1.1\r\nHost: b\r\n\r\n"));
                    assert!(matches!(client.answer().status, 200 | 401));
                    served.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        for round in 0..count(100, 10_000) {
            let before = served.load(Ordering::Relaxed);
            std::fs::write(sidecar.config_path(), if round % 2 == 0 { &other } else { &text }).unwrap();
            sidecar.process.signal("HUP");
            eventually("requests to go on", || (served.load(Ordering::Relaxed) > before + 6).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    eventually("the last file", || enforces_old_rules(&sidecar).then_some(()));
    for record in sidecar.audit().iter().filter(|record| record["path"] == PATH) {
        assert!(record["generation"].is_u64(), "{record}");
        let guarded = record["class"] == "service";
        assert_eq!(record["status"], if guarded { 401 } else { 200 }, "{record}");
    }
}

#[test]
fn an_edit_of_one_line_starts_and_stops_enforcing() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().log_mode().start();
    assert_eq!(get(sidecar.address, PATH).status, 200);
    let text = sidecar.config();
    std::fs::write(sidecar.config_path(), text.replace("mode = \"log\"", "mode = \"enforce\"")).unwrap();
    eventually("enforcing", || (get(sidecar.address, PATH).status == 401).then_some(()));
    std::fs::write(sidecar.config_path(), &text).unwrap();
    eventually("log mode", || (get(sidecar.address, PATH).status == 200).then_some(()));
    let modes: Vec<Value> =
        recorded(&sidecar, "mode", "file", 2).iter().map(|record| record["in_force_mode"].clone()).collect();
    assert_eq!(modes, ["enforce", "log"]);
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_goes_on() {
    let (_upstream, sidecar) = start();
    let elsewhere = super::support::free_address();
    let moved = sidecar.config().replace(&sidecar.address.to_string(), &elsewhere.to_string());
    std::fs::write(sidecar.config_path(), moved).unwrap();
    eventually("the log to say so", || sidecar.process.stderr.text().contains("restart").then_some(()));
    assert!(enforces_old_rules(&sidecar));
}
