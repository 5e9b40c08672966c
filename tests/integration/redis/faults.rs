//! Redis that refuses, hangs, is slow, loads, talks nonsense, holds nonsense: never open, cached keys go on, recovery by
//! itself.

use super::super::support::raw::{self, get_with};
use super::super::support::recorder::Recorder;
use super::super::support::redis::{Redis, name, within};
use super::super::support::refusal::assert_own_failure;
use super::super::support::sidecar::{Builder, Sidecar, countersign, write_private};
use super::super::support::{KEY_A, KEY_B, eventually, free_address, sign};
use super::{GUARDED, SOON, call, guarding, log, logged, reason};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is promised for a decision, however Redis behaves.
const DECIDED: Duration = Duration::from_millis(750);

fn stale(sidecar: &Sidecar) -> f64 {
    sidecar.metric("countersign_keys_stale_seconds", &[])
}

/// A call whose answer comes in time.
fn prompt_call(sidecar: &Sidecar, id: &str, key: &str) -> u16 {
    let began = Instant::now();
    let status = call(sidecar, id, key);
    assert!(began.elapsed() < DECIDED * 5, "{:?}", began.elapsed());
    status
}

/// While Redis is away: cached keys serve, wrong ones do not, strangers are told to come again.
fn serves_from_its_cache(sidecar: &Sidecar) {
    within(Duration::from_secs(6), "the outage to be seen", || stale(sidecar) > 0.0);
    logged(sidecar, "redis cannot be asked for keys");
    for _ in 0..20 {
        assert_eq!(prompt_call(sidecar, "npu-worker", KEY_A), 200);
        assert_eq!(prompt_call(sidecar, "npu-worker", KEY_B), 401);
        assert_eq!(prompt_call(sidecar, "stranger", KEY_A), 503);
    }
    let answer = get_with(sidecar.address, GUARDED, &sign::headers(KEY_A, "stranger", "GET", GUARDED));
    assert_own_failure(&answer, 503);
    assert_eq!(answer.fields.one("X-Countersign-Error"), Some("keys_unavailable"));
    assert!(answer.fields.one("Retry-After").is_some());
    assert_eq!(get_with(sidecar.address, "/api/chat", "").status, 200, "exempt paths do not care");
}

fn recovers(sidecar: &Sidecar) {
    within(SOON, "it to recover by itself", || stale(sidecar) == 0.0 && call(sidecar, "stranger", KEY_A) == 401);
    assert_eq!(call(sidecar, "npu-worker", KEY_A), 200);
    logged(sidecar, "redis answers again");
}

#[test]
fn while_redis_refuses_or_hangs_cached_keys_serve_and_it_recovers_by_itself() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    redis.cli(&["SAVE"]);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    redis.stop();
    serves_from_its_cache(&sidecar);
    redis.start_again();
    recovers(&sidecar);
    redis.signal("STOP");
    serves_from_its_cache(&sidecar);
    redis.signal("CONT");
    recovers(&sidecar);
}

#[test]
fn redis_without_memory_still_tells_of_deleted_keys_and_lets_keys_be_revoked() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    redis.put("ai-stack", KEY_B);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    redis.delete("npu-worker");
    within(SOON, "the deleted key not to count", || call(&sidecar, "npu-worker", KEY_A) == 401);
    assert_eq!(call(&sidecar, "ai-stack", KEY_B), 200);
    let revoke = ["keys", "revoke", "ai-stack", "--config"];
    let revoked = countersign().args(revoke).arg(sidecar.config_path()).output().unwrap();
    assert!(revoked.status.success(), "{revoked:?}");
    within(SOON, "the revoked key not to count", || call(&sidecar, "ai-stack", KEY_B) == 401);
}

#[test]
fn what_is_cached_serves_no_longer_than_it_may() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let sidecar =
        guarding(&upstream, &redis.url()).set("keys", "cache", "\"1s\"").set("keys", "stale", "\"2s\"").start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    redis.stop();
    eventually("the cached key not to count", || (call(&sidecar, "npu-worker", KEY_A) == 503).then_some(()));
    logged(&sidecar, "for longer than [keys].stale");
}

