//! What one decision costs. The aim: classify, verify and decide together under 2 microseconds for a clean path.
//!
//! `classify` makes the readings and asks the rules, as a request does. The hostile paths are what a caller can make us
//! work at most: `hostile` is a common trick, `worst` two kilobytes of all of them at once.

use countersign::keys::KeyTable;
use countersign::policy::certificates::CertificateBindings;
use countersign::policy::decide::{self, Moment, Policy, ReplayPolicy};
use countersign::policy::enforcement::{Enforcement, Mode, Percentage, Sampling};
use countersign::policy::failure_limit::FailureLimit;
use countersign::policy::override_token::OverrideToken;
use countersign::policy::replay::ReplayTable;
use countersign::request::certificate::ClientCertificate;
use countersign::request::client::LimitKey;
use countersign::request::facts::{Claims, RequestFacts};
use countersign::request::readings::Readings;
use countersign::rules::classify::{Access, DefaultAccess, Rule, RuleSet};
use countersign::signature;
use countersign::signature::headers::PresentedSignature;
use countersign::signature::hmac_v1::sign;
use countersign::signature::key::{ServiceId, ServiceKey, ServiceKeys};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
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

fn rule(access: Access, paths: &str) -> Rule {
    let patterns: Vec<_> = paths.split_whitespace().map(|path| path.parse().expect("a pattern")).collect();
    Rule { name: paths.into(), access, patterns, methods: None, callers: None, enforce: None, first_byte: None }
}

/// The fleet's rules, and so many more.
fn rules(more: usize) -> RuleSet {
    let mut rules = vec![rule(Access::Exempt, EXEMPT), rule(Access::Service, SERVICE)];
    for number in 0..more {
        rules.push(rule(Access::Service, &format!("/team{}/service{number}/*/run", number % 100)));
    }
    RuleSet::build(rules, DefaultAccess::Open).expect("no conflicts")
}

fn classify(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    let fleet = rules(0);
    let tricks = "%0a%252f%5c%25%32%65..%2f//.%252e%25%32%65.%2520%253b%3b\
        /..%252f%5c%2541/%41%253b%2f A/../%252e.%2f../x%252f\\%5c%20%2f%253b%2520..%2f%2541%2fA;%41 %25%32%65A..%2f%2541";
    let worst = format!("/{}", tricks.repeat((Readings::LONGEST - 1) / tricks.len()));
    for (name, path) in [
        ("clean/service", "/api/npu/results/task-17"),
        ("clean/exempt", "/api/chat/sessions/42"),
        ("clean/open", "/api/something/else"),
        ("clean/slash", "/api/npu/results/"),
        ("capitals", "/api/npu/results/Task-17"),
        ("escaped", "/api/files/a%20b"),
        ("hostile", "/api/chat/..%2finternal/x"),
        ("worst", &worst),
    ] {
        group.bench_function(name, |b| b.iter(|| fleet.classify("POST", &Readings::of(black_box(path)))));
    }
    for more in [1_000, 10_000] {
        let many = rules(more);
        group.bench_function(format!("clean/service/{more} rules"), |b| {
            b.iter(|| many.classify("POST", &Readings::of(black_box("/api/npu/results/task-17"))));
        });
        group.bench_function(format!("clean/wildcard/{more} rules"), |b| {
            b.iter(|| many.classify("POST", &Readings::of(black_box("/team7/service907/x/run"))));
        });
    }
    group.finish();
}

const NOW: u64 = 1_759_742_876;

fn key() -> ServiceKey {
    ServiceKey::from_text(&"a".repeat(64)).expect("a key")
}

/// The fleet's six services, each with a key.
fn keys() -> KeyTable {
    let ids = ["main-backend", "frontend", "npu-worker", "redis-stack", "ai-stack", "browser-service"];
    KeyTable::new(ids.into_iter().map(|id| (service(id), ServiceKeys::single(key()))).collect())
}

fn service(id: &str) -> ServiceId {
    ServiceId::parse(id).expect("a service id")
}

/// The headers of a signed request, as they come.
struct Signed(Vec<(&'static str, String)>);

impl Signed {
    fn new(id: &str, path: &str) -> Signed {
        let headers = sign(&key(), &service(id), "POST", path, NOW);
        Signed(headers.iter().map(|(name, value)| (name, value.to_owned())).collect())
    }

    fn facts<'a>(&'a self, path: &'a str) -> RequestFacts<'a> {
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
        }
    }
}

/// Parsing the three headers and checking the MAC.
fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    let keys = keys();
    for (name, id, signed, path) in [
        ("clean", "npu-worker", "/api/npu/results/task-17", "/api/npu/results/task-17"),
        ("escaped", "npu-worker", "/api/npu/results/a%20b", "/api/npu/results/a%20b"),
        ("wrong", "npu-worker", "/other", "/api/npu/results/task-17"),
        ("unknown", "npu-worke2", "/other", "/api/npu/results/task-17"),
    ] {
        let signed = Signed::new(id, signed);
        let facts = signed.facts(path);
        group.bench_function(name, |b| {
            b.iter(|| {
                let facts = black_box(&facts);
                let presented = PresentedSignature::parse(&facts.claims).expect("well-formed");
                signature::verify::verify(&presented, facts, |id| keys.lookup(id), 300, NOW)
            });
        });
    }
    group.finish();
}

/// A whole judgement: classify, verify, decide, draw, count.
fn judge(c: &mut Criterion) {
    let mut group = c.benchmark_group("judge");
    let (rules, keys, salt) = (rules(0), keys(), [7; 32]);
    let limit = FailureLimit::new(10, Duration::from_secs(300), 100_000);
    let replays = ReplayTable::new(100_000);
    let bindings = CertificateBindings::default();
    let token = OverrideToken::from_text("fake-override-token").expect("a token");
    let moment = Moment { unix_seconds: NOW, monotonic: Instant::now(), random: 0 };
    let signed = Signed::new("npu-worker", "/api/npu/results/task-17");
    let unsigned = Signed(Vec::new());
    let by_token = Signed(vec![("X-Override-Token", "fake-override-token".to_owned())]);
    let service = "/api/npu/results/task-17";
    for (name, headers, path, percentage) in [
        ("exempt", &unsigned, "/api/chat/sessions/42", 100),
        ("exempt, signed", &signed, "/api/chat/sessions/42", 100),
        ("open", &unsigned, "/api/something/else", 100),
        ("authenticated", &signed, service, 100),
        ("authenticated at 50 %", &signed, service, 50),
        ("override", &by_token, service, 100),
        ("refused", &unsigned, service, 100),
        ("refused at 50 %", &unsigned, service, 50),
    ] {
        let enforcement = Enforcement {
            mode: Mode::Enforce,
            percentage: Percentage::new(percentage).expect("a percentage"),
            sampling: Sampling::Call,
        };
        let policy = Policy {
            rules: &rules,
            enforcement,
            override_token: Some(&token),
            window_seconds: 300,
            replay: ReplayPolicy::Report(&replays),
            failure_limit: &limit,
            lockout: false,
            certificates: &bindings,
            salt: &salt,
        };
        let facts = headers.facts(path);
        group.bench_function(name, |b| {
            b.iter(|| decide::judge(&policy, black_box(&facts), |id| keys.lookup(id), moment));
        });
    }
    group.finish();
}

criterion_group!(benches, classify, verify, judge);
criterion_main!(benches);
