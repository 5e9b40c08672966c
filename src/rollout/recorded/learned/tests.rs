use super::super::samples::{GOOD, peers, unsigned};
use super::*;
use crate::rules::classify::DefaultAccess;
use crate::rules::percentage::Percentage;

/// `service /a`, `service POST /b npu-worker`, `exempt =/c`: one rule each.
fn rules(lines: &[&str]) -> RuleSet {
    let rule = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let path = words.iter().position(|word| word.contains('/')).unwrap();
        Rule {
            name: words[path].into(),
            access: if words[0] == "exempt" { Access::Exempt } else { Access::Service },
            patterns: vec![words[path].parse().unwrap()],
            methods: (path == 2).then(|| vec![words[1].into()]),
            callers: words.get(path + 1).map(|id| vec![crate::signature::key::ServiceId::parse(id).unwrap()]),
            enforce: None,
            first_byte: None,
        }
    };
    RuleSet::build(lines.iter().map(rule).collect(), DefaultAccess::Open).unwrap()
}

fn open(client: &'static str, path: &'static str) -> Seen<'static> {
    let allowed = Seen { class: Some(Class::Open), outcome: Outcome::Allow, reason: None, ..unsigned(client) };
    Seen { path: Some(path), method: Some("GET"), ..allowed }
}

