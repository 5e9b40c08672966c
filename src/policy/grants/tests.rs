//! What a table holds, what a scope covers, and how often a grant is used.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::request::readings::Readings;
use crate::rules::classify::{Access, DefaultAccess, Rule, RuleSet};
use std::time::Duration;

const NOW: u64 = 1_759_742_876;

fn terms(path: &str, method: Option<&str>, seconds: u64, uses: Option<u64>) -> Result<GrantTerms, TermsError> {
    let scope = GrantScope::new(path, method)?;
    GrantTerms::new(scope, Duration::from_secs(seconds), uses, "a test", "uid:0", NOW)
}

fn token(number: u8) -> GrantToken {
    GrantToken::from_random(&[number; 32])
}

fn grant(number: u8, uses: Option<u64>, start: Instant) -> Arc<Grant> {
    let terms = terms("/api/npu", None, 60, uses).unwrap();
    Arc::new(Grant::new(GrantId::from_random([number; 6]), token(number).hash(), terms, 0, (NOW, start)))
}

fn rules(default: DefaultAccess) -> RuleSet {
    let rule = |access, path: &str| Rule {
        name: path.into(),
        access,
        patterns: vec![path.parse().unwrap()],
        methods: None,
        callers: None,
        enforce: None,
        first_byte: None,
    };
    let all = vec![
        rule(Access::Service, "/api/npu"),
        rule(Access::Service, "/api/internal"),
        rule(Access::Exempt, "/api/npu/workers"),
        rule(Access::Exempt, "/api/chat"),
    ];
    RuleSet::build(all, default).unwrap()
}

#[test]
fn a_token_has_256_bits_in_a_form_of_its_own_and_does_not_show() {
    let token = GrantToken::from_random(&[0xab; 32]);
    assert_eq!(token.reveal(), format!("cso_{}", "ab".repeat(32)));
    assert_eq!(format!("{token:?}"), "GrantToken(..)");
    assert_eq!(token.hash(), TokenHash::of(token.reveal().as_bytes()));
}

