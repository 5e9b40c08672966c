//! The life of keys while the fleet works: made, rotated, watched, taken away. The promise: no call of a program is refused for
//! it, whoever holds no valid key is, and `keys list` agrees at every step with what any other verifier reads in Redis.

use super::super::support::{eventually, sign};
use super::cast::{Fleet, Program, SERVICES, VMS, at, request};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// 90 days.
const TTL: i64 = 7_776_000;

/// What fingerprints are made of.
const FINGERPRINT_TEXT: &[u8] = b"\0countersign key fingerprint";

/// Every service's key, each from another VM, at the same time.
pub(super) fn of_every_service(fleet: &Fleet, programs: &mut [Program]) {
    keys_list_tells_the_truth(fleet);
    let old = VMS.each_ref().map(|vm| key(fleet, vm.id));
    let rotate = |id: &str, from| fleet.host(from).start(&fleet.countersign(&["--json", "keys", "rotate", id]));
    let mut running: Vec<_> =
        VMS.iter().zip([20, 25, 22, 24]).map(|(vm, from)| (vm.id, rotate(vm.id, from))).collect();
    for ((id, process), old) in running.iter_mut().zip(&old) {
        let status = process.wait();
        assert!(status.success(), "{id}: {status}: {}", process.stderr.text());
        let told: Value = eventually("what it says", || serde_json::from_str(&process.stdout.text()).ok());
        let (told, new) = (&told["keys"][0], key(fleet, id));
        assert_ne!(*old, new, "{told}");
        assert_eq!(told["outcome"], "rotated", "{told}");
        assert_eq!(told["fingerprint"], fingerprint(&new), "{told}");
        assert_eq!(told["previous"]["fingerprint"], fingerprint(old), "{told}");
        assert_eq!(told["unaware"], Value::Array(Vec::new()), "{told}");
        assert_eq!(row(fleet, id)["previous"]["fingerprint"], fingerprint(old));
        // Programs that loaded the old key once go on using it.
        let callable = callable_by(id);
        assert_eq!(verdict(fleet, id, old, callable), "authenticated");
        assert_eq!(verdict(fleet, id, &new, callable), "authenticated");
    }
    go_on(programs);
    keys_list_tells_the_truth(fleet);
    // The signers have taken up the new keys, without a restart or a hand, and it shows.
    for vm in &VMS {
        let new = fingerprint(&key(fleet, vm.id));
        eventually(&format!("{} to sign with {new}", vm.id), || {
            let row = row(fleet, vm.id);
            (row["fingerprint"] == new && row["last_used"]["client"].is_string()).then_some(())
        });
    }
    a_second_one_is_refused_while_the_first_overlaps(fleet);
    two_at_once_are_one(fleet);
    an_overlap_ends_by_force(fleet, programs, &old[1]);
    go_on(programs);
    keys_list_tells_the_truth(fleet);
}

/// What lapses soon is seen, and rotated by the timer; what is revoked is gone everywhere.
pub(super) fn ends_in_time(fleet: &Fleet, programs: &mut [Program]) {
    let below = ["keys", "list", "--fail-below", "30d"];
    fleet.run(20, &below);
    fleet.redis(&["EXPIRE", "service:key:redis-stack", "500000"]);
    let output = fleet.host(20).output(&fleet.countersign(&below));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("redis-stack"), "{output:?}");
    keys_list_tells_the_truth(fleet);
    for vm in &VMS {
        eventually(&format!(".{} to show that the key of redis-stack lapses soon", vm.last), || {
            let days = fleet.metric_of(vm.last, "service_key_ttl_days", "service_id=\"redis-stack\"")?;
            (days < 5.8).then_some(())
        });
    }
    let told = fleet.json(25, &["keys", "rotate", "--due"]);
    let rotated: Vec<_> = told["keys"].as_array().unwrap().iter().filter(|key| key["outcome"] == "rotated").collect();
    assert!(rotated.len() == 1 && rotated[0]["service"] == "redis-stack", "{told}");
    fleet.run(20, &below);
    keys_list_tells_the_truth(fleet);

    let revoked = key(fleet, "redis-stack");
    assert_eq!(verdict(fleet, "redis-stack", &revoked, "/api/internal/x"), "caller_not_allowed", "known so far");
    fleet.run(22, &["keys", "revoke", "redis-stack"]);
    eventually("the revoked key to be unknown", || {
        (verdict(fleet, "redis-stack", &revoked, "/api/internal/x") == "unknown_service").then_some(())
    });
    assert_eq!(row(fleet, "redis-stack")["state"], "missing");
    fleet.run(24, &["keys", "generate", "redis-stack"]);
    assert_ne!(key(fleet, "redis-stack"), revoked);
    keys_list_tells_the_truth(fleet);
    go_on(programs);
}

/// `keys list` cannot reach Redis: it says so, and nothing else.
#[track_caller]
pub(super) fn keys_list_says_that_redis_is_away(fleet: &Fleet) {
    let output = fleet.host(22).output(&fleet.countersign(&["keys", "list"]));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
}

