//! [`EnforcementState`]: what is in force, since when, by whom, why, and whether a rollback holds it; and its legal moves.
//!
//! 1. The configuration gives the first value. After that the last writer wins: an operator, the ramp, an edit of the
//!    configuration.
//! 2. Of the configuration only a *change* against what was last loaded is an edit, each key by itself. What was last
//!    loaded is part of the state, so this holds across a restart: an old `enforce` in the file never undoes a rollback.
//! 3. A rollback holds: nothing but an operator who lifts it lets enforcement be switched on again, neither a command nor an edit.
//!    Towards `log` everything stays free.
//! 4. A rule's own percentage can be set beside the configuration's. It counts in place of the rule's `enforce` until that is
//!    edited.
//!
//! Every move gives a new value with the next revision; a refused one gives the reason and changes nothing.

use crate::policy::enforcement::{Enforcement, Mode, Percentage};
use crate::rules::classify::{Access, RuleSet};
use std::collections::BTreeMap;

/// What is in force and how it came about. A value: moves make a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnforcementState {
    /// Mode, percentage, sampling.
    pub in_force: Enforcement,
    /// Rules with a percentage set beside the configuration, by name; rules that share a name are a group.
    pub rules: BTreeMap<Box<str>, RuleState>,
    /// The rollback that holds, if one does.
    pub hold: Option<Hold>,
    /// The last move.
    pub last: Move,
    /// What the configuration said when it was last loaded.
    pub configured: Enforcement,
    /// Counts up by one with every move, from 1.
    pub revision: u64,
}

/// A rule's percentage, set beside the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleState {
    /// What counts.
    pub percentage: Percentage,
    /// What the configuration said of the rule when this was set: another word there is an edit, and ends this.
    pub configured: Option<Percentage>,
    /// Did a rollback set it? Then it holds as the whole does.
    pub held: bool,
}

/// When, by whom, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Unix seconds, by this machine's clock: for people; nothing is decided by it.
    pub at: u64,
    /// `uid:1000`, `signal`, `file`, `marker`, `ramp`, `health`, `process`.
    pub by: Box<str>,
    /// For people.
    pub why: Box<str>,
}

/// A rollback that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// When, who, why.
    pub by: Move,
    /// What kind of rollback.
    pub kind: RollbackKind,
    /// What was in force before.
    pub before: Enforcement,
}

/// How a rollback came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RollbackKind {
    /// An operator's immediate one: command, signal or marker file.
    Emergency,
    /// An operator's, with backup, verification and record.
    Standard,
    /// The sidecar's own, by what it saw.
    Automatic,
    /// None: what the state was cannot be known, and nothing may be switched on unseen.
    Unknown,
}

impl RollbackKind {
    /// The word in state, audit records and answers.
    pub const fn code(self) -> &'static str {
        match self {
            RollbackKind::Emergency => "emergency",
            RollbackKind::Standard => "standard",
            RollbackKind::Automatic => "automatic",
            RollbackKind::Unknown => "unknown",
        }
    }

    /// All of them.
    pub const ALL: [RollbackKind; 4] =
        [RollbackKind::Emergency, RollbackKind::Standard, RollbackKind::Automatic, RollbackKind::Unknown];
}

/// Why a move is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveRefused {
    /// A rollback holds.
    #[error(
        "a rollback holds ({kind}, by {by}: {why}); lift it first: `countersign rollback --lift --reason \"…\"`, \
         or add --lift"
    )]
    Held {
        /// [`RollbackKind::code`].
        kind: &'static str,
        /// Who rolled back.
        by: Box<str>,
        /// Why.
        why: Box<str>,
    },
    /// This rule is held by a rollback.
    #[error(
        "a rollback holds the rule \"{0}\"; lift it first: `countersign rollback --lift --reason \"…\"`, or add --lift"
    )]
    RuleHeld(Box<str>),
    /// There is nothing to lift.
    #[error("no rollback holds: there is nothing to lift")]
    NothingHeld,
    /// No rule of this name.
    #[error("no service rule is called \"{0}\"")]
    NoSuchRule(Box<str>),
}

