//! [`DirectoryStore`]: keys in a directory, one `ID.env` for each.
//!
//! A change is one file written anew and renamed into place: 0600, owned as before, with every line that is not ours as it was. Running
//! sidecars watch the directory. What they verified and what they take now stands in the state directory of the one on this machine;
//! another one that reads the same files is not known, which is why a rotation also waits a while.
//!
//! A key file that is a link is read and not written: what it leads to may be shared by others.

use super::lock::LockFile;
use super::{Awareness, Listed, StoreFault};
use crate::keys::dir::{self, DirectoryKey, KeyFault, KeyPlace, KeyProblem};
use crate::keys::env_file;
use crate::keys::key_file::{KeyFile, KeyFileFault, SecondKey, names};
use crate::keys::record::{KeyRecord, KeyText, Next, Previous};
use crate::keys::secret_file::{SecretFileFault, SecretReader};
use crate::keys::usage::{ServiceUsage, file};
use crate::keys::write::{self, WriteFault, key_path};
use crate::signature::key::{Fingerprint, KeyTextError, ServiceId};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Keys in a directory.
#[derive(Debug)]
pub struct DirectoryStore {
    path: PathBuf,
    state_dir: Option<PathBuf>,
}

impl DirectoryStore {
    /// The keys of this directory. `state_dir`: of the sidecar on this machine that uses them.
    pub const fn new(path: PathBuf, state_dir: Option<PathBuf>) -> DirectoryStore {
        DirectoryStore { path, state_dir }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn list(&self) -> Result<Vec<Listed>, StoreFault> {
        let (keys, problems) = dir::read_all(&SecretReader::of_process(), &self.path);
        let mut all: Vec<Listed> = Vec::new();
        for problem in problems {
            let id = match (&problem.place, &problem.fault) {
                (KeyPlace::Path(path), KeyFault::File(_)) => crate::keys::key_file::service_of(path).ok(),
                _ => return Err(problem.into()),
            };
            match id {
                Some(id) => all.push((id, Err(problem.into()))),
                // Whose key should be in it is unknown; the sidecar refuses it too.
                None => return Err(problem.into()),
            }
        }
        for DirectoryKey { id, path, file } in keys {
            let record = record(&path, file);
            all.push((id, record));
        }
        all.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(all)
    }

    pub(super) fn read(&self, id: &ServiceId) -> Result<Option<KeyRecord>, StoreFault> {
        let path = key_path(&self.path, id);
        match KeyFile::read(&SecretReader::of_process(), &path).and_then(|file| file.belongs_to(id)) {
            Ok(file) => record(&path, file).map(Some),
            Err(KeyFileFault::File(SecretFileFault::Missing)) if path.symlink_metadata().is_err() => {
                self.must_be_there().map(|()| None)
            }
            Err(fault) => Err(KeyProblem { place: KeyPlace::Path(path), fault: fault.into() }.into()),
        }
    }

    pub(super) fn create(&self, id: &ServiceId, key: &KeyText, now: u64, replace: bool) -> Result<(), StoreFault> {
        write::make_directory(&self.path)?;
        let _lock = self.lock()?;
        match write::write(&self.path, id, key.reveal(), Some(now), replace) {
            Ok(_) => Ok(()),
            Err(WriteFault::Exists(path)) => {
                Err(StoreFault::Exists { id: id.clone(), place: path.display().to_string() })
            }
            Err(fault) => Err(fault.into()),
        }
    }

    pub(super) fn swap(&self, id: &ServiceId, before: &KeyRecord, after: &KeyRecord) -> Result<bool, StoreFault> {
        let path = key_path(&self.path, id);
        if path.is_symlink() {
            return Err(StoreFault::Link(path));
        }
        let _lock = self.lock()?;
        match self.read(id)? {
            Some(there) if there.has_keys_of(before) => {}
            Some(_) | None => return Ok(false),
        }
        let problem = |fault: KeyFileFault| KeyProblem { place: KeyPlace::Path(path.clone()), fault: fault.into() };
        let text = SecretReader::of_process().read(&path).map_err(|fault| problem(fault.into()))?;
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let (until, since) = (after.previous.as_ref().map(|p| p.until), after.next.as_ref().map(|n| n.since));
        let (made, until, since) = (number(after.made), number(until), number(since));
        let text = env_file::rewritten(
            &text,
            &[
                (names::KEY, Some(after.current.reveal())),
                (names::MADE, made.as_deref()),
                (names::PREVIOUS, after.previous.as_ref().map(|previous| previous.key.reveal())),
                (names::PREVIOUS_UNTIL, until.as_deref()),
                (names::NEXT, after.next.as_ref().map(|next| next.key.reveal())),
                (names::NEXT_SINCE, since.as_deref()),
            ],
        );
        let io = |error| StoreFault::Io { action: "write", path: path.clone(), error };
        let owner = std::fs::symlink_metadata(&path).map(|found| (found.uid(), found.gid())).map_err(io)?;
        write::private_file(&path, &text, Some(owner)).map_err(io)?;
        Ok(true)
    }

    /// Also where the file holds no key: what is there is taken away.
    pub(super) fn revoke(&self, id: &ServiceId) -> Result<bool, StoreFault> {
        let path = key_path(&self.path, id);
        let io = |error| StoreFault::Io { action: "remove", path: path.clone(), error };
        self.must_be_there()?;
        let _lock = self.lock()?;
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(io(error)),
        }
        // A revoked key must not come back after a power cut.
        std::fs::File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(io)?;
        Ok(true)
    }

