//! [`judge`]: the contract's table, in the contract's order.
//!
//! The whole judgement of one readable request: classify, look at the override, verify, look at callers and replays, decide,
//! draw, count. It touches no clock, file or socket; the two shared tables (failure limit, replay) are state machines handed
//! in. `explain`, `verify` and the proxy all call it.
//!
//! 1. Exempt or open: allowed, and nothing else is looked at, slowed or counted.
//! 2. Why would it be refused? The first of: headers missing, malformed, timestamp outside the window, keys unavailable,
//!    unknown service or wrong signature, caller not allowed by each deciding rule or not by its connection's certificate, replayed (with `replay = "refuse"`).
//! 3. No reason: `authenticated`, also beside an override. A reason and a valid override: `override`.
//! 4. A reason and no override: a refusal. Mode and percentage decide whether it is carried out; if not, `would_refuse`.
//! 5. A carried-out refusal counts against the client address. Beyond the limit it becomes `rate_limited`, with the true
//!    reason as its cause.
//!
//! **Order of caller and replay.** A signature is noted as seen only after its MAC proved right (outsiders cannot fill the
//! table), its caller is allowed and nothing else stops the request: what was refused did not happen, so sending it again is no
//! replay, and a caller that may not come gets the same answer each time.
//!
//! **Override tokens** are the static one and those of grants (`grants`), which are right for the requests of their scope, while they
//! are open. Step 3 takes one of a grant's uses, in every mode; where another request took the last one, this one has no override.
//!
//! **Wrong override tokens** count against the address too, in every mode and beside a valid signature; one request never
//! counts twice. Where the token is right it passes from an address over the limit, as a valid signature does: else whoever
//! shares that address could take away the operators' emergency exit. `lockout` is the strict form: then neither
//! passes, wherever refusals are carried out, and tokens cannot be guessed on behind a 429.
//!
//! **Announced probes** (`probes`) take the same way and get the same answer, but none of them counts against an address: for
//! them the limit is only looked at.
//!
//! **Keys unavailable** is answered as such even over the limit: nobody can tell an honest caller from another, and an
//! honest one must not be sent away for minutes for its neighbour's sake. It is not counted.

use super::certificates::CertificateBindings;
use super::decision::{Decision, Outcome, Refusal};
use super::enforcement::{Draw, Enforcement, Percentage, Sampling};
use super::failure_limit::{Admission, FailureLimit};
use super::grants::{Grant, GrantTable, Standing};
use super::override_token::{OverrideClaim, OverrideToken, PresentedToken};
use super::replay::ReplayTable;
use crate::request::facts::RequestFacts;
use crate::request::readings::Readings;
use crate::rules::classify::{Class, Classification, RuleSet};
use crate::signature::headers::PresentedSignature;
use crate::signature::key::ServiceId;
use crate::signature::verify::{KeyLookup, verify};
use std::time::{Duration, Instant};

/// What one generation of the configuration holds ready for judging.
pub struct Policy<'p> {
    /// The rules.
    pub rules: &'p RuleSet,
    /// Mode, percentage, sampling.
    pub enforcement: Enforcement,
    /// Percentages set for rules while running, in the order of the rules; empty where none is. `None`: the rule's own.
    pub rule_percentages: &'p [Option<Percentage>],
    /// The static override token.
    pub override_token: Option<&'p OverrideToken>,
    /// The overrides that were granted.
    pub grants: &'p GrantTable,
    /// Seconds a timestamp may be off.
    pub window_seconds: u64,
    /// Whether a second sight of a signature is looked at, and refused.
    pub replay: ReplayPolicy<'p>,
    /// Refusals per address.
    pub failure_limit: &'p FailureLimit,
    /// Does the limit also hold valid signatures and tokens?
    pub lockout: bool,
    /// Which service must come over a connection with which name.
    pub certificates: &'p CertificateBindings,
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

