//! Files, environment and flags → [`Config`], or every problem at once.
//!
//! 1. Read the file and those it includes; note what is wrong in each, go on.
//! 2. Lay the environment over it, then the flags.
//! 3. Build the checked configuration; note what several keys say together.
//! 4. Read the secrets and certificates it names, and ask whether the audit file can be written.
//! 5. One error anywhere refuses the whole; warnings alone do not.

use super::build::{self, Surroundings};
use super::diagnostic::{Diagnostic, Diagnostics, Place, Severity};
use super::env::{self, Environment};
use super::file::FileConfig;
use super::problems::Problems;
use super::tls_files::{self, TlsSaid};
use super::watched::Watched;
use super::{Config, KeySourceKind, ServiceIdentity};
use super::{flags, sources};
use crate::keys::KeyTable;
use crate::signature::key::ServiceId;
use crate::tls::TlsMaterials;
use std::collections::BTreeSet;
use std::path::Path;

pub use super::flags::Overrides;

/// Where `run` looks when no file is named and no `--upstream` is given.
pub const DEFAULT_FILE: &str = "/etc/countersign/countersign.toml";

/// What a load is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run with.
    Run,
    /// To say whether it could be run with: the same errors. Only what is missing as a whole on a machine where nothing is set up yet
    /// (the key directory, a secret whose directory is missing too, certificates, the right to make the audit file) is a warning.
    Check,
    /// To look at what it says: no secret is read, and nothing of the machine is asked.
    Inspect,
}

/// A configuration that stands.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// The keys it names; `None` where they were not read: there is no directory (yet), or only the text was looked at.
    pub keys: Option<KeyTable>,
    /// What its listeners and upstreams present and trust; nothing where only the text was looked at.
    pub tls: TlsMaterials,
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
    let flags_alone = file.is_none();
    watched.add_secrets(&written, flags_alone);
    let tls_said = TlsSaid::of(&written);
    let around = Surroundings { environment, purpose, flags_alone };
    let built = build::build(written, &around, &problems);
    let tls = built.as_ref().map(|(config, _)| tls_files::load(config, &tls_said, purpose, &problems));
    let list = problems.into_list();
    match built {
        Some((config, keys)) if list.iter().all(|problem| problem.severity == Severity::Warning) => {
            if config.keys.sources.contains(&KeySourceKind::Files) {
                watched.add_keys(&config.keys.dir);
            }
            let warnings = Diagnostics::new(list, Watched::default());
            Ok(Loaded { config: Config { files, ..config }, keys, tls: tls.unwrap_or_default(), warnings, watched })
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

/// Looks at a configuration for `check`: as [`load`], and which services have no key on this machine as warnings.
///
/// # Errors
/// Every problem at once.
pub fn examine(file: Option<&Path>, environment: &Environment, overrides: &Overrides) -> Result<Loaded, Diagnostics> {
    let mut loaded = load(file, environment, overrides, Purpose::Check)?;
    let Some(table) = &loaded.keys else { return Ok(loaded) };
    let config = &loaded.config;
    let signs = config.service.as_ref().filter(|_| !config.outbound.is_empty());
    let asks_redis = config.keys.sources.contains(&KeySourceKind::Redis);
    if let Some(service) = signs.filter(|service| !asks_redis && !table.ids().any(|id| *id == service.id)) {
        let message = format!("there is no key of `{}`, which signs what leaves", service.id);
        let problem = Diagnostic::error(&Place::Path(config.keys.dir.clone()), message);
        let problem = problem.fix(format!("countersign keys generate {}, or countersign keys import", service.id));
        return Err(Diagnostics::new(vec![problem], loaded.watched).and(loaded.warnings.iter().cloned().collect()));
    }
    let named = config.rules.rules().iter().flat_map(|rule| rule.callers.iter().flatten());
    if asks_redis {
        // Nobody asks it here.
        return Ok(loaded);
    }
    let known = config.services.keys().chain(named);
    let without: BTreeSet<&ServiceId> = known.filter(|id| !table.ids().any(|other| other == *id)).collect();
    let more = without.into_iter().map(|id| {
        let message = format!("the service `{id}` has no key, so every call of it fails its checks");
        Diagnostic::warning(&Place::Path(config.keys.dir.clone()), message)
            .fix(format!("countersign keys generate {id}, or countersign keys import"))
    });
    let more = more.collect();
    loaded.warnings = loaded.warnings.and(more);
    Ok(loaded)
}

#[cfg(test)]
mod tests;
