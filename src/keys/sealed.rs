//! [`SealedCopy`]: the keys of Redis, kept in the state directory for a restart while Redis is away.
//!
//! 1. Nobody gets it who did not ask: only with `[keys].sealed_copy`, which names a file of 64 hex digits, readable by its
//!    owner alone. That key seals (AES-256-GCM) what the state directory holds; each alone is worth nothing.
//! 2. It is written whole or not at all (0600), with when Redis last told all. Time runs on while nobody runs: the age of
//!    what was cached counts from then, not from the start that reads it.
//! 3. Anything wrong with it (cut, altered, sealed with another key, another version) and it is ignored as a whole.
//!
//! Attacks answered: a backup of the state directory that gives the fleet's keys away; a copy altered to let a caller in; an
//! old copy put back, which is as old as it says.

use super::cache::{Entry, Gone, KeyCache, Millis, Other};
use super::secret_file::{SecretFileFault, SecretReader};
use crate::clock;
use crate::signature::key::{ServiceId, ServiceKey};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where the copy is and what seals it.
pub struct SealedCopy {
    path: PathBuf,
    key: LessSafeKey,
}

/// Why a copy is not used, or not written. As text: which file, and what to do; never a secret.
#[derive(Debug, thiserror::Error)]
pub enum SealFault {
    /// The key that seals cannot be read.
    #[error("{} ([keys].sealed_copy) {fault}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: SecretFileFault,
    },
    /// It is none.
    #[error("{} ([keys].sealed_copy) does not hold 64 hex digits; make one with: openssl rand -hex 32", .0.display())]
    NotAKey(PathBuf),
    /// The copy cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// It was altered, cut, or sealed with another key.
    #[error("{} was altered, or sealed with another key than [keys].sealed_copy names; it is not used", .0.display())]
    Broken(PathBuf),
}

/// The name of the copy in the state directory.
const FILE: &str = "keys.sealed";
/// What it begins with; sealed along with the rest.
const MAGIC: &[u8] = b"countersign sealed keys 1\n";
/// Ten thousand keys need less.
const LARGEST: u64 = 16 * 1024 * 1024;

impl SealedCopy {
    /// The copy in this state directory, sealed with the key in `key_file`.
    ///
    /// # Errors
    /// When there is no such key, or it should not be trusted.
    pub fn open(key_file: &Path, state_dir: &Path) -> Result<SealedCopy, SealFault> {
        let text = SecretReader::of_process()
            .read(key_file)
            .map_err(|fault| SealFault::KeyFile { path: key_file.to_owned(), fault })?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim_ascii().as_bytes()).map(Zeroizing::new);
        let unbound = bytes.ok().and_then(|bytes| UnboundKey::new(&AES_256_GCM, &bytes).ok());
        let unbound = unbound.ok_or_else(|| SealFault::NotAKey(key_file.to_owned()))?;
        Ok(SealedCopy { path: state_dir.join(FILE), key: LessSafeKey::new(unbound) })
    }

    /// What was cached when it was written; `None`: there is no copy yet.
    ///
    /// # Errors
    /// When it cannot be read or is not what was written.
    pub fn load(&self) -> Result<Option<KeyCache>, SealFault> {
        let mut sealed = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut sealed));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        }
        let text = self.unseal(&sealed).and_then(|text| parse(&text));
        text.map(Some).ok_or_else(|| SealFault::Broken(self.path.clone()))
    }

    /// Keeps what is cached.
    ///
    /// # Errors
    /// When it cannot be written; the copy before it stays then.
    pub fn store(&self, cache: &KeyCache) -> Result<(), SealFault> {
        let nonce = clock::random_bytes::<NONCE_LEN>().map_err(|error| self.io("seal", io::Error::other(error)))?;
        let mut text = Zeroizing::new(print(cache).as_bytes().to_vec());
        let (aad, unique) = (Aad::from(MAGIC), Nonce::assume_unique_for_key(nonce));
        let tag = self.key.seal_in_place_separate_tag(unique, aad, text.as_mut_slice());
        let tag = tag.map_err(|_| self.io("seal", io::Error::other("the cipher failed")))?;
        let whole = [MAGIC, &nonce, &text, tag.as_ref()].concat();
        self.write(&whole).map_err(|error| self.io("write", error))
    }

    fn unseal(&self, sealed: &[u8]) -> Option<Zeroizing<String>> {
        let rest = sealed.strip_prefix(MAGIC)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(MAGIC), &mut bytes).ok()?;
        Some(Zeroizing::new(std::str::from_utf8(text).ok()?.to_owned()))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("sealed.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)
    }

    fn io(&self, action: &'static str, error: io::Error) -> SealFault {
        SealFault::Io { action, path: self.path.clone(), error }
    }
}

/// One line for the times, one for each key; no field can hold a space.
fn print(cache: &KeyCache) -> Zeroizing<String> {
    // The whole room at once: a growing buffer would leave copies of the secrets behind.
    let room = |entry: &Entry| entry.text.len() + entry.other.as_ref().map_or(0, |other| other.text.len()) + 200;
    let mut text = Zeroizing::new(String::with_capacity(100 + cache.entries.values().map(room).sum::<usize>()));
    // writing to a string does not fail
    // A mark is a word; one that others made something else of is as good as none.
    let mark =
        cache.database.as_deref().filter(|mark| !mark.is_empty() && mark.bytes().all(|b| b.is_ascii_graphic()));
    let _ = writeln!(text, "{} {} {}", cache.good_at.unwrap_or_default(), cache.offset, mark.unwrap_or("-"));
    for (id, entry) in &cache.entries {
        let gone = match entry.gone {
            None => "-".to_owned(),
            Some(Gone::Lapsed) => LAPSED.to_owned(),
            Some(Gone::Lost(since)) => since.to_string(),
        };
        let _ = write!(text, "{id} {} {} {gone}", *entry.text, number(entry.expires));
        if let Some(other) = &entry.other {
            let _ = write!(text, " {} {}", *other.text, number(other.until));
        }
        text.push('\n');
    }
    text
}

const LAPSED: &str = "lapsed";

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn parse(text: &str) -> Option<KeyCache> {
    let mut lines = text.lines();
    let mut fields = lines.next()?.split(' ');
    let (good_at, offset, mark) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?);
    let database = (mark != "-").then(|| mark.to_owned());
    let mut entries = BTreeMap::new();
    for line in lines {
        let mut fields = line.split(' ');
        let id = ServiceId::parse(fields.next()?)?;
        let (text, key) = key(fields.next()?)?;
        let expires = parse_number(fields.next()?)?;
        let gone = match fields.next()? {
            LAPSED => Some(Gone::Lapsed),
            since => parse_number(since)?.map(Gone::Lost),
        };
        let other = match fields.next() {
            None => None,
            Some(other) => {
                let (text, key) = self::key(other)?;
                Some(Other { text, key, until: parse_number(fields.next()?)? })
            }
        };
        entries.insert(id, Entry { text, key, other, expires, gone });
    }
    Some(KeyCache::restored(good_at, offset, database, entries))
}

fn key(text: &str) -> Option<(Zeroizing<String>, Arc<ServiceKey>)> {
    Some((Zeroizing::new(text.to_owned()), Arc::new(ServiceKey::from_text(text).ok()?)))
}

fn parse_number(text: &str) -> Option<Option<Millis>> {
    if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests;
