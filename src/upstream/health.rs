//! [`UpstreamHealth`]: does the upstream answer? Asked actively, noted passively.

use crate::config::{Health, Upstream};
use std::sync::Arc;

/// What is known of one upstream; read by readiness and metrics, written by its check.
#[derive(Debug)]
pub struct UpstreamHealth {}

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// Not asked yet.
    Unknown,
    /// It answers as expected.
    Up,
    /// It does not.
    Down,
}

impl UpstreamHealth {
    /// Nothing known yet.
    pub fn new(_upstream: Upstream) -> Arc<UpstreamHealth> {
        unimplemented!()
    }

    /// What is known now.
    pub fn state(&self) -> HealthState {
        unimplemented!()
    }

    /// A worker could not reach it: asks for a check at once, instead of at the end of the interval.
    pub fn suspect(&self) {
        unimplemented!()
    }

    /// Checks for ever; runs in the control runtime and is ended by dropping or aborting it. Without `check` it only
    /// connects, every 5 s.
    pub async fn watch(self: Arc<Self>, _check: Option<Health>) {
        unimplemented!()
    }
}
