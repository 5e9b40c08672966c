//! One key file: `SERVICE_KEY=`, perhaps `SERVICE_ID=`, during a rotation a second key, and what can be wrong with it.
//!
//! | line | meaning |
//! |---|---|
//! | `SERVICE_KEY` | what the service signs with |
//! | `SERVICE_KEY_NEXT`, `SERVICE_KEY_NEXT_SINCE` | what it will sign with, taken already; staged when |
//! | `SERVICE_KEY_PREVIOUS`, `SERVICE_KEY_PREVIOUS_UNTIL` | what it signed with, still taken; at least until when |
//! | `SERVICE_KEY_MADE` | when the key was made |
//!
//! Times are Unix seconds. A program that knows `SERVICE_KEY` alone reads the right key all through a rotation.

use super::env_file::{EnvFile, ValueError};
use super::secret_file::{SecretFileFault, SecretReader};
use crate::signature::key::{KeyTextError, ServiceId, ServiceKey, ServiceKeys};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What a key file says.
pub struct KeyFile {
    /// `SERVICE_ID`, where it is given.
    pub id: Option<ServiceId>,
    /// `SERVICE_KEY`: the secret's text. A running sidecar drops it after preparing the key.
    pub text: Zeroizing<String>,
    /// The same, prepared.
    pub key: ServiceKey,
    /// `SERVICE_KEY_MADE`, in Unix seconds.
    pub made: Option<u64>,
    /// `SERVICE_KEY_PREVIOUS`
    pub previous: Option<SecondKey>,
    /// `SERVICE_KEY_NEXT`
    pub next: Option<SecondKey>,
}

/// The other key of a rotation.
pub struct SecondKey {
    /// The secret's text.
    pub text: Zeroizing<String>,
    /// The same, prepared.
    pub key: ServiceKey,
    /// Of the previous key: until when it is taken at least; of the next one: since when it is staged. In Unix seconds; 0 where
    /// the file does not say.
    pub at: u64,
}

/// Names of the lines of a key file.
pub(super) mod names {
    pub(crate) const ID: &str = "SERVICE_ID";
    pub(crate) const KEY: &str = "SERVICE_KEY";
    pub(crate) const MADE: &str = "SERVICE_KEY_MADE";
    pub(crate) const PREVIOUS: &str = "SERVICE_KEY_PREVIOUS";
    pub(crate) const PREVIOUS_UNTIL: &str = "SERVICE_KEY_PREVIOUS_UNTIL";
    pub(crate) const NEXT: &str = "SERVICE_KEY_NEXT";
    pub(crate) const NEXT_SINCE: &str = "SERVICE_KEY_NEXT_SINCE";
}

/// Why a file gives no key. As text: what was found, what was expected, what to do; never any of the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileFault {
    /// It could not be read, or not be trusted.
    #[error(transparent)]
    File(#[from] SecretFileFault),
    /// A line cannot be read as a shell would.
    #[error("{name}: {error}")]
    Value {
        /// Whose line.
        name: &'static str,
        /// Where and why.
        error: ValueError,
    },
    /// No `SERVICE_KEY`.
    #[error("has no line SERVICE_KEY=...; expected 64 lowercase hex digits there")]
    NoKey,
    /// `SERVICE_KEY`, or a second key, is no key.
    #[error("{name}: {error}")]
    NotAKey {
        /// Whose line.
        name: &'static str,
        /// Why.
        error: KeyTextError,
    },
    /// A time is none. It is no secret, but whatever was put there by mistake may be: it is not shown.
    #[error("{0} is not a time; expected Unix seconds")]
    NotATime(&'static str),
    /// `SERVICE_ID` is no service id. It is no secret, but whatever was put there by mistake may be: it is not shown.
    #[error("SERVICE_ID is not a service id; expected 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit")]
    NotAnId,
    /// `SERVICE_ID` is another than the name of the file.
    #[error("SERVICE_ID is {found}, but the file is named for {expected}; rename the file or correct the line")]
    OtherId {
        /// What the file says.
        found: ServiceId,
        /// What it is named for.
        expected: ServiceId,
    },
    /// `SERVICE_ID` is another than the service whose key is wanted.
    #[error(
        "SERVICE_ID is {found}, but the key of {wanted} is wanted; name that service's file, or correct one of the ids"
    )]
    NotTheOneWanted {
        /// What the file says.
        found: ServiceId,
        /// Whose key should be in it.
        wanted: ServiceId,
    },
    /// The name of the file is no service id.
    #[error(
        "is not named for a service; expected ID.env, ID of 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit"
    )]
    NotNamedForAService,
}

