//! [`verify`]: the only maker of [`AuthenticatedService`]; otherwise [`VerifyFailure`].

use super::headers::PresentedSignature;
use super::key::{ServiceId, ServiceKey};
use crate::request::facts::RequestFacts;
use crate::request::readings::Readings;

/// A proved identity. Only [`verify`] makes one, and setting the identity header upstream demands one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedService {
    id: ServiceId,
    skew_seconds: i64,
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
}

/// What the key table says of a claimed id.
pub enum KeyLookup<'k> {
    /// Its keys: the current one, and during a rotation the previous one.
    Known(&'k ServiceId, &'k [std::sync::Arc<ServiceKey>]),
    /// The table is good and has no such id.
    Unknown,
    /// No table could be read and none is cached.
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

/// Checks a signature, in the contract's order (window, then key, then MAC). `now` and `window` in seconds.
pub fn verify(
    _presented: &PresentedSignature<'_>,
    _facts: &RequestFacts<'_>,
    _readings: &Readings<'_>,
    _keys: KeyLookup<'_>,
    _window: u64,
    _now: u64,
) -> Result<AuthenticatedService, VerifyFailure> {
    unimplemented!()
}
