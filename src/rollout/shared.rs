//! [`FleetState`]: the state of enforcement as several sidecars share it, and what comes of two of them that differ.
//!
//! Each sidecar holds one; a move changes the one at hand, and whatever it hears from the others is merged into it. A merge gives the
//! same whatever the order and however often ([`FleetState::merge`]: a least upper bound), so all end with the same, and
//! what is old is contained in what is newer: somebody who can write to the store, but has no fleet key, can put an older
//! record back, and it changes nothing where a newer one is known.
//!
//! 1. **A rollback wins.** Each sidecar counts its own rollbacks, and which of them were lifted. Where one is not lifted, the mode is
//!    `log` (or the rule at 0 %) whatever else was said. A lift ends the rollbacks that its sidecar knew of, and no other.
//! 2. What is in force otherwise is the last [`Word`]: the one whose writer knew of more rollbacks, so that nothing switched on
//!    in ignorance of one counts after it was lifted; then the one of the later ramp driver ([`Word::fence`]); then the
//!    higher revision; of two with the same revision the one that refuses less, then the one whose text sorts first. Clocks decide
//!    nothing.
//! 3. What a sidecar's own configuration says ([`EnforcementState::configured`]) is its own and is not shared; nor are rules that it
//!    does not have: it keeps them for the others.
//!
//! Left out: that a switch-on waits for the others. A sidecar that is cut off can be switched on by its operator; that counts
//! for all when it is back, unless another was rolled back meanwhile.

use super::state::{EnforcementState, Hold, Move, RollbackKind, configured_of};
use crate::policy::enforcement::{Enforcement, Mode, Percentage};
use crate::rules::classify::RuleSet;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

pub mod sealed;

/// No number of a ramp driver reaches this (2^53): the store counts them in floating point, and beyond it one more is the same.
pub const FENCE_END: u64 = 1 << 53;

/// What all sidecars of a fleet hold in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetState {
    /// The last word on what is in force.
    pub word: Word,
    /// The rollbacks that each sidecar made, by its name.
    pub rollbacks: BTreeMap<Box<str>, Rollbacks>,
    /// Never falls: one more than every revision that its writer knew.
    pub revision: u64,
    /// The highest number of a ramp driver that was heard of.
    pub fence: u64,
}

/// What somebody said is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// How many rollbacks its writer knew of.
    pub epoch: u64,
    /// The highest number of a ramp driver that its writer knew of: each driver has a higher one than those before.
    pub fence: u64,
    /// Of the state that it was said in.
    pub revision: u64,
    /// Mode, percentage, sampling.
    pub in_force: Enforcement,
    /// Rules with a percentage of their own, by name.
    pub rules: BTreeMap<Box<str>, Percentage>,
    /// When, by whom, why.
    pub last: Move,
}

/// The rollbacks that one sidecar made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollbacks {
    /// How many.
    pub made: u64,
    /// How many of them were lifted.
    pub lifted: u64,
    /// The one of the whole that is not lifted.
    pub hold: Option<Hold>,
    /// The rules that are held, where they are not lifted.
    pub rules: BTreeSet<Box<str>>,
}

impl Rollbacks {
    fn is_open(&self) -> bool {
        self.made > self.lifted
    }

    fn lift(&mut self) {
        *self = Rollbacks { made: self.made, lifted: self.made, ..Rollbacks::default() };
    }

    /// Of one sidecar: it alone counts up, so the higher count has what the lower one says.
    fn merge(&self, other: &Rollbacks) -> Rollbacks {
        let newer = match self.made.cmp(&other.made) {
            Ordering::Greater => self,
            Ordering::Less => other,
            // The same, unless one was lifted, or a machine was copied with its name.
            Ordering::Equal => self.max_by_content(other),
        };
        let mut merged = Rollbacks { lifted: self.lifted.max(other.lifted), ..newer.clone() };
        if !merged.is_open() {
            merged.lift();
        }
        merged
    }