impl KeyFile {
    /// Reads a key file that may be trusted.
    ///
    /// # Errors
    /// When it cannot be read, may not be trusted, or gives no key.
    pub fn read(reader: &SecretReader, path: &Path) -> Result<KeyFile, KeyFileFault> {
        KeyFile::parse(&reader.read(path)?)
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// When it gives no key.
    pub fn parse(text: &str) -> Result<KeyFile, KeyFileFault> {
        let file = EnvFile::parse(text);
        let value = |name| file.value(name).map_err(|error| KeyFileFault::Value { name, error });
        let id = match value(names::ID)? {
            None | Some("") => None,
            Some(id) => Some(ServiceId::parse(id).ok_or(KeyFileFault::NotAnId)?),
        };
        let time = |name| -> Result<Option<u64>, KeyFileFault> {
            let Some(text) = value(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| KeyFileFault::NotATime(name))
        };
        let second = |name, at| -> Result<Option<SecondKey>, KeyFileFault> {
            let Some(text) = value(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
            let key = ServiceKey::from_text(text).map_err(|error| KeyFileFault::NotAKey { name, error })?;
            Ok(Some(SecondKey { text: Zeroizing::new(text.to_owned()), key, at: time(at)?.unwrap_or_default() }))
        };
        let text = value(names::KEY)?.ok_or(KeyFileFault::NoKey)?;
        Ok(KeyFile {
            id,
            made: time(names::MADE)?,
            previous: second(names::PREVIOUS, names::PREVIOUS_UNTIL)?,
            next: second(names::NEXT, names::NEXT_SINCE)?,
            ..KeyFile::of_key(text)?
        })
    }

    /// The keys that may verify: the current one, and the other one of a rotation. A key that is staged comes before one that is on its
    /// way out: signers are about to use it.
    pub fn into_keys(self) -> ServiceKeys {
        let overlap_until =
            if self.next.is_some() { None } else { self.previous.as_ref().map(|previous| previous.at) };
        let previous = self.next.or(self.previous).map(|second| Arc::new(second.key));
        ServiceKeys { current: Arc::new(self.key), previous, overlap_until }
    }

    /// As if a file had held this key and nothing else.
    ///
    /// # Errors
    /// When the text is no key.
    pub fn of_key(text: &str) -> Result<KeyFile, KeyFileFault> {
        let key = ServiceKey::from_text(text).map_err(|error| KeyFileFault::NotAKey { name: names::KEY, error })?;
        let text = Zeroizing::new(text.to_owned());
        Ok(KeyFile { id: None, text, key, made: None, previous: None, next: None })
    }

    /// Is this the file of the service that it is named for? It is, unless it says otherwise.
    ///
    /// # Errors
    /// When it says another.
    pub fn belongs_to(self, expected: &ServiceId) -> Result<KeyFile, KeyFileFault> {
        match self.other_than(expected) {
            Some(found) => Err(KeyFileFault::OtherId { found, expected: expected.clone() }),
            None => Ok(self),
        }
    }

    /// The same where the configuration or an argument says whose key is wanted, whatever the name of the file.
    ///
    /// # Errors
    /// When it says another.
    pub fn is_of(self, wanted: &ServiceId) -> Result<KeyFile, KeyFileFault> {
        match self.other_than(wanted) {
            Some(found) => Err(KeyFileFault::NotTheOneWanted { found, wanted: wanted.clone() }),
            None => Ok(self),
        }
    }

    fn other_than(&self, expected: &ServiceId) -> Option<ServiceId> {
        self.id.clone().filter(|found| found != expected)
    }
}

/// The service that a file `ID.env` is named for.
///
/// # Errors
/// When its name is no service id and `.env`.
pub fn service_of(path: &Path) -> Result<ServiceId, KeyFileFault> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".env"));
    name.and_then(ServiceId::parse).ok_or(KeyFileFault::NotNamedForAService)
}

#[cfg(test)]
mod tests;
