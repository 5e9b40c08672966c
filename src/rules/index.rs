//! [`Index`]: the patterns of all rules as a tree of segments → the rule that one reading falls under.
//!
//! 1. Of the rules whose pattern covers the reading by whole segments and that hold for the method, the most specific.
//! 2. If there is none, a `service` prefix pattern whose text the reading begins with (`/api/internal.json`,
//!    `/api/internalx/y`): the most specific, then the one with the longest text. This fails closed: an upstream that
//!    routes by `startswith`, or cuts a suffix nobody thought of, still meets a guarded path.
//!
//! A walk takes one step per segment of the longest pattern, however many rules there are. A list searched in turn, or a
//! regular expression of all patterns, would grow with the rules and could not say which rule won.

use super::pattern::{Pattern, Segment, Specificity};
use super::rule::{Access, Rule, RuleIndex};
use crate::request::hash::FastHasher;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Which pattern of which rule a reading falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The rule.
    pub rule: RuleIndex,
    /// The place of the pattern among the rule's own, from 0.
    pub pattern: usize,
    /// Does the reading merely begin with the pattern's text?
    pub stretched: bool,
}

/// The tree. Nodes are numbered; the root is 0.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Vec<Node>,
}

/// What lies below one beginning.
#[derive(Debug, Default)]
struct Node {
    /// Keys come from the configuration only, so a fixed hash cannot be flooded.
    literals: HashMap<Box<str>, usize, BuildHasherDefault<FastHasher>>,
    any: Option<usize>,
    /// Patterns that end here and cover what lies below, bound to a method first, then as configured.
    prefix: Vec<Entry>,
    /// Patterns that end here and cover this path alone, in the same order.
    exact: Vec<Entry>,
    /// Last segments of the `service` prefix patterns that end one segment below, sorted.
    stretches: Vec<Stretch>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    specificity: Specificity,
    rule: RuleIndex,
    pattern: usize,
}

#[derive(Debug)]
struct Stretch {
    text: Box<str>,
    entries: Vec<Entry>,
    /// The longest other text here that this one begins with.
    shorter: Option<usize>,
}

impl Index {
    /// Puts every pattern in its place; `form` changes the text of its segments (as written, or lower case).
    pub(super) fn build(rules: &[Rule], form: impl Fn(&str) -> Box<str>) -> Index {
        let mut index = Index { nodes: vec![Node::default()] };
        for (place, rule) in (0..).zip(rules) {
            for (number, pattern) in rule.patterns.iter().enumerate() {
                let specificity = pattern.specificity(rule.methods.is_some());
                index.insert(
                    rule.access,
                    pattern,
                    Entry { specificity, rule: RuleIndex(place), pattern: number },
                    &form,
                );
            }
        }
        index.nodes.iter_mut().for_each(Node::arrange);
        index
    }

    fn insert(&mut self, access: Access, pattern: &Pattern, entry: Entry, form: &impl Fn(&str) -> Box<str>) {
        let mut node = 0;
        for (place, segment) in pattern.segments().iter().enumerate() {
            let fresh = self.nodes.len();
            let is_last = place + 1 == pattern.segments().len();
            let child = match segment {
                Segment::Any => *self.nodes[node].any.get_or_insert(fresh),
                Segment::Literal(text) => {
                    let text = form(text);
                    if is_last && access == Access::Service && !pattern.is_exact() {
                        let entries = vec![entry];
                        self.nodes[node].stretches.push(Stretch { text: text.clone(), entries, shorter: None });
                    }
                    *self.nodes[node].literals.entry(text).or_insert(fresh)
                }
            };
            if child == fresh {
                self.nodes.push(Node::default());
            }
            node = child;
        }
        let Node { prefix, exact, .. } = &mut self.nodes[node];
        if pattern.is_exact() { exact } else { prefix }.push(entry);
    }