/// Fingerprint, time left and state of every key, on every VM, as Redis itself has them.
#[track_caller]
pub(super) fn keys_list_tells_the_truth(fleet: &Fleet) {
    let of_each = |command: &str| {
        fleet.redis_each(&SERVICES.map(|id| format!("{command} service:key:{id}"))).into_iter().zip(SERVICES)
    };
    let keys: BTreeMap<_, _> = of_each("GET").map(|(key, id)| (id, key)).collect();
    let ttls: BTreeMap<_, _> = of_each("TTL").map(|(ttl, id)| (id, ttl.parse::<i64>().unwrap())).collect();
    for from in [20, 24] {
        let told = fleet.json(from, &["keys", "list"]);
        let rows = told["keys"].as_array().unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row["service"].as_str().unwrap()).collect();
        let mut expected = SERVICES.to_vec();
        expected.sort_unstable();
        assert_eq!(ids, expected, "{told}");
        for row in rows {
            let id = row["service"].as_str().unwrap();
            assert_eq!((&row["state"], &row["source"]), (&"good".into(), &"redis".into()), "{row}");
            assert_eq!(row["fingerprint"], fingerprint(&keys[id]), "{row}");
            let (ttl, shown) = (ttls[id], row["ttl_seconds"].as_i64().unwrap());
            // Both round to seconds, each in its own way; and time passes between the two.
            assert!((-60..=2).contains(&(shown - ttl)) && ttl <= TTL, "Redis says {ttl}: {row}");
            assert_eq!(row["next"], Value::Null, "{row}");
        }
        assert!(keys.values().all(|key| !told.to_string().contains(key.as_str())), "a key is shown");
    }
}

fn a_second_one_is_refused_while_the_first_overlaps(fleet: &Fleet) {
    let before = key(fleet, "npu-worker");
    let output = fleet.host(22).output(&fleet.countersign(&["keys", "rotate", "npu-worker"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(key(fleet, "npu-worker"), before);
}

/// The timer stands on every VM.
fn two_at_once_are_one(fleet: &Fleet) {
    let before = key(fleet, "frontend");
    let rotate = fleet.countersign(&["--json", "keys", "rotate", "frontend"]);
    let mut running = [20, 25].map(|last| fleet.host(last).start(&rotate));
    let ends = running.each_mut().map(|process| process.wait().code());
    let told = running.each_ref().map(|process| process.stdout.text());
    let rotated = told.iter().filter(|text| text.contains("\"rotated\"")).count();
    assert_eq!(rotated, 1, "{ends:?}: {told:?}");
    let mut ends = ends;
    ends.sort_unstable();
    assert_eq!(ends, [Some(0), Some(1)], "{told:?}");
    assert_ne!(key(fleet, "frontend"), before);
}

/// Another rotation, although the first key was promised longer: from then on it opens nothing. The programs, whose signers have the new one, do not notice.
fn an_overlap_ends_by_force(fleet: &Fleet, programs: &mut [Program], first: &str) {
    let second = key(fleet, "npu-worker");
    fleet.run(24, &["keys", "rotate", "--force", "npu-worker"]);
    assert_eq!(row(fleet, "npu-worker")["previous"]["fingerprint"], fingerprint(&second));
    eventually("the old key to be refused", || {
        (verdict(fleet, "npu-worker", first, "/api/npu/heartbeat") == "invalid_signature").then_some(())
    });
    go_on(programs);
}

fn go_on(programs: &mut [Program]) {
    for program in programs {
        program.goes_on(15);
        program.assert_nothing_failed();
    }
}

/// A path of .20 that this service may call, or nobody minds.
fn callable_by(id: &str) -> &'static str {
    match id {
        "npu-worker" => "/api/npu/heartbeat",
        "ai-stack" => "/api/ai-stack/heartbeat",
        "browser-service" => "/api/browser/heartbeat",
        _ => "/api/inference",
    }
}

/// What the sidecar in front of this path says, truly, of a request signed with this key: the outcome, or why not.
#[track_caller]
fn verdict(fleet: &Fleet, id: &str, key: &str, path: &str) -> String {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let number = ASKED.fetch_add(1, Ordering::Relaxed);
    let (last, port) = if path == "/api/inference" { (22, 8081) } else { (20, 8001) };
    let mark = format!("verdict-{number}");
    let fields = format!("X-Request-ID: {mark}\r\n{}", sign::headers(key, id, "POST", path));
    fleet.host(21).inside(|| request(at(last, port), &format!("POST {path}"), &fields, "{}")).unwrap();
    let record = eventually("the record", || {
        fleet.audit(last, &mark).into_iter().find(|record| record["request_id"] == mark.as_str())
    });
    let outcome = record["outcome"].as_str().unwrap();
    // Of a call that passed, a reason may say that its signature was seen before: the program made the same call this second.
    let why =
        [&record["cause"], &record["reason"]].into_iter().find_map(Value::as_str).filter(|_| outcome == "refuse");
    why.unwrap_or(outcome).to_owned()
}

/// What any other verifier reads.
#[track_caller]
fn key(fleet: &Fleet, id: &str) -> String {
    fleet.redis(&["GET", &format!("service:key:{id}")])
}

fn row(fleet: &Fleet, id: &str) -> Value {
    fleet.json(20, &["keys", "list", id])["keys"][0].clone()
}

/// The first four bytes of a MAC of a fixed text, in hex.
fn fingerprint(key: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(FINGERPRINT_TEXT);
    mac.finalize().into_bytes()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
