use super::sealed::FleetKey;
use super::*;
use crate::policy::enforcement::Sampling;
use crate::rollout::state::RollbackKind;
use crate::rules::classify::{Access, DefaultAccess, Rule};

/// Rules `a` and `b`, as every sidecar here has them.
fn rules() -> RuleSet {
    rules_of(&["a", "b"])
}

fn rules_of(names: &[&str]) -> RuleSet {
    let rule = |name: &&str| Rule {
        name: (*name).into(),
        access: Access::Service,
        patterns: vec![format!("/api/{name}").parse().unwrap()],
        methods: None,
        callers: None,
        enforce: None,
        first_byte: None,
    };
    RuleSet::build(names.iter().map(rule).collect(), DefaultAccess::Open).unwrap()
}

fn percent(value: u8) -> Percentage {
    Percentage::new(value).unwrap()
}

fn by(who: &str, at: u64) -> Move {
    Move { at, by: who.into(), why: "a test".into() }
}

fn log() -> Enforcement {
    Enforcement { mode: Mode::Log, percentage: Percentage::FULL, sampling: Sampling::Call }
}

/// A sidecar: what is in force there, and what it knows of the fleet.
#[derive(Clone)]
struct Sidecar {
    name: &'static str,
    local: EnforcementState,
    fleet: FleetState,
    clock: u64,
}

impl Sidecar {
    fn founding(name: &'static str) -> Sidecar {
        let local = EnforcementState::first(log(), by("process", 1));
        Sidecar { name, fleet: FleetState::first(&local, name), local, clock: 1 }
    }

    fn joining(name: &'static str, other: &Sidecar) -> Sidecar {
        let local = EnforcementState::first(log(), by("process", 1));
        let mut sidecar = Sidecar { name, fleet: other.fleet.joined_by(&local, name), local, clock: 1 };
        sidecar.follow();
        sidecar
    }

    fn follow(&mut self) {
        self.local = self.fleet.in_force_at(&self.local, &rules());
    }

    fn make(&mut self, next: EnforcementState) {
        self.fleet = self.fleet.moved(&self.local, &next, self.name, None);
        self.local = next;
        let follows = self.fleet.in_force_at(&self.local, &rules());
        assert_eq!(follows.in_force, self.local.in_force, "what one does oneself is what one follows");
        assert_eq!((follows.hold.is_some(), &follows.rules), (self.local.hold.is_some(), &self.local.rules));
        self.local = follows;
    }

    fn by(&mut self) -> Move {
        self.clock += 1;
        by(self.name, self.clock)
    }

    fn enforce(&mut self, percentage: u8) {
        let by = self.by();
        self.make(self.local.set(Some(Mode::Enforce), Some(percent(percentage)), by).unwrap());
    }

    fn roll_back(&mut self) {
        let by = self.by();
        self.make(self.local.roll_back(RollbackKind::Emergency, by));
    }

    fn roll_back_rule(&mut self, name: &str) {
        let by = self.by();
        self.make(self.local.roll_back_rule(name, &rules(), by).unwrap());
    }

    fn lift(&mut self) {
        let by = self.by();
        self.make(self.local.lift(by).unwrap());
    }

    /// `enforce N% --lift`
    fn lift_and_enforce(&mut self, percentage: u8) {
        let (one, two) = (self.by(), self.by());
        let lifted = self.local.lift(one).unwrap();
        self.make(lifted.set(Some(Mode::Enforce), Some(percent(percentage)), two).unwrap());
    }

    fn hear(&mut self, other: &Sidecar) {
        self.fleet = self.fleet.merge(&other.fleet);
        self.follow();
    }

    fn says(&self) -> (&'static str, u8, bool) {
        let in_force = self.local.in_force;
        (in_force.mode.code(), in_force.percentage.value(), self.local.is_held())
    }
}

/// Both hear of each other, in either order, and must end with the same.
#[track_caller]
fn meet(a: &mut Sidecar, b: &mut Sidecar) {
    let (before_a, before_b) = (a.clone(), b.clone());
    a.hear(&before_b);
    b.hear(&before_a);
    assert_eq!(a.fleet, b.fleet);
    assert_eq!(a.local.in_force, b.local.in_force);
    assert_eq!(a.local.hold, b.local.hold);
    assert_eq!(a.local.rules, b.local.rules);
    let again = a.fleet.clone();
    a.hear(&before_b);
    assert_eq!(a.fleet, again, "what was heard before changes nothing");
}

fn two() -> (Sidecar, Sidecar) {
    let mut a = Sidecar::founding("a");
    a.enforce(25);
    let b = Sidecar::joining("b", &a);
    assert_eq!(b.says(), ("enforce", 25, false));
    (a, b)
}

