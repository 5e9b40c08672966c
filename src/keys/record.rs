//! [`KeyRecord`]: all that a store knows of one service's keys. The same facts stand in Redis and in a key file.
//!
//! At most two keys verify at any time: the current one, and either the next one (staged, not yet signed with) or the previous one (no
//! longer meant to be signed with). `keys::rotation` says how one becomes the other.

use crate::clock;
use crate::signature::key::{Fingerprint, KeyTextError, ServiceKey, ServiceKeys};
use data_encoding::HEXLOWER;
use std::fmt;
use std::io;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// The text of a key on its way from one store to another. No `Clone`, wiped on drop, shown as a fingerprint.
pub struct KeyText {
    text: Zeroizing<String>,
    fingerprint: Fingerprint,
}

impl KeyText {
    /// A text that can be a key.
    ///
    /// # Errors
    /// When it cannot.
    pub fn parse(text: &str) -> Result<KeyText, KeyTextError> {
        let fingerprint = ServiceKey::from_text(text)?.fingerprint();
        Ok(KeyText { text: Zeroizing::new(text.to_owned()), fingerprint })
    }

    /// A new key: 256 bits from the kernel, written as 64 lowercase hex digits.
    ///
    /// # Errors
    /// When the kernel has none to give.
    pub fn generate() -> io::Result<KeyText> {
        let mut bytes = clock::random_bytes::<32>().map_err(io::Error::other)?;
        let text = Zeroizing::new(HEXLOWER.encode(&bytes));
        bytes.zeroize();
        KeyText::parse(&text).map_err(io::Error::other)
    }

    /// The secret, for a store or a file and nobody else.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What may be shown of it.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Another copy of it: a rotation writes one key under two names.
    pub(super) fn copy(&self) -> KeyText {
        KeyText { text: self.text.clone(), fingerprint: self.fingerprint }
    }

    /// Are both the same key? In constant time for texts of one length.
    pub fn is(&self, other: &KeyText) -> bool {
        bool::from(self.text.as_bytes().ct_eq(other.text.as_bytes()))
    }
}

/// Shows the fingerprint, never the key.
impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({})", self.fingerprint)
    }
}

/// One service's keys. Times are Unix seconds.
#[derive(Debug)]
pub struct KeyRecord {
    /// What the service signs with.
    pub current: KeyText,
    /// When it was made, where that is known.
    pub made: Option<u64>,
    /// When the store lets it lapse; `None`: never.
    pub expires: Option<u64>,
    /// What it signed with before.
    pub previous: Option<Previous>,
    /// What it will sign with.
    pub next: Option<Next>,
}

/// A key on its way out.
#[derive(Debug)]
pub struct Previous {
    /// It.
    pub key: KeyText,
    /// It is taken until then at least; longer while it is used.
    pub until: u64,
}

/// A key on its way in.
#[derive(Debug)]
pub struct Next {
    /// It.
    pub key: KeyText,
    /// Verifiers have been told then.
    pub since: u64,
}

impl KeyRecord {
    /// A key and nothing else.
    pub const fn single(current: KeyText, made: Option<u64>) -> KeyRecord {
        KeyRecord { current, made, expires: None, previous: None, next: None }
    }

    /// Are they the same keys in the same places? When they were made, and until when they count, may differ.
    pub fn has_keys_of(&self, other: &KeyRecord) -> bool {
        let same = |one: Option<&KeyText>, other: Option<&KeyText>| match (one, other) {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.current.is(&other.current)
            && same(self.previous.as_ref().map(|p| &p.key), other.previous.as_ref().map(|p| &p.key))
            && same(self.next.as_ref().map(|n| &n.key), other.next.as_ref().map(|n| &n.key))
    }

    /// The keys that may verify, prepared: the current one, and the other one of a rotation.
    ///
    /// # Errors
    /// None of its texts can be other than a key; the type cannot say so.
    pub fn to_keys(&self) -> Result<ServiceKeys, KeyTextError> {
        let prepared = |key: &KeyText| ServiceKey::from_text(key.reveal()).map(Arc::new);
        let other = self.next.as_ref().map(|next| &next.key).or(self.previous.as_ref().map(|previous| &previous.key));
        let overlap_until = self.previous.as_ref().filter(|_| self.next.is_none()).map(|previous| previous.until);
        let previous = other.map(prepared).transpose()?;
        Ok(ServiceKeys { current: prepared(&self.current)?, previous, overlap_until })
    }

    /// Seconds until it should have been replaced, negative when that time has passed: until the store lets it lapse, else until it is
    /// `ttl` seconds old. `None` where neither is known.
    pub fn left(&self, ttl: u64, now: u64) -> Option<i64> {
        let end = self.expires.or_else(|| Some(self.made?.saturating_add(ttl)))?;
        Some(end.cast_signed().saturating_sub(now.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_as_its_fingerprint_and_is_only_itself() {
        let (a, b) = (KeyText::parse(&"a".repeat(64)).unwrap(), KeyText::parse(&"b".repeat(64)).unwrap());
        assert!(a.is(&KeyText::parse(a.reveal()).unwrap()) && !a.is(&b));
        assert_eq!(format!("{a:?}"), format!("KeyText({})", a.fingerprint()));
        assert!(!format!("{:?}", KeyRecord::single(a, None)).contains("aaaaaaaa"));
    }

    #[test]
    fn generated_keys_are_256_bits_in_64_hex_digits_and_never_the_same() {
        let (a, b) = (KeyText::generate().unwrap(), KeyText::generate().unwrap());
        assert!(crate::signature::key::is_generated_form(a.reveal()) && !a.is(&b));
    }

    #[test]
    fn what_is_left_is_the_stores_word_before_our_own_reckoning() {
        let key = || KeyText::parse(&"a".repeat(64)).unwrap();
        let reckoned = KeyRecord::single(key(), Some(100));
        assert_eq!((reckoned.left(50, 120), reckoned.left(50, 160)), (Some(30), Some(-10)));
        let lapsing = KeyRecord { expires: Some(300), ..KeyRecord::single(key(), Some(100)) };
        assert_eq!(lapsing.left(50, 120), Some(180));
        assert_eq!(KeyRecord::single(key(), None).left(50, 120), None);
    }
}
