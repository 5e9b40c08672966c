//! Reading a file that holds a secret, or saying why it is not read and what to do.
//!
//! Whoever can write a key file can call as that service, and whoever can read it too. So, in this order:
//!
//! 1. Symbolic links are followed (Kubernetes and some service managers hand out secrets through them), then nothing is
//!    assumed of the name any more: the checks are made on the resolved path.
//! 2. No directory above it, as named and as resolved, may be writable by all without the sticky bit: its files could be replaced
//!    by anyone. Where a link was followed, the directory it leads into may not be writable by all at all.
//! 3. The file is opened once, without following a link and without waiting (a FIFO would wait for ever), and everything else is
//!    asked of the opened descriptor: it must be a regular file, readable by its owner alone, who is us, root, or (for
//!    root) the owner of the directory; of limited size; UTF-8.
//!
//! Files below `$CREDENTIALS_DIRECTORY` skip the mode and owner: the service manager keeps them for this unit alone, and shows
//! some of them as 0440.
//!
//! Attacks answered: a secret left readable, a link into `/tmp`, a file swapped between check and use, a FIFO that hangs the
//! start, a huge file that fills memory.

use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Who reads: what counts as our own.
#[derive(Debug, Clone)]
pub struct SecretReader {
    uid: u32,
    credentials: Option<PathBuf>,
}

/// Why a file is not read. As text: what was found, what was expected, what to do; never any of its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileFault {
    /// Nothing there, or a link that leads nowhere.
    #[error("there is no such file")]
    Missing,
    /// The system does not let us.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// A directory, a FIFO, a device.
    #[error("is {0}, not a regular file")]
    NotRegular(&'static str),
    /// Others can read it.
    #[error("is open to group or others (mode {mode:04o}); run: chmod 600 {}", path.display())]
    OpenToOthers {
        /// Where the file really is.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else can change it.
    #[error("belongs to uid {owner}, expected {reader} or root; run: chown {reader} {}", path.display())]
    ForeignOwner {
        /// Where the file really is.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who reads.
        reader: u32,
    },
    /// Anyone could put another file in its place.
    #[error("lies below {}, which anyone may write to (mode {mode:04o}); move it, or run: chmod o-w {}", directory.display(), directory.display())]
    WritableByAll {
        /// Which directory.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another file was meant.
    #[error("is larger than {LARGEST} bytes, which no such file is")]
    TooLarge,
    /// Another file was meant.
    #[error("is not text in UTF-8")]
    NotText,
}

/// Bytes of a key file; real ones have a few hundred.
const LARGEST: u64 = 64 * 1024;

impl SecretReader {
    /// As this process.
    pub fn of_process() -> SecretReader {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        SecretReader { uid: rustix::process::geteuid().as_raw(), credentials }
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// When it cannot be read, or should not be trusted.
    pub fn read(&self, path: &Path) -> Result<Zeroizing<String>, SecretFileFault> {
        match self.read_anyway(path)? {
            (text, None) => Ok(text),
            (_, Some(fault)) => Err(fault),
        }
    }

    /// Reads a file that is about to be copied to a better place: who may read or write it is reported, and no obstacle.
    ///
    /// # Errors
    /// When it cannot be read, or is no regular file of text.
    pub fn read_anyway(&self, path: &Path) -> Result<(Zeroizing<String>, Option<SecretFileFault>), SecretFileFault> {
        let resolved = std::fs::canonicalize(path).map_err(io_fault)?;
        // Asked before opening as well, because opening some devices does something.
        regular(&std::fs::metadata(&resolved).map_err(io_fault)?)?;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&resolved)
            .map_err(io_fault)?;
        let found = file.metadata().map_err(io_fault)?;
        regular(&found)?;
        let fault = self.distrust(path, &resolved, &found).err();
        Ok((content(&file, &found)?, fault))
    }

    /// Who else could read or change it?
    fn distrust(&self, path: &Path, resolved: &Path, found: &Metadata) -> Result<(), SecretFileFault> {
        if self.is_credential(resolved) {
            return Ok(());
        }
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretFileFault::OpenToOthers { path: resolved.to_owned(), mode });
        }
        let parent = resolved.parent().unwrap_or(resolved);
        let holder = std::fs::metadata(parent).map_err(io_fault)?;
        let mut trusted = [self.uid, 0].contains(&found.uid());
        trusted |= self.uid == 0 && found.uid() == holder.uid();
        if !trusted {
            let (owner, reader) = (found.uid(), self.uid);
            return Err(SecretFileFault::ForeignOwner { path: resolved.to_owned(), owner, reader });
        }
        let linked = std::fs::symlink_metadata(path).map_err(io_fault)?.is_symlink();
        if linked && writable_by_all(&holder) {
            return Err(writable(parent, &holder));
        }
        let named = std::path::absolute(path).map_err(io_fault)?;
        match open_among(named.ancestors().skip(1).chain(resolved.ancestors().skip(1))).map_err(io_fault)? {
            Some((directory, mode)) => Err(SecretFileFault::WritableByAll { directory, mode }),
            None => Ok(()),
        }
    }

    /// Could anyone put other files into this directory, or another directory in its place? Which directory lets them, with its
    /// permission bits.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn open_to_all(&self, directory: &Path) -> io::Result<Option<(PathBuf, u32)>> {
        let resolved = std::fs::canonicalize(directory)?;
        if self.is_credential(&resolved) {
            return Ok(None);
        }
        let named = std::path::absolute(directory)?;
        open_among(named.ancestors().chain(resolved.ancestors()))
    }

    fn is_credential(&self, resolved: &Path) -> bool {
        let below = |directory: &PathBuf| {
            std::fs::canonicalize(directory).is_ok_and(|directory| resolved.starts_with(directory))
        };
        self.credentials.as_ref().is_some_and(below)
    }
}

/// The first directory that anyone may write to without the sticky bit: its files could be replaced by anyone.
fn open_among<'p>(directories: impl Iterator<Item = &'p Path>) -> io::Result<Option<(PathBuf, u32)>> {
    for directory in directories {
        let found = std::fs::metadata(directory)?;
        if writable_by_all(&found) && found.permissions().mode() & STICKY == 0 {
            return Ok(Some((directory.to_owned(), found.permissions().mode() & 0o7777)));
        }
    }
    Ok(None)
}

const STICKY: u32 = 0o1000;

fn writable_by_all(found: &Metadata) -> bool {
    found.permissions().mode() & 0o002 != 0
}

fn writable(directory: &Path, found: &Metadata) -> SecretFileFault {
    let mode = found.permissions().mode() & 0o7777;
    SecretFileFault::WritableByAll { directory: directory.to_owned(), mode }
}

fn regular(found: &Metadata) -> Result<(), SecretFileFault> {
    let kind = found.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(SecretFileFault::NotRegular(match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_symlink() => "a symbolic link",
        () => "a device",
    }))
}

fn content(file: &File, found: &Metadata) -> Result<Zeroizing<String>, SecretFileFault> {
    // The whole room at once: a growing buffer would leave copies of the secret behind.
    let room = usize::try_from(found.len().min(LARGEST)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(io_fault)?;
    if bytes.len() as u64 > LARGEST {
        return Err(SecretFileFault::TooLarge);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(SecretFileFault::NotText),
    }
}

fn io_fault(error: io::Error) -> SecretFileFault {
    if error.kind() == io::ErrorKind::NotFound { SecretFileFault::Missing } else { SecretFileFault::Io(error) }
}

#[cfg(test)]
mod tests;