#[test]
fn a_start_without_redis_serves_what_needs_no_key_and_the_rest_as_soon_as_it_is_there() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    redis.cli(&["SAVE"]);
    let upstream = Recorder::plain();
    for hangs in [false, true] {
        if hangs {
            redis.signal("STOP")
        } else {
            redis.stop()
        }
        let sidecar = guarding(&upstream, &redis.url()).start();
        assert_eq!(reason(&sidecar, "npu-worker", KEY_A), (503, "keys_unavailable".to_owned()));
        assert_eq!(get_with(sidecar.address, "/api/chat", "").status, 200);
        if hangs {
            redis.signal("CONT")
        } else {
            redis.start_again()
        }
        within(SOON, "keys to be there", || call(&sidecar, "npu-worker", KEY_A) == 200);
    }
}

#[test]
fn files_are_asked_when_redis_cannot_be_reached_and_never_because_it_has_no_such_key() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_B);
    redis.cli(&["SAVE"]);
    let upstream = Recorder::plain();
    redis.stop();
    // The files hold key a of npu-worker and key b of ai-stack.
    let sidecar = guarding(&upstream, &redis.url()).set("keys", "sources", "[\"redis\", \"files\"]").start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    assert_eq!(call(&sidecar, "ai-stack", KEY_B), 200);
    assert_eq!(reason(&sidecar, "stranger", KEY_A), (503, "keys_unavailable".to_owned()), "it may be in redis");
    redis.start_again();
    within(SOON, "the keys of redis to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 401, "the file's");
    assert_eq!(call(&sidecar, "ai-stack", KEY_B), 401, "only in a file");
}

#[test]
fn one_bad_entry_leaves_the_last_good_key_serving_and_the_others_alone() {
    let Some(redis) = Redis::start() else { return };
    let key = name("npu-worker");
    let upstream = Recorder::plain();
    redis.put("npu-worker", KEY_A);
    redis.put("ai-stack", KEY_B);
    let sidecar = guarding(&upstream, &redis.url()).start();
    let before = sidecar.process.peak_memory();
    let bad: [(&[&str], &str); 6] = [
        (&["LPUSH", &key, "a"], "another type"),
        (&["SETRANGE", &key, "10000000", "a"], "holds more than 4096 bytes"),
        (&["SET", &key, "short"], "is no key"),
        (&["SET", &key, ""], "is no key"),
        (
            &[
                "SET",
                &key,
                "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            ],
            "is no key",
        ),
        (&["HSET", "{service:key:npu-worker}:countersign", "next", "short", "next_since", "1"], "is no key"),
    ];
    for (command, says) in bad {
        let count = log(&sidecar).matches(says).count();
        if command[0] == "HSET" {
            redis.put("npu-worker", KEY_A);
            redis.cli(command);
            redis.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
        } else {
            // In one step: a key that is gone in between would be a deletion.
            let script = match command[0] {
                "SETRANGE" => "redis.call('DEL', KEYS[1]); return redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3])",
                _ => "redis.call('DEL', KEYS[1]); return redis.call(ARGV[1], KEYS[1], ARGV[2])",
            };
            redis.cli(&[&["EVAL", script, "1", command[1], command[0]], &command[2..]].concat());
        }
        eventually(&format!("the log to say once more: {says}"), || {
            (log(&sidecar).matches(says).count() > count).then_some(())
        });
        assert_eq!(sidecar.metric("countersign_keys_unreadable", &[]), 1.0, "{command:?}");
        assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200, "{command:?}");
        assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401, "{command:?}");
        assert_eq!(call(&sidecar, "ai-stack", KEY_B), 200, "{command:?}");
    }
    let grown = sidecar.process.peak_memory() - before;
    assert!(grown < 8_000_000, "a value of 10 MB was read: {grown}");
    redis.cli(&["DEL", "{service:key:npu-worker}:countersign"]);
    redis.put("npu-worker", KEY_B);
    within(SOON, "a good key to count again", || call(&sidecar, "npu-worker", KEY_B) == 200);
    within(SOON, "nothing to be unreadable", || sidecar.metric("countersign_keys_unreadable", &[]) == 0.0);
}

