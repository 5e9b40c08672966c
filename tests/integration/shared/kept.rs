//! Restarts, and the other ways to reach Redis.

use super::*;
use crate::support::process::Process;
use crate::support::redis::{Cluster, Sentinels};

fn stop(sidecar: &mut Sidecar) {
    sidecar.process.signal("KILL");
    sidecar.process.wait();
}

fn start(sidecar: &mut Sidecar) {
    let mut run = countersign();
    run.arg("run").arg("--config").arg(sidecar.config_path()).current_dir(&sidecar.directory);
    sidecar.process = Process::start(&run);
    eventually("the sidecar to listen again", || raw::Client::try_connect(sidecar.address).map(drop));
    eventually("its control API", || (command(sidecar, &["status"]).status.code() != Some(3)).then_some(()));
}

#[test]
fn after_a_restart_without_redis_the_fleets_last_state_counts_and_an_older_record_changes_nothing() {
    let Some(mut redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [mut one, two] = fleet.start(&redis);
    told(&two, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    within(FOLLOWED, "the record to be written", || redis.cli(&["GET", RECORD]).contains("\"enforce\""));
    let enforced = redis.cli(&["GET", RECORD]);
    told(&two, &["rollback", "--fleet", "--reason", "stop"], 0);
    drop(two);
    stop(&mut one);
    redis.stop();
    start(&mut one);
    assert_eq!(unsigned(&one), 200);
    assert_eq!(status(&one)["enforcement"]["hold"]["reason"], "stop");
    stop(&mut one);
    redis.start_again();
    redis.cli(&["SET", RECORD, &enforced]);
    start(&mut one);
    eventually("the rollback to be written back", || redis.cli(&["GET", RECORD]).contains("stop").then_some(()));
    assert_eq!(unsigned(&one), 200, "an older record that waited for it changes nothing");
}

#[test]
fn what_moved_while_nobody_could_be_told_is_told_after_a_restart_too() {
    let Some(mut redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [mut one, two] = fleet.start(&redis);
    told(&two, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    redis.stop();
    told(&one, &["rollback", "--reason", "alone"], 0);
    stop(&mut one);
    start(&mut one);
    assert_eq!((unsigned(&one), unsigned(&two)), (200, 401));
    redis.start_again();
    eventually("the rollback to reach the other", || (unsigned(&two) == 200).then_some(()));
    told(&two, &["enforce", "100%", "--lift"], 0);
    all_come_to([&one, &two], 401);
    stop(&mut one);
    std::fs::write(one.directory.join("state/rollback"), "by hand").unwrap();
    start(&mut one);
    eventually("a marker that was made by hand to reach the other", || (unsigned(&two) == 200).then_some(()));
}

#[test]
fn one_that_lost_its_state_learns_it_from_the_fleet_and_is_ready_again() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [mut one, two] = fleet.start(&redis);
    told(&two, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    stop(&mut one);
    std::fs::write(one.directory.join("state/enforcement.json"), "{").unwrap();
    std::fs::remove_file(one.directory.join("state/fleet")).unwrap();
    start(&mut one);
    eventually("the fleet's state to count", || (unsigned(&one) == 401).then_some(()));
    eventually("it to be ready", || (command(&one, &["status"]).status.code() == Some(0)).then_some(()));
    let state = status(&one)["enforcement"].clone();
    assert_eq!((&state["held"], &state["percentage"]), (&false.into(), &100.into()), "{state}");
    assert_eq!(status(&two)["enforcement"]["mode"], "enforce", "its doubt was nobody else's");
}

#[test]
fn a_marker_that_was_made_by_hand_counts_also_where_it_is_not_known_what_was_in_force() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [mut one, two] = fleet.start(&redis);
    told(&two, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    stop(&mut one);
    std::fs::write(one.directory.join("state/enforcement.json"), "{").unwrap();
    std::fs::write(one.directory.join("state/rollback"), "by hand").unwrap();
    std::fs::remove_file(one.directory.join("state/fleet")).unwrap();
    start(&mut one);
    eventually("the marker to reach the other", || (unsigned(&two) == 200).then_some(()));
    assert_eq!(unsigned(&one), 200);
    assert!(one.directory.join("state/rollback").exists());
    assert_eq!(status(&two)["enforcement"]["hold"]["reason"], "by hand");
    told(&two, &["enforce", "100%", "--lift"], 0);
    all_come_to([&one, &two], 401);
    eventually("the marker to be gone", || (!one.directory.join("state/rollback").exists()).then_some(()));
}

#[test]
fn a_signal_and_an_edit_of_the_file_are_the_fleets_too() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two] = fleet.start(&redis);
    let text = one.config();
    std::fs::write(one.config_path(), text.replace("mode = \"log\"", "mode = \"enforce\"")).unwrap();
    eventually("the edit to count everywhere", || (unsigned(&one) == 401 && unsigned(&two) == 401).then_some(()));
    two.process.signal("USR2");
    eventually("the rollback to count everywhere", || (unsigned(&one) == 200 && unsigned(&two) == 200).then_some(()));
    let refused = command(&one, &["enforce", "100%"]);
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_call_is_drawn_in_or_out_at_every_sidecar() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two] = fleet.start(&redis);
    told(&one, &["enforce", "50%"], 0);
    eventually("the other to follow", || (status(&two)["enforcement"]["mode"] == "enforce").then_some(()));
    let drawn = |sidecar: &Sidecar| -> Vec<u16> {
        (0..40).map(|n| raw::get(sidecar.address, &format!("/api/internal/{n}")).status).collect()
    };
    let at_one = drawn(&one);
    assert_eq!(at_one, drawn(&two));
    assert!(at_one.contains(&401) && at_one.contains(&200), "{at_one:?}");
}

/// A sidecar of this fleet with another Redis URL.
fn through(fleet: &Fleet, url: &str) -> Builder {
    fleet.sidecar("127.0.0.1:1").set("keys", "redis", format!("{url:?}"))
}

#[test]
fn in_a_cluster_and_behind_sentinels_it_is_the_same_also_after_a_master_is_lost() {
    let fleet = Fleet::new();
    let Some(cluster) = Cluster::start() else { return };
    let url = cluster.url();
    let [one, two] = std::array::from_fn(|_| through(&fleet, &url).start());
    known(&one, 1);
    known(&two, 1);
    told(&one, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    told(&two, &["rollback", "--fleet", "--reason", "stop"], 0);
    drop((one, two, cluster));
    let Some(mut sentinels) = Sentinels::start() else { return };
    let url = sentinels.url();
    let [one, two] = std::array::from_fn(|_| through(&fleet, &url).start());
    known(&one, 1);
    known(&two, 1);
    told(&one, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    let lost = sentinels.servers[0].address;
    sentinels.servers[0].stop();
    eventually("another master", || sentinels.master().filter(|master| master.address != lost).map(drop));
    told(&two, &["rollback", "--reason", "stop"], 0);
    eventually("the rollback to reach the other by the new master", || (unsigned(&one) == 200).then_some(()));
}
