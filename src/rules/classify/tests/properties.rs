//! What holds for every path and every set of rules.

use super::*;
use crate::request::readings::tests::hostile_path;
use proptest::prelude::*;

/// `COUNTERSIGN_TEST_FULL=1` asks for the counts of a release.
fn cases() -> ProptestConfig {
    let full = std::env::var_os("COUNTERSIGN_TEST_FULL").is_some_and(|value| value == "1");
    ProptestConfig::with_cases(if full { 1_000_000 } else { 10_000 })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_class_is_never_weaker_under_any_encoding(
        set in prop::sample::select(fleet::sets()),
        path in fleet::path(),
        spelling in fleet::spelling(),
        method in prop::sample::select(&["GET", "POST", "OPTIONS"][..]),
    ) {
        let plain = classify(&set, method, &path);
        let spelled = spelling.of(&path);
        let disguised = classify(&set, method, &spelled);
        prop_assert!(disguised.class() >= plain.class(), "{} {} {:?}", path, spelled, spelling);
        if plain.class() == Service {
            prop_assert!(plain.rules().iter().all(|rule| disguised.rules().contains(rule)));
            prop_assert!(disguised.own_percentage() >= plain.own_percentage());
        }
    }

    #[test]
    fn the_index_agrees_with_a_naive_search(
        rules in naive::rules(),
        default in prop::sample::select(&[DefaultAccess::Open, DefaultAccess::Service][..]),
        path in prop_oneof![naive::path(), hostile_path()],
        method in prop::sample::select(&["GET", "HEAD", "POST", "post", "OPTIONS"][..]),
    ) {
        let conflicts = naive::conflicts(&rules);
        match RuleSet::build(rules.clone(), default) {
            Err(found) => {
                let found: Vec<_> = found.iter().map(|c| (c.first, c.second)).collect();
                prop_assert_eq!(found, conflicts);
            }
            Ok(set) => {
                prop_assert!(conflicts.is_empty());
                let readings = Readings::of(&path);
                let found = set.classify(method, &readings);
                let (class, deciding) = naive::classify(&rules, default, method, &readings);
                prop_assert_eq!(found.class(), class);
                prop_assert_eq!(found.rules(), deciding);
                prop_assert_eq!(set.trace(method, &readings).classification, found);
            }
        }
    }
}
