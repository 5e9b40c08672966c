//! [`LockFile`]: one at a time in a directory, by the kernel's lock on a hidden file there.
//!
//! The lock is what counts, not the file: a crash gives it back. The file goes with the lock, so that nothing is left lying in a
//! directory of keys; whoever waited for it looks whether the file it locked is still the one of that name.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A lock that is ours until it is dropped.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    _file: File,
}

impl LockFile {
    /// Waits for the lock: for steps that take milliseconds.
    pub(super) fn wait(path: &Path) -> io::Result<LockFile> {
        loop {
            let file = open(path)?;
            file.lock()?;
            if is_still_there(&file, path)? {
                return Ok(LockFile { path: path.to_owned(), _file: file });
            }
        }
    }

    /// The lock, unless somebody else has it.
    pub(super) fn attempt(path: &Path) -> io::Result<Option<LockFile>> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if is_still_there(&file, path)? {
                return Ok(Some(LockFile { path: path.to_owned(), _file: file }));
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Only tidying up, while the lock is still ours.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Root may have to do with a directory that belongs to the service: what root leaves behind after a crash must be the service's to open.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if rustix::process::geteuid().is_root()
        && let Some(directory) = path.parent()
    {
        let holder = std::fs::metadata(directory)?;
        std::os::unix::fs::fchown(&file, Some(holder.uid()), Some(holder.gid()))?;
    }
    Ok(file)
}

fn is_still_there(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_the_next_one_gets_it_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".a.lock");
        let held = LockFile::attempt(&path).unwrap().unwrap();
        assert!(LockFile::attempt(&path).unwrap().is_none());
        drop(held);
        drop(LockFile::attempt(&path).unwrap().unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn of_many_that_wait_one_has_it_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".a.lock");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let held = LockFile::wait(&path).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_stands_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".a.lock");
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert!(LockFile::wait(&path).is_err());
        assert!(!directory.path().join("elsewhere").exists());
    }
}
