//! What one decision costs. The aim: classify, verify and decide together under 2 microseconds for a clean path.
//!
//! `classify` makes the readings and asks the rules, as a request does. The hostile paths are what a caller can make us
//! work at most: `hostile` is a common trick, `worst` two kilobytes of all of them at once.

use countersign::request::readings::Readings;
use countersign::rules::classify::{Access, DefaultAccess, Rule, RuleSet};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

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

criterion_group!(benches, classify);
criterion_main!(benches);
