//! [`RuleSet`] → [`Classification`]: the strictest class over all readings, with the rules that decided.
//!
//! 1. Each reading falls under the most specific rule that covers it, else under a `service` prefix pattern whose text it
//!    begins with, else under none (`index`).
//! 2. Any reading `service`: `service`; else any `open`: `open`; else `exempt`.
//! 3. For `service`, every service rule that a reading falls under counts: the caller must be allowed by each, and the
//!    percentage is the largest of theirs.
//! 4. A path too long to be read is `service`, and since it could be any path, under every rule that names callers.
//!
//! A reading that kept its case is compared with patterns as written, one in lower case with lowered patterns: a server
//! that minds case must not find `/API/x` exempt because `/api/x` is. Where no pattern has capitals, both are one look.
//!
//! Not here: headers and queries. Rules never see them, so nothing a caller adds to a request changes its class.

pub use super::classification::{Class, Classification};
pub use super::conflict::RuleConflict;
pub use super::index::Match;
pub use super::rule::{Access, DefaultAccess, Rule, RuleIndex};

use super::classification::Strictest;
use super::index::Index;
use super::overlong::Overlong;
use crate::request::readings::{Case, Reading, Readings, lower_case};

/// The rules, ready to be asked.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    default_access: DefaultAccess,
    written: Index,
    /// Absent when no pattern has capitals: then it would be the same.
    lowered: Option<Index>,
    overlong: Overlong,
}

/// How the class of a request came about: what `explain` prints.
#[derive(Debug)]
pub struct Trace<'r> {
    /// What follows from the steps.
    pub classification: Classification,
    /// Every reading with what it falls under; one that reads differently in lower case stands there twice.
    pub steps: Vec<Judged<'r>>,
}

/// One reading, judged.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'r> {
    /// The reading.
    pub reading: Reading<'r>,
    /// Its class.
    pub class: Class,
    /// What it falls under; `None`: no rule, the default.
    pub under: Option<Match>,
}

impl RuleSet {
    /// Builds the index.
    ///
    /// # Errors
    /// Every pair of rules that cannot both stand.
    pub fn build(rules: Vec<Rule>, default_access: DefaultAccess) -> Result<RuleSet, Vec<RuleConflict>> {
        let conflicts = super::conflict::conflicts(&rules);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let written = Index::build(&rules, |text| text.into());
        let capitals = rules.iter().flat_map(|rule| &rule.patterns).map(ToString::to_string);
        let has_capitals = capitals.into_iter().any(|text| lower_case(&text) != text);
        let lowered = has_capitals.then(|| Index::build(&rules, |text| lower_case(text).into()));
        let overlong = Overlong::of(&rules);
        Ok(RuleSet { rules, default_access, written, lowered, overlong })
    }

    /// Classifies a request by its method and every reading of its path. Allocates nothing for a clean path under one
    /// service rule at most.
    pub fn classify(&self, method: &str, readings: &Readings<'_>) -> Classification {
        self.judge(method, readings, |_| {})
    }

    /// The same with every step.
    pub fn trace<'r>(&self, method: &str, readings: &'r Readings<'r>) -> Trace<'r> {
        let mut steps = Vec::new();
        let classification = self.judge(method, readings, |judged| steps.push(judged));
        Trace { classification, steps }
    }

    /// Do all readings of class `service` pass this test? A path too long to be read could be any path: `false`. What an
    /// upstream reads as exempt or open needs nobody's leave, so those readings are not tested.
    pub fn every_service_reading(
        &self,
        method: &str,
        readings: &Readings<'_>,
        mut test: impl FnMut(Reading<'_>) -> bool,
    ) -> bool {
        let mut every = !readings.is_overlong();
        self.judge(method, readings, |judged| {
            every = every && (judged.class != Class::Service || test(judged.reading));
        });
        every
    }

    /// The rule at an index that this set handed out.
    pub fn rule(&self, index: RuleIndex) -> &Rule {
        &self.rules[index.0 as usize]
    }

    /// All rules in the order of the configuration.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a path no rule covers is.
    pub fn default_access(&self) -> DefaultAccess {
        self.default_access
    }

    fn judge<'r>(
        &self,
        method: &str,
        readings: &'r Readings<'r>,
        mut seen: impl FnMut(Judged<'r>),
    ) -> Classification {
        if readings.is_overlong() {
            return Classification::overlong(self.overlong.rules(method));
        }
        let mut strictest = Strictest::default();
        for reading in readings.all() {
            let mut judge = |index: &Index| {
                let under = index.find(&self.rules, method, reading.text());
                let class = self.class(under);
                strictest.add(class, under.map(|under| (under.rule, self.rule(under.rule).enforce)));
                under
            };
            let lowered = self.lowered.as_ref().unwrap_or(&self.written);
            let (under, again) = match reading.case() {
                Case::Kept => (judge(&self.written), None),
                Case::Lowered => (judge(lowered), None),
                Case::Either => {
                    let under = judge(&self.written);
                    (under, self.lowered.as_ref().map(&mut judge).filter(|again| *again != under))
                }
            };
            for under in [Some(under), again].into_iter().flatten() {
                seen(Judged { reading, class: self.class(under), under });
            }
        }
        strictest.classification()
    }

    fn class(&self, under: Option<Match>) -> Class {
        match under.map(|under| self.rule(under.rule).access) {
            Some(Access::Exempt) => Class::Exempt,
            Some(Access::Service) => Class::Service,
            None => match self.default_access {
                DefaultAccess::Open => Class::Open,
                DefaultAccess::Service => Class::Service,
            },
        }
    }
}

#[cfg(test)]
mod tests;
