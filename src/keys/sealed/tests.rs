use super::*;
use crate::keys::cache::Patience;
use crate::keys::redis::{Companion, Listing, SecondKey, Stored};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const START: Millis = 1_700_000_000_000;
const PATIENCE: Patience = Patience { stale: Duration::from_secs(3600), grace: Duration::from_secs(3600) };

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, digit) in [("seal", "5e"), ("other", "0f")] {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("{}\n", digit.repeat(32))).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    directory
}

fn open(directory: &tempfile::TempDir, key: &str) -> SealedCopy {
    SealedCopy::open(&directory.path().join(key), directory.path()).unwrap()
}

fn cache() -> KeyCache {
    let second = |fill: &str, at| Some(SecondKey { text: fill.repeat(64).into(), at });
    let stored = |fill: &str, ttl: Option<u64>, companion| {
        Ok(Stored { text: fill.repeat(64).into(), ttl: ttl.map(Duration::from_millis), companion })
    };
    let id = |text| ServiceId::parse(text).unwrap();
    let keys = [
        (id("plain"), stored("a", None, Companion::default())),
        (id("staged"), stored("b", Some(5000), Companion { next: second("c", 1), ..Companion::default() })),
        (id("rotated"), stored("d", Some(6000), Companion { previous: second("e", 2), ..Companion::default() })),
        (id("lapses"), stored("f", Some(10), Companion::default())),
    ];
    let mut cache = KeyCache::default();
    let listing = |redis_millis, keys, mark: &str| Listing {
        redis_millis,
        keys,
        database: Some(mark.to_owned()),
        revoked: BTreeSet::new(),
    };
    cache.heard(listing(START, keys.into(), "mark"), PATIENCE, START);
    let keys = [(id("plain"), stored("a", None, Companion::default()))];
    cache.heard(listing(START + 5000, keys.into(), "mark"), PATIENCE, START + 5000);
    let keys = [
        (id("plain"), stored("a", None, Companion::default())),
        (id("loses"), stored("a", None, Companion::default())),
    ];
    cache.heard(listing(START + 5000, keys.into(), "mark"), PATIENCE, START + 5000);
    let keys = [(id("plain"), stored("a", None, Companion::default()))];
    cache.heard(listing(START + 5000, keys.into(), "another"), PATIENCE, START + 5000);
    cache
}

#[test]
fn what_was_kept_comes_back_whole_with_its_times() {
    let directory = directory();
    let (sealed, cache) = (open(&directory, "seal"), cache());
    assert!(sealed.load().unwrap().is_none());
    sealed.store(&cache).unwrap();
    let back = sealed.load().unwrap().unwrap();
    assert_eq!(format!("{:?}", back.entries), format!("{:?}", cache.entries));
    assert_eq!((back.good_at, back.offset), (cache.good_at, cache.offset));
    assert_eq!(back.database.as_deref(), Some("another"));
    assert!(back.lapsed() > 0 && back.lost() == 1 && !back.is_reachable());
    let mode = std::fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_age_counts_from_when_redis_last_told_all() {
    let directory = directory();
    let sealed = open(&directory, "seal");
    sealed.store(&cache()).unwrap();
    let mut back = sealed.load().unwrap().unwrap();
    let written = START + 5000;
    assert_eq!(back.stale_for(written + 60_000), 60_000);
    assert_eq!(back.age(Patience { grace: Duration::MAX, ..PATIENCE }, written + 3_600_000).len(), 0);
    assert!(!back.age(PATIENCE, written + 3_600_001).is_empty() && back.keys().is_empty());
}

#[test]
fn no_key_can_be_read_in_the_copy() {
    let directory = directory();
    open(&directory, "seal").store(&cache()).unwrap();
    let bytes = std::fs::read(directory.path().join(FILE)).unwrap();
    for plain in [&b"plain"[..], b"aaaaaaaa", b"bbbbbbbb", b"cccccccc"] {
        assert!(!bytes.windows(plain.len()).any(|window| window == plain));
    }
}

#[test]
fn a_copy_that_was_altered_cut_or_sealed_with_another_key_is_not_used() {
    let directory = directory();
    let sealed = open(&directory, "seal");
    sealed.store(&cache()).unwrap();
    let path = directory.path().join(FILE);
    let good = std::fs::read(&path).unwrap();
    let broken = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        matches!(sealed.load(), Err(SealFault::Broken(_)))
    };
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(broken(&bytes), "byte {at} of {}", good.len());
    }
    for length in 0..good.len() {
        assert!(broken(&good[..length]), "the first {length} bytes");
    }
    std::fs::write(&path, &good).unwrap();
    assert!(matches!(open(&directory, "other").load(), Err(SealFault::Broken(_))));
    assert!(sealed.load().unwrap().is_some());
}

#[test]
fn a_key_that_is_none_or_open_to_others_is_refused() {
    let directory = directory();
    let path = directory.path().join("seal");
    let refused = || SealedCopy::open(&path, directory.path()).err().unwrap().to_string();
    for text in ["", "zz", &"ab".repeat(31), &"ab".repeat(33)] {
        std::fs::write(&path, text).unwrap();
        let error = refused();
        assert!(error.contains("64 hex digits") && error.contains("sealed_copy"), "{error}");
    }
    std::fs::write(&path, "5e".repeat(32)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refused().contains("chmod 600"), "{}", refused());
    std::fs::remove_file(&path).unwrap();
    assert!(refused().contains("no such file"), "{}", refused());
}
