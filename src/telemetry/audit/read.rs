//! [`AuditReader`]: all that was recorded, over the rotated, compressed and current files, oldest first.
//!
//! - Files come in the order they were rotated, the current one last; lines in the order they were written. `time` is
//!   when a decision was made and a line is written when its answer began, so times may step back by as long as an
//!   answer took; `boot` and `seq` are strictly in order.
//! - It may run beside the sidecar. The current file is opened first, and skipped if it turns up again as a rotated one;
//!   a rotated file that is compressed or reduced meanwhile is looked for in its other forms. So no line is read twice,
//!   and what was complete at the start is read.
//! - A last line whose rest is being appended at this moment belongs to what comes after the start.
//! - A line that is none (torn by a crash, or by somebody's editor) is counted and passed over, as is one longer than
//!   4 MiB. A compressed file that breaks off ends there, counted too.
//! - Unknown members and unknown words are tolerated: an older reader reads what a newer sidecar wrote.

use super::files::{self, Form, Rotated};
use crate::policy::decision::{Outcome, Refusal};
use crate::telemetry::time::parse_rfc3339;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From when to when, microseconds since the epoch: `from` is included, `until` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first point that counts.
    pub from: u64,
    /// The first point that does not.
    pub until: u64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { from: 0, until: u64::MAX };

    /// Is this point within?
    pub fn contains(&self, unix_micros: u64) -> bool {
        self.from <= unix_micros && unix_micros < self.until
    }
}

/// One record, as it was written and as it is understood.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLine {
    /// The line, without its newline.
    pub text: String,
    /// When, microseconds since the epoch.
    pub unix_micros: u64,
    /// Which start of the process wrote it.
    pub boot: String,
    /// Its number within that start.
    pub seq: u64,
    /// What it says.
    pub record: StoredRecord,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredRecord {
    /// A decision.
    Decision(Box<StoredDecision>),
    /// A change of state.
    Change(StoredChange),
}

/// A decision read back. Words are kept as written, so that a newer sidecar's are not lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names and meanings are those of AuditRecord")]
pub struct StoredDecision {
    pub request_id: String,
    pub direction: String,
    pub outcome: String,
    pub reason: Option<String>,
    pub cause: Option<String>,
    pub fault: Option<String>,
    pub class: Option<String>,
    pub rule: Option<String>,
    pub service: Option<String>,
    pub claimed_service: Option<String>,
    pub scheme: Option<String>,
    pub grant: Option<String>,
    pub skew_seconds: Option<i64>,
    pub method: Option<String>,
    pub path: Option<String>,
    pub client: String,
    pub upstream: Option<String>,
    pub mode: String,
    pub percentage: Option<u8>,
    pub status: Option<u16>,
    pub own_us: Option<u64>,
    pub upstream_us: Option<u64>,
    pub generation: Option<u64>,
    pub probe: bool,
}

/// A change of state read back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names and meanings are those of StateChange")]
pub struct StoredChange {
    pub event: String,
    pub who: String,
    pub why: String,
    pub generation: Option<u64>,
}

impl StoredDecision {
    /// The outcome, if this version knows its word.
    pub fn outcome(&self) -> Option<Outcome> {
        [Outcome::Allow, Outcome::Authenticated, Outcome::Override, Outcome::Refuse, Outcome::WouldRefuse]
            .into_iter()
            .find(|outcome| outcome.code() == self.outcome)
    }

    /// The reason, if there is one and this version knows its word.
    pub fn reason(&self) -> Option<Refusal> {
        let reason = self.reason.as_deref()?;
        Refusal::ALL.into_iter().find(|refusal| refusal.code() == reason)
    }
}

/// Goes through the records of one audit log.
pub struct AuditReader {
    range: TimeRange,
    current_path: PathBuf,
    rotated: VecDeque<Rotated>,
    /// Opened at the start, read at the end.
    current: Option<File>,
    current_inode: Option<(u64, u64)>,
    /// The current file again, while it is read, and its length when it was opened.
    growing: Option<(File, u64)>,
    open: Option<Box<dyn BufRead>>,
    open_is_reduced: bool,
    is_there: bool,
    every_line: bool,
    skipped: u64,
    buffer: Vec<u8>,
}

impl AuditReader {
    /// Reads the log whose current file is `path`.
    ///
    /// # Errors
    /// When the directory or the current file cannot be read. A current file that does not exist is an empty one.
    pub fn open(path: &Path, range: TimeRange) -> io::Result<AuditReader> {
        let current = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let current_inode = current.as_ref().map(File::metadata).transpose()?.map(|meta| (meta.dev(), meta.ino()));
        let path = files::real(path);
        let mut rotated = files::rotated(&path)?;
        let is_there = current.is_some() || !rotated.is_empty();
        rotated.retain(|file| may_hold(file, &range));
        // of one rotation the most reduced form comes first and is complete
        rotated.dedup_by_key(|file| file.id);
        Ok(AuditReader {
            range,
            current_path: path,
            rotated: rotated.into(),
            current,
            current_inode,
            growing: None,
            open: None,
            open_is_reduced: false,
            is_there,
            every_line: false,
            skipped: 0,
            buffer: Vec::new(),
        })
    }

