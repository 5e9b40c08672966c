//! [`Plan`]: which requests tell whether a system does what its rules say, and harm nobody? Pure.
//!
//! 1. Every exempt pattern is asked once, with nothing.
//! 2. Every service pattern is asked once with nothing, and once for each caller that may call it and whose key is at hand.
//! 3. Every rule is asked once with a wrong signature, with an old timestamp, and by a caller it does not name.
//! 4. A wrong override token is tried once; the right one once, where somebody handed it over.
//! 5. Where what no rule covers needs a signature, a path that no rule covers is asked once.
//! 6. One request is malformed.
//!
//! **Harmless** means: it may reach the upstream as it is, because a rule is missing or nothing is enforced, and nothing happens.
//! - Below a pattern the path asked is one that cannot exist, two segments deep: a route with one parameter
//!   (`/api/npu/results/{task}`) does not take it for its own.
//! - The method is GET, else HEAD, else OPTIONS. An exact pattern leaves no path to make up: then it is OPTIONS, where the rule
//!   covers it, else GET, else HEAD. What a server does on those is its own doing (RFC 9110 section 9.2.1).
//! - A rule that covers none of them is asked by one of its own, without a body, below the pattern, unless `--safe-only`. An exact
//!   pattern of such a rule is not asked at all: that would be a real call.
//!
//! Each request is classified by the rules first. Where none of the candidates falls under the rule it is for, because others name
//! its paths more closely, the pattern is left out and said to be.

use crate::policy::decide::callers_allow;
use crate::request::readings::Readings;
use crate::rules::classify::{Access, Class, Classification, DefaultAccess, Rule, RuleIndex, RuleSet};
use crate::rules::pattern::{Pattern, Segment};
use crate::rules::percentage::Percentage;
use crate::signature::key::ServiceId;
use std::fmt::Write as _;

/// Everything that is to be asked, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The first is the malformed one.
    pub(super) probes: Vec<Probe>,
    pub(super) left_out: Vec<LeftOut>,
}

/// One request and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) check: Check,
    /// What it is about: a pattern or a rule, as the configuration writes it.
    pub(super) subject: String,
    pub(super) method: String,
    pub(super) path: String,
    /// The deciding rules with their own percentages, by the configuration.
    pub(super) rules: Vec<(Box<str>, Option<Percentage>)>,
    /// Is it the first of its kind? What matters most where few may be sent.
    pub(super) is_first: bool,
}

/// What one request finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// An exempt path is reachable without a signature.
    Exempt,
    /// A service path refuses who does not sign.
    Unsigned,
    /// A service path lets this caller in.
    Signed(ServiceId),
    /// A wrong signature in this service's name is refused.
    WrongSignature(Option<ServiceId>),
    /// An old signature of this service is refused.
    Stale(Option<ServiceId>),
    /// A rightly signed call of a service that the rule does not name is refused.
    WrongCaller(ServiceId),
    /// A wrong override token opens nothing.
    WrongOverride,
    /// The right one does.
    Override,
    /// What no two servers read alike is refused.
    Malformed,
}

/// What is not asked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) check: Check,
    pub(super) subject: String,
    pub(super) why: String,
}

/// What may be done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Means<'m> {
    /// Whose keys are at hand.
    pub(super) callers: &'m [ServiceId],
    /// Nothing but GET, HEAD and OPTIONS.
    pub(super) safe_only: bool,
    /// The right override token is at hand.
    pub(super) override_token: bool,
}

impl Check {
    /// What it is called.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Check::Exempt => "exempt path",
            Check::Unsigned => "unsigned",
            Check::Signed(_) => "signed",
            Check::WrongSignature(_) => "wrong signature",
            Check::Stale(_) => "old timestamp",
            Check::WrongCaller(_) => "wrong caller",
            Check::WrongOverride => "wrong override",
            Check::Override => "override",
            Check::Malformed => "malformed",
        }
    }

    /// Has it to be refused? Then it counts against the address, where it is not announced.
    pub(super) const fn is_refused(&self) -> bool {
        match self {
            Check::Unsigned
            | Check::WrongSignature(_)
            | Check::Stale(_)
            | Check::WrongCaller(_)
            | Check::WrongOverride => true,
            Check::Exempt | Check::Signed(_) | Check::Override | Check::Malformed => false,
        }
    }
}

