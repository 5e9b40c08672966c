//! What each command answers, and with which exit code; wherever keys live, the same.

use super::super::support::raw::get;
use super::super::support::redis::{Redis, name, within};
use super::super::support::sidecar::{Builder, countersign};
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[test]
fn a_key_is_made_listed_shared_and_revoked_wherever_it_lives() {
    for guarded in Guarded::each(|builder| builder) {
        let made = guarded.keys(&["generate", "browser-service", "main-backend", "--json"]);
        assert!(ended(&made, 0).contains("browser-service"));
        let refused = ended(&guarded.keys(&["generate", "frontend", "main-backend"]), 1);
        assert!(refused.contains("already") && refused.contains("nothing was written"), "{refused}");
        let all = ended(&guarded.keys(&["list"]), 0);
        for id in ["browser-service", "main-backend", "npu-worker"] {
            assert!(all.contains(id), "{all}");
        }
        assert!(!all.contains("frontend"), "not even that one: {all}");
        let out = guarded.sidecar.directory.join("out");
        let export = ["export", "npu-worker", "--out", out.to_str().unwrap()];
        ended(&guarded.keys(&export), 0);
        let file = out.join("npu-worker.env");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("SERVICE_ID=npu-worker\n") && text.contains(&format!("SERVICE_KEY={KEY_A}\n")));
        assert!(text.contains("AUTH_TIMESTAMP_WINDOW=300\n"));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(ended(&guarded.keys(&export), 0).contains("unchanged"));
        ended(&guarded.keys(&["generate", "npu-worker", "--force"]), 0);
        assert!(ended(&guarded.keys(&export), 1).contains("another key"), "not over a different key");
        ended(&guarded.keys(&[&export[..], &["--force"]].concat()), 0);
        assert!(std::fs::read_to_string(&file).unwrap().contains(&guarded.place.key().unwrap()));
        ended(&guarded.keys(&["export", "nobody", "--out", out.to_str().unwrap()]), 1);
        for (arguments, code) in
            [(&["export", "npu-worker"][..], 2), (&["generate", "../x"], 2), (&["rotate"], 2), (&["revoke"], 2)]
        {
            ended(&guarded.keys(arguments), code);
        }
        let revoked = ended(&guarded.keys(&["revoke", "npu-worker", "nobody"]), 1);
        assert!(revoked.contains("npu-worker: revoked in") && revoked.contains("nobody has no key"), "{revoked}");
        assert_eq!(guarded.place.key(), None);
        assert!(!ended(&guarded.keys(&["list"]), 0).contains("npu-worker"));
    }
}

#[test]
fn sidecars_drop_a_revoked_key_within_two_seconds_and_take_the_next_one() {
    for guarded in Guarded::each(|builder| builder) {
        assert_eq!(guarded.status(KEY_A), 200);
        ended(&guarded.keys(&["revoke", "npu-worker"]), 0);
        within(Duration::from_secs(2), "the revoked key to be refused", || guarded.status(KEY_A) == 401);
        ended(&guarded.keys(&["generate", "npu-worker"]), 0);
        let key = guarded.place.key().unwrap();
        within(Duration::from_secs(2), "the next key to be taken", || guarded.status(&key) == 200);
        assert_eq!(guarded.status(KEY_A), 401);
    }
}

#[test]
fn a_redis_that_is_away_keeps_no_file_from_being_revoked_and_everything_is_told() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    // Its directory holds keys of npu-worker and ai-stack.
    let sidecar = Builder::guarding(upstream.address).set("keys", "redis", format!("{:?}", redis.url())).start();
    redis.stop();
    let output = keys(&sidecar.config_path(), &["revoke", "npu-worker", "nobody", "ai-stack", "--json"]);
    let text = ended(&output, 3);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    for (row, revoked) in [(0, true), (1, false), (2, true)] {
        let told = &told["keys"][row];
        assert_eq!(told["revoked"], revoked, "{told}");
        assert!(told["problems"][0].as_str().unwrap().contains("not revoked in redis"), "{told}");
    }
    for service in ["npu-worker", "nobody", "ai-stack"] {
        assert!(text.contains(&format!("{service}: not revoked in redis")), "{text}");
    }
    let again = ended(&keys(&sidecar.config_path(), &["revoke", "npu-worker", "ai-stack"]), 3);
    assert!(again.contains("cannot be reached") && !again.contains("has no key"), "{again}");
}

