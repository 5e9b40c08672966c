//! Rotation under load: signed traffic from sidecar to sidecar goes on, and not one request is refused.

use super::super::support::process::Process;
use super::super::support::redis::{Redis, Sentinels};
use super::super::support::sidecar::Builder;
use super::super::support::{count, eventually};
use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Traffic until it is told to stop: how many answers were good, and the others.
fn traffic(address: std::net::SocketAddr, mark: &str, stop: &AtomicBool, good: &AtomicUsize) -> Vec<String> {
    let mut bad = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = exchange(address, format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nX-Sender: {mark}\r\n\r\n"));
        if answer.status == 200 {
            good.fetch_add(1, Ordering::Relaxed);
        } else {
            bad.push(format!("{answer:?}"));
        }
    }
    bad
}

const SENDERS: [&str; 2] = ["one", "other"];

/// Was the last request of each sender signed with this key? Then none with another is on its way.
fn signs_with(upstream: &Recorder, key: &str) -> Option<()> {
    let requests = upstream.requests();
    let with_it = |sender: &&str| {
        let seen = requests.iter().rev().find(|request| request.fields.one("x-sender") == Some(sender))?;
        let timestamp = seen.fields.one("x-service-timestamp")?.parse().ok()?;
        let expected = sign::signature(key, "npu-worker", "GET", PATH, timestamp);
        (seen.fields.one("x-service-signature") == Some(expected.as_str())).then_some(())
    };
    SENDERS.iter().all(|sender| with_it(sender).is_some()).then_some(())
}

#[test]
fn rotations_under_load_refuse_nobody() {
    for guarded in Guarded::each(|builder| builder) {
        let rotations = match guarded.place {
            Place::Redis(_) => count(20, 200),
            // Each gives verifiers nobody knows of two seconds.
            Place::Directory(_) => count(3, 20),
        };
        let signing = Builder::signing(&format!("http://{}", guarded.sidecar.address));
        let own = match &guarded.place {
            Place::Redis(_) => signing.set("service", "key", "\"redis\""),
            Place::Directory(_) => signing,
        };
        let signer = guarded.place.configure(own).start();
        let (stop, good) = (AtomicBool::new(false), AtomicUsize::new(0));
        let bad = std::thread::scope(|scope| {
            let send = |mark| {
                let (address, stop, good) = (signer.address, &stop, &good);
                scope.spawn(move || traffic(address, mark, stop, good))
            };
            let senders = SENDERS.map(send);
            let mut key = KEY_A.to_owned();
            for turn in 0..rotations {
                eventually("the signer to use the key", || signs_with(&guarded.upstream, &key));
                let before = good.load(Ordering::Relaxed);
                let rotated = json(&guarded.keys(&["rotate", "npu-worker", "--force", "--json"]), 0);
                assert_eq!((&rotated["outcome"], &rotated["unaware"]), (&"rotated".into(), &Value::Array(vec![])));
                let new = guarded.place.key().unwrap();
                assert_ne!(new, key, "another program of the fleet sees the current key");
                let told = listed(&guarded.sidecar.config_path());
                assert_eq!(told["fingerprint"], rotated["fingerprint"], "turn {turn}: {told}");
                assert_eq!(told["previous"]["fingerprint"], rotated["previous"]["fingerprint"]);
                assert!(good.load(Ordering::Relaxed) > before, "traffic went on");
                assert_eq!((guarded.status(&key), guarded.status(&new)), (200, 200), "both are taken");
                key = new;
            }
            eventually("the signer to use the last key", || signs_with(&guarded.upstream, &key));
            stop.store(true, Ordering::Relaxed);
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        });
        let good = good.into_inner();
        println!("{rotations} rotations, {good} requests, {} refused", bad.len());
        assert!(bad.is_empty(), "{} of {good} refused, first: {}", bad.len(), bad[0]);
    }
}

