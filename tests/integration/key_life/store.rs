//! One suite of promises, run against every store of keys.

use super::super::support::redis::Redis;
use countersign::config::{Redis as Settings, RedisServers};
use countersign::keys::record::{KeyRecord, KeyText};
use countersign::keys::redis::RedisStore;
use countersign::keys::rotation;
use countersign::keys::store::{DirectoryStore, KeyStore, StoreFault};
use countersign::signature::key::ServiceId;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(3600);

fn id(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

fn key(letter: &str) -> KeyText {
    KeyText::parse(&letter.repeat(64)).unwrap()
}

/// Runs a promise against a directory, and against Redis where there is a redis-server.
fn against_each(promise: impl AsyncFn(&KeyStore)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    runtime.block_on(promise(&KeyStore::Directory(DirectoryStore::new(path.clone(), None))));
    let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.as_encoded_bytes().starts_with(b".")), "left lying around: {left:?}");
    if let Some(redis) = Redis::start() {
        let settings = Settings {
            servers: RedisServers::Single((redis.address.ip().to_string(), redis.address.port())),
            database: 0,
            user: None,
            password: None,
            tls: None,
        };
        runtime.block_on(promise(&KeyStore::Redis(RedisStore::new(&settings))));
    }
}

async fn read(store: &KeyStore, of: &str) -> KeyRecord {
    store.read(&id(of)).await.unwrap().unwrap()
}

fn letters(record: &KeyRecord) -> (char, Option<char>, Option<char>) {
    let letter = |key: &KeyText| key.reveal().chars().next().unwrap();
    let (next, previous) = (record.next.as_ref(), record.previous.as_ref());
    (letter(&record.current), next.map(|next| letter(&next.key)), previous.map(|previous| letter(&previous.key)))
}

#[test]
fn a_key_is_made_where_there_is_none_and_replaced_only_on_demand() {
    against_each(async |store| {
        store.create(&id("a"), &key("a"), 100, TTL, false).await.unwrap();
        let again = store.create(&id("a"), &key("b"), 100, TTL, false).await;
        assert!(matches!(again, Err(StoreFault::Exists { .. })), "{again:?}");
        let record = read(store, "a").await;
        assert_eq!((letters(&record), record.made), (('a', None, None), Some(100)));
        store.create(&id("a"), &key("c"), 200, TTL, true).await.unwrap();
        let record = read(store, "a").await;
        assert_eq!((letters(&record), record.made), (('c', None, None), Some(200)));
        store.create(&id("b"), &key("b"), 1, TTL, false).await.unwrap();
        let ids: Vec<String> = store.list().await.unwrap().into_iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(store.read(&id("nobody")).await.unwrap().is_none());
    });
}

#[test]
fn a_rotation_goes_through_its_states_and_each_is_read_as_it_was_written() {
    against_each(async |store| {
        store.create(&id("a"), &key("a"), 100, TTL, false).await.unwrap();
        let settled = read(store, "a").await;
        let staged = rotation::staged(&settled, &key("b"), 150);
        assert!(store.swap(&id("a"), &settled, &staged, 150).await.unwrap());
        let staged = read(store, "a").await;
        assert_eq!(letters(&staged), ('a', Some('b'), None));
        assert_eq!((staged.made, staged.next.as_ref().map(|next| next.since)), (Some(100), Some(150)));
        let switched = rotation::switched(&staged, 60, 3600, 200).unwrap();
        assert!(store.swap(&id("a"), &staged, &switched, 200).await.unwrap());
        let switched = read(store, "a").await;
        assert_eq!(letters(&switched), ('b', None, Some('a')));
        assert_eq!((switched.made, switched.previous.as_ref().map(|old| old.until)), (Some(200), Some(260)));
        assert!(store.swap(&id("a"), &switched, &rotation::settled(&switched), 300).await.unwrap());
        let settled = read(store, "a").await;
        assert_eq!((letters(&settled), settled.made), (('b', None, None), Some(200)));
    });
}

