//! Paths: however a guarded path is spelt, its handler never runs without a signature; and what merely looks odd
//! passes byte for byte. The oracle is real uvicorn with both of its parsers, not a list of what we know.

use super::support::python::{Parser, Uvicorn};
use super::support::random::Random;
use super::support::raw::{Client, get, get_with};
use super::support::recorder::Recorder;
use super::support::refusal::assert_refused;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, count, seed, sign};
use std::net::SocketAddr;

/// Spellings of `/api/internal` and of paths below it, each of which some server takes for it. All are class
/// `service`.
const SPELLINGS: &[&str] = &[
    "/api/internal",
    "/api/internal/",
    "/api/internal/x",
    "/api/internal?x",
    "/api/internal/?x=/api/chat",
    "/api/%69nternal",
    "/api/%49nternal",
    "/%61pi/internal",
    "/api%2finternal",
    "/api%2Finternal",
    "%2fapi%2finternal",
    "/api/%2569nternal",
    "/api%252finternal",
    "/api/internal%0a",
    "/api/internal%0A",
    "/api/internal%0d",
    "/api/internal%09",
    "/api/internal%00",
    "/api/internal%20",
    "/api/internal%7f",
    "/api/%0ainternal",
    "/api/inter%0anal",
    "/api/inter%250anal",
    "/api/internal%0a/x",
    "/api/internal.",
    "/api/internal./x",
    "/api/internal%2e",
    "/api/internal..",
    "/api/internal;a=b",
    "/api/internal;a=b/x",
    "/api;x/internal",
    "/api/internal%3ba",
    "/api/internal//x",
    "/api//internal",
    "//api/internal",
    "///api///internal",
    "/./api/internal",
    "/api/./internal",
    "/api/internal/.",
    "/api/%2e/internal",
    "/api/x/../internal",
    "/api/chat/../internal",
    "/api/chat/..%2finternal",
    "/api/chat/..%2Finternal/x",
    "/api/chat/%2e%2e/internal",
    "/api/chat/%2E%2e/internal",
    "/api/chat/.%2e/internal",
    "/api/chat/%252e%252e/internal",
    "/api/chat/x/../../internal",
    "/api/chat/..;/internal",
    "/api/chat/..;a=b/internal",
    "/api/chat/..%3b/internal",
    "/api/chat/..%00/internal",
    "/api/chat/..%0a/internal",
    "/api/chat//../internal",
    "/api/chat%2f..%2finternal",
    "/api\\internal",
    "/api%5cinternal",
    "/api%255cinternal",
    "\\api\\internal",
    "/api/chat\\..\\internal",
    "/api/chat/..\\internal",
    "/api/chat%5c..%5cinternal",
    "/API/internal",
    "/api/INTERNAL",
    "/Api/Internal/X",
    "/api/%49NTERNAL",
    "/api/internal.json",
    "/api/internalx/y",
    "/api/internal-2",
    "/api/internal%2fx",
    "/api/internal%5cx",
    "/api/internal%23x",
    "/api/internal%3fx",
    "/../api/internal",
    "/..%2fapi/internal",
    "/api/../api/internal",
    "/%2e/api/internal",
    "/api/internal/../internal",
    "/api/internal/%2e%2e/internal",
    "/x/%2e%2e%2fapi%2finternal",
    "/api/%25%36%39nternal",
    "/%2561%2570%2569/internal",
];

