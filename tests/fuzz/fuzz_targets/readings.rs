//! Path readings: bounded, and no spelling of a guarded path is classed lower than a plain one of its readings.
#![no_main]

use countersign::request::decode::percent_decoded;
use countersign::request::readings::Readings;
use countersign::rules::classify::{Access, Class, DefaultAccess, Rule, RuleSet};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    let rule = |access, pattern: &str| Rule {
        name: pattern.into(),
        access,
        patterns: vec![pattern.parse().expect("a pattern")],
        methods: None,
        callers: None,
        enforce: None,
        first_byte: None,
    };
    let rules = vec![
        rule(Access::Service, "/api/internal"),
        rule(Access::Exempt, "/api/chat"),
        rule(Access::Service, "/api/*/results"),
        rule(Access::Exempt, "=/api/internal/open"),
    ];
    RuleSet::build(rules, DefaultAccess::Open).expect("rules that agree")
});

fuzz_target!(|text: &str| {
    if !text.starts_with('/') || !text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return;
    }
    let readings = Readings::of(text);
    assert!(readings.all().len() <= Readings::MOST);
    let class = RULES.classify("GET", &readings).class();
    if readings.is_overlong() {
        assert_eq!(class, Class::Service);
        return;
    }
    assert_eq!(readings.all().next().map(|reading| reading.text()), Some(text));
    assert!(readings.all().map(|reading| reading.text().len()).sum::<usize>() <= Readings::MOST_BYTES);
    // What a server that decodes once sees is never classed higher than the whole.
    let decoded = percent_decoded(text);
    if decoded.starts_with('/') && decoded.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'%') {
        assert!(RULES.classify("GET", &Readings::of(&decoded)).class() <= class, "{text} against {decoded}");
    }
    // Draws are made by one of the readings.
    assert!(!readings.cleaned().contains("/../"));
});
