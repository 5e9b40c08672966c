//! [`RuleSet`] → [`Classification`]: the strictest class over all readings, with the rule that won.

use super::pattern::Pattern;
use super::percentage::Percentage;
use crate::request::readings::Readings;
use crate::signature::key::ServiceId;
use std::time::Duration;

/// What a path asks of its caller, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A rule says: no service authentication here (browsers).
    Exempt,
    /// No rule covers it.
    Open,
    /// A signature is required.
    Service,
}

/// What a rule may say: the two classes that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `access = "exempt"`
    Exempt,
    /// `access = "service"`
    Service,
}

/// What a path no rule covers is (`default_access`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultAccess {
    /// Allowed through.
    Open,
    /// A signature is required.
    Service,
}

/// One rule of the configuration, checked.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name in audit, metrics and `explain`; where none was given, its first pattern's text. Not unique: rules
    /// that share a name are a group.
    pub name: Box<str>,
    /// What it asks.
    pub access: Access,
    /// Where; at least one.
    pub patterns: Vec<Pattern>,
    /// `None`: any method. Upper-case names; GET covers HEAD.
    pub methods: Option<Vec<Box<str>>>,
    /// `None`: any known service.
    pub callers: Option<Vec<ServiceId>>,
    /// This group's own percentage; the effective one is the smaller of this and the global one.
    pub enforce: Option<Percentage>,
    /// This rule's own limit for the first byte of the answer.
    pub first_byte: Option<Duration>,
}

/// Which rule: its place in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub u32);

/// Two rules that cannot both stand: they tie in specificity and differ in class, callers or `enforce`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleConflict {
    /// The earlier rule and which of its patterns.
    pub first: (RuleIndex, usize),
    /// The later rule and which of its patterns.
    pub second: (RuleIndex, usize),
    /// What they differ in: `class`, `callers` or `enforce`.
    pub differs_in: &'static str,
}

/// The rules, ready to be asked.
#[derive(Debug)]
pub struct RuleSet {}

/// What the rules say of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    class: Class,
    own_percentage: Percentage,
    deciding: Deciding,
}

/// One rule decides nearly always; that must not allocate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Deciding {
    None,
    One(RuleIndex),
    Many(Vec<RuleIndex>),
}

impl Classification {
    /// The strictest class over all readings.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The deciding rules: for `Service` every service rule that a reading falls under (the caller must be allowed by
    /// each of them), for `Exempt` the rule that exempts, for `Open` none. A path too long to be read falls under every
    /// service rule that names callers.
    pub fn rules(&self) -> &[RuleIndex] {
        match &self.deciding {
            Deciding::None => &[],
            Deciding::One(rule) => std::slice::from_ref(rule),
            Deciding::Many(rules) => rules,
        }
    }

    /// The rule that evidence names and whose `first_byte` counts: the first of [`rules`](Self::rules), but none for a
    /// path too long to be read.
    pub fn named_rule(&self) -> Option<RuleIndex> {
        self.rules().first().copied()
    }

    /// The largest `enforce` of what decided, [`Percentage::FULL`] where something that decided has none of its own. The
    /// effective percentage is the smaller of this and the global one.
    pub fn own_percentage(&self) -> Percentage {
        self.own_percentage
    }
}

impl RuleSet {
    /// Builds the index; every pair of rules that cannot both stand is reported.
    pub fn build(_rules: Vec<Rule>, _default_access: DefaultAccess) -> Result<RuleSet, Vec<RuleConflict>> {
        unimplemented!()
    }

    /// Classifies a request by its method and every reading of its path. Allocates nothing for a clean path.
    pub fn classify(&self, _method: &str, _readings: &Readings<'_>) -> Classification {
        unimplemented!()
    }

    /// The rule at an index that this set handed out.
    pub fn rule(&self, _index: RuleIndex) -> &Rule {
        unimplemented!()
    }

    /// All rules in the order of the configuration.
    pub fn rules(&self) -> &[Rule] {
        unimplemented!()
    }
}
