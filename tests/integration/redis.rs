//! Keys in Redis through a running sidecar: what counts, what is revoked, what lapses, who may ask, what is counted.

use super::support::raw::{self, get_with};
use super::support::recorder::Recorder;
use super::support::redis::{FLEET_TTL, Redis, certificates, name, within};
use super::support::sidecar::{Builder, Sidecar, write_private};
use super::support::{KEY_A, KEY_B, eventually, sign};
use std::time::Duration;

mod faults;
mod reload;
mod rotation;
mod topologies;

const GUARDED: &str = "/api/internal/x";

/// What is promised after a change, a recovery.
const SOON: Duration = Duration::from_secs(2);

/// A sidecar with keys from this Redis alone.
fn guarding(recorder: &Recorder, url: &str) -> Builder {
    Builder::guarding(recorder.address)
        .set("keys", "redis", format!("{url:?}"))
        .set("keys", "sources", "[\"redis\"]")
        .unlimited()
}

/// A call signed with this key: its status.
fn call(sidecar: &Sidecar, id: &str, key: &str) -> u16 {
    get_with(sidecar.address, GUARDED, &sign::headers(key, id, "GET", GUARDED)).status
}

/// Why a call signed with this key is refused, as the answer says.
fn reason(sidecar: &Sidecar, id: &str, key: &str) -> (u16, String) {
    let answer = get_with(sidecar.address, GUARDED, &sign::headers(key, id, "GET", GUARDED));
    (answer.status, if answer.status == 200 { String::new() } else { answer.reason() })
}

fn log(sidecar: &Sidecar) -> String {
    sidecar.process.stderr.text() + &sidecar.process.stdout.text()
}

#[track_caller]
fn logged(sidecar: &Sidecar, what: &str) {
    eventually(&format!("the log to say: {what}"), || log(sidecar).contains(what).then_some(()));
}

#[test]
fn a_key_that_others_write_replace_and_delete_counts_within_two_seconds() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    assert_eq!(reason(&sidecar, "npu-worker", KEY_B), (401, "invalid_credentials".to_owned()));
    assert_eq!(reason(&sidecar, "ai-stack", KEY_B), (401, "invalid_credentials".to_owned()));
    redis.put("ai-stack", KEY_B);
    within(SOON, "a new key to count", || call(&sidecar, "ai-stack", KEY_B) == 200);
    redis.put("ai-stack", KEY_A);
    within(SOON, "a replaced key to count", || call(&sidecar, "ai-stack", KEY_A) == 200);
    assert_eq!(call(&sidecar, "ai-stack", KEY_B), 401);
    redis.delete("ai-stack");
    within(SOON, "a deleted key not to count", || call(&sidecar, "ai-stack", KEY_A) == 401);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    logged(&sidecar, "deleted in redis before its expiry");
    let changes: Vec<String> = eventually("the changes on record", || {
        let audit = sidecar.audit();
        let of_keys = audit.iter().filter(|record| record["event"] == "key" && record["who"] == "redis");
        let why: Vec<String> = of_keys.map(|record| record["why"].as_str().unwrap().to_owned()).collect();
        (why.len() == 3).then_some(why)
    });
    assert_eq!(changes, ["a key came", "a key changed", "a key went"]);
    assert_eq!(sidecar.metric("countersign_keys_deleted_total", &[]), 1.0);
    assert!(!log(&sidecar).contains(&KEY_A[..16]) && !sidecar.metrics().contains(&KEY_A[..16]));
}

