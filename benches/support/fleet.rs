//! What the measurements of decisions share: the fleet's rules and services, as many more as are asked for, and requests.

use countersign::keys::KeyTable;
use countersign::policy::certificates::CertificateBindings;
use countersign::policy::decide::{self, Moment, Policy, ReplayPolicy};
use countersign::policy::decision::Decision;
use countersign::policy::enforcement::{Enforcement, Mode, Percentage, Sampling};
use countersign::policy::failure_limit::FailureLimit;
use countersign::policy::grants::{Grant, GrantId, GrantScope, GrantTable, GrantTerms, GrantToken};
use countersign::policy::override_token::OverrideToken;
use countersign::policy::replay::ReplayTable;
use countersign::request::certificate::ClientCertificate;
use countersign::request::client::LimitKey;
use countersign::request::facts::{Claims, RequestFacts};
use countersign::rules::classify::{Access, DefaultAccess, Rule, RuleSet};
use countersign::signature::hmac_v1::sign;
use countersign::signature::key::{ServiceId, ServiceKey, ServiceKeys};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The fleet's lists.
const EXEMPT: &str = "/health /api/health /api/version /api/chat /api/chats /api/conversations \
    /api/conversation_files /api/knowledge /api/knowledge_base /api/terminal /api/agent_terminal \
    /api/settings /api/frontend_config /api/frontend-config /api/system/health \
    /api/monitoring/services/health /api/services/status /api/cache /api/npu/workers \
    /api/npu/load-balancing /api/files /api/llm /api/prompts /api/memory /api/monitoring /api/metrics \
    /api/analytics /ws /docs /openapi.json /redoc /api/developer /api/validation_dashboard /api/rum \
    /api/infrastructure /api/orchestration /api/orchestrator /api/workflow /api/embeddings /api/voice \
    /api/multimodal";
const SERVICE: &str = "/api/npu/results /api/npu/heartbeat /api/npu/status /api/npu/internal \
    /api/ai-stack/results /api/ai-stack/heartbeat /api/ai-stack/status /api/ai-stack/models /api/ai-stack/internal \
    /api/browser/results /api/browser/screenshots /api/browser/logs /api/browser/heartbeat /api/browser/internal \
    /api/internal /api/registry/internal /api/audit/internal";

const SERVICES: [&str; 6] = ["main-backend", "frontend", "npu-worker", "redis-stack", "ai-stack", "browser-service"];

/// The moment of every request.
pub(crate) const NOW: u64 = 1_759_742_876;

/// A path of the fleet that needs a signature.
pub(crate) const GUARDED: &str = "/api/npu/results/task-17";

/// Paths that are the most work, found by search: one that is just not too much to be read, and two that are, a short and
/// a long one.
pub(crate) const MOST_READINGS: &str =
    r"/Aa.b;A2%54\/%253b5%3A%65././APA///../%/..\//.%2fh%2F%252f;...;%\.3b;/..//...i/..%2fAAPI%c%2e";
pub(crate) const SHORT_OVERLONG: &str = "//%3%%2f./A%0f\\;/A%2f%;%\\A/../.1%252f..";
pub(crate) const TRICKS: &str = "/%0a%252f%5c%25%32%65..%2f//.%252e%25%32%65.%2520%253b%3b/..%252f%5c%2541/%41%253b%2f\
    A/../%252e.%2f../x%252f\\%5c%20%2f%253b%2520..%2f%2541%2fA;%41%25%32%65A..%2f%2541";

fn rule(access: Access, paths: &str, callers: Option<Vec<ServiceId>>) -> Rule {
    let patterns: Vec<_> = paths.split_whitespace().map(|path| path.parse().expect("a pattern")).collect();
    Rule { name: paths.into(), access, patterns, methods: None, callers, enforce: None, first_byte: None }
}