    fn max_by_content<'r>(&'r self, other: &'r Rollbacks) -> &'r Rollbacks {
        let text = |rollbacks: &Rollbacks| format!("{:?}{:?}", rollbacks.hold, rollbacks.rules);
        if (self.hold.is_some(), text(self)) >= (other.hold.is_some(), text(other)) { self } else { other }
    }
}

impl Word {
    /// Which of two counts; equal only for the same.
    fn rank(&self) -> impl Ord {
        let refuses = match self.in_force.mode {
            Mode::Log => 0,
            Mode::Enforce => 1 + u16::from(self.in_force.percentage.value()),
        };
        let text = format!("{:?}{:?}{:?}", self.in_force, self.rules, self.last);
        (self.epoch, self.fence, self.revision, Reverse(refuses), Reverse(text))
    }
}

impl FleetState {
    /// The state of a fleet that has none yet: this sidecar's. A rollback that holds there holds for all; that it is not known what was
    /// in force there concerns nobody else.
    pub fn first(state: &EnforcementState, me: &str) -> FleetState {
        let rules = state.rules.iter().map(|(name, rule)| (name.clone(), rule.percentage)).collect();
        let word = Word {
            epoch: 0,
            fence: 0,
            revision: state.revision,
            in_force: state.in_force,
            rules,
            last: state.last.clone(),
        };
        let fleet = FleetState { word, rollbacks: BTreeMap::new(), revision: state.revision, fence: 0 };
        if is_rolled_back(state) { fleet.with_rollbacks_of(state, me) } else { fleet }
    }

    /// This sidecar, which was not part of the fleet until now, finds the fleet's state: that counts, but a rollback that holds here
    /// holds for all.
    #[must_use]
    pub fn joined_by(&self, state: &EnforcementState, me: &str) -> FleetState {
        if is_rolled_back(state) { self.with_rollbacks_of(state, me) } else { self.clone() }
    }

    fn with_rollbacks_of(&self, state: &EnforcementState, me: &str) -> FleetState {
        let mut next = self.clone();
        let mine = next.rollbacks.entry(me.into()).or_default();
        mine.made += 1;
        mine.hold = state.hold.clone().filter(|hold| hold.kind != RollbackKind::Unknown);
        mine.rules = state.rules.iter().filter(|(_, rule)| rule.held).map(|(name, _)| name.clone()).collect();
        next.revision += 1;
        next.say(state.in_force, next.word.rules.clone(), state.last.clone(), 0);
        next
    }

    /// After a move of this sidecar, from `before` to `next`. `driver`: the number under which it drives a ramp, if that made it.
    #[must_use]
    pub fn moved(
        &self,
        before: &EnforcementState,
        next: &EnforcementState,
        me: &str,
        driver: Option<u64>,
    ) -> FleetState {
        let mut fleet = self.clone();
        fleet.revision = fleet.revision.max(before.revision) + 1;
        let held = |state: &EnforcementState, name: &str| state.rules.get(name).is_some_and(|rule| rule.held);
        let lifts_whole = before.hold.is_some() && next.hold.is_none();
        let lifts_rule = before.rules.keys().any(|name| {
            // One that is gone from the configuration was not lifted.
            held(before, name) && next.rules.contains_key(name) && !held(next, name)
        });
        if lifts_whole || lifts_rule {
            fleet.rollbacks.values_mut().for_each(Rollbacks::lift);
        }
        let hold = next.hold.as_ref().filter(|hold| hold.kind != RollbackKind::Unknown);
        let new_hold = hold.filter(|hold| before.hold.as_ref() != Some(hold));
        let new_rules: Vec<_> =
            next.rules.keys().filter(|name| held(next, name) && !held(before, name)).cloned().collect();
        if new_hold.is_some() || !new_rules.is_empty() {
            let mine = fleet.rollbacks.entry(me.into()).or_default();
            mine.made += 1;
            mine.hold = new_hold.cloned().or(mine.hold.take());
            mine.rules.extend(new_rules);
        }
        let mut rules = fleet.word.rules.clone();
        rules.retain(|name, _| !before.rules.contains_key(name));
        rules.extend(next.rules.iter().map(|(name, rule)| (name.clone(), rule.percentage)));
        fleet.say(next.in_force, rules, next.last.clone(), driver.unwrap_or(0));
        fleet
    }

