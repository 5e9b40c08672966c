//! Override grants for a whole fleet: real sidecars and a real Redis; who has its password alone grants nothing and ends nothing.

use super::support::eventually;
use super::support::raw::get_with;
use super::support::recorder::Recorder;
use super::support::redis::Redis;
use super::support::sidecar::{Builder, Sidecar, countersign, write_private};
use serde_json::Value;
use std::path::PathBuf;

const PATH: &str = "/api/internal/x";
const WORDS: &str = "countersign:{grants}";

struct Fleet {
    upstream: Recorder,
    redis: Redis,
    key: PathBuf,
    _directory: tempfile::TempDir,
}

impl Fleet {
    /// `None` where there is no redis-server.
    fn new() -> Option<Fleet> {
        let redis = Redis::start()?;
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("fleet-key");
        write_private(&key, &format!("{}\n", "5".repeat(64)));
        Some(Fleet { upstream: Recorder::plain(), redis, key, _directory: directory })
    }

    /// A sidecar that Redis lets do what the README says, and no more.
    fn permitted(&self) -> Builder {
        let (password, readme) = ("a-fake-password-of-the-tests", include_str!("../../README.md"));
        let from = readme.find("user countersign-shared on >PASSWORD").unwrap();
        let line = readme[from..].split("```").next().unwrap().replace("PASSWORD", password);
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        self.redis.cli(&[&["ACL", "SETUSER"], &words[..]].concat());
        let url = format!("\"redis://countersign-shared@{}/0\"", self.redis.address);
        self.sidecar().set("keys", "redis", url).environment("REDIS_PASSWORD", password)
    }

    fn sidecar(&self) -> Builder {
        Builder::guarding(self.upstream.address)
            .unlimited()
            .set("keys", "redis", format!("\"redis://{}/0\"", self.redis.address))
            .set("keys", "sources", "[\"files\"]")
            .set("enforcement", "shared", "true")
            .set("enforcement", "shared_key_file", format!("{:?}", self.key))
    }
}

/// `countersign override ...`, this exit code, and what it answers in JSON.
#[track_caller]
fn told(sidecar: &Sidecar, arguments: &[&str], code: i32) -> Value {
    let mut command = countersign();
    command.arg("override").args(arguments).arg("--json").arg("--config").arg(sidecar.config_path());
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}\n{}", sidecar.process.stderr.text());
    serde_json::from_str(&out).unwrap()
}

/// A grant for the fleet: its token and its id.
#[track_caller]
fn grant(sidecar: &Sidecar, more: &[&str]) -> (String, String) {
    let arguments =
        [&["grant", "--fleet", "--for", "1h", "--path", "/api/internal", "--reason", "key lost"], more].concat();
    let told = told(sidecar, &arguments, 0);
    assert_eq!(told["fleet"]["told"], true, "{told}");
    (told["token"].as_str().unwrap().to_owned(), told["grant"]["id"].as_str().unwrap().to_owned())
}

fn passes(sidecar: &Sidecar, token: &str) -> bool {
    get_with(sidecar.address, PATH, &format!("X-Override-Token: {token}\r\n")).status == 200
}

#[track_caller]
fn comes_to(sidecar: &Sidecar, token: &str, expected: bool) {
    eventually("the fleet's word to be followed", || (passes(sidecar, token) == expected).then_some(()));
}

fn events(sidecar: &Sidecar, change: &str) -> Vec<Value> {
    let of_grants = |record: &Value| record["event"] == "grant" && record["change"] == change;
    sidecar.audit().into_iter().filter(of_grants).collect()
}

#[test]
fn a_grant_for_the_fleet_opens_at_every_sidecar_and_ends_at_every_one() {
    let Some(fleet) = Fleet::new() else { return };
    let (one, other) = (fleet.permitted().start(), fleet.permitted().start());
    let (token, id) = grant(&one, &["--uses", "3"]);
    assert!(passes(&one, &token));
    comes_to(&other, &token, true);
    let event = eventually("a record", || events(&other, "granted").pop());
    assert_eq!((&event["grant_id"], &event["why"]), (&id.clone().into(), &"key lost".into()), "{event}");
    let uses = |sidecar: &Sidecar| told(sidecar, &["list"], 0)["grants"][0]["used"].clone();
    assert_eq!((uses(&one), uses(&other)), (1.into(), 1.into()), "each counts for itself");
    // One that comes later hears of it too; one that was used up stays so.
    let late = fleet.permitted().start();
    comes_to(&late, &token, true);
    let passed = (0..6).filter(|_| passes(&late, &token)).count();
    assert_eq!(passed, 2, "of three, one before");
    eventually("its end", || events(&late, "used_up").pop());
    // Two looks at what Redis says.
    let calls = fleet.redis.calls("eval");
    eventually("more looks", || (fleet.redis.calls("eval") > calls + 12).then_some(()));
    assert!(!passes(&late, &token));
    // Ended at another sidecar than where it was granted.
    let ended = told(&other, &["revoke", &id, "--reason", "found"], 0);
    assert_eq!(ended["revoked"][0]["id"], id);
    assert!(!passes(&other, &token));
    comes_to(&one, &token, false);
    let event = eventually("a record", || events(&one, "revoked").pop());
    assert_eq!((&event["grant_id"], &event["why"]), (&id.into(), &"found".into()), "{event}");
}