#[test]
fn the_others_follow_what_one_says() {
    let (mut a, mut b) = two();
    a.enforce(50);
    meet(&mut a, &mut b);
    assert_eq!(b.says(), ("enforce", 50, false));
    b.roll_back();
    meet(&mut a, &mut b);
    assert_eq!(a.says(), ("log", 50, true));
    a.lift();
    meet(&mut a, &mut b);
    assert_eq!(b.says(), ("log", 50, false), "a lift switches nothing on");
    b.enforce(10);
    meet(&mut a, &mut b);
    assert_eq!(a.says(), ("enforce", 10, false));
    assert_eq!(a.local.revision, b.local.revision);
}

#[test]
fn after_a_partition_a_rollback_wins_over_however_much_was_switched_on_without_knowing_of_it() {
    let (mut a, mut b) = two();
    a.roll_back();
    for percentage in [50, 75, 100] {
        b.enforce(percentage);
    }
    meet(&mut a, &mut b);
    assert_eq!((a.says().0, a.says().2), ("log", true));
    assert_eq!((b.says().0, b.says().2), ("log", true));
    assert!(b.local.set(Some(Mode::Enforce), None, by("b", 99)).is_err(), "it holds there too");
    b.lift_and_enforce(10);
    meet(&mut a, &mut b);
    assert_eq!(a.says(), ("enforce", 10, false), "who knows of it may lift it");
}

#[test]
fn what_was_switched_on_in_ignorance_of_a_rollback_does_not_count_after_its_lift_either() {
    let (mut a, mut b) = two();
    a.roll_back();
    a.lift();
    for percentage in [50, 75, 100] {
        b.enforce(percentage);
    }
    meet(&mut a, &mut b);
    assert_eq!((b.says().0, b.says().2), ("log", false));
}

#[test]
fn a_lift_ends_no_rollback_that_its_operator_did_not_know_of() {
    let (mut a, mut b) = two();
    a.roll_back();
    b.roll_back();
    a.lift_and_enforce(100);
    meet(&mut a, &mut b);
    assert_eq!((a.says().0, a.says().2), ("log", true));
    a.lift();
    meet(&mut a, &mut b);
    assert!(!b.says().2);
    let mut c = Sidecar::joining("c", &b);
    c.roll_back();
    c.lift();
    c.roll_back();
    meet(&mut c, &mut a);
    assert!(a.says().2, "the second one of the same sidecar holds, although its first was lifted");
}

#[test]
fn without_a_rollback_the_higher_revision_counts_and_of_equal_ones_the_one_that_refuses_less() {
    let (mut a, mut b) = two();
    a.enforce(90);
    b.enforce(50);
    b.enforce(60);
    meet(&mut a, &mut b);
    assert_eq!(a.says(), ("enforce", 60, false));
    a.enforce(90);
    b.enforce(30);
    meet(&mut a, &mut b);
    assert_eq!(a.says(), ("enforce", 30, false));
    a.enforce(10);
    let by = b.by();
    b.make(b.local.set(Some(Mode::Log), Some(percent(100)), by).unwrap());
    meet(&mut a, &mut b);
    assert_eq!(a.says().0, "log");
}

#[test]
fn a_rule_that_is_rolled_back_is_held_at_nothing_everywhere_and_the_rest_goes_on() {
    let (mut a, mut b) = two();
    a.roll_back_rule("a");
    b.enforce(75);
    meet(&mut a, &mut b);
    assert_eq!(b.says(), ("enforce", 25, true), "raised in ignorance of it");
    b.enforce(75);
    meet(&mut a, &mut b);
    assert_eq!((b.local.rules["a"].percentage, b.local.rules["a"].held), (Percentage::NONE, true));
    b.lift();
    meet(&mut a, &mut b);
    assert_eq!(a.says(), ("enforce", 75, false));
    assert_eq!((a.local.rules["a"].percentage, a.local.rules["a"].held), (Percentage::NONE, false));
}

