//! What `keys list` prints: a table, or JSON with the same facts.

use super::super::words;
use super::{KeyRow, Outgoing, Row, Source};
use crate::keys::rotation::OverlapStage;
use crate::signature::key::Fingerprint;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A table, and below it what is worth a sentence.
pub(super) fn to_text(rows: &[Row], place: &str, now: u64) -> String {
    if rows.is_empty() {
        return format!("no keys in {place}");
    }
    let mut lines = vec![["SERVICE", "KEY", "AGE", "LEFT", "SOURCE", "LAST USED"].map(str::to_owned)];
    let mut notes = Vec::new();
    for row in rows {
        let id = if row.unused { format!("{} (unused)", row.id) } else { row.id.to_string() };
        lines.push(match &row.key {
            None => [id, "none".to_owned(), dash(), dash(), dash(), dash()],
            Some(Err(fault)) => {
                notes.push(fault.clone());
                [id, "unreadable".to_owned(), dash(), dash(), dash(), dash()]
            }
            Some(Ok(key)) => {
                notes.extend(remarks(row, key, now));
                let age = key.made.map_or_else(dash, |made| words::span(now.saturating_sub(made)));
                let used = key.used.as_ref().map_or_else(dash, |used| words::used(used, now));
                let end = key.left.map_or_else(|| "no end".to_owned(), left);
                [id, key.key.to_string(), age, end, source(key.source).to_owned(), used]
            }
        });
    }
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    text.trim_end().to_owned()
}

fn remarks(row: &Row, key: &KeyRow, now: u64) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some((next, since)) = key.next {
        remarks.push(format!("{}: a rotation to {next} is under way since {}", row.id, words::time(since)));
    }
    if let Some(Outgoing { key: old, until, used, known, stage }) = &key.previous {
        let used = match used {
            Some(used) => words::used(used, now),
            None if *known => "never seen used since".to_owned(),
            None => words::UNKNOWN_USE.to_owned(),
        };
        let until = words::time(*until);
        remarks.push(match stage {
            OverlapStage::Running => format!("{}: the key before, {old}, is taken until {until}; {used}", row.id),
            OverlapStage::StillUsed => format!(
                "{}: the key before, {old}, was to be taken until {until} and is still used: {used}; let that program \
                 load the new key",
                row.id
            ),
            OverlapStage::Unknown => {
                format!("{}: the key before, {old}, was to be taken until {until}; {used}", row.id)
            }
            OverlapStage::Over => format!(
                "{}: the key before, {old}, was taken until {until} and is unused: the next `keys rotate --due` ends it",
                row.id
            ),
        });
    }
    match key.source {
        Source::Differs(file) => {
            remarks.push(format!("{}: the file on this machine holds another key, {file}", row.id));
        }
        Source::FilesOnly => {
            remarks.push(format!("{}: only a file on this machine holds its key, Redis none", row.id))
        }
        Source::Files | Source::Redis | Source::Both => {}
    }
    remarks
}

/// `87d 3h`, or since when it is over.
pub(super) fn left(seconds: i64) -> String {
    let span = words::span(seconds.unsigned_abs());
    if seconds < 0 { format!("-{span}") } else { span }
}

fn dash() -> String {
    "-".to_owned()
}

const fn source(source: Source) -> &'static str {
    match source {
        Source::Files | Source::FilesOnly => "files",
        Source::Redis => "redis",
        Source::Both => "both",
        Source::Differs(_) => "differs",
    }
}

/// The same facts for programs.
pub(super) fn to_json(rows: &[Row], place: &str) -> Value {
    json!({ "store": place, "keys": rows.iter().map(one).collect::<Vec<_>>() })
}

fn one(row: &Row) -> Value {
    let mut value = json!({
        "service": row.id.as_str(),
        "unused": row.unused,
        "state": match &row.key {
            None => "missing",
            Some(Err(_)) => "unreadable",
            Some(Ok(_)) => "good",
        },
    });
    match &row.key {
        None => {}
        Some(Err(fault)) => value["problem"] = fault.clone().into(),
        Some(Ok(key)) => {
            let time = |at: Option<u64>| at.map(words::time);
            let previous = key.previous.as_ref().map(|previous| {
                json!({
                    "fingerprint": previous.key.to_string(),
                    "until": words::time(previous.until),
                    "last_used": words::used_json(previous.used.as_ref()),
                    "use_known": previous.known,
                    "overdue": previous.stage == OverlapStage::StillUsed,
                })
            });
            let next =
                key.next.map(|(key, since)| json!({ "fingerprint": key.to_string(), "since": words::time(since) }));
            value["fingerprint"] = key.key.to_string().into();
            value["made"] = time(key.made).into();
            value["expires"] = time(key.expires).into();
            value["ttl_seconds"] = key.left.into();
            value["source"] = source(key.source).into();
            value["file_fingerprint"] = other_file(key).map(|file| file.to_string()).into();
            value["last_used"] = words::used_json(key.used.as_ref());
            value["previous"] = previous.into();
            value["next"] = next.into();
        }
    }
    value
}

fn other_file(key: &KeyRow) -> Option<Fingerprint> {
    match key.source {
        Source::Differs(file) => Some(file),
        Source::Both | Source::Files | Source::FilesOnly => Some(key.key),
        Source::Redis => None,
    }
}
