//! [`Learner`]: which rules are missing? What was seen, turned into rules that can be put beside those in force.
//!
//! Two kinds, both with exact patterns ([`template`]), which are more specific than the prefix patterns of a configuration:
//!
//! 1. *Uncovered*: a path no rule covers, called from a known service's address, becomes a service path of those services, with
//!    `enforce = 0`: it is checked and reported from then on, and refuses nothing until somebody raises it.
//! 2. *Narrowed*: under a service rule without `callers`, a path whose callers proved themselves becomes theirs. It keeps the rule's
//!    name, methods and `enforce`.
//!
//! Nothing is proposed that would do more than that: a pattern must win over its own rule and lose against every other rule that
//! it shares a path with, else it is only told ([`Proposal::obstacle`]). A path that strangers call too is only told: a service rule
//! would end that.
//!
//! *Strangers.* On a path no rule covers nobody proves anything, so who called is told by the address alone. What only strangers called is never
//! proposed for anybody; it is told as something to decide on, if the upstream knew the path. Strangers cannot crowd out services:
//! each kind has room for [`Learner::MOST`] patterns of its own, and what finds none is counted.
//!
//! Rules in force are the configuration's of now: what it covers meanwhile is not proposed again.

use super::peers::{PeerIndex, Peers};
use super::template;
use super::{Seen, Tally};
use crate::policy::decision::Outcome;
use crate::request::readings::Readings;
use crate::rules::classify::{Access, Class, Rule, RuleIndex, RuleSet};
use crate::rules::pattern::{Pattern, Segment};
use std::collections::{BTreeMap, BTreeSet};

/// Who called under one pattern.
#[derive(Debug, Clone, Default)]
struct Use {
    callers: BTreeSet<PeerIndex>,
    calls: Tally,
    methods: BTreeSet<&'static str>,
}

type Table<K> = BTreeMap<K, (Pattern, Use)>;

/// Takes in one record after the other.
#[derive(Debug, Default)]
pub struct Learner {
    /// Of known services.
    uncovered: Table<String>,
    /// Of nobody.
    strangers: Table<String>,
    narrowed: Table<(RuleIndex, String)>,
    /// Calls for which no pattern stands.
    pub odd: u64,
    /// Calls that found no room: of services, of strangers.
    pub crowded: (u64, u64),
}

/// What a proposal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing covers these paths, services call them.
    Uncovered,
    /// This rule covers them and lets every service call.
    Narrowed(RuleIndex),
    /// Nothing covers these paths, strangers call them.
    Undecided,
}

/// One rule to be.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// What for.
    pub kind: Kind,
    /// Where.
    pub patterns: Vec<Pattern>,
    /// Who called, by id; none for what only strangers called.
    pub callers: Vec<String>,
    /// Which usual methods were seen.
    pub methods: Vec<&'static str>,
    /// How often services called.
    pub calls: Tally,
    /// How often strangers did.
    pub strangers: Tally,
    /// Why it cannot just be added.
    pub obstacle: Option<String>,
}

impl Learner {
    /// Patterns of one kind.
    pub const MOST: usize = 2_000;

    /// One decision. `rules`: those in force now.
    pub fn add(&mut self, seen: &Seen<'_>, rules: &RuleSet, peers: &Peers) {
        let (Some(method), Some(path)) = (seen.method, seen.path) else { return };
        if seen.is_malformed() {
            return;
        }
        let classified = rules.classify(method, &Readings::of(path));
        let key = match (classified.class(), classified.rules()) {
            (Class::Open, _) => None,
            (Class::Service, [rule]) if is_open_to_all(rules.rule(*rule)) => Some(*rule),
            (Class::Service | Class::Exempt, _) => return,
        };
        let Some(pattern) = template::of_path(path) else {
            self.odd += 1;
            return;
        };
        let callers = peers.callers(seen);
        let name = pattern.to_string();
        let (has_room, stranger) = match key {
            Some(rule) => {
                // Only a proof makes a caller of a rule that asks for one.
                let proved = seen.outcome == Outcome::Authenticated && seen.proves_address();
                if !proved {
                    return;
                }
                (note(&mut self.narrowed, (rule, name), pattern, callers, seen), false)
            }
            None if callers.is_empty() => {
                // Scanners call what is not there; the upstream knows what is.
                if !seen.upstream_answered || seen.status.is_none_or(|status| !KNOWN_PATH.contains(&status)) {
                    return;
                }
                (note(&mut self.strangers, name, pattern, callers, seen), true)
            }
            None => (note(&mut self.uncovered, name, pattern, callers, seen), false),
        };
        if !has_room {
            *(if stranger { &mut self.crowded.1 } else { &mut self.crowded.0 }) += 1;
        }
    }

