//! What takes a ramp back by itself, and what does not.

use super::{
    AI, NPU, STRANGER, events, eventually, from, honest, in_log, measure, path, ramp, signed, told, told_percentage,
    until_ended, with_status,
};
use crate::support::recorder::Recorder;
use crate::support::sidecar::Sidecar;
use crate::support::{KEY_A, KEY_B, count, sign};
use serde_json::Value;
use std::sync::atomic::Ordering;

/// Until the ramp has ended, with whatever is called meanwhile.
#[track_caller]
fn ended_while(sidecar: &Sidecar, mut call: impl FnMut()) -> Value {
    eventually("the end of the ramp", || {
        call();
        let told = ramp(sidecar);
        told["ramp"].is_null().then(|| told["ended"].clone())
    })
}

#[test]
fn a_broken_key_takes_it_back_names_the_service_and_tells_whom_it_should() {
    let upstream = Recorder::plain();
    let told_file = tempfile::NamedTempFile::new().unwrap();
    let receiver = Recorder::plain();
    let notify = format!(
        "{{ command = [\"tee\", \"-a\", {:?}], webhook = \"http://{}/hook\" }}",
        told_file.path(),
        receiver.address
    );
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]").set("ramp", "notify", notify).start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    honest(&sidecar);
    // npu-worker signs with another key from now on.
    let ended = ended_while(&sidecar, || {
        signed(&sidecar, "npu-worker", KEY_B, NPU);
        assert_eq!(signed(&sidecar, "ai-stack", KEY_B, AI), 200);
    });
    assert_eq!((&ended["how"], &ended["by"]), (&"rolled_back".into(), &"health".into()), "{ended}");
    let evidence = &ended["evidence"];
    assert_eq!(
        (&evidence["signal"], &evidence["services"]),
        (&"service_failing".into(), &serde_json::json!(["npu-worker"]))
    );
    assert_eq!(evidence["rules"], serde_json::json!(["internals"]));
    assert!(evidence["samples"].as_u64().unwrap() >= 5 && evidence["limit_basis_points"] == 500, "{evidence}");
    assert_eq!(signed(&sidecar, "npu-worker", KEY_B, NPU), 200, "nothing is refused any more");
    let status = told(&sidecar, &["status"], 0);
    assert_eq!(
        (&status["enforcement"]["mode"], &status["enforcement"]["hold"]["kind"]),
        (&"log".into(), &"automatic".into())
    );
    let record = eventually("the record", || events(&sidecar, "rollback").pop());
    assert_eq!((&record["who"], &record["kind"]), (&"health".into(), &"automatic".into()), "{record}");
    assert!(record["why"].as_str().unwrap().contains("calls of npu-worker failed their checks"), "{record}");
    assert!(sidecar.directory.join("state/rollback").exists());
    // It holds.
    let refused = told(&sidecar, &["ramp", "start"], 1);
    assert!(refused["error"]["message"].as_str().unwrap().contains("a rollback holds"), "{refused}");
    // It was announced, both ways, with the evidence.
    let message = eventually("the announcement", || {
        let text = std::fs::read_to_string(told_file.path()).unwrap();
        let line = text.lines().find(|line| line.contains("\"rollback\""))?;
        serde_json::from_str::<Value>(line).ok()
    });
    assert_eq!((&message["event"], &message["evidence"]["signal"]), (&"rollback".into(), &"service_failing".into()));
    assert_eq!((&message["before"]["percentage"], &message["after"]["mode"]), (&10.into(), &"log".into()));
    let posted = receiver.the("/hook");
    assert_eq!(serde_json::from_slice::<Value>(&posted.body.bytes).unwrap(), message);
    assert_eq!(sidecar.metric("countersign_rollbacks_total", &["automatic"]), 1.0);
    eventually("the count", || {
        (sidecar.metric("countersign_announcements_total", &["result=\"ok\""]) >= 2.0).then_some(())
    });
    let begun = told(&sidecar, &["ramp", "start", "--lift", "--reason", "the key was exported again"], 0);
    assert_eq!(begun["enforcement"]["percentage"], 10);
}

#[test]
fn forgeries_of_strangers_pages_and_replays_take_nothing_back() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1s\", \"50% 1s\", \"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    let replayed = path();
    let headers = sign::headers(KEY_A, "npu-worker", "GET", &replayed);
    assert_eq!(from(&sidecar, NPU, &replayed, &headers), 200);
    // Read off the network and sent again from elsewhere: it passes, and makes nobody a peer.
    assert_eq!(from(&sidecar, STRANGER, &replayed, &headers), 200);
    for n in 0..count(400, 10_000) {
        let path = path();
        from(&sidecar, STRANGER, &path, &sign::headers(KEY_B, "npu-worker", "GET", &path));
        if n % 4 == 0 {
            // A page that somebody looks at on the machine of the service.
            let origin =
                if n % 8 == 0 { "Origin: https://evil.example\r\n" } else { "Sec-Fetch-Site: cross-site\r\n" };
            from(&sidecar, NPU, &path, origin);
        }
        if n % 10 == 0 {
            honest(&sidecar);
        }
    }
    assert_eq!(until_ended(&sidecar)["how"], "finished");
    assert_eq!(told_percentage(&sidecar), 100);
    assert!(events(&sidecar, "rollback").is_empty());
}