impl Plan {
    /// The plan for these rules. `word`: a word that stands in no real path.
    pub(super) fn of(rules: &RuleSet, means: Means<'_>, word: &str) -> Plan {
        let mut plan = Plan::default();
        plan.add(Check::Malformed, "a request no two servers read alike", "GET", &format!("/{word}/<"), &[]);
        for (index, rule) in rules.rules().iter().enumerate().filter(|(_, rule)| rule.access == Access::Exempt) {
            let index = RuleIndex(index as u32);
            for pattern in &rule.patterns {
                match target(rules, index, pattern, word, means) {
                    Ok(found) => plan.add(Check::Exempt, &pattern.to_string(), found.method, &found.path, &[]),
                    Err(why) => plan.leave_out(Check::Exempt, pattern.to_string(), why),
                }
            }
        }
        for (index, rule) in rules.rules().iter().enumerate().filter(|(_, rule)| rule.access == Access::Service) {
            plan.service(rules, RuleIndex(index as u32), rule, means, word);
        }
        if rules.default_access() == DefaultAccess::Service {
            let path = format!("/{word}/none");
            let classification = rules.classify("GET", &Readings::of(&path));
            if classification.class() == Class::Service && classification.rules().is_empty() {
                plan.add(Check::Unsigned, "default_access", "GET", &path, &[]);
            }
        }
        plan.mark_first();
        plan
    }

    /// The request that every sidecar refuses in every mode.
    pub(super) fn malformed(&self) -> &Probe {
        &self.probes[0]
    }

    fn service(&mut self, rules: &RuleSet, index: RuleIndex, rule: &Rule, means: Means<'_>, word: &str) {
        let mut of_rule: Option<Target> = None;
        for pattern in &rule.patterns {
            let subject = pattern.to_string();
            let found = match target(rules, index, pattern, word, means) {
                Ok(found) => found,
                Err(why) => {
                    self.leave_out(Check::Unsigned, subject, why);
                    continue;
                }
            };
            let own = own_percentages(rules, &found.classification);
            self.add(Check::Unsigned, &subject, found.method, &found.path, &own);
            let allowed = |id: &&ServiceId| callers_allow(rules, &found.classification, id);
            let mut is_signed = false;
            for id in means.callers.iter().filter(allowed) {
                self.add(Check::Signed(id.clone()), &subject, found.method, &found.path, &own);
                is_signed = true;
            }
            if !is_signed && let Some(id) = a_caller(rules, &found.classification) {
                let why = "no key of a caller that it allows can be read here".to_owned();
                self.leave_out(Check::Signed(id), subject, why);
            }
            of_rule.get_or_insert(found);
        }
        let Some(found) = of_rule else { return };
        let own = own_percentages(rules, &found.classification);
        let subject = format!("rule {:?}", rule.name);
        let caller = means.callers.iter().find(|id| callers_allow(rules, &found.classification, id)).cloned();
        let mut add = |check| self.add(check, &subject, found.method, &found.path, &own);
        add(Check::WrongSignature(caller.clone()));
        add(Check::Stale(caller));
        match means.callers.iter().find(|id| !callers_allow(rules, &found.classification, id)) {
            Some(id) => add(Check::WrongCaller(id.clone())),
            None if rule.callers.is_none() => {}
            None => {
                let why = "no key of a caller that it does not allow can be read here".to_owned();
                let id = rule.callers.iter().flatten().next().cloned();
                if let Some(id) = id {
                    self.leave_out(Check::WrongCaller(id), subject.clone(), why);
                }
            }
        }
        if !self.probes.iter().any(|probe| probe.check == Check::WrongOverride) {
            self.add(Check::WrongOverride, &subject, found.method, &found.path, &own);
            if means.override_token {
                self.add(Check::Override, &subject, found.method, &found.path, &own);
            }
        }
    }

