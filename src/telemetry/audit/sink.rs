//! [`Sink`]: where lines go, and what it means that some of them went.

use super::file::FileSink;
use super::journal::JournalSink;
use super::stream::StreamSink;
use crate::config::{Audit, AuditSink};
use std::io;

/// One place that takes lines.
pub(super) enum Sink {
    /// A regular file, rotated.
    File(Box<FileSink>),
    /// Standard output, or something else that is written to and not rotated.
    Stream(StreamSink),
    /// The journal.
    Journal(JournalSink),
    /// Nowhere.
    None,
}

/// One serialised record among others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Where it ends in the text, after its newline.
    pub(super) end: usize,
    /// The word of its outcome or event.
    pub(super) word: &'static str,
    /// The word of its reason.
    pub(super) reason: Option<&'static str>,
    /// Should a person look at it?
    pub(super) notable: bool,
    /// Units of room it holds.
    pub(super) units: usize,
}

/// What came of an attempt to write.
#[derive(Debug)]
pub(super) struct Written {
    /// This many lines, from the first on, are done with.
    pub(super) lines: usize,
    /// Of these, this many could not be taken and never will be.
    pub(super) refused: usize,
    /// Why the rest was not written.
    pub(super) error: Option<io::Error>,
}

impl Written {
    /// All went.
    pub(super) fn all(lines: &[Line]) -> Written {
        Written { lines: lines.len(), refused: 0, error: None }
    }
}

impl Sink {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// With a text that names it and says what to do.
    pub(super) fn open(config: &Audit, unix_micros: u64) -> io::Result<Sink> {
        match &config.sink {
            AuditSink::File(path) => FileSink::open_any(path, config, unix_micros),
            AuditSink::Stdout => StreamSink::stdout().map(Sink::Stream),
            AuditSink::Journald => JournalSink::open().map(Sink::Journal),
            AuditSink::None => Ok(Sink::None),
        }
    }

    /// Writes `text`, which is `lines`, as far as it will go. A line is never left half-written before another one.
    pub(super) fn write(&mut self, text: &[u8], lines: &[Line], unix_micros: u64) -> Written {
        match self {
            Sink::File(file) => file.write(text, lines, unix_micros),
            Sink::Stream(stream) => stream.write(text, lines),
            Sink::Journal(journal) => journal.write(text, lines),
            Sink::None => Written::all(lines),
        }
    }

    /// Does what time alone asks for.
    pub(super) fn tick(&mut self, unix_micros: u64) {
        if let Sink::File(file) = self {
            file.tick(unix_micros);
        }
    }

    /// When [`Sink::tick`] has something to do next, in microseconds from now.
    pub(super) fn due(&self, unix_micros: u64) -> Option<u64> {
        match self {
            Sink::File(file) => file.due(unix_micros),
            Sink::Stream(_) | Sink::Journal(_) | Sink::None => None,
        }
    }

    /// Opens a file anew by its name.
    pub(super) fn reopen(&mut self, unix_micros: u64) -> io::Result<()> {
        match self {
            Sink::File(file) => file.reopen(unix_micros),
            Sink::Stream(_) | Sink::Journal(_) | Sink::None => Ok(()),
        }
    }

    /// The last write was made; waits for the disk, and for the tending of rotated files to stop.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.finish(),
            Sink::Stream(_) | Sink::Journal(_) | Sink::None => Ok(()),
        }
    }
}

/// The same error, naming what it is about.
pub(super) fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
pub(super) mod tests_support {
    use super::Line;

    /// The lines a text is made of.
    pub(crate) fn lines_of(text: &str) -> Vec<Line> {
        let mut end = 0;
        text.split_inclusive('\n')
            .map(|line| {
                end += line.len();
                Line { end, word: "allow", reason: None, notable: false, units: 1 }
            })
            .collect()
    }
}
