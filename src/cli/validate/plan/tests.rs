#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::config::check::{Overrides, Purpose, load};
use crate::config::env::Environment;
use std::path::Path;

const WORD: &str = "countersign-validate-0";

fn id(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

fn rule(name: &str, access: Access, paths: &[&str], methods: &[&str], callers: &[&str]) -> Rule {
    Rule {
        name: name.into(),
        access,
        patterns: paths.iter().map(|path| path.parse().unwrap()).collect(),
        methods: (!methods.is_empty()).then(|| methods.iter().map(|method| (*method).into()).collect()),
        callers: (!callers.is_empty()).then(|| callers.iter().map(|caller| id(caller)).collect()),
        enforce: None,
        first_byte: None,
    }
}

fn plan(rules: Vec<Rule>, callers: &[&str]) -> Plan {
    plan_with(rules, DefaultAccess::Open, callers, false)
}

fn plan_with(rules: Vec<Rule>, default_access: DefaultAccess, callers: &[&str], safe_only: bool) -> Plan {
    let rules = RuleSet::build(rules, default_access).unwrap();
    let callers: Vec<ServiceId> = callers.iter().map(|caller| id(caller)).collect();
    Plan::of(&rules, Means { callers: &callers, safe_only, override_token: false }, WORD)
}

/// Check, method and path of each request but the malformed one.
fn asked(plan: &Plan) -> Vec<(&'static str, &str, &str)> {
    let probes = plan.probes.iter().filter(|probe| probe.check != Check::Malformed);
    probes.map(|probe| (probe.check.name(), &*probe.method, &*probe.path)).collect()
}

fn of<'p>(plan: &'p Plan, check: &str) -> Vec<&'p Probe> {
    plan.probes.iter().filter(|probe| probe.check.name() == check).collect()
}

#[test]
fn every_pattern_is_asked_by_get_below_a_path_that_cannot_exist() {
    let plan = plan(
        vec![
            rule("n", Access::Service, &["/api/npu/results", "/api/*/internal"], &[], &["npu-worker"]),
            rule("b", Access::Exempt, &["/api/chat", "/"], &[], &[]),
        ],
        &["npu-worker"],
    );
    let below = |base: &str| format!("{base}/{WORD}/none");
    let (results, internal) = (below("/api/npu/results"), below(&format!("/api/{WORD}/internal")));
    let (chat, all) = (below("/api/chat"), below(""));
    let expected = [
        ("exempt path", "GET", &*chat),
        ("exempt path", "GET", &all),
        ("unsigned", "GET", &results),
        ("signed", "GET", &results),
        ("unsigned", "GET", &internal),
        ("signed", "GET", &internal),
        ("wrong signature", "GET", &results),
        ("old timestamp", "GET", &results),
        ("wrong override", "GET", &results),
    ];
    assert_eq!(asked(&plan), expected);
    assert_eq!(plan.probes[0].check, Check::Malformed);
}

#[test]
fn an_exact_path_is_asked_by_the_method_with_the_least_effect_that_its_rule_covers() {
    let method = |methods: &[&str]| {
        let plan = plan(vec![rule("x", Access::Service, &["=/api/x"], methods, &[])], &[]);
        of(&plan, "unsigned").first().map(|probe| (probe.method.clone(), probe.path.clone()))
    };
    let x = |method: &str| Some((method.to_owned(), "/api/x".to_owned()));
    assert_eq!(method(&[]), x("OPTIONS"));
    assert_eq!(method(&["GET", "POST"]), x("GET"));
    assert_eq!(method(&["HEAD"]), x("HEAD"));
    assert_eq!(method(&["POST"]), None, "that would be a real call");
}

#[test]
fn a_rule_without_a_harmless_method_is_asked_below_its_pattern_or_not_at_all() {
    let rules = || vec![rule("x", Access::Service, &["/api/x", "=/api/y"], &["POST", "DELETE"], &[])];
    let usual = plan(rules(), &["a"]);
    let unsigned = of(&usual, "unsigned");
    assert_eq!((&*unsigned[0].method, &*unsigned[0].path), ("POST", &*format!("/api/x/{WORD}/none")));
    assert_eq!((unsigned.len(), &*usual.left_out[0].subject), (1, "=/api/y"));
    let safe = plan_with(rules(), DefaultAccess::Open, &["a"], true);
    assert_eq!(asked(&safe), []);
    assert_eq!(safe.left_out.len(), 2);
}

