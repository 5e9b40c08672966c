//! The contract's words once more, without an index: every pattern is tried on every reading.

use super::*;
use crate::rules::pattern::Segment;
use proptest::prelude::*;
use std::cmp::Reverse;

type Place = (RuleIndex, usize);
type Rank = (usize, bool, Reverse<usize>, bool);

pub(super) fn classify(
    rules: &[Rule],
    default: DefaultAccess,
    method: &str,
    forms: impl IntoIterator<Item = (String, bool)>,
) -> (Class, Vec<RuleIndex>) {
    let mut class = Class::Exempt;
    let (mut services, mut exempt) = (Vec::new(), None);
    for (text, lowered) in forms {
        let under = find(rules, method, &text, lowered);
        let of_reading = match under.map(|index| (index, rules[index.0 as usize].access)) {
            Some((index, Access::Service)) => {
                if !services.contains(&index) {
                    services.push(index);
                }
                Class::Service
            }
            Some((index, Access::Exempt)) => {
                exempt = exempt.or(Some(index));
                Class::Exempt
            }
            None if default == DefaultAccess::Service => Class::Service,
            None => Class::Open,
        };
        class = class.max(of_reading);
    }
    let deciding = match class {
        Class::Service => services,
        Class::Open => vec![],
        Class::Exempt => exempt.into_iter().collect(),
    };
    (class, deciding)
}

/// The texts that are compared, each with whether patterns are lowered for it.
pub(super) fn forms(readings: &Readings<'_>) -> Vec<(String, bool)> {
    let of_reading = |reading: Reading<'_>| {
        let forms: &[bool] = match reading.case() {
            Case::Kept => &[false],
            Case::Lowered => &[true],
            Case::Either => &[false, true],
        };
        forms.iter().map(move |lowered| (reading.text().to_owned(), *lowered)).collect::<Vec<_>>()
    };
    readings.all().flat_map(of_reading).collect()
}

fn find(rules: &[Rule], method: &str, reading: &str, lowered: bool) -> Option<RuleIndex> {
    let path: Vec<&str> = match reading.strip_prefix('/').unwrap_or(reading) {
        "" => vec![],
        below => below.split('/').collect(),
    };
    let mut covering: Option<(Rank, Reverse<RuleIndex>)> = None;
    let mut stretching: Option<(Rank, usize, Reverse<RuleIndex>)> = None;
    for (index, rule) in (0..).map(RuleIndex).zip(rules) {
        for pattern in rule.patterns.iter().filter(|_| holds(rule, method)) {
            let segments = segments(pattern, lowered);
            let rank = rank(pattern, rule);
            let long_enough =
                if pattern.is_exact() { path.len() == segments.len() } else { path.len() >= segments.len() };
            let agree = |(segment, text): (&Option<String>, &&str)| segment.as_ref().is_none_or(|s| s == text);
            if long_enough && segments.iter().zip(&path).all(agree) {
                covering = covering.max(Some((rank, Reverse(index))));
            }
            if let (Access::Service, false, Some((Some(last), before))) =
                (rule.access, pattern.is_exact(), segments.split_last())
                && path.len() > before.len()
                && before.iter().zip(&path).all(agree)
                && path[before.len()].starts_with(last.as_str())
            {
                stretching = stretching.max(Some((rank, last.len(), Reverse(index))));
            }
        }
    }
    covering.map(|(_, index)| index.0).or(stretching.map(|(_, _, index)| index.0))
}

fn holds(rule: &Rule, method: &str) -> bool {
    let method = if rule.access == Access::Service { method.to_uppercase() } else { method.to_owned() };
    let mut names = rule.methods.iter().flatten().map(|name| &**name);
    rule.methods.is_none() || names.any(|name| name == method || (name == "GET" && method == "HEAD"))
}

fn rank(pattern: &Pattern, rule: &Rule) -> Rank {
    let stars = pattern.segments().iter().filter(|segment| **segment == Segment::Any).count();
    (pattern.segments().len() - stars, pattern.is_exact(), Reverse(stars), rule.methods.is_some())
}

fn segments(pattern: &Pattern, lowered: bool) -> Vec<Option<String>> {
    let text = |text: &str| if lowered { text.to_lowercase() } else { text.to_owned() };
    let segments = pattern.segments().iter().map(|segment| match segment {
        Segment::Literal(literal) => Some(text(literal)),
        Segment::Any => None,
    });
    segments.collect()
}

pub(super) fn conflicts(rules: &[Rule]) -> Vec<(Place, Place)> {
    let places: Vec<(Place, &Rule, &Pattern)> = (0..)
        .map(RuleIndex)
        .zip(rules)
        .flat_map(|(index, rule)| {
            rule.patterns.iter().enumerate().map(move |(n, pattern)| ((index, n), rule, pattern))
        })
        .collect();
    let mut found = Vec::new();
    for (at, (first, one, pattern)) in places.iter().enumerate() {
        for (second, other, again) in &places[at + 1..] {
            let tie = first.0 != second.0 && rank(pattern, one) == rank(again, other);
            let overlap = segments(pattern, true)
                .iter()
                .zip(&segments(again, true))
                .all(|(a, b)| a.is_none() || b.is_none() || a == b);
            let together = ["GET", "HEAD", "POST"].iter().any(|method| holds(one, method) && holds(other, method));
            let differ = one.access != other.access || one.callers != other.callers || one.enforce != other.enforce;
            if tie && overlap && together && differ {
                found.push((*first, *second));
            }
        }
    }
    found.sort();
    found
}

/// Few words, so that rules meet each other and the paths.
pub(super) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let segment = prop::sample::select(&["a", "ab", "abc", "b", "B", "*", "chat", "internal"][..]);
    let pattern = (prop::bool::weighted(0.2), prop::collection::vec(segment, 0..4)).prop_map(|(exact, segments)| {
        format!("{}/{}", if exact { "=" } else { "" }, segments.join("/")).parse::<Pattern>().unwrap()
    });
    let methods = prop::sample::select(&["", "", "", "GET", "POST", "HEAD", "GET,POST"][..]);
    let callers = prop::sample::select(&["", "", "", "", "", "<npu-worker>", "<ai-stack>"][..]);
    let line = (any::<bool>(), methods, callers, prop::collection::vec(pattern, 1..3));
    let rule = line.prop_map(|(exempt, methods, callers, patterns)| {
        let access = if exempt { "exempt" } else { "service" };
        Rule { patterns, ..rule(&format!("{access} {methods} {callers}")) }
    });
    prop::collection::vec(rule, 0..7)
}

pub(super) fn path() -> impl Strategy<Value = String> {
    "(/(a|ab|abc|abcd|b|B|chat|internal|internals|)){0,4}/?"
        .prop_map(|path| format!("/{}", path.trim_start_matches('/')))
}

/// The words of the rules, between what the steps look for.
pub(super) fn disguised_path() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "a", "ab", "abc", "b", "B", "chat", "internal", "%61", "%2562", "/", "/", "/", "//", "/../", "/./", "%2f",
        "%252f", "..", "%2e%2e/", "\\", "%5c", ";", ";v/", "%0a", ".", "%20", "/x/../",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
}
