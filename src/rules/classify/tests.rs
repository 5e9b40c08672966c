use super::*;
use crate::rules::pattern::Pattern;
use crate::rules::percentage::Percentage;
use crate::signature::key::ServiceId;
use Class::{Exempt, Open, Service};

mod fleet;
mod naive;
mod properties;

/// One rule a line: `service POST,GET /api/x /api/y <npu-worker,ai-stack> 50%`.
fn rules(text: &str) -> Vec<Rule> {
    text.lines().filter(|line| !line.trim().is_empty()).map(rule).collect()
}

fn rule(line: &str) -> Rule {
    let mut words = line.split_whitespace();
    let access = match words.next().unwrap() {
        "exempt" => Access::Exempt,
        "service" => Access::Service,
        other => panic!("not an access: {other}"),
    };
    let name = line.trim().into();
    let mut rule =
        Rule { name, access, patterns: vec![], methods: None, callers: None, enforce: None, first_byte: None };
    for word in words {
        if let Some(ids) = word.strip_prefix('<') {
            let ids = ids.trim_end_matches('>').split(',');
            rule.callers = Some(ids.map(|id| ServiceId::parse(id).unwrap()).collect());
        } else if let Some(percentage) = word.strip_suffix('%') {
            rule.enforce = Percentage::new(percentage.parse().unwrap());
        } else if word.starts_with(['/', '=']) {
            rule.patterns.push(word.parse::<Pattern>().unwrap());
        } else {
            rule.methods = Some(word.split(',').map(Box::from).collect());
        }
    }
    rule
}

fn set(text: &str) -> RuleSet {
    RuleSet::build(rules(text), DefaultAccess::Open).unwrap()
}

fn classify(set: &RuleSet, method: &str, path: &str) -> Classification {
    set.classify(method, &Readings::of(path))
}

fn deciding(set: &RuleSet, method: &str, path: &str) -> Vec<u32> {
    classify(set, method, path).rules().iter().map(|index| index.0).collect()
}

fn assert_classes(set: &RuleSet, rows: &[(&str, Class)]) {
    for (request, class) in rows {
        let (method, path) = request.split_once(' ').unwrap_or(("GET", request));
        let readings = Readings::of(path);
        let trace = set.trace(method, &readings);
        assert_eq!(trace.classification.class(), *class, "{request:?}: {:#?}", trace.steps);
    }
}

#[test]
fn a_pattern_covers_whole_segments() {
    assert_classes(
        &set("exempt /api/chat\nexempt =/status\nexempt /v/*/docs\nexempt /one/*"),
        &[
            ("/api/chat", Exempt),
            ("/api/chat/", Exempt),
            ("/api/chat/a/b", Exempt),
            ("/api/chatter", Open),
            ("/api/chat.json", Open),
            ("/api", Open),
            ("/", Open),
            ("/status", Exempt),
            ("/status/", Open),
            ("/status/x", Open),
            ("/v/2/docs", Exempt),
            ("/v/2/docs/x", Exempt),
            ("/v/docs", Open),
            ("/v/2/3/docs", Open),
            ("/v/2/docsx", Open),
            ("/one", Open),
            ("/one/x", Exempt),
        ],
    );
}

#[test]
fn the_most_specific_pattern_wins_in_whatever_order_they_stand() {
    let lines = [
        "exempt /",
        "service /a",
        "exempt /a/b",
        "service =/a/b",
        "exempt /a/*/c",
        "service POST /a/*/c",
        "service /a/x/c/d",
        "exempt =/a/x/c/d/*",
    ];
    let rows = [
        ("/z", Exempt),
        ("/a", Service),
        ("/a/z", Service),
        ("/a/b", Service),
        ("/a/b/z", Exempt),
        ("/a/z/c", Exempt),
        ("POST /a/z/c", Service),
        ("/a/x/c/d", Service),
        ("/a/x/c/d/e/f", Service),
        ("/a/x/c/d/e", Exempt),
    ];
    for turn in 0..lines.len() {
        let mut lines = lines;
        lines.rotate_left(turn);
        assert_classes(&set(&lines.join("\n")), &rows);
    }
}