#[test]
fn a_key_in_files_beside_redis_is_revoked_with_it() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let place = Place::Redis(redis);
    let sidecar = place.configure(Builder::guarding(upstream.address)).start();
    let file = sidecar.directory.join("keys/npu-worker.env");
    assert_eq!(listed(&sidecar.config_path())["source"], "both");
    ended(&keys(&sidecar.config_path(), &["revoke", "npu-worker"]), 0);
    assert!(!file.exists(), "it would be taken again when Redis cannot be reached");
}

#[test]
fn list_tells_where_keys_are_and_whether_those_places_agree() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_B);
    redis.cli(&["LPUSH", &name("broken"), "x"]);
    let upstream = Recorder::plain();
    let place = Place::Redis(redis);
    let configured = "[services.npu-worker]\n[services.ghost]\n[services.old-one]\nunused = true\n";
    let sidecar = place.configure(Builder::guarding(upstream.address).rules(configured)).start();
    let config = sidecar.config_path();
    let one = listed(&config);
    assert_eq!((&one["source"], &one["state"]), (&"differs".into(), &"good".into()), "{one}");
    assert_ne!(one["fingerprint"], one["file_fingerprint"]);
    let all = ended(&keys(&config, &["list"]), 0);
    assert!(all.contains("the file on this machine holds another key"), "{all}");
    assert!(all.contains("ai-stack: only a file on this machine holds its key"), "{all}");
    assert!(all.lines().any(|line| line.starts_with("ghost ") && line.contains("none")), "{all}");
    assert!(all.contains("old-one (unused)"), "{all}");
    let failed = ended(&keys(&config, &["list", "--fail-below", "30d"]), 1);
    for expected in ["ghost has no key", "service:key:broken", "ai-stack has a key in a file only"] {
        assert!(failed.contains(expected), "{expected} not in:\n{failed}");
    }
    for quiet in ["error: old-one", "the key of npu-worker"] {
        assert!(!failed.contains(quiet), "{quiet} in:\n{failed}");
    }
    let failed = ended(&keys(&config, &["list", "--fail-below", "91d"]), 1);
    assert!(failed.contains("the key of npu-worker has ") && failed.contains("left, less than 91d"), "{failed}");
    assert!(said(&keys(&config, &["list", "--fail-below", "30"])).contains("say the unit"));
}

#[test]
fn list_tells_who_used_a_key_last_and_when() {
    for guarded in Guarded::each(|builder| builder) {
        assert_eq!(listed(&guarded.sidecar.config_path())["last_used"], Value::Null);
        assert_eq!(guarded.status(KEY_A), 200);
        let used = super::super::support::eventually("the use to be told", || {
            let used = listed(&guarded.sidecar.config_path())["last_used"].clone();
            (used != Value::Null).then_some(used)
        });
        assert_eq!(used["client"], "127.0.0.1");
        assert!(sign::now().abs_diff(used["unix_seconds"].as_u64().unwrap()) < 60, "{used}");
        assert_eq!(get(guarded.sidecar.address, PATH).status, 401, "a refusal is no use");
    }
}

#[test]
fn the_last_uses_are_told_at_the_end_too() {
    for mut guarded in Guarded::each(|builder| builder) {
        assert_eq!(guarded.status(KEY_A), 200);
        guarded.sidecar.process.signal("TERM");
        guarded.sidecar.process.wait();
        assert_eq!(listed(&guarded.sidecar.config_path())["last_used"]["client"], "127.0.0.1");
    }
}

