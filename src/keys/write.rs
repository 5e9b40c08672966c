//! Writing key files: whole or not at all, for one reader, never over another key by accident.
//!
//! 1. A new hidden file in the same directory, mode 0600 from its first moment, and on disk before it has its name.
//! 2. It takes the name of the key file in one step that fails if there is one already; with `replace`, in its place. Nobody
//!    ever reads half a key, and of two writers at once one loses and is told so.
//!
//! Root writes on behalf of whoever owns the directory: the files go to the directory's owner. A directory that root
//! makes itself goes to the user `countersign`, where there is one.

use super::record::KeyText;
use crate::clock;
use crate::signature::key::{Fingerprint, ServiceId, ServiceKey};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A key file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Whose key.
    pub id: ServiceId,
    /// Where.
    pub path: PathBuf,
    /// Which.
    pub fingerprint: Fingerprint,
}

/// Why a key was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteFault {
    /// There is one.
    #[error("{} is there already and was not touched; replace it with --force", .0.display())]
    Exists(PathBuf),
    /// The system does not let us.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
}

/// Makes a new key: 256 bits from the kernel, written as 64 lowercase hex digits.
///
/// # Errors
/// When the key file cannot be written; without `replace`, also when there is one.
pub fn generate(directory: &Path, id: &ServiceId, replace: bool) -> Result<Written, WriteFault> {
    let key = KeyText::generate().map_err(|error| WriteFault::Io {
        action: "take random bytes for",
        path: key_path(directory, id),
        error,
    })?;
    write(directory, id, key.reveal(), Some(clock::unix_seconds()), replace)
}

/// Writes `ID.env` with this key, made at this time where that is known; makes the directory (0700) where it is missing.
///
/// # Errors
/// As [`generate`]; also when the text is no key.
pub fn write(
    directory: &Path,
    id: &ServiceId,
    key: &str,
    made: Option<u64>,
    replace: bool,
) -> Result<Written, WriteFault> {
    let path = key_path(directory, id);
    let io = |action, error| WriteFault::Io { action, path: path.clone(), error };
    let fingerprint = ServiceKey::from_text(key).map_err(|error| io("write", io::Error::other(error)))?.fingerprint();
    make_directory(directory)?;
    let temporary = directory.join(format!(".{id}.env.{}.new", std::process::id()));
    let made = made.map(|made| format!("SERVICE_KEY_MADE={made}\n")).unwrap_or_default();
    let text = Zeroizing::new(format!(
        "# Key of the service {id}. Whoever can read this can call in its name: mode 600.\nSERVICE_ID={id}\n\
         SERVICE_KEY={key}\n{made}"
    ));
    let placed = fill(&temporary, directory, None, &text).map_err(|error| io("write", error)).and_then(|()| {
        place(&temporary, &path, replace).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => WriteFault::Exists(path.clone()),
            _ => io("write", error),
        })
    });
    if let Err(fault) = placed {
        // Only tidying up: the fault that is reported matters more.
        let _ = std::fs::remove_file(&temporary);
        return Err(fault);
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| io("write", error))?;
    Ok(Written { id: id.clone(), path, fingerprint })
}

/// Writes a private file (0600) in one step, in the place of another if there is one. `owner`: whose it is to be, where we may say so.
///
/// # Errors
/// When the system does not let us; what was there is then untouched.
pub fn private_file(path: &Path, text: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().display();
    let temporary = directory.join(format!(".{name}.{}.new", std::process::id()));
    let placed = fill(&temporary, directory, owner, text).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = placed {
        // Only tidying up: the fault that is reported matters more.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// Where the key of a service is kept.
pub fn key_path(directory: &Path, id: &ServiceId) -> PathBuf {
    directory.join(format!("{id}.env"))
}

fn fill(temporary: &Path, directory: &Path, owner: Option<(u32, u32)>, text: &str) -> io::Result<()> {
    match std::fs::remove_file(temporary) {
        // Left by a process of this number that was killed half-way.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = match owner {
            Some(owner) => owner,
            None => std::fs::metadata(directory).map(|holder| (holder.uid(), holder.gid()))?,
        };
        if (uid, gid) != (0, 0) {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn place(temporary: &Path, path: &Path, replace: bool) -> io::Result<()> {
    if replace {
        return std::fs::rename(temporary, path);
    }
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that cannot do it in one step; a link can.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(temporary, path)?;
            std::fs::remove_file(temporary)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes a key directory (0700) where it is missing.
///
/// # Errors
/// When the system does not let us.
pub fn make_directory(directory: &Path) -> Result<(), WriteFault> {
    if directory.is_dir() {
        return Ok(());
    }
    let io = |action, error| WriteFault::Io { action, path: directory.to_owned(), error };
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(|error| io("make", error))?;
    }
    DirBuilder::new().mode(0o700).create(directory).map_err(|error| io("make", error))?;
    if rustix::process::geteuid().is_root()
        && let Some((uid, gid)) = service_user()
    {
        std::os::unix::fs::chown(directory, Some(uid), Some(gid)).map_err(|error| io("hand over", error))?;
    }
    Ok(())
}

/// The user that the service runs as, from the local user list (no directory service is asked).
fn service_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == "countersign").then_some(())?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        Some((uid.parse().ok()?, gid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests;