#[test]
fn a_service_prefix_pattern_guards_what_begins_with_its_text() {
    let set = set("service /api/internal\nexempt /api/internal-docs\nservice =/api/exact\nexempt /api/free
         service POST /api/post\nservice /x/*/in\nservice /y/*");
    assert_classes(
        &set,
        &[
            ("/api/internal.json", Service),
            ("/api/internal;a", Service),
            ("/api/internalx/y", Service),
            ("/api/internal%00.html", Service),
            ("/API/INTERNAL.JSON", Service),
            ("/api/internal-docs", Exempt),
            ("/api/internal-docs/x", Exempt),
            ("/api/internal-doc", Service),
            ("/api/interna", Open),
            ("/api/exact.json", Open),
            ("/api/free.json", Open),
            ("POST /api/posts", Service),
            ("GET /api/posts", Open),
            ("/x/1/inner/z", Service),
            ("/x/1/i", Open),
            ("/y", Open),
            ("/yy", Open),
        ],
    );
}

#[test]
fn a_rule_that_covers_by_whole_segments_keeps_what_another_stretches_over() {
    let set = set("service /api/internal\nexempt /api\nexempt POST /b\nservice /b/in");
    assert_classes(
        &set,
        &[
            ("/api/internal.json", Exempt),
            ("/api/internal", Service),
            ("POST /b/inner", Exempt),
            ("GET /b/inner", Service),
        ],
    );
}

#[test]
fn of_stretched_patterns_the_most_specific_then_the_longest_wins() {
    let set = set(
        "service /a/i\nservice /a/in\nservice POST /a/inte\nservice /*/inter\nservice /a/im\nservice /a/internals/x",
    );
    for (request, rule) in [
        ("GET /a/internal", 1),
        ("POST /a/internal", 2),
        ("POST /a/int", 1),
        ("GET /a/i2", 0),
        ("GET /a/izz", 0),
        ("GET /b/internal", 3),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(deciding(&set, method, path), [rule], "{request}");
    }
}

#[test]
fn a_rule_for_get_covers_head_and_case_never_frees_a_guarded_method() {
    assert_classes(
        &set("service GET /s\nservice POST,PUT /p\nexempt GET /e\nexempt DELETE /d"),
        &[
            ("GET /s", Service),
            ("HEAD /s", Service),
            ("get /s", Service),
            ("head /s", Service),
            ("POST /s", Open),
            ("OPTIONS /s", Open),
            ("PoSt /p", Service),
            ("PUT /p", Service),
            ("GET /p", Open),
            ("HEAD /p", Open),
            ("GET /e", Exempt),
            ("HEAD /e", Exempt),
            ("get /e", Open),
            ("head /e", Open),
            ("DELETE /d", Exempt),
            ("Delete /d", Open),
            ("HEAD /d", Open),
        ],
    );
}

#[test]
fn no_method_is_exempt_by_itself() {
    let set = set("service /s");
    for method in ["OPTIONS", "HEAD", "TRACE", "PROPFIND", "x", "CONNECT", ""] {
        assert_eq!(classify(&set, method, "/s").class(), Service, "{method}");
    }
}

#[test]
fn what_no_rule_covers_is_the_default() {
    let rules = rules("exempt /free\nservice /s <npu-worker> 10%");
    let set = RuleSet::build(rules, DefaultAccess::Service).unwrap();
    assert_classes(
        &set,
        &[("/free", Exempt), ("/free/x", Exempt), ("/freedom", Service), ("/", Service), ("*", Service)],
    );
    assert_classes(&set, &[("/FREE", Service), ("/free/../x", Service), ("/free/%2e%2e", Service)]);
    assert_eq!(classify(&set, "GET", "/x").rules(), []);
    assert_eq!(classify(&set, "GET", "/x").named_rule(), None);
    assert_eq!(classify(&set, "GET", "/x").own_percentage(), Percentage::FULL);
    // one reading under a rule, one under the default: the rule's callers, and the larger percentage
    let both = classify(&set, "GET", "/x/../s");
    assert_eq!((both.class(), both.rules(), both.own_percentage()), (Service, &[RuleIndex(1)][..], Percentage::FULL));
}