    /// The rule that a reading falls under. Allocates nothing.
    pub(super) fn find(&self, rules: &[Rule], method: &str, reading: &str) -> Option<Match> {
        let below = reading.strip_prefix('/').unwrap_or(reading);
        let mut search = Search { rules, method, covering: None, stretching: None };
        self.descend(0, (!below.is_empty()).then_some(below), &mut search);
        let found = |entry: &Entry, stretched| Match { rule: entry.rule, pattern: entry.pattern, stretched };
        match (search.covering, search.stretching) {
            (Some(entry), _) => Some(found(entry, false)),
            (None, Some((entry, _))) => Some(found(entry, true)),
            (None, None) => None,
        }
    }

    fn descend<'i>(&'i self, node: usize, rest: Option<&str>, search: &mut Search<'i>) {
        let node = &self.nodes[node];
        search.cover(&node.prefix);
        let Some(rest) = rest else {
            search.cover(&node.exact);
            return;
        };
        let (segment, below) = match rest.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (rest, None),
        };
        if search.covering.is_none() && !node.stretches.is_empty() {
            search.stretch(node, segment);
        }
        if let Some(child) = node.literals.get(segment) {
            self.descend(*child, below, search);
        }
        if let Some(child) = node.any {
            self.descend(child, below, search);
        }
    }
}

impl Node {
    fn arrange(&mut self) {
        let by_rank = |entry: &Entry| (Reverse(entry.specificity), entry.rule);
        self.prefix.sort_by_key(by_rank);
        self.exact.sort_by_key(by_rank);
        self.stretches.sort_by(|one, other| one.text.cmp(&other.text));
        self.stretches.dedup_by(|again, first| {
            let same = again.text == first.text;
            if same {
                first.entries.append(&mut again.entries);
            }
            same
        });
        // What a text begins with is sorted before it, and whatever lies between the two begins with it too.
        for place in 1..self.stretches.len() {
            let (before, rest) = self.stretches.split_at_mut(place);
            let mut shorter = Some(place - 1);
            while let Some(candidate) = shorter
                && !rest[0].text.starts_with(&*before[candidate].text)
            {
                shorter = before[candidate].shorter;
            }
            rest[0].shorter = shorter;
        }
        for stretch in &mut self.stretches {
            stretch.entries.sort_by_key(by_rank);
        }
    }
}

/// The best so far.
struct Search<'i> {
    rules: &'i [Rule],
    method: &'i str,
    covering: Option<&'i Entry>,
    /// And the length of its last segment.
    stretching: Option<(&'i Entry, usize)>,
}

impl<'i> Search<'i> {
    /// Patterns that end at one node and cover the reading by whole segments.
    fn cover(&mut self, entries: &'i [Entry]) {
        if let Some(entry) = self.first(entries)
            && self.covering.is_none_or(|best| rank(entry, 0) > rank(best, 0))
        {
            self.covering = Some(entry);
        }
    }

    /// Patterns whose last segment this one begins with.
    fn stretch(&mut self, node: &'i Node, segment: &str) {
        let after = node.stretches.partition_point(|stretch| &*stretch.text <= segment);
        let mut place = after.checked_sub(1);
        while let Some(stretch) = place.map(|place| &node.stretches[place]) {
            if segment.starts_with(&*stretch.text)
                && let Some(entry) = self.first(&stretch.entries)
                && self.stretching.is_none_or(|(best, length)| rank(entry, stretch.text.len()) > rank(best, length))
            {
                self.stretching = Some((entry, stretch.text.len()));
            }
            place = stretch.shorter;
        }
    }

    fn first(&self, entries: &'i [Entry]) -> Option<&'i Entry> {
        entries.iter().find(|entry| self.rules[entry.rule.0 as usize].covers_method(self.method))
    }
}

/// The greater one wins; of rules that say the same, the first.
fn rank(entry: &Entry, length: usize) -> (Specificity, usize, Reverse<RuleIndex>) {
    (entry.specificity, length, Reverse(entry.rule))
}
