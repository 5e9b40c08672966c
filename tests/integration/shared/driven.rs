//! A ramp, several sidecars, one driver.

use super::*;
use countersign::config::{Redis as Settings, RedisServers};
use countersign::keys::redis::RedisStore;
use countersign::keys::redis::fleet::{Driver, Swapped};

/// The name in the lease; empty where nobody has it.
fn driver(redis: &Redis) -> String {
    let lease = redis.cli(&["GET", "countersign:{enforcement}:driver"]);
    lease.split_once(' ').map(|(_, name)| name.to_owned()).unwrap_or_default()
}

fn name(sidecar: &Sidecar) -> String {
    status(sidecar)["fleet"]["name"].as_str().unwrap().to_owned()
}

fn settings(redis: &Redis) -> Settings {
    Settings {
        servers: RedisServers::Single((redis.address.ip().to_string(), redis.address.port())),
        database: 0,
        user: None,
        password: None,
        tls: None,
    }
}

/// Short stages that want one call each.
fn ramping(builder: Builder) -> Builder {
    builder.set("ramp", "stages", "[\"10% 1s\", \"20% 1s\", \"100%\"]").set(
        "ramp",
        "rollback_when",
        "{ min_requests = 1 }",
    )
}

fn signed_call(sidecar: &Sidecar) {
    let headers =
        super::super::support::sign::headers(super::super::support::KEY_A, "npu-worker", "GET", "/api/internal/x");
    assert_eq!(raw::get_with(sidecar.address, "/api/internal/x", &headers).status, 200);
}

#[test]
fn one_sidecar_drives_a_ramp_and_one_that_is_cut_off_or_paused_drives_no_more() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let relay = Relay::to(redis.address);
    let near = ramping(fleet.sidecar(&redis.address.to_string())).start();
    let far = ramping(fleet.sidecar(&relay.address.to_string())).start();
    known(&near, 1);
    known(&far, 1);
    told(&far, &["ramp", "start", "--without-baseline", "--reason", "a test"], 0);
    eventually("the far one to drive", || (driver(&redis) == name(&far)).then_some(()));
    eventually("the near one to follow", || (status(&near)["enforcement"]["percentage"] == 10).then_some(()));
    relay.cut();
    eventually("the lease to end", || driver(&redis).is_empty().then_some(()));
    // It has its evidence and its time, and no lease.
    signed_call(&far);
    eventually("the far one to know", || (status(&far)["fleet"]["drives_ramp"] == false).then_some(()));
    assert_eq!(status(&far)["enforcement"]["percentage"], 10);
    told(&near, &["ramp", "start", "--without-baseline", "--reason", "the other is gone"], 0);
    eventually("the near one to drive", || (driver(&redis) == name(&near)).then_some(()));
    eventually("the near one to finish", || {
        signed_call(&near);
        (status(&near)["enforcement"]["percentage"] == 100).then_some(())
    });
    assert_eq!(status(&far)["enforcement"]["percentage"], 10, "it went no further by itself");
    relay.heal();
    eventually("the far one to follow", || (status(&far)["enforcement"]["percentage"] == 100).then_some(()));
    eventually("its ramp to be overtaken", || {
        (command(&far, &["ramp", "status"]).status.code() == Some(1)).then_some(())
    });
    assert_eq!(status(&near)["enforcement"]["percentage"], 100, "and nothing of it came back");
}

#[test]
fn what_breaks_at_one_sidecar_takes_a_ramp_back_that_another_drives() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::new();
    let builder = || {
        let builder = fleet.sidecar(&redis.address.to_string()).set("ramp", "stages", "[\"10% 1h\", \"100%\"]");
        let builder = builder.set("ramp", "rollback_when", "{ min_requests = 5 }");
        builder.set("services.npu-worker", "addresses", "[\"127.0.0.1\"]")
    };
    let (driving, other) = (builder().start(), builder().start());
    known(&driving, 1);
    known(&other, 1);
    let broken = |path: &str| {
        let headers = super::super::support::sign::headers(super::super::support::KEY_B, "npu-worker", "GET", path);
        raw::get_with(other.address, path, &headers).status
    };
    told(&driving, &["ramp", "start", "--without-baseline", "--reason", "a test"], 0);
    let mut calls = 0;
    eventually("the ramp to be taken back", || {
        calls += 1;
        broken(&format!("/api/internal/{calls}"));
        (status(&driving)["enforcement"]["held"] == true).then_some(())
    });
    let state = status(&driving)["enforcement"].clone();
    assert_eq!((&state["mode"], &state["hold"]["kind"]), (&"log".into(), &"automatic".into()), "{state}");
    assert!(state["hold"]["reason"].as_str().unwrap().contains("npu-worker"), "{state}");
}

