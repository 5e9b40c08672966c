//! Mutated requests: whatever bytes come, the upstream sees at most the requests that a strict reader sees in them, in
//! order, with the same target and the same body; never two for one, never another path.

use super::support::message::{Body, Buffered, Fields, find, split_head};
use super::support::python::{Parser, Uvicorn};
use super::support::random::Random;
use super::support::raw::Client;
use super::support::recorder::{Recorded, Recorder};
use super::support::sidecar::Builder;
use super::support::{count, eventually, seed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the strict reader of the tests finds in the bytes of one connection.
#[derive(Debug)]
struct Expected {
    method: String,
    target: String,
    body: Body,
}

/// Reads as the contract says; ends at the first fault.
fn strict(bytes: &[u8]) -> Vec<Expected> {
    let mut stream = Buffered::new(Cursor::new(bytes.to_vec()));
    let mut found = Vec::new();
    while let Some((method, target, fields)) = strict_head(&mut stream) {
        let encodings = fields.all("transfer-encoding");
        let lengths = fields.all("content-length");
        let body = match (encodings.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(Body { complete: true, ..Body::default() }),
            ([], [length]) if length.bytes().all(|b| b.is_ascii_digit()) => match length.parse() {
                Ok(length) => stream.sized(length),
                Err(_) => break,
            },
            ([encoding], []) if encoding.eq_ignore_ascii_case("chunked") => {
                stream.extensions = true;
                stream.chunked()
            }
            _ => break,
        };
        // A body with a fault in it may begin upstream, and never end.
        let body = body.unwrap_or_default();
        let goes_on = body.complete;
        found.push(Expected { method, target, body });
        if !goes_on {
            break;
        }
    }
    found
}

fn strict_head(stream: &mut Buffered<Cursor<Vec<u8>>>) -> Option<(String, String, Fields)> {
    let head = stream.head().ok()??;
    let (line, fields) = split_head(&head).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let version = words.next()?;
    let known = version == "HTTP/1.1" || version == "HTTP/1.0" && !fields.has("transfer-encoding");
    (known && words.next().is_none() && (target.starts_with('/') || target == "*"))
        .then_some((method, target, fields))
}

/// Three good requests, which say in every place whose they are.
fn seed_request(random: &mut Random, id: &str) -> Vec<u8> {
    let head = format!("Host: b\r\nX-A: {id}\r\nX-B: {id}\r\n");
    let body = match random.below(4) {
        0 => "\r\n".to_owned(),
        1 => format!("Content-Length: {}\r\n\r\n{id}", id.len()),
        2 => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{id}\r\n0\r\n\r\n", id.len()),
        _ => format!(
            "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\n.\r\n{:x};e\r\n{id}\r\n0\r\nX-T: {id}\r\n\r\n",
            id.len()
        ),
    };
    let method = random.pick(&["GET", "POST", "PUT"]);
    format!("{method} /{id}/a?b=c HTTP/1.1\r\n{head}{body}").into_bytes()
}

const SPLICES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    " ",
    "\t",
    "\0",
    "\x0b",
    ":",
    ";",
    ",",
    "#",
    "?",
    "/",
    "//",
    "\\",
    "%0d%0a",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: +5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding : chunked\r\n",
    "transfer-encoding:\tchunked\r\n",
    "Connection: close\r\n",
    "Connection: content-length\r\n",
    "Connection: transfer-encoding\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "Host: c\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "5\r\n",
    "ffffffffffffffff\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/0.9\r\n",
    "http://c/",
    "\x7f",
    "X: \r\n continued\r\n",
    "\r\n\t",
];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => bytes[at] = random.byte(),
        1 => {
            bytes.remove(at);
        }
        2 => bytes.insert(at, random.byte()),
        3 => {
            let end = (at + random.below(40)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copy);
        }
        4 => {
            // Behind a line end: where a whole line fits.
            let line = find(&bytes[at..], b"\r\n").map_or(at, |found| at + found + 2);
            bytes.splice(line..line, random.pick(SPLICES).bytes());
        }
        5 => {
            bytes.splice(at..at, random.pick(SPLICES).bytes());
        }
        _ => {
            let end = (at + random.below(12)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
    if bytes.is_empty() {
        bytes.push(b'G');
    }
}

/// Rounds with one sidecar: bounds what is remembered.
const BATCH: usize = 2_500;

/// A request as an upstream saw it.
#[derive(Debug)]
struct Seen {
    method: String,
    target: String,
    /// Where its marks are.
    text: Vec<u8>,
    /// As far as it was read; `None`: the upstream does not tell.
    body: Option<Body>,
}

impl From<Recorded> for Seen {
    fn from(request: Recorded) -> Seen {
        Seen { method: request.method, target: request.target, text: request.head, body: Some(request.body) }
    }
}

#[test]
fn mutated_requests_never_reach_the_upstream_as_two_or_as_others() {
    let next = AtomicUsize::new(0);
    let batches = count(20, 2_000);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch >= batches {
                        return;
                    }
                    let seed = seed() + batch as u64;
                    let upstream = Recorder::plain();
                    let sent = send_batch(seed, upstream.address);
                    eventually("the upstream to be done", || {
                        upstream.requests().iter().all(|r| r.over).then_some(())
                    });
                    let faults = upstream.faults();
                    let faults: Vec<_> = faults.iter().filter(|fault| !fault.contains("ended in a head")).collect();
                    assert_eq!(faults, [""; 0], "seed {seed}");
                    compare(seed, &sent, upstream.requests().into_iter().map(Seen::from).collect());
                }
            });
        }
    });
}