fn good(path: &'static str) -> Seen<'static> {
    Seen { path: Some(path), ..GOOD }
}

/// What is proposed (`+`) or told (`-`), as `path,path callers`.
fn learned(rules: &RuleSet, calls: &[Seen<'_>]) -> Vec<String> {
    let peers = peers(calls);
    let mut learner = Learner::default();
    calls.iter().for_each(|seen| learner.add(seen, rules, &peers));
    learner.proposals(rules, &peers).iter().map(shown).collect()
}

fn shown(proposal: &Proposal) -> String {
    let paths: Vec<String> = proposal.patterns.iter().map(ToString::to_string).collect();
    let sign = if proposal.obstacle.is_none() && proposal.kind != Kind::Undecided { "+" } else { "-" };
    format!("{sign}{} {}", paths.join(","), proposal.callers.join(",")).trim_end().to_owned()
}

const NPU: &str = "10.0.0.22";
const AI: &str = "10.0.24.1";
const NOBODY: &str = "10.9.9.9";

#[test]
fn uncovered_paths_of_services_become_theirs_grouped_by_caller() {
    let rules = rules(&["service /api/internal", "exempt /api/chat"]);
    let calls = [
        open(NPU, "/x/1"),
        open(NPU, "/x/2"),
        open(NPU, "/y"),
        open(AI, "/z"),
        open(NPU, "/both"),
        open(AI, "/both"),
        open(NPU, "/api/chat/1"),
    ];
    assert_eq!(learned(&rules, &calls), ["+=/x/*,=/y npu-worker", "+=/both npu-worker,ai-stack", "+=/z ai-stack"]);
}

#[test]
fn strangers_make_no_caller_and_take_none_away_silently() {
    let rules = rules(&["service /api/internal"]);
    let claimed = Seen { claimed: Some("npu-worker"), ..open(NOBODY, "/claimed") };
    let missing = Seen { status: Some(404), ..open(NOBODY, "/missing") };
    let ours = Seen { status: Some(200), upstream_answered: false, ..open(NOBODY, "/down") };
    let calls = [open(NPU, "/both"), open(NOBODY, "/both"), open(NOBODY, "/alone"), claimed, missing, ours];
    assert_eq!(learned(&rules, &calls), ["-=/both npu-worker", "-=/alone", "-=/claimed"]);
}

#[test]
fn a_rule_without_callers_is_narrowed_to_those_who_proved_themselves() {
    let rules = rules(&["service /open", "service /named npu-worker", "exempt /free"]);
    let ai = Seen { service: Some("ai-stack"), client: AI, ..good("/open/both") };
    let replayed = Seen { reason: Some("replayed"), client: NOBODY, ..good("/open/replayed") };
    let refused = Seen { path: Some("/open/refused"), ..unsigned(NPU) };
    let calls = [
        good("/open"),
        good("/open/7"),
        good("/open/both"),
        ai,
        replayed,
        refused,
        good("/named/x"),
        good("/free/x"),
    ];
    assert_eq!(learned(&rules, &calls), ["+=/open,=/open/* npu-worker", "+=/open/both npu-worker,ai-stack"]);
}

#[test]
fn nothing_is_proposed_that_would_do_more_or_less_than_meant() {
    for (lines, path, expected) in [
        // The rule's own pattern is as specific.
        (&["service =/open"][..], "/open", "-=/open npu-worker"),
        // It would win over an exempt rule where both hold: /open/7/status is free today.
        (&["service /open", "exempt /open/7"], "/open/8/status", "-=/open/*/status npu-worker"),
        // A rule with more words stays the winner.
        (&["service /open", "exempt /open/7/status/deep/er"], "/open/8/status", "+=/open/*/status npu-worker"),
        // Methods are kept, so the rule that is bound to them is beaten.
        (&["service POST /open"], "/open/8", "+=/open/* npu-worker"),
        // Another rule of the same path for other methods would lose.
        (&["service POST /open", "exempt GET /open/*"], "/open/8", "-=/open/* npu-worker"),
    ] {
        assert_eq!(learned(&rules(lines), &[good(path)]), [expected], "{lines:?}");
    }
}

#[test]
fn proposals_do_not_contradict_each_other() {
    let rules = rules(&["service /api/internal"]);
    // Both cover /t/7/y, and neither is more specific.
    let calls = [open(NPU, "/t/7/log"), open(AI, "/t/x/42")];
    let [one, other] = &learned(&rules, &calls)[..] else { panic!("two") };
    assert_eq!((one.as_str(), other.as_str()), ("+=/t/*/log npu-worker", "-=/t/x/* ai-stack"));
}

#[test]
fn what_is_proposed_can_stand_beside_the_rules() {
    let set = rules(&["service /open", "exempt /open/7", "exempt /free"]);
    let calls = [good("/open/8"), good("/open/8/status"), open(NPU, "/x/1/y"), open(AI, "/x/a/2"), open(AI, "/z")];
    let peers = peers(&calls);
    let mut learner = Learner::default();
    calls.iter().for_each(|seen| learner.add(seen, &set, &peers));
    let proposals = learner.proposals(&set, &peers);
    let added = proposals.iter().filter(|proposal| proposal.obstacle.is_none()).map(|proposal| Rule {
        name: "learned".into(),
        access: Access::Service,
        patterns: proposal.patterns.clone(),
        methods: None,
        callers: Some(proposal.callers.iter().filter_map(|id| crate::signature::key::ServiceId::parse(id)).collect()),
        enforce: (proposal.kind == Kind::Uncovered).then_some(Percentage::NONE),
        first_byte: None,
    });
    let all: Vec<Rule> = set.rules().iter().cloned().chain(added).collect();
    assert!(all.len() > set.rules().len());
    RuleSet::build(all, DefaultAccess::Open).unwrap();
}

#[test]
fn each_kind_has_room_of_its_own_and_what_finds_none_is_counted() {
    let rules = rules(&["service /api/internal"]);
    let peers = peers([]);
    let mut learner = Learner::default();
    let paths: Vec<String> = (0..Learner::MOST + 10).map(|n| format!("/w{n}x/{}", "y".repeat(n % 30 + 1))).collect();
    for path in &paths {
        learner.add(&Seen { path: Some(path), ..open(NOBODY, "") }, &rules, &peers);
    }
    learner.add(&open(NPU, "/mine"), &rules, &peers);
    learner.add(&open(NPU, "/42"), &rules, &peers);
    assert_eq!((learner.crowded, learner.odd), ((0, 10), 1));
    let proposals = learner.proposals(&rules, &peers);
    assert_eq!(shown(&proposals[0]), "+=/mine npu-worker");
}
