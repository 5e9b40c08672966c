//! [`StateFiles`]: the state of enforcement in the state directory, and the marker of a rollback beside it.
//!
//! | file | what it says |
//! |---|---|
//! | `enforcement.json` | the whole [`EnforcementState`] |
//! | `rollback` | its being there means `log`, and held: whoever cannot reach the sidecar may make it, empty or with a reason |
//!
//! 1. A file is written beside its place, synced, moved there, and the directory synced: a crash in between leaves the old one.
//! 2. A rollback makes the marker *before* it writes the state: once reported, no crash can undo it.
//! 3. A lift writes the state first and removes the marker then: a crash in between leaves the rollback.
//! 4. A state that is missing although this directory was used before, or that cannot be understood whole, is not guessed at:
//!    the configuration's word counts, and it is held.

use crate::rollout::state::EnforcementState;
use crate::rollout::stored::{self, StoredFault};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The state's file, in the state directory.
pub const STATE_FILE: &str = "enforcement.json";
/// The marker's file, in the state directory.
pub const MARKER_FILE: &str = "rollback";

/// Far more than any state has.
const LARGEST: u64 = 4 << 20;

/// Of a marker that somebody made by hand, so much is taken for a reason.
const LONGEST_REASON: u64 = 1024;

/// Where the state of enforcement is kept.
#[derive(Debug, Clone)]
pub struct StateFiles {
    directory: PathBuf,
}

/// What was found at the start.
#[derive(Debug)]
pub enum Found {
    /// A state.
    State(Box<EnforcementState>),
    /// None, in a directory that is new.
    Nothing,
    /// None that can be relied on.
    Unknown(UnknownState),
}

/// Why it is not known what was in force.
#[derive(Debug, thiserror::Error)]
pub enum UnknownState {
    /// It was there once.
    #[error("{} is missing, although this state directory was used before", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// It can be read and is none.
    #[error("{} {fault}", path.display())]
    Fault {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        fault: StoredFault,
    },
}

impl StateFiles {
    /// In this directory.
    pub fn of(directory: &Path) -> StateFiles {
        StateFiles { directory: directory.to_owned() }
    }

