//! Those who watch and steer: the read-only listener here, for scrapers, probes and people; the unix socket that also changes
//! things in [`control`].
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | the counters, OpenMetrics or the older text format |
//! | `/healthz`, `/livez` | 200 as long as the process answers; asks nothing else |
//! | `/readyz` | 200 if traffic may be sent here, else 503; JSON with the reasons |
//! | `/` | this list |
//!
//! It changes nothing, shows no secret, and is not for web pages: see [`gate`] for what is refused. hyper serves here (and
//! only here), because nothing is forwarded: what it hides from a service can do no harm.

use crate::telemetry::metrics::Metrics;
use std::sync::Arc;

mod answer;
pub mod control;
pub mod gate;
pub mod orders;
pub mod ramp_shown;
pub mod readiness;
mod serve;

pub use readiness::Readiness;
pub use serve::serve;

/// What the listener shows.
pub struct AdminState {
    /// `/metrics`
    pub metrics: Arc<Metrics>,
    /// `/readyz`
    pub readiness: Arc<Readiness>,
    /// `[admin].allowed_hosts`: `Host` values accepted beyond loopback names; replaced at reload.
    pub allowed_hosts: Arc<arc_swap::ArcSwap<Vec<String>>>,
}