/// What merely looks odd. Exempt or open: passes, and its bytes arrive unchanged.
const CONTROLS: &[&str] = &[
    "/",
    "/api/chat",
    "/api/chat/a%20b",
    "/api/chat/50%off",
    "/api/chat/a%09b",
    "/api/chat/a%",
    "/api/chat/a%2",
    "/api/chat/a%zz",
    "/api/chat/%C3%A9t%C3%A9",
    "/api/chat/%ff%fe",
    "/api/chat/a;b=c",
    "/api/chat/a//b",
    "/api/chat/./a",
    "/api/chat/.hidden",
    "/api/chat/a..b",
    "/api/chat/...",
    "/api/chat/x/..",
    "/api/chat/a\\b",
    "/api/chat/A%5Cb",
    "/api/chat/%2e%2e/chat/x",
    "/api/chat?next=/api/internal",
    "/api/chat/x?y=%2e%2e%2f..%2finternal",
    "/api/chatter",
    "/api/files/a%2Fb",
    "/api/files/a%252Fb",
    "/api/files/a+b~c!$&'()*,=:@-_.",
    "/api/files/{id}|^[0]\"",
    "/files/caf%C3%A9",
    "/files/internal",
    "/api/intern",
    "/api/Interna",
    "/internal",
    "/apiinternal",
    "/api/inter/nal",
    "/open/api/internal",
    "//evil.test/x",
    "/@evil.test/x",
    "/http://evil.test/x",
];

fn guarding(upstream: SocketAddr) -> Sidecar {
    Builder::guarding(upstream).unlimited().start()
}

/// Marks of the requests that ran the guarded handler, asked of the backend itself.
fn ran(backend: SocketAddr) -> Vec<(String, String)> {
    let entries = get(backend, "/__seen").json();
    let guarded = entries.as_array().unwrap().iter().filter(|entry| entry["handler"] == "internal");
    guarded.map(|entry| (entry["mark"].to_string(), entry["raw_path"].to_string())).collect()
}

#[test]
fn no_spelling_of_a_guarded_path_reaches_its_handler_unsigned() {
    for parser in Parser::BOTH {
        let Some(backend) = Uvicorn::start(parser) else { return };
        let sidecar = guarding(backend.address);
        for spelling in SPELLINGS.iter().filter(|spelling| spelling.starts_with('/')) {
            for method in ["GET", "HEAD", "POST", "OPTIONS", "frob"] {
                let mut client = Client::connect(sidecar.address);
                client.send(format!("{method} {spelling} HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n"));
                let answer = client.answer_to(method);
                assert_eq!(answer.status, 401, "{method} {spelling} with {parser:?}");
            }
        }
        assert_eq!(ran(backend.address), [], "{parser:?}");
        // The list is worth something: without the sidecar many of its spellings run the handler.
        for spelling in SPELLINGS.iter().filter(|spelling| spelling.starts_with('/')) {
            get(backend.address, spelling);
        }
        let direct = ran(backend.address).len();
        assert!(direct >= 15, "{parser:?}: only {direct} spellings run the handler");
    }
}

#[test]
fn targets_that_do_not_begin_with_a_slash_are_refused() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    for spelling in SPELLINGS.iter().filter(|spelling| !spelling.starts_with('/')) {
        assert_refused(&get(sidecar.address, spelling), 400, "malformed_request");
    }
}

#[test]
fn what_merely_looks_odd_passes_with_its_bytes_unchanged() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    for (number, target) in CONTROLS.iter().enumerate() {
        let mark = format!("control-{number}-");
        let answer = get_with(sidecar.address, target, &format!("X-Mark: {mark}\r\n"));
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(upstream.the(&mark).target, *target);
    }
}

#[test]
fn a_signature_over_the_decoded_or_the_raw_path_opens_every_spelling_of_a_signable_path() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    // target, what is signed
    for (target, signed) in [
        ("/api/internal/a%20b", "/api/internal/a b"),
        ("/api/internal/a%20b", "/api/internal/a%20b"),
        ("/api/internal/caf%C3%A9", "/api/internal/café"),
        ("/api/internal/a%2Fb", "/api/internal/a/b"),
        ("/api/internal/a%3Fb", "/api/internal/a%3Fb"),
        ("/api/internal/a%23b", "/api/internal/a%23b"),
        ("/api/internal/a%5Cb", "/api/internal/a%5Cb"),
        ("/api/internal/a%2525", "/api/internal/a%25"),
        ("/api/internal/x?query=1", "/api/internal/x"),
        ("/api/%69nternal/x", "/api/internal/x"),
        ("/api/%69nternal/x", "/api/%69nternal/x"),
    ] {
        let lines = sign::headers(KEY_A, "npu-worker", "GET", signed);
        let answer = get_with(sidecar.address, target, &lines);
        assert_eq!(answer.status, 200, "{target} signed as {signed}: {answer:?}");
    }
    for (target, signed) in [
        ("/api/internal/a%2520b", "/api/internal/a b"),
        ("/api/internal/x?query=1", "/api/internal/x?query=1"),
        ("/api/internal/x/../y", "/api/internal/y"),
        ("/api/internal/X", "/api/internal/x"),
        ("/api/internal/x/", "/api/internal/x"),
    ] {
        let lines = sign::headers(KEY_A, "npu-worker", "GET", signed);
        assert_refused(&get_with(sidecar.address, target, &lines), 401, "invalid_credentials");
    }
}

