//! A changed configuration → what takes the running one's place, or why not. All or nothing.
//!
//! 1. Load everything again, as at the start; any error keeps the running configuration.
//! 2. A file that is the beginning of what was there before, cut inside a line, is one that is still being written or was
//!    cut short. It may parse by chance with half its rules, so it is refused. (Cut at the end of a line it cannot be told
//!    from an edit that removed the last rules; the watch waits until nobody writes any more.)
//! 3. Listeners, upstream addresses and what else cannot change in flight keep their running values and are named.
//! 4. Mode, percentage and sampling have other writers than the file: what of them is an edit is not said here, but by
//!    [`EnforcementState::load`](crate::rollout::state::EnforcementState::load).

use super::check::{self, Loaded, Overrides, Purpose};
use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::env::Environment;
use super::{Admin, AdminSocket, Config};
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
    /// Keys that were edited and take effect with the next start.
    pub needs_restart: Vec<&'static str>,
}

/// Loads again. `running` is the configuration last loaded.
///
/// # Errors
/// Every problem at once; then the running configuration stays as it is.
pub fn reload(source: &Source, running: &Config) -> Result<Reloaded, Diagnostics> {
    let mut loaded = check::load(source.file.as_deref(), &source.environment, &source.overrides, Purpose::Run)?;
    let cut = cut_short(running, &loaded.config);
    if !cut.is_empty() {
        return Err(Diagnostics::new(cut, loaded.watched));
    }
    let needs_restart = keep_running(running, &mut loaded.config);
    Ok(Reloaded { loaded, needs_restart })
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
    keep("enforcement.shared", running.shared_key != loaded.shared_key);
    loaded.shared_key.clone_from(&running.shared_key);
    let Admin { listen, socket, .. } = &running.admin;
    keep("admin.listen", *listen != loaded.admin.listen);
    loaded.admin.listen = *listen;
    let follows_state_dir =
        matches!((socket, &loaded.admin.socket), (AdminSocket::Default(_), AdminSocket::Default(_)));
    keep("admin.socket", *socket != loaded.admin.socket && !follows_state_dir);
    loaded.admin.socket.clone_from(socket);

    let kept = listeners::keep_running(running, loaded);
    edited.extend(kept);
    edited
}

#[cfg(test)]
mod tests;