    fn add(
        &mut self,
        check: Check,
        subject: &str,
        method: &str,
        path: &str,
        rules: &[(Box<str>, Option<Percentage>)],
    ) {
        self.probes.push(Probe {
            check,
            subject: subject.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            rules: rules.to_vec(),
            is_first: false,
        });
    }

    fn leave_out(&mut self, check: Check, subject: String, why: String) {
        self.left_out.push(LeftOut { check, subject, why });
    }

    /// The first of each kind, and the first unsigned one of each rule.
    fn mark_first(&mut self) {
        let mut seen: Vec<(&'static str, String)> = Vec::new();
        for probe in &mut self.probes {
            let group = match &probe.check {
                Check::Unsigned => probe.rules.iter().map(|(name, _)| &**name).collect(),
                _ => String::new(),
            };
            let key = (probe.check.name(), group);
            probe.is_first = !seen.contains(&key);
            seen.push(key);
        }
    }
}

/// A request that falls under a rule.
struct Target<'r> {
    method: &'r str,
    path: String,
    classification: Classification,
}

const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// Where nothing can be made up below the pattern.
const SAFE_ON_REAL_PATHS: [&str; 3] = ["OPTIONS", "GET", "HEAD"];

fn target<'r>(
    rules: &'r RuleSet,
    index: RuleIndex,
    pattern: &Pattern,
    word: &str,
    means: Means<'_>,
) -> Result<Target<'r>, String> {
    let rule = rules.rule(index);
    let base = written(pattern, word);
    let paths = match pattern.is_exact() {
        true => vec![if base.is_empty() { "/".to_owned() } else { base }],
        false => vec![format!("{base}/{word}/none"), format!("{base}/{word}")],
    };
    let is_real = pattern.is_exact() && !pattern.segments().contains(&Segment::Any);
    let safe = if is_real { SAFE_ON_REAL_PATHS } else { SAFE };
    let own = rule.methods.iter().flatten().map(|method| &**method).filter(|method| !SAFE.contains(method));
    let methods: Vec<&str> = safe.into_iter().filter(|method| rule.covers_method(method)).collect();
    let methods = match methods.is_empty() {
        false => methods,
        true if means.safe_only => return Err("the rule covers no method without effects (--safe-only)".to_owned()),
        true if is_real => return Err("the rule covers this path alone, and no method without effects".to_owned()),
        true => own.collect(),
    };
    for path in &paths {
        for method in &methods {
            let classification = rules.classify(method, &Readings::of(path));
            let class = match rule.access {
                Access::Exempt => Class::Exempt,
                Access::Service => Class::Service,
            };
            if classification.class() == class && classification.rules().contains(&index) {
                return Ok(Target { method, path: path.clone(), classification });
            }
        }
    }
    Err("other rules name the paths below it more closely".to_owned())
}

/// The pattern as a path on the wire, without a final slash; the word where any segment may stand.
fn written(pattern: &Pattern, word: &str) -> String {
    let mut path = String::new();
    for segment in pattern.segments() {
        path.push('/');
        match segment {
            Segment::Any => path.push_str(word),
            Segment::Literal(text) => {
                for byte in text.bytes() {
                    match byte {
                        b'"' | b'<' | b'>' | b'`' | b'^' | b'|' | ..=b' ' | 0x7f.. => {
                            // Writing to a string does not fail.
                            let _ = write!(path, "%{byte:02X}");
                        }
                        plain => path.push(char::from(plain)),
                    }
                }
            }
        }
    }
    path
}

fn own_percentages(rules: &RuleSet, classification: &Classification) -> Vec<(Box<str>, Option<Percentage>)> {
    classification
        .rules()
        .iter()
        .map(|index| rules.rule(*index))
        .map(|rule| (rule.name.clone(), rule.enforce))
        .collect()
}

/// Somebody whom the rules allow, for the words about a key that is missing.
fn a_caller(rules: &RuleSet, classification: &Classification) -> Option<ServiceId> {
    let named = classification.rules().iter().filter_map(|index| rules.rule(*index).callers.as_ref()).flatten();
    named.into_iter().next().cloned()
}

#[cfg(test)]
mod tests;
