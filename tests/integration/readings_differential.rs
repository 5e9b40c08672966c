//! Paths nobody listed, against servers nobody here wrote: whatever reaches a handler has at least that handler's class.
//!
//! Mutations of the fleet's paths go to `tests/python/apps/reach.py`, which says what each reaches in FastAPI under both of
//! uvicorn's parsers, in Starlette's StaticFiles, aiohttp and the standard library's file server. A path that reaches a
//! guarded handler and is classed weaker than `service` would be a way around the proxy. A finding adds an operation to
//! the readings, not a case to a list. A failure names its seed.

use crate::support::count;
use crate::support::python::interpreter;
use crate::support::random::Random;
use countersign::request::decode::percent_decoded;
use countersign::request::readings::Readings;
use countersign::rules::classify::{Access, Class, DefaultAccess, Rule, RuleSet};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

const EXEMPT: [&str; 9] = [
    "/health",
    "/api/chat",
    "/api/npu/workers",
    "/api/npu/load-balancing",
    "/api/files",
    "/api/monitoring/services/health",
    "/api/developer",
    "/ws",
    "/docs",
];
const SERVICE: [&str; 17] = [
    "/api/npu/results",
    "/api/npu/heartbeat",
    "/api/npu/status",
    "/api/npu/internal",
    "/api/ai-stack/results",
    "/api/ai-stack/heartbeat",
    "/api/ai-stack/status",
    "/api/ai-stack/models",
    "/api/ai-stack/internal",
    "/api/browser/results",
    "/api/browser/screenshots",
    "/api/browser/logs",
    "/api/browser/heartbeat",
    "/api/browser/internal",
    "/api/internal",
    "/api/registry/internal",
    "/api/audit/internal",
];
const BROAD: [&str; 4] = ["/api/npu", "/api/browser", "/api/ai-stack", "/api/internal"];
/// Handlers that no rule names.
const OPEN: [&str; 3] = ["/api/npu/other", "/api/registry", "/x"];

#[test]
fn whatever_reaches_a_handler_has_at_least_its_class() {
    // Exact patterns do not stretch, so with them each operation counts by itself.
    let exact = SERVICE.map(|path| format!("={path}"));
    let sets = [rules(&SERVICE), rules(&BROAD), rules(&exact.each_ref().map(String::as_str))];
    let mut around = Vec::new();
    let (mut reached_guarded, mut decoded_otherwise) = (BTreeMap::<String, usize>::new(), Vec::new());
    for seed in 0..count(1, 40) as u64 {
        let mut random = Random::seeded(seed);
        let raw: Vec<String> = (0..6000).map(|_| mutated(&mut random)).collect();
        let Some(answers) = ask(&raw) else { return };
        for (raw, answer) in raw.iter().zip(answers.as_array().unwrap()) {
            if percent_decoded(raw) != answer["decoded"].as_str().unwrap() {
                decoded_otherwise.push(raw.clone());
            }
            for pair in answer["reached"].as_array().unwrap() {
                let (server, handler) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
                for set in &sets {
                    let (asked, is) = (class(set, handler), class(set, raw));
                    if is < asked {
                        around.push(format!("seed {seed}: {raw} is {is:?} and reaches {handler} in {server}"));
                    }
                    if asked == Class::Service && raw != handler {
                        *reached_guarded.entry(server.to_owned()).or_default() += 1;
                    }
                }
            }
        }
    }
    println!("mutated paths that reached a guarded handler: {reached_guarded:?}");
    assert!(around.is_empty(), "{} ways around:\n{}", around.len(), around.join("\n"));
    assert!(decoded_otherwise.is_empty(), "urllib decodes these otherwise: {decoded_otherwise:?}");
    // The mutations must be such that servers still read them, else nothing is shown.
    for server in ["route", "router", "mount", "StaticFiles", "aiohttp", "http.server"] {
        let reached = reached_guarded.get(server).copied().unwrap_or_default();
        assert!(
            reached >= 50,
            "only {reached} mutated paths reached a guarded handler in {server}: {reached_guarded:?}"
        );
    }
}

