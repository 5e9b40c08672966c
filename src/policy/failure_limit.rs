//! [`FailureLimit`]: bounded refusal counts per client address.

use crate::request::client::LimitKey;
use std::time::{Duration, Instant};

/// Sliding-window refusal counts, sharded, bounded. A state machine over `now`: reads no clock.
pub struct FailureLimit {}

/// What the limit says of one more refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Under the limit, and now counted.
    Counted,
    /// Over the limit, not counted; how long until the oldest refusal leaves the window.
    Limited {
        /// At least 1 s, at most the window.
        retry_after: Duration,
    },
}

impl FailureLimit {
    /// `failures` refusals in `window` per key; at most `addresses` keys are remembered.
    pub fn new(_failures: u32, _window: Duration, _addresses: usize) -> FailureLimit {
        unimplemented!()
    }

    /// Changes the figures on reload; counts stay.
    pub fn reconfigure(&self, _failures: u32, _window: Duration, _addresses: usize) {
        unimplemented!()
    }

    /// One more refusal from `key`: atomically counted or limited.
    pub fn refuse(&self, _key: LimitKey, _now: Instant) -> Admission {
        unimplemented!()
    }

    /// Is this key over the limit? Counts nothing (for `lockout`).
    pub fn is_limited(&self, _key: LimitKey, _now: Instant) -> Option<Duration> {
        unimplemented!()
    }
}
