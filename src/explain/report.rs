//! What there is to tell of one request: its readings, its class, and what would come of it.

use super::alone::{Circumstances, judged};
use crate::clock;
use crate::config::Config;
use crate::policy::decision::{Decision, Outcome, Refusal};
use crate::policy::enforcement::{Enforcement, Sampling};
use crate::request::certificate::ClientCertificate;
use crate::request::client::LimitKey;
use crate::request::facts::{Claims, RequestFacts};
use crate::request::head::{HeadFault, HeadLimits, RequestHead};
use crate::request::readings::Readings;
use crate::rules::classify::{Class, Classification, Judged as Step, RuleIndex, RuleSet};
use crate::rules::percentage::Percentage;
use crate::signature::hmac_v1::sign;
use crate::signature::key::{ServiceId, ServiceKey, ServiceKeys};
use crate::signature::verify::KeyLookup;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Everything that is told.
pub struct Report {
    pub(super) method: String,
    /// Without the query; all of it when it cannot be read.
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// What was found.
    pub verdict: Verdict,
    pub(super) live: Option<Live>,
}

/// What counts beside the configuration.
#[derive(Debug)]
pub struct InForce<'f> {
    /// Mode and percentage.
    pub enforcement: Enforcement,
    /// Percentages set for rules while running, in their order; empty where none is.
    pub rule_percentages: &'f [Option<Percentage>],
    /// Where a running sidecar is asked.
    pub live: Option<Live>,
}

/// How the running sidecar stands.
#[derive(Debug, Clone)]
pub struct Live {
    /// The configuration it judges by.
    pub generation: u64,
    /// Nothing is switched on before an operator lifts it.
    pub hold: Option<Held>,
}

/// A rollback that holds.
#[derive(Debug, Clone)]
pub struct Held {
    /// How it came about.
    pub kind: &'static str,
    /// RFC 3339.
    pub since: String,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

impl InForce<'_> {
    /// The configuration's own word.
    pub fn configured(config: &Config) -> InForce<'static> {
        InForce { enforcement: config.enforcement, rule_percentages: &[], live: None }
    }
}

/// Can the request be read at all?
pub enum Verdict {
    /// No: refused in both modes, whatever the rules say.
    Malformed(HeadFault),
    /// Yes.
    Judged(Box<Judged>),
}

/// What the rules say, and what follows.
pub struct Judged {
    pub(super) readings: Vec<ReadingRow>,
    pub(super) overlong: bool,
    pub(super) class: Class,
    pub(super) rules: Vec<RuleRow>,
    /// The rule that evidence names.
    pub(super) named: Option<String>,
    pub(super) enforcement: Enforcement,
    /// The effective percentage.
    pub(super) percentage: Percentage,
    pub(super) unsigned: Fate,
    /// With a valid signature, for each service that the configuration names.
    pub(super) signed: Vec<(ServiceId, Fate)>,
    /// The same for every other service that has a key.
    pub(super) others: Fate,
    /// The same for the service that was asked about.
    pub asked: Option<Fate>,
}

/// One reading of the path.
pub(super) struct ReadingRow {
    pub(super) text: String,
    pub(super) made_by: Vec<&'static str>,
    pub(super) class: Class,
    /// `None`: no rule covers it.
    pub(super) under: Option<Under>,
}

/// What a reading falls under.
#[derive(PartialEq, Eq)]
pub(super) struct Under {
    pub(super) rule: RuleIndex,
    pub(super) name: String,
    pub(super) pattern: String,
    pub(super) stretched: bool,
}

/// One of the rules that decided.
pub(super) struct RuleRow {
    pub(super) name: String,
    /// `None`: any known service.
    pub(super) callers: Option<Vec<String>>,
    pub(super) enforce: Option<Percentage>,
    /// Set while running; counts instead.
    pub(super) set: Option<Percentage>,
}

/// What comes of a request, whatever it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Always the same.
    Certain(Outcome, Option<Refusal>),
    /// Refused as often as the effective percentage says, else `would_refuse`.
    Drawn(Refusal),
}

impl Report {
    /// Reads, judges and collects.
    pub fn of(
        config: &Config,
        in_force: InForce<'_>,
        method: &str,
        target: &str,
        asked: Option<&ServiceId>,
    ) -> Report {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let limits =
            HeadLimits { head: config.limits.head, target: config.limits.target, fields: config.limits.headers };
        let splits = |text: &str| text.contains([' ', '\r', '\n']);
        let parsed = match RequestHead::parse(text.as_bytes(), &limits) {
            // A line of its own inside would be read as a field, and the answer be about another request.
            Ok(_) if splits(method) || splits(target) => Err(HeadFault::RequestLine),
            parsed => parsed,
        };
        match parsed {
            Err(fault) => Report {
                method: method.to_owned(),
                path: target.to_owned(),
                query: None,
                verdict: Verdict::Malformed(fault),
                live: in_force.live,
            },
            Ok(head) => Report {
                method: head.method().to_owned(),
                path: head.path().to_owned(),
                query: head.query().map(str::to_owned),
                verdict: Verdict::Judged(Box::new(Judged::of(config, &in_force, &head, asked))),
                live: in_force.live,
            },
        }
    }
}

