//! What happens to rotated files: compressed, reduced to what must be kept longer, removed.
//!
//! 1. The newest `rotate.keep` rotated files are kept whole, compressed.
//! 2. One that falls out of them is rewritten to what `keep_service` asks for: records of class `service`, those of what left
//!    this machine, and changes of state. Exempt and open traffic, and unreadable requests (which strangers can make in any number), go.
//! 3. What is kept so is removed once its rotation is older than `keep_service`.
//!
//! [`plan`] decides from names and time alone; [`tend`] carries it out, on a thread of its own. Each step makes a whole
//! new file beside the old one, renames it into place and only then removes the old one: an interruption at any point
//! loses nothing and doubles nothing, because of two forms of one rotation the more reduced one is complete. A step
//! that fails leaves its file as it is, to be tried again at the next rotation: evidence is never dropped because
//! reducing it failed.

use super::files::{self, Form, Rotated};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retention {
    /// Rotated files kept whole.
    pub(super) keep: usize,
    /// How long records of service paths are kept beyond that.
    pub(super) keep_service: Duration,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the compressed form.
    Compress(Rotated),
    /// Make the reduced form.
    Reduce(Rotated),
    /// It is not needed any more.
    Remove(Rotated),
}

/// What to do with the rotated files, given oldest first as [`files::rotated`] lists them.
pub(super) fn plan(rotated: &[Rotated], retention: Retention, now_seconds: u64) -> Vec<Step> {
    let expired =
        |file: &Rotated| now_seconds.saturating_sub(file.id.unix_seconds) >= retention.keep_service.as_secs();
    let mut steps = Vec::new();
    let mut whole = Vec::new();
    for (index, file) in rotated.iter().enumerate() {
        // a more reduced form of the same rotation comes first and is complete
        let superseded = index > 0 && rotated[index - 1].id == file.id;
        match file.form {
            _ if superseded => steps.push(Step::Remove(file.clone())),
            Form::Retained if expired(file) => steps.push(Step::Remove(file.clone())),
            Form::Retained => {}
            Form::Compressed | Form::Plain => whole.push(file),
        }
    }
    let surplus = whole.len().saturating_sub(retention.keep);
    for (index, file) in whole.into_iter().enumerate() {
        match file.form {
            _ if index < surplus && expired(file) => steps.push(Step::Remove(file.clone())),
            _ if index < surplus => steps.push(Step::Reduce(file.clone())),
            Form::Plain => steps.push(Step::Compress(file.clone())),
            Form::Compressed | Form::Retained => {}
        }
    }
    steps
}

/// Puts the rotated files of `current` in order. `stop` ends it between two blocks, leaving nothing half-done.
pub(super) fn tend(current: &Path, retention: Retention, now_seconds: u64, stop: &AtomicBool) -> io::Result<()> {
    for path in files::unfinished(current)? {
        std::fs::remove_file(path)?;
    }
    let mut first_error = None;
    for step in plan(&files::rotated(current)?, retention, now_seconds) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let done = match step {
            Step::Remove(file) => std::fs::remove_file(&file.path),
            Step::Compress(file) => compress(current, &file, stop),
            Step::Reduce(file) => reduce(current, &file, stop),
        };
        if let Err(error) = done {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

fn compress(current: &Path, file: &Rotated, stop: &AtomicBool) -> io::Result<()> {
    let mut source = File::open(&file.path)?;
    replace(current, file, Form::Compressed, |out| {
        let mut block = vec![0; BLOCK];
        loop {
            let n = source.read(&mut block)?;
            if n == 0 {
                return Ok(true);
            }
            interrupted(stop)?;
            out.write_all(&block[..n])?;
        }
    })
}

fn reduce(current: &Path, file: &Rotated, stop: &AtomicBool) -> io::Result<()> {
    let source = File::open(&file.path)?;
    let mut lines: Box<dyn BufRead> = match file.form {
        Form::Plain => Box::new(BufReader::new(source)),
        Form::Compressed | Form::Retained => Box::new(BufReader::new(MultiGzDecoder::new(source))),
    };
    replace(current, file, Form::Retained, |out| {
        let mut any = false;
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(any);
            }
            interrupted(stop)?;
            if is_kept_longer(&line) {
                any = true;
                out.write_all(&line)?;
            }
        }
    })
}

/// Is this a line that `keep_service` is for?
fn is_kept_longer(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'l> {
        #[serde(borrow)]
        class: Option<Cow<'l, str>>,
        #[serde(borrow)]
        direction: Option<Cow<'l, str>>,
        #[serde(borrow)]
        event: Option<Cow<'l, str>>,
    }
    serde_json::from_slice::<Kind<'_>>(line).is_ok_and(|kind| {
        kind.event.is_some()
            || kind.class.is_some_and(|class| class == "service")
            || kind.direction.is_some_and(|direction| direction == "outbound")
    })
}

/// Makes another form of a rotated file and removes the old one. `write` says whether there is anything to keep.
fn replace(
    current: &Path,
    file: &Rotated,
    form: Form,
    write: impl FnOnce(&mut dyn Write) -> io::Result<bool>,
) -> io::Result<()> {
    let path = file.id.path(current, form);
    let temporary = files::temporary(&path);
    let mode = std::fs::metadata(&file.path)?.permissions().mode() & 0o777;
    let made =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary).and_then(|out| {
            let mut encoder = GzEncoder::new(BufWriter::with_capacity(BLOCK, out), Compression::new(GZIP_LEVEL));
            let any = write(&mut encoder)?;
            let out = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            out.sync_all()?;
            Ok(any)
        });
    match made {
        Ok(true) => std::fs::rename(&temporary, &path)?,
        Ok(false) => std::fs::remove_file(&temporary)?,
        Err(error) => {
            // the next run removes it if this does not
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
    }
    // the new name must be on disk before the old file goes
    File::open(files::directory(current)).and_then(|dir| dir.sync_all())?;
    std::fs::remove_file(&file.path)
}

fn interrupted(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) { Err(io::Error::from(io::ErrorKind::Interrupted)) } else { Ok(()) }
}

/// Bytes read and written at once.
const BLOCK: usize = 64 * 1024;
/// Half the time of gzip's default for a tenth more bytes: it runs beside traffic.
const GZIP_LEVEL: u32 = 1;

#[cfg(test)]
mod tests;