#[test]
fn an_id_is_read_as_it_is_printed_and_nothing_else_is_one() {
    let id = GrantId::from_random([0, 1, 2, 0xfd, 0xfe, 0xff]);
    assert_eq!(id.to_string(), "000102fdfeff");
    assert_eq!(GrantId::parse("000102fdfeff"), Some(id));
    for wrong in ["", "0", "000102fdfef", "000102fdfefff", "000102FDFEFF", "000102fdfefg", "cso_00010203"] {
        assert_eq!(GrantId::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn each_of_64_grants_is_found_by_its_own_token_and_there_is_no_65th() {
    let start = Instant::now();
    let mut table = GrantTable::default();
    for number in 1..=64 {
        table = table.with(grant(number, None, start)).unwrap();
    }
    for number in 1..=64 {
        assert_eq!(table.find(&token(number).hash()).unwrap().id(), GrantId::from_random([number; 6]));
    }
    assert!(table.find(&token(65).hash()).is_none());
    assert_eq!(table.with(grant(65, None, start)).unwrap_err(), TableError::Full);
    let (table, gone) = table.without(GrantId::from_random([7; 6])).unwrap();
    assert_eq!(gone.id(), GrantId::from_random([7; 6]));
    assert!(table.find(&token(7).hash()).is_none() && table.find(&token(64).hash()).is_some());
    assert!(table.without(GrantId::from_random([7; 6])).is_none());
    assert!(table.with(grant(65, None, start)).is_ok());
}

#[test]
fn where_nothing_is_granted_nothing_is_found_not_even_zeros() {
    let table = GrantTable::default();
    assert!(table.find(&TokenHash::parse(&"0".repeat(64)).unwrap()).is_none());
    assert!(table.find(&token(1).hash()).is_none());
}

#[test]
fn no_id_and_no_token_is_granted_twice() {
    let start = Instant::now();
    let table = GrantTable::default().with(grant(1, None, start)).unwrap();
    let again = |id, number| {
        let terms = terms("/", None, 60, None).unwrap();
        Arc::new(Grant::new(GrantId::from_random([id; 6]), token(number).hash(), terms, 0, (NOW, start)))
    };
    for twice in [again(1, 2), again(2, 1)] {
        assert!(matches!(table.with(twice), Err(TableError::Again(_))));
    }
    assert!(table.with(again(2, 2)).is_ok());
}

#[test]
fn a_grant_ends_by_whichever_clock_is_first() {
    let start = Instant::now();
    let grant = grant(1, None, start);
    for (wall, monotonic, standing) in [
        (0, 0, Standing::Open),
        (59, 59, Standing::Open),
        (60, 0, Standing::Expired),
        (0, 60, Standing::Expired),
        (60, 60, Standing::Expired),
        (u64::MAX - NOW, 0, Standing::Expired),
    ] {
        let found = grant.standing(NOW + wall, start + Duration::from_secs(monotonic));
        assert_eq!(found, standing, "{wall} {monotonic}");
    }
    assert_eq!(
        grant.standing(NOW - 600, start + Duration::from_secs(61)),
        Standing::Expired,
        "the clock was set back"
    );
}

#[test]
fn a_clock_that_was_set_back_before_a_start_gives_no_more_than_the_lifetime() {
    let start = Instant::now();
    let terms = terms("/", None, 60, None).unwrap();
    let grant = Grant::new(GrantId::from_random([1; 6]), token(1).hash(), terms, 0, (NOW - 86_400, start));
    assert_eq!(grant.standing(NOW - 86_400, start + Duration::from_secs(60)), Standing::Expired);
}

#[test]
fn of_n_uses_exactly_n_are_had_by_however_many_at_once() {
    for uses in [1, 7, 100] {
        let grant = grant(1, Some(uses), Instant::now());
        let taken: u64 = std::thread::scope(|scope| {
            let take = || (0..50).filter(|_| grant.take_use()).count() as u64;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((taken, grant.used(), grant.uses_left()), (uses, uses, Some(0)));
        assert!(!grant.take_use());
    }
}

#[test]
fn without_a_number_every_use_is_had_and_counted() {
    let grant = grant(1, None, Instant::now());
    assert!((0..1000).all(|_| grant.take_use()));
    assert_eq!((grant.used(), grant.uses_left()), (1000, None));
}

#[test]
fn what_is_over_is_swept_out_and_the_rest_keeps_its_count() {
    let start = Instant::now();
    let (lasting, used_up) = (grant(1, Some(2), start), grant(2, Some(1), start));
    let table = GrantTable::new(vec![Arc::clone(&lasting), Arc::clone(&used_up)]).unwrap();
    assert!(table.swept(NOW, start).is_none());
    assert!(lasting.take_use() && used_up.take_use());
    assert_eq!(table.open(NOW, start), 1);
    let (table, over) = table.swept(NOW, start).unwrap();
    assert_eq!(
        over.iter().map(|(grant, standing)| (grant.id(), *standing)).collect::<Vec<_>>(),
        [(used_up.id(), Standing::UsedUp)]
    );
    assert_eq!(table.find(&token(1).hash()).unwrap().uses_left(), Some(1));
    let (table, over) = table.swept(NOW + 60, start).unwrap();
    assert_eq!((table.iter().len(), over[0].1), (0, Standing::Expired));
}

#[test]
fn terms_that_could_not_be_kept_or_say_nothing_are_refused() {
    for (path, method, seconds, uses) in [
        ("api", None, 60, None),
        ("/api/%6epu", None, 60, None),
        ("/api//x", None, 60, None),
        ("", None, 60, None),
        ("/x", Some(""), 60, None),
        ("/x", Some("post"), 60, None),
        ("/x", Some("POST,GET"), 60, None),
        ("/x", Some("P OST"), 60, None),
        ("/x", None, 0, None),
        ("/x", None, 7 * 86_400 + 1, None),
        ("/x", None, 60, Some(0)),
    ] {
        assert!(terms(path, method, seconds, uses).is_err(), "{path:?} {method:?} {seconds} {uses:?}");
    }
    assert!(terms(&format!("/{}", "a".repeat(256)), None, 60, None).is_err());
    assert!(terms("/", Some("POST"), 7 * 86_400, Some(u64::MAX)).is_ok());
    let scope = || GrantScope::new("/x", None).unwrap();
    let minute = Duration::from_secs(60);
    for reason in ["", " ", "two\nlines", "\u{1b}[2J", &"r".repeat(2049)] {
        assert_eq!(GrantTerms::new(scope(), minute, None, reason, "uid:0", NOW).unwrap_err(), TermsError::Reason);
    }
    assert_eq!(*GrantTerms::new(scope(), minute, None, " why \n", "uid:0", NOW).unwrap().reason, *"why");
}

#[test]
fn what_was_read_from_elsewhere_is_sound_only_if_it_could_have_been_granted() {
    let sound = terms("/x", Some("POST"), 60, Some(3)).unwrap();
    assert!(sound.are_sound());
    let reason = |reason: &str| GrantTerms { reason: reason.into(), ..sound.clone() };
    for wrong in [
        GrantTerms { expires: NOW, ..sound.clone() },
        GrantTerms { expires: NOW + 8 * 86_400, ..sound.clone() },
        GrantTerms { created: NOW + 61, ..sound.clone() },
        reason(""),
        reason(" padded "),
        reason("two\nlines"),
    ] {
        assert!(!wrong.are_sound(), "{wrong:?}");
    }
}

#[test]
fn a_scope_covers_its_path_by_whole_segments_and_its_method() {
    let rules = rules(DefaultAccess::Service);
    for (path, method, of, to, covered) in [
        ("/api/npu", None, "POST", "/api/npu", true),
        ("/api/npu", None, "DELETE", "/api/npu/results/7", true),
        ("/api/npu", None, "POST", "/api/npu/", true),
        ("/api/npu", None, "POST", "/api/npux", false),
        ("/api/npu", None, "POST", "/api/npu.json", false),
        ("/api/npu", None, "POST", "/api", false),
        ("=/api/npu", None, "POST", "/api/npu", true),
        ("=/api/npu", None, "POST", "/api/npu/results", false),
        ("/api/*/results", None, "POST", "/api/npu/results/7", true),
        ("/api/*/results", None, "POST", "/api/npu/status", false),
        ("/api/npu", Some("POST"), "POST", "/api/npu", true),
        ("/api/npu", Some("POST"), "GET", "/api/npu", false),
        ("/api/npu", Some("POST"), "post", "/api/npu", false),
        ("/api/npu", Some("GET"), "HEAD", "/api/npu", true),
        ("/api/npu", Some("HEAD"), "GET", "/api/npu", false),
        ("/", None, "POST", "/anything/at/all", true),
        ("=/", None, "POST", "/anything", false),
        ("=/", None, "POST", "/", true),
    ] {
        let scope = GrantScope::new(path, method).unwrap();
        assert_eq!(scope.covers(&rules, of, &Readings::of(to)), covered, "{scope}: {of} {to}");
    }
}

#[test]
fn no_spelling_of_another_guarded_path_is_within_a_scope() {
    let rules = rules(DefaultAccess::Open);
    let scope = GrantScope::new("/api/npu", None).unwrap();
    for trick in [
        "/api/npu/../internal/x",
        "/api/npu/..%2finternal/x",
        "/api/npu/%2e%2e/internal/x",
        "/api/npu/..%252finternal/x",
        "/api/npu/..;/internal/x",
        "/api/npu\\..\\internal\\x",
        "/api/npu/..%5cinternal",
        "/api/npu/%0a../internal",
        "/api/internal/../npu/x",
        "/api/%69nternal",
        "/api/INTERNAL",
        "/api/internal;a=/api/npu",
        "/api/internal/..%2fnpu",
        &format!("/api/npu/{}%2e%2e/internal", "a/".repeat(1100)),
    ] {
        assert!(!scope.covers(&rules, "POST", &Readings::of(trick)), "{trick}");
    }
    for honest in [
        "/api/npu/a%2Fb",
        "/api/npu/50%25",
        "/api/npu/Task-7",
        "/api/npu/x;v=1",
        "/API/npu/x",
        "/api//npu/x",
        "/api/npu/.",
    ] {
        assert!(scope.covers(&rules, "POST", &Readings::of(honest)), "{honest}");
    }
}

#[test]
fn what_a_path_could_also_be_read_as_without_needing_a_signature_does_not_stand_in_the_way() {
    let scope = GrantScope::new("/api/npu", None).unwrap();
    let beside = Readings::of("/api/npu/..%2fchat/x");
    assert!(scope.covers(&rules(DefaultAccess::Open), "POST", &beside), "/api/chat is exempt");
    let open = Readings::of("/api/npu/..%2fother");
    assert!(scope.covers(&rules(DefaultAccess::Open), "POST", &open));
    assert!(!scope.covers(&rules(DefaultAccess::Service), "POST", &open), "guarded by default, and not granted");
}

#[test]
fn capitals_in_a_scope_are_compared_as_rules_compare_them() {
    let rules = rules(DefaultAccess::Service);
    let scope = GrantScope::new("/API/Npu", None).unwrap();
    assert!(scope.covers(&rules, "POST", &Readings::of("/API/Npu/x")));
    assert!(!scope.covers(&rules, "POST", &Readings::of("/api/npu/x")));
    assert!(!scope.covers(&rules, "POST", &Readings::of("/API/NPU/x")));
}

/// A grant for all, with this number.
fn for_fleet(number: u8, start: Instant) -> Arc<Grant> {
    let terms = GrantTerms { fleet: true, ..terms("/api/npu", None, 60, Some(3)).unwrap() };
    Arc::new(Grant::new(GrantId::from_random([number; 6]), token(number).hash(), terms, 0, (NOW, start)))
}

fn hear(table: &GrantTable, word: FleetWord, start: Instant) -> GrantTable {
    match table.hear(word, (NOW, start)) {
        Heard::Granted(table, _) | Heard::Revoked(table, ..) | Heard::Remember(table) => table,
        Heard::Nothing => table.clone(),
    }
}

#[test]
fn whatever_the_order_of_the_words_what_was_revoked_stays_revoked() {
    let start = Instant::now();
    let grant = for_fleet(1, start);
    let granted = FleetWord::Granted(StoredGrant::of(&grant, 0));
    let revoked = FleetWord::Revoked(Revoked::of(&grant, "uid:0 at vm20", "found"));
    let (g, r) = (&granted, &revoked);
    for words in [&[g, r][..], &[r, g], &[g, r, g], &[g, g, r, r, g], &[r, r, g, g]] {
        let table = words.iter().fold(GrantTable::default(), |table, word| hear(&table, (*word).clone(), start));
        assert!(table.find(&token(1).hash()).is_none(), "{words:?}");
        assert!(table.words().map(|(_, word)| word).eq([revoked.clone()]));
    }
    let table = hear(&GrantTable::default(), granted.clone(), start);
    assert_eq!(table.find(&token(1).hash()).unwrap().uses_left(), Some(3));
    assert!(table.words().map(|(_, word)| word).eq([granted]));
}

#[test]
fn a_grant_of_the_fleet_that_is_used_up_stays_so_whatever_is_said_again() {
    let start = Instant::now();
    let word = FleetWord::Granted(StoredGrant::of(&for_fleet(1, start), 0));
    let table = hear(&GrantTable::default(), word.clone(), start);
    while table.find(&token(1).hash()).unwrap().take_use() {}
    assert!(table.swept(NOW, start).is_none() && table.spent().count() == 1);
    let table = hear(&table, word.clone(), start);
    assert_eq!((table.open(NOW, start), table.find(&token(1).hash()).unwrap().uses_left()), (0, Some(0)));
    let (table, _) = table.swept(NOW + 60, start).unwrap();
    assert_eq!((table.iter().len(), table.spent().count()), (0, 0));
    assert!(matches!(table.hear(word, (NOW + 60, start)), Heard::Nothing));
}

#[test]
fn an_end_is_remembered_for_as_long_as_the_grant_would_have_lasted() {
    let start = Instant::now();
    let grant = for_fleet(1, start);
    let table = hear(&GrantTable::default(), FleetWord::Revoked(Revoked::of(&grant, "uid:0", "w")), start);
    assert!(table.swept(NOW + 59, start).is_none());
    let (table, _) = table.swept(NOW + 60, start).unwrap();
    assert!(table.all_revoked().is_empty());
    assert!(matches!(table.hear(FleetWord::Granted(StoredGrant::of(&grant, 0)), (NOW + 60, start)), Heard::Nothing));
}

#[test]
fn a_word_touches_no_grant_of_one_sidecar_and_a_grant_of_one_sidecar_is_no_word() {
    let start = Instant::now();
    let own = grant(1, None, start);
    let table = GrantTable::default().with(Arc::clone(&own)).unwrap();
    assert_eq!(table.words().count(), 0);
    let table = hear(&table, FleetWord::Revoked(Revoked::of(&own, "uid:0", "w")), start);
    assert!(table.find(&token(1).hash()).is_some());
    assert!(matches!(
        table.hear(FleetWord::Granted(StoredGrant::of(&grant(2, None, start), 0)), (NOW, start)),
        Heard::Nothing
    ));
}

#[test]
fn what_is_remembered_of_others_is_bounded() {
    let start = Instant::now();
    let mut table = GrantTable::default();
    for number in 0..1000_u16 {
        let id = GrantId::from_random([7, 7, 7, 7, (number >> 8) as u8, number as u8]);
        let terms = GrantTerms { fleet: true, ..terms("/", None, 60, None).unwrap() };
        let grant = Grant::new(id, token(1).hash(), terms, 0, (NOW, start));
        table = hear(&table, FleetWord::Revoked(Revoked::of(&grant, "uid:0", "w")), start);
    }
    assert_eq!(table.all_revoked().len(), 256);
}
