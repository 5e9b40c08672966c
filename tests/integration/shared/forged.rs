//! Somebody has the password of Redis, and not the fleet key.

use super::*;
use crate::support::{KEY_A, sign};

const FENCE: &str = "countersign:{enforcement}:number";

#[test]
fn a_forged_record_changes_nothing_is_told_of_and_is_replaced() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two] = fleet.start(&redis);
    told(&one, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    within(FOLLOWED, "the record to be written", || redis.cli(&["GET", RECORD]).contains("\"enforce\""));
    let good = redis.cli(&["GET", RECORD]);
    let forged = [
        good.replace("\"mode\":\"enforce\"", "\"mode\":\"log\""),
        good.replacen("countersign", "Countersign", 1),
        good[..good.len() / 2].to_owned(),
        "{}".to_owned(),
        "long".to_owned(),
    ];
    for text in &forged {
        assert_ne!(*text, good);
        redis.cli(&["SET", RECORD, text]);
        if text == "long" {
            redis.cli(&["EVAL", "redis.call('SET', KEYS[1], string.rep('x', 300000)) return 1", "1", RECORD]);
        }
        redis.cli(&["PUBLISH", "countersign:enforcement", ""]);
        within(FOLLOWED, "the record to be written back", || redis.cli(&["GET", RECORD]) == good);
        assert_eq!((unsigned(&one), unsigned(&two)), (401, 401));
    }
    let rejected = |sidecar| status(sidecar)["fleet"]["rejected"].as_u64().unwrap();
    assert!(rejected(&one) + rejected(&two) >= forged.len() as u64);
    assert!((log(&one) + &log(&two)).contains("does not belong to the fleet"));
    for command in [vec!["DEL", RECORD], vec!["FLUSHALL"]] {
        redis.cli(&command);
        within(FOLLOWED, "a record that was removed to be written back", || redis.cli(&["GET", RECORD]) == good);
        assert_eq!((unsigned(&one), unsigned(&two)), (401, 401));
    }
    redis.cli(&["DEL", RECORD]);
    redis.cli(&["LPUSH", RECORD, "x"]);
    told(&one, &["rollback", "--reason", "whatever redis holds"], 0);
    assert_eq!(unsigned(&one), 200);
    redis.cli(&["DEL", RECORD]);
    all_come_to([&two], 200);
}

#[test]
fn an_older_record_that_is_put_back_changes_nothing_not_even_after_a_restart() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two] = fleet.start(&redis);
    let in_log = redis.cli(&["GET", RECORD]);
    told(&one, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    let enforced = redis.cli(&["GET", RECORD]);
    redis.cli(&["SET", RECORD, &in_log]);
    redis.cli(&["PUBLISH", "countersign:enforcement", ""]);
    within(FOLLOWED, "the newer record to be written back", || redis.cli(&["GET", RECORD]) == enforced);
    assert_eq!((unsigned(&one), unsigned(&two)), (401, 401));
    told(&two, &["rollback", "--fleet", "--reason", "stop"], 0);
    let rolled_back = redis.cli(&["GET", RECORD]);
    redis.cli(&["SET", RECORD, &enforced]);
    within(FOLLOWED, "the rollback to be written back", || redis.cli(&["GET", RECORD]) == rolled_back);
    assert_eq!((unsigned(&one), unsigned(&two)), (200, 200));
    drop(two);
    one.process.signal("STOP");
    redis.cli(&["SET", RECORD, &enforced]);
    one.process.signal("CONT");
    within(FOLLOWED, "it to be written back by the one that is left", || redis.cli(&["GET", RECORD]) == rolled_back);
    assert_eq!(unsigned(&one), 200);
}

#[test]
fn a_forged_number_of_the_driver_and_an_old_record_take_back_no_more_than_the_step() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let builder =
        fleet.sidecar(&redis.address.to_string()).set("ramp", "stages", "[\"10% 1s\", \"20% 1s\", \"100%\"]");
    let one = builder.set("ramp", "rollback_when", "{ min_requests = 1 }").start();
    known(&one, 0);
    let in_log = redis.cli(&["GET", RECORD]);
    told(&one, &["ramp", "start", "--without-baseline", "--reason", "a test"], 0);
    eventually("it to drive", || (status(&one)["fleet"]["drives_ramp"] == true).then_some(()));
    let call = || {
        let headers = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/x");
        assert_eq!(raw::get_with(one.address, "/api/internal/x", &headers).status, 200);
    };
    let mut forged = 0;
    eventually("a step to be refused", || {
        call();
        for _ in 0..20 {
            forged += 10;
            redis.cli(&["MSET", FENCE, &forged.to_string(), RECORD, &in_log]);
            let now = status(&one)["enforcement"].clone();
            assert_eq!((&now["mode"], &now["held"]), (&"enforce".into(), &false.into()), "{now}");
        }
        log(&one).contains("the step that was made here is taken back").then_some(())
    });
    told(&one, &["ramp", "start", "--without-baseline", "--reason", "it is let be"], 0);
    eventually("the ramp to go on from there", || {
        call();
        (status(&one)["enforcement"]["percentage"] == 100).then_some(())
    });
}