/// The fleet's two lists, and so many rules more, each for a caller of its own.
pub(crate) fn rules(more: usize) -> RuleSet {
    let mut rules = vec![rule(Access::Exempt, EXEMPT, None), rule(Access::Service, SERVICE, None)];
    for number in 0..more {
        let caller = service(&format!("service-{number}"));
        let path = format!("/team{}/service{number}/*/run", number % 100);
        rules.push(rule(Access::Service, &path, Some(vec![caller])));
    }
    RuleSet::build(rules, DefaultAccess::Open).expect("no conflicts")
}

fn key() -> ServiceKey {
    ServiceKey::from_text(&"a".repeat(64)).expect("a key")
}

fn service(id: &str) -> ServiceId {
    ServiceId::parse(id).expect("a service id")
}

/// The fleet's six services, and so many more, each with a key.
pub(crate) fn keys(more: usize) -> KeyTable {
    let others = (0..more).map(|number| format!("service-{number}"));
    let ids = SERVICES.into_iter().map(str::to_owned).chain(others);
    KeyTable::new(ids.map(|id| (service(&id), ServiceKeys::single(key()))).collect())
}

/// Everything that a judgement looks at, with the defaults of the program.
pub(crate) struct Court {
    pub(crate) rules: RuleSet,
    pub(crate) keys: KeyTable,
    limit: FailureLimit,
    replays: ReplayTable,
    bindings: CertificateBindings,
    token: OverrideToken,
    grants: GrantTable,
    moment: Moment,
}

impl Court {
    pub(crate) fn of(more: usize) -> Court {
        Court {
            rules: rules(more),
            keys: keys(more),
            limit: FailureLimit::new(10, Duration::from_secs(300), 100_000),
            replays: ReplayTable::new(131_072),
            bindings: CertificateBindings::default(),
            token: OverrideToken::from_text(TOKEN).expect("a token"),
            grants: GrantTable::new(vec![granted()]).expect("a table"),
            moment: Moment { unix_seconds: NOW, monotonic: Instant::now(), random: 0 },
        }
    }

    pub(crate) fn judge(&self, facts: &RequestFacts<'_>, percentage: u8) -> Decision {
        let enforcement = Enforcement {
            mode: Mode::Enforce,
            percentage: Percentage::new(percentage).expect("a percentage"),
            sampling: Sampling::Call,
        };
        let policy = Policy {
            rules: &self.rules,
            enforcement,
            rule_percentages: &[],
            override_token: Some(&self.token),
            grants: &self.grants,
            window_seconds: 300,
            replay: ReplayPolicy::Report(&self.replays),
            failure_limit: &self.limit,
            lockout: false,
            certificates: &self.bindings,
            salt: &[7; 32],
        };
        decide::judge(&policy, facts, |id| self.keys.lookup(id), self.moment)
    }
}

/// The token of the override grant of every [`Court`].
pub(crate) fn granted_token() -> GrantToken {
    GrantToken::from_random(&[7; 32])
}

fn granted() -> Arc<Grant> {
    let scope = GrantScope::new("/api", None).expect("a scope");
    let terms = GrantTerms::new(scope, Duration::from_secs(600), None, "a benchmark", "uid:0", NOW).expect("terms");
    Arc::new(Grant::new(GrantId::from_random([7; 6]), granted_token().hash(), terms, 0, (NOW, Instant::now())))
}

/// The override token of every [`Court`].
pub(crate) const TOKEN: &str = "fake-override-token";

/// The headers of a signed request, as they come.
pub(crate) struct Signed(pub(crate) Vec<(&'static str, String)>);

impl Signed {
    pub(crate) fn new(id: &str, path: &str) -> Signed {
        let headers = sign(&key(), &service(id), "POST", path, NOW);
        Signed(headers.iter().map(|(name, value)| (name, value.to_owned())).collect())
    }

    pub(crate) fn facts<'a>(&'a self, path: &'a str) -> RequestFacts<'a> {
        let mut claims = Claims::default();
        for (name, value) in &self.0 {
            claims.note(name.as_bytes(), value.as_bytes());
        }
        let limit_key = LimitKey::V4([172, 16, 168, 22].into());
        RequestFacts {
            method: "POST",
            path,
            query: None,
            claims,
            certificate: ClientCertificate::NotAsked,
            limit_key,
            is_probe: false,
        }
    }
}
