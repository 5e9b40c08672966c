//! Which files does a configuration depend on, and are they still what they were?
//!
//! A [`Fingerprint`] is taken of each by its contents: editors and tools rename over, swap a symlinked directory, truncate
//! and write again, and all of that is the same question in the end. Times and inodes are not looked at, since a file that
//! is touched is no new configuration.

use super::file::{FileConfig, TokenSource};
use super::{KeySourceKind, OwnKey};
use super::{defaults, include};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Everything a configuration depends on outside the process, and what it held just before it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Files by name, there or not.
    files: Vec<PathBuf>,
    /// Files by pattern, as in `include`.
    patterns: Vec<PathBuf>,
    seen: Fingerprints,
}

/// Where changes show.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The directories to watch: of the names, of what they point to, of every symlink on the way.
    pub(super) directories: BTreeSet<PathBuf>,
    /// What in them concerns us.
    pub(super) names: BTreeSet<PathBuf>,
    /// Directories in which everything does.
    pub(super) whole: BTreeSet<PathBuf>,
}

/// What every watched file held.
pub(super) type Fingerprints = BTreeMap<PathBuf, Fingerprint>;

/// What a file held, or why it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fingerprint {
    /// A hash of the contents, their length, and the mode.
    Contents(u64, u64, u32),
    /// There, and not readable as a file.
    Unreadable,
    /// Not there.
    Absent,
}

impl Watched {
    /// Before the file is read: an edit while it is read is then a change.
    pub(super) fn add_file(&mut self, path: &Path) {
        if !self.files.iter().any(|file| file == path) {
            self.files.push(path.to_owned());
            self.seen.insert(path.to_owned(), fingerprint(path));
        }
    }

    /// Before the matches are read.
    pub(super) fn add_pattern(&mut self, pattern: &Path) {
        if !self.patterns.iter().any(|other| other == pattern) {
            self.patterns.push(pattern.to_owned());
            let matches = include::expand(pattern).unwrap_or_default();
            self.seen.extend(matches.into_iter().map(|path| (path.clone(), fingerprint(&path))));
        }
    }

    /// Takes what everything holds now for what is to be read: when the start itself has written a file.
    pub fn look_again(&mut self) {
        self.seen = self.fingerprints();
    }

    /// What everything held when it was added.
    pub(super) fn seen(&self) -> &Fingerprints {
        &self.seen
    }

    /// The key files of a directory.
    pub(super) fn add_keys(&mut self, dir: &Path) {
        self.add_pattern(&dir.join("*.env"));
    }

    /// The secrets that a file names, even if it does not stand.
    pub(super) fn add_secrets(&mut self, written: &FileConfig, flags_alone: bool) {
        if let Some(OwnKey::File(path)) = written.service_key.as_ref().map(|key| &key.value) {
            self.add_file(path);
        }
        if let Some(TokenSource::File(path)) = written.enforcement.override_token.as_ref().map(|token| &token.value) {
            self.add_file(path);
        }
        if let Some(key) = &written.enforcement.shared_key {
            self.add_file(&key.value);
        }
        for file in written.tls_files() {
            self.add_file(&file.value);
        }
        let keys = &written.keys;
        for file in keys.redis_password_file.iter().chain(&keys.sealed_copy) {
            self.add_file(&file.value);
        }
        if written.key_sources(flags_alone).contains(&KeySourceKind::Files) {
            self.add_keys(keys.dir.as_ref().map_or(Path::new(defaults::KEYS_DIR), |dir| &dir.value));
        }
    }

    pub(super) fn places(&self) -> Places {
        let mut places = Places::default();
        for path in &self.files {
            places.add_name(path);
        }
        for pattern in &self.patterns {
            places.add_name(pattern);
            if let Some(parent) = pattern.parent() {
                places.add_whole(parent);
            }
        }
        places
    }

    /// What everything holds now.
    pub(super) fn fingerprints(&self) -> Fingerprints {
        let matched = self.patterns.iter().flat_map(|pattern| include::expand(pattern).unwrap_or_default());
        self.files.iter().cloned().chain(matched).map(|path| (path.clone(), fingerprint(&path))).collect()
    }
}

impl Places {
    fn add_name(&mut self, path: &Path) {
        for level in path.ancestors().filter(|level| *level == path || level.is_symlink()) {
            self.add(level);
        }
        if let Ok(real) = path.canonicalize() {
            self.add(&real);
        }
    }

    fn add(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directories.insert(parent.to_owned());
            self.names.insert(path.to_owned());
        }
    }

    fn add_whole(&mut self, directory: &Path) {
        for directory in [Some(directory.to_owned()), directory.canonicalize().ok()].into_iter().flatten() {
            self.directories.insert(directory.clone());
            self.whole.insert(directory);
        }
        // It may be renamed away and another one put into its place.
        self.add_name(directory);
    }
}

/// The names whose contents differ, or that only one of the two knows.
pub(super) fn changed(before: &Fingerprints, now: &Fingerprints) -> Vec<PathBuf> {
    let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
    names.filter(|name| before.get(*name) != now.get(*name)).cloned().collect()
}

/// A key directory does not hold larger files, a configuration neither.
const LARGEST: u64 = 4 << 20;

fn fingerprint(path: &Path) -> Fingerprint {
    // Opening must not wait for the other end of a FIFO.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Fingerprint::Absent,
        Err(_) => return Fingerprint::Unreadable,
    };
    let Some(metadata) = file.metadata().ok().filter(std::fs::Metadata::is_file) else {
        return Fingerprint::Unreadable;
    };
    let mut contents =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0) + 1));
    if file.take(LARGEST).read_to_end(&mut contents).is_err() {
        return Fingerprint::Unreadable;
    }
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    let mode = std::os::unix::fs::MetadataExt::mode(&metadata);
    Fingerprint::Contents(hasher.finish(), contents.len() as u64, mode)
}
