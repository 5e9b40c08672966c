//! Sentinel and Cluster: a master that is lost under load refuses nobody.

use super::super::support::recorder::Recorder;
use super::super::support::redis::{Cluster, Sentinels, name, within};
use super::super::support::sidecar::Sidecar;
use super::super::support::{KEY_A, KEY_B, eventually};
use super::{SOON, call, guarding};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Calls as these services, one after the other, until `end` says so; what was not accepted.
fn under_load(sidecar: &Sidecar, ids: &[&str], meanwhile: impl FnOnce()) -> (usize, usize) {
    let (done, calls, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for id in ids {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if call(sidecar, id, KEY_A) != 200 {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        // A failed assertion must end the callers too.
        struct End<'d>(&'d AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _end = End(&done);
        meanwhile();
    });
    (calls.into_inner(), refused.into_inner())
}

#[test]
fn a_sentinel_failover_under_load_refuses_nobody_and_the_new_master_is_followed() {
    let Some(mut all) = Sentinels::start() else { return };
    all.servers[0].put("npu-worker", KEY_A);
    all.servers[0].cli(&["WAIT", "2", "5000"]);
    let upstream = Recorder::plain();
    // One that holds its connections and answers nothing is in nobody's way: two are enough.
    all.sentinels[2].signal("STOP");
    let sidecar = guarding(&upstream, &all.url()).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    let (calls, refused) = under_load(&sidecar, &["npu-worker", "npu-worker"], || {
        let lost = all.servers[0].address;
        all.servers[0].stop();
        eventually("the sentinels to name another master", || {
            all.master().filter(|master| master.address != lost).map(drop)
        });
        let master = all.master().unwrap();
        eventually("the new master to take writes", || {
            let role = master.cli(&["ROLE"]);
            role.starts_with("master").then_some(())
        });
        within(SOON, "the outage to be over", || sidecar.metric("countersign_keys_stale_seconds", &[]) == 0.0);
        master.put("ai-stack", KEY_B);
        within(SOON, "a key of the new master to count", || call(&sidecar, "ai-stack", KEY_B) == 200);
    });
    println!("{calls} calls across the failover");
    assert_eq!(refused, 0, "of {calls}");
    let master = all.master().unwrap();
    master.delete("ai-stack");
    within(SOON, "a deletion on the new master to be seen", || call(&sidecar, "ai-stack", KEY_B) == 401);
}

#[test]
fn a_cluster_gives_the_keys_of_all_its_masters_and_may_lose_one_under_load() {
    let Some(mut cluster) = Cluster::start() else { return };
    let ids = ["npu-worker", "ai-stack", "browser-service", "main-backend", "frontend", "redis-stack"];
    for id in ids {
        cluster.put(id, KEY_A);
    }
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &cluster.url())
        .rules("[[rule]]\nname = \"internals\"\npaths = [\"/api/internal\"]\naccess = \"service\"\n")
        .set("keys", "cache", "\"1s\"")
        .start();
    for id in ids {
        assert_eq!(call(&sidecar, id, KEY_A), 200, "{id}");
    }
    cluster.cli(&["HSET", "{service:key:frontend}:countersign", "next", KEY_B, "next_since", "1700000000"]);
    cluster.cli(&["PUBLISH", "countersign:keys", "frontend"]);
    within(SOON, "a staged key to be taken", || call(&sidecar, "frontend", KEY_B) == 200);
    let (calls, refused) = under_load(&sidecar, &ids, || {
        cluster.holder("npu-worker").stop();
        let key = name("npu-worker");
        eventually("a replica to take over", || (cluster.try_cli(&["GET", &key]) == KEY_A).then_some(()));
        within(SOON, "the outage to be over", || sidecar.metric("countersign_keys_stale_seconds", &[]) == 0.0);
    });
    println!("{calls} calls across the loss of a node");
    assert_eq!(refused, 0, "of {calls}");
    cluster.put("npu-worker", KEY_B);
    cluster.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
    within(SOON, "a replaced key to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
    cluster.cli(&["DEL", &name("npu-worker")]);
    cluster.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
    within(SOON, "a deleted key not to count", || call(&sidecar, "npu-worker", KEY_B) == 401);
}
