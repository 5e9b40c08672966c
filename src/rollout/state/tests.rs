//! The moves of enforcement, as tables.

use super::*;
use crate::policy::enforcement::Sampling;

use crate::rules::classify::{Access, DefaultAccess, Rule};

fn percent(value: u8) -> Percentage {
    Percentage::new(value).unwrap()
}

fn log(percentage: u8) -> Enforcement {
    Enforcement { mode: Mode::Log, percentage: percent(percentage), sampling: Sampling::Call }
}

fn enforce(percentage: u8) -> Enforcement {
    Enforcement { mode: Mode::Enforce, ..log(percentage) }
}

fn by(who: &str) -> Move {
    Move { at: 1, by: who.into(), why: "test".into() }
}

fn rules(own: &[(&str, Option<u8>)]) -> RuleSet {
    let rule = |(name, enforce): &(&str, Option<u8>)| Rule {
        name: (*name).into(),
        access: Access::Service,
        patterns: vec![format!("/api/{name}").parse().unwrap()],
        methods: None,
        callers: None,
        enforce: enforce.map(percent),
        first_byte: None,
    };
    RuleSet::build(own.iter().map(rule).collect(), DefaultAccess::Open).unwrap()
}

fn first(configured: Enforcement) -> EnforcementState {
    EnforcementState::first(configured, by("process"))
}

#[test]
fn the_last_writer_wins_and_every_move_is_the_next_revision() {
    let state = first(log(100)).set(Some(Mode::Enforce), Some(percent(25)), by("uid:0")).unwrap();
    assert_eq!((state.in_force, state.revision, &*state.last.by), (enforce(25), 2, "uid:0"));
    let (state, edit) = state.load(enforce(50), &rules(&[]), by("file"));
    assert_eq!((state.in_force, state.revision, edit.is_any()), (enforce(50), 3, true));
    let state = state.set(Some(Mode::Log), None, by("uid:0")).unwrap();
    assert_eq!(state.in_force, log(50), "the percentage stays for later");
}

#[test]
fn only_what_changed_against_the_last_load_is_an_edit_of_the_configuration() {
    // configured before, configured now, in force, and then
    let cases = [
        (log(100), log(100), enforce(25), enforce(25)),
        (enforce(100), enforce(100), log(100), log(100)),
        (log(100), log(50), enforce(25), enforce(50)),
        (log(100), enforce(100), log(25), enforce(25)),
        (enforce(100), log(100), enforce(25), log(25)),
        (enforce(100), log(10), enforce(25), log(10)),
    ];
    for (before, now, in_force, expected) in cases {
        let state = EnforcementState { in_force, ..first(before) };
        let (state, edit) = state.load(now, &rules(&[]), by("file"));
        assert_eq!(state.in_force, expected, "{before:?} -> {now:?} while {in_force:?}");
        assert_eq!(edit.enforcement, in_force != expected);
        assert_eq!((state.configured, edit.held_back), (now, false));
    }
}

#[test]
fn a_rollback_holds_against_commands_and_edits_until_it_is_lifted() {
    let state = first(enforce(75)).roll_back(RollbackKind::Emergency, by("uid:0"));
    assert_eq!((state.in_force, state.is_held()), (log(75), true));
    assert_eq!(state.hold.as_ref().unwrap().before, enforce(75));
    let refused = state.set(Some(Mode::Enforce), None, by("uid:0")).unwrap_err();
    assert!(matches!(&refused, MoveRefused::Held { kind: "emergency", .. }), "{refused:?}");
    assert!(refused.to_string().contains("rollback --lift"), "{refused}");
    // An old `enforce` in the file, and a new one.
    let (same, edit) = state.load(enforce(75), &rules(&[]), by("file"));
    assert_eq!((same.in_force, edit.is_any()), (log(75), false));
    let (off, _) = state.load(log(75), &rules(&[]), by("file"));
    let (on, edit) = off.load(enforce(75), &rules(&[]), by("file"));
    assert_eq!((on.in_force, edit.held_back), (log(75), true));

    let lifted = on.lift(by("uid:0")).unwrap();
    assert_eq!((lifted.in_force, lifted.is_held()), (log(75), false), "lifting switches nothing on");
    assert_eq!(lifted.set(Some(Mode::Enforce), None, by("uid:0")).unwrap().in_force, enforce(75));
    assert_eq!(lifted.lift(by("uid:0")), Err(MoveRefused::NothingHeld));
}

#[test]
fn what_does_not_switch_on_is_free_while_a_rollback_holds() {
    let state = first(enforce(75)).roll_back(RollbackKind::Automatic, by("health"));
    assert_eq!(state.set(None, Some(percent(10)), by("uid:0")).unwrap().in_force, log(10));
    assert_eq!(state.set(Some(Mode::Log), None, by("uid:0")).unwrap().in_force, log(75));
    let again = state.roll_back(RollbackKind::Emergency, by("signal"));
    assert_eq!(again.hold.unwrap().before, enforce(75), "what was in force before the first");
}

