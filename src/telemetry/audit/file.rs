//! [`FileSink`]: a file of lines, rotated by size and age.
//!
//! - Appended to with `O_APPEND`, created 0640 (less the umask), its directory 0700 if it has to be made. Locked, so that
//!   a second process does not rotate it from under the first.
//! - A write that failed half-way is taken back to the end of the last whole line. Where even that fails, and where a
//!   crash left a torn line, the next line begins on a new one. So a torn line never swallows a good one.
//! - Rotated when it would grow beyond `rotate.size`, or `rotate.age` after its first record: renamed, then opened anew;
//!   what cannot be renamed or opened is written on as it is, and tried again a minute later.
//! - Time is an argument: tests step it.

use super::files::{self, Form, RotationId};
use super::keep::Retention;
use super::keeper::Keeper;
use super::read;
use super::sink::{Line, Sink, Written, named};
use super::stream::{StreamSink, write_some};
use crate::config::Audit;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A rotated file.
#[derive(Debug)]
pub(super) struct FileSink {
    /// As it was given.
    name: PathBuf,
    /// Where it really is: a symbolic link must not be rotated in the place of its file.
    path: PathBuf,
    settings: Rotation,
    current: Current,
    /// Rotation failed; not before this time again.
    retry_rotation_at: u64,
    keeper: Keeper,
}

/// When to rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rotation {
    size: u64,
    age_micros: u64,
}

/// The file being written.
#[derive(Debug)]
struct Current {
    file: File,
    size: u64,
    /// When its first record was made; of an empty one, when it was opened.
    since: u64,
    /// It ends within a line that cannot be taken back.
    torn: bool,
}

impl FileSink {
    /// Opens the path for appending: rotated if it is a regular file, else (a device) as a stream.
    ///
    /// # Errors
    /// When it cannot be opened or another process has it.
    pub(super) fn open_any(path: &Path, config: &Audit, unix_micros: u64) -> io::Result<Sink> {
        let file = open_append(path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_char_device() || kind.is_fifo() {
            return Ok(Sink::Stream(StreamSink::new(file)));
        }
        let (name, path) = (path.to_owned(), files::real(path));
        let current = Current::adopt(&path, file, unix_micros)?;
        let keeper = Keeper::start(&path, retention(config))?;
        let settings = Rotation::from(config);
        Ok(Sink::File(Box::new(FileSink { name, path, settings, current, retry_rotation_at: 0, keeper })))
    }

    /// Takes other settings for the same file.
    pub(super) fn reconfigure(&mut self, config: &Audit) {
        self.settings = Rotation::from(config);
        self.keeper.set_retention(retention(config));
    }

    /// Which file, as it was given.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Writes lines, rotating between them where it is time to.
    pub(super) fn write(&mut self, text: &[u8], lines: &[Line], unix_micros: u64) -> Written {
        self.tick(unix_micros);
        let mut done = 0;
        while done < lines.len() {
            let start = done.checked_sub(1).map_or(0, |last| lines[last].end);
            let fits = self.fitting(&lines[done..], start, unix_micros);
            if fits == 0 {
                self.rotate(unix_micros);
                continue;
            }
            let part = &lines[done..done + fits];
            let (written, error) = self.current.append(&text[start..], part, start);
            done += written;
            if error.is_some() {
                return Written { lines: done, refused: 0, error };
            }
        }
        Written { lines: done, refused: 0, error: None }
    }

    /// Rotates by age.
    pub(super) fn tick(&mut self, unix_micros: u64) {
        if self.due(unix_micros) == Some(0) {
            self.rotate(unix_micros);
        }
    }

    /// In how many microseconds the file is to be rotated by age; `None` while it is empty.
    pub(super) fn due(&self, unix_micros: u64) -> Option<u64> {
        let aged = self.current.since.saturating_add(self.settings.age_micros).saturating_sub(unix_micros);
        (self.current.size > 0).then(|| aged.max(self.put_off(unix_micros)))
    }

    /// Opens the file anew by its name, if another one stands there now.
    pub(super) fn reopen(&mut self, unix_micros: u64) -> io::Result<()> {
        let file = open_append(&self.name)?;
        let (new, old) = (file.metadata()?, self.current.file.metadata()?);
        if (new.dev(), new.ino()) != (old.dev(), old.ino()) {
            self.current = Current::adopt(&self.path, file, unix_micros)?;
        }
        Ok(())
    }

    /// Waits for the disk and ends the tending of rotated files.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.keeper.stop();
        self.current.file.sync_data()
    }