#[test]
fn a_change_that_expects_something_else_changes_nothing() {
    against_each(async |store| {
        store.create(&id("a"), &key("a"), 100, TTL, false).await.unwrap();
        let settled = read(store, "a").await;
        let staged = rotation::staged(&settled, &key("b"), 150);
        assert!(store.swap(&id("a"), &settled, &staged, 150).await.unwrap());
        let other = rotation::staged(&settled, &key("c"), 160);
        assert!(!store.swap(&id("a"), &settled, &other, 160).await.unwrap(), "one is staged already");
        assert_eq!(letters(&read(store, "a").await), ('a', Some('b'), None));
        let of_another = KeyRecord::single(key("d"), None);
        assert!(!store.swap(&id("a"), &of_another, &other, 160).await.unwrap());
        assert!(!store.swap(&id("nobody"), &settled, &other, 160).await.unwrap());
        assert!(store.read(&id("nobody")).await.unwrap().is_none());
        store.create(&id("a"), &key("e"), 170, TTL, true).await.unwrap();
        let switched = rotation::switched(&staged, 60, 3600, 200).unwrap();
        assert!(!store.swap(&id("a"), &staged, &switched, 200).await.unwrap(), "it was replaced meanwhile");
        assert_eq!(letters(&read(store, "a").await), ('e', None, None));
    });
}

#[test]
fn a_change_made_twice_because_its_answer_was_lost_counts_as_made() {
    against_each(async |store| {
        store.create(&id("a"), &key("a"), 100, TTL, false).await.unwrap();
        let settled = read(store, "a").await;
        let staged = rotation::staged(&settled, &key("b"), 150);
        assert!(store.swap(&id("a"), &settled, &staged, 150).await.unwrap());
        if let KeyStore::Redis(_) = store {
            assert!(store.swap(&id("a"), &settled, &staged, 150).await.unwrap());
            store.create(&id("b"), &key("b"), 100, TTL, false).await.unwrap();
            store.create(&id("b"), &key("b"), 100, TTL, false).await.unwrap();
        }
    });
}

#[test]
fn a_revoked_key_does_not_come_back_through_a_rotation_under_way() {
    against_each(async |store| {
        store.create(&id("a"), &key("a"), 100, TTL, false).await.unwrap();
        let settled = read(store, "a").await;
        let staged = rotation::staged(&settled, &key("b"), 150);
        assert!(store.swap(&id("a"), &settled, &staged, 150).await.unwrap());
        let lease = store.lease(&id("a")).await.unwrap();
        assert!(store.revoke(&id("a"), 160, TTL).await.unwrap(), "it waits for no lease");
        assert!(!store.revoke(&id("a"), 160, TTL).await.unwrap(), "there is none any more");
        let switched = rotation::switched(&staged, 60, 3600, 200).unwrap();
        assert!(!store.swap(&id("a"), &staged, &switched, 200).await.unwrap());
        assert!(store.read(&id("a")).await.unwrap().is_none());
        assert!(store.list().await.unwrap().is_empty());
        store.release(lease).await.unwrap();
        store.create(&id("a"), &key("c"), 300, TTL, false).await.unwrap();
        assert_eq!(letters(&read(store, "a").await), ('c', None, None));
    });
}

#[test]
fn one_at_a_time_rotates_a_service_and_another_service_is_another_matter() {
    against_each(async |store| {
        store.create(&id("a"), &key("a"), 100, TTL, false).await.unwrap();
        let lease = store.lease(&id("a")).await.unwrap();
        assert!(matches!(store.lease(&id("a")).await, Err(StoreFault::Leased(_))));
        let other = store.lease(&id("b")).await.unwrap();
        store.renew(&id("a"), &lease).await.unwrap();
        assert!(matches!(store.lease(&id("a")).await, Err(StoreFault::Leased(_))));
        store.release(lease).await.unwrap();
        let lease = store.lease(&id("a")).await.unwrap();
        store.release(lease).await.unwrap();
        store.release(other).await.unwrap();
    });
}