/// A server that greets like Redis and then answers each command with these bytes, if any, and closes if it should.
fn impostor(answer: &'static [u8], closes: bool) -> SocketAddr {
    let address = free_address();
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                let mut greeted = false;
                while let Ok(read) = stream.read(&mut bytes) {
                    if read == 0 {
                        break;
                    }
                    let sent = if greeted { answer } else { b"%1\r\n$5\r\nproto\r\n:3\r\n" };
                    if stream.write_all(sent).is_err() || (greeted && closes) {
                        break;
                    }
                    greeted = true;
                }
            });
        }
    });
    address
}

#[test]
fn whatever_a_redis_answers_nothing_opens_and_nothing_hangs() {
    let upstream = Recorder::plain();
    let kinds: [(&[u8], bool, &str); 7] = [
        (b"-LOADING Redis is loading the dataset in memory\r\n", false, "is loading its data"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", false, "no master answers"),
        (b"$100\r\nhalf of it", true, "cannot be reached"),
        (b"", true, "cannot be reached"),
        (b"", false, "did not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", true, "redis cannot be asked"),
        (b"*1000000000\r\n", false, "redis cannot be asked"),
    ];
    for (answer, closes, says) in kinds {
        let address = impostor(answer, closes);
        let sidecar = guarding(&upstream, &format!("redis://{address}/0")).start();
        logged(&sidecar, says);
        assert_eq!(prompt_call(&sidecar, "npu-worker", KEY_A), 503, "{says}");
    }
    assert_eq!(upstream.requests().iter().filter(|request| request.target.starts_with("/api/internal")).count(), 0);
}

/// Passes bytes on, each answer late.
fn slow(to: SocketAddr, by: Duration) -> SocketAddr {
    let address = free_address();
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else { continue };
            let (mut up, mut down) = (server.try_clone().unwrap(), stream.try_clone().unwrap());
            let (mut from_client, mut from_server) = (stream, server);
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut up));
            std::thread::spawn(move || {
                let mut bytes = [0; 65536];
                while let Ok(read @ 1..) = from_server.read(&mut bytes) {
                    std::thread::sleep(by);
                    if down.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_slow_redis_delays_no_decision() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let bearable = slow(redis.address, Duration::from_millis(50));
    let sidecar = guarding(&upstream, &format!("redis://{bearable}/0")).start();
    within(SOON, "the keys to be there", || prompt_call(&sidecar, "npu-worker", KEY_A) == 200);
    // So slow that a decision which waits for it even once is late.
    let unbearable = slow(redis.address, 2 * DECIDED * 5);
    let sidecar = guarding(&upstream, &format!("redis://{unbearable}/0")).start();
    for _ in 0..20 {
        assert_eq!(prompt_call(&sidecar, "npu-worker", KEY_A), 503);
    }
    logged(&sidecar, "did not answer");
}

#[test]
fn a_replica_is_as_good_to_read_from() {
    let Some(master) = Redis::start() else { return };
    master.put("npu-worker", KEY_A);
    let port = master.address.port().to_string();
    let Some(replica) =
        Redis::start_with(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"], &[])
    else {
        return;
    };
    eventually("the replica to have the key", || (replica.cli(&["GET", &name("npu-worker")]) == KEY_A).then_some(()));
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &replica.url()).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    logged(&sidecar, "takes no word of this verifier");
    master.put("npu-worker", KEY_B);
    within(SOON, "a replaced key to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
    assert_eq!(stale(&sidecar), 0.0);
}

fn seal(directory: &Path, digits: &str) -> String {
    let path = directory.join("seal");
    write_private(&path, &format!("{}\n", digits.repeat(32)));
    format!("{path:?}")
}

#[test]
fn a_restart_while_redis_is_away_goes_on_with_the_sealed_copy_unless_somebody_touched_it() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let mut sidecar =
        guarding(&upstream, &redis.url()).set("keys", "sealed_copy", seal(directory.path(), "5e")).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    let copy = sidecar.directory.join("state/keys.sealed");
    let good = eventually("the copy", || std::fs::read(&copy).ok());
    assert!(!good.windows(16).any(|window| window == &KEY_A.as_bytes()[..16]));
    redis.stop();
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    let config = sidecar.config_path();
    let start = || {
        let again = Builder::guarding(upstream.address).launch_with(&config);
        eventually("the sidecar to be there again", || raw::Client::try_connect(again.address).map(drop));
        again
    };
    let mut again = start();
    assert_eq!(call(&again, "npu-worker", KEY_A), 200);
    assert_eq!(call(&again, "npu-worker", KEY_B), 401);
    assert_eq!(call(&again, "stranger", KEY_B), 503);
    assert!(stale(&again) > 0.0);

    again.process.signal("TERM");
    again.process.wait();
    let mut touched = good.clone();
    let middle = touched.len() / 2;
    touched[middle] ^= 1;
    std::fs::write(&copy, &touched).unwrap();
    let mut third = start();
    logged(&third, "the sealed copy of the keys cannot be used");
    assert_eq!(call(&third, "npu-worker", KEY_A), 503);

    third.process.signal("TERM");
    third.process.wait();
    std::fs::write(&copy, &good).unwrap();
    seal(directory.path(), "0f");
    let fourth = start();
    logged(&fourth, "the sealed copy of the keys cannot be used");
    assert_eq!(call(&fourth, "npu-worker", KEY_A), 503);
}

#[test]
fn a_service_that_signs_with_a_key_of_redis_does_not_start_without_it() {
    let Some(mut redis) = Redis::start() else { return };
    let upstream = Recorder::plain();
    let out = free_address();
    let signing = |redis: &Redis| {
        guarding(&upstream, &redis.url())
            .set("service", "id", "\"npu-worker\"")
            .set("service", "key", "\"redis\"")
            .set("[outbound]", "listen", format!("\"{out}\""))
            .set("[outbound]", "upstream", format!("\"http://{}\"", upstream.address))
    };
    let refused = |redis: &Redis, says: &str| {
        let mut sidecar = signing(redis).launch();
        assert_eq!(sidecar.process.wait().code(), Some(1));
        let log = log(&sidecar);
        assert!(log.contains(says) && log.contains("npu-worker"), "{log}");
    };
    refused(&redis, "which signs what leaves");
    redis.put("npu-worker", KEY_A);
    let sidecar = signing(&redis).start_alive();
    let signed = || {
        let answer = raw::exchange(out, format!("GET /echo/me HTTP/1.1\r\nHost: {out}\r\nConnection: close\r\n\r\n"));
        let sent = upstream.requests().into_iter().rfind(|request| request.target == "/echo/me");
        sent.filter(|_| answer.status == 200)
    };
    let signature = |key: &str| {
        signed().is_some_and(|sent| {
            let field = |name: &str| sent.fields.one(name).unwrap_or_default().to_owned();
            let time = field("X-Service-Timestamp").parse().unwrap_or_default();
            field("X-Service-Signature") == sign::signature(key, "npu-worker", "GET", "/echo/me", time)
        })
    };
    within(SOON, "what leaves to be signed with the key", || signature(KEY_A));
    redis.put("npu-worker", KEY_B);
    within(SOON, "what leaves to be signed with the new key", || signature(KEY_B));
    redis.stop();
    assert!(signature(KEY_B));
    drop(sidecar);
    refused(&redis, "cannot be reached");
}
