//! Rule patterns: what is accepted prints as it can be written again, and covers itself.
#![no_main]

use countersign::request::readings::Readings;
use countersign::rules::classify::{Access, Class, DefaultAccess, Rule, RuleSet};
use countersign::rules::pattern::Pattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, bool)| {
    let (first, second, exempt) = input;
    let (Ok(first), Ok(second)) = (first.parse::<Pattern>(), second.parse::<Pattern>()) else { return };
    for pattern in [&first, &second] {
        assert_eq!(pattern.to_string().parse::<Pattern>().as_ref(), Ok(pattern));
    }
    let rule = |access, pattern: &Pattern| Rule {
        name: pattern.to_string().into(),
        access,
        patterns: vec![pattern.clone()],
        methods: None,
        callers: None,
        enforce: None,
        first_byte: None,
    };
    let other = if exempt { Access::Exempt } else { Access::Service };
    let text = first.to_string();
    let path = text.trim_start_matches('=').replace('*', "x");
    let plain = path.bytes().all(|b| (0x21..0x7f).contains(&b));
    if let Ok(rules) = RuleSet::build(vec![rule(Access::Service, &first)], DefaultAccess::Open) {
        if plain && path.len() < Readings::LONGEST {
            assert_eq!(rules.classify("GET", &Readings::of(&path)).class(), Class::Service, "{text} and {path}");
        }
    }
    if let Ok(rules) = RuleSet::build(vec![rule(Access::Service, &first), rule(other, &second)], DefaultAccess::Open) {
        if plain {
            let _ = rules.classify("GET", &Readings::of(&path));
        }
    }
});