#[test]
fn a_redis_that_lost_its_data_opens_nothing_and_stops_nobody_until_the_keys_are_back() {
    let Some(mut redis) = Redis::start() else { return };
    let upstream = Recorder::plain();
    let put = |redis: &Redis| {
        redis.put("npu-worker", KEY_A);
        redis.put("ai-stack", KEY_B);
    };
    for restarted in [false, true] {
        put(&redis);
        let sidecar = guarding(&upstream, &redis.url()).start();
        assert_eq!((call(&sidecar, "npu-worker", KEY_A), call(&sidecar, "ai-stack", KEY_B)), (200, 200));
        eventually("the mark", || (redis.cli(&["EXISTS", "countersign:database"]) == "1").then_some(()));
        if restarted {
            redis.stop();
            redis.start_again();
        } else {
            redis.cli(&["FLUSHALL"]);
        }
        within(SOON, "the loss to be seen", || sidecar.metric("countersign_keys_lost", &[]) == 2.0);
        logged(&sidecar, "redis has lost its data");
        assert_eq!((call(&sidecar, "npu-worker", KEY_A), call(&sidecar, "ai-stack", KEY_B)), (200, 200));
        assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401);
        assert_eq!(call(&sidecar, "stranger", KEY_B), 401);
        assert_eq!(get_with(sidecar.address, GUARDED, "").status, 401);
        redis.cli(&["HSET", "{service:key:ai-stack}:countersign", "revoked", "1700000000"]);
        redis.cli(&["PUBLISH", "countersign:keys", "ai-stack"]);
        within(SOON, "a revocation to count all the same", || call(&sidecar, "ai-stack", KEY_B) == 401);
        redis.put("npu-worker", KEY_B);
        within(SOON, "a key that is written anew to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
        assert_eq!((call(&sidecar, "npu-worker", KEY_A), sidecar.metric("countersign_keys_lost", &[])), (401, 0.0));
        redis.delete("npu-worker");
        within(SOON, "a deletion to be one", || call(&sidecar, "npu-worker", KEY_B) == 401);
        redis.cli(&["FLUSHALL"]);
    }
}

#[test]
fn a_key_that_lapses_serves_on_for_the_grace_and_one_that_is_revoked_then_does_not() {
    let Some(redis) = Redis::start() else { return };
    redis.cli(&["SET", &name("npu-worker"), KEY_A, "PX", "1500"]);
    redis.put("ai-stack", KEY_B);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).set("keys", "cache", "\"1s\"").start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    within(SOON, "the lapse to be seen", || sidecar.metric("countersign_keys_lapsed", &[]) == 1.0);
    logged(&sidecar, "the key lapsed in redis and serves on for the grace only");
    assert_eq!(redis.cli(&["EXISTS", &name("npu-worker")]), "0");
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    assert_eq!(sidecar.metric("service_key_ttl_days", &["service_id=\"npu-worker\""]), 0.0);
    redis.cli(&["HSET", "{service:key:npu-worker}:countersign", "revoked", "1700000000"]);
    redis.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
    within(SOON, "a revocation to end the grace", || call(&sidecar, "npu-worker", KEY_A) == 401);
    assert_eq!(call(&sidecar, "ai-stack", KEY_B), 200);
}

#[test]
fn without_grace_a_lapsed_key_counts_no_more() {
    let Some(redis) = Redis::start() else { return };
    redis.cli(&["SET", &name("npu-worker"), KEY_A, "PX", "1500"]);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).set("keys", "grace", "\"0s\"").start();
    within(SOON, "the lapsed key not to count", || call(&sidecar, "npu-worker", KEY_A) == 401);
    logged(&sidecar, "the key lapsed in redis: it is no longer taken");
}

#[test]
fn the_days_a_key_has_left_are_shown_and_told() {
    let Some(redis) = Redis::start() else { return };
    redis.put("fresh", KEY_A);
    redis.cli(&["SET", &name("old"), KEY_A, "EX", "1000000"]);
    redis.cli(&["SET", &name("unused"), KEY_A, "EX", "1000"]);
    redis.cli(&["SET", &name("for-ever"), KEY_A]);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).set("services.unused", "unused", "true").start();
    let days = |id: &str| sidecar.metric("service_key_ttl_days", &[&format!("service_id=\"{id}\"")]);
    let fleet = FLEET_TTL as f64 / 86_400.0;
    assert!((fleet - 0.1..=fleet).contains(&days("fresh")), "{}", days("fresh"));
    assert!((11.4..11.6).contains(&days("old")) && days("unused") < 0.02);
    assert!(!sidecar.metrics().contains("service_key_ttl_days{service_id=\"for-ever\"}"));
    logged(&sidecar, "about to lapse");
    let told: Vec<String> =
        log(&sidecar).lines().filter(|line| line.contains("about to lapse")).map(Into::into).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("old") && told[0].contains("14"), "{told:?}");
}

