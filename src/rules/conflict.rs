//! Which rules cannot both stand? Two that cover a common request with equal specificity and ask different things.
//!
//! Which of them would win is nobody's intention, so it is an error of the configuration, not an order of the file. A
//! rule that is repeated is fine. Patterns are compared in lower case, as the readings of a path are.
//!
//! Patterns tie only with the same number of segments and of `*`. Those with their `*` at the same places overlap when
//! they are equal; others, when they agree where both are literal. So each pair of such shapes is joined by a hash of the
//! segments that both have, and ten thousand rules are checked without comparing each with each.

use super::pattern::{Segment, Specificity};
use super::percentage::Percentage;
use super::rule::{Rule, RuleIndex};
use crate::request::readings::lower_case;
use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// One pattern of one rule.
struct Place {
    at: (RuleIndex, usize),
    /// Lower case; `None` for `*`.
    segments: Vec<Option<String>>,
}

/// Where the literal segments are.
type Shape = Vec<bool>;

/// Every pair of patterns that cannot both stand, in the order of the rules.
pub(super) fn conflicts(rules: &[Rule]) -> Vec<RuleConflict> {
    let mut found = BTreeMap::new();
    for shapes in ties(rules).values() {
        let shapes: Vec<_> = shapes.iter().collect();
        for (place, (one, ones)) in shapes.iter().enumerate() {
            for (other, others) in &shapes[place..] {
                let both: Shape = one.iter().zip(other.iter()).map(|(one, other)| *one && *other).collect();
                for (first, second) in overlaps(&both, ones, others) {
                    let (first, second) = (first.min(second), first.max(second));
                    let [one, other] = [first, second].map(|at| &rules[at.0.0 as usize]);
                    if let Some(differs_in) = difference(one, other) {
                        found.insert((first, second), differs_in);
                    }
                }
            }
        }
    }
    found.into_iter().map(|((first, second), differs_in)| RuleConflict { first, second, differs_in }).collect()
}

/// All patterns by specificity and shape.
fn ties(rules: &[Rule]) -> BTreeMap<Specificity, BTreeMap<Shape, Vec<Place>>> {
    let mut ties: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
    for (index, rule) in (0..).map(RuleIndex).zip(rules) {
        for (number, pattern) in rule.patterns.iter().enumerate() {
            let segments = pattern.segments().iter().map(|segment| match segment {
                Segment::Literal(text) => Some(lower_case(text)),
                Segment::Any => None,
            });
            let place = Place { at: (index, number), segments: segments.collect() };
            let shape = place.segments.iter().map(Option::is_some).collect();
            let shapes = ties.entry(pattern.specificity(rule.methods.is_some())).or_default();
            shapes.entry(shape).or_default().push(place);
        }
    }
    ties
}

/// Pairs that agree in every segment of `both`.
fn overlaps(both: &[bool], ones: &[Place], others: &[Place]) -> Vec<((RuleIndex, usize), (RuleIndex, usize))> {
    let key = |place: &'_ Place| -> Vec<String> {
        place.segments.iter().zip(both).filter(|(_, both)| **both).filter_map(|(text, _)| text.clone()).collect()
    };
    let mut by_key: HashMap<Vec<String>, Vec<(RuleIndex, usize)>> = HashMap::new();
    for place in ones {
        by_key.entry(key(place)).or_default().push(place.at);
    }
    let pairs = others.iter().flat_map(|other| {
        let ones = by_key.get(&key(other)).map_or(&[][..], Vec::as_slice);
        ones.iter().filter(|one| one.0 != other.at.0).map(|one| (*one, other.at))
    });
    pairs.collect()
}

/// What two rules ask differently of a request that both hold for.
fn difference(one: &Rule, other: &Rule) -> Option<&'static str> {
    let shared = match (&one.methods, &other.methods) {
        (Some(ones), Some(others)) => ones.iter().any(|one| others.iter().any(|other| share_a_request(one, other))),
        (None, _) | (_, None) => true,
    };
    let callers = |rule: &Rule| rule.callers.as_ref().map(|callers| callers.iter().cloned().collect::<BTreeSet<_>>());
    let percentage = |rule: &Rule| rule.enforce.unwrap_or(Percentage::FULL);
    if !shared {
        None
    } else if one.access != other.access {
        Some("class")
    } else if callers(one) != callers(other) {
        Some("callers")
    } else if percentage(one) != percentage(other) {
        Some("enforce")
    } else {
        None
    }
}

/// Is there a method that both names cover?
fn share_a_request(one: &str, other: &str) -> bool {
    let covers_head = |name: &str| name.eq_ignore_ascii_case("GET") || name.eq_ignore_ascii_case("HEAD");
    one.eq_ignore_ascii_case(other) || (covers_head(one) && covers_head(other))
}