#[test]
fn a_presence_that_was_forged_or_copied_reaches_nobody() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one, two] = fleet.start(&redis);
    let name = status(&two)["fleet"]["name"].as_str().unwrap().to_owned();
    let own = status(&one)["fleet"]["name"].as_str().unwrap().to_owned();
    let word = redis.cli(&["HGET", SIDECARS, &own]);
    redis.cli(&["HSET", SIDECARS, "nobody", &word]);
    redis.cli(&["HSET", SIDECARS, "nothing", "1 x"]);
    eventually("it to be told of", || log(&one).contains("does not belong to the fleet").then_some(()));
    known(&one, 1);
    two.process.signal("STOP");
    let answer = told(&one, &["rollback", "--fleet", "--reason", "stop"], 1);
    assert_eq!(answer["fleet"]["not_reached"], serde_json::json!([name]), "{answer}");
    assert_eq!(unsigned(&one), 200);
    two.process.signal("CONT");
    all_come_to([&two], 200);
}

#[test]
fn one_with_another_fleet_key_follows_nobody_changes_nothing_and_says_so() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let [one] = fleet.start(&redis);
    told(&one, &["enforce", "100%"], 0);
    within(FOLLOWED, "the record to be written", || redis.cli(&["GET", RECORD]).contains("\"enforce\""));
    let good = redis.cli(&["GET", RECORD]);
    let other = fleet.sidecar(&redis.address.to_string());
    let other = other.set("enforcement", "shared_key_file", other_key(fleet.directory.path())).start();
    eventually("it to say so", || {
        let fleet = status(&other)["fleet"].clone();
        fleet["trouble"].as_str()?.contains("not written with this fleet key").then_some(())
    });
    let answer = told(&other, &["rollback", "--fleet", "--reason", "stop"], 1);
    assert_eq!(answer["mode"], "log", "here it counts");
    assert_eq!((redis.cli(&["GET", RECORD]), unsigned(&one)), (good, 401));
}

#[test]
fn the_shipped_file_of_users_is_what_the_readme_says_and_redis_takes_it() {
    let shipped = include_str!("../../../deploy/redis/users.acl");
    let readme = include_str!("../../../README.md");
    for line in shipped.lines() {
        let from = readme.find(&line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).unwrap();
        let said: Vec<&str> = readme[from..].split("```").next().unwrap().split_whitespace().collect();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), said);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.acl");
    write_private(&file, shipped);
    let Some(redis) = Redis::start_with(&["--aclfile", file.to_str().unwrap()], &[]) else { return };
    assert_eq!(redis.cli(&["ACL", "USERS"]).lines().count(), 4, "these three and the default one");
}

#[test]
fn the_acl_of_the_readme_is_enough_and_not_more_than_for_this() {
    let password = "a-fake-password-of-the-tests";
    let Some(redis) = Redis::start() else { return };
    let readme = include_str!("../../../README.md");
    for user in ["countersign", "countersign-shared"] {
        let from = readme.find(&format!("user {user} on >PASSWORD")).unwrap();
        let line = readme[from..].split("```").next().unwrap().replace("PASSWORD", password);
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        redis.cli(&[&["ACL", "SETUSER"], &words[..]].concat());
    }
    let fleet = Fleet::new();
    let start = |user: &str| {
        let builder = fleet.sidecar(&format!("{user}@{}", redis.address));
        builder.environment("REDIS_PASSWORD", password).start()
    };
    let (one, two) = (start("countersign-shared"), start("countersign-shared"));
    known(&one, 1);
    known(&two, 1);
    told(&one, &["enforce", "100%"], 0);
    all_come_to([&one, &two], 401);
    told(&two, &["rollback", "--fleet", "--reason", "stop"], 0);
    assert!(!log(&one).contains("not permit"), "{}", log(&one));
    let may_not = start("countersign");
    eventually("one that may not to say so", || {
        status(&may_not)["fleet"]["trouble"].as_str()?.contains("does not permit").then_some(())
    });
}