/// How long a caller is asked to wait when keys cannot be read.
pub const KEYS_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Judges one request. `lookup` finds the keys of a well-formed id; it is called at most once, and only for service-class
/// requests with a timestamp inside the window.
pub fn judge<'k>(
    policy: &Policy<'_>,
    facts: &RequestFacts<'_>,
    lookup: impl FnOnce(&str) -> KeyLookup<'k>,
    moment: Moment,
) -> Decision {
    let readings = Readings::of(facts.path);
    let classification = policy.rules.classify(facts.method, &readings);
    let global = policy.enforcement.percentage;
    match classification.class() {
        Class::Exempt | Class::Open => return blank(classification, global, facts.is_probe),
        Class::Service => {}
    }
    let percentage = global.min(own_percentage(policy.rules, policy.rule_percentages, &classification));
    let mut decision = blank(classification, percentage, facts.is_probe);
    decision.drawn_in = policy.enforcement.carries_out(percentage, |sampling| match sampling {
        Sampling::Call => Draw::by_call(policy.salt, facts.limit_key, facts.method, &readings.cleaned()),
        Sampling::Caller => Draw::by_caller(policy.salt, facts.limit_key),
        Sampling::Random => Draw(moment.random),
    });
    let check = Check { policy, facts, moment };
    let token = check.token(&readings);
    decision.wrong_override = token.is_wrong();
    match check.fault(&mut decision, lookup, token.is_valid()) {
        None => decision.outcome = Outcome::Authenticated,
        Some(Fault::LockedOut(retry_after)) => {
            decision.outcome = Outcome::Refuse;
            decision.reason = Some(Refusal::RateLimited);
            decision.retry_after = Some(retry_after);
            return decision;
        }
        Some(Fault::Refusal(_)) if token.lets_pass(&mut decision) => decision.outcome = Outcome::Override,
        Some(Fault::Refusal(refusal)) if decision.drawn_in => {
            check.carry_out(&mut decision, refusal);
            return decision;
        }
        Some(Fault::Refusal(refusal)) => {
            decision.outcome = Outcome::WouldRefuse;
            decision.reason = Some(refusal);
        }
    }
    if decision.wrong_override && !decision.is_probe {
        // Counted for the requests to come; this one passes in any case.
        let _ = policy.failure_limit.refuse(facts.limit_key, moment.monotonic);
    }
    decision
}

/// What a request's override token is worth.
#[derive(Clone, Copy)]
enum Token<'p> {
    Absent,
    /// None of ours, or one of a grant that is over or for other requests.
    Wrong,
    /// The static one.
    Static,
    /// That of an open grant whose scope the request is within.
    Granted(&'p Grant),
}

impl Token<'_> {
    fn is_wrong(self) -> bool {
        matches!(self, Token::Wrong)
    }

    fn is_valid(self) -> bool {
        match self {
            Token::Static | Token::Granted(_) => true,
            Token::Absent | Token::Wrong => false,
        }
    }

    /// Uses it. One whose last use another request has just taken is wrong from then on.
    fn lets_pass(self, decision: &mut Decision) -> bool {
        match self {
            Token::Absent | Token::Wrong => false,
            Token::Static => true,
            Token::Granted(grant) if grant.take_use() => {
                decision.grant = Some(grant.id());
                true
            }
            Token::Granted(_) => {
                decision.wrong_override = true;
                false
            }
        }
    }
}

/// Why a request would not be let through by its signature.
enum Fault {
    /// One of the contract's reasons.
    Refusal(Refusal),
    /// Nothing is wrong with it, but its address is over the limit and `lockout` is on.
    LockedOut(Duration),
}

/// One request under judgement.
struct Check<'c, 'p, 'f> {
    policy: &'c Policy<'p>,
    facts: &'c RequestFacts<'f>,
    moment: Moment,
}