#[test]
fn a_request_always_falls_under_the_rule_it_is_for() {
    let plan = plan(
        vec![
            rule("broad", Access::Service, &["/api/npu"], &[], &[]),
            rule("below", Access::Exempt, &["/api/npu/*/none", "/api/npu/workers"], &[], &[]),
            rule("hidden", Access::Service, &["/api/one"], &[], &[]),
            rule("over it", Access::Exempt, &["/api/one"], &["GET", "HEAD", "OPTIONS"], &[]),
        ],
        &[],
    );
    let unsigned = of(&plan, "unsigned");
    assert_eq!(unsigned.len(), 1, "{unsigned:?}");
    assert_eq!(unsigned[0].path, format!("/api/npu/{WORD}"), "two segments below is exempt");
    let left: Vec<&str> = plan.left_out.iter().map(|left| &*left.subject).collect();
    assert!(left.contains(&"/api/one"), "{left:?}");
}

#[test]
fn callers_are_tried_where_they_may_and_one_where_it_may_not() {
    let rules = || {
        vec![
            rule("npu", Access::Service, &["/api/npu"], &[], &["npu-worker", "ai-stack"]),
            rule("any", Access::Service, &["/api/any"], &[], &[]),
        ]
    };
    let all = plan(rules(), &["npu-worker", "ai-stack", "browser"]);
    let signed: Vec<_> =
        of(&all, "signed").iter().map(|probe| (&*probe.subject, probe.check.caller().unwrap())).collect();
    let (npu, ai, browser) = (id("npu-worker"), id("ai-stack"), id("browser"));
    let expected =
        [("/api/npu", &npu), ("/api/npu", &ai), ("/api/any", &npu), ("/api/any", &ai), ("/api/any", &browser)];
    assert_eq!(signed, expected);
    let wrong: Vec<_> = of(&all, "wrong caller").iter().map(|probe| probe.check.clone()).collect();
    assert_eq!(wrong, [Check::WrongCaller(browser)]);

    let none = plan(rules(), &[]);
    assert_eq!((of(&none, "signed"), of(&none, "wrong caller")), (vec![], vec![]));
    let left: Vec<_> = none.left_out.iter().map(|left| (left.check.name(), &*left.subject)).collect();
    assert_eq!(left, [("signed", "/api/npu"), ("wrong caller", "rule \"npu\"")]);
}

#[test]
fn what_no_rule_covers_is_asked_where_it_needs_a_signature() {
    let open = plan_with(vec![], DefaultAccess::Open, &[], false);
    assert_eq!(asked(&open), []);
    let closed = plan_with(vec![], DefaultAccess::Service, &[], false);
    assert_eq!(asked(&closed), [("unsigned", "GET", &*format!("/{WORD}/none"))]);
    let whole = plan_with(vec![rule("all", Access::Exempt, &["/"], &[], &[])], DefaultAccess::Service, &[], false);
    assert_eq!(of(&whole, "unsigned"), Vec::<&Probe>::new(), "a rule covers everything");
}

#[test]
fn the_first_of_each_kind_and_of_each_rule_matters_most() {
    let plan = plan(
        vec![
            rule("one", Access::Service, &["/a", "/b"], &[], &[]),
            rule("two", Access::Service, &["/c", "/d"], &[], &[]),
        ],
        &["x"],
    );
    let first: Vec<&str> =
        of(&plan, "unsigned").iter().filter(|probe| probe.is_first).map(|probe| &*probe.subject).collect();
    assert_eq!(first, ["/a", "/c"]);
    for check in ["wrong signature", "old timestamp", "wrong override"] {
        assert!(of(&plan, check)[0].is_first, "{check}");
        assert_eq!(of(&plan, check).iter().filter(|probe| probe.is_first).count(), 1, "{check}");
    }
}

/// Whatever the rules, nothing that is asked could do something to a backend of the fleet.
#[test]
fn the_fleets_rules_are_asked_whole_and_harmlessly() {
    for file in ["autobot.toml", "autobot-broad.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
        if !path.exists() {
            assert_ne!(file, "autobot.toml");
            continue;
        }
        let config =
            load(Some(&path), &Environment::default(), &Overrides::default(), Purpose::Inspect).unwrap().config;
        let callers = [id("npu-worker"), id("ai-stack"), id("browser-service"), id("main-backend")];
        let plan = Plan::of(&config.rules, Means { callers: &callers, ..Means::default() }, WORD);
        assert_eq!(plan.left_out, [], "{file}");
        for probe in &plan.probes {
            assert!(SAFE.contains(&&*probe.method), "{probe:?}");
            assert!(probe.path.contains(WORD), "{probe:?}");
        }
        let patterns = |access: Access| {
            config
                .rules
                .rules()
                .iter()
                .filter(|rule| rule.access == access)
                .map(|rule| rule.patterns.len())
                .sum::<usize>()
        };
        assert_eq!(of(&plan, "exempt path").len(), patterns(Access::Exempt));
        assert_eq!(of(&plan, "unsigned").len(), patterns(Access::Service));
    }
}
