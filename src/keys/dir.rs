//! Keys in a directory: one file `ID.env` for each service that may call.
//!
//! A directory is loaded whole or not at all. Files that do not end in `.env`, and hidden ones (a key being written, what a
//! container's orchestrator keeps beside its files), are no key files; every other one must be good. All problems are collected, so
//! that one run tells all there is to mend; on a reload the keys in use stay until every problem is gone. Only those whose file is gone do
//! not ([`without_gone`]): a file that somebody else broke must not keep a revoked key valid.
//!
//! A directory that anyone may write to is refused as a whole, like an open key file: keys in it could be replaced.
//!
//! **The service's own key**, where `[service]` or the environment names one, is always read, and is what counts for that id: a
//! service may call itself through its own sidecar. Where the directory holds another key for the id, that is told.

use super::KeyTable;
use super::key_file::{KeyFile, KeyFileFault, service_of};
use super::secret_file::{SecretFileFault, SecretReader};
use super::write::key_path;
use crate::config::{KeySourceKind, Keys, OwnKey, ServiceIdentity};
use crate::signature::key::{Fingerprint, ServiceId, is_generated_form};
use std::collections::{HashMap, HashSet};
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
    /// The file that `key_file` or `SERVICE_KEY_FILE` names.
    Named(PathBuf),
    /// The variable `SERVICE_KEY`.
    Environment,
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPlace::Path(path) | KeyPlace::Named(path) => path.display().fmt(f),
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
    /// Anyone could replace keys in it.
    #[error("anyone may write to {} (mode {mode:04o}), and so replace keys ([keys].dir); run: chmod o-w {}", open.display(), open.display())]
    OpenDirectory {
        /// The directory itself or one above it.
        open: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
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

/// Good keys, and what a person should look at.
#[derive(Debug)]
pub struct LoadedKeys {
    /// The keys.
    pub table: KeyTable,
    /// In the order of the files.
    pub notes: Vec<KeyNote>,
}

/// Something about a good key that may not be meant. As text: never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNote {
    /// Whose key.
    pub id: ServiceId,
    /// Where it is.
    pub place: KeyPlace,
    /// What.
    pub what: KeyRemark,
}

/// What may not be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRemark {
    /// It is no text of the usual form.
    UnusualForm,
    /// The directory's key is not the one that is used.
    Overruled {
        /// The directory's.
        unused: Fingerprint,
        /// The one that was named.
        used: Fingerprint,
    },
}

impl fmt::Display for KeyNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            KeyRemark::UnusualForm => {
                write!(f, "the key of {} is not 64 lowercase hex digits; it is used as it stands", self.id)
            }
            KeyRemark::Overruled { unused, used } => write!(
                f,
                "this key of {} ({unused}) is not used: another one ({used}) was named for the service itself",
                self.id
            ),
        }
    }
}

/// Loads every key of `[keys].dir`, where files are a source, and this service's own key where one is named.
///
/// # Errors
/// Every problem of every file at once.
pub fn load(keys: &Keys, service: Option<&ServiceIdentity>) -> Result<LoadedKeys, Vec<KeyProblem>> {
    let reader = SecretReader::of_process();
    // A directory that is no source need not be there.
    let (found, mut problems) = match keys.sources.contains(&KeySourceKind::Files) {
        true => read_all(&reader, &keys.dir),
        false => Default::default(),
    };
    let mut notes = Vec::new();
    let mut table = HashMap::with_capacity(found.len());
    let unusual = |id: &ServiceId, place: KeyPlace, file: &KeyFile| {
        let what = KeyRemark::UnusualForm;
        (!is_generated_form(&file.text)).then(|| KeyNote { id: id.clone(), place, what })
    };
    let own = match service {
        // The directory's key for it is among the others.
        Some(service) if !matches!(service.key, OwnKey::Directory | OwnKey::Redis) => own_key(keys, service),
        Some(_) | None => Ok(None),
    };
    let own = own.unwrap_or_else(|problem| {
        // A file of the directory that is named as well is told of once.
        problems.retain(|other| !problem.place.is_file(&other.place));
        problems.push(problem);
        None
    });
    for DirectoryKey { id, path, file } in found {
        match &own {
            Some(own) if service.is_some_and(|service| service.id == id) => {
                let (unused, used) = (file.key.fingerprint(), own.key.fingerprint());
                if unused != used {
                    notes.push(KeyNote {
                        id,
                        place: KeyPlace::Path(path),
                        what: KeyRemark::Overruled { unused, used },
                    });
                }
            }
            Some(_) | None => {
                notes.extend(unusual(&id, KeyPlace::Path(path), &file));
                table.insert(id, file.into_keys());
            }
        }
    }
    if let (Some(service), Some(own)) = (service, own) {
        notes.extend(unusual(&service.id, own_place(service), &own));
        table.insert(service.id.clone(), own.into_keys());
    }
    if problems.is_empty() { Ok(LoadedKeys { table: KeyTable::new(table), notes }) } else { Err(problems) }
}

