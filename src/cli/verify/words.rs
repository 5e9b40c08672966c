//! What the checks say, in words and as JSON.

use super::report::{Check, Judged, Report};
use crate::policy::enforcement::Mode;
use crate::request::facts::{Claims, Presence};
use crate::rules::classify::{Class, Classification, RuleSet};
use crate::signature::headers::{SERVICE_ID, SIGNATURE, TIMESTAMP};
use crate::signature::key::{Fingerprint, ServiceId};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is wrong with the three headers: each of those that are not right.
pub(super) fn headers(claims: &Claims<'_>, sent: &[(&str, &str)]) -> String {
    let slots = [(SERVICE_ID, claims.service_id), (TIMESTAMP, claims.timestamp), (SIGNATURE, claims.signature)];
    let mut faults: Vec<String> = Vec::new();
    for (name, presence) in slots {
        match presence {
            Presence::Repeated => faults.push(format!("{name} came more than once")),
            Presence::Once(value) => faults.extend(malformed(name, &String::from_utf8_lossy(value))),
            Presence::Absent => {
                let alike = |other: &str| other.replace(['_', '.'], "-").eq_ignore_ascii_case(name);
                match sent.iter().find(|(other, _)| alike(other)) {
                    Some((other, _)) => faults.push(format!("{other} is not {name}, which is missing")),
                    None => faults.push(format!("{name} is missing")),
                }
            }
        }
    }
    faults.join("; ")
}

/// Why a single value is not of the exact form, if it is not.
fn malformed(name: &'static str, value: &str) -> Option<String> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let hex = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = match name {
        SERVICE_ID if ServiceId::parse(value).is_some() => return None,
        SERVICE_ID => {
            format!("{value:?}, expected 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit")
        }
        TIMESTAMP if digits && value.starts_with('0') => format!("{value:?}, expected no leading zero"),
        TIMESTAMP if digits && value.len() <= 12 => return None,
        TIMESTAMP if digits && value.len() == 13 => format!("{value:?}, which is milliseconds; expected seconds"),
        TIMESTAMP => format!("{value:?}, expected 1 to 12 digits: unix seconds"),
        _ if hex && !value.bytes().any(|byte| byte.is_ascii_uppercase()) => return None,
        _ if hex => "in upper-case hex, expected lower case".to_owned(),
        _ => format!("{} characters, expected 64 lowercase hex digits", value.chars().count()),
    };
    Some(format!("{name} is {found}"))
}

/// By how much the clock is off, and by how much it may be.
pub(super) fn window(skew: i64, window: u64) -> String {
    let off = skew.unsigned_abs();
    let side = match skew {
        0 => return format!("the caller's clock agrees; {window} s are allowed"),
        ..0 => "behind ours",
        1.. => "ahead of ours",
    };
    format!("the caller's clock is {off} s {side}; {window} s are allowed")
}

/// Which key was tried.
pub(super) fn key(id: &ServiceId, fingerprint: Fingerprint) -> String {
    format!("of {id}, fingerprint {fingerprint}")
}

/// That there is none, and which there are.
pub(super) fn no_key<'k>(claimed: &str, known: impl Iterator<Item = &'k ServiceId>) -> String {
    let known: Vec<&str> = known.map(ServiceId::as_str).collect();
    match &known[..] {
        [] => format!("there is none of {claimed}, nor of anyone else"),
        known => format!("there is none of {claimed}; known are {}", known.join(", ")),
    }
}

/// May it call, and who may?
pub(super) fn caller(rules: &RuleSet, classification: &Classification, service: &ServiceId, allowed: bool) -> String {
    if allowed {
        return format!("{service} may call this");
    }
    let lists: Vec<String> = classification
        .rules()
        .iter()
        .map(|index| rules.rule(*index))
        .filter_map(|rule| {
            let callers: Vec<&str> = rule.callers.as_ref()?.iter().map(ServiceId::as_str).collect();
            Some(format!("rule {:?} names {}", rule.name, callers.join(", ")))
        })
        .collect();
    format!("{service} may not call this: {}", lists.join("; "))
}

impl Report {
    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut text = match (self.verified(), self.reason) {
            (true, _) => "verified\n".to_owned(),
            (false, Some(reason)) => format!("not verified: {}\n", reason.code()),
            (false, None) => "not verified\n".to_owned(),
        };
        for Check { name, passed, detail } in &self.checks {
            let result = match passed {
                Some(true) => "ok",
                Some(false) => "FAILS",
                None => "-",
            };
            line(&mut text, name, &format!("{result:<6} {detail}"));
        }
        for signed in &self.signed_texts {
            let this = self.signed_texts.len() > 1 && self.signed_text.as_ref() == Some(signed);
            line(&mut text, "signed", &format!("       {signed}{}", if this { "  (this form)" } else { "" }));
        }
        if let Some(miss) = &self.near_miss {
            for slip in &miss.slips {
                line(&mut text, "mistake", &format!("       {slip}"));
            }
            line(&mut text, "", &format!("       it is right for {} (key {})", miss.signed_text, miss.key));
        }
        if let Some(judged) = &self.judged {
            line(&mut text, "class", &format!("       {}", judged.class()));
            line(&mut text, "in force", &format!("       {}", judged.in_force()));
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// For programs.
    pub(super) fn to_json(&self, key_problems: &[String]) -> Value {
        let checks = self.checks.iter().map(|check| {
            let result = match check.passed {
                Some(true) => "ok",
                Some(false) => "failed",
                None => "not_reached",
            };
            json!({ "check": check.name, "result": result, "detail": check.detail })
        });
        let mut answer = json!({
            "verified": self.verified(),
            "reason": self.reason.filter(|_| !self.verified()).map(|reason| reason.code()),
            "service": self.service.as_ref().map(|service| service.id().as_str()),
            "claimed_service": self.claimed,
            "key": self.tried.map(|key| key.to_string()),
            "skew_seconds": self.skew_seconds,
            "window_seconds": self.window,
            "checks": checks.collect::<Vec<_>>(),
            "signed_texts": self.signed_texts,
            "signed_text": self.signed_text,
            "near_miss": self.near_miss.as_ref().map(|miss| json!({
                "mistakes": miss.slips.iter().map(|slip| json!({
                    "mistake": slip.code(), "explanation": slip.to_string()
                })).collect::<Vec<_>>(),
                "signed_text": miss.signed_text,
                "key": miss.key.to_string(),
            })),
            "key_problems": key_problems,
        });
        if let Some(judged) = &self.judged {
            answer["class"] = judged.decision.classification.class().code().into();
            answer["rule"] = judged.rule.clone().into();
            answer["mode"] = judged.mode.code().into();
            answer["percentage"] = judged.decision.percentage.value().into();
        }
        answer
    }
}

impl Judged {
    fn class(&self) -> String {
        let rule = self.rule.as_ref().map_or(String::new(), |name| format!(", by rule {name:?}"));
        match self.decision.classification.class() {
            Class::Exempt => format!("exempt{rule}: the sidecar asks for no signature here and looks at none"),
            Class::Open => "open: the sidecar asks for no signature here and looks at none".to_owned(),
            Class::Service => format!("service{rule}: the sidecar asks for a signature"),
        }
    }

    fn in_force(&self) -> String {
        let percentage = self.decision.percentage;
        match self.mode {
            Mode::Log => "log: nothing is refused".to_owned(),
            Mode::Enforce => format!("enforce: {percentage} of what fails is refused"),
        }
    }
}

fn line(text: &mut String, name: &str, rest: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", format!("{name:<10} {rest}").trim_end());
}