#[test]
fn a_state_that_cannot_be_known_is_the_configurations_word_and_held() {
    for configured in [log(100), enforce(30)] {
        let state = EnforcementState::unknown(configured, by("process"));
        assert_eq!((state.in_force, state.hold.as_ref().unwrap().kind), (configured, RollbackKind::Unknown));
        assert!(state.set(Some(Mode::Enforce), Some(percent(100)), by("uid:0")).is_err());
        assert_eq!(state.set(Some(Mode::Log), None, by("uid:0")).unwrap().in_force.mode, Mode::Log);
        let lifted = state.lift(by("uid:0")).unwrap();
        assert_eq!(lifted.in_force, configured);
    }
}

#[test]
fn where_the_state_is_unknown_and_enforces_nothing_raises_it() {
    let rules = rules(&[("npu", Some(10))]);
    let state = EnforcementState::unknown(enforce(30), by("process"));
    assert!(state.set(None, Some(percent(31)), by("uid:0")).is_err());
    assert!(state.set(None, Some(percent(5)), by("uid:0")).is_err());
    assert_eq!(state.set(Some(Mode::Log), None, by("uid:0")).unwrap().in_force, log(30));
    assert!(matches!(state.set_rule("npu", percent(11), &rules, by("uid:0")), Err(MoveRefused::Held { .. })));
    assert!(state.set_rule("npu", percent(9), &rules, by("uid:0")).is_ok());
    let (raised, edit) = state.load(enforce(100), &rules, by("file"));
    assert_eq!((raised.in_force, edit.held_back), (enforce(30), true));
    let (lowered, edit) = state.load(enforce(3), &rules, by("file"));
    assert_eq!((lowered.in_force, edit.held_back), (enforce(3), false));
    let (off, _) = state.load(log(100), &rules, by("file"));
    assert_eq!(off.in_force.mode, Mode::Log);
}

#[test]
fn a_held_rule_that_is_gone_for_a_while_is_still_held_when_it_is_back() {
    let with = rules(&[("npu", Some(50))]);
    let state = first(enforce(100)).roll_back_rule("npu", &with, by("health")).unwrap();
    let (state, _) = state.load(enforce(100), &rules(&[("other", None)]), by("file"));
    let (state, _) = state.load(enforce(100), &with, by("file"));
    assert_eq!(state.own_percentages(&with), [Some(Percentage::NONE)]);
    assert_eq!(state.set_rule("npu", percent(1), &with, by("uid:0")), Err(MoveRefused::RuleHeld("npu".into())));
}

#[test]
fn a_rules_percentage_counts_until_its_enforce_is_edited_or_it_is_gone() {
    let before = rules(&[("npu", Some(50)), ("browser", None)]);
    let state = first(enforce(100)).set_rule("npu", percent(20), &before, by("uid:0")).unwrap();
    let state = state.set_rule("browser", percent(10), &before, by("uid:0")).unwrap();
    assert_eq!(state.own_percentages(&before), [Some(percent(20)), Some(percent(10))]);
    let (same, edit) = state.load(enforce(100), &before, by("file"));
    assert_eq!((same.revision, edit.is_any()), (state.revision, false));

    let edited = rules(&[("npu", Some(60)), ("browser", None)]);
    let (state, edit) = state.load(enforce(100), &edited, by("file"));
    assert_eq!(state.own_percentages(&edited), [None, Some(percent(10))]);
    assert_eq!(edit.rules, [Box::from("npu")]);
    let (state, edit) = state.load(enforce(100), &rules(&[("npu", Some(60))]), by("file"));
    assert_eq!((state.rules.len(), edit.rules), (0, vec![Box::from("browser")]));
    let refused = state.set_rule("nobody", percent(1), &edited, by("uid:0")).unwrap_err();
    assert_eq!(refused, MoveRefused::NoSuchRule("nobody".into()));
}

#[test]
fn rules_that_share_a_name_are_one_group() {
    let rules = rules(&[("npu", None), ("other", None)]);
    let mut both = rules.rules().to_vec();
    both[1].name = "npu".into();
    let rules = RuleSet::build(both, DefaultAccess::Open).unwrap();
    let state = first(enforce(100)).set_rule("npu", percent(5), &rules, by("uid:0")).unwrap();
    assert_eq!(state.own_percentages(&rules), [Some(percent(5)), Some(percent(5))]);
}

#[test]
fn a_rule_that_was_rolled_back_is_held_by_itself() {
    let rules = rules(&[("npu", Some(50)), ("browser", None)]);
    let state = first(enforce(100)).roll_back_rule("npu", &rules, by("health")).unwrap();
    assert_eq!((state.in_force, state.is_held()), (enforce(100), true));
    assert_eq!(state.own_percentages(&rules), [Some(Percentage::NONE), None]);
    assert_eq!(state.set_rule("npu", percent(1), &rules, by("uid:0")), Err(MoveRefused::RuleHeld("npu".into())));
    assert!(state.set_rule("browser", percent(1), &rules, by("uid:0")).is_ok());
    // An edit does not switch it on either.
    let (state, edit) = state.load(enforce(100), &self::rules(&[("npu", Some(60)), ("browser", None)]), by("file"));
    assert!(!edit.is_any());
    let lifted = state.lift(by("uid:0")).unwrap();
    assert_eq!(
        lifted.own_percentages(&rules),
        [Some(Percentage::NONE), None],
        "it stays at 0 % until somebody raises it"
    );
    assert!(lifted.set_rule("npu", percent(1), &rules, by("uid:0")).is_ok());
}
