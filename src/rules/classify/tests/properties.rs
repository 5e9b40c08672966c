//! What holds for every path and every set of rules.

use super::*;
use crate::request::readings::tests::hostile_path;
use crate::request::readings::tests::naive::forms as every_form;
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
            for rule in plain.rules() {
                // Under an overlong path stands one rule for each list of callers.
                let callers = &set.rule(*rule).callers;
                let same = |other: &RuleIndex| set.rule(*other).callers == *callers;
                let is_overlong = Readings::of(&spelled).is_overlong();
                prop_assert!(disguised.rules().contains(rule)
                    || is_overlong && (callers.is_none() || disguised.rules().iter().any(same)));
            }
            prop_assert!(disguised.own_percentage() >= plain.own_percentage());
        }
    }

    /// What an override grant is judged by: no disguise of a guarded path is covered by a pattern that the path itself is not.
    #[test]
    fn no_encoding_brings_a_guarded_path_under_a_pattern(
        set in prop::sample::select(fleet::sets()),
        path in fleet::path(),
        spelling in fleet::spelling(),
        pattern in prop::sample::select(&["/api/npu", "/api/internal", "/api/*/results", "=/api/browser/logs", "/api"][..]),
    ) {
        let written: Pattern = pattern.parse().unwrap();
        let covers = |path: &str| {
            set.every_service_reading("POST", &Readings::of(path), |reading| match reading.case() {
                Case::Lowered => written.lowered().covers(reading.text()),
                Case::Kept | Case::Either => written.covers(reading.text()),
            })
        };
        let spelled = spelling.of(&path);
        if covers(&spelled) && classify(&set, "POST", &path).class() == Service {
            prop_assert!(covers(&path), "{} {} under {}", path, spelled, pattern);
        }
        if written.covers(&path) && !path.contains(['%', ';', '\\', '.']) && !path.contains("//") {
            prop_assert!(covers(&path), "{} is under {}", path, pattern);
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
                let (class, deciding) = naive::classify(&rules, default, method, naive::forms(&readings));
                prop_assert_eq!(found.class(), class);
                prop_assert_eq!(found.rules(), deciding);
                prop_assert_eq!(set.trace(method, &readings).classification, found);
            }
        }
    }
}

proptest! {
    // The naive maker tries more than a thousand subsets for each.
    #![proptest_config(ProptestConfig::with_cases(cases().cases / 10))]

    /// Nothing is shared with the code but the decoder: every reading by trying every subset of the steps, every pattern on
    /// each.
    #[test]
    fn a_request_is_classed_as_by_the_words_of_the_contract(
        rules in naive::rules(),
        default in prop::sample::select(&[DefaultAccess::Open, DefaultAccess::Service][..]),
        path in naive::disguised_path(),
        method in prop::sample::select(&["GET", "HEAD", "POST", "post", "OPTIONS"][..]),
    ) {
        let Ok(set) = RuleSet::build(rules.clone(), default) else { return Ok(()) };
        let readings = Readings::of(&path);
        let found = set.classify(method, &readings);
        if readings.is_overlong() {
            prop_assert_eq!(found.class(), Service);
            prop_assert_eq!(found.own_percentage(), Percentage::FULL);
            return Ok(());
        }
        let (class, mut deciding) = naive::classify(&rules, default, method, every_form(&path));
        prop_assert_eq!(found.class(), class);
        if class == Service {
            let mut ours = found.rules().to_vec();
            ours.sort();
            deciding.sort();
            prop_assert_eq!(ours, deciding);
        }
    }
}
