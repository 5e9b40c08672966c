//! Proposals → TOML that passes `check` beside the configuration it was made for, and the same as JSON.
//!
//! What cannot just be added stands there as a comment, with the reason: pasting the whole changes nothing but what is written out.

use super::is_proposed;
use crate::cli::report::words::{at, tally};
use crate::rollout::recorded::learned::{Kind, Proposal};
use crate::rules::classify::{Rule, RuleSet};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::fmt::Write as _;

const HEADING: &str = "\
# Proposed by `countersign learn`. Read before pasting: it is what was seen, not what is right.
# `explain METHOD PATH` tells what a rule does; `report --readiness` whom it would refuse.
";

/// The whole text.
pub(super) fn rules(proposals: &[Proposal], rules: &RuleSet, notes: &[String]) -> String {
    let mut text = HEADING.to_owned();
    for note in notes {
        comment(&mut text, note);
    }
    if proposals.is_empty() {
        text.push_str("# Nothing to propose.\n");
    }
    for proposal in proposals.iter().filter(|proposal| is_proposed(proposal)) {
        text.push('\n');
        for line in reasons(proposal, rules) {
            comment(&mut text, &line);
        }
        text.push_str(&rule(proposal, rules));
    }
    let mut told: Vec<&Proposal> = proposals.iter().filter(|proposal| !is_proposed(proposal)).collect();
    told.sort_by_key(|told| (told.kind, Reverse(told.calls.count + told.strangers.count)));
    let left_out = told.len().saturating_sub(MOST_TOLD);
    told.truncate(MOST_TOLD);
    if !told.is_empty() {
        text.push_str("\n# To be decided on; nothing below is in force when pasted.\n");
    }
    for proposal in told {
        text.push_str("#\n");
        for line in reasons(proposal, rules) {
            comment(&mut text, &line);
        }
        for line in rule(proposal, rules).lines() {
            let _ = writeln!(text, "#   {line}");
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "#\n# And {left_out} more that were called less: --json has them.");
    }
    text
}

/// How many comments: outsiders choose how many paths they call.
const MOST_TOLD: usize = 20;

/// One `[[rule]]`.
fn rule(proposal: &Proposal, rules: &RuleSet) -> String {
    let narrowed = narrowed(proposal, rules);
    let paths: Vec<String> = proposal.patterns.iter().map(|pattern| quoted(&pattern.to_string())).collect();
    // Writing to a string does not fail.
    let mut text = format!("[[rule]]\nname = {}\n", quoted(&name(proposal, narrowed)));
    match &paths[..] {
        [path] => {
            let _ = writeln!(text, "paths = [{path}]");
        }
        _ => {
            let _ = writeln!(text, "paths = [\n    {},\n]", paths.join(",\n    "));
        }
    }
    let list = |words: &[&str]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    if let Some(methods) = narrowed.and_then(|rule| rule.methods.as_ref()) {
        let methods: Vec<&str> = methods.iter().map(|method| &**method).collect();
        let _ = writeln!(text, "methods = [{}]", list(&methods));
    }
    if proposal.kind == Kind::Undecided {
        if !proposal.methods.is_empty() {
            let _ = writeln!(text, "methods = [{}]", list(&proposal.methods));
        }
        text.push_str("access = \"exempt\"\n");
        return text;
    }
    let callers: Vec<&str> = proposal.callers.iter().map(String::as_str).collect();
    let _ = writeln!(text, "access = \"service\"\ncallers = [{}]", list(&callers));
    match narrowed {
        None => text.push_str("enforce = 0\n"),
        Some(rule) => {
            if let Some(enforce) = rule.enforce {
                let _ = writeln!(text, "enforce = {}", enforce.value());
            }
            if let Some(first_byte) = rule.first_byte {
                let _ = writeln!(text, "first_byte = \"{}ms\"", first_byte.as_millis());
            }
        }
    }
    text
}

fn reasons(proposal: &Proposal, rules: &RuleSet) -> Vec<String> {
    let seen = format!("{} calls, last {}", proposal.calls.count, at(proposal.calls.last));
    let mut lines = match narrowed(proposal, rules) {
        Some(rule) => vec![
            format!("Under the rule \"{}\", which lets every service call: {seen}.", rule.name),
            "Others would be refused here as far as the rule is enforced. Simpler, if all of its paths are theirs alone: write"
                .to_owned(),
            "`callers` into the rule itself.".to_owned(),
        ],
        None if proposal.kind == Kind::Undecided => {
            let count = proposal.strangers.count;
            vec![format!(
                "No rule covers it, and addresses of nobody call it: {count} calls, last {}. With default_access = \"service\" they",
                at(proposal.strangers.last)
            ), "would be refused. Exempt it only if browsers need it:".to_owned()]
        }
        None => vec![format!("No rule covers it yet: {seen}. Raise `enforce` once its calls are signed.")],
    };
    if let Some(obstacle) = &proposal.obstacle {
        lines.push(format!("Not proposed: {obstacle}."));
    }
    if proposal.kind == Kind::Uncovered && proposal.strangers.count > 0 {
        lines.push(format!("Strangers: {} calls, last {}.", proposal.strangers.count, at(proposal.strangers.last)));
    }
    lines
}

fn narrowed<'r>(proposal: &Proposal, rules: &'r RuleSet) -> Option<&'r Rule> {
    match proposal.kind {
        Kind::Narrowed(index) => Some(rules.rule(index)),
        Kind::Uncovered | Kind::Undecided => None,
    }
}

fn name(proposal: &Proposal, narrowed: Option<&Rule>) -> String {
    match narrowed {
        Some(rule) => rule.name.to_string(),
        None if proposal.kind == Kind::Undecided => "learned: undecided".to_owned(),
        // A name has 100 characters at most.
        None => format!("learned: {}", proposal.callers.join(", ")).chars().take(100).collect(),
    }
}

/// The same for programs.
pub(super) fn to_json(proposal: &Proposal, rules: &RuleSet) -> Value {
    let narrowed = narrowed(proposal, rules);
    let kind = match proposal.kind {
        Kind::Uncovered => "uncovered",
        Kind::Narrowed(_) => "narrowed",
        Kind::Undecided => "undecided",
    };
    json!({
        "kind": kind,
        "proposed": is_proposed(proposal),
        "name": name(proposal, narrowed),
        "paths": proposal.patterns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "callers": proposal.callers,
        "methods_seen": proposal.methods,
        "calls": tally(proposal.calls),
        "strangers": tally(proposal.strangers),
        "obstacle": proposal.obstacle,
    })
}

/// One comment, on one line whatever it says.
fn comment(text: &mut String, line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let _ = writeln!(text, "# {line}");
}

/// A basic string: what JSON escapes is escaped alike, and DEL besides.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
