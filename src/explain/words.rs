//! The explanation in words, readings grouped by what they fall under, and as JSON with every one of them.

use super::report::{Fate, Held, Judged, ReadingRow, Report, RuleRow, Verdict};
use crate::policy::decision::{Outcome, Refusal};
use crate::policy::enforcement::{Enforcement, Mode};
use crate::proxy::{head_fault_status, refusal_status};
use crate::request::head::HeadFault;
use crate::request::readings::Readings;
use crate::rules::classify::Class;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// So many readings of a group are printed; a path can have hundreds.
const SHOWN: usize = 8;

/// Readings are padded to at most this width, so that what made them stands in a column.
const WIDEST: usize = 44;

impl Report {
    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} {}\n", printable(&self.method), printable(&self.path));
        if let Some(query) = &self.query {
            line(&mut text, "query", &format!("?{} does not count, for the class or for hmac-v1", printable(query)));
        }
        if let Some(live) = &self.live {
            line(
                &mut text,
                "by",
                &format!("the running sidecar, generation {} of its configuration", live.generation),
            );
            if let Some(Held { kind, since, by, why }) = &live.hold {
                line(
                    &mut text,
                    "held",
                    &format!("by a rollback ({kind}) since {since}, by {by}: {}", printable(why)),
                );
            }
        }
        match &self.verdict {
            Verdict::Malformed(fault) => {
                line(&mut text, "refused", &refused_by(Refusal::MalformedRequest, head_fault_status(*fault)));
                line(&mut text, "", "in both modes, before any rule is looked at; nothing goes upstream");
                line(&mut text, "because", &format!("{} ({})", because(*fault), fault.code()));
            }
            Verdict::Judged(judged) => judged.write(&mut text),
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let hold = |held: &Held| json!({ "kind": held.kind, "since": held.since, "by": held.by, "reason": held.why });
        let live = self.live.as_ref();
        let live = live.map(|live| json!({ "generation": live.generation, "hold": live.hold.as_ref().map(hold) }));
        let request = json!({ "method": self.method, "path": self.path, "query": self.query, "live": live });
        let rest = match &self.verdict {
            Verdict::Malformed(fault) => json!({
                "malformed": {
                    "reason": Refusal::MalformedRequest.code(),
                    "fault": fault.code(),
                    "status": head_fault_status(*fault),
                },
                "class": null,
            }),
            Verdict::Judged(judged) => judged.to_json(),
        };
        match (request, rest) {
            (Value::Object(mut request), Value::Object(rest)) => {
                request.extend(rest);
                Value::Object(request)
            }
            (_, rest) => rest,
        }
    }
}

impl Judged {
    fn write(&self, text: &mut String) {
        line(text, "class", &self.class_in_words());
        if self.class == Class::Service {
            for rule in &self.rules {
                line(text, "rule", &rule.in_words());
            }
            line(text, "in force", &self.in_force());
        }
        line(text, "unsigned", &self.in_words(self.unsigned));
        self.write_signed(text);
        if let Some(asked) = self.asked {
            line(text, "asked", if asked.is_allowed() { "yes: allowed" } else { "no: not allowed" });
        }
        self.write_readings(text);
    }

    /// One line for each fate, with the services that share it.
    fn write_signed(&self, text: &mut String) {
        if self.class != Class::Service {
            return;
        }
        let others = ("any other service with a key", self.others);
        let all: Vec<(&str, Fate)> =
            self.signed.iter().map(|(id, fate)| (id.as_str(), *fate)).chain([others]).collect();
        let mut told: Vec<Fate> = Vec::new();
        for (_, fate) in &all {
            if !told.contains(fate) {
                told.push(*fate);
                let who: Vec<&str> = all.iter().filter(|(_, other)| other == fate).map(|(who, _)| *who).collect();
                line(text, "signed by", &format!("{}: {}", who.join(", "), self.in_words(*fate)));
            }
        }
    }

