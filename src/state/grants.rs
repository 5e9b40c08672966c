//! [`GrantFile`]: the override grants in the state directory, `grants.json`, so that a restart keeps them.
//!
//! 1. It holds the SHA-256 of each token and never a token: who reads it can use none.
//! 2. Who could write it could grant: it is taken only as a regular file of ours or root's that nobody else may read or write.
//! 3. What this version cannot understand whole (a newer version, half a file, an unknown member, terms that nobody could have been
//!    granted) is no grants: **none is valid**, and it is said loudly. A missing file is none too: so it is at the first start.
//! 4. It is written whole or not at all, and durably ([`replace`]). The next grant writes over a file that was not taken.
//!
//! Uses are counted in memory; [`keeper`](super::grant_keeper) says when they are written here.

use super::file::replace;
use crate::policy::grants::{GrantTable, Revoked, StoredGrant};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file, in the state directory.
pub const GRANTS_FILE: &str = "grants.json";

/// The version that is written and read.
const VERSION: u64 = 1;

/// Some times what the most grants with the longest reasons take.
const LARGEST: u64 = 1 << 20;

/// Where grants are kept.
#[derive(Debug, Clone)]
pub struct GrantFile {
    directory: PathBuf,
}

/// Why the grants that were kept are not taken.
#[derive(Debug, thiserror::Error)]
pub enum GrantFileFault {
    /// The system does not let us.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// Somebody else could have written it.
    #[error("{} may be read or written by others than its owner, or is not ours (uid {uid}, mode {mode:04o})", path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A later version of Countersign wrote it.
    #[error("{} was written by a newer version of Countersign", .0.display())]
    Newer(PathBuf),
    /// Half a file, or none of ours.
    #[error("{} holds no override grants: {why}", path.display())]
    Corrupt {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    grants: Vec<StoredGrant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<Revoked>,
}

impl GrantFile {
    /// In this directory.
    pub fn of(directory: &Path) -> GrantFile {
        GrantFile { directory: directory.to_owned() }
    }

    /// The grants that were kept. `now`: the wall clock, unix seconds, and the monotonic one.
    ///
    /// # Errors
    /// When there is a file, and it is not to be relied on: then no grant is valid.
    pub fn read(&self, now: (u64, Instant)) -> Result<GrantTable, GrantFileFault> {
        let path = self.path();
        match self.content() {
            Ok(text) => parse(&text, now).map_err(|fault| match fault {
                Fault::Newer => GrantFileFault::Newer(path),
                Fault::Corrupt(why) => GrantFileFault::Corrupt { path, why },
            }),
            Err(GrantFileFault::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Ok(GrantTable::default())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Writes this text of [`to_text`], whole or not at all.
    ///
    /// # Errors
    /// When the directory does not take it; the old file is then untouched.
    pub fn write(&self, text: &str) -> io::Result<()> {
        replace(&self.directory, GRANTS_FILE, text)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.join(GRANTS_FILE)
    }

    fn content(&self) -> Result<String, GrantFileFault> {
        let path = self.path();
        let unreadable = |error| GrantFileFault::Unreadable { path: path.clone(), error };
        // Without waiting, and through no link: what is there may be a FIFO, or lead elsewhere.
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Err(unreadable(io::Error::other("it is no regular file")));
        }
        let (uid, mode) = (found.uid(), found.mode() & 0o7777);
        if mode & 0o077 != 0 || ![rustix::process::geteuid().as_raw(), 0].contains(&uid) {
            return Err(GrantFileFault::Open { path, uid, mode });
        }
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).map_err(unreadable)?;
        Ok(text)
    }
}

/// Grants as they are written down.
pub fn to_text(table: &GrantTable) -> String {
    let grants = table.iter().map(|grant| StoredGrant::of(grant, grant.used())).collect();
    let stored = Stored { version: VERSION, grants, revoked: table.all_revoked().to_vec() };
    // What holds no map with odd keys and no float is always JSON.
    let mut text = serde_json::to_string(&stored).unwrap_or_default();
    text.push('\n');
    text
}

enum Fault {
    Newer,
    Corrupt(String),
}

fn parse(text: &str, now: (u64, Instant)) -> Result<GrantTable, Fault> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let corrupt = |error: serde_json::Error| Fault::Corrupt(error.to_string());
    let Version { version } = serde_json::from_str(text).map_err(corrupt)?;
    match version {
        VERSION => {}
        newer if newer > VERSION => return Err(Fault::Newer),
        none => return Err(Fault::Corrupt(format!("there is no version {none}"))),
    }
    let stored: Stored = serde_json::from_str(text).map_err(corrupt)?;
    let grants = stored.grants.into_iter().enumerate().map(|(place, grant)| {
        grant.made(now).ok_or_else(|| Fault::Corrupt(format!("entry {} is no grant", place + 1)))
    });
    let table = GrantTable::new(grants.collect::<Result<_, _>>()?);
    let table = table.map_err(|error| Fault::Corrupt(error.to_string()))?;
    if stored.revoked.iter().any(|revoked| revoked.id().is_none()) {
        return Err(Fault::Corrupt("an end of a grant names none".to_owned()));
    }
    Ok(stored.revoked.into_iter().fold(table, |table, revoked| table.remembering(revoked)))
}

#[cfg(test)]
mod tests;