impl Judged {
    fn of(config: &Config, in_force: &InForce<'_>, head: &RequestHead, asked: Option<&ServiceId>) -> Judged {
        let readings = Readings::of(head.path());
        let trace = config.rules.trace(head.method(), &readings);
        let classification = &trace.classification;
        let bench = Bench::new(config, in_force, head);
        let (unsigned, decision) = bench.fate(None);
        let class = classification.class();
        let known = match class {
            Class::Exempt | Class::Open => BTreeSet::new(),
            Class::Service => services(config, classification),
        };
        let mut signed: Vec<(ServiceId, Fate)> =
            known.iter().map(|id| (id.clone(), bench.fate(Some(id)).0)).collect();
        signed.sort_by_key(|(_, fate)| !fate.is_allowed());
        Judged {
            readings: trace.steps.iter().map(|step| ReadingRow::of(&config.rules, step)).collect(),
            overlong: readings.is_overlong(),
            class,
            rules: classification.rules().iter().map(|index| RuleRow::of(&config.rules, in_force, *index)).collect(),
            named: classification.named_rule().map(|index| config.rules.rule(index).name.to_string()),
            enforcement: in_force.enforcement,
            percentage: decision.percentage,
            unsigned,
            signed,
            others: bench.fate(Some(&stranger(&known))).0,
            asked: asked.map(|id| bench.fate(Some(id)).0),
        }
    }
}

impl ReadingRow {
    fn of(rules: &RuleSet, step: &Step<'_>) -> ReadingRow {
        let under = step.under.map(|under| {
            let rule = rules.rule(under.rule);
            Under {
                rule: under.rule,
                name: rule.name.to_string(),
                pattern: rule.patterns[under.pattern].to_string(),
                stretched: under.stretched,
            }
        });
        let made_by = step.reading.steps().each().map(|step| step.describe()).collect();
        ReadingRow { text: step.reading.text().to_owned(), made_by, class: step.class, under }
    }
}

impl RuleRow {
    fn of(rules: &RuleSet, in_force: &InForce<'_>, index: RuleIndex) -> RuleRow {
        let rule = rules.rule(index);
        let set = in_force.rule_percentages.get(index.0 as usize).copied().flatten();
        let callers = rule.callers.as_ref().map(|callers| callers.iter().map(ToString::to_string).collect());
        RuleRow { name: rule.name.to_string(), callers, enforce: rule.enforce, set }
    }
}

impl Fate {
    /// Does it pass the checks? (In mode `log` it goes through even if not.)
    pub const fn is_allowed(self) -> bool {
        matches!(self, Fate::Certain(Outcome::Allow | Outcome::Authenticated | Outcome::Override, _))
    }
}

/// Services that the configuration names, and those that the deciding rules name.
fn services(config: &Config, classification: &Classification) -> BTreeSet<ServiceId> {
    let callers = classification.rules().iter().filter_map(|index| config.rules.rule(*index).callers.as_ref());
    config.services.keys().chain(callers.flatten()).cloned().collect()
}

/// An id that nobody named has.
fn stranger(known: &BTreeSet<ServiceId>) -> ServiceId {
    #[expect(clippy::unwrap_used, reason = "letters and digits are an id, and there are more numbers than ids")]
    (0..)
        .filter_map(|number: u64| ServiceId::parse(&format!("other{number}")))
        .find(|id| !known.contains(id))
        .unwrap()
}

/// Where a request is judged as the sidecar would, with a key and tables that nothing else knows.
struct Bench<'b> {
    config: &'b Config,
    in_force: &'b InForce<'b>,
    head: &'b RequestHead,
    keys: ServiceKeys,
}

impl<'b> Bench<'b> {
    fn new(config: &'b Config, in_force: &'b InForce<'b>, head: &'b RequestHead) -> Bench<'b> {
        #[expect(clippy::unwrap_used, reason = "64 letters are a key")]
        let key = ServiceKey::from_text(&"e".repeat(64)).unwrap();
        Bench { config, in_force, head, keys: ServiceKeys::single(key) }
    }

    /// What comes of it at every draw, and one of the decisions.
    fn fate(&self, signer: Option<&ServiceId>) -> (Fate, Decision) {
        let [lowest, highest] = [0, u64::MAX].map(|draw| self.judge(signer, draw));
        let fate = match (lowest.outcome, highest.outcome, lowest.reason) {
            (Outcome::Refuse, Outcome::WouldRefuse, Some(reason)) => Fate::Drawn(reason),
            (outcome, _, reason) => Fate::Certain(outcome, reason),
        };
        (fate, lowest)
    }

    fn judge(&self, signer: Option<&ServiceId>, draw: u64) -> Decision {
        let now = clock::unix_seconds();
        let headers = signer.map(|id| sign(&self.keys.current, id, self.head.method(), self.head.path(), now));
        let mut claims = Claims::default();
        for (name, value) in headers.iter().flat_map(|headers| headers.iter()) {
            claims.note(name.as_bytes(), value.as_bytes());
        }
        let facts = RequestFacts {
            method: self.head.method(),
            path: self.head.path(),
            query: self.head.query(),
            claims,
            certificate: ClientCertificate::NotAsked,
            limit_key: LimitKey::V4(Ipv4Addr::LOCALHOST),
            is_probe: false,
        };
        let circumstances = Circumstances {
            enforcement: Enforcement { sampling: Sampling::Random, ..self.in_force.enforcement },
            rule_percentages: self.in_force.rule_percentages,
            window_seconds: self.config.signature.window_seconds,
            now,
            draw,
        };
        let known = |_: &str| match signer {
            Some(id) => KeyLookup::Known(id, &self.keys),
            None => KeyLookup::Unknown,
        };
        judged(self.config, &facts, known, &circumstances)
    }
}
