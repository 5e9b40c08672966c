//! [`Limits`]: what a figure may be. The fleet's own marks; what an operator may set stands in the struct.

use super::Gate;
use crate::rollout::baseline::BasisPoints;

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a phase has to last, seconds.
    pub elapsed: u64,
    /// Not longer ago than this a rollback was drilled, seconds.
    pub drilled_within: u64,
    /// Not longer ago than this somebody scraped, seconds.
    pub scraped_within: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { elapsed: DAY, drilled_within: 30 * DAY, scraped_within: 300 }
    }
}

const DAY: u64 = 86_400;

/// How long every key has to last from here, seconds: before the start, for the whole rollout; later, until the mark at which
/// operators are warned.
pub(super) const fn key_seconds(gate: Gate) -> u64 {
    match gate {
        Gate::Start => 85 * DAY,
        Gate::Soft | Gate::Ramp | Gate::Full => 30 * DAY,
    }
}

/// Clocks differ by less than this, seconds; the window of a signature is three times that.
pub(super) const CLOCKS: u64 = 100;

/// Shares of time and calls, at least.
pub(super) const UPTIME: BasisPoints = BasisPoints(9_990);
pub(super) const SUCCESS: BasisPoints = BasisPoints(9_800);
pub(super) const AVAILABILITY: BasisPoints = BasisPoints(9_990);
/// And at most.
pub(super) const UPSTREAM_ERRORS: BasisPoints = BasisPoints(50);

/// 95 of 100 take no longer, microseconds.
pub(super) const OVERHEAD_P95: u64 = 25_000;
pub(super) const REQUEST_P95: u64 = 250_000;

/// In the worst hour, at most.
pub(super) const RATE_LIMITED: u64 = 5;
pub(super) const UNAUTHORIZED: u64 = 10;
pub(super) const INVALID_SIGNATURES: u64 = 5;
pub(super) const LATE_TIMESTAMPS: u64 = 1;
pub(super) const BLOCKED: u64 = 10;
pub(super) const EXEMPT_UNAUTHORIZED: u64 = 1;

/// More in any hour is critical.
pub(super) mod critical {
    use super::BasisPoints;

    pub(in super::super) const FAILED_RATE: BasisPoints = BasisPoints(500);
    pub(in super::super) const UPSTREAM_ERRORS: BasisPoints = BasisPoints(100);
    pub(in super::super) const RATE_LIMITED: u64 = 20;
    pub(in super::super) const UNAUTHORIZED: u64 = 50;
    pub(in super::super) const INVALID_SIGNATURES: u64 = 20;
    pub(in super::super) const LATE_TIMESTAMPS: u64 = 10;
    pub(in super::super) const BLOCKED: u64 = 50;
    pub(in super::super) const EXEMPT_UNAUTHORIZED: u64 = 10;
    /// A rate over fewer calls in its hour alerts nobody.
    pub(in super::super) const MIN_CALLS: u64 = 20;
}
