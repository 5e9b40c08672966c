//! `report --readiness`, gathered: the records of the period → a verdict for each service, and what stands beside it.
//!
//! Who is judged: every service of the configuration, and every other that proved itself. Without a configuration, who proved itself.

use super::words::{at, evidence_json, tally};
use crate::cli::evidence::{Evidence, inbound, is_beyond_us};
use crate::cli::output::CliError;
use crate::rollout::recorded::continuity::Continuity;
use crate::rollout::recorded::readiness::{Conduct, Expected, Readiness, Refused, Verdict};
use crate::rules::classify::{Access, DefaultAccess, Rule, RuleSet};
use serde_json::{Value, json};

/// All that is told.
pub(super) struct Report<'e> {
    pub(super) evidence: &'e Evidence,
    pub(super) continuity: Continuity,
    pub(super) services: Vec<Judged>,
    pub(super) readiness: Readiness,
    pub(super) beyond_us: u64,
    /// Calls of services whose addresses found no room.
    pub(super) unlearned: u64,
    /// How many addresses of nobody are shown.
    pub(super) top: usize,
}

/// One service.
pub(super) struct Judged {
    pub(super) id: String,
    pub(super) configured: bool,
    pub(super) has_addresses: bool,
    /// Does a rule of the configuration let it call?
    pub(super) may_call: bool,
    pub(super) verdict: Verdict,
    pub(super) conduct: Conduct,
}

impl<'e> Report<'e> {
    /// Reads the log.
    pub(super) fn of(evidence: &'e Evidence, top: usize) -> Result<Report<'e>, CliError> {
        let peers = evidence.peers()?;
        let (mut readiness, mut beyond_us) = (Readiness::default(), 0);
        let continuity = evidence.each(|line| {
            beyond_us += u64::from(is_beyond_us(line));
            if let Some(seen) = inbound(line) {
                readiness.add(&seen, &peers);
            }
        })?;
        let whole = continuity.is_whole() && beyond_us == 0;
        let services = peers
            .all()
            .map(|index| {
                let id = peers.id(index).to_owned();
                let expected = Expected { may_be_silent: may_be_silent(evidence, &id), evidence_is_whole: whole };
                Judged {
                    configured: peers.is_configured(index),
                    has_addresses: peers.has_addresses(index),
                    may_call: evidence.config.as_ref().is_none_or(|config| may_call(&config.rules, &id)),
                    verdict: readiness.verdict(index, expected),
                    conduct: readiness.conduct(index),
                    id,
                }
            })
            .collect();
        let unlearned = peers.unlearned();
        Ok(Report { evidence, continuity, services, readiness, beyond_us, unlearned, top })
    }

    /// Is every service safe? With nobody to judge, no.
    pub(super) fn is_ready(&self) -> bool {
        self.services.iter().any(|service| service.verdict == Verdict::Safe)
            && self.services.iter().all(|service| service.verdict.is_ready())
    }

    pub(super) fn to_json(&self) -> Value {
        let strangers = &self.readiness.strangers;
        let (top, addresses, calls) = strangers.top(self.top);
        let by_rule: Vec<Value> = strangers
            .by_rule
            .iter()
            .map(|((rule, reason), times)| with(json!({ "rule": rule, "reason": reason }), tally(*times)))
            .collect();
        let top: Vec<Value> =
            top.into_iter().map(|(address, times)| with(json!({ "address": address }), tally(times))).collect();
        json!({
            "ready": self.is_ready(),
            "from": at(self.evidence.period.from),
            "until": at(self.evidence.period.until),
            "audit": self.evidence.path.display().to_string(),
            "evidence": evidence_json(&self.continuity, self.beyond_us),
            "services": self.services.iter().map(Judged::to_json).collect::<Vec<_>>(),
            "nobody": {
                "refused": tally(strangers.all),
                "overrides": tally(strangers.overrides),
                "by_rule": by_rule,
                "addresses": top,
                "other_addresses": { "at_least": addresses, "count": calls },
                "counts_are_lower_bounds": strangers.summed() > 0,
            },
            "unlearned_calls": self.unlearned,
            "exempt": self.readiness.exempt,
            "open": self.readiness.open,
        })
    }
}

/// Unused, or this machine's own id: a sidecar does not guard a service against itself.
fn may_be_silent(evidence: &Evidence, id: &str) -> bool {
    let Some(config) = &evidence.config else { return false };
    let own = config.service.as_ref().is_some_and(|service| service.id.as_str() == id);
    own || config.services.iter().any(|(known, service)| known.as_str() == id && service.unused)
}

/// Does any rule let it call, or what no rule covers?
fn may_call(rules: &RuleSet, id: &str) -> bool {
    let lets = |rule: &Rule| match &rule.callers {
        None => true,
        Some(callers) => callers.iter().any(|caller| caller.as_str() == id),
    };
    rules.default_access() == DefaultAccess::Service
        || rules.rules().iter().any(|rule| rule.access == Access::Service && lets(rule))
}

impl Judged {
    fn to_json(&self) -> Value {
        let refusals: Vec<Value> = self
            .conduct
            .refusals
            .iter()
            .map(|((rule, reason, cause), refused)| {
                let Refused { all, carried_out, clients, claimed } = refused;
                let named = json!({
                    "rule": rule,
                    "reason": reason,
                    "cause": cause,
                    "refused": carried_out,
                    "would_refuse": all.count - carried_out,
                    "clients": clients.texts,
                    "claimed": claimed.texts,
                });
                with(named, tally(*all))
            })
            .collect();
        json!({
            "service": self.id,
            "configured": self.configured,
            "may_call": self.may_call,
            "verdict": self.verdict.code(),
            "safe": self.verdict.is_ready(),
            "authenticated": tally(self.conduct.authenticated),
            "would_break": tally(self.conduct.broken()),
            "overrides": tally(self.conduct.overrides),
            "refusals": refusals,
            "claimed_elsewhere": tally(self.conduct.claimed_elsewhere),
        })
    }
}

/// Both objects in one.
fn with(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}
