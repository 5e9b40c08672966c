//! The contract's table as a table: what comes in, what comes out, what is counted.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

mod certificates;
mod counting;
mod grants;
mod sampling;
mod table;

use super::*;
use crate::policy::enforcement::Mode;
use crate::request::certificate::{CertificateName, ClientCertificate};
use crate::request::client::LimitKey;
use crate::request::facts::Claims;
use crate::rules::classify::{Access, DefaultAccess, Rule};
use crate::signature::headers::SignatureHeaders;
use crate::signature::hmac_v1::sign;
use crate::signature::key::{ServiceKey, ServiceKeys};
use std::net::Ipv4Addr;
use std::sync::LazyLock;

const NOW: u64 = 1_759_742_876;
const SALT: [u8; 32] = [7; 32];
const TOKEN: &str = "fake-override-token-for-tests";

/// A rule of the tests' configurations.
fn rule(access: Access, path: &str, callers: &[&str], enforce: Option<u8>) -> Rule {
    let callers: Vec<ServiceId> = callers.iter().map(|id| ServiceId::parse(id).unwrap()).collect();
    Rule {
        name: path.into(),
        access,
        patterns: vec![path.parse().unwrap()],
        methods: None,
        callers: (!callers.is_empty()).then_some(callers),
        enforce: enforce.map(|value| Percentage::new(value).unwrap()),
        first_byte: None,
    }
}

/// What a sidecar holds, and how it is asked.
struct World {
    rules: RuleSet,
    keys: Vec<(ServiceId, ServiceKeys)>,
    keys_available: bool,
    token: Option<OverrideToken>,
    grants: GrantTable,
    enforcement: Enforcement,
    replay: fn(&ReplayTable) -> ReplayPolicy<'_>,
    replays: ReplayTable,
    limit: FailureLimit,
    lockout: bool,
    certificates: CertificateBindings,
    /// What the connection proved; `None`: nobody asked.
    proved: Option<Vec<CertificateName>>,
    start: Instant,
    /// Seconds since the start.
    elapsed: u64,
}

impl World {
    /// `enforce` at 100 %, ten failures in 300 s, `replay = "report"`, a token; `npu-worker` has key `a`, `ai-stack` key `b`.
    fn new() -> World {
        World::with(vec![
            rule(Access::Service, "/api/internal", &[], None),
            rule(Access::Service, "/api/npu/results", &["npu-worker"], None),
            rule(Access::Exempt, "/api/chat", &[], None),
        ])
    }

    fn with(rules: Vec<Rule>) -> World {
        let keys = [("npu-worker", "a"), ("ai-stack", "b")];
        World {
            rules: RuleSet::build(rules, DefaultAccess::Open).unwrap(),
            keys: keys
                .into_iter()
                .map(|(id, letter)| (ServiceId::parse(id).unwrap(), ServiceKeys::single(key(letter))))
                .collect(),
            keys_available: true,
            token: Some(OverrideToken::from_text(TOKEN).unwrap()),
            grants: GrantTable::default(),
            enforcement: Enforcement { mode: Mode::Enforce, percentage: Percentage::FULL, sampling: Sampling::Call },
            replay: |table| ReplayPolicy::Report(table),
            replays: ReplayTable::new(1000),
            limit: FailureLimit::new(10, Duration::from_secs(300), 1000),
            lockout: false,
            certificates: CertificateBindings::default(),
            proved: None,
            start: Instant::now(),
            elapsed: 0,
        }
    }

    fn mode(mut self, mode: Mode, percentage: u8) -> World {
        self.enforcement.mode = mode;
        self.enforcement.percentage = Percentage::new(percentage).unwrap();
        self
    }