    fn write_readings(&self, text: &mut String) {
        if self.overlong {
            return;
        }
        let count = self.readings.len();
        let _ = writeln!(text, "\n{count} {}", if count == 1 { "reading" } else { "readings, the strictest counts" });
        let width =
            self.readings.iter().map(|row| printable(&row.text).chars().count()).max().unwrap_or(0).min(WIDEST);
        for class in [Class::Service, Class::Open, Class::Exempt] {
            let mut rest: Vec<&ReadingRow> = self.readings.iter().filter(|row| row.class == class).collect();
            while let Some(first) = rest.first().copied() {
                let (group, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|row| row.under == first.under);
                let _ = writeln!(text, "  {}", first.falls_under());
                for row in group.iter().take(SHOWN) {
                    let made_by = if row.made_by.is_empty() { "as it came".into() } else { row.made_by.join(", ") };
                    let _ = writeln!(text, "    {:<width$}  {made_by}", printable(&row.text));
                }
                if group.len() > SHOWN {
                    let _ = writeln!(text, "    ... and {} more; --json has them all", group.len() - SHOWN);
                }
                rest = others;
            }
        }
    }

    fn class_in_words(&self) -> String {
        let by = self.named.as_ref().map_or(String::new(), |name| format!(", by rule {name:?}"));
        match self.class {
            Class::Exempt => format!("exempt{by}: no signature is asked for, or looked at"),
            Class::Open => {
                let covered = self.readings.iter().any(|row| row.under.is_some());
                let why = if covered { "no rule covers every reading" } else { "no rule covers it" };
                format!("open, {why}: no signature is asked for, or looked at")
            }
            Class::Service if self.overlong => format!(
                "service: over {} bytes and not clean, or of over {} readings, or over {} bytes of them; so it is not \
                 read and could be any path",
                Readings::LONGEST,
                Readings::MOST,
                Readings::MOST_BYTES
            ),
            Class::Service if self.rules.is_empty() => {
                "service, by default_access: a signature is required".to_owned()
            }
            Class::Service if self.rules.len() > 1 => {
                format!("service{by} and others: the caller must be allowed by each")
            }
            Class::Service => format!("service{by}: a signature is required"),
        }
    }

    fn in_force(&self) -> String {
        let Enforcement { mode, percentage, .. } = self.enforcement;
        let here = if self.percentage == percentage { String::new() } else { format!(", {} here", self.percentage) };
        let what = match mode {
            Mode::Log => "nothing is refused".to_owned(),
            Mode::Enforce => format!("{} of what fails its checks is refused", self.percentage),
        };
        format!("{}, {percentage}{here}: {what}", mode.code())
    }

    fn in_words(&self, fate: Fate) -> String {
        match fate {
            Fate::Certain(outcome, reason) => match (outcome, reason) {
                (Outcome::Refuse, Some(reason)) => refused_by(reason, refusal_status(reason)),
                (Outcome::WouldRefuse, Some(reason)) => {
                    format!("passes, recorded as {} for {}", outcome.code(), reason.code())
                }
                (Outcome::Allow, _) => "passes".to_owned(),
                (outcome, _) => format!("passes, recorded as {}", outcome.code()),
            },
            Fate::Drawn(reason) => format!(
                "{} are answered {}, the others pass, recorded as {}",
                self.percentage,
                refused_by(reason, refusal_status(reason)),
                Outcome::WouldRefuse.code()
            ),
        }
    }

