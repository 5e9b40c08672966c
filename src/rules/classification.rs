//! [`Classification`]: what the rules say of one request, folded from the classes of its readings.

use super::percentage::Percentage;
use super::rule::RuleIndex;
use std::sync::Arc;

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

impl Class {
    /// The word in configuration, audit records and answers.
    pub const fn code(self) -> &'static str {
        match self {
            Class::Exempt => "exempt",
            Class::Open => "open",
            Class::Service => "service",
        }
    }
}

/// What the rules say of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    class: Class,
    own_percentage: Percentage,
    /// Does something of it need a signature that no rule says, but the default access or caution?
    is_unruled: bool,
    deciding: Deciding,
}

/// One rule decides nearly always; that must not allocate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Deciding {
    #[default]
    None,
    One(RuleIndex),
    Many(Vec<RuleIndex>),
    /// The same list for every such path: it may be as long as the configuration.
    Overlong(Arc<[RuleIndex]>),
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
            Deciding::Overlong(rules) => rules,
        }
    }

    /// The rule that evidence names and whose `first_byte` counts: the first of [`rules`](Self::rules), but none for a
    /// path too long to be read, which falls under its rules only by caution.
    pub fn named_rule(&self) -> Option<RuleIndex> {
        match &self.deciding {
            Deciding::None | Deciding::Overlong(_) => None,
            Deciding::One(rule) => Some(*rule),
            Deciding::Many(rules) => rules.first().copied(),
        }
    }

    /// The largest `enforce` of what decided, [`Percentage::FULL`] where something that decided has none of its own. The
    /// effective percentage is the smaller of this and the global one.
    pub fn own_percentage(&self) -> Percentage {
        self.own_percentage
    }

    /// The same, where each rule's percentage is another than its `enforce` says.
    pub fn own_percentage_by(&self, of: impl Fn(RuleIndex) -> Percentage) -> Percentage {
        if self.is_unruled {
            return Percentage::FULL;
        }
        self.rules().iter().map(|rule| of(*rule)).max().unwrap_or(Percentage::FULL)
    }

    pub(super) fn overlong(rules: Arc<[RuleIndex]>) -> Classification {
        let deciding = Deciding::Overlong(rules);
        Classification { class: Class::Service, own_percentage: Percentage::FULL, is_unruled: true, deciding }
    }
}

/// The classes of readings, one after the other.
#[derive(Debug, Default)]
pub(super) struct Strictest {
    open: bool,
    exempt: Option<RuleIndex>,
    /// `None` before the first service reading.
    percentage: Option<Percentage>,
    unruled: bool,
    services: Deciding,
}

impl Strictest {
    /// One more reading: its class, the rule it falls under, and the rule's `enforce`.
    pub(super) fn add(&mut self, class: Class, under: Option<(RuleIndex, Option<Percentage>)>) {
        match class {
            Class::Open => self.open = true,
            Class::Exempt => self.exempt = self.exempt.or(under.map(|(rule, _)| rule)),
            Class::Service => {
                let own = under.and_then(|(_, enforce)| enforce).unwrap_or(Percentage::FULL);
                self.percentage = self.percentage.max(Some(own));
                match under {
                    Some((rule, _)) => self.services.add(rule),
                    None => self.unruled = true,
                }
            }
        }
    }

    pub(super) fn classification(self) -> Classification {
        let exempt = self.exempt.map_or(Deciding::None, Deciding::One);
        let (class, deciding) = match (self.percentage, self.open) {
            (Some(_), _) => (Class::Service, self.services),
            (None, true) => (Class::Open, Deciding::None),
            (None, false) => (Class::Exempt, exempt),
        };
        Classification {
            class,
            own_percentage: self.percentage.unwrap_or(Percentage::FULL),
            is_unruled: self.unruled,
            deciding,
        }
    }
}

impl Deciding {
    fn add(&mut self, rule: RuleIndex) {
        match self {
            Deciding::None => *self = Deciding::One(rule),
            Deciding::One(first) if *first == rule => {}
            Deciding::One(first) => *self = Deciding::Many(vec![*first, rule]),
            // An overlong path has no readings to add.
            Deciding::Overlong(_) => {}
            Deciding::Many(rules) => {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
}
