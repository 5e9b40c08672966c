//! [`Stage`]: what does a ramp switch on, in which order, for how long each? Stages are data, from the configuration.
//!
//! Two ways up, never mixed in one ramp: by percentage of everything (`[ramp].stages`), or one group of rules after the other
//! (`[ramp].groups`), each from 0 to 100 %. A stage without a time is over as soon as it is reached; only the last one may be that.

use super::state::{EnforcementState, Move, MoveRefused};
use crate::policy::enforcement::Mode;
use crate::rules::classify::{Access, RuleSet};
use crate::rules::percentage::Percentage;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What is in force from its beginning.
    pub target: Target,
    /// How long it must have been healthy; `None`: it is over at once.
    pub lasts: Option<Duration>,
}

/// What a stage puts in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// So much of everything.
    Percentage(Percentage),
    /// Besides what stages before it activated: the service rules of this name, whole.
    Group(Box<str>),
}

/// By which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// `[ramp].stages`
    Percentage,
    /// `[ramp].groups`
    Group,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Percentage(percentage) => write!(f, "{percentage}"),
            Target::Group(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lasts {
            Some(lasts) => write!(f, "{} {}", self.target, words(lasts)),
            None => write!(f, "{}", self.target),
        }
    }
}

/// `1h`, `1h 30m`, `2s`, `500ms`: as the configuration writes it.
pub fn words(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut parts = Vec::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= millis {
            parts.push(format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// 10 % 1 h, 25 % 1 h, 50 % 2 h, 75 % 2 h, 100 %.
pub fn default_stages() -> Vec<Stage> {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let stages = [(10, hours(1)), (25, hours(1)), (50, hours(2)), (75, hours(2)), (100, None)];
    let stage = |(percent, lasts)| Some(Stage { target: Target::Percentage(Percentage::new(percent)?), lasts });
    stages.into_iter().filter_map(stage).collect()
}

/// Where a ramp over these stages begins: above what is in force, so that starting never takes anything back; `None`: nothing is above.
/// `in_force`: nothing in `log`.
pub fn first_above(stages: &[Stage], in_force: Percentage) -> Option<usize> {
    stages.iter().position(|stage| match &stage.target {
        Target::Percentage(percentage) => *percentage > in_force,
        Target::Group(_) => true,
    })
}

/// The stage a ramp begins at now: above what is in force, or with `restart` the first one. `None`: all of it is in force.
pub fn first(stages: &[Stage], state: &EnforcementState, rules: &RuleSet, restart: bool) -> Option<usize> {
    if restart {
        return (!stages.is_empty()).then_some(0);
    }
    match (state.in_force.mode, &stages.first()?.target) {
        (Mode::Log, _) => Some(0),
        (Mode::Enforce, Target::Percentage(_)) => first_above(stages, state.in_force.percentage),
        (Mode::Enforce, Target::Group(_)) => {
            let next = in_force(stages, state, rules).map_or(0, |stage| stage + 1);
            (next < stages.len()).then_some(next)
        }
    }
}

/// The stage that is in force, if what is in force is one of these: `None` after somebody else changed it, or rolled back.
pub fn in_force(stages: &[Stage], state: &EnforcementState, rules: &RuleSet) -> Option<usize> {
    if state.hold.is_some() || state.in_force.mode != Mode::Enforce {
        return None;
    }
    match &stages.first()?.target {
        Target::Percentage(_) => {
            stages.iter().position(|stage| stage.target == Target::Percentage(state.in_force.percentage))
        }
        Target::Group(_) if state.in_force.percentage != Percentage::FULL => None,
        Target::Group(_) => {
            let whole = |stage: &&Stage| matches!(&stage.target, Target::Group(name) if own(state, rules, name) == Percentage::FULL);
            stages.iter().take_while(whole).count().checked_sub(1)
        }
    }
}

/// In which stage a ramp goes on after a start, whose file says `written`: in the one that is in force. `None`: somebody else changed that.
///
/// The ramp and what is in force are two files, and it may have died between the two writes. So what is in force may be the next stage,
/// if the ramp itself put it there, or the one before, unless it is there because the configuration was edited.
pub fn taken_up(stages: &[Stage], written: usize, state: &EnforcementState, rules: &RuleSet) -> Option<usize> {
    let stage = in_force(stages, state, rules)?;
    let is_ahead = stage == written + 1 && state.last.by.starts_with("ramp");
    let is_behind = stage + 1 == written && &*state.last.by != "file";
    (stage == written || is_ahead || is_behind).then_some(stage)
}

/// What is in force once this stage is. Of a ramp by groups: those up to it whole, every other service rule nothing.
///
/// # Errors
/// When a rollback holds.
pub fn put_in_force(
    stages: &[Stage],
    stage: usize,
    state: &EnforcementState,
    rules: &RuleSet,
    by: &Move,
) -> Result<EnforcementState, MoveRefused> {
    let reached = stages.get(..=stage).unwrap_or(stages);
    let Some(Stage { target, .. }) = reached.last() else { return Ok(state.clone()) };
    if let Target::Percentage(percentage) = target {
        return state.set(Some(Mode::Enforce), Some(*percentage), by.clone());
    }
    let mut next = state.clone();
    for rule in rules.rules().iter().filter(|rule| rule.access == Access::Service) {
        let is_reached = reached.iter().any(|stage| stage.target == Target::Group(rule.name.clone()));
        let percentage = if is_reached { Percentage::FULL } else { Percentage::NONE };
        if own(&next, rules, &rule.name) != percentage {
            next = next.set_rule(&rule.name, percentage, rules, by.clone())?;
        }
    }
    next.set(Some(Mode::Enforce), Some(Percentage::FULL), by.clone())
}

/// A rule's own percentage, as it counts now.
fn own(state: &EnforcementState, rules: &RuleSet, name: &str) -> Percentage {
    let configured = || rules.rules().iter().find(|rule| &*rule.name == name).and_then(|rule| rule.enforce);
    state.rules.get(name).map(|rule| rule.percentage).or_else(configured).unwrap_or(Percentage::FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_fleets_plan() {
        let stages = default_stages();
        let shown: Vec<String> = stages.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10% 1h", "25% 1h", "50% 2h", "75% 2h", "100%"]);
    }

    #[test]
    fn a_ramp_begins_above_what_is_in_force() {
        let stages = default_stages();
        let above = |percent| first_above(&stages, Percentage::new(percent).unwrap());
        assert_eq!(
            [0, 9, 10, 30, 75, 99, 100].map(above),
            [Some(0), Some(0), Some(1), Some(2), Some(4), Some(4), None]
        );
    }

    #[test]
    fn what_a_stage_puts_in_force_is_recognised_as_that_stage() {
        use crate::policy::enforcement::{Enforcement, Sampling};
        use crate::rollout::state::RollbackKind;
        use crate::rules::classify::{DefaultAccess, Rule};
        let rule = |name: &str| Rule {
            name: name.into(),
            access: Access::Service,
            patterns: vec![format!("/{name}").parse().unwrap()],
            methods: None,
            callers: None,
            enforce: None,
            first_byte: None,
        };
        let rules = RuleSet::build(vec![rule("a"), rule("b"), rule("c")], DefaultAccess::Open).unwrap();
        let by = Move { at: 1, by: "ramp".into(), why: "x".into() };
        let log = Enforcement { mode: Mode::Log, percentage: Percentage::FULL, sampling: Sampling::Call };
        let first = EnforcementState::first(log, by.clone());
        let group = |name: &str| Stage { target: Target::Group(name.into()), lasts: None };
        for stages in [default_stages(), vec![group("b"), group("a")]] {
            assert_eq!(in_force(&stages, &first, &rules), None);
            let mut state = first.clone();
            for stage in 0..stages.len() {
                state = put_in_force(&stages, stage, &state, &rules, &by).unwrap();
                assert_eq!(in_force(&stages, &state, &rules), Some(stage));
            }
            let held = state.roll_back(RollbackKind::Automatic, by.clone());
            assert_eq!(in_force(&stages, &held, &rules), None);
            assert!(put_in_force(&stages, 0, &held, &rules, &by).is_err());
        }
        let state = put_in_force(&[group("b"), group("a")], 0, &first, &rules, &by).unwrap();
        let own: Vec<u8> = ["a", "b", "c"].map(|name| own(&state, &rules, name).value()).into();
        assert_eq!(
            (own, state.in_force.percentage),
            (vec![0, 100, 0], Percentage::FULL),
            "what no group names is nothing"
        );
    }

    #[test]
    fn a_ramp_goes_on_after_a_crash_between_its_two_writes_whichever_was_first() {
        use crate::policy::enforcement::{Enforcement, Sampling};
        use crate::rules::classify::DefaultAccess;
        let rules = RuleSet::build(Vec::new(), DefaultAccess::Open).unwrap();
        let (stages, by) = (default_stages(), |by: &str| Move { at: 1, by: by.into(), why: "x".into() });
        let log = Enforcement { mode: Mode::Log, percentage: Percentage::FULL, sampling: Sampling::Call };
        let first = EnforcementState::first(log, by("process"));
        let taken_up = |written, stage, who: &str| {
            let state = put_in_force(&stages, stage, &first, &rules, &by(who)).unwrap();
            super::taken_up(&stages, written, &state, &rules)
        };
        assert_eq!(taken_up(2, 2, "ramp"), Some(2));
        assert_eq!(taken_up(2, 3, "ramp"), Some(3), "the state was written, and the ramp was not");
        assert_eq!(taken_up(2, 1, "ramp"), Some(1), "the ramp was written, and the state was not");
        assert_eq!(taken_up(2, 1, "uid:0"), Some(1), "an operator had begun or advanced it");
        for (stage, who) in [(3, "uid:0"), (3, "file"), (1, "file"), (0, "ramp"), (4, "ramp")] {
            assert_eq!(taken_up(2, stage, who), None, "{stage} by {who}");
        }
        assert_eq!(super::taken_up(&stages, 0, &first, &rules), None, "it never began");
    }

    #[test]
    fn a_duration_is_written_as_the_configuration_reads_it() {
        let shown = [0, 500, 2_000, 5_400_000, 86_400_000, 90_061_001].map(|n| words(Duration::from_millis(n)));
        assert_eq!(shown, ["0s", "500ms", "2s", "1h 30m", "1d", "1d 1h 1m 1s 1ms"]);
    }
}
