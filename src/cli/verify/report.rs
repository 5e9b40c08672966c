//! The checks of one request, made by the code that the proxy runs, with what each of them said.

use super::words;
use crate::config::Config;
use crate::explain::alone::{self, Circumstances};
use crate::keys::key_file::KeyFile;
use crate::keys::record::KeyRecord;
use crate::policy::decision::{Decision, Refusal};
use crate::request::certificate::ClientCertificate;
use crate::request::client::{ClientAddress, Peer};
use crate::request::facts::{Claims, Presence, RequestFacts};
use crate::signature::headers::PresentedSignature;
use crate::signature::hmac_v1::{SignedPaths, signed_text};
use crate::signature::key::{Fingerprint, KeyTextError, ServiceId, ServiceKeys};
use crate::signature::near_miss::{Attempt, KnownKey, NearMiss, near_miss};
use crate::signature::verify::{AuthenticatedService, KeyLookup, VerifyFailure, verify};
use std::net::{IpAddr, Ipv4Addr};
use zeroize::Zeroizing;

/// What is asked.
pub(super) struct Question<'q> {
    pub(super) method: &'q str,
    pub(super) path: &'q str,
    pub(super) query: Option<&'q str>,
    pub(super) headers: &'q [(&'q str, &'q str)],
    pub(super) window: u64,
    pub(super) now: u64,
}

/// A key that can be tried, with its text: mistakes are looked for in how it was used.
pub(super) struct Known {
    pub(super) id: ServiceId,
    text: Zeroizing<String>,
    keys: ServiceKeys,
}

impl Known {
    /// As a store has it.
    pub(super) fn stored(id: ServiceId, record: KeyRecord) -> Result<Known, KeyTextError> {
        Ok(Known { id, text: Zeroizing::new(record.current.reveal().to_owned()), keys: record.to_keys()? })
    }

    pub(super) fn new(id: ServiceId, mut file: KeyFile) -> Known {
        Known { id, text: std::mem::take(&mut file.text), keys: file.into_keys() }
    }
}

/// One check and what it said.
pub(super) struct Check {
    pub(super) name: &'static str,
    /// `None`: an earlier one failed before it could be made.
    pub(super) passed: Option<bool>,
    pub(super) detail: String,
}

/// What came of it.
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
    pub(super) reason: Option<Refusal>,
    pub(super) claimed: Option<String>,
    pub(super) service: Option<AuthenticatedService>,
    /// The claimed service's key.
    pub(super) tried: Option<Fingerprint>,
    pub(super) skew_seconds: Option<i64>,
    pub(super) window: u64,
    /// What the claimed service's key should have been used on; one text, or two.
    pub(super) signed_texts: Vec<String>,
    /// Which of them was.
    pub(super) signed_text: Option<String>,
    pub(super) near_miss: Option<NearMiss>,
    pub(super) judged: Option<Judged>,
}

/// What a configuration says of the request.
pub(super) struct Judged {
    pub(super) decision: Decision,
    pub(super) rule: Option<String>,
    pub(super) mode: crate::policy::enforcement::Mode,
}