#[test]
fn rules_that_a_sidecar_does_not_have_stay_for_those_that_do() {
    let (mut a, _) = two();
    let by = a.by();
    a.make(a.local.set_rule("a", percent(10), &rules(), by).unwrap());
    a.roll_back_rule("b");
    let few = rules_of(&["a"]);
    let local = EnforcementState::first(log(), Move { at: 1, by: "process".into(), why: "a test".into() });
    let there = a.fleet.in_force_at(&local, &few);
    assert_eq!(there.rules.keys().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
    let (loaded, edit) = there.load(log(), &few, a.by());
    assert!(!edit.is_any() && loaded == there, "a load there edits nothing");
    let next = there.set(None, Some(percent(5)), a.by()).unwrap();
    let fleet = a.fleet.moved(&there, &next, "few", None);
    let here = fleet.in_force_at(&a.local, &rules());
    assert_eq!((here.in_force.percentage, here.rules.len(), here.rules["b"].held), (percent(5), 2, true));
}

#[test]
fn what_joins_takes_the_fleets_word_and_brings_a_rollback_that_holds() {
    let (a, _) = two();
    let fresh = EnforcementState::first(Enforcement { mode: Mode::Enforce, ..log() }, by("process", 5));
    let mut busy = fresh.clone();
    for n in 0..50 {
        busy = busy.set(None, Some(percent(n)), by("c", 6)).unwrap();
    }
    for state in [&fresh, &busy] {
        let joined = a.fleet.joined_by(state, "c");
        assert_eq!(joined, a.fleet, "its revisions were its own");
    }
    let joined = a.fleet.joined_by(&busy.roll_back(RollbackKind::Emergency, by("c", 7)), "c");
    let there = joined.in_force_at(&busy, &rules());
    assert!(there.is_held() && there.in_force.mode == Mode::Log && joined.contains(&a.fleet));
    let unknown = EnforcementState::unknown(log(), by("process", 8));
    assert_eq!(a.fleet.joined_by(&unknown, "c"), a.fleet, "what was in force is known again");
    let alone = FleetState::first(&unknown, "c");
    assert!(alone.in_force_at(&unknown, &rules()).is_held(), "and is not, where nobody knows");
    assert!(alone.rollbacks.is_empty(), "which holds nobody else");
}

#[test]
fn a_driver_that_is_no_longer_one_loses_its_word_and_no_rollback() {
    let (mut a, mut b) = two();
    let moves = (a.by(), b.by());
    let next = a.local.set(None, Some(percent(50)), moves.0).unwrap();
    let stale = a.fleet.moved(&a.local, &next, "a", Some(3));
    let next = b.local.set(None, Some(percent(30)), moves.1).unwrap();
    b.fleet = b.fleet.moved(&b.local, &next, "b", Some(4));
    assert_eq!(stale.merge(&b.fleet).word, b.fleet.word, "the later driver's counts, whatever the revisions");
    let conceded = stale.conceding_to(&a.fleet, &b.fleet);
    assert_eq!(conceded.word, b.fleet.word, "the later driver's step");
    assert_eq!(stale.conceding_to(&a.fleet, &a.fleet).word, a.fleet.word, "it took none yet: what was before ours");
    let before = a.fleet.clone();
    a.roll_back();
    assert!(a.fleet.conceding_to(&before, &b.fleet).in_force_at(&a.local, &rules()).is_held());
}

#[test]
fn whoever_forges_the_drivers_number_and_puts_an_old_record_back_undoes_the_step_and_nothing_before_it() {
    let mut a = Sidecar::founding("a");
    let old = key('a').open(&key('a').seal(&a.fleet)).unwrap();
    a.enforce(25);
    let by = a.by();
    let next = a.local.set(None, Some(percent(50)), by).unwrap();
    let step = a.fleet.moved(&a.local, &next, "a", Some(3));
    let conceded = step.conceding_to(&a.fleet, &old);
    assert_eq!(conceded.word, a.fleet.word, "the old record says `log`");
    assert!(conceded.contains(&a.fleet) && conceded.contains(&old));
    a.local = conceded.in_force_at(&a.local, &rules());
    assert_eq!(a.says(), ("enforce", 25, false));
}

#[test]
fn merging_is_the_same_in_every_order_and_an_old_state_is_contained_in_a_new_one() {
    let mut seed = 7u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..60 {
        let (a, b) = two();
        let c = Sidecar::joining("c", &a);
        let mut all = [a, b, c];
        let mut seen: Vec<FleetState> = Vec::new();
        for _ in 0..30 {
            let one = usize::try_from(draw(3)).unwrap();
            let before = all[one].fleet.clone();
            match draw(6) {
                0 => all[one].roll_back(),
                1 if all[one].local.is_held() => all[one].lift(),
                2 => all[one].roll_back_rule(if draw(2) == 0 { "a" } else { "b" }),
                3 if all[one].local.hold.is_none() => all[one].enforce(u8::try_from(draw(101)).unwrap()),
                _ => {
                    let other = all[(one + 1) % 3].clone();
                    all[one].hear(&other);
                }
            }
            assert!(all[one].fleet.contains(&before), "a move contains what was before it");
            assert!(all[one].fleet.revision >= before.revision);
            seen.push(before);
        }
        let [a, b, c] = [&all[0].fleet, &all[1].fleet, &all[2].fleet];
        assert_eq!(a.merge(b), b.merge(a));
        assert_eq!(a.merge(&b.merge(c)), a.merge(b).merge(c));
        let whole = a.merge(b).merge(c);
        assert_eq!(whole.merge(&whole), whole);
        assert!([a, b, c].iter().all(|one| whole.contains(one)));
        assert!(seen.iter().all(|old| whole.merge(old) == whole), "a replayed record changes nothing");
        let is_open = |state: &FleetState| state.rollbacks.values().any(Rollbacks::is_open);
        let in_force = whole.in_force_at(&all[0].local, &rules());
        assert_eq!(is_open(&whole), in_force.is_held());
    }
}

fn key(digit: char) -> FleetKey {
    FleetKey::from_text(&format!("{}\n", digit.to_string().repeat(64))).unwrap()
}

mod sealed;