fn rules(service: &[&str]) -> RuleSet {
    let rule = |access, paths: &[&str]| Rule {
        name: "test".into(),
        access,
        patterns: paths.iter().map(|path| path.parse().unwrap()).collect(),
        methods: None,
        callers: None,
        enforce: None,
        first_byte: None,
    };
    RuleSet::build(vec![rule(Access::Exempt, &EXEMPT), rule(Access::Service, service)], DefaultAccess::Open).unwrap()
}

fn class(set: &RuleSet, path: &str) -> Class {
    set.classify("GET", &Readings::of(path)).class()
}

/// What each raw path reaches.
fn ask(raw: &[String]) -> Option<serde_json::Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/apps/reach.py");
    let mut command = Command::new(interpreter()?);
    let mut python = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let handlers: Vec<&str> = [&SERVICE[..], &EXEMPT, &OPEN].concat();
    let question = serde_json::json!({ "handlers": handlers, "raw": raw }).to_string();
    let mut stdin = python.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(question.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "reach.py ended with {}", output.status);
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// A path as it could be on the wire: nothing that the head parser refuses, no query.
fn mutated(random: &mut Random) -> String {
    let handlers = [&SERVICE[..], &SERVICE, &EXEMPT, &OPEN].concat();
    let mut path = random.pick(&handlers).to_owned();
    path.push_str(random.pick(&["", "", "/", "/x", "/index.html", "/index.html", "/a/b"]));
    let mutations = if random.one_in(2) { 1 } else { 2 + random.below(4) };
    for _ in 0..mutations {
        mutate(random, &mut path, &handlers);
    }
    let path: String = path.chars().filter(|char| ('!'..='~').contains(char) && !"#<>`\"?".contains(*char)).collect();
    if path.starts_with('/') { path } else { format!("/{path}") }
}

fn mutate(random: &mut Random, path: &mut String, handlers: &[&str]) {
    const PIECES: [&str; 32] = [
        "/",
        "//",
        "/./",
        "/../",
        "/x/../",
        "/..;/",
        ";a=b",
        ";",
        "\\",
        "%5c",
        "%2f",
        "%2F",
        "%252f",
        "%2e",
        "%2E%2E",
        ".",
        "..",
        "%20",
        "%09",
        "%0a",
        "%0d%0a",
        "%00",
        "%7f",
        "%c0%af",
        "%ef%bc%8f",
        "%u002f",
        "%",
        "%2",
        "+",
        "%3b",
        "%3f",
        "%23",
    ];
    let place = random.below(path.len() + 1);
    match random.below(12) {
        // one letter, escaped once or twice
        0..3 if place < path.len() => {
            let letter = path.as_bytes()[place];
            let escape = match random.below(4) {
                0 => format!("%{letter:02X}"),
                1 => format!("%25{letter:02x}"),
                _ => format!("%{letter:02x}"),
            };
            path.replace_range(place..=place, &escape);
        }
        // any byte, escaped
        3 => path.insert_str(place, &format!("%{:02x}", random.byte())),
        // a piece that some server reads as something else, anywhere
        4 | 5 => path.insert_str(place, random.pick(&PIECES)),
        // or where it hurts most
        6 => {
            let slashes: Vec<usize> = path.match_indices('/').map(|(place, _)| place).collect();
            let place = slashes.get(random.below(slashes.len().max(1))).copied().unwrap_or(0);
            path.insert_str(place, random.pick(&PIECES));
        }
        7..10 => path.push_str(random.pick(&PIECES)),
        // up and down again from somewhere else
        10 => {
            let from = random.pick(handlers);
            let up = ["/..", "/%2e%2e", "%2f..", "/..%2f", "/.%2e", "\\.."];
            let depth = from.matches('/').count() + random.below(2);
            let ups: String = (0..depth).map(|_| random.pick(&up)).collect();
            *path = format!("{from}{ups}{path}");
        }
        // another letter case
        _ if place < path.len() => {
            let letter = path.as_bytes()[place] as char;
            let other =
                if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
            path.replace_range(place..=place, &other.to_string());
        }
        _ => path.push(random.pick(&["/", ".", "~", "x"]).chars().next().unwrap_or('/')),
    }
}
