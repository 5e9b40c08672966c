//! Redis fails while the fleet works. The promise: nobody who holds a key is refused, nobody else is let in, a decision takes
//! no longer, and everything is as before within seconds of its return, without a hand.

use super::super::support::{DEADLINE, KEY_B, eventually, sign};
use super::cast::{Fleet, Program, REPLICA, STRANGER, at, request};
use super::rotation;
use std::time::{Duration, Instant};

/// It hangs, and dies, and comes back with what it had on disk.
pub(super) fn of_redis(fleet: &mut Fleet, programs: &mut [Program]) {
    let before = keys(fleet);
    fleet.redis.as_ref().unwrap().signal("STOP");
    goes_on_without(fleet, programs, "hangs");
    fleet.redis.as_ref().unwrap().signal("CONT");
    is_as_before(fleet, programs);

    // Killed by force, in the middle of whatever it did.
    fleet.redis = None;
    goes_on_without(fleet, programs, "is gone");
    fleet.start_redis();
    is_as_before(fleet, programs);
    rotation::keys_list_tells_the_truth(fleet);
    assert_eq!(keys(fleet), before, "nobody changed a key for it");
}

/// The master is killed; the sentinels make the replica the master, and what changes there counts.
pub(super) fn failover(fleet: &mut Fleet, programs: &mut [Program]) {
    eventually("the replica to have the keys", || {
        (fleet.redis_at(REPLICA, &["DBSIZE"]) == fleet.redis(&["DBSIZE"])).then_some(())
    });
    fleet.redis = None;
    // Sentinels that were starved by a busy machine trust no clock for half a minute.
    let deadline = Instant::now() + 4 * DEADLINE;
    while !fleet.redis_at(REPLICA, &["ROLE"]).starts_with("master") {
        assert!(Instant::now() < deadline, "the sentinels do not make the replica the master");
        std::thread::sleep(Duration::from_millis(20));
    }
    is_as_before(fleet, programs);
    for program in programs.iter_mut() {
        program.goes_on(60);
        program.assert_nothing_failed();
    }
    // A key that only the new master has: known now, so the caller is the wrong one, no longer unknown.
    fleet.redis_at(REPLICA, &["SET", "service:key:newcomer", KEY_B, "EX", "7776000"]);
    fleet.host(22).inside(|| {
        let path = "/api/npu/heartbeat";
        eventually("the newcomer to be known", || {
            let fields = sign::headers(KEY_B, "newcomer", "POST", path);
            let status = request(at(20, 8001), &format!("POST {path}"), &fields, "{}").unwrap().status;
            assert!(matches!(status, 401 | 403 | 429 | 503), "{status}");
            let records = fleet.audit(20, "newcomer");
            let mut own = records.iter().filter(|record| record["claimed_service"] == "newcomer");
            own.any(|r| [&r["reason"], &r["cause"]].iter().any(|why| **why == "caller_not_allowed")).then_some(())
        });
    });
    fleet.run(22, &["keys", "rotate", "npu-worker"]);
    // The old one comes back, believing that it is the master.
    fleet.start_redis();
    eventually("the old master to be a replica", || fleet.redis(&["ROLE"]).starts_with("slave").then_some(()));
    for program in programs.iter_mut() {
        program.goes_on(40);
        program.assert_nothing_failed();
    }
}

/// The keys as any other verifier would read them.
fn keys(fleet: &Fleet) -> Vec<String> {
    fleet.vms.iter().map(|vm| fleet.redis(&["GET", &format!("service:key:{}", vm.id)])).collect()
}

/// For how long a sidecar could not ask Redis, by its own word.
fn stale(fleet: &Fleet, last: u8) -> f64 {
    fleet.metric(last, "countersign_keys_stale_seconds").unwrap_or_default()
}

#[track_caller]
fn goes_on_without(fleet: &Fleet, programs: &mut [Program], how: &str) {
    for vm in fleet.vms {
        eventually(&format!("the sidecar of .{} to notice that Redis {how}", vm.last), || {
            (stale(fleet, vm.last) > 0.0).then_some(())
        });
    }
    for program in programs.iter_mut() {
        program.goes_on(60);
        program.assert_nothing_failed();
    }
    rotation::keys_list_says_that_redis_is_away(fleet);
    // No id that is unknown, and no wrong signature, waits for Redis or passes for its sake.
    fleet.host(STRANGER).inside(|| {
        for service in ["nobody-at-all", "npu-worker", "frontend"] {
            let path = "/api/npu/heartbeat";
            let began = Instant::now();
            let fields = format!("X-Mark: stranger\r\n{}", sign::headers(KEY_B, service, "POST", path));
            let answer = request(at(20, 8001), &format!("POST {path}"), &fields, "{}").unwrap();
            assert!(matches!(answer.status, 401 | 429 | 503), "{service} while Redis {how}: {answer:?}");
            let took = began.elapsed();
            assert!(took < 5 * Duration::from_millis(750), "{service} was answered after {took:?}");
        }
        let health = request(at(20, 8001), "GET /api/health", "", "").unwrap();
        assert_eq!(health.status, 200);
    });
}

#[track_caller]
fn is_as_before(fleet: &Fleet, programs: &mut [Program]) {
    for vm in fleet.vms {
        eventually(&format!("the sidecar of .{} to have Redis again", vm.last), || {
            (fleet.metric(vm.last, "countersign_keys_stale_seconds") == Some(0.0)).then_some(())
        });
    }
    for program in programs.iter_mut() {
        program.goes_on(20);
        program.assert_nothing_failed();
    }
}