impl EnforcementState {
    /// The first one: the configuration's word.
    pub fn first(configured: Enforcement, last: Move) -> EnforcementState {
        EnforcementState { in_force: configured, rules: BTreeMap::new(), hold: None, last, configured, revision: 1 }
    }

    /// Where a state should be and cannot be known: the configuration's word, and held, so that nothing is switched on
    /// before somebody looked.
    pub fn unknown(configured: Enforcement, last: Move) -> EnforcementState {
        let hold = Hold { by: last.clone(), kind: RollbackKind::Unknown, before: configured };
        EnforcementState { hold: Some(hold), ..EnforcementState::first(configured, last) }
    }

    /// Mode and percentage of the whole; `None` keeps what is.
    ///
    /// # Errors
    /// When a rollback holds and this would switch on.
    pub fn set(
        &self,
        mode: Option<Mode>,
        percentage: Option<Percentage>,
        by: Move,
    ) -> Result<EnforcementState, MoveRefused> {
        let in_force = Enforcement {
            mode: mode.unwrap_or(self.in_force.mode),
            percentage: percentage.unwrap_or(self.in_force.percentage),
            ..self.in_force
        };
        // Also less than is in force: who wants to enforce anything has to look first, and lift. `log` is free.
        if let (Some(hold), Mode::Enforce) = (&self.hold, in_force.mode) {
            return Err(hold.refusal());
        }
        Ok(EnforcementState { in_force, ..self.moved(by) })
    }

    /// The percentage of one rule (or of all that share the name).
    ///
    /// # Errors
    /// When there is no such rule, or a rollback holds and this would raise it.
    pub fn set_rule(
        &self,
        name: &str,
        percentage: Percentage,
        rules: &RuleSet,
        by: Move,
    ) -> Result<EnforcementState, MoveRefused> {
        let configured = configured_of(rules, name).ok_or_else(|| MoveRefused::NoSuchRule(name.into()))?;
        let before = self.rules.get(name);
        let was = before.map_or(configured.unwrap_or(Percentage::FULL), |rule| rule.percentage);
        if percentage > was && before.is_some_and(|rule| rule.held) {
            return Err(MoveRefused::RuleHeld(name.into()));
        }
        // Of what is held at `log` as a whole nothing is switched on by this: it only says what counts later.
        if let (Some(hold), Mode::Enforce, true) = (&self.hold, self.in_force.mode, percentage > was) {
            return Err(hold.refusal());
        }
        let mut next = self.moved(by);
        let held = before.is_some_and(|rule| rule.held);
        next.rules.insert(name.into(), RuleState { percentage, configured, held });
        Ok(next)
    }

    /// To `log`, and held there.
    #[must_use]
    pub fn roll_back(&self, kind: RollbackKind, by: Move) -> EnforcementState {
        let before = match &self.hold {
            // What the first of several saw is what was in force.
            Some(hold) if self.in_force.mode == Mode::Log => hold.before,
            Some(_) | None => self.in_force,
        };
        let hold = Some(Hold { by: by.clone(), kind, before });
        EnforcementState { in_force: Enforcement { mode: Mode::Log, ..self.in_force }, hold, ..self.moved(by) }
    }

    /// One rule (or all that share the name) to 0 %, and held there; the rest goes on.
    ///
    /// # Errors
    /// When there is no such rule.
    pub fn roll_back_rule(&self, name: &str, rules: &RuleSet, by: Move) -> Result<EnforcementState, MoveRefused> {
        let configured = configured_of(rules, name).ok_or_else(|| MoveRefused::NoSuchRule(name.into()))?;
        let mut next = self.moved(by);
        next.rules.insert(name.into(), RuleState { percentage: Percentage::NONE, configured, held: true });
        Ok(next)
    }