    /// Reads the state. `used_before`: is there other state of ours in the directory?
    pub fn read(&self, used_before: bool) -> Found {
        let path = self.directory.join(STATE_FILE);
        let text = match read_text(&path, LARGEST) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !used_before => return Found::Nothing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Found::Unknown(UnknownState::Missing(path));
            }
            Err(error) => return Found::Unknown(UnknownState::Unreadable { path, error }),
        };
        match stored::parse(&text) {
            Ok(state) => Found::State(Box::new(state)),
            Err(fault) => Found::Unknown(UnknownState::Fault { path, fault }),
        }
    }

    /// Writes the state whole, or leaves the old one.
    ///
    /// # Errors
    /// When the directory does not take it.
    pub fn write(&self, text: &str) -> io::Result<()> {
        replace(&self.directory, STATE_FILE, text)
    }

    /// Moves a state that cannot be relied on out of the way, for people to look at. One that is missing stays missing.
    ///
    /// # Errors
    /// When the directory does not take it.
    pub fn set_aside(&self) -> io::Result<()> {
        let path = self.directory.join(STATE_FILE);
        match std::fs::rename(&path, self.directory.join(format!("{STATE_FILE}.unreadable"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The marker's text, if the marker is there; whatever is there counts, also what cannot be read.
    pub fn marker(&self) -> Option<String> {
        let path = self.marker_path();
        std::fs::symlink_metadata(&path).ok()?;
        Some(read_text(&path, LONGEST_REASON).unwrap_or_default().trim().to_owned())
    }

    /// Makes the marker, durably. `why` is for people who find it.
    ///
    /// # Errors
    /// When the directory does not take it.
    pub fn mark(&self, why: &str) -> io::Result<()> {
        replace(&self.directory, MARKER_FILE, &format!("{why}\n"))
    }

    /// Removes the marker, durably.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn unmark(&self) -> io::Result<()> {
        match std::fs::remove_file(self.marker_path()) {
            Ok(()) => File::open(&self.directory)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where the marker is, or would be.
    pub fn marker_path(&self) -> PathBuf {
        self.directory.join(MARKER_FILE)
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Puts a private file (0600) in the place of what was there, whole or not at all.
///
/// # Errors
/// When the directory does not take it; the old file is then untouched.
pub fn replace(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let (path, temporary) = (directory.join(name), directory.join(format!("{name}.new")));
    // What an interrupted writing left there, or a link that somebody put there for root to follow.
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = belong_to(&file, directory).and_then(|()| file.write_all(text.as_bytes()));
    let written = written.and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, &path)) {
        // Half of it is of no use to anybody.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// What root makes in the directory of the sidecar's user, that user must be able to read.
///
/// # Errors
/// When the system does not let us.
pub fn belong_to(file: &File, directory: &Path) -> io::Result<()> {
    let (made, owner) = (file.metadata()?, std::fs::metadata(directory)?);
    if made.uid() == owner.uid() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}

fn read_text(path: &Path, most: u64) -> io::Result<String> {
    // Without waiting: what is there may be a FIFO.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(most).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;
    use crate::rollout::state::Move;
    use std::os::unix::fs::PermissionsExt;

    fn state() -> EnforcementState {
        EnforcementState::first(defaults::ENFORCEMENT, Move { at: 1, by: "process".into(), why: "first".into() })
    }

    #[test]
    fn what_was_written_is_found_private_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let files = StateFiles::of(directory.path());
        assert!(matches!(files.read(false), Found::Nothing));
        files.write(&stored::to_text(&state())).unwrap();
        assert!(matches!(files.read(true), Found::State(found) if *found == state()));
        let found = std::fs::metadata(directory.path().join(STATE_FILE)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_state_that_is_missing_cut_or_no_file_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let files = StateFiles::of(directory.path());
        let path = directory.path().join(STATE_FILE);
        assert!(matches!(files.read(true), Found::Unknown(UnknownState::Missing(_))));
        for text in ["", "{", "\u{0}", "{\"version\": 9}"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(files.read(true), Found::Unknown(UnknownState::Fault { .. })), "{text:?}");
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(files.read(true), Found::Unknown(UnknownState::Unreadable { .. })));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let Found::Unknown(unknown) = files.read(true) else { panic!("a directory is no state") };
        assert!(unknown.to_string().contains(STATE_FILE), "{unknown}");
    }

    #[test]
    fn the_markers_being_there_is_all_that_counts() {
        let directory = tempfile::tempdir().unwrap();
        let files = StateFiles::of(directory.path());
        assert_eq!(files.marker(), None);
        files.mark("the backend is down").unwrap();
        assert_eq!(files.marker().as_deref(), Some("the backend is down"));
        files.unmark().unwrap();
        files.unmark().unwrap();
        assert_eq!(files.marker(), None);
        std::fs::write(files.marker_path(), "").unwrap();
        assert_eq!(files.marker().as_deref(), Some(""));
        std::fs::remove_file(files.marker_path()).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", files.marker_path()).unwrap();
        assert_eq!(files.marker().as_deref(), Some(""), "also a link that leads nowhere");
    }

    #[test]
    fn a_link_in_the_way_of_a_writing_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("precious");
        std::fs::write(&elsewhere, "precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, directory.path().join("rollback.new")).unwrap();
        let files = StateFiles::of(directory.path());
        files.mark("why").unwrap();
        assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "precious");
        assert_eq!(files.marker().as_deref(), Some("why"));
    }

    #[test]
    fn what_root_writes_belongs_to_whom_the_directory_belongs() {
        let directory = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(directory.path(), Some(65_534), Some(65_534)).is_err() {
            return;
        }
        let files = StateFiles::of(directory.path());
        files.mark("why").unwrap();
        assert_eq!(std::fs::metadata(files.marker_path()).unwrap().uid(), 65_534);
    }

    #[test]
    fn a_directory_that_takes_nothing_keeps_the_old_state() {
        let parent = tempfile::tempdir().unwrap();
        let files = StateFiles::of(&parent.path().join("gone"));
        assert!(files.write("{}").is_err() && files.mark("why").is_err());
        assert!(files.unmark().is_ok(), "a marker that is not there is removed");
    }
}
