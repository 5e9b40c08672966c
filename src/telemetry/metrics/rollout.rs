//! Counters of the rollout: rollbacks by kind, and whether one holds.

use super::Metrics;
use crate::rollout::state::RollbackKind;
use crate::state::standing::Standing;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted of the rollout.
#[derive(Debug, Default)]
pub(super) struct Rollout {
    rollbacks: [AtomicU64; RollbackKind::ALL.len()],
    standing: ArcSwapOption<Standing>,
}

impl Metrics {
    /// Shows what is in force as this says it.
    pub fn watch_standing(&self, standing: Arc<Standing>) {
        self.rollout.standing.store(Some(standing));
    }

    /// One rollback, of the whole or of a rule.
    pub fn rolled_back(&self, kind: RollbackKind) {
        let place = RollbackKind::ALL.iter().position(|each| *each == kind);
        if let Some(count) = place.and_then(|place| self.rollout.rollbacks.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Rollout {
    /// Each kind with its count.
    pub(super) fn rollbacks(&self) -> impl Iterator<Item = (RollbackKind, u64)> {
        RollbackKind::ALL.into_iter().zip(self.rollbacks.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Is anything held, and would what is in force survive the process?
    pub(super) fn held_and_durable(&self) -> Option<(bool, bool)> {
        let standing = self.standing.load_full()?;
        Some((standing.state().is_held(), standing.trouble().is_none()))
    }
}
