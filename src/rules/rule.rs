//! [`Rule`]: one entry of the configuration, checked; what it asks, where, of whom.

use super::pattern::Pattern;
use super::percentage::Percentage;
use crate::signature::key::ServiceId;
use std::time::Duration;

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

impl Rule {
    /// Does it hold for this method? GET covers HEAD. A `service` rule also guards its methods in another case, since an
    /// upstream may fold it; an `exempt` rule takes the exact spelling only.
    pub fn covers_method(&self, method: &str) -> bool {
        let same = |name: &str| match self.access {
            Access::Service => name.eq_ignore_ascii_case(method),
            Access::Exempt => name == method,
        };
        match &self.methods {
            None => true,
            Some(names) => names.iter().any(|name| same(name) || (&**name == "GET" && same("HEAD"))),
        }
    }
}

/// Which rule: its place in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub u32);
