//! Counters of the rollout: rollbacks by kind, and whether one holds.

use super::Metrics;
use crate::rollout::state::RollbackKind;
use crate::state::fleet_board::Reach;
use crate::state::standing::Standing;
use crate::telemetry::notify::Notified;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What is counted of the rollout.
#[derive(Debug, Default)]
pub(super) struct Rollout {
    rollbacks: [AtomicU64; RollbackKind::ALL.len()],
    standing: ArcSwapOption<Standing>,
    /// The stage from 1, alerts, maintenance.
    ramp: [AtomicU64; 3],
    notified: ArcSwapOption<Notified>,
}

impl Metrics {
    /// Shows what is in force as this says it.
    pub fn watch_standing(&self, standing: Arc<Standing>) {
        self.rollout.standing.store(Some(standing));
    }

    /// How the ramp stands: its stage from 1 (0: none runs), how many alerts there are, whether judgement is suspended.
    pub fn set_ramp(&self, stage: u64, alerts: u64, is_suspended: bool) {
        for (cell, value) in self.rollout.ramp.iter().zip([stage, alerts, u64::from(is_suspended)]) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Shows what came of announcements.
    pub fn watch_notified(&self, notified: Arc<Notified>) {
        self.rollout.notified.store(Some(notified));
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

    /// The stage from 1, alerts, maintenance.
    pub(super) fn ramp(&self) -> [u64; 3] {
        [0, 1, 2].map(|place: usize| self.ramp[place].load(Ordering::Relaxed))
    }

    /// Announcements that arrived, and that did not.
    pub(super) fn notified(&self) -> (u64, u64) {
        self.notified.load().as_ref().map_or((0, 0), |notified| notified.counts())
    }

    /// Of the fleet, where the state is shared: is it followed, how many sidecars are not reached, what was refused.
    pub(super) fn fleet(&self, now: Instant) -> Option<(bool, u64, u64)> {
        let standing = self.standing.load_full()?;
        let board = standing.fleet()?;
        let missed = board.others(now).iter().filter(|(_, reach)| *reach != Reach::Reached).count();
        Some((board.trouble().is_none(), missed as u64, board.rejected()))
    }

    /// Is anything held, and would what is in force survive the process?
    pub(super) fn held_and_durable(&self) -> Option<(bool, bool)> {
        let standing = self.standing.load_full()?;
        Some((standing.state().is_held(), standing.trouble().is_none()))
    }
}