#[test]
fn redis_that_is_away_is_exit_code_3_and_nothing_else() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let url = redis.url();
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).set("keys", "redis", format!("{url:?}")).start();
    redis.stop();
    let config = sidecar.config_path();
    for arguments in [
        &["list"][..],
        &["generate", "x"],
        &["rotate", "npu-worker"],
        &["rotate", "--due"],
        &["revoke", "npu-worker"],
        &["export", "npu-worker", "--out", "/nonexistent/x"],
        &["import", "--to", "redis", "keys"],
    ] {
        let output = countersign()
            .arg("keys")
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .current_dir(&sidecar.directory)
            .output()
            .unwrap();
        assert!(ended(&output, 3).contains("cannot be reached"), "{arguments:?}");
    }
    let told = keys(&config, &["list", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["error"]["kind"], &told["error"]["exit_code"]), (&"unreachable".into(), &3.into()));
}

#[test]
fn sign_and_verify_use_the_keys_of_redis() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let place = Place::Redis(redis);
    let sidecar = place.configure(Builder::guarding(upstream.address)).start();
    std::fs::remove_file(sidecar.directory.join("keys/npu-worker.env")).unwrap();
    let config = sidecar.config_path();
    let run = |arguments: &[&str]| countersign().args(arguments).arg("--config").arg(&config).output().unwrap();
    let signed = run(&["sign", "GET", PATH, "--service", "npu-worker", "--timestamp", "1234567890"]);
    let expected = sign::headers_at(KEY_A, "npu-worker", "GET", PATH, 1_234_567_890);
    assert_eq!(String::from_utf8_lossy(&signed.stdout), expected.replace("\r\n", "\n"), "{}", said(&signed));
    ended(&keys(&config, &["rotate", "npu-worker"]), 0);
    let headers = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    let mut verify = vec!["verify", "--method", "GET", "--path", PATH];
    headers.lines().for_each(|line| verify.extend(["-H", line]));
    assert!(said(&run(&verify)).contains("verified"), "the key before is still taken: {}", said(&run(&verify)));
    assert_eq!(run(&verify).status.code(), Some(0));
}

#[test]
fn import_brings_a_fleets_files_into_redis() {
    let Some(redis) = Redis::start() else { return };
    redis.put("ai-stack", KEY_A);
    let upstream = Recorder::plain();
    let place = Place::Redis(redis);
    let sidecar = place.configure(Builder::guarding(upstream.address)).start();
    let from = sidecar.directory.join("keys");
    let import = ["import", "--to", "redis", from.to_str().unwrap()];
    let refused = ended(&keys(&sidecar.config_path(), &import), 1);
    assert!(refused.contains("another key of ai-stack") && refused.contains("nothing was written"), "{refused}");
    assert_eq!(place.key(), None);
    ended(&keys(&sidecar.config_path(), &[&import[..], &["--force"]].concat()), 0);
    assert_eq!(place.key().as_deref(), Some(KEY_A));
    assert!(ended(&keys(&sidecar.config_path(), &import), 0).contains("unchanged"));
}

#[test]
fn a_user_with_the_rights_of_the_readme_and_no_more_can_do_all_of_it() {
    let readme = include_str!("../../../README.md");
    let at = readme.find("user countersign-keys on >PASSWORD").unwrap();
    let line = readme[at..].split("```").next().unwrap().split_whitespace();
    let mut rule: Vec<&str> = line.collect();
    rule[0] = "SETUSER";
    let Some(redis) = Redis::start() else { return };
    redis.cli(&[&["ACL"], &rule[..]].concat());
    redis.put("npu-worker", KEY_A);
    let url = format!("redis://countersign-keys@{}/0", redis.address);
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .set("keys", "redis", format!("{url:?}"))
        .environment("REDIS_PASSWORD", "PASSWORD")
        .start();
    let keys = |arguments: &[&str]| {
        let mut command = countersign();
        command.env("REDIS_PASSWORD", "PASSWORD").arg("keys").args(arguments);
        command.arg("--config").arg(sidecar.config_path()).output().unwrap()
    };
    for arguments in [
        &["list"][..],
        &["generate", "x"],
        &["generate", "x", "--force"],
        &["rotate", "x", "npu-worker"],
        &["rotate", "--due"],
        &["rotate", "--force", "npu-worker"],
        &["revoke", "npu-worker", "x"],
    ] {
        ended(&keys(arguments), 0);
    }
}
