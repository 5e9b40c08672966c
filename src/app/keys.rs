//! The keys of one configuration: loaded whole or not at all, made at the first start where nobody brought any, and what
//! a reload changed about them.

use super::start::StartError;
use crate::config::Config;
use crate::keys::{KeyTable, dir, write};
use crate::signature::key::{Fingerprint, ServiceId, ServiceKeys};
use crate::signature::signer::Signer;
use crate::telemetry::audit::Fact;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Whose key is made at the first start with flags alone.
const FIRST_CALLER: &str = "caller";

/// Loads every key the configuration names.
pub(super) fn load(config: &Config) -> Result<KeyTable, StartError> {
    dir::load(&config.keys, config.service.as_ref())
        .map(|loaded| loaded.table)
        .map_err(|problems| StartError::Keys(problems.iter().map(ToString::to_string).collect()))
}

/// What leaves this VM is signed with; `None` where nothing leaves through this sidecar.
pub(super) fn signer(config: &Config) -> Result<Option<Signer>, StartError> {
    let missing = |what: String| StartError::Keys(vec![what]);
    let Some(service) = config.service.as_ref().filter(|_| !config.outbound.is_empty()) else { return Ok(None) };
    let file = dir::own_key(&config.keys, service).map_err(|problem| missing(problem.to_string()))?;
    let file = file.ok_or_else(|| {
        missing(format!(
            "{}: there is no key of {}, which signs what leaves; run: countersign keys generate {}",
            config.keys.dir.display(),
            service.id,
            service.id
        ))
    })?;
    Ok(Some(Signer { id: service.id.clone(), key: Arc::new(file.key) }))
}

/// With flags alone nobody has brought keys yet: the first start makes one, so that there is something to sign with.
/// Where somebody named a directory nothing is made: an empty one is then more likely a mistake. Was one made?
pub(super) fn make_first(config: &Config) -> Result<bool, StartError> {
    if !config.keys.make_on_start {
        return Ok(false);
    }
    let directory = &config.keys.dir;
    let wanting = match dir::key_files(directory) {
        Ok(files) => files.is_empty(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let Some(id) = ServiceId::parse(FIRST_CALLER).filter(|_| wanting) else { return Ok(false) };
    let written =
        write::generate(directory, &id, false).map_err(|fault| StartError::Keys(vec![fault.to_string()]))?;
    tracing::info!(
        service = FIRST_CALLER,
        file = %written.path.display(),
        fingerprint = %written.fingerprint,
        "no keys yet: made one for a first caller"
    );
    Ok(true)
}

/// What a reload changed: why, with the facts for the record. Fingerprints, never keys.
pub(super) fn changes(before: &KeyTable, now: &KeyTable) -> Vec<(&'static str, Vec<(&'static str, Fact)>)> {
    let (before, now) = (fingerprints(before), fingerprints(now));
    let ids: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    ids.into_iter()
        .filter_map(|id| {
            let (old, new) = (before.get(id), now.get(id));
            let why = match (old, new) {
                (None, Some(_)) => "a key came",
                (Some(_), None) => "a key went",
                (old, new) if old != new => "a key changed",
                _ => return None,
            };
            let facts = [
                ("key_of", Some(id.to_string())),
                ("fingerprint_before", old.cloned()),
                ("fingerprint", new.cloned()),
            ];
            Some((why, facts.into_iter().filter_map(|(name, value)| Some((name, value?.into()))).collect()))
        })
        .collect()
}

fn fingerprints(table: &KeyTable) -> BTreeMap<&ServiceId, String> {
    let shown = |keys: &ServiceKeys| {
        keys.iter().map(|key| key.fingerprint()).map(|key: Fingerprint| key.to_string()).collect::<Vec<_>>().join(" ")
    };
    table.iter().map(|(id, keys)| (id, shown(keys))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::key::ServiceKey;

    fn table(keys: &[(&str, &str)]) -> KeyTable {
        let key = |fill: &str| ServiceKeys::single(ServiceKey::from_text(&fill.repeat(64)).unwrap());
        KeyTable::new(keys.iter().map(|(id, fill)| (ServiceId::parse(id).unwrap(), key(fill))).collect())
    }

    #[test]
    fn keys_that_came_changed_and_went_are_told_apart() {
        let before = table(&[("stays", "a"), ("changes", "b"), ("goes", "c")]);
        let now = table(&[("stays", "a"), ("changes", "d"), ("comes", "e")]);
        let told: Vec<_> =
            changes(&before, &now).into_iter().map(|(why, facts)| (why, facts[0].1.clone(), facts.len())).collect();
        let wanted = [("a key changed", "changes", 3), ("a key came", "comes", 2), ("a key went", "goes", 2)];
        assert_eq!(told, wanted.map(|(why, id, facts)| (why, Fact::from(id), facts)));
        assert_eq!(changes(&now, &now), vec![]);
    }
}