    /// Gives every line of the files that may hold records of the range, also those outside it: for who looks for lines that are missing.
    pub fn every_line(mut self) -> AuditReader {
        self.every_line = true;
        self
    }

    /// Is there a file of this log at all?
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// Is the line just given of a file that was reduced to what is kept longer?
    pub fn is_reduced(&self) -> bool {
        self.open_is_reduced
    }

    /// Lines passed over so far because they were none, or of files that broke off.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Opens the next file; `false` when there is none.
    fn next_file(&mut self) -> io::Result<bool> {
        while let Some(rotated) = self.rotated.pop_front() {
            if let Some((reader, form)) = self.open_rotated(&rotated)? {
                self.open = Some(reader);
                self.open_is_reduced = form == Form::Retained;
                return Ok(true);
            }
        }
        match self.current.take() {
            Some(file) => {
                // what is appended from now on is not waited for
                let length = file.metadata()?.len();
                self.growing = Some((file.try_clone()?, length));
                self.open = Some(Box::new(BufReader::new(file.take(length))));
                self.open_is_reduced = false;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Opens a rotated file, in another form if it changed meanwhile; `None` when it is gone or is the current one.
    fn open_rotated(&self, rotated: &Rotated) -> io::Result<Option<(Box<dyn BufRead>, Form)>> {
        for form in [rotated.form, Form::Compressed, Form::Retained] {
            let file = match File::open(rotated.id.path(&self.current_path, form)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let meta = file.metadata()?;
            if self.current_inode == Some((meta.dev(), meta.ino())) {
                return Ok(None);
            }
            let reader: Box<dyn BufRead> = match form {
                Form::Plain => Box::new(BufReader::new(file)),
                Form::Compressed | Form::Retained => Box::new(BufReader::new(MultiGzDecoder::new(file))),
            };
            return Ok(Some((reader, form)));
        }
        Ok(None)
    }

    /// Is the line in the buffer one whose rest is being appended just now? A writer needs microseconds for that.
    fn is_being_written(&self) -> bool {
        let Some((file, length)) = self.growing.as_ref().filter(|_| !self.buffer.ends_with(b"\n")) else {
            return false;
        };
        let grew = || file.metadata().is_ok_and(|meta| meta.len() > *length);
        (0..GROWTH_LOOKS).any(|_| {
            grew() || {
                std::thread::sleep(GROWTH_WAIT);
                false
            }
        })
    }

    /// The next line of the open file into the buffer; `false` at its end.
    fn next_line(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        self.buffer.clear();
        match open.take(LONGEST_LINE).read_until(b'\n', &mut self.buffer) {
            Ok(0) => Ok(false),
            Ok(_) if self.buffer.ends_with(b"\n") => Ok(true),
            Ok(_) if self.buffer.len() as u64 == LONGEST_LINE => {
                open.skip_until(b'\n')?;
                self.buffer.clear();
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(error) if is_broken_compression(&error) => {
                self.skipped += 1;
                self.open = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Iterator for AuditReader {
    type Item = io::Result<StoredLine>;

    fn next(&mut self) -> Option<io::Result<StoredLine>> {
        loop {
            match self.next_line() {
                Ok(true) => match parse(&self.buffer) {
                    Some(line) if self.every_line || self.range.contains(line.unix_micros) => return Some(Ok(line)),
                    Some(_) => {}
                    None if self.is_being_written() => {}
                    None => self.skipped += 1,
                },
                Ok(false) => match self.next_file() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                },
                Err(error) => {
                    self.open = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The time of the first record in a plain file.
pub(super) fn first_time(path: &Path) -> Option<u64> {
    let mut lines = BufReader::new(File::open(path).ok()?);
    for _ in 0..8 {
        let mut line = Vec::new();
        if (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if let Some(line) = parse(&line) {
            return Some(line.unix_micros);
        }
    }
    None
}

/// Understands one line; `None` when it is none of ours.
fn parse(line: &[u8]) -> Option<StoredLine> {
    #[derive(Deserialize)]
    struct Common {
        time: String,
        #[serde(default)]
        boot: String,
        #[serde(default)]
        seq: u64,
        event: Option<String>,
    }
    let text = std::str::from_utf8(line).ok()?.trim_end_matches(['\n', '\r']);
    let common: Common = serde_json::from_str(text).ok()?;
    let record = match common.event {
        Some(_) => StoredRecord::Change(serde_json::from_str(text).ok()?),
        None => StoredRecord::Decision(serde_json::from_str(text).ok()?),
    };
    Some(StoredLine {
        text: text.to_owned(),
        unix_micros: parse_rfc3339(&common.time)?,
        boot: common.boot,
        seq: common.seq,
        record,
    })
}

/// Can a rotated file hold records of this range? All of its decisions were made before it was rotated.
fn may_hold(file: &Rotated, range: &TimeRange) -> bool {
    // a rotation within the second it is named by may still hold that second
    let rotated = (file.id.unix_seconds + 1).saturating_mul(1_000_000);
    range.from < rotated
}

fn is_broken_compression(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
}

/// How often and how far apart the end of the current file is looked at, where its last line has no end.
const GROWTH_LOOKS: u32 = 5;
const GROWTH_WAIT: Duration = Duration::from_millis(2);

/// Bytes a line may have: more than any head.
const LONGEST_LINE: u64 = 4 << 20;

#[cfg(test)]
mod tests;
