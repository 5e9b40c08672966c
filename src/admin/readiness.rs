//! [`Readiness`]: may traffic be sent here?

use crate::upstream::health::UpstreamHealth;
use std::sync::Arc;

/// What readiness depends on; set by the wiring, read by `/readyz` and `status`.
#[derive(Debug)]
pub struct Readiness {}

impl Readiness {
    /// Not ready: starting.
    pub fn new(_upstreams: Vec<Arc<UpstreamHealth>>) -> Readiness {
        unimplemented!()
    }

    /// Listeners are open and workers run.
    pub fn serving(&self) {
        unimplemented!()
    }

    /// The end has begun: not ready from now on, for good.
    pub fn draining(&self) {
        unimplemented!()
    }

    /// A reload's end: `None` when it took effect, else what is wrong. A failed one keeps serving by the old
    /// configuration: still ready, and the answer says so.
    pub fn reloaded(&self, _problem: Option<String>) {
        unimplemented!()
    }

    /// Something else that stands against being ready (`"keys"`, `"state"`), or no longer does.
    pub fn set_problem(&self, _what: &'static str, _problem: Option<String>) {
        unimplemented!()
    }

    /// Nothing stands against sending traffic here.
    pub fn is_ready(&self) -> bool {
        unimplemented!()
    }
}