#[test]
fn a_verifier_that_reads_only_the_key_sees_the_current_one_at_every_moment() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let place = Place::Redis(redis);
    let sidecar = place.configure(Builder::guarding(upstream.address)).start();
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let foreign = scope.spawn(|| {
            let mut seen = vec![place.key()];
            while !stop.load(Ordering::Relaxed) {
                let key = place.key();
                if seen.last() != Some(&key) {
                    seen.push(key);
                }
            }
            seen
        });
        for _ in 0..3 {
            ended(&keys(&sidecar.config_path(), &["rotate", "npu-worker", "--force"]), 0);
        }
        stop.store(true, Ordering::Relaxed);
        foreign.join().unwrap()
    });
    assert!(seen.iter().all(Option::is_some), "never none");
    assert!(seen.len() <= 4, "A and three more, each once: {}", seen.len());
    let Place::Redis(redis) = &place else { return };
    let left: i64 = redis.cli(&["TTL", &super::name("npu-worker")]).parse().unwrap();
    assert!((7_775_000..=7_776_000).contains(&left), "a full time to live: {left}");
}

#[test]
fn what_is_due_is_rotated_and_what_is_not_is_left_alone() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    redis.cli(&["SET", &super::name("ai-stack"), KEY_B, "EX", "600000"]);
    redis.cli(&["SET", &super::name("old-one"), KEY_B]);
    let upstream = Recorder::plain();
    let place = Place::Redis(redis);
    let sidecar = place.configure(Builder::guarding(upstream.address)).start();
    let text = ended(&keys(&sidecar.config_path(), &["rotate", "--due"]), 0);
    assert!(text.contains("ai-stack: rotated to"), "less than 7 days are left: {text}");
    assert!(text.contains("npu-worker: not due"), "{text}");
    assert!(text.contains("old-one: not due; nobody knows its age"), "{text}");
    assert_eq!(place.key().as_deref(), Some(KEY_A));
    let again = ended(&keys(&sidecar.config_path(), &["rotate", "--due"]), 0);
    assert!(!again.contains("rotated to"), "once: {again}");
}

#[test]
fn rotations_and_a_failover_under_load_refuse_nobody() {
    let Some(mut sentinels) = Sentinels::start() else { return };
    sentinels.master().unwrap().put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let follow = |builder: Builder| builder.set("keys", "redis", format!("{:?}", sentinels.url()));
    let verifier = follow(Builder::guarding(upstream.address).unlimited()).start();
    let signing = Builder::signing(&format!("http://{}", verifier.address));
    let signer = follow(signing.set("service", "key", "\"redis\"")).start();
    let (stop, good) = (AtomicBool::new(false), AtomicUsize::new(0));
    let bad = std::thread::scope(|scope| {
        let senders = SENDERS.map(|mark| {
            let (address, stop, good) = (signer.address, &stop, &good);
            scope.spawn(move || traffic(address, mark, stop, good))
        });
        let rotate = |arguments: &[&str]| {
            let arguments = [&["rotate", "npu-worker", "--json"], arguments].concat();
            keys(&verifier.config_path(), &arguments)
        };
        let first = json(&rotate(&[]), 0);
        eventually("the signer to use the new key", || {
            let key = sentinels.master()?.cli(&["GET", &super::name("npu-worker")]);
            signs_with(&upstream, &key)
        });
        // The next one begins, and in the middle of it the master goes.
        let mut command = countersign();
        command.args(["keys", "rotate", "npu-worker", "--force", "--config"]).arg(verifier.config_path());
        let second = Process::start(&command);
        let port = sentinels.master().unwrap().address.port();
        let place = sentinels.servers.iter().position(|server| server.address.port() == port).unwrap();
        sentinels.servers[place].stop();
        eventually("another master", || sentinels.master().filter(|master| master.address.port() != port).map(drop));
        drop(second);
        let third = eventually("a rotation through the new master", || {
            let output = rotate(&["--force"]);
            said(&output);
            output.status.success().then(|| json(&output, 0))
        });
        assert_ne!(third["fingerprint"], first["fingerprint"]);
        eventually("the signer to use the last key", || {
            let key = sentinels.master()?.cli(&["GET", &super::name("npu-worker")]);
            signs_with(&upstream, &key)
        });
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(bad.is_empty(), "{} of {} refused, first: {}", bad.len(), good.into_inner(), bad[0]);
}