#[test]
fn who_authenticated_from_an_address_is_known_there_without_configuration() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]").set("services.npu-worker", "addresses", "[]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    let ended = ended_while(&sidecar, || {
        from(&sidecar, NPU, &path(), "");
    });
    assert_eq!(ended["evidence"]["services"], serde_json::json!(["npu-worker"]), "{ended}");
}

#[test]
fn errors_of_authenticated_calls_take_it_back_and_those_of_others_do_not() {
    let (upstream, status) = with_status();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    status.store(500, Ordering::Relaxed);
    for _ in 0..60 {
        assert_eq!(from(&sidecar, STRANGER, "/api/chat/x", ""), 500);
    }
    for status_code in [401, 404] {
        status.store(status_code, Ordering::Relaxed);
        for _ in 0..30 {
            signed(&sidecar, "npu-worker", KEY_A, NPU);
        }
    }
    let looked = ramp(&sidecar)["services"]["npu-worker"]["authenticated"].as_u64().unwrap();
    eventually("another look", || {
        let calls = ramp(&sidecar)["services"]["npu-worker"]["authenticated"].as_u64().unwrap();
        (calls >= looked.max(60)).then_some(())
    });
    assert_eq!(ramp(&sidecar)["state"], "running", "an upstream's own 401 or 404 never counts");
    status.store(503, Ordering::Relaxed);
    let ended = ended_while(&sidecar, || {
        signed(&sidecar, "npu-worker", KEY_A, NPU);
    });
    assert_eq!(
        (&ended["how"], &ended["evidence"]["signal"]),
        (&"rolled_back".into(), &"error_rate".into()),
        "{ended}"
    );
}

#[test]
fn an_upstream_that_goes_down_takes_it_back_unless_maintenance_was_said() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    let shown = told(&sidecar, &["maintenance", "1h", "--reason", "deploy"], 0);
    assert!(shown["maintenance_seconds"].as_u64().unwrap() > 3_000 && shown["armed"] == false, "{shown}");
    drop(upstream);
    eventually("the outage to be known", || (sidecar.metric("countersign_upstream_up", &[]) == 0.0).then_some(()));
    let before = ramp(&sidecar)["maintenance_seconds"].as_u64().unwrap();
    let suspended = eventually("longer than it may be down", || {
        let told = ramp(&sidecar);
        (told["maintenance_seconds"].as_u64()? + 4 <= before).then_some(told)
    });
    assert_eq!(suspended["state"], "running");
    assert_eq!(suspended["ramp"]["missing"][0]["what"], "maintenance");
    told(&sidecar, &["maintenance", "off"], 0);
    let ended = ended_while(&sidecar, || {});
    assert_eq!(
        (&ended["how"], &ended["evidence"]["signal"]),
        (&"rolled_back".into(), &"upstream_down".into()),
        "{ended}"
    );
}

#[test]
fn with_scope_rule_only_the_rules_that_broke_are_taken_back() {
    let upstream = Recorder::plain();
    let when = "{ min_requests = 5, scope = \"rule\" }";
    let sidecar = in_log(&upstream, "[\"100% 1h\"]").set("ramp", "rollback_when", when).start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    let ended = ended_while(&sidecar, || {
        from(&sidecar, NPU, "/api/npu/results/1", "");
    });
    assert_eq!(ended["evidence"]["rules"], serde_json::json!(["npu"]), "{ended}");
    assert_eq!(from(&sidecar, NPU, "/api/npu/results/1", ""), 200);
    assert_eq!(from(&sidecar, STRANGER, "/api/internal", ""), 401, "the rest goes on");
    let record = eventually("the record", || events(&sidecar, "rollback").pop());
    assert_eq!((&record["who"], &record["kind"]), (&"health".into(), &"rule".into()), "{record}");
    assert_eq!(sidecar.metric("countersign_rollbacks_total", &["automatic"]), 1.0);
    let enforcement = told(&sidecar, &["status"], 0)["enforcement"].clone();
    assert_eq!((&enforcement["mode"], &enforcement["rules"]["npu"]["held"]), (&"enforce".into(), &true.into()));
}

