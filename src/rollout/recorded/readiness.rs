//! [`Readiness`]: who would be refused if enforcement were switched on, and which service is safe?
//!
//! Every refusal of a service path counts, whether it was carried out or not: the checks are the same in every mode. It is the
//! caller's whose address it came from ([`super::peers`]), even if the request names nobody or somebody else.
//!
//! The verdict of a service, the first that holds:
//!
//! 1. [`WouldBreak`](Verdict::WouldBreak): a call of its own was or would have been refused, or passed only by an override, which ends.
//! 2. [`Unused`](Verdict::Unused): it never called, and is not expected to: `unused = true`, or it is this machine's own id.
//! 3. [`Silent`](Verdict::Silent): it never called. Nothing is known of it; quiet services are the rule, so silence is no proof.
//! 4. [`Incomplete`](Verdict::Incomplete): all of its calls that are recorded were good, and records of the period are missing.
//! 5. [`Safe`](Verdict::Safe): it called, and every call was signed by a caller that its rule allows.
//!
//! Left out of every verdict: exempt and open traffic; calls from addresses of nobody, shown apart; requests no two servers
//! read alike, which are refused in log mode too, so that enforcement changes nothing for them (shown all the same).

use super::peers::{PeerIndex, Peers};
use super::strangers::Strangers;
use super::{Few, Seen, Tally};
use crate::policy::decision::{Outcome, Refusal};
use crate::rules::classify::Class;
use std::collections::BTreeMap;

/// What may be expected of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Enforcement refuses nothing that it was seen doing.
    Safe,
    /// Enforcement refuses calls of its own, or will once the override is gone.
    WouldBreak,
    /// It was never seen.
    Silent,
    /// It was never seen, as expected.
    Unused,
    /// Nothing speaks against it, but evidence is missing.
    Incomplete,
}

impl Verdict {
    /// The word in reports.
    pub const fn code(self) -> &'static str {
        match self {
            Verdict::Safe => "safe",
            Verdict::WouldBreak => "would_break",
            Verdict::Silent => "silent",
            Verdict::Unused => "unused",
            Verdict::Incomplete => "incomplete",
        }
    }

    /// Does it stand in the way of enforcement?
    pub const fn is_ready(self) -> bool {
        match self {
            Verdict::Safe | Verdict::Unused => true,
            Verdict::WouldBreak | Verdict::Silent | Verdict::Incomplete => false,
        }
    }
}

/// Where and why calls were refused: rule (none: a service path that no rule names), reason, and what `rate_limited` stands in for.
pub type Cause = (Option<Box<str>>, Box<str>, Option<Box<str>>);

/// Refusals of one service with one cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// All of them.
    pub all: Tally,
    /// Those that were carried out.
    pub carried_out: u64,
    /// From where, for example.
    pub clients: Few,
    /// Whom they claimed to be, for example.
    pub claimed: Few,
}

/// What was seen of one service.
#[derive(Debug, Clone, Default)]
pub struct Conduct {
    /// Good calls.
    pub authenticated: Tally,
    /// Calls that passed only by an override.
    pub overrides: Tally,
    /// Calls refused, carried out or not.
    pub refusals: BTreeMap<Cause, Refused>,
    /// Refused calls from addresses of nobody that claimed to be this service. No proof: no part of the verdict.
    pub claimed_elsewhere: Tally,
}

/// What is expected of a service apart from its calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// Is it all right that it never calls?
    pub may_be_silent: bool,
    /// Is the evidence of the period whole?
    pub evidence_is_whole: bool,
}

/// Takes in one record after the other.
#[derive(Debug, Default)]
pub struct Readiness {
    conduct: Vec<Conduct>,
    /// Calls from addresses of nobody.
    pub strangers: Strangers,
    /// Requests that nobody asks for a signature: rules say so.
    pub exempt: u64,
    /// The same: no rule covers them.
    pub open: u64,
}

impl Readiness {
    /// One decision. `peers`: after all addresses were learned.
    pub fn add(&mut self, seen: &Seen<'_>, peers: &Peers) {
        match seen.class {
            Some(Class::Exempt) => self.exempt += 1,
            Some(Class::Open) => self.open += 1,
            Some(Class::Service) | None => self.count(seen, peers),
        }
    }

    /// What was seen of this service.
    pub fn conduct(&self, index: PeerIndex) -> Conduct {
        self.conduct.get(index.0).cloned().unwrap_or_default()
    }

    /// Is this service safe?
    pub fn verdict(&self, index: PeerIndex, expected: Expected) -> Verdict {
        self.conduct.get(index.0).map_or_else(|| Conduct::default().verdict(expected), |seen| seen.verdict(expected))
    }

    fn count(&mut self, seen: &Seen<'_>, peers: &Peers) {
        let callers = peers.callers(seen);
        if self.conduct.len() < peers.len() {
            self.conduct.resize_with(peers.len(), Conduct::default);
        }
        for PeerIndex(caller) in &callers {
            self.conduct[*caller].add(seen);
        }
        if !callers.is_empty() {
            return;
        }
        match seen.outcome {
            Outcome::Refuse | Outcome::WouldRefuse => {
                self.strangers.add(seen);
                if let Some(PeerIndex(claimed)) = seen.claimed.and_then(|id| peers.find(id)) {
                    self.conduct[claimed].claimed_elsewhere.add(seen.unix_micros);
                }
            }
            Outcome::Override => self.strangers.overrides.add(seen.unix_micros),
            // Without a proof nothing is authenticated, and only exempt and open requests are allowed.
            Outcome::Authenticated | Outcome::Allow => {}
        }
    }
}

impl Conduct {
    /// Refusals that enforcement would carry out.
    pub fn broken(&self) -> Tally {
        let mut broken = Tally::default();
        let malformed = Refusal::MalformedRequest.code();
        self.refusals
            .iter()
            .filter(|((_, reason, _), _)| **reason != *malformed)
            .for_each(|(_, refused)| broken.merge(refused.all));
        broken
    }

    fn verdict(&self, expected: Expected) -> Verdict {
        if self.broken().count > 0 || self.overrides.count > 0 {
            return Verdict::WouldBreak;
        }
        match (self.authenticated.count > 0, expected.may_be_silent, expected.evidence_is_whole) {
            (false, true, _) => Verdict::Unused,
            (false, false, _) => Verdict::Silent,
            (true, _, false) => Verdict::Incomplete,
            (true, _, true) => Verdict::Safe,
        }
    }

    fn add(&mut self, seen: &Seen<'_>) {
        match seen.outcome {
            Outcome::Authenticated => self.authenticated.add(seen.unix_micros),
            Outcome::Override => self.overrides.add(seen.unix_micros),
            Outcome::Refuse | Outcome::WouldRefuse => {
                let reason = seen.reason.unwrap_or("unknown").into();
                let cause = (seen.rule.map(Box::from), reason, seen.cause.map(Box::from));
                let refused = self.refusals.entry(cause).or_default();
                refused.all.add(seen.unix_micros);
                refused.carried_out += u64::from(seen.outcome == Outcome::Refuse);
                refused.clients.add(seen.client);
                if let Some(claimed) = seen.claimed {
                    refused.claimed.add(claimed);
                }
            }
            Outcome::Allow => {}
        }
    }
}

#[cfg(test)]
mod tests;
