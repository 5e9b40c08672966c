//! [`ServiceId`], [`ServiceKey`] (secret), [`Fingerprint`].

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

/// A service's secret: the ASCII text of the key file, which is the HMAC key, with its prepared MAC state. No `Debug` of
/// the value, no `Clone`, wiped on drop.
pub struct ServiceKey {}

/// What may be shown of a key: 8 hex digits of a hash over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 4]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
