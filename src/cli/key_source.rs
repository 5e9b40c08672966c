//! Where a verb finds keys: a directory or file that was named, the configuration, or the environment, in this order.

use super::args::ConfigArgs;
use super::output::CliError;
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::config::{Config, defaults};
use std::path::{Path, PathBuf};

/// The configuration, if one was named or stands in its usual place; with a missing usual one, none.
pub(super) fn configuration(args: &ConfigArgs) -> Result<Option<Config>, CliError> {
    if !args.is_named() && !args.path().exists() {
        return Ok(None);
    }
    let environment = Environment::of_process();
    match check::load(Some(args.path()), &environment, &Overrides::default(), Purpose::Inspect) {
        Ok(loaded) => Ok(Some(loaded.config)),
        Err(problems) => Err(CliError::Configuration(Box::new(problems))),
    }
}

/// The key directory: the one named, the configuration's, or the usual one.
pub(super) fn directory(named: Option<&Path>, args: &ConfigArgs) -> Result<PathBuf, CliError> {
    if let Some(directory) = named {
        return Ok(directory.to_owned());
    }
    let config = configuration(args)?;
    Ok(config.map_or_else(|| PathBuf::from(defaults::KEYS_DIR), |config| config.keys.dir))
}
