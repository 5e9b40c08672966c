//! Keys in a directory: one file `ID.env` for each service that may call.
//!
//! A directory is loaded whole or not at all. Files that do not end in `.env`, and hidden ones (a key being written, what a
//! container's orchestrator keeps beside its files), are no key files; every other one must be good. All problems are collected, so
//! that one run tells all there is to mend; on a reload the keys in use stay until every problem is gone.
//!
//! **The service's own key** (`[service]`) is added to what verifies where the directory has none for that id: a service
//! may call itself through its own sidecar. Where the directory has one, that alone counts.

use super::KeyTable;
use super::key_file::{KeyFile, KeyFileFault, service_of};
use super::secret_file::{SecretFileFault, SecretReader};
use super::write::key_path;
use crate::config::{Keys, OwnKey, ServiceIdentity};
use crate::signature::key::{ServiceId, ServiceKeys};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What is wrong with a key, where, and what to do. As text: place, problem, fix; never a secret.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct KeyProblem {
    /// Where.
    pub place: KeyPlace,
    /// What.
    pub fault: KeyFault,
}

/// Where a key was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// A file or directory.
    Path(PathBuf),
    /// The variable `SERVICE_KEY`.
    Environment,
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPlace::Path(path) => path.display().fmt(f),
            KeyPlace::Environment => f.write_str("environment"),
        }
    }
}

/// What is wrong with a key or a directory of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// A file gives no key.
    #[error(transparent)]
    File(#[from] KeyFileFault),
    /// There is no such directory.
    #[error(
        "there is no such directory ([keys].dir); make it with `countersign keys generate ID` or `countersign keys \
         import`"
    )]
    NoDirectory,
    /// It cannot be listed.
    #[error("cannot list the directory ([keys].dir): {0}")]
    Directory(io::Error),
}

/// A key of a directory, with its text.
pub struct DirectoryKey {
    /// Whose.
    pub id: ServiceId,
    /// From where.
    pub path: PathBuf,
    /// What the file says.
    pub file: KeyFile,
}

/// Loads every key of `[keys].dir`, and this service's own key where the directory has none for it.
///
/// # Errors
/// Every problem of every file at once.
pub fn load(keys: &Keys, service: Option<&ServiceIdentity>) -> Result<KeyTable, Vec<KeyProblem>> {
    let reader = SecretReader::of_process();
    let (found, mut problems) = read_all(&reader, &keys.dir);
    let mut table: HashMap<ServiceId, ServiceKeys> =
        found.into_iter().map(|key| (key.id, ServiceKeys::single(key.file.key))).collect();
    if let Some(service) = service
        && !table.contains_key(&service.id)
    {
        match own_key(keys, service) {
            Ok(Some(file)) => {
                table.insert(service.id.clone(), ServiceKeys::single(file.key));
            }
            Ok(None) => {}
            // What the directory holds for this service has been reported already.
            Err(_) if service.key == OwnKey::Directory => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(KeyTable::new(table)) } else { Err(problems) }
}

/// Reads every key file of a directory, in the order of their names, and every problem met on the way.
pub fn read_all(reader: &SecretReader, directory: &Path) -> (Vec<DirectoryKey>, Vec<KeyProblem>) {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    let paths = match key_files(directory) {
        Ok(paths) => paths,
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let fault = if missing { KeyFault::NoDirectory } else { KeyFault::Directory(error) };
            problems.push(KeyProblem { place: KeyPlace::Path(directory.to_owned()), fault });
            return (keys, problems);
        }
    };
    for path in paths {
        match read_one(reader, &path) {
            Ok((id, file)) => keys.push(DirectoryKey { id, path, file }),
            Err(fault) => problems.push(KeyProblem { place: KeyPlace::Path(path), fault: fault.into() }),
        }
    }
    (keys, problems)
}

/// The key files of a directory, in the order of their names.
///
/// # Errors
/// When it cannot be listed.
pub fn key_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
        if name.ends_with(b".env") && !name.starts_with(b".") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_one(reader: &SecretReader, path: &Path) -> Result<(ServiceId, KeyFile), KeyFileFault> {
    let id = service_of(path)?;
    let file = KeyFile::read(reader, path)?.belongs_to(&id)?;
    Ok((id, file))
}

/// This service's own key: what it signs with. `None` when it was not said where, and the directory has none.
///
/// # Errors
/// When it cannot be read, may not be trusted, or is none.
pub fn own_key(keys: &Keys, service: &ServiceIdentity) -> Result<Option<KeyFile>, KeyProblem> {
    let (path, named) = match &service.key {
        OwnKey::File(path) => (path.clone(), true),
        OwnKey::Directory => (key_path(&keys.dir, &service.id), false),
        OwnKey::Environment(text) => {
            let text: &Zeroizing<String> = text;
            let fault = |fault: KeyFileFault| KeyProblem { place: KeyPlace::Environment, fault: fault.into() };
            return KeyFile::of_key(text.trim_ascii()).map(Some).map_err(fault);
        }
    };
    match KeyFile::read(&SecretReader::of_process(), &path).and_then(|file| file.belongs_to(&service.id)) {
        Ok(file) => Ok(Some(file)),
        Err(KeyFileFault::File(SecretFileFault::Missing)) if !named => Ok(None),
        Err(fault) => Err(KeyProblem { place: KeyPlace::Path(path), fault: fault.into() }),
    }
}

#[cfg(test)]
mod tests;