#[test]
fn every_service_rule_that_a_reading_falls_under_decides() {
    let set = set("service /a <npu-worker> 10%\nservice /b <ai-stack> 50%\nservice /c\nexempt /d\nexempt /e");
    let one = classify(&set, "GET", "/a/x");
    assert_eq!((one.rules(), one.own_percentage()), (&[RuleIndex(0)][..], Percentage::new(10).unwrap()));
    let two = classify(&set, "GET", "/a/..%2fb");
    assert_eq!(
        (two.rules(), two.own_percentage()),
        (&[RuleIndex(0), RuleIndex(1)][..], Percentage::new(50).unwrap())
    );
    assert_eq!(two.named_rule(), Some(RuleIndex(0)));
    let with_none = classify(&set, "GET", "/c/..%2fa");
    assert_eq!((with_none.rules().len(), with_none.own_percentage()), (2, Percentage::FULL));
    let beside_exempt = classify(&set, "GET", "/d/..%2fb");
    assert_eq!((beside_exempt.class(), beside_exempt.rules()), (Service, &[RuleIndex(1)][..]));
    let exempt = classify(&set, "GET", "/d/..%2fe");
    assert_eq!(
        (exempt.class(), exempt.rules(), exempt.own_percentage()),
        (Exempt, &[RuleIndex(3)][..], Percentage::FULL)
    );
    let open = classify(&set, "GET", "/d/..%2fz");
    assert_eq!((open.class(), open.rules()), (Open, &[][..]));
}

#[test]
fn a_path_too_long_to_be_read_falls_under_every_rule_with_callers() {
    let text = "exempt /\nservice /a <npu-worker>\nservice /b <npu-worker>\nservice POST /c <ai-stack>\nservice /d";
    let set = set(text);
    let long = format!("/x/{}", "%41".repeat(1000));
    let get = classify(&set, "GET", &long);
    assert_eq!((get.class(), get.rules(), get.named_rule()), (Service, &[RuleIndex(1)][..], None));
    assert_eq!(get.own_percentage(), Percentage::FULL);
    assert_eq!(deciding(&set, "post", &long), [1, 3]);
    let clean = format!("/x/{}", "a".repeat(3000));
    assert_eq!(classify(&set, "GET", &clean).class(), Exempt);
}

#[test]
fn a_pattern_with_capitals_is_compared_as_written_and_lowered() {
    let mixed = set("exempt /API/Free\nservice /API/Internal\nexempt /low");
    assert_classes(
        &mixed,
        &[
            ("/API/Free", Exempt),
            ("/API/Free/x", Exempt),
            // a server that minds case has something else there
            ("/api/free", Open),
            ("/Api/Free", Open),
            ("/API/Internal", Service),
            ("/api/internal", Service),
            ("/api/internal.json", Service),
            ("/aPI/iNTERNAL", Service),
            ("/low", Exempt),
            ("/LOW", Open),
        ],
    );
}