#[test]
fn strangers_make_redis_work_once_a_second_at_most() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    redis.cli(&["CONFIG", "RESETSTAT"]);
    let began = std::time::Instant::now();
    let mut calls = 0u32;
    let mut client = raw::Client::connect(sidecar.address);
    while began.elapsed() < Duration::from_secs(3) {
        let id = format!("stranger-{calls}");
        let headers = sign::headers(KEY_B, &id, "GET", GUARDED);
        client.send(format!("GET {GUARDED} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        assert_eq!(client.answer().status, 401);
        calls += 1;
    }
    let most = began.elapsed().as_secs() + 2;
    let (scans, reads) = (redis.calls("scan"), redis.calls("getrange"));
    println!("{calls} unknown ids in {:?}: {scans} SCAN, {reads} GETRANGE", began.elapsed());
    assert!((1..=most).contains(&scans), "{scans} listings for {calls} calls");
    assert!(reads <= most, "{reads} reads: only of what is there");
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
}

#[test]
fn what_a_caller_claims_never_becomes_part_of_a_command() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    redis.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    redis.cli(&["CONFIG", "SET", "slowlog-max-len", "10000"]);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    redis.cli(&["SLOWLOG", "RESET"]);
    for id in ["a:b", "*", "a b", "a\tb", "{x}", "a/../b", "%0d%0aFLUSHALL", "-a", "", "marked-but-well-formed"] {
        assert_eq!(call(&sidecar, id, KEY_A), 401, "{id:?}");
    }
    let before = sidecar.metric("countersign_key_refreshes_total", &["ok"]);
    within(SOON, "a look that they asked for", || {
        sidecar.metric("countersign_key_refreshes_total", &["ok"]) > before || redis.calls("scan") > 1
    });
    let asked = redis.cli(&["SLOWLOG", "GET", "10000"]);
    for word in ["a:b", "FLUSHALL", "{x}", "..", "marked"] {
        assert!(!asked.contains(word), "{word}: {asked}");
    }
}

#[test]
fn passwords_users_and_what_they_may_do() {
    let password = "a-fake-password-of-the-tests";
    let Some(redis) = Redis::start_with(&["--requirepass", password], &["-a", password, "--no-auth-warning"]) else {
        return;
    };
    redis.put("npu-worker", KEY_A);
    for user in ["countersign", "countersign-keys"] {
        let words = acl(user, password);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        redis.cli(&[&["ACL", "SETUSER"], &words[..]].concat());
    }
    let reader: Vec<&str> =
        "reader on >a-fake-password-of-the-tests ~service:key:* +ping +hello +get".split(' ').collect();
    redis.cli(&[&["ACL", "SETUSER"], &reader[..]].concat());
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("redis-password");
    write_private(&file, &format!("{password}\n"));
    let with = |user: &str| {
        let url = format!("redis://{user}{}/0", redis.address);
        guarding(&upstream, &url).set("keys", "redis_password_file", format!("{file:?}"))
    };
    for user in ["", "countersign@"] {
        let sidecar = with(user).start();
        assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200, "{user}");
        redis.put("npu-worker", KEY_B);
        within(SOON, "a replaced key to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
        redis.put("npu-worker", KEY_A);
        within(SOON, "a replaced key to count", || call(&sidecar, "npu-worker", KEY_A) == 200);
        eventually("its presence", || redis.cli(&["KEYS", "countersign:verifier:*"]).contains(':').then_some(()));
        let companion = "{service:key:npu-worker}:countersign";
        redis.cli(&["HSET", companion, "next", KEY_B, "next_since", "1700000000"]);
        redis.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
        eventually("its word that it takes the staged key", || {
            redis.cli(&["HKEYS", "{service:key:npu-worker}:seen"]).contains('-').then_some(())
        });
        redis.cli(&["DEL", companion, "{service:key:npu-worker}:seen"]);
        redis.cli(&["DEL", companion]);
        let log = log(&sidecar);
        assert!(
            !["not permit", "takes no word", "does not tell", "tells us no news"]
                .iter()
                .any(|says| log.contains(says)),
            "{log}"
        );
        assert!(!log.contains(password));
    }
    for (builder, says) in [
        (guarding(&upstream, &redis.url()), "NOAUTH"),
        (guarding(&upstream, &redis.url()).environment("REDIS_PASSWORD", "wrong-password-of-the-tests"), "WRONGPASS"),
        (with("nobody@"), "WRONGPASS"),
        (with("reader@"), "does not permit"),
    ] {
        let sidecar = builder.start();
        logged(&sidecar, says);
        assert_eq!(reason(&sidecar, "npu-worker", KEY_A), (503, "keys_unavailable".to_owned()), "{says}");
        let log = log(&sidecar);
        assert!(!log.contains(password) && !log.contains("wrong-password"), "{log}");
    }
}

