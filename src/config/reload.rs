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
use super::{Admin, Config, Inbound};
use crate::policy::enforcement::Enforcement;
use std::path::PathBuf;
use std::sync::Arc;

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

    let mut upstream_edited = false;
    let mut places = Vec::with_capacity(running.inbound.len());
    for (index, old) in running.inbound.iter().enumerate() {
        let new = counterpart(index, &running.inbound, &loaded.inbound);
        upstream_edited |= new.is_some_and(|new| new.upstreams != old.upstreams);
        places.push(new.map_or_else(|| Arc::clone(old), |new| in_place(old, new)));
    }
    keep("inbound.upstream", upstream_edited);
    let listens = |config: &Config| {
        let mut listens: Vec<String> = config.inbound.iter().map(|inbound| format!("{:?}", inbound.listen)).collect();
        // In another order they are the same listeners.
        listens.sort();
        listens
    };
    keep("inbound.listen", listens(running) != listens(loaded));
    // Listeners are known by their place, so the running order stays.
    loaded.inbound = places;
    edited
}

/// The same listener in the loaded configuration: at the same place, else wherever it moved to.
fn counterpart<'l>(index: usize, running: &[Arc<Inbound>], loaded: &'l [Arc<Inbound>]) -> Option<&'l Arc<Inbound>> {
    let listen = |inbound: Option<&Arc<Inbound>>| inbound.map(|inbound| inbound.listen.clone());
    let wanted = listen(running.get(index));
    if listen(loaded.get(index)) == wanted {
        return loaded.get(index);
    }
    // One that stands in its own place is not another that moved (several may say port 0).
    let moved = loaded
        .iter()
        .enumerate()
        .find(|(place, new)| Some(new.listen.clone()) == wanted && listen(running.get(*place)) != wanted);
    moved.map(|(_, new)| new)
}

/// A running listener with what may change of it.
fn in_place(old: &Inbound, new: &Inbound) -> Arc<Inbound> {
    let Inbound { listen: _, upstreams: _, health, tls, h2c, trusted_proxies, first_byte } = new;
    Arc::new(Inbound {
        listen: old.listen.clone(),
        upstreams: old.upstreams.clone(),
        health: health.clone(),
        tls: tls.clone(),
        h2c: *h2c,
        trusted_proxies: trusted_proxies.clone(),
        first_byte: *first_byte,
    })
}

#[cfg(test)]
mod tests;
