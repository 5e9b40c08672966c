//! Files, environment and flags → [`Config`], or every problem at once.
//!
//! 1. Read the file and those it includes; note what is wrong in each, go on.
//! 2. Lay the environment over it, then the flags.
//! 3. Build the checked configuration; note what several keys say together.
//! 4. One error anywhere refuses the whole; warnings alone do not.

use super::build::{self, Surroundings};
use super::diagnostic::{Diagnostic, Diagnostics, Place, Severity};
use super::env::{self, Environment};
use super::file::FileConfig;
use super::problems::Problems;
use super::watched::Watched;
use super::{Config, ServiceIdentity};
use super::{flags, sources};
use crate::keys::{self, KeyTable, dir::KeyPlace};
use crate::signature::key::ServiceId;
use std::collections::BTreeSet;
use std::path::Path;

pub use super::flags::Overrides;

/// Where `run` looks when no file is named and no `--upstream` is given.
pub const DEFAULT_FILE: &str = "/etc/countersign/countersign.toml";

/// What a load is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run with: a secret file that cannot be read is an error.
    Run,
    /// To look at, perhaps on another machine or as another user: that is a warning.
    Check,
}

/// A configuration that stands.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// What a person should look at.
    pub warnings: Diagnostics,
    /// Every file it depends on, for the watcher.
    pub watched: Watched,
}

/// Reads and checks a whole configuration. Without a file, the flags must say what is guarded (`--upstream`, `--listen`).
///
/// # Errors
/// Every problem at once.
pub fn load(
    file: Option<&Path>,
    environment: &Environment,
    overrides: &Overrides,
    purpose: Purpose,
) -> Result<Loaded, Diagnostics> {
    let problems = Problems::default();
    let mut watched = Watched::default();
    let (mut written, files) = match file {
        Some(path) => sources::read(path, environment, &mut watched, &problems),
        None => (FileConfig::default(), Vec::new()),
    };
    env::overlay(environment, &mut written, &problems);
    flags::overlay(overrides, &mut written, &problems);
    watched.add_secrets(&written);
    let around = Surroundings { environment, purpose, flags_alone: file.is_none() };
    let config = build::build(written, &around, &problems);
    let list = problems.into_list();
    match config {
        Some(config) if list.iter().all(|problem| problem.severity == Severity::Warning) => {
            watched.add_keys(&config.keys.dir);
            let warnings = Diagnostics::new(list, Watched::default());
            Ok(Loaded { config: Config { files, ..config }, warnings, watched })
        }
        Some(_) | None => Err(Diagnostics::new(list, watched)),
    }
}

/// Who the environment says this service is, for commands that have no configuration and need nothing else.
///
/// # Errors
/// Every problem of `SERVICE_ID`, `SERVICE_KEY` and `SERVICE_KEY_FILE`; what else the environment holds is not looked at.
pub fn identity(environment: &Environment) -> Result<Option<ServiceIdentity>, Diagnostics> {
    let problems = Problems::default();
    let mut written = FileConfig::default();
    let mut relevant = environment.clone();
    relevant
        .variables
        .retain(|name, _| name == "HOME" || name.starts_with("SERVICE_ID") || name.starts_with("SERVICE_KEY"));
    env::overlay(&relevant, &mut written, &problems);
    let service = build::service(written.service_id, written.service_key, &problems);
    let list = problems.into_list();
    if list.is_empty() { Ok(service) } else { Err(Diagnostics::new(list, Watched::default())) }
}

/// Looks at a configuration for `check`: as [`load`], and what is wrong with its keys on this machine as warnings.
///
/// # Errors
/// Every problem at once.
pub fn examine(
    file: Option<&Path>,
    environment: &Environment,
    overrides: &Overrides,
) -> Result<(Loaded, Option<KeyTable>), Diagnostics> {
    let mut loaded = load(file, environment, overrides, Purpose::Check)?;
    let config = &loaded.config;
    let (table, more) = match keys::dir::load(&config.keys, config.service.as_ref()) {
        Ok(table) => {
            let named = config.rules.rules().iter().flat_map(|rule| rule.callers.iter().flatten());
            let known = config.services.keys().chain(named);
            let without: BTreeSet<&ServiceId> = known.filter(|id| !table.ids().any(|other| other == *id)).collect();
            let more = without.into_iter().map(|id| {
                let message = format!("the service `{id}` has no key, so every call of it fails its checks");
                Diagnostic::warning(&Place::Path(config.keys.dir.clone()), message)
                    .fix(format!("countersign keys generate {id}, or countersign keys import"))
            });
            let more = more.collect();
            (Some(table), more)
        }
        Err(problems) => {
            let in_words = |problem: keys::dir::KeyProblem| {
                let place = match &problem.place {
                    KeyPlace::Path(path) => Place::Path(path.clone()),
                    KeyPlace::Environment => Place::Variable("SERVICE_KEY"),
                };
                Diagnostic::warning(&place, format!("keys, on this machine: {}", problem.fault))
            };
            (None, problems.into_iter().map(in_words).collect())
        }
    };
    loaded.warnings = loaded.warnings.and(more);
    Ok((loaded, table))
}

#[cfg(test)]
mod tests;
