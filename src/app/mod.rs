//! Wiring: what is started in which order, reloaded, and stopped in which order.
//!
//! Start: state directory (locked) → salt → keys → listeners → audit log → metrics, readiness → admin listener → workers
//! and acceptor → ready. Everything that can fail for a reason outside fails before the first connection is taken, so
//! that a start either serves or says why not.
//!
//! Stop: not ready → no new connections, requests in flight finish until the deadline → admin listener → audit log
//! written out → socket files removed. A second signal ends the process at once.
//!
//! Reload: everything is loaded and checked first, then swapped as one [`Snapshot`](crate::snapshot::Snapshot); a failure
//! anywhere leaves all as it was and is logged, counted, and shown by readiness.
//!
//! The control runtime is one thread: the main one. Workers are threads that the proxy makes. A task that must not end
//! and ends, or an accept loop that stands still, stops the process with an error: a service manager can restart what is
//! gone, but not what only looks alive.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`start`] | What is made, in which order? |
//! | `key_follower` | How do the keys of Redis take effect while it runs? |
//! | `fleet_grants` | How do override grants reach the whole fleet? |
//! | `grants` | Which override grants are open, and how does that change? |
//! | [`reload`] | How does a new configuration take effect, whole or not at all? |
//! | [`control`] | What happens while it runs: signals, changed files, the watchdog, the end? |
//! | `steering`, `enforcement_orders` | How does enforcement change while it runs, and by whose word? |
//! | [`listeners`], [`holder`] | Where do we listen, and who is in the way? |
//! | [`state_dir`] | What is kept between starts, and is it ours alone? |
//! | [`process`] | What may leave the process's memory, how many descriptors may it open? |
//! | `ramping`, `ramp_orders`, `alerts` | How is the rollout watched, what may an operator tell the ramp, and whom is told what? |
//! | [`summary`] | What does it say of itself, in the log and to the service manager? |

use crate::config::check::{self, Purpose};
use crate::config::diagnostic::Diagnostics;
use crate::config::reload::Source;
use crate::telemetry::logging;

mod alerts;
pub mod control;
mod enforcement_orders;
mod fleet;
mod fleet_grants;
mod grants;
pub mod holder;
mod key_follower;
mod key_usage;
mod keys;
pub mod listeners;
pub mod process;
mod ramp_orders;
mod ramping;
pub mod reload;
pub mod start;
pub mod state_dir;
mod steering;
pub mod summary;

pub use start::{App, StartError};

/// Why a sidecar did not start, or did not run to its ordered end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is not good.
    #[error("{0}")]
    Configuration(Diagnostics),
    /// The configuration is good, and the surroundings do not let it start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The process's own parts cannot be made.
    #[error("cannot {action}: {error}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// What came of it.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part that must not end has ended.
    #[error("{0} has ended although it must not; the process stops so that it can be started anew")]
    Critical(&'static str),
    /// A second signal came while requests were finishing.
    #[error("stopped at once by a second signal; requests in flight were cut")]
    Cut,
}

/// Runs a sidecar from here to its end: loads, starts, serves, drains.
///
/// # Errors
/// When it cannot start, or ends other than by an ordered stop.
pub fn run(source: Source) -> Result<(), RunError> {
    // Before any secret is read; what did not work is told once there is a log.
    let exposed = process::keep_memory_private();
    let loaded = check::load(source.file.as_deref(), &source.environment, &source.overrides, Purpose::Run)
        .map_err(RunError::Configuration)?;
    let log = logging::init(loaded.config.log)
        .map_err(|error| RunError::Process { action: "set up the log", error: error.into() })?;
    process::log_panics();
    for problem in exposed {
        tracing::warn!(problem, "memory may be readable by others");
    }
    summary::log_warnings(&loaded.warnings);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Process { action: "make the control runtime", error: error.into() })?
        .block_on(async {
            // First of all: a signal during the start is then an order, not the end.
            let signals = control::Signals::install()
                .map_err(|error| RunError::Process { action: "take signals", error: error.into() })?;
            let app = App::start(source, loaded, Some(log)).await?;
            app.serve(signals).await
        })
}
