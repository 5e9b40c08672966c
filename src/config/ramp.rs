//! `[ramp]`, checked: [`Ramp`]; and what groups say together with the rules.

use super::Upstream;
use super::diagnostic::Diagnostic;
use super::file::FileRamp;
use super::problems::{Problems, Setting};
use super::values::nearest;
use crate::rollout::stage::{Stage, Target, default_stages};
use crate::rollout::trigger::RollbackWhen;
use crate::rules::classify::{Access, DefaultAccess, RuleSet};
use std::collections::BTreeSet;

/// `[ramp]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramp {
    /// `stages`: of percentages, rising; at least one.
    pub stages: Vec<Stage>,
    /// `groups`: of service rules by name; none where a ramp by groups is not configured.
    pub groups: Vec<Stage>,
    /// `rollback_when`
    pub when: RollbackWhen,
    /// `notify`
    pub notify: Notify,
}

/// `[ramp].notify`: who is told of a rollback that was not an operator's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// `command`: a program and its arguments, run without a shell; empty: none.
    pub command: Vec<String>,
    /// `webhook`
    pub webhook: Option<Webhook>,
}

/// `http://host:port/path`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where.
    pub to: Upstream,
    /// Path and query.
    pub path: String,
}

impl Default for Ramp {
    fn default() -> Ramp {
        Ramp {
            stages: default_stages(),
            groups: Vec::new(),
            when: RollbackWhen::default(),
            notify: Notify::default(),
        }
    }
}

/// `rules`: absent where they could not be built.
pub(super) fn ramp(written: FileRamp, rules: Option<&RuleSet>, problems: &Problems) -> Ramp {
    if let Some(rules) = rules {
        groups(&written.groups, rules, problems);
    }
    let plain = |stages: Vec<Setting<Stage>>| stages.into_iter().map(|stage| stage.value).collect();
    Ramp {
        stages: written.stages.map_or_else(default_stages, plain),
        groups: plain(written.groups),
        when: written.when,
        notify: written.notify,
    }
}

fn groups(written: &[Setting<Stage>], rules: &RuleSet, problems: &Problems) {
    let Some(first) = written.first() else { return };
    let service = rules.rules().iter().filter(|rule| rule.access == Access::Service);
    let names: BTreeSet<&str> = service.map(|rule| &*rule.name).collect();
    let mut named = BTreeSet::new();
    for group in written {
        let Target::Group(name) = &group.value.target else { continue };
        named.insert(&**name);
        if names.contains(&**name) {
            continue;
        }
        let problem = Diagnostic::error(&group.place, format!("no service rule is called \"{name}\""));
        let all: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let problem = match nearest(name, names.iter().copied()) {
            Some(near) => problem.fix(format!("did you mean \"{near}\"?")),
            None if all.is_empty() => problem.fix("give a [[rule]] that name"),
            None => problem.expected(format!("one of {}", all.join(", "))),
        };
        problems.add(problem);
    }
    if rules.default_access() == DefaultAccess::Service {
        let message =
            "`ramp.groups` cannot hold back what no rule covers, and `default_access = \"service\"` guards it";
        problems.add(
            Diagnostic::error(&first.place, message)
                .fix("add a [[rule]] for `/`, and name it as a group; or ramp by `stages`"),
        );
    }
    let left: Vec<&str> = names.difference(&named).copied().collect();
    // A name that is not there was meant for one of them.
    if !left.is_empty() && named.is_subset(&names) {
        let message = format!("a ramp by groups never activates the rules that no group names: {}", left.join(", "));
        problems.add(Diagnostic::warning(&first.place, message).fix("add them to `ramp.groups`"));
    }
}