#[test]
fn at_rest_the_same_only_alerts_unless_it_is_always_armed() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"100%\"]").start();
    measure(&sidecar);
    told(&sidecar, &["enforce", "100%"], 0);
    let alerts = eventually("an alert", || {
        from(&sidecar, NPU, &path(), "");
        let alerts = ramp(&sidecar)["alerts"].clone();
        (!alerts.as_array()?.is_empty()).then_some(alerts)
    });
    assert!(alerts[0].as_str().unwrap().contains("npu-worker"), "{alerts}");
    assert_eq!(told(&sidecar, &["status"], 0)["enforcement"]["mode"], "enforce");
    assert!(sidecar.metric("countersign_rollout_alerts", &[]) >= 1.0);
    let text = sidecar.config().replace("min_requests = 5", "min_requests = 5, always = true");
    std::fs::write(sidecar.config_path(), text).unwrap();
    told(&sidecar, &["reload"], 0);
    eventually("the rollback", || {
        from(&sidecar, NPU, &path(), "");
        (told(&sidecar, &["status"], 0)["enforcement"]["mode"] == "log").then_some(())
    });
}

#[test]
fn a_command_that_hangs_delays_neither_the_rollback_nor_the_end() {
    let upstream = Recorder::plain();
    let sidecar = in_log(&upstream, "[\"10% 1h\", \"100%\"]")
        .set("ramp", "notify", "{ command = [\"sleep\", \"3600\"] }")
        .start();
    measure(&sidecar);
    told(&sidecar, &["ramp", "start"], 0);
    told(&sidecar, &["rollback", "--reason", "by hand"], 0);
    assert_eq!(told(&sidecar, &["status"], 0)["enforcement"]["mode"], "log");
    assert_eq!(until_ended(&sidecar)["how"], "overtaken");
    eventually("the count of what did not arrive", || {
        (sidecar.metric("countersign_announcements_total", &["result=\"failed\""]) == 1.0).then_some(())
    });
}

#[test]
fn what_failed_in_log_mode_or_before_a_lift_takes_nothing_back_when_it_is_switched_on() {
    let upstream = Recorder::plain();
    let when = "{ min_requests = 5, upstream_down = \"2s\", always = true }";
    let sidecar = in_log(&upstream, "[\"100%\"]").set("ramp", "rollback_when", when).start();
    measure(&sidecar);
    // Several looks of the watch, with honest calls in each.
    let looks = |what: &str| {
        let mut seen = std::collections::BTreeSet::new();
        eventually(what, || {
            honest(&sidecar);
            seen.insert(ramp(&sidecar)["services"]["ai-stack"]["authenticated"].as_u64());
            assert_eq!(told(&sidecar, &["status"], 0)["enforcement"]["mode"], "enforce", "{what}");
            (seen.len() >= 4).then_some(())
        });
    };
    let failing = || {
        eventually("failures that are seen", || {
            from(&sidecar, NPU, &path(), "");
            (ramp(&sidecar)["services"]["npu-worker"]["failing"].as_u64()? >= 10).then_some(())
        });
    };
    failing();
    told(&sidecar, &["enforce", "100%"], 0);
    looks("what was measured in log mode judges nobody");
    eventually("the rollback by what fails now", || {
        from(&sidecar, NPU, &path(), "");
        (told(&sidecar, &["status"], 0)["enforcement"]["mode"] == "log").then_some(())
    });
    failing();
    told(&sidecar, &["rollback", "--lift", "--reason", "mended"], 0);
    told(&sidecar, &["enforce", "100%"], 0);
    looks("what was before the lift judges nobody");
}

#[test]
fn maintenance_survives_a_restart_and_a_rollback_of_a_rule_is_told() {
    let upstream = Recorder::plain();
    let told_file = tempfile::NamedTempFile::new().unwrap();
    let notify = format!("{{ command = [\"tee\", \"-a\", {:?}] }}", told_file.path());
    let mut sidecar = in_log(&upstream, "[\"100%\"]").set("ramp", "notify", notify).start();
    told(&sidecar, &["enforce", "100%"], 0);
    told(&sidecar, &["rollback", "--rule", "npu", "--reason", "by hand"], 0);
    let message = eventually("the announcement", || {
        let text = std::fs::read_to_string(told_file.path()).unwrap();
        serde_json::from_str::<Value>(text.lines().next()?).ok()
    });
    assert_eq!(
        (&message["event"], &message["scope"], &message["rules"], &message["reason"]),
        (&"rollback".into(), &"rule".into(), &serde_json::json!(["npu"]), &"by hand".into()),
        "{message}"
    );
    told(&sidecar, &["maintenance", "1h"], 0);
    sidecar.process.signal("KILL");
    sidecar.process.wait();
    super::start(&mut sidecar);
    let left = ramp(&sidecar)["maintenance_seconds"].as_u64();
    assert!(left.is_some_and(|left| (3_000..=3_600).contains(&left)), "{left:?}");
    told(&sidecar, &["maintenance", "off"], 0);
    sidecar.process.signal("KILL");
    sidecar.process.wait();
    super::start(&mut sidecar);
    assert_eq!(ramp(&sidecar)["maintenance_seconds"], Value::Null);
}
