use super::*;
use crate::keys::redis::Companion;
use std::collections::BTreeSet;

const START: Millis = 1_700_000_000_000;
const DAY: Millis = 86_400_000;
const PATIENCE: Patience = Patience { stale: Duration::from_secs(86_400), grace: Duration::from_secs(72 * 3600) };

fn id(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

fn stored(fill: &str, ttl: Option<Millis>) -> Stored {
    Stored { text: fill.repeat(64).into(), ttl: ttl.map(Duration::from_millis), companion: Companion::default() }
}

fn second(fill: &str, at: u64) -> Option<SecondKey> {
    Some(SecondKey { text: fill.repeat(64).into(), at })
}

fn listing(redis_millis: Millis, keys: Vec<(&str, Result<Stored, EntryFault>)>) -> Listing {
    let keys = keys.into_iter().map(|(name, found)| (id(name), found)).collect();
    Listing { redis_millis, keys, database: Some("mark".to_owned()), revoked: BTreeSet::new() }
}

fn ids(cache: &KeyCache) -> Vec<String> {
    cache.ids().map(ToString::to_string).collect()
}

fn fingerprint(fill: &str) -> Fingerprint {
    ServiceKey::from_text(&fill.repeat(64)).unwrap().fingerprint()
}

/// One key, `a`, that lapses in a day.
fn one() -> KeyCache {
    let mut cache = KeyCache::default();
    let events = cache.heard(listing(START, vec![("a", Ok(stored("a", Some(DAY))))]), PATIENCE, START);
    assert_eq!(events, []);
    cache
}

#[test]
fn what_redis_has_counts_and_what_it_says_later_replaces_it() {
    let mut cache = one();
    assert!(cache.is_reachable());
    let now = START + 1000;
    let events =
        cache.heard(listing(now, vec![("a", Ok(stored("b", None))), ("new", Ok(stored("c", None)))]), PATIENCE, now);
    assert_eq!(events, []);
    assert_eq!(ids(&cache), ["a", "new"]);
    assert_eq!(cache.current(&id("a")).unwrap().fingerprint(), fingerprint("b"));
}

#[test]
fn a_key_that_vanishes_before_its_expiry_was_deleted_and_counts_no_more() {
    for left in [EXPIRY_SLACK + 1, DAY / 2, DAY] {
        let mut cache = one();
        let now = START + DAY - left;
        assert_eq!(cache.heard(listing(now, vec![]), PATIENCE, now), [KeyEvent::Deleted(id("a"))], "{left}");
        assert_eq!(ids(&cache), [""; 0]);
    }
}

#[test]
fn a_key_without_expiry_that_vanishes_was_deleted() {
    let mut cache = KeyCache::default();
    cache.heard(listing(START, vec![("a", Ok(stored("a", None)))]), PATIENCE, START);
    let much_later = START + 1000 * DAY;
    assert_eq!(cache.heard(listing(much_later, vec![]), PATIENCE, much_later), [KeyEvent::Deleted(id("a"))]);
}

#[test]
fn a_key_that_vanishes_at_its_expiry_lapsed_and_serves_for_the_grace() {
    for late in [0, 1, DAY] {
        let mut cache = one();
        let now = START + DAY + late;
        let end = START + DAY + 3 * DAY;
        assert_eq!(cache.heard(listing(now, vec![]), PATIENCE, now), [KeyEvent::Lapsed(id("a"), Some(end))]);
        assert_eq!((ids(&cache), cache.lapsed()), (vec!["a".to_owned()], 1));
        assert_eq!(cache.heard(listing(end - 1, vec![]), PATIENCE, end - 1), [], "told once");
        assert_eq!(ids(&cache), ["a"]);
        assert_eq!(cache.heard(listing(end, vec![]), PATIENCE, end), [KeyEvent::GraceEnded(id("a"))]);
        assert_eq!(ids(&cache), [""; 0]);
    }
}

#[test]
fn a_lapse_first_seen_after_its_grace_gives_none() {
    let mut cache = one();
    let now = START + 5 * DAY;
    assert_eq!(cache.heard(listing(now, vec![]), PATIENCE, now), [KeyEvent::Lapsed(id("a"), None)]);
    assert_eq!(ids(&cache), [""; 0]);
}

#[test]
fn a_lapsed_key_that_is_written_again_is_as_good_as_new() {
    let mut cache = one();
    let now = START + DAY;
    cache.heard(listing(now, vec![]), PATIENCE, now);
    cache.heard(listing(now + 1, vec![("a", Ok(stored("b", Some(DAY))))]), PATIENCE, now + 1);
    assert_eq!((cache.lapsed(), cache.current(&id("a")).unwrap().fingerprint()), (0, fingerprint("b")));
    let deleted = cache.heard(listing(now + 2, vec![]), PATIENCE, now + 2);
    assert_eq!(deleted, [KeyEvent::Deleted(id("a"))], "by its new expiry");
}

#[test]
fn word_of_a_revocation_ends_the_grace_and_outweighs_an_expiry() {
    let revoked = |now| Listing { revoked: BTreeSet::from([id("a")]), ..listing(now, vec![]) };
    let mut cache = one();
    let now = START + DAY;
    cache.heard(listing(now, vec![]), PATIENCE, now);
    assert_eq!(cache.heard(revoked(now + 1), PATIENCE, now + 1), [KeyEvent::Revoked(id("a"))]);
    let mut cache = one();
    assert_eq!(cache.heard(revoked(now), PATIENCE, now), [KeyEvent::Revoked(id("a"))]);
    assert_eq!(ids(&cache), [""; 0]);
}

#[test]
fn expiry_counts_by_the_clock_of_redis() {
    let mut cache = one();
    let (redis, ours) = (START + DAY / 2, START + 10 * DAY);
    assert_eq!(cache.heard(listing(redis, vec![]), PATIENCE, ours), [KeyEvent::Deleted(id("a"))], "our clock jumped");
    let mut cache = KeyCache::default();
    cache.heard(listing(START + 5 * DAY, vec![("a", Ok(stored("a", Some(DAY))))]), PATIENCE, START);
    assert_eq!(cache.expiries()[&id("a")], START + DAY, "shown by ours");
}

fn emptied(now: Millis, mark: Option<&str>) -> Listing {
    Listing { database: mark.map(ToOwned::to_owned), ..listing(now, vec![]) }
}

#[test]
fn keys_that_vanish_with_the_mark_of_the_database_were_lost_and_serve_for_the_stale_time() {
    for mark in [None, Some("another")] {
        let mut cache = one();
        let (now, later) = (START + 1, START + 2);
        assert_eq!(cache.heard(emptied(now, mark), PATIENCE, now), [KeyEvent::Lost(id("a"))]);
        assert_eq!((ids(&cache).join(" "), cache.lost()), ("a".to_owned(), 1));
        assert_eq!(cache.heard(emptied(later, Some("another")), PATIENCE, later), [], "told once, and not deleted");
        let end = now + DAY;
        assert_eq!(cache.heard(emptied(end, Some("another")), PATIENCE, end), []);
        let events = cache.heard(emptied(end + 1, Some("another")), PATIENCE, end + 1);
        assert_eq!(events, [KeyEvent::LostTooLong(id("a"))]);
        assert!(cache.keys().is_empty() && cache.is_reachable());
    }
}

#[test]
fn a_lost_key_that_is_written_again_counts_as_written_and_may_be_deleted_again() {
    let mut cache = one();
    cache.heard(emptied(START + 1, None), PATIENCE, START + 1);
    let back = listing(START + 2, vec![("a", Ok(stored("b", None)))]);
    assert_eq!(cache.heard(back, PATIENCE, START + 2), []);
    assert_eq!((cache.lost(), cache.current(&id("a")).unwrap().fingerprint()), (0, fingerprint("b")));
    let deleted = cache.heard(listing(START + 3, vec![]), PATIENCE, START + 3);
    assert_eq!(deleted, [KeyEvent::Deleted(id("a"))]);
}

#[test]
fn word_of_a_revocation_ends_what_a_lost_key_had_left() {
    let mut cache = one();
    cache.heard(emptied(START + 1, None), PATIENCE, START + 1);
    let revoked = Listing { revoked: BTreeSet::from([id("a")]), ..emptied(START + 2, Some("another")) };
    assert_eq!(cache.heard(revoked, PATIENCE, START + 2), [KeyEvent::Revoked(id("a"))]);
}

#[test]
fn while_the_mark_stays_every_key_that_vanishes_was_deleted_be_it_all_of_them() {
    let mut cache = KeyCache::default();
    let keys = vec![("a", Ok(stored("a", Some(DAY)))), ("b", Ok(stored("b", None)))];
    cache.heard(listing(START, keys), PATIENCE, START);
    let events = cache.heard(listing(START + 1, vec![]), PATIENCE, START + 1);
    assert_eq!(events, [KeyEvent::Deleted(id("a")), KeyEvent::Deleted(id("b"))]);
    assert!(cache.keys().is_empty() && cache.is_reachable());
}

#[test]
fn without_a_mark_before_nothing_is_taken_for_lost() {
    let mut cache = KeyCache::default();
    let keys = vec![("a", Ok(stored("a", Some(DAY))))];
    cache.heard(Listing { database: None, ..listing(START, keys) }, PATIENCE, START);
    let events = cache.heard(emptied(START + 1, Some("new")), PATIENCE, START + 1);
    assert_eq!(events, [KeyEvent::Deleted(id("a"))]);
}

#[test]
fn while_redis_cannot_be_reached_keys_serve_for_the_stale_time_and_not_longer() {
    let mut cache = one();
    let end = START + DAY;
    assert_eq!(cache.unheard(PATIENCE, START + 1), []);
    assert_eq!(cache.age(PATIENCE, end), []);
    assert_eq!((ids(&cache), cache.stale_for(end), cache.is_reachable()), (vec!["a".to_owned()], DAY, false));
    assert_eq!(cache.age(PATIENCE, end + 1), [KeyEvent::TooStale(1)]);
    assert_eq!(ids(&cache), [""; 0]);
    assert_eq!(cache.age(PATIENCE, end + 2), [], "told once");
}

#[test]
fn redis_that_comes_back_ends_the_stale_time() {
    let mut cache = one();
    cache.unheard(PATIENCE, START + DAY);
    let now = START + DAY + 1;
    cache.heard(listing(now, vec![("a", Ok(stored("a", Some(DAY))))]), PATIENCE, now);
    assert_eq!((cache.stale_for(now), cache.is_reachable()), (0, true));
    assert_eq!(cache.unheard(PATIENCE, now + DAY), [], "counted anew");
}

#[test]
fn nonsense_in_a_keys_place_leaves_the_last_good_one_serving_and_the_others_alone() {
    let mut cache = one();
    let now = START + 1000;
    let both = |fault: EntryFault| vec![("a", Err(fault)), ("b", Ok(stored("b", None)))];
    let events = cache.heard(listing(now, both(EntryFault::WrongType)), PATIENCE, now);
    assert_eq!(events, [KeyEvent::Unreadable(id("a"), EntryFault::WrongType, true)]);
    assert_eq!((ids(&cache).join(" "), cache.unreadable()), ("a b".to_owned(), 1));
    assert_eq!(cache.heard(listing(now, both(EntryFault::WrongType)), PATIENCE, now + 1), [], "told once");
    let end = now + DAY;
    let events = cache.heard(listing(end, both(EntryFault::WrongType)), PATIENCE, end + 1);
    assert_eq!(events, [KeyEvent::UnreadableTooLong(id("a"))]);
    assert_eq!(ids(&cache), ["b"]);
}

#[test]
fn nonsense_where_no_key_was_gives_none() {
    let mut cache = KeyCache::default();
    let events = cache.heard(listing(START, vec![("a", Err(EntryFault::TooLarge))]), PATIENCE, START);
    assert_eq!(events, [KeyEvent::Unreadable(id("a"), EntryFault::TooLarge, false)]);
    assert!(cache.keys().is_empty());
}

#[test]
fn a_rotation_gives_two_keys_the_staged_one_before_the_one_on_its_way_out() {
    let mut cache = KeyCache::default();
    let with = |companion| Stored { companion, ..stored("a", None) };
    let staged = Companion { next: second("b", 7), previous: second("c", 8), ..Companion::default() };
    let outgoing = Companion { previous: second("c", 8), ..Companion::default() };
    cache.heard(listing(START, vec![("x", Ok(with(staged))), ("y", Ok(with(outgoing)))]), PATIENCE, START);
    let keys = cache.keys();
    let shown = |name: &str| {
        let keys = &keys[name];
        (keys.iter().map(|key| key.fingerprint()).collect::<Vec<_>>(), keys.overlap_until)
    };
    assert_eq!(shown("x"), (vec![fingerprint("a"), fingerprint("b")], None));
    assert_eq!(shown("y"), (vec![fingerprint("a"), fingerprint("c")], Some(8)));
    assert_eq!(cache.staged(), [(id("x"), fingerprint("b"))]);
}

#[test]
fn nothing_that_is_shown_for_debugging_holds_a_key() {
    let text = format!("{:?}", one());
    assert!(!text.contains("aaaa") && text.contains("ServiceKey("), "{text}");
}

#[test]
fn what_was_kept_by_a_clock_that_ran_ahead_ages_from_now_on() {
    let mut cache = one();
    cache.heard(Listing { database: Some("another".to_owned()), ..listing(START, vec![]) }, PATIENCE, START);
    assert!(!cache.not_after(START), "nothing is from the future");
    assert!(cache.not_after(START - 30 * DAY));
    assert_eq!(cache.good_at, Some(START - 30 * DAY));
    assert_eq!(cache.entries[&id("a")].gone, Some(Gone::Lost(START - 30 * DAY)));
    cache.unheard(PATIENCE, START - 29 * DAY + 1);
    assert_eq!(ids(&cache), [""; 0], "stale for a day and no longer");
}
