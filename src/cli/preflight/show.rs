//! What `preflight` prints: a line for each criterion for people, the same facts as JSON.

use crate::cli::report::words::at;
use crate::policy::enforcement::Mode;
use crate::rollout::gates::phase::Phase;
use crate::rollout::gates::{self, Finding, Gate, Verdict};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// All that is told.
pub(super) struct Report<'r> {
    pub(super) gate: Gate,
    pub(super) findings: &'r [Finding],
    /// Why the sidecar could not be asked.
    pub(super) unreachable: Option<&'r str>,
    pub(super) phase: Option<&'r Phase>,
    pub(super) mode: Option<Mode>,
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

impl Report<'_> {
    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict && finding.waived.is_none()).count()
    }

    fn waived(&self) -> usize {
        self.findings.iter().filter(|finding| finding.verdict != Verdict::Pass && finding.waived.is_some()).count()
    }

    pub(super) fn to_text(&self, colour: bool) -> String {
        let mut text = format!("gate {}: before {}\n", self.gate.code(), self.gate.leads_to());
        // Writing to a string does not fail.
        if let (Some(phase), Some(mode)) = (self.phase, self.mode) {
            let _ = writeln!(text, "mode {}, records from {} on", mode.code(), at(phase.from));
        }
        if let Some(why) = self.unreachable {
            let _ = writeln!(text, "{why}");
        }
        text.push('\n');
        let width = self.findings.iter().map(|finding| finding.criterion.code().len()).max().unwrap_or_default();
        for finding in self.findings {
            let (mark, paint) = match (finding.verdict, &finding.waived) {
                (Verdict::Pass, _) => ("ok", GREEN),
                (Verdict::Fail | Verdict::Unknown, Some(_)) => ("--", DIM),
                (Verdict::Fail, None) => ("NO", RED),
                (Verdict::Unknown, None) => ("??", RED),
            };
            let (paint, plain) = if colour { (paint, PLAIN) } else { ("", "") };
            let Finding { criterion, measured, limit, .. } = finding;
            let _ = writeln!(
                text,
                "{paint}{mark}{plain}  {:width$}  {}: {measured} (limit: {limit})",
                criterion.code(),
                criterion.title()
            );
            let indent = width + 6;
            match (&finding.waived, &finding.remedy) {
                (Some(reason), Some(_)) => {
                    let _ = writeln!(text, "{:indent$}waived: {reason}", "");
                }
                (None, Some(remedy)) => {
                    let _ = writeln!(text, "{:indent$}-> {remedy}", "");
                }
                (Some(_) | None, None) => {}
            }
        }
        let (fail, unknown) = (self.count(Verdict::Fail), self.count(Verdict::Unknown));
        let waived = match self.waived() {
            0 => String::new(),
            some => format!(", {some} waived"),
        };
        let pass = self.findings.iter().filter(|finding| finding.verdict == Verdict::Pass).count();
        let word = if gates::is_go(self.findings) { "GO" } else { "NO-GO" };
        let _ = write!(text, "\n{word}: {pass} pass, {fail} fail, {unknown} unknown{waived}");
        text
    }

    pub(super) fn to_json(&self) -> Value {
        let criterion = |finding: &Finding| {
            json!({
                "criterion": finding.criterion.code(),
                "title": finding.criterion.title(),
                "verdict": finding.verdict.code(),
                "measured": finding.measured,
                "limit": finding.limit,
                "remedy": finding.remedy,
                "waived": finding.waived,
            })
        };
        json!({
            "gate": self.gate.code(),
            "go": gates::is_go(self.findings),
            "mode": self.mode.map(Mode::code),
            "from": self.phase.map(|phase| at(phase.from)),
            "sidecar_reached": self.unreachable.is_none(),
            "unreachable": self.unreachable,
            "pass": self.findings.iter().filter(|finding| finding.verdict == Verdict::Pass).count(),
            "fail": self.count(Verdict::Fail),
            "unknown": self.count(Verdict::Unknown),
            "waived": self.waived(),
            "criteria": self.findings.iter().map(criterion).collect::<Vec<_>>(),
        })
    }
}
