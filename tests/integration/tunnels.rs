//! Upgrades: bytes switch only after the upstream's 101, and nothing else ever opens a tunnel.

use super::support::raw::{Client, End};
use super::support::recorder::{Exchange, Recorder, Then};
use super::support::refusal::{assert_own_failure, assert_refused};
use super::support::sidecar::Builder;
use super::support::{KEY_A, eventually, sign};
use std::time::Duration;

const ASK: &str = "Connection: Upgrade\r\nUpgrade: echo\r\n";
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

/// Echoes until the other side ends.
fn echo(exchange: &mut Exchange<'_>) -> Then {
    exchange.send(ACCEPT);
    loop {
        let bytes = std::mem::take(&mut exchange.stream.ahead);
        exchange.send(&bytes);
        if bytes == b"bye" {
            return Then::Close;
        }
        if !matches!(exchange.stream.fill(), Ok(true)) {
            return Then::Close;
        }
    }
}

fn echoing() -> Recorder {
    Recorder::with(|exchange| match exchange.request.target.as_str() {
        "/ws" | "/api/internal/ws" => echo(exchange),
        _ => exchange.reply(200, "plain"),
    })
}

#[track_caller]
fn assert_echoes(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    while client.stream.ahead.len() < bytes.len() {
        assert!(client.stream.fill().unwrap(), "the tunnel ended");
    }
    assert_eq!(client.stream.ahead, bytes);
    client.stream.ahead.clear();
}

