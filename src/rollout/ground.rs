//! [`Ground`]: may what was seen so far still be held against what is in force now?
//!
//! In log mode failing checks are what is being measured, and while a rollback holds somebody mends what broke. Both fill the windows of
//! [`health`](super::health). None of that may take back what a person switches on afterwards, so the windows are emptied
//! ([`Health::forget`](super::health::Health::forget)) at each of these turns, whoever made it, here or elsewhere in a fleet:
//!
//! 1. From `log` to `enforce`.
//! 2. A rollback, of the whole or of a rule, holds no longer.
//! 3. Another sidecar begins to drive a ramp: from then on what is seen here takes it back.
//!
//! A higher percentage is no such turn: what failed before it fails after it, and its evidence counts.

use super::state::EnforcementState;
use crate::policy::enforcement::Mode;

/// What the figures were gathered under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ground {
    enforces: bool,
    is_held: bool,
    is_ramped_elsewhere: bool,
}

impl Ground {
    /// That of now.
    pub fn of(state: &EnforcementState, is_ramped_elsewhere: bool) -> Ground {
        Ground { enforces: state.in_force.mode == Mode::Enforce, is_held: state.is_held(), is_ramped_elsewhere }
    }

    /// Does judgement begin anew, after this one?
    pub fn begins_anew_after(self, before: Ground) -> bool {
        (self.enforces && !before.enforces)
            || (!self.is_held && before.is_held)
            || (self.is_ramped_elsewhere && !before.is_ramped_elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::enforcement::{Enforcement, Percentage, Sampling};
    use crate::rollout::state::{Move, RollbackKind};

    fn by() -> Move {
        Move { at: 1, by: "uid:0".into(), why: "x".into() }
    }

    fn in_mode(mode: Mode) -> EnforcementState {
        let configured = Enforcement { mode, percentage: Percentage::FULL, sampling: Sampling::Call };
        EnforcementState::first(configured, by())
    }

    #[test]
    fn judgement_begins_anew_when_enforcement_is_switched_on_when_a_hold_ends_and_when_another_begins_to_drive() {
        let (log, enforcing) = (in_mode(Mode::Log), in_mode(Mode::Enforce));
        let held = enforcing.roll_back(RollbackKind::Automatic, by());
        let lifted = held.lift(by()).unwrap();
        let on = lifted.set(Some(Mode::Enforce), Percentage::new(10), by()).unwrap();
        let turns = [
            (&log, false, &enforcing, false),
            (&held, false, &lifted, false),
            (&lifted, false, &on, false),
            (&held, false, &on, false),
            (&enforcing, false, &enforcing, true),
        ];
        for (before, was_elsewhere, now, is_elsewhere) in turns {
            let before = Ground::of(before, was_elsewhere);
            assert!(Ground::of(now, is_elsewhere).begins_anew_after(before), "{before:?} {now:?}");
        }
    }

    #[test]
    fn nothing_else_makes_evidence_vanish() {
        let (log, enforcing) = (in_mode(Mode::Log), in_mode(Mode::Enforce));
        let less = enforcing.set(None, Percentage::new(10), by()).unwrap();
        let held = enforcing.roll_back(RollbackKind::Automatic, by());
        let turns = [
            (&log, false, &log, false),
            (&enforcing, false, &log, false),
            (&less, false, &enforcing, false),
            (&enforcing, false, &less, false),
            (&enforcing, false, &held, false),
            (&enforcing, true, &enforcing, true),
            (&enforcing, true, &enforcing, false),
        ];
        for (before, was_elsewhere, now, is_elsewhere) in turns {
            let before = Ground::of(before, was_elsewhere);
            assert!(!Ground::of(now, is_elsewhere).begins_anew_after(before), "{before:?} {now:?}");
        }
    }
}