    /// What follows, in the order of kinds.
    pub fn proposals(self, rules: &RuleSet, peers: &Peers) -> Vec<Proposal> {
        let strangers = merged(self.strangers);
        let (mut proposals, mut accepted) = (Vec::new(), Vec::new());
        let uncovered = merged(self.uncovered);
        for (callers, uses) in by_callers(uncovered.values()) {
            for (pattern, used) in uses {
                let beside = strangers.values().filter(|(other, _)| share_a_path(pattern, other));
                let mut of_strangers = Tally::default();
                beside.for_each(|(_, used)| of_strangers.merge(used.calls));
                let obstacle = if of_strangers.count > 0 {
                    Some("strangers call it too: a service rule would end that".to_owned())
                } else {
                    stands_against((pattern, None, callers), rules, &accepted)
                };
                if obstacle.is_none() {
                    accepted.push((pattern.clone(), None, callers.clone()));
                }
                let callers = callers.iter().map(|index| peers.id(*index).to_owned()).collect();
                put(&mut proposals, Kind::Uncovered, (pattern, used), callers, of_strangers, obstacle);
            }
        }
        let mut by_rule: BTreeMap<RuleIndex, Table<String>> = BTreeMap::new();
        for ((rule, name), used) in self.narrowed {
            by_rule.entry(rule).or_default().insert(name, used);
        }
        for (rule, table) in by_rule {
            let table = merged(table);
            for (callers, uses) in by_callers(table.values()) {
                for (pattern, used) in uses {
                    let obstacle = stands_against((pattern, Some(rule), callers), rules, &accepted);
                    if obstacle.is_none() {
                        accepted.push((pattern.clone(), Some(rule), callers.clone()));
                    }
                    let callers = callers.iter().map(|index| peers.id(*index).to_owned()).collect();
                    put(&mut proposals, Kind::Narrowed(rule), (pattern, used), callers, Tally::default(), obstacle);
                }
            }
        }
        for (pattern, used) in strangers.values() {
            let covered = uncovered.values().any(|(other, _)| share_a_path(pattern, other));
            if !covered {
                let mut proposal = proposal(Kind::Undecided, (pattern, used), Vec::new(), used.calls, None);
                proposal.calls = Tally::default();
                proposals.push(proposal);
            }
        }
        proposals
    }
}

/// Statuses of the upstream that say that there is something.
const KNOWN_PATH: std::ops::Range<u16> = 200..400;

const USUAL_METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn is_open_to_all(rule: &Rule) -> bool {
    rule.access == Access::Service && rule.callers.is_none()
}

/// Puts a call under its key, if there is room for one.
fn note<K: Ord>(table: &mut Table<K>, key: K, pattern: Pattern, callers: Vec<PeerIndex>, seen: &Seen<'_>) -> bool {
    if table.len() >= Learner::MOST && !table.contains_key(&key) {
        return false;
    }
    let (_, used) = table.entry(key).or_insert_with(|| (pattern, Use::default()));
    used.callers.extend(callers);
    used.calls.add(seen.unix_micros);
    used.methods.extend(USUAL_METHODS.into_iter().find(|usual| seen.method == Some(usual)));
    true
}

/// The same with siblings merged.
fn merged(table: Table<String>) -> Table<String> {
    let becomes = template::merge(table.values().map(|(pattern, _)| pattern.clone()));
    let mut merged = Table::new();
    for (name, (pattern, used)) in table {
        let pattern = becomes.get(&name).cloned().unwrap_or(pattern);
        let (_, all) = merged.entry(pattern.to_string()).or_insert_with(|| (pattern, Use::default()));
        all.callers.extend(used.callers);
        all.calls.merge(used.calls);
        all.methods.extend(used.methods);
    }
    merged
}

