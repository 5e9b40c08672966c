//! [`Overlong`]: the rules that a path too long to be read could fall under.
//!
//! One `service` rule for each different list of callers and methods, put together by method when the rules are built: a
//! stranger can send such a path at any rate, and what it costs must not grow with the rules.

use super::rule::{Access, Rule, RuleIndex};
use std::collections::HashSet;
use std::sync::Arc;

/// Lists of rules that name callers, ready to be handed out.
#[derive(Debug)]
pub(super) struct Overlong {
    /// For each method that one of the rules is bound to.
    by_method: Vec<(Box<str>, Arc<[RuleIndex]>)>,
    /// For every other.
    others: Arc<[RuleIndex]>,
}

impl Overlong {
    pub(super) fn of(rules: &[Rule]) -> Overlong {
        let mut seen = HashSet::new();
        let listed: Vec<(RuleIndex, &Rule)> = (0..)
            .map(RuleIndex)
            .zip(rules)
            .filter(|(_, rule)| rule.access == Access::Service && rule.callers.is_some())
            .filter(|(_, rule)| seen.insert((&rule.callers, &rule.methods)))
            .collect();
        let held = |method: Option<&str>| -> Arc<[RuleIndex]> {
            let holds = |rule: &Rule| method.map_or(rule.methods.is_none(), |method| rule.covers_method(method));
            listed.iter().filter(|(_, rule)| holds(rule)).map(|(index, _)| *index).collect()
        };
        let mut methods: Vec<&str> =
            listed.iter().flat_map(|(_, rule)| rule.methods.iter().flatten()).map(|name| &**name).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        let by_method = methods.into_iter().map(|method| (method.into(), held(Some(method)))).collect();
        Overlong { by_method, others: held(None) }
    }

    /// Those that hold for a method, in any letter case, as `service` rules do.
    pub(super) fn rules(&self, method: &str) -> Arc<[RuleIndex]> {
        let found = self.by_method.iter().find(|(name, _)| name.eq_ignore_ascii_case(method));
        Arc::clone(found.map_or(&self.others, |(_, rules)| rules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::key::ServiceId;

    fn rule(callers: &[&str], methods: &[&str]) -> Rule {
        Rule {
            name: "test".into(),
            access: Access::Service,
            patterns: vec!["/x".parse().unwrap()],
            methods: (!methods.is_empty()).then(|| methods.iter().map(|name| (*name).into()).collect()),
            callers: (!callers.is_empty()).then(|| callers.iter().map(|id| ServiceId::parse(id).unwrap()).collect()),
            enforce: None,
            first_byte: None,
        }
    }

    #[test]
    fn every_rule_that_names_callers_and_holds_for_the_method_is_there_and_no_other() {
        let rules = [
            rule(&["a"], &[]),
            rule(&["a"], &["GET"]),
            rule(&["b"], &["POST", "DELETE"]),
            rule(&[], &["GET"]),
            rule(&["c"], &["HEAD"]),
            rule(&["b", "c"], &[]),
            Rule { access: Access::Exempt, ..rule(&["d"], &[]) },
        ];
        let overlong = Overlong::of(&rules);
        for method in ["GET", "HEAD", "head", "POST", "delete", "OPTIONS", "get", "Xyz", ""] {
            let expected: Vec<RuleIndex> = (0..)
                .map(RuleIndex)
                .zip(&rules)
                .filter(|(_, rule)| rule.access == Access::Service && rule.callers.is_some())
                .filter(|(_, rule)| rule.covers_method(method))
                .map(|(index, _)| index)
                .collect();
            assert_eq!(*overlong.rules(method), expected, "{method}");
        }
    }

    #[test]
    fn rules_that_say_the_same_of_callers_and_methods_stand_there_once() {
        let rules = [rule(&["a"], &[]), rule(&["a"], &[]), rule(&["a"], &["GET"]), rule(&["a"], &["GET"])];
        assert_eq!(*Overlong::of(&rules).rules("GET"), [RuleIndex(0), RuleIndex(2)]);
        assert_eq!(*Overlong::of(&rules).rules("POST"), [RuleIndex(0)]);
    }
}