impl Report {
    /// Makes the checks, in the contract's order.
    pub(super) fn of(question: &Question<'_>, keys: &[Known], config: Option<&Config>) -> Report {
        let mut claims = Claims::default();
        for (name, value) in question.headers {
            claims.note(name.as_bytes(), value.as_bytes());
        }
        let limit_key = ClientAddress::of(Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), &[], []).limit_key();
        let facts = RequestFacts {
            method: question.method,
            path: question.path,
            query: question.query,
            claims,
            certificate: ClientCertificate::NotAsked,
            limit_key,
            is_probe: false,
        };
        let mut report = Report {
            checks: Vec::new(),
            reason: None,
            claimed: once(claims.service_id).map(str::to_owned),
            service: None,
            tried: None,
            skew_seconds: None,
            window: question.window,
            signed_texts: Vec::new(),
            signed_text: None,
            near_miss: None,
            judged: config.map(|config| judged(config, &facts, keys, question)),
        };
        report.signature(question, &facts, keys);
        report.caller(config);
        report
    }

    /// Did this caller sign this request, and may it make it?
    pub(super) fn verified(&self) -> bool {
        self.checks.iter().all(|check| check.passed == Some(true))
    }

    fn add(&mut self, name: &'static str, passed: Option<bool>, detail: String) {
        self.checks.push(Check { name, passed, detail });
    }

    fn signature(&mut self, question: &Question<'_>, facts: &RequestFacts<'_>, keys: &[Known]) {
        let presented = match PresentedSignature::parse(&facts.claims) {
            Ok(presented) => presented,
            Err(fault) => {
                self.reason = Some(fault.into());
                self.add("headers", Some(false), words::headers(&facts.claims, question.headers));
                for name in ["window", "key", "signature"] {
                    self.add(name, None, String::new());
                }
                self.near_miss = mistake(question, &facts.claims, keys);
                return;
            }
        };
        let skew = presented.skew_seconds(question.now);
        self.skew_seconds = Some(skew);
        self.signed_texts = SignedPaths::of(question.path)
            .iter()
            .map(|path| signed_text(presented.service_id, question.method, path, presented.timestamp))
            .collect();
        self.add("headers", Some(true), format!("{} at {}", presented.service_id, presented.timestamp));
        let found = verify(&presented, facts, |id| lookup(keys, id), question.window, question.now);
        self.reason = found.as_ref().err().map(|failure| (*failure).into());
        let in_time = !matches!(found, Err(VerifyFailure::TimestampOutsideWindow { .. }));
        self.add("window", Some(in_time), words::window(skew, question.window));
        // A request from a log is always late: whether it was signed well is known all the same.
        let then = if in_time { found } else { at_its_time(&presented, facts, keys) };
        match keys.iter().find(|key| key.id.as_str() == presented.service_id) {
            Some(key) => {
                let fingerprint = key.keys.current.fingerprint();
                self.tried = Some(fingerprint);
                self.add("key", Some(true), words::key(&key.id, fingerprint));
            }
            None => self.add("key", Some(false), words::no_key(presented.service_id, keys.iter().map(|key| &key.id))),
        }
        match then {
            Ok(service) => {
                self.add("signature", Some(true), format!("made with the key of {}", service.id()));
                self.service = in_time.then_some(service);
                self.signed_text = mistake(question, &facts.claims, keys).map(|found| found.signed_text);
            }
            Err(failure) => {
                let passed = (failure == VerifyFailure::InvalidSignature).then_some(false);
                self.add("signature", passed, "is not that of the signed text with this key".into());
                self.near_miss = mistake(question, &facts.claims, keys);
            }
        }
    }

    fn caller(&mut self, config: Option<&Config>) {
        let (Some(config), Some(judged), Some(service)) = (config, &self.judged, &self.service) else { return };
        let classification = &judged.decision.classification;
        let allowed = crate::policy::decide::callers_allow(&config.rules, classification, service.id());
        let detail = words::caller(&config.rules, classification, service.id(), allowed);
        if !allowed {
            self.reason = Some(Refusal::CallerNotAllowed);
        }
        self.add("caller", Some(allowed), detail);
    }
}

fn at_its_time(
    presented: &PresentedSignature<'_>,
    facts: &RequestFacts<'_>,
    keys: &[Known],
) -> Result<AuthenticatedService, VerifyFailure> {
    verify(presented, facts, |id| lookup(keys, id), 0, presented.unix_seconds)
}

fn lookup<'k>(keys: &'k [Known], id: &str) -> KeyLookup<'k> {
    match keys.iter().find(|key| key.id.as_str() == id) {
        Some(key) => KeyLookup::Known(&key.id, &key.keys),
        None => KeyLookup::Unknown,
    }
}

/// The sidecar's whole judgement.
fn judged(config: &Config, facts: &RequestFacts<'_>, keys: &[Known], question: &Question<'_>) -> Judged {
    let circumstances = Circumstances {
        enforcement: config.enforcement,
        rule_percentages: &[],
        window_seconds: question.window,
        now: question.now,
        draw: 0,
    };
    let decision = alone::judged(config, facts, |id| lookup(keys, id), &circumstances);
    let rule = decision.classification.named_rule().map(|index| config.rules.rule(index).name.to_string());
    Judged { decision, rule, mode: config.enforcement.mode }
}

fn mistake(question: &Question<'_>, claims: &Claims<'_>, keys: &[Known]) -> Option<NearMiss> {
    let attempt = Attempt {
        service_id: once(claims.service_id)?,
        timestamp: once(claims.timestamp)?,
        signature: once(claims.signature)?,
        method: question.method,
        path: question.path,
        query: question.query,
    };
    let keys: Vec<KnownKey<'_>> = keys.iter().map(|key| KnownKey { id: &key.id, text: &key.text }).collect();
    near_miss(&attempt, &keys)
}

fn once(presence: Presence<'_>) -> Option<&str> {
    match presence {
        Presence::Once(value) => std::str::from_utf8(value).ok(),
        Presence::Absent | Presence::Repeated => None,
    }
}