impl<'p> Check<'_, 'p, '_> {
    /// Looks at the override token. Grants are looked through only where the header came and is not the static token.
    fn token(&self, readings: &Readings<'_>) -> Token<'p> {
        let presented = PresentedToken::of(self.facts.claims.override_token);
        match OverrideToken::check(self.policy.override_token, &presented) {
            OverrideClaim::Absent => return Token::Absent,
            OverrideClaim::Valid => return Token::Static,
            OverrideClaim::Wrong => {}
        }
        let PresentedToken::Hashed(hash) = &presented else { return Token::Wrong };
        let Some(grant) = self.policy.grants.find(hash) else { return Token::Wrong };
        let Moment { unix_seconds, monotonic, .. } = self.moment;
        let is_open = grant.standing(unix_seconds, monotonic) == Standing::Open;
        if is_open && grant.terms().scope.covers(self.policy.rules, self.facts.method, readings) {
            Token::Granted(grant)
        } else {
            Token::Wrong
        }
    }

    /// Step 2 of the table; notes in the decision what was learnt on the way.
    fn fault<'k>(
        &self,
        decision: &mut Decision,
        lookup: impl FnOnce(&str) -> KeyLookup<'k>,
        has_token: bool,
    ) -> Option<Fault> {
        let proved = self.prove(decision, lookup);
        if (proved.is_ok() || has_token)
            && self.policy.lockout
            && decision.drawn_in
            && let Some(wait) = self.policy.failure_limit.is_limited(self.facts.limit_key, self.moment.monotonic)
        {
            return Some(Fault::LockedOut(wait));
        }
        let presented = match proved {
            Ok(presented) => presented,
            Err(refusal) => return Some(Fault::Refusal(refusal)),
        };
        let (table, refuse) = match self.policy.replay {
            ReplayPolicy::Off => return None,
            ReplayPolicy::Report(table) => (table, false),
            ReplayPolicy::Refuse(table) => (table, true),
        };
        let expires = presented.unix_seconds.saturating_add(self.policy.window_seconds);
        if !table.seen(&presented.mac, expires, self.moment.unix_seconds) {
            return None;
        }
        if refuse {
            return Some(Fault::Refusal(Refusal::Replayed));
        }
        decision.reason = Some(Refusal::Replayed);
        None
    }

    /// Everything the headers and the rules say; no table is touched.
    fn prove<'k>(
        &self,
        decision: &mut Decision,
        lookup: impl FnOnce(&str) -> KeyLookup<'k>,
    ) -> Result<PresentedSignature<'_>, Refusal> {
        let Moment { unix_seconds: now, .. } = self.moment;
        let presented = PresentedSignature::parse(&self.facts.claims)?;
        decision.skew_seconds = Some(presented.skew_seconds(now));
        let service = verify(&presented, self.facts, lookup, self.policy.window_seconds, now)?;
        let allowed = callers_allow(self.policy.rules, &decision.classification, service.id())
            && self.policy.certificates.allow(service.id(), self.facts.certificate);
        decision.service = Some(service);
        if allowed { Ok(presented) } else { Err(Refusal::CallerNotAllowed) }
    }

    /// Step 5 of the table: the refusal happens; is it counted, or one too many?
    fn carry_out(&self, decision: &mut Decision, refusal: Refusal) {
        decision.outcome = Outcome::Refuse;
        decision.reason = Some(refusal);
        let unavailable = refusal == Refusal::KeysUnavailable;
        if unavailable {
            decision.retry_after = Some(KEYS_RETRY_AFTER);
            if !decision.wrong_override {
                return;
            }
        }
        match self.admission() {
            Admission::Limited { retry_after } if !unavailable => {
                decision.reason = Some(Refusal::RateLimited);
                decision.cause = Some(refusal);
                decision.retry_after = Some(retry_after);
            }
            Admission::Limited { .. } | Admission::Counted => {}
        }
    }

    /// What the failure limit says of this refusal. That of a probe is not counted, and answered as if it were.
    fn admission(&self) -> Admission {
        let (limit, key, now) = (self.policy.failure_limit, self.facts.limit_key, self.moment.monotonic);
        if !self.facts.is_probe {
            return limit.refuse(key, now);
        }
        limit.is_limited(key, now).map_or(Admission::Counted, |retry_after| Admission::Limited { retry_after })
    }
}

/// The largest percentage of the rules that decided, whether their own or one that was set for them.
pub fn own_percentage(rules: &RuleSet, set: &[Option<Percentage>], classification: &Classification) -> Percentage {
    if set.is_empty() {
        return classification.own_percentage();
    }
    classification.own_percentage_by(|index| {
        let set = set.get(index.0 as usize).copied().flatten();
        set.or(rules.rule(index).enforce).unwrap_or(Percentage::FULL)
    })
}

/// May this service call, by every rule that decided?
pub fn callers_allow(rules: &RuleSet, classification: &Classification, service: &ServiceId) -> bool {
    classification.rules().iter().all(|index| match &rules.rule(*index).callers {
        None => true,
        Some(callers) => callers.contains(service),
    })
}

/// Allowed, and nothing found out yet.
fn blank(classification: Classification, percentage: Percentage, is_probe: bool) -> Decision {
    Decision {
        outcome: Outcome::Allow,
        reason: None,
        cause: None,
        classification,
        service: None,
        skew_seconds: None,
        percentage,
        drawn_in: false,
        wrong_override: false,
        is_probe,
        grant: None,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
