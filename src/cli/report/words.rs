//! What both reports say in the same words: the period, what the evidence lacks, tables.

use crate::cli::evidence::Evidence;
use crate::cli::keys::words::{span, time};
use crate::rollout::recorded::Tally;
use crate::rollout::recorded::continuity::Continuity;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// `2026-11-22T05:31:17Z` of microseconds.
pub(in crate::cli) fn at(unix_micros: u64) -> String {
    time(unix_micros / 1_000_000)
}

/// A count with its first and last time; no times when there was none.
pub(in crate::cli) fn tally(tally: Tally) -> Value {
    let when = |micros| (tally.count > 0).then(|| at(micros));
    json!({ "count": tally.count, "first": when(tally.first), "last": when(tally.last) })
}

/// `2026-… to 2026-… (24h)`
pub(super) fn period(evidence: &Evidence) -> String {
    let length = span(evidence.since.as_secs());
    format!("{} to {} ({length})", at(evidence.period.from), at(evidence.period.until))
}

/// How good the evidence is, as JSON.
pub(super) fn evidence_json(continuity: &Continuity, beyond_us: u64) -> Value {
    let gaps: Vec<Value> = continuity
        .gaps
        .iter()
        .map(|gap| {
            json!({
                "boot": gap.boot,
                "first_seq": gap.first,
                "last_seq": gap.last,
                "lost": gap.last - gap.first + 1,
                "after": (gap.after > 0).then(|| at(gap.after)),
                "before": at(gap.before),
            })
        })
        .collect();
    json!({
        "records": continuity.within.count,
        "first": tally(continuity.within)["first"],
        "last": tally(continuity.within)["last"],
        "complete": continuity.is_whole(),
        "lost": continuity.lost,
        "gaps": gaps,
        "torn_lines": continuity.torn,
        "abrupt_ends": continuity.abrupt_ends,
        "begins_late": continuity.begins_late().map(at),
        "reduced": continuity.reduced,
        "not_understood": beyond_us,
    })
}

/// The same in sentences, each on a line of its own.
pub(super) fn evidence_text(evidence: &Evidence, continuity: &Continuity, beyond_us: u64) -> Vec<String> {
    let mut lines = vec![format!("{} records in {}", continuity.within.count, evidence.path.display())];
    if let Some(begins) = continuity.begins_late() {
        lines.push(format!("the records begin only at {}", at(begins)));
    }
    if continuity.lost > 0 {
        lines.push(format!("EVIDENCE IS MISSING: {} records are lost", continuity.lost));
        for gap in &continuity.gaps {
            let between = match gap.after {
                0 => format!("before {}", at(gap.before)),
                after => format!("between {} and {}", at(after), at(gap.before)),
            };
            lines.push(format!("  {} to {} of start {}, {between}", gap.first, gap.last, gap.boot));
        }
        let told: u64 = continuity.gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
        if told < continuity.lost {
            lines.push(format!("  and {} more", continuity.lost - told));
        }
    }
    if continuity.torn > 0 {
        lines.push(format!("EVIDENCE IS MISSING: {} lines are torn and cannot be read", continuity.torn));
    }
    if continuity.abrupt_ends > 0 {
        let ends = continuity.abrupt_ends;
        lines.push(format!(
            "the sidecar ended abruptly {ends} times: up to a flush of records may be missing each time"
        ));
    }
    if continuity.reduced {
        lines.push("older files hold only what is kept longer: missing records cannot be told there".to_owned());
    }
    if beyond_us > 0 {
        lines.push(format!("{beyond_us} records are in words of a newer version, and not counted"));
    }
    lines
}

/// Columns beside each other; numbers to the right. The first line is the heading.
pub(super) fn table(lines: &[Vec<String>], indent: &str) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let is_number = |cell: &str| cell == "-" || cell.parse::<i64>().is_ok();
    let numbers = |column: usize| lines.iter().skip(1).all(|line| is_number(&line[column]));
    let right: Vec<bool> = (0..columns).map(numbers).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, cell)| match right[column] {
                true => format!("{cell:>0$}", widths[column]),
                false => format!("{cell:<0$}", widths[column]),
            })
            .collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{indent}{}", cells.join("  ").trim_end());
    }
    text
}

/// Text of others, on one line and without anything a terminal obeys.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