    fn say(&mut self, in_force: Enforcement, rules: BTreeMap<Box<str>, Percentage>, last: Move, driver: u64) {
        self.fence = self.fence.max(driver);
        let epoch = self.rollbacks.values().fold(0u64, |sum, rollbacks| sum.saturating_add(rollbacks.made));
        self.word = Word { epoch, fence: self.fence, revision: self.revision, in_force, rules, last };
    }

    /// What both say; see the module.
    #[must_use]
    pub fn merge(&self, other: &FleetState) -> FleetState {
        let word = if self.word.rank() >= other.word.rank() { &self.word } else { &other.word };
        let mut rollbacks = self.rollbacks.clone();
        for (name, theirs) in &other.rollbacks {
            let merged = rollbacks.get(name).map_or_else(|| theirs.clone(), |ours| ours.merge(theirs));
            rollbacks.insert(name.clone(), merged);
        }
        FleetState {
            word: word.clone(),
            rollbacks,
            revision: self.revision.max(other.revision),
            fence: self.fence.max(other.fence),
        }
    }

    /// Does it hold all that the other says?
    pub fn contains(&self, other: &FleetState) -> bool {
        self.merge(other) == *self
    }

    /// Without a step of this sidecar that nobody else may hear, because another drives the ramp by now. `before`: what was known before that
    /// step. `found`: what the store holds; it may be older than that, so that it counts for what it adds, and never by itself.
    /// Rollbacks stay.
    #[must_use]
    pub fn conceding_to(&self, before: &FleetState, found: &FleetState) -> FleetState {
        FleetState { word: before.merge(found).word, ..self.merge(found) }
    }

    /// What that means for a sidecar with these rules: `local`, with all that is shared replaced.
    pub fn in_force_at(&self, local: &EnforcementState, rules: &RuleSet) -> EnforcementState {
        let open: Vec<_> = self.rollbacks.values().filter(|rollbacks| rollbacks.is_open()).collect();
        // What the first of several saw is what was in force.
        let hold = open.iter().filter_map(|rollbacks| rollbacks.hold.as_ref()).min_by_key(|hold| hold.by.at).cloned();
        let mut in_force = self.word.in_force;
        if hold.is_some() {
            in_force.mode = Mode::Log;
        }
        let is_held = |name: &str| open.iter().any(|rollbacks| rollbacks.rules.contains(name));
        let names: BTreeSet<&Box<str>> =
            self.word.rules.keys().chain(open.iter().flat_map(|rollbacks| &rollbacks.rules)).collect();
        let rules = names.into_iter().filter_map(|name| {
            let configured = configured_of(rules, name)?;
            let held = is_held(name);
            let said = self.word.rules.get(name).copied().unwrap_or(Percentage::NONE);
            let percentage = if held { Percentage::NONE } else { said };
            Some((name.clone(), super::state::RuleState { percentage, configured, held }))
        });
        // Where it is our own word that was not known for sure, an operator has to look first.
        let doubt =
            || local.hold.clone().filter(|hold| hold.kind == RollbackKind::Unknown && self.word.last == hold.by);
        EnforcementState {
            in_force,
            rules: rules.collect(),
            hold: hold.or_else(doubt),
            last: self.word.last.clone(),
            configured: local.configured,
            revision: self.revision,
        }
    }
}

/// By somebody who meant it.
fn is_rolled_back(state: &EnforcementState) -> bool {
    let whole = state.hold.as_ref().is_some_and(|hold| hold.kind != RollbackKind::Unknown);
    whole || state.rules.values().any(|rule| rule.held)
}

#[cfg(test)]
mod tests;