    /// How many of the lines go into the current file: none when it must be rotated first. An empty file takes at least
    /// one, whatever its length; a file that cannot be rotated takes all.
    fn fitting(&self, lines: &[Line], start: usize, unix_micros: u64) -> usize {
        if self.put_off(unix_micros) > 0 {
            return lines.len();
        }
        let room = self.settings.size.saturating_sub(self.current.size);
        let fits = lines.partition_point(|line| (line.end - start) as u64 <= room);
        if fits == 0 && self.current.size == 0 { 1 } else { fits }
    }

    /// How long a rotation that failed is still left alone. A clock that was set back does not prolong it.
    fn put_off(&self, unix_micros: u64) -> u64 {
        Some(self.retry_rotation_at.saturating_sub(unix_micros))
            .filter(|rest| *rest <= RETRY_ROTATION_MICROS)
            .unwrap_or(0)
    }

    fn rotate(&mut self, unix_micros: u64) {
        match self.try_rotate(unix_micros) {
            Ok(()) => {
                self.retry_rotation_at = 0;
                self.keeper.tend();
            }
            Err(error) => {
                self.retry_rotation_at = unix_micros.saturating_add(RETRY_ROTATION_MICROS);
                tracing::error!(file = %self.path.display(), %error, "audit file cannot be rotated; written on");
            }
        }
    }

    fn try_rotate(&mut self, unix_micros: u64) -> io::Result<()> {
        let existing = files::rotated(&self.path)?;
        let rotated = RotationId::next(unix_micros / 1_000_000, &existing).path(&self.path, Form::Plain);
        std::fs::rename(&self.path, &rotated)?;
        let opened = open_append(&self.path).and_then(|file| Current::adopt(&self.path, file, unix_micros));
        match opened {
            Ok(current) => self.current = current,
            Err(error) => {
                // back, so that the name and the file that is written on stay together
                let _ = std::fs::rename(&rotated, &self.path);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Current {
    /// Takes an open file over: locks it, sees how it ends and how old it is.
    fn adopt(path: &Path, file: File, unix_micros: u64) -> io::Result<Current> {
        let what = || format!("audit.file {}", path.display());
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(named(
                &what(),
                io::Error::other("not a regular file; name a file, \"stdout\" or \"journald\""),
            ));
        }
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(named(&what(), io::Error::other("another process writes to it; give each its own file")));
            }
            // a file system without locks is no reason not to write
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let size = metadata.len();
        let mut last = [b'\n'];
        let torn = size > 0 && file.read_exact_at(&mut last, size - 1).is_ok() && last != *b"\n";
        let since = if size == 0 { None } else { read::first_time(path) };
        Ok(Current { file, size, since: since.unwrap_or(unix_micros), torn })
    }

    /// Appends lines; how many went whole, and why not all. `start`: where the first begins in the whole text.
    fn append(&mut self, text: &[u8], lines: &[Line], start: usize) -> (usize, Option<io::Error>) {
        let Some(last) = lines.last() else { return (0, None) };
        if self.torn {
            let (went, error) = write_some(&mut self.file, b"\n");
            if error.is_some() {
                return (0, error);
            }
            self.size += went as u64;
            self.torn = false;
        }
        let (went, error) = write_some(&mut self.file, &text[..last.end - start]);
        let whole = lines.partition_point(|line| line.end - start <= went);
        let kept = whole.checked_sub(1).map_or(0, |last| lines[last].end - start);
        self.size += kept as u64;
        if went > kept && self.file.set_len(self.size).is_err() {
            self.size += (went - kept) as u64;
            self.torn = true;
        }
        (whole, error)
    }
}

impl From<&Audit> for Rotation {
    fn from(config: &Audit) -> Rotation {
        let age_micros = u64::try_from(config.rotate_age.as_micros()).unwrap_or(u64::MAX);
        Rotation { size: config.rotate_size, age_micros }
    }
}

fn retention(config: &Audit) -> Retention {
    Retention { keep: config.rotate_keep, keep_service: config.keep_service }
}

/// Opens for appending and for reading how it ends, making file and directory where they are not. Never waits for a
/// reader of a FIFO.
fn open_append(path: &Path) -> io::Result<File> {
    let what = || format!("audit.file {}", path.display());
    let directory = files::directory(path);
    if !directory.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| named(&format!("directory of {}", what()), error))?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(NONBLOCK);
    let opened = options.clone().read(true).open(path);
    // what may be written and not read, such as a terminal or a pipe, is opened for writing alone
    opened.or_else(|_| options.open(path)).map_err(|error| named(&what(), error))
}

/// `O_NONBLOCK`; the bits fit, they are a C int in the kernel's interface.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;
/// How long a rotation that failed is left alone.
const RETRY_ROTATION_MICROS: u64 = 60_000_000;

#[cfg(test)]
mod tests;