#[test]
fn mutated_requests_never_reach_a_real_backend_as_two_or_as_others() {
    for parser in Parser::BOTH {
        for batch in 0..count(4, 400) {
            let seed = seed() + batch as u64;
            let Some(backend) = Uvicorn::start(parser) else { return };
            let sent = send_batch(seed, backend.address);
            let told = super::support::raw::get(backend.address, "/__seen").json();
            compare(seed, &sent, told.as_array().unwrap().iter().map(told_by_uvicorn).collect());
        }
    }
}

/// What `tests/python/apps/backend.py` remembers of a request.
fn told_by_uvicorn(entry: &Value) -> Seen {
    let text = |name: &str| entry[name].as_str().unwrap().to_owned();
    let query = text("query");
    let target = if query.is_empty() { text("raw_path") } else { format!("{}?{query}", text("raw_path")) };
    Seen { method: text("method"), text: format!("{target} {}", entry["headers"]).into_bytes(), target, body: None }
}

/// Sends mutated requests, each on a connection of its own, through a sidecar to this upstream.
fn send_batch(seed: u64, upstream: SocketAddr) -> BTreeMap<String, Vec<u8>> {
    let sidecar = Builder::guarding(upstream)
        .unlimited()
        .set("timeouts", "head", "\"2s\"")
        .set("timeouts", "body_idle", "\"2s\"")
        .start();
    let mut random = Random::seeded(seed);
    let mut sent = BTreeMap::new();
    for _ in 0..BATCH {
        // So far apart that no mutation makes one of another.
        let id = format!("m{:016x}m", random.next());
        let mut bytes: Vec<u8> = (0..=random.below(2)).flat_map(|_| seed_request(&mut random, &id)).collect();
        for _ in 0..=random.below(3) {
            mutate(&mut random, &mut bytes);
        }
        let mut client = Client::connect(sidecar.address);
        client.send(&bytes);
        client.finish();
        // Everything has been decided when the connection ends.
        while let Ok(true) = client.stream.fill() {}
        sent.insert(id, bytes);
    }
    sent
}

fn compare(seed: u64, sent: &BTreeMap<String, Vec<u8>>, requests: Vec<Seen>) {
    let mut seen: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    let mut nobodys = 0;
    for request in requests {
        match id_of(&request.text, sent) {
            Some(id) => seen.entry(id).or_default().push(request),
            None => nobodys += 1,
        }
    }
    let reached = seen.len();
    assert!(reached > sent.len() / 20, "only {reached} of {} reached the upstream: this proves nothing", sent.len());
    assert!(nobodys <= reached / 50, "no mark survived in {nobodys} requests");
    for (id, requests) in seen {
        let bytes = &sent[&id];
        let expected = strict(bytes);
        let shown = || {
            let seen: Vec<_> = requests.iter().map(|r| (&r.method, &r.target, &r.body)).collect();
            let sent = bytes.escape_ascii();
            format!("seed {seed}, sent \"{sent}\"\nexpected {expected:?}\nseen {seen:?}")
        };
        // Each in its turn; between them some may be missing whose marks did not survive.
        let mut left = expected.iter();
        for request in &requests {
            let same = |expected: &&Expected| is_same(expected, request);
            let Some(expected) = left.find(same) else { panic!("nobody sent that: {}", shown()) };
            if let Some(body) = request.body.as_ref().filter(|body| body.complete) {
                assert!(expected.body.complete, "a clean end of a bad body: {}", shown());
                assert!(body.bytes == expected.body.bytes, "another body: {}", shown());
            }
        }
    }
}

fn is_same(expected: &Expected, seen: &Seen) -> bool {
    // A backend does not tell an empty query from none.
    let empty_query = seen.body.is_none() && expected.target.strip_suffix('?') == Some(&seen.target);
    expected.method == seen.method && (expected.target == seen.target || empty_query)
}

/// Whose request is it? By whichever of its marks survived.
fn id_of(text: &[u8], sent: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let marks = text.windows(18).filter(|mark| mark[0] == b'm' && mark[17] == b'm');
    marks.map(|mark| String::from_utf8_lossy(mark).into_owned()).find(|mark| sent.contains_key(mark))
}
