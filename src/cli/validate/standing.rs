//! [`Standing`]: what is in force, and who says so. Pure.

use crate::policy::enforcement::Mode;
use crate::rules::percentage::Percentage;
use std::collections::BTreeMap;

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) mode: Mode,
    pub(super) percentage: Percentage,
    /// Rules whose percentage was set beside the configuration.
    pub(super) rules: BTreeMap<String, Percentage>,
    pub(super) said_by: SaidBy,
}

/// Who says what is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SaidBy {
    /// The running sidecar, through its admin socket.
    Sidecar,
    /// `--mode`
    Argument,
    /// The configuration: its first value, which may have been changed since.
    Configuration,
}

impl SaidBy {
    pub(super) const fn words(self) -> &'static str {
        match self {
            SaidBy::Sidecar => "the sidecar's admin socket",
            SaidBy::Argument => "--mode",
            SaidBy::Configuration => "the configuration",
        }
    }
}

impl Standing {
    /// Is nothing refused?
    pub(super) fn is_log(&self) -> bool {
        self.mode == Mode::Log
    }

    /// How many of a hundred refusals under these rules are carried out: the largest of the rules' own, and no more than
    /// the whole.
    pub(super) fn share(&self, rules: &[(Box<str>, Option<Percentage>)]) -> u8 {
        if self.is_log() {
            return 0;
        }
        let own = |(name, written): &(Box<str>, Option<Percentage>)| {
            self.rules.get(&**name).copied().or(*written).unwrap_or(Percentage::FULL)
        };
        let own = rules.iter().map(own).max().unwrap_or(Percentage::FULL);
        own.min(self.percentage).value()
    }

    /// As a person says it.
    pub(super) fn words(&self) -> String {
        match self.mode {
            Mode::Log => "log: nothing is refused".to_owned(),
            Mode::Enforce => format!("enforce at {}%", self.percentage.value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(mode: Mode, percentage: u8, rules: &[(&str, u8)]) -> Standing {
        let percent = |value| Percentage::new(value).unwrap();
        let rules = rules.iter().map(|(name, value)| ((*name).to_owned(), percent(*value))).collect();
        Standing { mode, percentage: percent(percentage), rules, said_by: SaidBy::Sidecar }
    }

    #[test]
    fn the_share_is_the_largest_of_the_rules_and_no_more_than_the_whole() {
        let own = |name: &str, value: Option<u8>| (name.into(), value.and_then(Percentage::new));
        let share = |standing: &Standing, rules: &[(Box<str>, Option<Percentage>)]| standing.share(rules);
        let all = standing(Mode::Enforce, 100, &[]);
        assert_eq!(share(&all, &[]), 100);
        assert_eq!(share(&all, &[own("a", Some(10)), own("b", Some(25))]), 25);
        assert_eq!(share(&all, &[own("a", Some(10)), own("b", None)]), 100);
        assert_eq!(share(&standing(Mode::Enforce, 50, &[]), &[own("a", None)]), 50);
        assert_eq!(share(&standing(Mode::Enforce, 50, &[("a", 5)]), &[own("a", Some(80))]), 5);
        assert_eq!(share(&standing(Mode::Log, 100, &[("a", 100)]), &[own("a", None)]), 0);
    }
}
