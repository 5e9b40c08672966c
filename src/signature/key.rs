//! [`ServiceId`], [`ServiceKey`] (secret), [`Fingerprint`].
//!
//! What stays secret does so by type: a key cannot be printed, cloned or compared from outside this module; what is shown of it
//! is a fingerprint. A text shorter than 32 characters is refused: it was meant as something else, or is no secret.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`: cannot hold the `:` of the signed text. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(Arc<str>);

impl ServiceId {
    /// `None` when the text is not a service id.
    pub fn parse(text: &str) -> Option<ServiceId> {
        is_service_id(text.as_bytes()).then(|| ServiceId(Arc::from(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Is this text a service id?
pub fn is_service_id(text: &[u8]) -> bool {
    matches!(text, [first, rest @ ..] if first.is_ascii_alphanumeric() && rest.len() < 64
        && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')))
}

impl fmt::Debug for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ServiceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Is this text a key as `keys generate` makes them, 64 lowercase hex digits? Others of at least 32 characters are taken too,
/// but are more likely a mistake or a password.
pub fn is_generated_form(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A service's secret: a MAC state prepared from the ASCII text of its key file. The text itself is not kept. No `Debug`
/// of the value, no `Clone`, wiped on drop (so are the states cloned from it).
pub struct ServiceKey {
    prepared: Hmac<Sha256>,
    fingerprint: Fingerprint,
}

/// Why a text is no service key. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// Nothing.
    #[error("the key is empty; expected {KEY_TEXT}")]
    Empty,
    /// Too little to be a secret.
    #[error("the key has {0} characters; at least {MIN_KEY_LENGTH} are needed")]
    TooShort(usize),
    /// Longer than any key: another file was meant.
    #[error("the key has {0} characters; at most {MAX_KEY_LENGTH} are taken")]
    TooLong(usize),
    /// A space, a control character or something beyond ASCII; where, from 1.
    #[error("character {0} of the key is a space, a control character or not ASCII")]
    NotPrintableAscii(usize),
}

const MIN_KEY_LENGTH: usize = 32;
const MAX_KEY_LENGTH: usize = 1024;
const KEY_TEXT: &str = "64 lowercase hex digits (256 bits)";

impl ServiceKey {
    /// Prepares the key from its text. **The HMAC key is the ASCII bytes of the text**, hex or not: the fleet's clients
    /// never decode it.
    ///
    /// # Errors
    /// When the text cannot be a key.
    pub fn from_text(text: &str) -> Result<ServiceKey, KeyTextError> {
        if text.is_empty() {
            return Err(KeyTextError::Empty);
        }
        if let Some(index) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(KeyTextError::NotPrintableAscii(index + 1));
        }
        match text.len() {
            ..MIN_KEY_LENGTH => Err(KeyTextError::TooShort(text.len())),
            MIN_KEY_LENGTH..=MAX_KEY_LENGTH => Ok(ServiceKey::from_bytes(text.as_bytes())),
            _ => Err(KeyTextError::TooLong(text.len())),
        }
    }

    /// A key from raw bytes: only for [`near_miss`](super::near_miss), which asks whether a caller signed with the decoded bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> ServiceKey {
        #[expect(clippy::unwrap_used, reason = "HMAC takes keys of any length (RFC 2104)")]
        let prepared = Hmac::<Sha256>::new_from_slice(bytes).unwrap();
        let digest = prepared.clone().chain_update(FINGERPRINT_TEXT).finalize().into_bytes();
        let fingerprint = Fingerprint([digest[0], digest[1], digest[2], digest[3]]);
        ServiceKey { prepared, fingerprint }
    }

    /// What may be shown of it.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A MAC state ready to take a text: a copy of the prepared one, which saves hashing the key for each request.
    pub(super) fn begin(&self) -> Hmac<Sha256> {
        #[cfg(test)]
        super::verify::MACS.with(|count| count.set(count.get() + 1));
        self.prepared.clone()
    }
}

/// Shows the fingerprint, never the key.
impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceKey({})", self.fingerprint)
    }
}

/// The keys that may verify one service: during a rotation, two overlap. Copies share them.
#[derive(Debug, Clone)]
pub struct ServiceKeys {
    /// What the service signs with, or soon will.
    pub current: Arc<ServiceKey>,
    /// The other key of a rotation: what it signed with before, as long as that is still taken, or what it is about to sign with.
    pub previous: Option<Arc<ServiceKey>>,
    /// While the previous key is still taken: until when it was meant to be, in Unix seconds. It stays beyond that while it is used.
    pub overlap_until: Option<u64>,
}

impl ServiceKeys {
    /// One key, no rotation under way.
    pub fn single(key: ServiceKey) -> ServiceKeys {
        ServiceKeys { current: Arc::new(key), previous: None, overlap_until: None }
    }

    /// Both, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServiceKey>> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// Cannot be a signed text, which begins with a letter or digit: knowing a fingerprint is not knowing a signature.
const FINGERPRINT_TEXT: &[u8] = b"\0countersign key fingerprint";

/// What may be shown of a key: 8 hex digits. They are cut from a MAC made with the key, so they help a guesser no more
/// than any one signature on the wire does, and leave 224 of 256 bits unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 4]);

impl Fingerprint {
    /// The fingerprint that reads so; `None` when the text is none.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        let well_formed = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u32::from_str_radix(text, 16).ok().filter(|_| well_formed).map(|bits| Fingerprint(bits.to_be_bytes()))
    }

    /// To spread keys by.
    pub(crate) const fn first_byte(self) -> u8 {
        self.0[0]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