#[test]
fn rules_that_tie_and_ask_different_things_are_refused() {
    for (text, expected) in [
        ("service /a\nexempt /a", &[(0, 1, "class")][..]),
        ("service /a\nexempt /A", &[(0, 1, "class")]),
        ("service =/a\nexempt =/a", &[(0, 1, "class")]),
        ("service /a/*/c\nexempt /a/b/*", &[(0, 1, "class")]),
        ("service /*/b\nexempt /a/*", &[(0, 1, "class")]),
        ("service /a <npu-worker>\nservice /a <ai-stack>", &[(0, 1, "callers")]),
        ("service /a <npu-worker>\nservice /a", &[(0, 1, "callers")]),
        ("service /a 10%\nservice /a 20%", &[(0, 1, "enforce")]),
        ("service /a 10%\nservice /a", &[(0, 1, "enforce")]),
        ("service POST /a\nexempt PUT,POST /a", &[(0, 1, "class")]),
        ("service GET /a\nexempt HEAD /a", &[(0, 1, "class")]),
        ("service /x /a\nexempt /y /a", &[(0, 1, "class")]),
        ("service /a\nservice /a\nexempt /a", &[(0, 2, "class"), (1, 2, "class")]),
        (
            "service /*/b/c 1%\nservice /a/*/c 2%\nservice /a/b/* 3%",
            &[(0, 1, "enforce"), (0, 2, "enforce"), (1, 2, "enforce")],
        ),
    ] {
        let conflicts = RuleSet::build(rules(text), DefaultAccess::Open).unwrap_err();
        let found: Vec<_> = conflicts.iter().map(|c| (c.first.0.0, c.second.0.0, c.differs_in)).collect();
        assert_eq!(found, expected, "{text}");
    }
    let [conflict] = &RuleSet::build(rules("service /x /a\nexempt /y /a"), DefaultAccess::Open).unwrap_err()[..]
    else {
        panic!("one conflict");
    };
    assert_eq!((conflict.first, conflict.second), ((RuleIndex(0), 1), (RuleIndex(1), 1)));
}

#[test]
fn rules_that_do_not_tie_or_ask_the_same_stand_together() {
    for text in [
        "service /a\nservice /a",
        "service /a <npu-worker,ai-stack> 10%\nservice /a <ai-stack,npu-worker> 10%",
        "service /a 100%\nservice /a",
        "service /a\nexempt =/a",
        "service /a\nexempt /a/*",
        "service /a\nexempt GET /a",
        "service POST /a\nexempt GET /a",
        "service POST /a\nexempt HEAD /a",
        "service /a/*/c\nexempt /a/b/c",
        "service /a/*/c\nexempt /b/a/*",
        "service /a/*/c\nexempt /a/*/d",
        "service /a/*\nexempt =/a/*",
        "service /a/*\nexempt /a/*/*",
        "service /api/internal\nexempt /api/internals",
        "service /a /a",
    ] {
        assert!(RuleSet::build(rules(text), DefaultAccess::Open).is_ok(), "{text}");
    }
}

#[test]
fn of_rules_that_say_the_same_the_first_is_named() {
    let set = set("service /a/*/c\nservice /a/b/*\nservice /a/*/c");
    assert_eq!(deciding(&set, "GET", "/a/b/c"), [0]);
    assert_eq!(deciding(&set, "GET", "/a/b/d"), [1]);
}

#[test]
fn a_trace_says_how_each_reading_was_made_and_what_it_falls_under() {
    let set = set("service /api/internal\nexempt /api/chat");
    let readings = Readings::of("/api/chat/..%2finternal.json");
    let trace = set.trace("GET", &readings);
    assert_eq!(trace.classification, set.classify("GET", &readings));
    let seen: Vec<_> = trace.steps.iter().map(|step| (step.reading.text(), step.class, step.under)).collect();
    let exempt = Some(Match { rule: RuleIndex(1), pattern: 0, stretched: false });
    let stretched = Some(Match { rule: RuleIndex(0), pattern: 0, stretched: true });
    assert_eq!(
        seen,
        [
            ("/api/chat/..%2finternal.json", Exempt, exempt),
            ("/api/chat/../internal.json", Exempt, exempt),
            ("/api/internal.json", Service, stretched),
            ("/api/chat//internal.json", Exempt, exempt),
        ]
    );
}

#[test]
fn ten_thousand_rules_stand_beside_each_other() {
    let text: Vec<_> = (0..10_000).map(|n| format!("service /team{}/service{n}/*/run <s{n}>", n % 100)).collect();
    let set = set(&text.join("\n"));
    assert_eq!(deciding(&set, "GET", "/team7/service9907/x/run/y"), [9907]);
    assert_eq!(deciding(&set, "GET", "/team7/service9907/x/runner"), [9907]);
    assert_eq!(classify(&set, "GET", "/team7/service9908/x/run").class(), Open);
}
