//! What would the sidecar decide? Its own judgement ([`judge`]) with tables that nothing else sees.
//!
//! An empty failure limit, no replay table, no override token, a salt of zeros: nothing is counted or remembered, and no
//! secret is read. So the answer is that to a first request, and a draw says nothing about the draws of a running sidecar.

use crate::clock;
use crate::config::Config;
use crate::policy::decide::{Moment, Policy, ReplayPolicy, judge};
use crate::policy::decision::Decision;
use crate::policy::enforcement::{Enforcement, Percentage};
use crate::policy::failure_limit::FailureLimit;
use crate::policy::grants::GrantTable;
use crate::request::facts::RequestFacts;
use crate::signature::verify::KeyLookup;

/// The circumstances that the question sets, and not the configuration.
pub struct Circumstances<'c> {
    /// What is in force.
    pub enforcement: Enforcement,
    /// As a running sidecar has them set; none without one.
    pub rule_percentages: &'c [Option<Percentage>],
    /// How far a caller's clock may be off.
    pub window_seconds: u64,
    /// Seconds since the epoch.
    pub now: u64,
    /// What is drawn where enforcement is not whole.
    pub draw: u64,
}

/// The decision about these facts.
pub fn judged<'k>(
    config: &Config,
    facts: &RequestFacts<'_>,
    lookup: impl FnOnce(&str) -> KeyLookup<'k>,
    circumstances: &Circumstances<'_>,
) -> Decision {
    let limit = config.rate_limit;
    let policy = Policy {
        rules: &config.rules,
        enforcement: circumstances.enforcement,
        rule_percentages: circumstances.rule_percentages,
        override_token: None,
        grants: &GrantTable::default(),
        window_seconds: circumstances.window_seconds,
        replay: ReplayPolicy::Off,
        failure_limit: &FailureLimit::new(limit.failures, limit.window, 1),
        lockout: false,
        certificates: &config.certificates,
        salt: &[0; 32],
    };
    let moment =
        Moment { unix_seconds: circumstances.now, monotonic: clock::monotonic(), random: circumstances.draw };
    judge(&policy, facts, lookup, moment)
}
