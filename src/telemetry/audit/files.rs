//! Which files make up one audit log: names, and listing them.
//!
//! Beside the current file `audit.jsonl` stand, by when they were rotated,
//!
//! - `audit.jsonl.20261122T023100Z`: just rotated, not compressed yet;
//! - `audit.jsonl.20261122T023100Z.gz`: the same, compressed;
//! - `audit.jsonl.20261122T023100Z.service.gz`: what is kept of an older one: service paths and changes of state.
//!
//! Two rotations within one second differ by `_001`, `_002`, … after the stamp. A name never goes back behind an older
//! one, even when the clock does, so that the order of names is the order of writing. `….tmp` is a file being made: no reader looks at it.

use crate::telemetry::time::{parse_stamp, stamp};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// When a file was rotated: the order of rotated files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RotationId {
    /// Seconds since the epoch.
    pub(super) unix_seconds: u64,
    /// Which one of this second.
    pub(super) serial: u32,
}

/// What a rotated file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// What is kept of it beyond `rotate.keep`, compressed.
    Retained,
    /// All of it, compressed.
    Compressed,
    /// All of it, as it was written.
    Plain,
}

/// One rotated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rotated {
    pub(super) id: RotationId,
    pub(super) form: Form,
    pub(super) path: PathBuf,
}

impl RotationId {
    /// The name for a rotation at `now`: later than all of `existing`.
    pub(super) fn next(now_seconds: u64, existing: &[Rotated]) -> RotationId {
        match existing.iter().map(|file| file.id).max() {
            Some(last) if last.unix_seconds >= now_seconds => {
                RotationId { unix_seconds: last.unix_seconds, serial: last.serial + 1 }
            }
            _ => RotationId { unix_seconds: now_seconds, serial: 0 },
        }
    }

    /// The path of this rotation of `current` in one form.
    pub(super) fn path(self, current: &Path, form: Form) -> PathBuf {
        let mut name = current.as_os_str().to_owned();
        name.push(".");
        name.push(stamp(self.unix_seconds));
        if self.serial > 0 {
            name.push(format!("_{:03}", self.serial));
        }
        name.push(suffix(form));
        PathBuf::from(name)
    }

    fn parse(text: &str) -> Option<RotationId> {
        let (stamp, serial) = match text.split_once('_') {
            Some((stamp, digits)) => {
                let serial = digits.parse().ok()?;
                // only as it was written: no other spelling of the same number
                (stamp, Some(serial).filter(|serial| *serial > 0 && format!("{serial:03}") == digits)?)
            }
            None => (text, 0),
        };
        Some(RotationId { unix_seconds: parse_stamp(stamp)?, serial })
    }
}

/// All rotated files of `current`, oldest first; of one rotation the most reduced form first.
///
/// # Errors
/// When the directory cannot be read. One that does not exist has no files.
pub(super) fn rotated(current: &Path) -> io::Result<Vec<Rotated>> {
    let mut found = Vec::new();
    for_each_sibling(current, |rest, path| {
        let (form, rest) = [Form::Retained, Form::Compressed, Form::Plain]
            .into_iter()
            .find_map(|form| Some((form, rest.strip_suffix(suffix(form))?)))?;
        found.push(Rotated { id: RotationId::parse(rest)?, form, path });
        Some(())
    })?;
    found.sort_by_key(|file| (file.id, file.form));
    Ok(found)
}

/// Files that were being made when a process ended.
pub(super) fn unfinished(current: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for_each_sibling(current, |rest, path| {
        let name = rest.strip_suffix(TEMPORARY)?;
        let name = [Form::Retained, Form::Compressed].into_iter().find_map(|form| name.strip_suffix(suffix(form)))?;
        RotationId::parse(name)?;
        found.push(path);
        Some(())
    })?;
    Ok(found)
}

