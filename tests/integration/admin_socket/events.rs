//! `GET /v1/events`: what changes and what is refused, as it happens; bounded, and over when the sidecar is.

use crate::support::control::{change, get, socket};
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::{DEADLINE, KEY_A, count, eventually, raw, sign};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// Somebody who listens.
struct Events {
    reader: BufReader<UnixStream>,
    /// The head of the answer.
    head: String,
    /// What stands before each object.
    prefix: &'static str,
}

impl Events {
    fn of(sidecar: &Sidecar) -> Events {
        Events::with(sidecar, "", "")
    }

    fn with(sidecar: &Sidecar, headers: &str, prefix: &'static str) -> Events {
        let mut stream = UnixStream::connect(socket(sidecar)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Events { reader: BufReader::new(stream), head: String::new(), prefix };
        while let Some(line) = events.line().filter(|line| !line.is_empty()) {
            events.head.push_str(&line);
            events.head.push('\n');
        }
        events
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; `None` at the end. What frames a chunk is on lines of its own.
    fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.line()?;
            if let Some(object) = line.strip_prefix(self.prefix).filter(|rest| rest.starts_with('{')) {
                let event: Value = serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {line}"));
                // It may be put on record only now.
                if event["event"] != "start" {
                    return Some(event);
                }
            }
            assert!(self.prefix.is_empty() || !line.starts_with('{'), "an object without {:?}: {line}", self.prefix);
        }
    }

    #[track_caller]
    fn wait_for(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().expect("the stream goes on");
            if what(&event) {
                return event;
            }
        }
    }
}

#[test]
fn changes_and_refusals_are_told_as_they_are_recorded_and_what_is_allowed_is_not() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let mut events = Events::of(&sidecar);
    assert!(
        events.head.starts_with("HTTP/1.1 200") && events.head.contains("application/x-ndjson"),
        "{}",
        events.head
    );
    let now = events.next().unwrap();
    assert_eq!((&now["event"], &now["enforcement"]["mode"]), (&"now".into(), &"enforce".into()));

    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
    for (path, headers, status) in [
        ("/health", "", 200),
        ("/api/internal", signed.as_str(), 200),
        ("/api/internal/first", "", 401),
        ("/open", "", 200),
    ] {
        assert_eq!(raw::get_with(sidecar.address, path, headers).status, status, "{path}");
    }
    let body = json!({ "mode": "log", "reason": "enough" });
    assert_eq!(change(&sidecar, "PUT", "/v1/enforcement", &body).status, 200);
    assert_eq!(raw::get(sidecar.address, "/api/internal/second").status, 200);

    let refused = events.next().unwrap();
    assert_eq!((&refused["outcome"], &refused["path"]), (&"refuse".into(), &"/api/internal/first".into()));
    let changed = events.next().unwrap();
    assert_eq!((&changed["event"], &changed["why"]), (&"mode".into(), &"enough".into()));
    let would = events.next().unwrap();
    assert_eq!((&would["outcome"], &would["path"]), (&"would_refuse".into(), &"/api/internal/second".into()));
    for event in [refused, changed, would] {
        let recorded = || sidecar.audit().into_iter().find(|record| record["seq"] == event["seq"]);
        assert_eq!(eventually("it is on record", recorded), event, "and says the same");
    }
}

#[test]
fn a_slow_reader_loses_lines_and_is_told_how_many_and_holds_nobody_up() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let mut slow = Events::of(&sidecar);
    let all = count(3_000, 30_000) as u64;
    let long = "x".repeat(1_000);
    let mut client = raw::Client::connect(sidecar.address);
    for n in 0..all {
        client.send(format!("GET /api/internal/{n}/{long} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().status, 401);
    }
    let body = json!({ "mode": "log", "reason": "the end" });
    assert_eq!(change(&sidecar, "PUT", "/v1/enforcement", &body).status, 200);
    eventually("all are on record", || (sidecar.audit().len() as u64 > all).then_some(()));

    let (mut told, mut lost, mut last) = (0, 0, 0);
    while told + lost <= all {
        let event = slow.next().unwrap();
        match event["event"].as_str() {
            Some("now") => {}
            Some("lost") => {
                lost += event["lost"].as_u64().unwrap();
                last = 0;
            }
            _ => {
                let seq = event["seq"].as_u64().unwrap();
                assert!(last == 0 || seq == last + 1, "a gap that nobody told of: {last}, {event}");
                last = seq;
                told += 1;
            }
        }
    }
    assert_eq!(told + lost, all + 1, "every refusal and the change is told or counted as lost");
    assert!(lost > 0 && told > 0, "told {told}, lost {lost}");
    // Who has caught up misses nothing more.
    assert_eq!(raw::get(sidecar.address, "/api/internal/after").status, 200);
    assert_eq!(slow.next().unwrap()["path"], "/api/internal/after");
}

#[test]
fn there_are_only_a_few_listeners_and_who_leaves_makes_room() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut all: Vec<Events> = (0..4).map(|_| Events::of(&sidecar)).collect();
    let fifth = get(&sidecar, "/v1/events");
    assert_eq!((fifth.status, fifth.reason().as_str()), (503, "too_many_listeners"));
    assert_eq!(get(&sidecar, "/v1/status").status, 200, "others are answered");
    all.pop();
    let again = || Some(Events::of(&sidecar)).filter(|events| events.head.starts_with("HTTP/1.1 200"));
    let mut fifth = eventually("room", again);
    assert_eq!(raw::get(sidecar.address, "/api/internal").status, 401);
    for events in all.iter_mut().chain([&mut fifth]) {
        assert_eq!(events.wait_for(|event| event["outcome"] == "refuse")["path"], "/api/internal");
    }
}

#[test]
fn the_end_of_the_sidecar_is_the_last_event_and_a_clean_end() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).start();
    let mut events = Events::of(&sidecar);
    sidecar.process.signal("TERM");
    assert_eq!(events.wait_for(|event| event["event"] == "stop")["why"], "stopped");
    let mut rest = Vec::new();
    while let Some(line) = events.line() {
        rest.push(line);
    }
    assert!(rest.contains(&"0".to_owned()), "no last chunk: {rest:?}");
    assert!(sidecar.process.wait().success());
}

#[test]
fn it_comes_as_an_event_stream_to_those_who_ask_for_one() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut events = Events::with(&sidecar, "Accept: text/html, text/event-stream;q=0.9\r\n", "data: ");
    assert!(events.head.contains("text/event-stream"), "{}", events.head);
    assert_eq!(events.next().unwrap()["event"], "now");
    assert_eq!(raw::get(sidecar.address, "/api/internal/%0aevent:%20x").status, 401);
    assert_eq!(events.next().unwrap()["outcome"], "refuse");
    let mut client = crate::support::control::connect(&sidecar);
    client.send("HEAD /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.answer_to("HEAD");
    assert_eq!((head.status, head.fields.one("content-type")), (200, Some("application/x-ndjson")));
}