/// Spells a path in a way nobody listed.
fn respell(random: &mut Random, path: &str) -> String {
    let mut spelt: Vec<u8> = path.bytes().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(spelt.len()).max(1);
        match random.below(9) {
            0 | 1 => {
                let byte = spelt[at.min(spelt.len() - 1)];
                let upper = random.one_in(2);
                let escape = if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
                let at = at.min(spelt.len() - 1);
                spelt.splice(at..=at, escape.into_bytes());
            }
            2 => {
                let what =
                    random.pick(&["%0a", "%0d", "%09", "%00", "%1f", "%7f", "%20", "%c2%85", "%e2%80%8b", "%ad"]);
                spelt.splice(at..at, what.bytes());
            }
            3 => {
                let what = random.pick(&["/", "//", "/.", "/./", "\\", "%2f", "%5c", "%252f", ";", ";a=b", "%3b"]);
                spelt.splice(at..at, what.bytes());
            }
            4 => {
                let what = random.pick(&["/x/..", "/x/%2e%2e", "/x/..%2f.", "/x/.%2e", "/x\\..", "/api/chat/../.."]);
                spelt.splice(0..0, what.bytes());
            }
            5 => {
                let what = random.pick(&["/x/../", "/./", "/%2e/", "/y/..;/", "%2f..%2f", "/..%252f"]);
                if let Some(slash) = spelt.iter().rposition(|&byte| byte == b'/') {
                    spelt.splice(slash..=slash, what.bytes());
                }
            }
            6 => spelt.extend(
                random.pick(&[".", "..", "%2e", "/", "%20", "%0a", ";", "?", "??x", "%3f", "%23", "/.", "*"]).bytes(),
            ),
            7 => {
                let at = at.min(spelt.len() - 1);
                spelt[at] =
                    if random.one_in(2) { spelt[at].to_ascii_uppercase() } else { spelt[at].to_ascii_lowercase() };
            }
            _ => {
                // Encode what is there once more.
                if let Some(percent) = spelt.iter().position(|&byte| byte == b'%') {
                    spelt.splice(percent..=percent, *b"%25");
                }
            }
        }
    }
    String::from_utf8(spelt).unwrap()
}

#[test]
fn no_mutated_path_runs_the_guarded_handler_unsigned() {
    for parser in Parser::BOTH {
        let Some(backend) = Uvicorn::start(parser) else { return };
        let sidecar = guarding(backend.address);
        let seed = seed() + parser as u64;
        let mut random = Random::seeded(seed);
        let mut client = Client::connect(sidecar.address);
        let (mut passed, rounds) = (0, count(10_000, 500_000));
        for round in 0..rounds {
            let base = random.pick(&["/api/internal", "/api/internal/x", "/api/chat/x", "/api/internal/y/z"]);
            let target = respell(&mut random, base);
            client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\nX-Mark: {round}\r\n\r\n"));
            let answer = client.answer();
            passed += usize::from(answer.status == 200);
            if answer.status == 400 {
                client = Client::connect(sidecar.address);
            }
        }
        assert_eq!(ran(backend.address), [], "{parser:?}, seed {seed}");
        assert!(passed > rounds / 50, "{parser:?}: only {passed} of {rounds} passed: the mutations prove nothing");
    }
}
