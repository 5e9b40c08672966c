//! The keys of one configuration, loaded whole or not at all.

use super::start::StartError;
use crate::config::Config;
use crate::config::reload::Source;
use crate::keys::KeyTable;

/// Loads every key the configuration names.
pub(super) fn load(_config: &Config) -> Result<KeyTable, StartError> {
    Ok(KeyTable::default())
}

pub(super) fn make_first(_config: &Config, _source: &Source) -> Result<(), StartError> {
    Ok(())
}

pub(super) fn changes(_before: &KeyTable, _now: &KeyTable) -> Vec<(String, Vec<(&'static str, String)>)> {
    Vec::new()
}