    /// `None`: no sidecar is known that would tell.
    pub(super) fn usage(&self, id: &ServiceId) -> Result<Option<ServiceUsage>, StoreFault> {
        let Some(state_dir) = &self.state_dir else { return Ok(None) };
        match file::read_usage(state_dir) {
            Ok(_) if !file::has_run(state_dir) => Ok(None),
            Ok(mut usage) => Ok(Some(usage.remove(id).unwrap_or_default())),
            Err(error) => Err(StoreFault::Io { action: "read", path: state_dir.join(file::USAGE), error }),
        }
    }

    pub(super) fn awareness(&self, id: &ServiceId, next: Fingerprint) -> Awareness {
        let Some(state_dir) = &self.state_dir else { return Awareness::default() };
        match file::in_use(state_dir, id) {
            None => Awareness::default(),
            Some(keys) if keys.contains(&next) => Awareness { running: 1, unaware: Vec::new() },
            Some(_) => Awareness { running: 1, unaware: vec!["the sidecar on this machine".to_owned()] },
        }
    }

    pub(super) fn lease(&self, id: &ServiceId) -> Result<LockFile, StoreFault> {
        self.must_be_there()?;
        let path = self.path.join(format!(".{id}.rotation"));
        match LockFile::attempt(&path) {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(StoreFault::Leased(id.clone())),
            Err(error) => Err(StoreFault::Io { action: "lock", path, error }),
        }
    }

    fn must_be_there(&self) -> Result<(), StoreFault> {
        if self.path.is_dir() {
            return Ok(());
        }
        let place = KeyPlace::Path(self.path.clone());
        Err(KeyProblem { place, fault: KeyFault::NoDirectory }.into())
    }

    /// Nobody else changes a file of this directory; for milliseconds.
    fn lock(&self) -> Result<LockFile, StoreFault> {
        let path = self.path.join(".change");
        LockFile::wait(&path).map_err(|error| StoreFault::Io { action: "lock", path, error })
    }
}

/// What a file says. A key whose file does not say when it was made is as old as its file, or older.
fn record(path: &Path, file: KeyFile) -> Result<KeyRecord, StoreFault> {
    let not_a_key = |name: &'static str| {
        move |error: KeyTextError| {
            let fault = KeyFileFault::NotAKey { name, error };
            StoreFault::from(KeyProblem { place: KeyPlace::Path(path.to_owned()), fault: fault.into() })
        }
    };
    let changed = || {
        let modified = std::fs::metadata(path).and_then(|found| found.modified()).ok()?;
        modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
    };
    let second = |second: Option<SecondKey>, name| {
        let key = |second: SecondKey| -> Result<_, StoreFault> {
            Ok((KeyText::parse(&second.text).map_err(not_a_key(name))?, second.at))
        };
        second.map(key).transpose()
    };
    Ok(KeyRecord {
        current: KeyText::parse(&file.text).map_err(not_a_key(names::KEY))?,
        made: file.made.or_else(changed),
        expires: None,
        previous: second(file.previous, names::PREVIOUS)?.map(|(key, until)| Previous { key, until }),
        next: second(file.next, names::NEXT)?.map(|(key, since)| Next { key, since }),
    })
}