#[test]
fn a_step_of_a_driver_that_was_replaced_is_refused_whatever_it_believes() {
    let Some(redis) = Redis::start() else { return };
    let settings = settings(&redis);
    let ttl = Duration::from_secs(60);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (a, b) = (RedisStore::new(&settings), RedisStore::new(&settings));
        assert_eq!(a.swap_record(None, "first", None).await, Ok(Swapped::Yes));
        assert_eq!(a.drive("a", 0, ttl).await, Ok(Driver::Me(1)));
        assert_eq!(a.drive("a", 0, ttl).await, Ok(Driver::Me(1)), "renewed");
        assert_eq!(b.drive("b", 0, ttl).await, Ok(Driver::Another("a".to_owned())));
        assert_eq!(a.swap_record(Some(b"first"), "step 1", Some(1)).await, Ok(Swapped::Yes));
        // Its time is over while it is paused right before its next step.
        redis.cli(&["DEL", "countersign:{enforcement}:driver"]);
        assert_eq!(b.drive("b", 0, ttl).await, Ok(Driver::Me(2)));
        assert_eq!(a.swap_record(Some(b"step 1"), "step 2", Some(1)).await, Ok(Swapped::Fenced));
        assert_eq!(b.swap_record(Some(b"step 1"), "another step", Some(2)).await, Ok(Swapped::Yes));
        assert_eq!(a.swap_record(Some(b"step 1"), "step 2", Some(1)).await, Ok(Swapped::Moved));
        assert_eq!(a.swap_record(Some(b"another step"), "a rollback", None).await, Ok(Swapped::Yes));
        a.stop_driving("a").await.unwrap();
        assert_eq!(driver(&redis), "b", "nobody gives back what another has");
        b.stop_driving("b").await.unwrap();
        assert_eq!(a.drive("a", 7, ttl).await, Ok(Driver::Me(8)), "above all that the fleet has heard of");
        redis.cli(&["FLUSHALL"]);
        assert_eq!(b.drive("b", 8, ttl).await, Ok(Driver::Me(9)), "also where redis has forgotten");
    });
}

#[test]
fn a_number_that_somebody_put_there_never_makes_the_drivers_numbers_run_out() {
    let Some(redis) = Redis::start() else { return };
    let settings = settings(&redis);
    let (number, lease) = ("countersign:{enforcement}:number", "countersign:{enforcement}:driver");
    let ttl = Duration::from_secs(60);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let a = RedisStore::new(&settings);
        let mut record = "the first".to_owned();
        assert_eq!(a.swap_record(None, &record, None).await, Ok(Swapped::Yes));
        let wrong =
            ["9200000000000000000", "9007199254740992", "9007199254740990", "inf", "nan", "1e15", "-7", "", "x"];
        for (last, wrong) in (7..).zip(wrong) {
            redis.cli(&["DEL", lease]);
            redis.cli(&["SET", number, wrong]);
            assert_eq!(a.drive("a", last, ttl).await, Ok(Driver::Me(last + 1)), "{wrong}");
            redis.cli(&["SET", number, wrong]);
            let next = format!("with {wrong} there");
            assert_eq!(
                a.swap_record(Some(record.as_bytes()), &next, Some(last + 1)).await,
                Ok(Swapped::Yes),
                "{wrong}"
            );
            record = next;
            redis.cli(&["SET", lease, &format!("{wrong} a")]);
            assert_eq!(a.drive("a", last, ttl).await, Ok(Driver::Me(last + 1)), "a lease of {wrong}");
        }
        redis.cli(&["SET", number, "40"]);
        assert_eq!(a.drive("a", 20, ttl).await, Ok(Driver::Me(41)), "it was no longer the highest");
        assert_eq!(a.drive("a", 20, ttl).await, Ok(Driver::Me(41)), "renewed");
    });
}

#[test]
fn however_much_somebody_puts_among_the_sidecars_little_is_read_and_those_that_are_there_come_back() {
    let Some(redis) = Redis::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = RedisStore::new(&settings(&redis));
        let names = async |me: &str| -> Vec<String> {
            let all = store.sidecars(Some((me, "a word"))).await.unwrap();
            all.into_iter().map(|present| present.name).collect()
        };
        assert_eq!(names("a").await, ["a"]);
        let long = "local at = redis.call('TIME')[1] .. '000 ' \
            redis.call('HSET', KEYS[1], string.rep('n', 129), at .. 'x', 'b', at .. string.rep('x', 5000), 'c', 'x') return 1";
        redis.cli(&["EVAL", long, "1", SIDECARS]);
        assert_eq!(names("a").await, ["a"]);
        assert_eq!(redis.cli(&["HLEN", SIDECARS]), "1", "and they are gone");
        let many = "local at = redis.call('TIME')[1] .. '000 x' \
            for i = 1, 600 do redis.call('HSET', KEYS[1], 'n' .. i, at) end return 1";
        redis.cli(&["EVAL", many, "1", SIDECARS]);
        assert_eq!(names("a").await, ["a"]);
        let mut both = names("b").await;
        both.sort_unstable();
        assert_eq!(both, ["a", "b"]);
    });
}