#[test]
fn after_the_upstreams_101_bytes_pass_both_ways_untouched() {
    let upstream = echoing();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send(format!("GET /ws HTTP/1.1\r\nHost: b\r\n{ASK}Sec-WebSocket-Key: x\r\n\r\n"));
    let (status, _, fields) = client.try_head().unwrap();
    assert_eq!((status, fields.one("upgrade")), (101, Some("echo")));
    assert!(fields.one("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{fields:?}");
    assert_echoes(&mut client, b"hello");
    assert_echoes(&mut client, b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_echoes(&mut client, &[0, 255, 13, 10, 0]);
    assert_echoes(&mut client, &vec![7; 300_000]);
    let seen = &upstream.marked("/ws")[0];
    assert_eq!(seen.fields.one("upgrade"), Some("echo"));
    assert!(seen.fields.one("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    // The record is made at the 101, not at the end.
    eventually("the record", || sidecar.audit().iter().any(|record| record["status"] == 101).then_some(()));
    assert!(upstream.marked("/smuggled").is_empty());
}

#[test]
fn either_side_ends_a_tunnel() {
    let upstream = echoing();
    let sidecar = Builder::guarding(upstream.address).start();
    let open = || {
        let mut client = Client::connect(sidecar.address);
        client.send(format!("GET /ws HTTP/1.1\r\nHost: b\r\n{ASK}\r\n"));
        assert_eq!(client.try_head().unwrap().0, 101);
        client
    };
    let mut client = open();
    client.send("bye");
    while client.stream.fill().unwrap_or(false) {}
    drop(open());
    eventually("the upstream's side to end", || {
        (upstream.marked("/ws").iter().filter(|request| request.over).count() == 2).then_some(())
    });
}

#[test]
fn a_guarded_upgrade_needs_a_signature() {
    let upstream = echoing();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send(format!("GET /api/internal/ws HTTP/1.1\r\nHost: b\r\n{ASK}\r\n"));
    assert_refused(&client.answer(), 401, "missing_signature");
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/ws");
    let mut client = Client::connect(sidecar.address);
    client.send(format!("GET /api/internal/ws HTTP/1.1\r\nHost: b\r\n{ASK}{signed}\r\n"));
    assert_eq!(client.try_head().unwrap().0, 101);
    assert_echoes(&mut client, b"in");
    assert_eq!(upstream.marked("/api/internal/ws").len(), 1);
}

#[test]
fn what_follows_an_upgrade_that_was_declined_is_a_request_like_any_other() {
    let upstream = echoing();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    // The upstream answers 200; what stands behind is judged, not tunnelled.
    client.send(format!(
        "GET /declined HTTP/1.1\r\nHost: b\r\n{ASK}\r\nGET /api/internal/x HTTP/1.1\r\nHost: b\r\n\r\n"
    ));
    assert_eq!(client.answer().text(), "plain");
    if let Ok(second) = client.try_answer("GET") {
        assert_refused(&second, 401, "missing_signature");
    }
    assert!(upstream.marked("/api/internal").is_empty());
}

#[test]
fn bytes_sent_before_the_101_are_not_given_to_an_upstream_that_has_not_switched() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.target != "/ws" {
            return exchange.reply(200, "plain");
        }
        // What came with the head, before any 101?
        exchange.stream.inner.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let early = exchange.stream.fill().is_ok() || !exchange.stream.ahead.is_empty();
        exchange.stream.inner.set_read_timeout(Some(super::support::DEADLINE)).unwrap();
        exchange.send(format!("HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n{early:5}"));
        Then::Close
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send(format!("GET /ws HTTP/1.1\r\nHost: b\r\n{ASK}\r\nGET /api/internal/x HTTP/1.1\r\nHost: b\r\n\r\n"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().trim()), (403, "false"));
    assert!(upstream.marked("/api/internal").is_empty());
}

#[test]
fn h2c_and_half_asked_upgrades_open_no_tunnel() {
    let upstream = Recorder::with(|exchange| match exchange.request.target.as_str() {
        "/always" => echo(exchange),
        _ => exchange.reply(200, "plain"),
    });
    let sidecar = Builder::guarding(upstream.address).start();
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: echo\r\n",
        "Connection: Upgrade\r\n",
        "",
    ] {
        let mut client = Client::connect(sidecar.address);
        client.send(format!("GET /x HTTP/1.1\r\nHost: b\r\n{lines}\r\n"));
        assert_eq!(client.answer().status, 200);
        let seen = upstream.requests().pop().unwrap();
        assert!(!seen.fields.has("upgrade") && !seen.fields.has("http2-settings"), "{:?}", seen.fields);
        // An upstream that switches unasked is no upstream.
        let mut client = Client::connect(sidecar.address);
        client.send(format!("GET /always HTTP/1.1\r\nHost: b\r\n{lines}\r\n"));
        assert_eq!(client.answer().status, 502, "{lines}");
    }
}

#[test]
fn a_101_to_a_protocol_that_was_not_asked_for_opens_no_tunnel() {
    const ANSWERS: [(&str, &str); 4] = [
        ("/other", "Connection: Upgrade\r\nUpgrade: other\r\n"),
        ("/h2c", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        ("/two", "Connection: Upgrade\r\nUpgrade: echo, other\r\n"),
        ("/none", "Connection: Upgrade\r\n"),
    ];
    let upstream =
        Recorder::with(|exchange| match ANSWERS.iter().find(|(target, _)| *target == exchange.request.target) {
            Some((_, lines)) => {
                exchange.send(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\nout of turn"));
                Then::Close
            }
            None => exchange.reply(200, "plain"),
        });
    let sidecar = Builder::guarding(upstream.address).start_alive();
    for (target, _) in ANSWERS {
        let mut client = Client::connect(sidecar.address);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\n{ASK}\r\n"));
        let answer = client.answer();
        assert_own_failure(&answer, 502);
        assert!(!answer.text().contains("out of turn"), "{target}");
    }
    // One of several that were asked for is fine.
    let upstream = echoing();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("GET /ws HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: other/2, Echo\r\n\r\n");
    assert_eq!(client.try_head().unwrap().0, 101);
    assert_echoes(&mut client, b"hello");
}

#[test]
fn a_tunnel_is_not_cut_by_idle_timers_and_is_cut_when_configured() {
    let upstream = echoing();
    let timers = |builder: Builder| {
        ["head", "idle", "body_idle", "write_idle", "first_byte"]
            .into_iter()
            .fold(builder, |b, t| b.set("timeouts", t, "\"1s\""))
    };
    let patient = timers(Builder::guarding(upstream.address)).start();
    let cutting = timers(Builder::guarding(upstream.address)).set("timeouts", "tunnel_idle", "\"1s\"").start();
    let open = |address| {
        let mut client = Client::connect(address);
        client.send(format!("GET /ws HTTP/1.1\r\nHost: b\r\n{ASK}\r\n"));
        assert_eq!(client.try_head().unwrap().0, 101);
        client
    };
    let (mut kept, mut cut) = (open(patient.address), open(cutting.address));
    assert_ne!(cut.end(), End::Bytes);
    assert!(kept.silent_for(Duration::from_millis(2500)));
    assert_echoes(&mut kept, b"still here");
}
