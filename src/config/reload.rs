//! A changed configuration → what takes the running one's place, or why not. All or nothing.
//!
//! 1. Load everything again, as at the start; any error keeps the running configuration.
//! 2. A file that is the beginning of what was there before, cut inside a line, is one that is still being written or was
//!    cut short. It may parse by chance with half its rules, so it is refused. (Cut at the end of a line it cannot be told
//!    from an edit that removed the last rules; the watch waits until nobody writes any more.)
//! 3. Listeners, upstream addresses and what else cannot change in flight keep their running values and are named.
//! 4. Mode, percentage and sampling have other writers than the file. Only what changed *against what was last loaded*
//!    is an edit, each by itself; the rest stays as it is in force. So a reload with an old `enforce` never undoes a rollback.

use super::check::{self, Loaded, Overrides, Purpose};
use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::env::Environment;
use super::{Admin, Config};
use crate::policy::enforcement::Enforcement;
use std::path::PathBuf;
use std::sync::Arc;

mod listeners;

pub use super::watch::{Changed, Watcher};
pub use super::watched::Watched;

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
pub fn reload(source: &Source, running: &Config, in_force: Enforcement) -> Result<Reloaded, Diagnostics> {
    let mut loaded = check::load(source.file.as_deref(), &source.environment, &source.overrides, Purpose::Run)?;
    let cut = cut_short(running, &loaded.config);
    if !cut.is_empty() {
        return Err(Diagnostics::new(cut, loaded.watched));
    }
    let needs_restart = keep_running(running, &mut loaded.config);
    let enforcement = edited(running.enforcement, loaded.config.enforcement, in_force);
    Ok(Reloaded { loaded, enforcement, needs_restart })
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

/// The files that are the beginning of what they were, cut inside a line.
fn cut_short(running: &Config, loaded: &Config) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for file in &loaded.files {
        let Some(before) = running.files.iter().find(|before| before.path == file.path) else { continue };
        let is_cut = before.text.ends_with('\n')
            && !file.text.ends_with('\n')
            && before.text.strip_prefix(file.text.as_str()).is_some_and(|rest| !rest.starts_with(['\n', '\r']));
        if is_cut {
            let end = Place::File(Arc::clone(file), file.text.len()..file.text.len());
            let problem = Diagnostic::error(&end, "the file ends inside a line of what it held before")
                .expected("the whole file: this looks like half of it")
                .fix("if this is meant, end the last line with a line break");
            problems.push(problem);
        }
    }
    problems
}

/// Puts the running values where a change needs a restart, and names what was edited there.
fn keep_running(running: &Config, loaded: &mut Config) -> Vec<&'static str> {
    let mut edited = Vec::new();
    let mut keep = |name, differs| {
        if differs {
            edited.push(name);
        }
    };
    keep("state_dir", running.state_dir != loaded.state_dir);
    loaded.state_dir.clone_from(&running.state_dir);
    keep("workers", running.workers != loaded.workers);
    loaded.workers = running.workers;
    keep("log.format", running.log.format != loaded.log.format);
    loaded.log.format = running.log.format;
    let Admin { listen, .. } = running.admin;
    keep("admin.listen", listen != loaded.admin.listen);
    loaded.admin.listen = listen;

    let kept = listeners::keep_running(running, loaded);
    edited.extend(kept);
    edited
}

#[cfg(test)]
mod tests;