    /// Ends the hold, of the whole and of every rule. Nothing is switched on by that: the mode stays, and rules that were
    /// rolled back stay at 0 %.
    ///
    /// # Errors
    /// When nothing is held.
    pub fn lift(&self, by: Move) -> Result<EnforcementState, MoveRefused> {
        if !self.is_held() {
            return Err(MoveRefused::NothingHeld);
        }
        let mut next = EnforcementState { hold: None, ..self.moved(by) };
        next.rules.values_mut().for_each(|rule| rule.held = false);
        Ok(next)
    }

    /// Is anything held by a rollback?
    pub fn is_held(&self) -> bool {
        self.hold.is_some() || self.rules.values().any(|rule| rule.held)
    }

    /// A configuration was loaded, at the start or while running: what changed in it against the last load is an edit. Gives the
    /// same value (but for what was loaded) where nothing was edited; [`Edit`] says what came of it.
    #[must_use]
    pub fn load(&self, configured: Enforcement, rules: &RuleSet, by: Move) -> (EnforcementState, Edit) {
        let mut in_force = edited(self.configured, configured, self.in_force);
        let mut edit = Edit::default();
        if self.hold.is_some() && in_force.mode == Mode::Enforce {
            edit.held_back = self.in_force.mode == Mode::Log || in_force.percentage > self.in_force.percentage;
            in_force.mode = self.in_force.mode;
            if self.in_force.mode == Mode::Enforce {
                in_force.percentage = in_force.percentage.min(self.in_force.percentage);
            }
        }
        let mut kept = self.rules.clone();
        kept.retain(|name, rule| {
            let same = configured_of(rules, name) == Some(rule.configured);
            // A rule that a rollback holds stays at 0 % whatever the file says, also when it was gone for a while.
            let keep = same || rule.held;
            if !keep {
                edit.rules.push(name.clone());
            }
            keep
        });
        edit.enforcement = in_force != self.in_force;
        let base = if edit.is_any() { self.moved(by) } else { self.clone() };
        (EnforcementState { in_force, rules: kept, configured, ..base }, edit)
    }

    /// What counts for each rule beside its own word, in the order of the rules; empty where nothing was set.
    pub fn own_percentages(&self, rules: &RuleSet) -> Vec<Option<Percentage>> {
        if self.rules.is_empty() {
            return Vec::new();
        }
        rules.rules().iter().map(|rule| self.rules.get(&rule.name).map(|state| state.percentage)).collect()
    }

    fn moved(&self, by: Move) -> EnforcementState {
        EnforcementState { last: by, revision: self.revision + 1, ..self.clone() }
    }
}

/// What a load of the configuration changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Mode, percentage or sampling.
    pub enforcement: bool,
    /// Rules whose set percentage ended, because their `enforce` was edited or they are gone.
    pub rules: Vec<Box<str>>,
    /// The edit would have switched on, and a rollback holds.
    pub held_back: bool,
}

impl Edit {
    /// Did anything in force change?
    pub fn is_any(&self) -> bool {
        self.enforcement || !self.rules.is_empty()
    }
}

impl Hold {
    /// What somebody is told whom it holds back.
    pub fn refusal(&self) -> MoveRefused {
        let Move { by, why, .. } = self.by.clone();
        MoveRefused::Held { kind: self.kind.code(), by, why }
    }
}

/// What is in force after an edit: what changed between two loads is the edit's, the rest stays.
pub fn edited(last_loaded: Enforcement, loaded: Enforcement, in_force: Enforcement) -> Enforcement {
    fn one<T: PartialEq>(last_loaded: T, loaded: T, in_force: T) -> T {
        if loaded == last_loaded { in_force } else { loaded }
    }
    Enforcement {
        mode: one(last_loaded.mode, loaded.mode, in_force.mode),
        percentage: one(last_loaded.percentage, loaded.percentage, in_force.percentage),
        sampling: one(last_loaded.sampling, loaded.sampling, in_force.sampling),
    }
}

/// The `enforce` of the first service rule of this name; `None`: there is no such rule.
pub(super) fn configured_of(rules: &RuleSet, name: &str) -> Option<Option<Percentage>> {
    rules.rules().iter().find(|rule| &*rule.name == name && rule.access == Access::Service).map(|rule| rule.enforce)
}

#[cfg(test)]
mod tests;
