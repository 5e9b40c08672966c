//! What `validate` prints: a table for people, the same facts as JSON.

use super::judge::{Judgement, Row};
use super::standing::Standing;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What came of a run.
pub(super) struct Report<'r> {
    pub(super) url: &'r str,
    pub(super) standing: &'r Standing,
    /// Were the probes announced to the sidecar?
    pub(super) announced: bool,
    /// What a person should know of it.
    pub(super) notes: &'r [String],
    pub(super) rows: &'r [Row],
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

impl Report<'_> {
    fn count(&self, result: Judgement) -> usize {
        self.rows.iter().filter(|row| row.result == result).count()
    }

    /// Did anything fail?
    pub(super) fn has_failed(&self) -> bool {
        self.count(Judgement::Failed) > 0
    }

    pub(super) fn to_text(&self, colour: bool) -> String {
        let mut text = format!(
            "{}\n{} (by {}); probes {}\n\n",
            self.url,
            self.standing.words(),
            self.standing.said_by.words(),
            if self.announced { "announced: counted nowhere" } else { "not announced: counted like any request" },
        );
        let cells = |row: &Row| {
            let subject = match &row.caller {
                Some(caller) => format!("{} as {caller}", row.subject),
                None => row.subject.clone(),
            };
            [row.check.to_owned(), subject, row.status.map_or_else(|| "-".to_owned(), |status| status.to_string())]
        };
        let lines: Vec<[String; 3]> = self.rows.iter().map(cells).collect();
        let headings = ["CHECK", "ABOUT", "ANSWER"];
        let width = |at: usize| {
            lines.iter().map(|line| line[at].chars().count()).chain([headings[at].len()]).max().unwrap_or_default()
        };
        let [check, about, answer] = [width(0), width(1), width(2)];
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {:check$}  {:about$}  {:answer$}  RESULT", headings[0], headings[1], headings[2]);
        for (row, [first, second, third]) in self.rows.iter().zip(&lines) {
            let (mark, paint) = match row.result {
                Judgement::Passed => ("ok", GREEN),
                Judgement::Failed => ("NO", RED),
                Judgement::Unknown => ("--", DIM),
            };
            let mark = if colour { format!("{paint}{mark}{PLAIN}") } else { mark.to_owned() };
            let _ = writeln!(text, "{mark}  {first:check$}  {second:about$}  {third:answer$}  {}", row.detail);
        }
        text.push('\n');
        for note in self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let (failed, unknown) = (self.count(Judgement::Failed), self.count(Judgement::Unknown));
        let _ = write!(text, "{} checks: {} passed", self.rows.len(), self.count(Judgement::Passed));
        if failed > 0 {
            let _ = write!(text, ", {failed} failed");
        }
        if unknown > 0 {
            let _ = write!(text, ", {unknown} could not be tried");
        }
        text
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "ok": !self.has_failed(),
            "url": self.url,
            "mode": self.standing.mode.code(),
            "percentage": self.standing.percentage.value(),
            "mode_said_by": self.standing.said_by.words(),
            "announced": self.announced,
            "passed": self.count(Judgement::Passed),
            "failed": self.count(Judgement::Failed),
            "unknown": self.count(Judgement::Unknown),
            "notes": self.notes,
            "checks": self.rows.iter().map(one).collect::<Vec<_>>(),
        })
    }
}

fn one(row: &Row) -> Value {
    json!({
        "check": row.check,
        "about": row.subject,
        "caller": row.caller,
        "request": row.request,
        "status": row.status,
        "result": match row.result {
            Judgement::Passed => "passed",
            Judgement::Failed => "failed",
            Judgement::Unknown => "unknown",
        },
        "detail": row.detail,
    })
}
