//! Whose keys can be read here, and how long they last.

use super::judge::{Judgement, Row};
use crate::cli::args::ConfigArgs;
use crate::cli::key_source::{self, KeyPlace};
use crate::cli::keys::list::time_left;
use crate::cli::output::CliError;
use crate::clock;
use crate::config::Config;
use crate::keys::key_file::{KeyFile, service_of};
use crate::keys::record::KeyRecord;
use crate::keys::secret_file::SecretReader;
use crate::signature::key::{ServiceId, ServiceKey};
use std::path::Path;
use std::time::Duration;

/// The keys that calls can be signed with.
#[derive(Default)]
pub(super) struct Ring {
    keys: Vec<(ServiceId, ServiceKey)>,
    ids: Vec<ServiceId>,
    /// What could not be read, and why.
    pub(super) problems: Vec<String>,
}

impl Ring {
    /// Whose keys there are.
    pub(super) fn ids(&self) -> &[ServiceId] {
        &self.ids
    }

    pub(super) fn key(&self, id: &ServiceId) -> Option<&ServiceKey> {
        self.keys.iter().find(|(other, _)| other == id).map(|(_, key)| key)
    }

    fn add(&mut self, id: ServiceId, key: ServiceKey) {
        if !self.ids.contains(&id) {
            self.ids.push(id.clone());
            self.keys.push((id, key));
        }
    }

    fn store(&mut self, id: ServiceId, record: &KeyRecord) {
        match ServiceKey::from_text(record.current.reveal()) {
            Ok(key) => self.add(id, key),
            Err(error) => self.problems.push(format!("{id}: {error}")),
        }
    }
}

/// Every key that this machine can read: the named file, this machine's own, those of the configuration's stores. What cannot be
/// read is no error: then those callers are not tried.
pub(super) fn gather(
    file: Option<(&Path, Option<ServiceId>)>,
    args: &ConfigArgs,
    config: &Config,
) -> Result<Ring, CliError> {
    let mut ring = Ring::default();
    if let Some((path, wanted)) = file {
        let (id, key) = from_file(path, wanted)?;
        ring.add(id, key);
    }
    if let Some(service) = &config.service {
        match key_source::signing_key(&config.keys, service) {
            Ok(Some(key)) => ring.add(service.id.clone(), key),
            Ok(None) => {}
            Err(error) => ring.problems.push(error.to_string()),
        }
    }
    let place = KeyPlace::of(None, args)?;
    let listed = key_source::block_on(async {
        match (place.store.list().await, place.files()) {
            // As in the sidecar: files are asked where Redis cannot be reached.
            (Err(fault), Some(files)) if fault.is_outage() => {
                Ok((files.list().await.unwrap_or_default(), Some(fault.to_string())))
            }
            (Ok(found), _) => Ok((found, None)),
            (Err(fault), _) => Ok((Vec::new(), Some(fault.to_string()))),
        }
    })?;
    ring.problems.extend(listed.1);
    for (id, record) in listed.0 {
        match record {
            Ok(record) => ring.store(id, &record),
            Err(fault) => ring.problems.push(fault.to_string()),
        }
    }
    Ok(ring)
}

/// The id is the one asked for, the one the file says, or the one it is named for.
fn from_file(path: &Path, wanted: Option<ServiceId>) -> Result<(ServiceId, ServiceKey), CliError> {
    let fault = |fault| CliError::Usage(format!("{}: {fault}", path.display()));
    let file = KeyFile::read(&SecretReader::of_process(), path).map_err(fault)?;
    let id = match (wanted, &file.id) {
        (Some(id), _) => id,
        (None, Some(id)) => id.clone(),
        (None, None) => service_of(path).map_err(|_| {
            CliError::Usage(format!("{}: does not say whose key it is; add --service ID", path.display()))
        })?,
    };
    Ok((id.clone(), file.is_of(&id).map_err(fault)?.key))
}

/// Less than this is a failure: the fleet's critical mark.
const CRITICAL: Duration = Duration::from_secs(14 * 86_400);

/// A row for each service in use: how long its key lasts, as `keys list` finds it.
pub(super) fn time_to_live(args: &ConfigArgs, ids: &[ServiceId]) -> Result<Vec<Row>, CliError> {
    const CHECK: &str = "key";
    let place = KeyPlace::of(None, args)?;
    let found = key_source::block_on(time_left(&place, ids, CRITICAL, clock::unix_seconds()));
    let rows = match found {
        Ok(rows) => rows,
        // The system may be in order; from here nobody can tell.
        Err(error) => {
            return Ok(vec![Row::plain(CHECK, &place.store.place(), Judgement::Unknown, error.to_string())]);
        }
    };
    let row = |id: &ServiceId, left: Result<String, String>| match left {
        Ok(left) => Row::plain(CHECK, id.as_str(), Judgement::Passed, left),
        Err(problem) => Row::plain(CHECK, id.as_str(), Judgement::Failed, problem),
    };
    Ok(rows.into_iter().map(|key| row(&key.id, key.left)).collect())
}
