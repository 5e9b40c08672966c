//! What a verifier takes while a key is replaced in Redis.

use super::super::support::recorder::Recorder;
use super::super::support::redis::{Redis, name, within};
use super::super::support::{KEY_A, KEY_B, count, eventually};
use super::{SOON, call, guarding};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn during_a_rotation_both_keys_count_and_a_verifier_says_what_it_takes() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401);
    let companion = "{service:key:npu-worker}:countersign";
    redis.cli(&["HSET", companion, "next", KEY_B, "next_since", "1700000000"]);
    redis.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
    within(SOON, "the staged key to be taken", || call(&sidecar, "npu-worker", KEY_B) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    let verifiers = redis.cli(&["KEYS", "countersign:verifier:*"]);
    let verifier = verifiers.strip_prefix("countersign:verifier:").unwrap();
    within(SOON, "the verifier to say so", || {
        redis.cli(&["HGET", "{service:key:npu-worker}:seen", verifier]).len() == 8
    });
    let lives: i64 = redis.cli(&["TTL", &verifiers]).parse().unwrap();
    assert!((1..=30).contains(&lives), "{lives}");
    redis.cli(&["HDEL", companion, "next", "next_since"]);
    redis.cli(&["HSET", companion, "previous", KEY_A, "previous_until", "1700000000"]);
    redis.put("npu-worker", KEY_B);
    redis.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
    within(SOON, "the new key to be the current one", || call(&sidecar, "npu-worker", KEY_B) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200, "the old one is on its way out");
    redis.cli(&["DEL", companion]);
    redis.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
    within(SOON, "the old key to be out", || call(&sidecar, "npu-worker", KEY_A) == 401);
    assert_eq!(call(&sidecar, "npu-worker", KEY_B), 200);
}

#[test]
fn a_look_in_the_middle_of_a_switch_sees_one_side_of_it_or_the_other() {
    let Some(redis) = Redis::start() else { return };
    // Both keys count before the switch and after it; only a mixture of both sides would lack one.
    let sides = [(KEY_A, "next", "next_since", KEY_B), (KEY_B, "previous", "previous_until", KEY_A)];
    let switch = sides.map(|(key, field, at, other)| {
        let (name, companion) = (name("npu-worker"), "{service:key:npu-worker}:countersign");
        format!(
            "EVAL \"redis.call('SET', '{name}', '{key}', 'EX', 7776000) redis.call('DEL', '{companion}') \
             redis.call('HSET', '{companion}', '{field}', '{other}', '{at}', '1700000000')\" 0\r\n"
        )
    });
    let mut line = TcpStream::connect(redis.address).unwrap();
    let mut turn = move |side: usize| {
        line.write_all(switch[side].as_bytes()).unwrap();
        let mut answer = [0; 64];
        let read = line.read(&mut answer).unwrap();
        assert!(answer.starts_with(b"$-1"), "{}", String::from_utf8_lossy(&answer[..read]));
    };
    turn(0);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    let done = AtomicBool::new(false);
    let looks = || sidecar.metric("countersign_key_refreshes_total", &["ok"]);
    let before = looks();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for side in [1, 0].into_iter().cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                turn(side);
                // Long beside the time a look takes, short beside the time between two.
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let refused = (0..count(1500, 20_000))
            .find(|_| call(&sidecar, "npu-worker", KEY_A) != 200 || call(&sidecar, "npu-worker", KEY_B) != 200);
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, None);
    });
    println!("{} looks", looks() - before);
    assert!(looks() > before);
}

#[test]
fn a_sidecar_that_verifies_by_files_says_nothing_of_keys_in_redis() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    redis.cli(&["HSET", "{service:key:npu-worker}:countersign", "next", KEY_B, "next_since", "1700000000"]);
    let upstream = Recorder::plain();
    let by_files = guarding(&upstream, &redis.url())
        .set("keys", "sources", "[\"files\", \"redis\"]")
        .set("keys", "cache", "\"1s\"");
    let sidecar = by_files.start();
    let looks = || sidecar.metric("countersign_key_refreshes_total", &["ok"]);
    let before = looks();
    eventually("some looks at redis", || (looks() > before + 2.0).then_some(()));
    assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401, "a rotation that relied on it would be an outage");
    assert_eq!(redis.cli(&["KEYS", "countersign:verifier:*"]), "");
    assert_eq!(redis.cli(&["EXISTS", "{service:key:npu-worker}:seen"]), "0");
}