/// Where the key that was named for the service itself is.
fn own_place(service: &ServiceIdentity) -> KeyPlace {
    match &service.key {
        OwnKey::File(path) => KeyPlace::Named(path.clone()),
        OwnKey::Environment(_) | OwnKey::Redis | OwnKey::Directory => KeyPlace::Environment,
    }
}

impl KeyPlace {
    fn path(&self) -> Option<&Path> {
        match self {
            KeyPlace::Path(path) | KeyPlace::Named(path) => Some(path),
            KeyPlace::Environment => None,
        }
    }

    /// Are both the same file?
    fn is_file(&self, other: &KeyPlace) -> bool {
        let (Some(one), Some(other)) = (self.path(), other.path()) else { return false };
        one == other
            || std::fs::canonicalize(one).is_ok_and(|one| std::fs::canonicalize(other).is_ok_and(|o| o == one))
    }
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
    let open = match reader.open_to_all(directory) {
        Ok(open) => open,
        Err(error) => {
            problems
                .push(KeyProblem { place: KeyPlace::Path(directory.to_owned()), fault: KeyFault::Directory(error) });
            None
        }
    };
    if let Some((open, mode)) = open.clone() {
        let fault = KeyFault::OpenDirectory { open, mode };
        problems.push(KeyProblem { place: KeyPlace::Path(directory.to_owned()), fault });
    }
    for path in paths {
        match read_one(reader, &path) {
            Ok((id, file)) => keys.push(DirectoryKey { id, path, file }),
            // Told of the directory itself: one problem, not one for each of its files.
            Err(KeyFileFault::File(SecretFileFault::WritableByAll { directory, mode }))
                if open.as_ref() == Some(&(directory.clone(), mode)) => {}
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

/// The keys of a directory that cannot be loaded, without those whose file is gone; `None`: none is, or nobody can tell.
pub fn without_gone(keys: &Keys, service: Option<&ServiceIdentity>, table: &KeyTable) -> Option<KeyTable> {
    // What another source gave needs no file.
    if table.is_followed() || !keys.sources.contains(&KeySourceKind::Files) {
        return None;
    }
    let own = service.filter(|service| matches!(service.key, OwnKey::File(_) | OwnKey::Environment(_)));
    let files = key_files(&keys.dir).ok()?;
    let there: HashSet<ServiceId> = files.iter().filter_map(|path| service_of(path).ok()).collect();
    let stays = |id: &ServiceId| there.contains(id) || own.is_some_and(|own| own.id == *id);
    let left: HashMap<_, _> =
        table.iter().filter(|(id, _)| stays(id)).map(|(id, keys)| (id.clone(), keys.clone())).collect();
    (left.len() < table.len()).then(|| KeyTable::new(left))
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
        // Redis is asked elsewhere.
        OwnKey::Redis => return Ok(None),
        OwnKey::Environment(text) => {
            let text: &Zeroizing<String> = text;
            let fault = |fault: KeyFileFault| KeyProblem { place: KeyPlace::Environment, fault: fault.into() };
            return KeyFile::of_key(text.trim_ascii()).map(Some).map_err(fault);
        }
    };
    let file = KeyFile::read(&SecretReader::of_process(), &path);
    let of_it = |file: KeyFile| if named { file.is_of(&service.id) } else { file.belongs_to(&service.id) };
    match file.and_then(of_it) {
        Ok(file) => Ok(Some(file)),
        Err(KeyFileFault::File(SecretFileFault::Missing)) if !named => Ok(None),
        Err(fault) => {
            let place = if named { KeyPlace::Named(path) } else { KeyPlace::Path(path) };
            Err(KeyProblem { place, fault: fault.into() })
        }
    }
}

#[cfg(test)]
mod tests;
