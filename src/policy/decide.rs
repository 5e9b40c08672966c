//! [`decide`]: the contract's table, in the contract's order.
//!
//! The whole judgement of one readable request is [`judge`]: classify, verify, decide, draw. It touches no clock, file or
//! socket; the two shared tables (failure limit, replay) are state machines handed in. `explain`, `verify` and the proxy
//! all call it.

use super::decision::Decision;
use super::enforcement::Enforcement;
use super::failure_limit::FailureLimit;
use super::override_token::OverrideToken;
use super::replay::ReplayTable;
use crate::request::facts::RequestFacts;
use crate::rules::classify::RuleSet;
use crate::signature::verify::KeyLookup;
use std::time::Instant;

/// What one generation of the configuration holds ready for judging.
pub struct Policy<'p> {
    /// The rules.
    pub rules: &'p RuleSet,
    /// Mode, percentage, sampling.
    pub enforcement: Enforcement,
    /// The static override token.
    pub override_token: Option<&'p OverrideToken>,
    /// Seconds a timestamp may be off.
    pub window_seconds: u64,
    /// Whether a second sight of a signature is looked at, and refused.
    pub replay: ReplayPolicy<'p>,
    /// Refusals per address.
    pub failure_limit: &'p FailureLimit,
    /// Does the limit also hold valid signatures?
    pub lockout: bool,
    /// The sampling salt.
    pub salt: &'p [u8; 32],
}

/// What to do about a second sight of a valid signature.
#[derive(Clone, Copy)]
pub enum ReplayPolicy<'p> {
    /// Nothing is remembered.
    Off,
    /// It is recorded.
    Report(&'p ReplayTable),
    /// It is refused.
    Refuse(&'p ReplayTable),
}

/// Time and chance of one request.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Wall clock, unix seconds: for signatures.
    pub unix_seconds: u64,
    /// Monotonic: for windows.
    pub monotonic: Instant,
    /// A random draw, used only by `sampling = "random"`.
    pub random: u64,
}

/// Judges one request. `lookup` finds the keys of a well-formed id; it is called only for service-class requests.
pub fn judge<'k>(
    _policy: &Policy<'_>,
    _facts: &RequestFacts<'_>,
    _lookup: impl FnOnce(&str) -> KeyLookup<'k>,
    _moment: Moment,
) -> Decision {
    unimplemented!()
}