/// What the same services call, together: one rule.
fn by_callers<'t>(
    uses: impl Iterator<Item = &'t (Pattern, Use)>,
) -> BTreeMap<&'t BTreeSet<PeerIndex>, Vec<(&'t Pattern, &'t Use)>> {
    let mut sets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (pattern, used) in uses {
        sets.entry(&used.callers).or_default().push((pattern, used));
    }
    sets
}

fn proposal(
    kind: Kind,
    (pattern, used): (&Pattern, &Use),
    callers: Vec<String>,
    strangers: Tally,
    obstacle: Option<String>,
) -> Proposal {
    Proposal {
        kind,
        patterns: vec![pattern.clone()],
        callers,
        methods: used.methods.iter().copied().collect(),
        calls: used.calls,
        strangers,
        obstacle,
    }
}

/// Adds to the proposal before, where it says the same, else a new one.
fn put(
    proposals: &mut Vec<Proposal>,
    kind: Kind,
    used: (&Pattern, &Use),
    callers: Vec<String>,
    strangers: Tally,
    obstacle: Option<String>,
) {
    let one = proposal(kind, used, callers, strangers, obstacle);
    let same = |last: &&mut Proposal| {
        last.kind == one.kind && last.callers == one.callers && last.obstacle.is_none() && one.obstacle.is_none()
    };
    match proposals.last_mut().filter(same) {
        Some(last) => {
            last.patterns.extend(one.patterns);
            last.calls.merge(one.calls);
            last.methods.extend(one.methods);
            last.methods.sort_unstable();
            last.methods.dedup();
        }
        None => proposals.push(one),
    }
}

/// A pattern that is proposed: the rule that it narrows, and for whom.
type Accepted = (Pattern, Option<RuleIndex>, BTreeSet<PeerIndex>);

/// Why a rule with this pattern would do more, or less, than meant. `own`: the rule that it narrows.
fn stands_against(
    (pattern, own, callers): (&Pattern, Option<RuleIndex>, &BTreeSet<PeerIndex>),
    rules: &RuleSet,
    accepted: &[Accepted],
) -> Option<String> {
    let with_methods = own.is_some_and(|own| rules.rule(own).methods.is_some());
    let ours = pattern.specificity(with_methods);
    for (index, rule) in (0..).map(RuleIndex).zip(rules.rules()) {
        for other in rule.patterns.iter().filter(|other| share_a_path(pattern, other)) {
            let theirs = other.specificity(rule.methods.is_some());
            if own == Some(index) && theirs >= ours {
                return Some(format!(
                    "the rule's own pattern {other} is as specific: write `callers` into the rule itself"
                ));
            }
            if own != Some(index) && theirs <= ours {
                return Some(format!("it would win over the rule \"{}\" ({other}) where both hold", rule.name));
            }
        }
    }
    let rival = |(other, narrowed, others): &&Accepted| {
        let same = *narrowed == own && others == callers;
        let with_methods = narrowed.is_some_and(|rule| rules.rule(rule).methods.is_some());
        !same && share_a_path(pattern, other) && other.specificity(with_methods) == ours
    };
    accepted.iter().find(rival).map(|(other, _, _)| format!("{other}, proposed for others, is as specific"))
}

/// Is there a path that both cover?
fn share_a_path(one: &Pattern, other: &Pattern) -> bool {
    let (ones, others) = (one.segments(), other.segments());
    let long_enough = |pattern: &Pattern, of: &[Segment]| !pattern.is_exact() || pattern.segments().len() >= of.len();
    let same = |pair: (&Segment, &Segment)| match pair {
        (Segment::Any, _) | (_, Segment::Any) => true,
        (Segment::Literal(one), Segment::Literal(other)) => one.eq_ignore_ascii_case(other),
    };
    long_enough(one, others) && long_enough(other, ones) && ones.iter().zip(others).all(same)
}

#[cfg(test)]
mod tests;
