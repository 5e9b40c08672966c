//! Watch, load, check, swap whole; on failure keep the old and say so.

use super::Config;
use super::check::{Loaded, Overrides};
use super::diagnostic::Diagnostics;
use super::env::Environment;
use crate::policy::enforcement::Enforcement;
use std::path::PathBuf;

/// Where a configuration came from: enough to load it again.
#[derive(Debug, Clone)]
pub struct Source {
    /// `--config`; `None` with flags alone.
    pub file: Option<PathBuf>,
    /// The environment at start.
    pub environment: Environment,
    /// The flags.
    pub overrides: Overrides,
}

/// Everything a configuration depends on outside the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {}

/// A configuration ready to take the place of the running one.
#[derive(Debug)]
pub struct Reloaded {
    /// What was loaded; what needs a restart has the running values.
    pub loaded: Loaded,
    /// What is in force from now on: only what changed against the last load is an edit.
    pub enforcement: Enforcement,
    /// Keys that were edited and take effect with the next start.
    pub needs_restart: Vec<&'static str>,
}

/// Loads again. `running` is the configuration last loaded, `in_force` what is in force now.
///
/// # Errors
/// Every problem at once; then the running configuration stays as it is.
pub fn reload(_source: &Source, _running: &Config, _in_force: Enforcement) -> Result<Reloaded, Diagnostics> {
    unimplemented!()
}

/// Watches what a configuration depends on. Dropped, it stops.
#[derive(Debug)]
pub struct Watcher {}

/// Something on which the configuration depends changed, and then was quiet for 200 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What.
    pub paths: Vec<PathBuf>,
}

impl Watcher {
    /// Starts to watch, on a thread of its own. Changes that come faster than they are taken become one.
    ///
    /// # Errors
    /// When the thread cannot be started. A missing kernel interface is no error: the files are then only polled.
    pub fn start(_watched: Watched) -> std::io::Result<(Watcher, tokio::sync::mpsc::Receiver<Changed>)> {
        unimplemented!()
    }

    /// Watches these from now on (after a reload).
    pub fn watch(&self, _watched: Watched) {
        unimplemented!()
    }
}
