//! What one decision costs. The aim: classify, verify and decide together under 1.5 microseconds for a clean path, with a
//! thousand rules, and as much with ten thousand rules and services.
//!
//! `classify` makes the readings and asks the rules, as a request does. The hostile paths are what a caller can make us
//! work at most: `hostile` is a common trick, the others the most that was found.

#[path = "support/fleet.rs"]
mod fleet;

use countersign::request::readings::Readings;
use countersign::signature;
use countersign::signature::headers::PresentedSignature;
use criterion::{Criterion, criterion_group, criterion_main};
use fleet::{Court, GUARDED, MOST_READINGS, NOW, SHORT_OVERLONG, Signed, TOKEN, TRICKS, granted_token, keys, rules};
use std::hint::black_box;

/// How many rules there are beside the fleet's, and as many services.
const MORE: [usize; 4] = [0, 10, 1_000, 10_000];

fn classify(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    let fleet = rules(0);
    let long = TRICKS.repeat(Readings::LONGEST / TRICKS.len());
    for (name, path) in [
        ("clean/exempt", "/api/chat/sessions/42"),
        ("clean/open", "/api/something/else"),
        ("clean/slash", "/api/npu/results/"),
        ("capitals", "/api/npu/results/Task-17"),
        ("escaped", "/api/files/a%20b"),
        ("hostile", "/api/chat/..%2finternal/x"),
        ("most readings", MOST_READINGS),
        ("overlong/short", SHORT_OVERLONG),
        ("overlong/2 KiB", &long),
    ] {
        group.bench_function(name, |b| b.iter(|| fleet.classify("POST", &Readings::of(black_box(path)))));
    }
    for more in MORE {
        let many = rules(more);
        for (name, path) in
            [("clean/service", GUARDED), ("clean/wildcard", "/team7/service907/x/run"), ("overlong/2 KiB", &long)]
        {
            group.bench_function(format!("{name}/{more} more rules"), |b| {
                b.iter(|| many.classify("POST", &Readings::of(black_box(path))));
            });
        }
    }
    group.finish();
}

/// Parsing the three headers and checking the MAC.
fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    let keys = keys(0);
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
    let fleet = Court::of(0);
    let signed = Signed::new("npu-worker", GUARDED);
    let unsigned = Signed(Vec::new());
    let by_token = Signed(vec![("X-Override-Token", TOKEN.to_owned())]);
    let by_grant = Signed(vec![("X-Override-Token", granted_token().reveal().to_owned())]);
    let by_wrong = Signed(vec![("X-Override-Token", "a token that is nobody's".to_owned())]);
    for (name, headers, path, percentage) in [
        ("exempt", &unsigned, "/api/chat/sessions/42", 100),
        ("exempt, signed", &signed, "/api/chat/sessions/42", 100),
        ("open", &unsigned, "/api/something/else", 100),
        ("authenticated", &signed, GUARDED, 100),
        ("authenticated at 50 %", &signed, GUARDED, 50),
        ("override", &by_token, GUARDED, 100),
        ("override by a grant", &by_grant, GUARDED, 100),
        ("a wrong token", &by_wrong, GUARDED, 100),
        ("refused", &unsigned, GUARDED, 100),
        ("refused at 50 %", &unsigned, GUARDED, 50),
    ] {
        let facts = headers.facts(path);
        group.bench_function(name, |b| {
            b.iter(|| fleet.judge(black_box(&facts), percentage));
        });
    }
    for more in MORE {
        let court = Court::of(more);
        let facts = signed.facts(GUARDED);
        group.bench_function(format!("authenticated/{more} more rules and services"), |b| {
            b.iter(|| court.judge(black_box(&facts), 100));
        });
    }
    group.finish();
}

criterion_group!(benches, classify, verify, judge);
criterion_main!(benches);