/// The name under which `path` is made before it is complete.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Where a file really is, symbolic links followed; the path itself where that cannot be told.
pub(super) fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The directory a file is in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Calls `see` with what follows `current` and a dot in the name of each file beside it.
fn for_each_sibling(current: &Path, mut see: impl FnMut(&str, PathBuf) -> Option<()>) -> io::Result<()> {
    let Some(name) = current.file_name() else { return Ok(()) };
    let mut prefix = OsString::from(name);
    prefix.push(".");
    let entries = match std::fs::read_dir(directory(current)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let sibling = entry.file_name();
        let rest = sibling.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        if let Some(rest) = rest.and_then(|rest| std::str::from_utf8(rest).ok()) {
            see(rest, entry.path());
        }
    }
    Ok(())
}

const fn suffix(form: Form) -> &'static str {
    match form {
        Form::Retained => ".service.gz",
        Form::Compressed => ".gz",
        Form::Plain => "",
    }
}

const TEMPORARY: &str = ".tmp";

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_763_812_800;

    fn id(unix_seconds: u64, serial: u32) -> RotationId {
        RotationId { unix_seconds, serial }
    }

    #[test]
    fn files_are_found_in_the_order_they_were_written_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("audit.jsonl");
        let expected = [
            (id(NOON - 9, 0), Form::Retained),
            (id(NOON, 0), Form::Compressed),
            (id(NOON, 2), Form::Compressed),
            (id(NOON, 2), Form::Plain),
            (id(NOON, 10), Form::Plain),
        ];
        for (id, form) in expected.iter().rev() {
            std::fs::write(id.path(&current, *form), "").unwrap();
        }
        for other in [
            "audit.jsonl",
            "audit.jsonl.1",
            "audit.jsonl.bak.gz",
            "audit.jsonl.20251122T120000Z.gz.tmp",
            "other.jsonl.20251122T120000Z",
            "audit.jsonl.20251122T120000Z_01",
            "audit.jsonl.20251122T120000Z_00x.gz",
            "audit.jsonl.20251122T120000Z_000",
            "audit.jsonl20251122T120000Z",
            "audit.jsonl.20251122T120000Z.zst",
        ] {
            std::fs::write(dir.path().join(other), "").unwrap();
        }
        let found = rotated(&current).unwrap();
        assert_eq!(found.iter().map(|file| (file.id, file.form)).collect::<Vec<_>>(), expected);
        let mut by_name = found.clone();
        by_name.sort_by(|a, b| a.path.cmp(&b.path));
        by_name.dedup_by_key(|file| file.id);
        assert!(by_name.is_sorted_by_key(|file| file.id), "also `ls` shows them in order: {by_name:?}");
        assert_eq!(unfinished(&current).unwrap(), [dir.path().join("audit.jsonl.20251122T120000Z.gz.tmp")]);
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_files() {
        assert_eq!(rotated(Path::new("/nonexistent/audit.jsonl")).unwrap(), []);
    }

    #[test]
    fn names_never_collide_nor_go_back() {
        let current = Path::new("/var/log/countersign/audit.jsonl");
        let file = |id: RotationId| Rotated { id, form: Form::Plain, path: id.path(current, Form::Plain) };
        assert_eq!(RotationId::next(NOON, &[]), id(NOON, 0));
        assert_eq!(RotationId::next(NOON, &[file(id(NOON, 0))]), id(NOON, 1));
        assert_eq!(RotationId::next(NOON, &[file(id(NOON, 0)), file(id(NOON, 4))]), id(NOON, 5));
        assert_eq!(RotationId::next(NOON - 60, &[file(id(NOON, 0))]), id(NOON, 1), "the clock went back");
        assert_eq!(RotationId::next(NOON + 1, &[file(id(NOON, 3))]), id(NOON + 1, 0));
        assert_eq!(
            id(NOON, 1).path(current, Form::Compressed),
            Path::new("/var/log/countersign/audit.jsonl.20251122T120000Z_001.gz")
        );
    }
}
