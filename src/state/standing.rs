//! [`Standing`]: what is in force, for whoever shows it; written by the one who changes it.

use super::fleet_board::FleetBoard;
use crate::rollout::state::{EnforcementState, RollbackKind};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The state of enforcement as it is, and whether it would survive the process.
#[derive(Debug)]
pub struct Standing {
    state: ArcSwap<EnforcementState>,
    trouble: ArcSwapOption<String>,
    writing: AtomicUsize,
    fleet: OnceLock<Arc<FleetBoard>>,
}

impl Standing {
    /// At the start.
    pub fn new(state: EnforcementState) -> Standing {
        let trouble = ArcSwapOption::empty();
        let writing = AtomicUsize::new(0);
        Standing { state: ArcSwap::from_pointee(state), trouble, writing, fleet: OnceLock::new() }
    }

    /// What is in force.
    pub fn state(&self) -> Arc<EnforcementState> {
        self.state.load_full()
    }

    /// How it stands with those it is shared with; `None` where it is not.
    pub fn fleet(&self) -> Option<&Arc<FleetBoard>> {
        self.fleet.get()
    }

    /// Why it would not survive the process; `None` when it would.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }

    /// Is it unknown what was in force when this process began, and has nobody looked since?
    pub fn is_unknown(&self) -> bool {
        self.state.load().hold.as_ref().is_some_and(|hold| hold.kind == RollbackKind::Unknown)
    }

    /// Is a move not yet on disk? Then what the disk says is not yet what is meant.
    pub fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire) > 0
    }

    /// It would not survive the process, from the start.
    pub(crate) fn in_trouble(&self, why: String) {
        self.trouble.store(Some(Arc::new(why)));
    }

    /// It is shared from now on.
    pub(crate) fn share(&self, board: Arc<FleetBoard>) {
        // Told once, at the start.
        let _ = self.fleet.set(board);
    }

    /// This is in force from now on, and is about to be written.
    pub(crate) fn moved(&self, state: EnforcementState) {
        self.writing.fetch_add(1, Ordering::AcqRel);
        self.state.store(Arc::new(state));
    }

    /// A move was written, or could not be.
    pub(crate) fn written(&self, result: &Result<(), String>) {
        self.trouble.store(result.as_ref().err().map(|why| Arc::new(why.clone())));
        self.writing.fetch_sub(1, Ordering::AcqRel);
    }
}
