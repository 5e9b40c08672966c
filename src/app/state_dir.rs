//! [`StateDir`]: the directory that belongs to one running sidecar, held by a lock for the life of the process.
//!
//! The lock is the kernel's (`flock`), not the file's existence: it cannot be left behind by a crash. What stands in the
//! file only tells a second instance whom it met.

use crate::clock;
use data_encoding::HEXLOWER;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A state directory that is ours until this value is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another instance has it.
    #[error(
        "{holder} uses the state directory {}; stop that one, or give this one a directory of its own (`state_dir`, \
         --state-dir)", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as it says.
        holder: String,
    },
    /// It cannot be made, opened or written.
    #[error("cannot {action} {}: {error}; {hint}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The salt is not what was written.
    #[error(
        "{} does not hold 64 hex digits; restore it, or remove it for a new one (which requests are refused at a \
         percentage below 100 is then drawn anew)", path.display()
    )]
    SaltCorrupt {
        /// The file.
        path: PathBuf,
    },
}

const HINT: &str = "it must be a directory that this user may write to (`state_dir`, --state-dir)";

impl StateDir {
    /// Makes the directory if it is missing (0700) and takes its lock.
    ///
    /// # Errors
    /// When it is in use, or cannot be made or written.
    pub fn hold(path: &Path) -> Result<StateDir, StateDirError> {
        let io = |action, path: &Path, error| StateDirError::Io { action, path: path.to_owned(), error, hint: HINT };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| io("make the state directory", path, error))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| io("open", &lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateDirError::InUse { path: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", &lock_path, error)),
        }
        let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(|error| io("write", &lock_path, error))?;
        Ok(StateDir { path: path.to_owned(), _lock: lock })
    }

    /// Is there state of an earlier start? Asked before [`salt`](StateDir::salt), which the first start makes.
    pub fn is_used(&self) -> bool {
        self.path.join("salt").exists()
    }

    /// The sampling salt: made once, then the same for ever, so that a draw is the same after every restart.
    ///
    /// # Errors
    /// When it can be neither read nor made, or is not what was once written.
    pub fn salt(&self) -> Result<[u8; 32], StateDirError> {
        let path = self.path.join("salt");
        let io = |action, error| StateDirError::Io { action, path: path.clone(), error, hint: HINT };
        match std::fs::read(&path) {
            Ok(text) => {
                self.narrow(&path).map_err(|error| io("make private", error))?;
                let bytes = HEXLOWER.decode(text.trim_ascii_end()).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.ok_or(StateDirError::SaltCorrupt { path: path.clone() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let salt = clock::random_bytes::<32>().map_err(|error| io("make", io::Error::other(error)))?;
                self.write_new("salt", &format!("{}\n", HEXLOWER.encode(&salt)))
                    .map_err(|error| io("write", error))?;
                Ok(salt)
            }
            Err(error) => Err(io("read", error)),
        }
    }

    /// Writes a private file whole or not at all: a crash in between leaves the old state.
    fn write_new(&self, name: &str, text: &str) -> io::Result<()> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(&self.path)?.sync_all()
    }

    /// Whoever copied the directory around may have widened the file.
    fn narrow(&self, path: &Path) -> io::Result<()> {
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 == 0 { Ok(()) } else { std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)) }
    }
}

/// What the one who holds the lock wrote into it, in words.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    // A file that cannot be read, or is not yet written, only makes the message poorer.
    let _ = lock.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(process) => format!("another countersign (process {process})"),
        Err(_) => "another countersign".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it_and_a_later_one_gets_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/state");
        let held = StateDir::hold(&path).unwrap();
        let error = StateDir::hold(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(held);
        StateDir::hold(&path).unwrap();
    }

    #[test]
    fn the_salt_is_made_once_and_kept_private() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::hold(parent.path()).unwrap();
        let salt = state.salt().unwrap();
        assert_eq!(state.salt().unwrap(), salt);
        let path = parent.path().join("salt");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(state.salt().unwrap(), salt);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_salt_that_was_cut_is_never_replaced_silently() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::hold(parent.path()).unwrap();
        let text = HEXLOWER.encode(&state.salt().unwrap());
        for wrong in ["", &text[..63], &text[..62], &text.to_uppercase().replace(char::is_numeric, "A")] {
            std::fs::write(parent.path().join("salt"), wrong).unwrap();
            let error = state.salt().unwrap_err();
            assert!(matches!(error, StateDirError::SaltCorrupt { .. }), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_says_so() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("file"), "").unwrap();
        let error = StateDir::hold(&parent.path().join("file/state")).unwrap_err().to_string();
        assert!(error.contains("file/state") && error.contains("--state-dir"), "{error}");
    }
}
