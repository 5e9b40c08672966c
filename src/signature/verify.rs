//! [`verify`]: the only maker of [`AuthenticatedService`]; otherwise [`VerifyFailure`].
//!
//! In the contract's order: the window (it needs no key, so it tells nothing about one), then the key, then the MAC.
//!
//! Attack answered: enumeration of ids. A failed check makes the same number of MACs over the same texts whether the id is
//! known or not, and whether a rotation is under way or not: always two keys, for each form of the path. Where a service
//! has one key, it is asked twice; where there is none, a decoy is. Its result is thrown away, so it does not matter
//! that its key stands here for all to read, and a match with it ends nothing early. Only success is faster, and
//! success shows anyway.

use super::headers::PresentedSignature;
use super::hmac_v1::{self, SignedPaths};
use super::key::{Fingerprint, ServiceId, ServiceKey, ServiceKeys};
use crate::request::facts::RequestFacts;
use std::sync::LazyLock;
use subtle::ConstantTimeEq;

/// A proved identity. Only [`verify`] makes one, and setting the identity header upstream demands one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedService {
    id: ServiceId,
    skew_seconds: i64,
    key: Fingerprint,
}

impl AuthenticatedService {
    /// Who.
    pub fn id(&self) -> &ServiceId {
        &self.id
    }

    /// The caller's clock minus ours, in seconds.
    pub fn skew_seconds(&self) -> i64 {
        self.skew_seconds
    }

    /// The key it signed with: during a rotation, the old or the new one.
    pub fn key(&self) -> Fingerprint {
        self.key
    }
}

/// What the key table says of a claimed id.
#[derive(Debug, Clone, Copy)]
pub enum KeyLookup<'k> {
    /// Its keys: the current one, and during a rotation the previous one.
    Known(&'k ServiceId, &'k ServiceKeys),
    /// The table is good and has no such id.
    Unknown,
    /// Where its keys are kept cannot be asked, and none that still counts is known: neither that it exists nor that it does not.
    Unavailable,
}

/// Why a presented signature does not prove anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyFailure {
    /// The timestamp is further from now than the window allows; by how much the caller's clock is off.
    TimestampOutsideWindow {
        /// The caller's clock minus ours.
        skew_seconds: i64,
    },
    /// No such service; the same work was done as for a known one.
    UnknownService,
    /// The MAC is another.
    InvalidSignature,
    /// No keys to check against.
    KeysUnavailable,
}

/// Checks a signature. `now` and `window` in seconds; a timestamp exactly `window` away is accepted. `lookup` is asked once,
/// and only for a timestamp inside the window.
///
/// # Errors
/// Which check failed.
pub fn verify<'k>(
    presented: &PresentedSignature<'_>,
    facts: &RequestFacts<'_>,
    lookup: impl FnOnce(&str) -> KeyLookup<'k>,
    window: u64,
    now: u64,
) -> Result<AuthenticatedService, VerifyFailure> {
    let skew_seconds = presented.skew_seconds(now);
    if presented.unix_seconds.abs_diff(now) > window {
        return Err(VerifyFailure::TimestampOutsideWindow { skew_seconds });
    }
    let (known, current, previous) = match lookup(presented.service_id) {
        KeyLookup::Known(id, keys) => (Some(id), &*keys.current, keys.previous.as_deref().unwrap_or(&keys.current)),
        KeyLookup::Unknown => (None, &*DECOY, &*DECOY),
        KeyLookup::Unavailable => return Err(VerifyFailure::KeysUnavailable),
    };
    let paths = SignedPaths::of(facts.path);
    for key in [current, previous] {
        for path in paths.iter() {
            let mac = hmac_v1::mac(key, presented.service_id, facts.method, path, presented.timestamp);
            let matches = bool::from(mac.ct_eq(&presented.mac));
            if let (true, Some(id)) = (matches, known) {
                return Ok(AuthenticatedService { id: id.clone(), skew_seconds, key: key.fingerprint() });
            }
        }
    }
    Err(if known.is_some() { VerifyFailure::InvalidSignature } else { VerifyFailure::UnknownService })
}

/// Stands in for the keys of an unknown service.
static DECOY: LazyLock<ServiceKey> = LazyLock::new(|| ServiceKey::from_bytes(&[b'0'; 64]));

#[cfg(test)]
thread_local! {
    /// How many MACs this thread began: the work that must not tell a known id from an unknown one.
    pub(super) static MACS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests;