    fn to_json(&self) -> Value {
        let readings = self.readings.iter().map(|row| {
            json!({
                "path": row.text,
                "made_by": row.made_by,
                "class": row.class.code(),
                "rule": row.under.as_ref().map(|under| &under.name),
                "pattern": row.under.as_ref().map(|under| &under.pattern),
                "stretched": row.under.as_ref().is_some_and(|under| under.stretched),
            })
        });
        let rules = self.rules.iter().map(|rule| {
            json!({
                "name": rule.name,
                "callers": rule.callers,
                "enforce": rule.enforce.map(|percentage| percentage.value()),
                "set": rule.set.map(|percentage| percentage.value()),
            })
        });
        let fate = |fate: Fate| {
            let (outcome, reason) = match fate {
                Fate::Certain(outcome, reason) => (outcome.code(), reason),
                Fate::Drawn(reason) => ("refuse_or_would_refuse", Some(reason)),
            };
            json!({
                "outcome": outcome,
                "reason": reason.map(Refusal::code),
                "status": reason.filter(|_| outcome.starts_with(Outcome::Refuse.code())).map(refusal_status),
                "allowed": fate.is_allowed(),
            })
        };
        let signed: serde_json::Map<_, _> =
            self.signed.iter().map(|(id, of_id)| (id.to_string(), fate(*of_id))).collect();
        json!({
            "malformed": null,
            "class": self.class.code(),
            "rule": self.named,
            "rules": rules.collect::<Vec<_>>(),
            "overlong": self.overlong,
            "mode": self.enforcement.mode.code(),
            "percentage": self.percentage.value(),
            "global_percentage": self.enforcement.percentage.value(),
            "unsigned": fate(self.unsigned),
            "signed": signed,
            "signed_by_others": fate(self.others),
            "asked": self.asked.map(fate),
            "readings": readings.collect::<Vec<_>>(),
        })
    }
}

impl ReadingRow {
    fn falls_under(&self) -> String {
        let class = self.class.code();
        match &self.under {
            None => format!("{class}: no rule"),
            Some(under) if under.stretched => {
                format!("{class}: rule {:?}, begins with the text of {}", under.name, under.pattern)
            }
            Some(under) => format!("{class}: rule {:?}, {}", under.name, under.pattern),
        }
    }
}

impl RuleRow {
    fn in_words(&self) -> String {
        let callers = match &self.callers {
            None => "any known service".to_owned(),
            Some(callers) => callers.join(", "),
        };
        let own = self.enforce.map_or(String::new(), |percentage| format!("; enforce = {}", percentage.value()));
        let set = self.set.map_or(String::new(), |percentage| format!("; set to {percentage} while running"));
        format!("{:?}, callers: {callers}{own}{set}", self.name)
    }
}

fn refused_by(reason: Refusal, status: u16) -> String {
    format!("{status} {}", reason.public_code())
}

/// What a person can do about a target that is not served.
const fn because(fault: HeadFault) -> &'static str {
    match fault {
        HeadFault::TargetByte => {
            "the target holds a byte that servers read differently: a control character, `#`, `<`, `>`, a back-tick \
             or anything beyond ASCII; a client sends these percent-encoded"
        }
        HeadFault::TargetForm => "the target is not a path; expected one that begins with /",
        HeadFault::Connect => "CONNECT is not served",
        HeadFault::TargetTooLong => "the target is longer than [limits].target",
        HeadFault::HeadTooLong => "the request is longer than [limits].head",
        HeadFault::Method => "the method is not a token of at most 64 letters",
        HeadFault::RequestLine
        | HeadFault::Version
        | HeadFault::TooManyFields
        | HeadFault::BareLineEnd
        | HeadFault::FoldedLine
        | HeadFault::FieldName
        | HeadFault::FieldValue
        | HeadFault::HostMissing
        | HeadFault::HostRepeated
        | HeadFault::HostMalformed
        | HeadFault::ContentLength
        | HeadFault::TransferEncoding
        | HeadFault::LengthAndEncoding
        | HeadFault::Chunk
        | HeadFault::Trailer => "method and target do not make a request line; a space is sent as %20",
    }
}

/// As it can be shown on a terminal: a decoded path may hold any character.
fn printable(text: &str) -> String {
    let plain = |char: char| matches!(char, '\\' | '\'' | '"');
    text.chars().fold(String::with_capacity(text.len()), |mut out, char| {
        if plain(char) {
            out.push(char)
        } else {
            out.extend(char.escape_debug())
        }
        out
    })
}

fn line(text: &mut String, name: &str, rest: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", format!("  {name:<10} {rest}").trim_end());
}