#[test]
fn the_password_of_redis_alone_grants_nothing_and_brings_nothing_back() {
    let Some(fleet) = Fleet::new() else { return };
    let one = fleet.sidecar().start();
    let (token, id) = grant(&one, &[]);
    let word = fleet.redis.cli(&["HGET", WORDS, &id]);
    assert!(word.starts_with("countersign override grant 1\n") && !word.contains(&token[4..]), "{word}");
    let other = fleet.sidecar().start();
    comes_to(&other, &token, true);
    told(&other, &["revoke", &id], 0);
    comes_to(&one, &token, false);
    // The old word again; the same under another id; another token's hash, path and time; without its MAC; no word at all.
    let altered = word.replace("/api/internal", "/");
    let unsealed = word.lines().last().unwrap().to_owned();
    for (of, text) in [
        (&*id, word.as_str()),
        ("0123456789ab", &word),
        ("00000000000a", &altered),
        ("00000000000b", &unsealed),
        ("00000000000c", ""),
        ("not an id \u{1}", "x"),
    ] {
        fleet.redis.cli(&["HSET", WORDS, of, text]);
    }
    // Whoever knows better says so again.
    eventually("the end to be said again", || {
        (fleet.redis.cli(&["HGET", WORDS, &id]).contains("revoked")).then_some(())
    });
    let late = fleet.sidecar().start();
    eventually("a warning", || late.process.stderr.text().contains("not written with this fleet key").then_some(()));
    for sidecar in [&one, &other, &late] {
        assert!(!passes(sidecar, &token));
        assert_eq!(told(sidecar, &["list"], 0)["open"], 0);
    }
    // Whoever has another fleet key is of another fleet.
    let (second, _) = grant(&one, &[]);
    let key = fleet.key.with_extension("other");
    write_private(&key, &"6".repeat(64));
    let stranger = fleet.sidecar().set("enforcement", "shared_key_file", format!("{key:?}")).start();
    eventually("a warning", || {
        stranger.process.stderr.text().contains("not written with this fleet key").then_some(())
    });
    assert!(passes(&one, &second) && !passes(&stranger, &second));
}

#[test]
fn while_redis_is_away_what_was_granted_holds_and_what_is_ended_ends_and_it_is_told_afterwards() {
    let Some(mut fleet) = Fleet::new() else { return };
    let (one, other) = (fleet.sidecar().start(), fleet.sidecar().start());
    let ((kept, _), (ended, id)) = (grant(&one, &[]), grant(&one, &[]));
    comes_to(&other, &kept, true);
    comes_to(&other, &ended, true);
    fleet.redis.stop();
    let said = told(&one, &["revoke", &id], 1);
    assert_eq!(said["revoked"][0]["id"], id, "here it is ended");
    assert!(!passes(&one, &ended) && passes(&one, &kept) && passes(&other, &kept));
    let made = told(&one, &["grant", "--fleet", "--for", "1h", "--path", "/api/internal", "--reason", "r"], 1);
    assert_eq!((&made["durable"], &made["fleet"]["told"]), (&true.into(), &false.into()));
    let new = made["token"].as_str().unwrap();
    assert!(passes(&one, new) && !passes(&other, new));
    // It comes back empty.
    fleet.redis.start_again();
    comes_to(&other, &ended, false);
    comes_to(&other, new, true);
    assert!(passes(&other, &kept) && !passes(&one, &ended));
}

#[test]
fn a_sidecar_that_shares_nothing_grants_nothing_to_a_fleet() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let arguments = ["grant", "--fleet", "--for", "1h", "--path", "/api", "--reason", "r"];
    let refused = told(&sidecar, &arguments, 1);
    assert!(refused["error"]["message"].as_str().unwrap().contains("shared = true"), "{refused}");
    assert_eq!(told(&sidecar, &["list"], 0)["open"], 0);
}

#[test]
fn where_somebody_filled_the_words_nobody_is_said_to_be_told() {
    let Some(fleet) = Fleet::new() else { return };
    let one = fleet.permitted().start();
    let (token, id) = grant(&one, &[]);
    let fill = "for i = 1, 1024 do redis.call('HSET', KEYS[1], string.rep('x', 90) .. i, 'y') end return 1";
    fleet.redis.cli(&["EVAL", fill, "1", WORDS]);
    let more = ["grant", "--fleet", "--for", "1h", "--path", "/api/internal", "--reason", "key lost"];
    let untold = told(&one, &more, 1);
    assert_eq!(untold["fleet"]["told"], false, "{untold}");
    assert!(untold["fleet"]["trouble"].as_str().unwrap().contains("far more words"), "{untold}");
    assert!(passes(&one, untold["token"].as_str().unwrap()), "here it holds");
    let trouble = || told(&one, &["list"], 0)["fleet_trouble"].clone();
    eventually("it to say so", || trouble().as_str()?.contains("far more words").then_some(()));
    fleet.redis.cli(&["DEL", WORDS]);
    eventually("both to be said when it is let be", || (fleet.redis.cli(&["HLEN", WORDS]) == "2").then_some(()));
    eventually("it to be over", || trouble().is_null().then_some(()));
    assert!(passes(&one, &token) && !fleet.redis.cli(&["HGET", WORDS, &id]).is_empty());
}