#[test]
fn a_verifier_that_may_not_tell_what_it_saw_says_so() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let password = "a-fake-password-of-the-tests";
    let words = acl("countersign", password);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["-hset"]).collect();
    redis.cli(&[&["ACL", "SETUSER"], &words[..]].concat());
    let upstream = Recorder::plain();
    let url = format!("redis://countersign@{}/0", redis.address);
    let sidecar = guarding(&upstream, &url).environment("REDIS_PASSWORD", password).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    logged(&sidecar, "redis is not told when keys were used");
    redis.cli(&["HSET", "{service:key:npu-worker}:countersign", "next", KEY_B, "next_since", "1700000000"]);
    redis.cli(&["PUBLISH", "countersign:keys", "npu-worker"]);
    logged(&sidecar, "redis takes no word of this verifier");
}

/// The user that the README tells to make: the words of its line.
fn acl(user: &str, password: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let from = readme.find(&format!("user {user} on >PASSWORD")).unwrap();
    let line = readme[from..].split("```").next().unwrap().replace("PASSWORD", password);
    line.split_whitespace().skip(1).map(ToOwned::to_owned).collect()
}

#[test]
fn over_tls_redis_must_be_whom_it_should_be_and_so_must_we() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (port, (ca, cert, key)) =
        (super::support::free_address().port().to_string(), (file("ca.pem"), file("server.pem"), file("server.key")));
    let arguments = [
        "--port",
        "0",
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "yes",
    ];
    let (client, client_key) = (file("client.pem"), file("client.key"));
    let login = ["--tls", "--cacert", &ca, "--cert", &client, "--key", &client_key];
    let Some(redis) = Redis::start_tls(&arguments, &login, &port) else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let with = |tls: &str| {
        let url = format!("rediss://{}/0", redis.address);
        guarding(&upstream, &url).set("keys", "redis_tls", tls)
    };
    let identity = format!("cert = {client:?}, key = {client_key:?}");
    for tls in [
        format!("{{ ca = {ca:?}, {identity} }}"),
        format!("{{ ca = {ca:?}, name = \"redis.internal\", {identity} }}"),
    ] {
        let sidecar = with(&tls).start();
        assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
        redis.put("npu-worker", KEY_B);
        within(SOON, "a replaced key to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
        redis.put("npu-worker", KEY_A);
    }
    let other = file("other-ca.pem");
    for tls in [
        format!("{{ ca = {other:?}, {identity} }}"),
        format!("{{ ca = {ca:?}, name = \"another.internal\", {identity} }}"),
        format!("{{ ca = {ca:?} }}"),
    ] {
        let sidecar = with(&tls).start();
        logged(&sidecar, "redis cannot be asked for keys");
        assert_eq!(reason(&sidecar, "npu-worker", KEY_A), (503, "keys_unavailable".to_owned()), "{tls}");
    }
}
