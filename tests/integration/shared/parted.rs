//! Redis is away, hangs, or cannot be reached by some.

use super::*;

#[test]
fn while_redis_is_away_each_keeps_what_it_knows_and_a_rollback_works_and_names_those_it_does_not_reach() {
    let Some(mut redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two] = fleet.start(&redis);
    told(&one, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    for hangs in [true, false] {
        if hangs {
            redis.signal("STOP");
        } else {
            redis.stop();
        }
        eventually("the outage to be seen", || status(&two)["fleet"]["trouble"].is_string().then_some(()));
        assert_eq!((unsigned(&one), unsigned(&two)), (401, 401), "nothing changed");
        let name = status(&two)["fleet"]["name"].clone();
        let answer = told(&one, &["rollback", "--reason", "stop"], 0);
        assert_eq!((&answer["mode"], unsigned(&one)), (&"log".into(), 200), "here it counts at once");
        assert_eq!(answer["fleet"]["not_reached"], serde_json::json!([name]), "{answer}");
        assert_eq!(answer["fleet"]["published"], false);
        assert_eq!(unsigned(&two), 401);
        let shown = command(&one, &["status", "--fleet"]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert_eq!(shown.status.code(), Some(1));
        assert!(text.contains("NOT REACHED") && text.contains("NOT PUBLISHED"), "{text}");
        if hangs {
            redis.signal("CONT");
        } else {
            redis.start_again();
        }
        eventually("the rollback to reach the other", || (unsigned(&two) == 200).then_some(()));
        eventually("all to be well", || status(&one)["fleet"]["trouble"].is_null().then_some(()));
        told(&two, &["enforce", "100%", "--lift", "--reason", "mended"], 0);
        all_come_to([&one, &two], 401);
    }
}

#[test]
fn after_a_partition_a_rollback_on_one_side_counts_on_both() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let relay = Relay::to(redis.address);
    let near = fleet.sidecar(&redis.address.to_string()).start();
    let far = fleet.sidecar(&relay.address.to_string()).start();
    known(&near, 1);
    known(&far, 1);
    for back_is_far in [true, false] {
        told(&near, &["enforce", "25%", "--lift"], 0);
        eventually("both to follow", || (status(&far)["enforcement"]["mode"] == "enforce").then_some(()));
        relay.cut();
        eventually("the partition to be seen", || status(&far)["fleet"]["trouble"].is_string().then_some(()));
        let (back, on) = if back_is_far { (&far, &near) } else { (&near, &far) };
        told(back, &["rollback", "--reason", "stop"], 0);
        for percentage in ["50%", "75%", "100%"] {
            told(on, &["enforce", percentage], 0);
        }
        assert_eq!((unsigned(back), unsigned(on)), (200, 401), "each by its own");
        relay.heal();
        for sidecar in [&near, &far] {
            eventually("both to be rolled back", || {
                let state = status(sidecar)["enforcement"].clone();
                (state["mode"] == "log" && state["held"] == true).then_some(())
            });
            assert_eq!(unsigned(sidecar), 200);
        }
    }
}
