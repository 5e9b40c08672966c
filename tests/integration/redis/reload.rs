//! Another Redis, a first one, none any more: by a reload, and nobody is refused on the way who should not be.

use super::super::support::recorder::Recorder;
use super::super::support::redis::{Redis, within};
use super::super::support::sidecar::{Builder, Sidecar};
use super::super::support::{KEY_A, KEY_B, eventually};
use super::{SOON, call, guarding, log};

/// Replaces this text of the file by that, and waits until it took effect.
fn edit(sidecar: &Sidecar, from: &str, to: &str) {
    let text = sidecar.config();
    assert!(text.contains(from), "{from}: {text}");
    let before = sidecar.metric("countersign_config_generation", &[]);
    std::fs::write(sidecar.config_path(), text.replace(from, to)).unwrap();
    eventually("the reload", || (sidecar.metric("countersign_config_generation", &[]) > before).then_some(()));
}

#[test]
fn another_redis_is_followed_after_a_reload() {
    let (Some(one), Some(other)) = (Redis::start(), Redis::start()) else { return };
    one.put("npu-worker", KEY_A);
    other.put("npu-worker", KEY_B);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &one.url()).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    edit(&sidecar, &one.url(), &other.url());
    within(SOON, "the other's key to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 401);
    one.put("npu-worker", KEY_A);
    other.put("ai-stack", KEY_A);
    within(SOON, "the other's news to be heard", || call(&sidecar, "ai-stack", KEY_A) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 401);
}

#[test]
fn a_reload_that_changes_nothing_of_keys_keeps_them_also_while_redis_is_away() {
    let Some(mut redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream, &redis.url()).start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    redis.stop();
    within(SOON, "the outage to be seen", || call(&sidecar, "stranger", KEY_A) == 503);
    edit(&sidecar, "mode = \"enforce\"", "mode = \"enforce\"\npercentage = 100");
    edit(&sidecar, "sources =", "stale = \"12h\"\nsources =");
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401);
    assert_eq!(call(&sidecar, "stranger", KEY_A), 503);
}

#[test]
fn another_order_of_the_sources_counts_although_redis_has_no_news() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_B);
    let upstream = Recorder::plain();
    // The files hold key a of npu-worker.
    let sidecar = Builder::guarding(upstream.address)
        .set("keys", "redis", format!("{:?}", redis.url()))
        .set("keys", "sources", "[\"files\", \"redis\"]")
        .unlimited()
        .start();
    assert_eq!((call(&sidecar, "npu-worker", KEY_A), call(&sidecar, "npu-worker", KEY_B)), (200, 401));
    edit(&sidecar, "[\"files\", \"redis\"]", "[\"redis\", \"files\"]");
    within(SOON, "the key of redis to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 401, "what redis does not have is not taken from files");
    edit(&sidecar, "[\"redis\", \"files\"]", "[\"files\", \"redis\"]");
    within(SOON, "the key of the file to count", || call(&sidecar, "npu-worker", KEY_A) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401);
}

#[test]
fn keys_move_from_files_to_redis_and_back_by_reloads() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_B);
    let upstream = Recorder::plain();
    // The files hold key a of npu-worker.
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 200);
    let with_redis = format!("[keys]\nredis = {:?}\nsources = [\"redis\"]", redis.url());
    edit(&sidecar, "[keys]", &with_redis);
    within(SOON, "the key of redis to count", || call(&sidecar, "npu-worker", KEY_B) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_A), 401);
    assert_eq!(sidecar.metric("countersign_keys_stale_seconds", &[]), 0.0);
    edit(&sidecar, &with_redis, "[keys]");
    within(SOON, "the key of the file to count", || call(&sidecar, "npu-worker", KEY_A) == 200);
    assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401);
    redis.put("npu-worker", KEY_B);
    assert_eq!(call(&sidecar, "npu-worker", KEY_B), 401);
    assert!(!log(&sidecar).contains("panicked"));
}
