//! [`Daily`]: what happened in the period? The figures of the daily report.
//!
//! - *Successes* are authenticated calls, *failures* refusals on service paths, carried out or not. Requests that nobody could read
//!   are counted apart, as are exempt and open ones: neither is a failure of anybody's authentication.
//! - A status with the time of the upstream's answer beside it is the upstream's own; a 502, 503 or 504 without one is ours, in its
//!   place. Refusals are neither.
//! - Drift is that of callers whose identity is proved, and of those whose timestamp was out of the window and whose address is
//!   theirs: a forged timestamp of a stranger is nobody's clock.

use super::drift::Drift;
use super::peers::{PeerIndex, Peers};
use super::{Seen, Tally};
use crate::policy::decision::{Outcome, Refusal};
use crate::rules::classify::Class;
use std::collections::BTreeMap;

/// Figures of one service.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// Authenticated.
    pub authenticated: u64,
    /// Refused.
    pub refused: u64,
    /// Let pass by mode or percentage.
    pub would_refuse: u64,
    /// Passed by an override.
    pub overrides: u64,
    /// Its clock minus ours.
    pub drift: Drift,
}

/// What became of refusals with one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Carried out.
    pub refused: u64,
    /// Not.
    pub would_refuse: u64,
}

/// How the upstream did, as far as records tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Answers of its own.
    pub answered: u64,
    /// Those with a 5xx.
    pub errors: BTreeMap<u16, u64>,
    /// Ours in its place: 502, 503, 504.
    pub ours: BTreeMap<u16, u64>,
}

/// Takes in one record after the other.
#[derive(Debug, Default)]
pub struct Daily {
    /// Inbound decisions.
    pub all: Tally,
    /// Authenticated.
    pub successes: u64,
    /// Refusals on service paths, carried out or not, by reason.
    pub failures: BTreeMap<Box<str>, Refusals>,
    /// Requests that could not be read.
    pub malformed: u64,
    /// Exempt requests.
    pub exempt: u64,
    /// Requests no rule covers.
    pub open: u64,
    /// Passed by an override, by grant; `None`: the static token.
    pub overrides: BTreeMap<Option<Box<str>>, Tally>,
    /// Failures from addresses of nobody.
    pub strangers: u64,
    /// Inbound.
    pub upstream: Upstream,
    calls: Vec<Calls>,
}

/// What left this machine.
#[derive(Debug, Default)]
pub struct Outbound {
    /// Signed and sent.
    pub signed: u64,
    /// Let through unsigned: tunnels.
    pub unsigned: u64,
    /// Refused, by reason.
    pub refused: BTreeMap<Box<str>, u64>,
    /// How the destinations did.
    pub upstream: Upstream,
}

impl Daily {
    /// Grants told apart; operators issue them, so there are few.
    pub const MOST_GRANTS: usize = 1_000;

    /// One inbound decision.
    pub fn add(&mut self, seen: &Seen<'_>, peers: &Peers) {
        self.all.add(seen.unix_micros);
        if !seen.is_refusal() || seen.outcome == Outcome::WouldRefuse {
            self.upstream.add(seen.status, seen.upstream_answered);
        }
        if seen.is_malformed() {
            self.malformed += 1;
            return;
        }
        match seen.class {
            Some(Class::Exempt) => {
                self.exempt += 1;
                return;
            }
            Some(Class::Open) => {
                self.open += 1;
                return;
            }
            Some(Class::Service) | None => {}
        }
        let callers = peers.callers(seen);
        if self.calls.len() < peers.len() {
            self.calls.resize_with(peers.len(), Calls::default);
        }
        match seen.outcome {
            Outcome::Authenticated => self.successes += 1,
            Outcome::Override => self.overrides(seen),
            Outcome::Refuse | Outcome::WouldRefuse => {
                let reason = Box::from(seen.reason.unwrap_or("unknown"));
                self.failures.entry(reason).or_default().add(seen.outcome);
                self.strangers += u64::from(callers.is_empty());
            }
            Outcome::Allow => {}
        }
        for PeerIndex(caller) in callers {
            self.calls[caller].add(seen);
        }
    }

    /// Of one service.
    pub fn calls(&self, index: PeerIndex) -> Calls {
        self.calls.get(index.0).cloned().unwrap_or_default()
    }

    /// All failures.
    pub fn failed(&self) -> Refusals {
        self.failures.values().fold(Refusals::default(), |sum, one| Refusals {
            refused: sum.refused + one.refused,
            would_refuse: sum.would_refuse + one.would_refuse,
        })
    }

    /// Answered 429.
    pub fn rate_limited(&self) -> u64 {
        self.failures.get(Refusal::RateLimited.code()).map_or(0, |limited| limited.refused)
    }

    fn overrides(&mut self, seen: &Seen<'_>) {
        let grant = seen.grant.map(Box::from);
        let full = self.overrides.len() >= Daily::MOST_GRANTS && !self.overrides.contains_key(&grant);
        let grant = if full { Some("others".into()) } else { grant };
        self.overrides.entry(grant).or_default().add(seen.unix_micros);
    }
}

impl Refusals {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Refuse => self.refused += 1,
            Outcome::WouldRefuse => self.would_refuse += 1,
            Outcome::Allow | Outcome::Authenticated | Outcome::Override => {}
        }
    }
}

impl Calls {
    fn add(&mut self, seen: &Seen<'_>) {
        match seen.outcome {
            Outcome::Authenticated => self.authenticated += 1,
            Outcome::Override => self.overrides += 1,
            Outcome::Refuse => self.refused += 1,
            Outcome::WouldRefuse => self.would_refuse += 1,
            Outcome::Allow => {}
        }
        let out_of_window = [seen.reason, seen.cause].contains(&Some(Refusal::TimestampOutsideWindow.code()));
        if let Some(skew) = seen.skew_seconds.filter(|_| seen.proves_address() || out_of_window) {
            self.drift.add(skew);
        }
    }
}

impl Upstream {
    /// One request that was not refused.
    pub fn add(&mut self, status: Option<u16>, upstream_answered: bool) {
        let Some(status) = status else { return };
        if upstream_answered {
            self.answered += 1;
            if status >= SERVER_ERRORS {
                *self.errors.entry(status).or_default() += 1;
            }
        } else if IN_ITS_PLACE.contains(&status) {
            *self.ours.entry(status).or_default() += 1;
        }
    }

    /// Of everything that was to be answered, this many in ten thousand were not, or with an error.
    pub fn failed_in_10_000(&self) -> Option<u64> {
        let ours: u64 = self.ours.values().sum();
        let errors: u64 = self.errors.values().sum();
        ((ours + errors) * 10_000).checked_div(self.answered + ours)
    }
}

/// The statuses with which we answer in the place of an upstream that did not.
const IN_ITS_PLACE: [u16; 3] = [502, 503, 504];
const SERVER_ERRORS: u16 = 500;

impl Outbound {
    /// One decision about what was to leave.
    pub fn add(&mut self, refused: Option<&str>, signed: bool, status: Option<u16>, upstream_answered: bool) {
        if let Some(reason) = refused {
            *self.refused.entry(reason.into()).or_default() += 1;
            return;
        }
        *(if signed { &mut self.signed } else { &mut self.unsigned }) += 1;
        self.upstream.add(status, upstream_answered);
    }
}

#[cfg(test)]
mod tests;