    fn judge(&self, request: &Request) -> Decision {
        let mut claims = Claims::default();
        for (name, value) in &request.headers {
            claims.note(name.as_bytes(), value.as_bytes());
        }
        let facts = RequestFacts {
            method: request.method,
            path: request.path,
            query: None,
            claims,
            certificate: self.proved.as_deref().map_or(ClientCertificate::NotAsked, ClientCertificate::Names),
            limit_key: LimitKey::V4(Ipv4Addr::new(192, 0, 2, request.client)),
            is_probe: request.is_probe,
        };
        let policy = Policy {
            rules: &self.rules,
            enforcement: self.enforcement,
            rule_percentages: &[],
            override_token: self.token.as_ref(),
            grants: &self.grants,
            window_seconds: 300,
            replay: (self.replay)(&self.replays),
            failure_limit: &self.limit,
            lockout: self.lockout,
            certificates: &self.certificates,
            salt: &SALT,
        };
        let moment = Moment {
            unix_seconds: NOW + self.elapsed,
            monotonic: self.start + Duration::from_secs(self.elapsed),
            random: request.random,
        };
        judge(&policy, &facts, |id| self.lookup(id), moment)
    }

    fn lookup(&self, id: &str) -> KeyLookup<'_> {
        match self.keys.iter().find(|(known, _)| known.as_str() == id) {
            _ if !self.keys_available => KeyLookup::Unavailable,
            Some((id, keys)) => KeyLookup::Known(id, keys),
            None => KeyLookup::Unknown,
        }
    }

    /// How many refusals of this client are counted now.
    fn counted(&self, client: u8) -> usize {
        let key = LimitKey::V4(Ipv4Addr::new(192, 0, 2, client));
        let now = self.start + Duration::from_secs(self.elapsed);
        // The table tells only "limited or not": fill it up and see how many were missing.
        let limit = 10;
        let missing = (0..limit).take_while(|_| self.limit.refuse(key, now) == Admission::Counted).count();
        limit - missing
    }
}

fn key(letter: &str) -> ServiceKey {
    ServiceKey::from_text(&letter.repeat(64)).unwrap()
}

/// A request on its way.
#[derive(Clone)]
struct Request {
    method: &'static str,
    path: &'static str,
    headers: Vec<(String, String)>,
    client: u8,
    random: u64,
    is_probe: bool,
}

impl Request {
    fn to(path: &'static str) -> Request {
        Request { method: "POST", path, headers: Vec::new(), client: 1, random: 0, is_probe: false }
    }

    fn from(mut self, client: u8) -> Request {
        self.client = client;
        self
    }

    fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn announced(mut self) -> Request {
        self.is_probe = true;
        self
    }

    fn token(self, value: &str) -> Request {
        self.header("X-Override-Token", value)
    }

    /// Signed by this id with this key, so many seconds from now.
    fn signed_at(mut self, id: &str, letter: &str, skew: i64) -> Request {
        let time = NOW.checked_add_signed(skew).unwrap();
        let headers: SignatureHeaders =
            sign(&key(letter), &ServiceId::parse(id).unwrap(), self.method, self.path, time);
        self.headers.extend(headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    fn signed(self, id: &str, letter: &str) -> Request {
        self.signed_at(id, letter, 0)
    }

    /// Rightly signed by `npu-worker`.
    fn by_npu_worker(self) -> Request {
        self.signed("npu-worker", "a")
    }
}

/// Every way to be refused, with the reason.
static REFUSED: LazyLock<Vec<(Request, Refusal)>> = LazyLock::new(|| {
    let to = || Request::to("/api/npu/results");
    vec![
        (to(), Refusal::MissingSignature),
        (to().header("X-Service-ID", "npu-worker"), Refusal::MissingSignature),
        (to().by_npu_worker().header("X-Service-ID", "npu-worker"), Refusal::MalformedSignature),
        (to().signed_at("npu-worker", "a", -301), Refusal::TimestampOutsideWindow),
        (to().signed_at("npu-worker", "z", 301), Refusal::TimestampOutsideWindow),
        (to().signed("nobody", "a"), Refusal::UnknownService),
        (to().signed("npu-worker", "b"), Refusal::InvalidSignature),
        (to().signed("ai-stack", "b"), Refusal::CallerNotAllowed),
    ]
});
