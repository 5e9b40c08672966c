//! The life of a connection: silence before and after the preface, prior knowledge beside HTTP/1.1, drain.

use super::super::support::frames::{
    DATA, END_STREAM, End, Frames, HEADERS, PREFACE, SETTINGS, block, frame, pseudo,
};
use super::super::support::raw::{self, Client};
use super::super::support::recorder::{Recorder, Then};
use super::super::support::sidecar::{Builder, Sidecar};
use super::super::support::{eventually, frames};
use super::guarding;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

fn impatient(upstream: &Recorder) -> Sidecar {
    Builder::guarding(upstream.address)
        .set("inbound", "h2c", "true")
        .set("timeouts", "head", "\"300ms\"")
        .set("timeouts", "idle", "\"400ms\"")
        .start()
}

#[test]
fn a_connection_that_is_silent_at_any_point_is_ended() {
    let upstream = Recorder::plain();
    let sidecar = impatient(&upstream);
    for (name, said, timer) in [
        ("nothing", &b""[..], "first_byte"),
        ("one letter", b"P", "head"),
        ("half the preface's first line", b"PRI * HTT", "head"),
        ("the preface's first line", b"PRI * HTTP/2.0\r\n\r\n", "head"),
        ("all but a byte of the preface", &PREFACE[..23], "head"),
        ("the preface", PREFACE, "first_byte"),
        ("the preface and half a frame", &[PREFACE, &frame(SETTINGS, 0, 0, &[0; 6])[..5]].concat(), "first_byte"),
        ("the preface and settings", &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat(), "first_byte"),
        (
            "a header block without end",
            &[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0, 1, &block(&pseudo("GET", "/")))].concat(),
            "first_byte",
        ),
        (
            "half a header block",
            &[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 5, 1, &block(&pseudo("GET", "/")))[..20]]
                .concat(),
            "first_byte",
        ),
    ] {
        let label = format!("timer=\"{timer}\"");
        let before = sidecar.metric("countersign_timeouts_total", &[&label]);
        let mut client = Frames::silent(sidecar.address);
        client.send(said);
        client.end();
        eventually(&format!("{name} counted as {timer}: {}", sidecar.metrics()), || {
            (sidecar.metric("countersign_timeouts_total", &[&label]) > before).then_some(())
        });
    }
    let mut client = Frames::connect(sidecar.address);
    assert_eq!(client.get("/once", &[]).status, 200);
    assert_eq!(client.end(), End::GoAway(0), "an idle connection is told that it ends");
    assert!(sidecar.metric("countersign_timeouts_total", &["timer=\"idle\""]) >= 1.0);
}

#[test]
fn a_header_block_must_end_in_time_also_while_other_streams_are_open() {
    let upstream = Recorder::with(|exchange| exchange.hang());
    let sidecar = impatient(&upstream);
    for begun in [frame(HEADERS, 1, 3, &block(&pseudo("GET", "/"))), frame(HEADERS, 5, 3, &[0; 50])[..30].to_vec()] {
        let before = sidecar.metric("countersign_timeouts_total", &["timer=\"head\""]);
        let mut client = Frames::connect(sidecar.address);
        client.is_mute = true;
        client.request(&pseudo("GET", "/open"), true);
        client.send(begun);
        assert_eq!(client.end(), End::GoAway(frames::ENHANCE_YOUR_CALM));
        assert_eq!(sidecar.metric("countersign_timeouts_total", &["timer=\"head\""]), before + 1.0);
    }
}

#[test]
fn a_stream_that_is_open_keeps_its_connection_and_a_body_that_stops_coming_does_not_keep_it() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .set("inbound", "h2c", "true")
        .set("timeouts", "head", "\"200ms\"")
        .set("timeouts", "idle", "\"200ms\"")
        .set("timeouts", "body_idle", "\"900ms\"")
        .start();
    let mut client = Frames::connect(sidecar.address);
    let stream = client.request(&pseudo("POST", "/slow"), false);
    client.send(frame(DATA, 0, stream, b"begun"));
    let outcome = client.outcome(stream);
    assert_eq!((outcome.status, outcome.reason().as_str()), (408, "request_timeout"));
    assert_eq!(sidecar.metric("countersign_timeouts_total", &["timer=\"body_idle\""]), 1.0);
}

#[test]
fn a_reader_that_opens_no_window_is_cut_off_alone() {
    let upstream = Recorder::with(|exchange| match exchange.request.target.as_str() {
        "/large" => exchange.reply(200, vec![b'l'; 1_000_000]),
        _ => exchange.reply(200, "ok"),
    });
    let sidecar = Builder::guarding(upstream.address)
        .set("inbound", "h2c", "true")
        .set("timeouts", "write_idle", "\"300ms\"")
        .start();
    let mut client = Frames::connect(sidecar.address);
    client.is_mute = true;
    let large = client.request(&pseudo("GET", "/large"), true);
    let outcome = client.outcome(large);
    assert!(outcome.reset.is_some() && !outcome.whole && outcome.body.len() < 100_000, "{:?}", outcome.reset);
    assert!(sidecar.metric("countersign_timeouts_total", &["timer=\"write_idle\""]) >= 1.0);
    client.send(frame(frames::WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes()));
    assert_eq!(client.get("/small", &[]).status, 200);
}

#[test]
fn http_1_is_served_beside_prior_knowledge_however_it_begins() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    assert_eq!(raw::get(sidecar.address, "/plain").status, 200);
    // Methods that begin like the preface, byte by byte.
    for method in ["POST", "PUT", "P", "PR", "PRI", "PRIX"] {
        let mut client = Client::connect(sidecar.address);
        for byte in format!("{method} /x HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n").bytes() {
            client.send([byte]);
        }
        assert_eq!(client.answer().status, 200, "{method}");
    }
    let mut client = Client::connect(sidecar.address);
    client.send("PRI * HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    // An upgrade to it is not honoured: the request is served, in HTTP/1.1.
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let answer = raw::get_with(sidecar.address, "/upgrade", upgrade);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(!upstream.the("/upgrade").fields.has("upgrade"));
}

#[test]
fn a_listener_without_h2c_does_not_take_prior_knowledge() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let answer = raw::exchange(sidecar.address, PREFACE);
    assert_eq!((answer.status, answer.reason().as_str()), (400, "malformed_request"));
}

#[test]
fn more_streams_than_one_connection_may_have_are_refused_and_the_rest_is_served() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Recorder::with(move |exchange| {
        if exchange.request.target == "/held" {
            let _ = wait.lock().unwrap().recv();
        }
        exchange.reply(200, "ok")
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let streams: Vec<u32> = (0..140).map(|_| client.request(&pseudo("GET", "/held"), true)).collect();
    // REFUSED_STREAM: it was not looked at, and may be sent again.
    let refused: Vec<_> = streams[128..].iter().map(|stream| client.outcome(*stream).reset).collect();
    assert_eq!(refused, [Some(7); 12]);
    drop(go);
    assert!(streams[..128].iter().all(|stream| client.outcome(*stream).status == 200));
}

#[test]
fn a_drain_says_goaway_and_lets_streams_in_flight_finish() {
    let (go, wait) = channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let upstream = Recorder::with(move |exchange| {
        if exchange.request.target == "/held" {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
            let _ = wait.lock().unwrap().recv();
            exchange.send("half");
            return Then::Next;
        }
        match exchange.body() {
            Ok(_) => exchange.reply(200, "ok"),
            Err(_) => Then::Close,
        }
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let mut idle = Frames::connect(sidecar.address);
    assert_eq!(idle.get("/idle", &[]).status, 200);
    let held = client.request(&pseudo("GET", "/held"), true);
    let upload = client.request(&pseudo("POST", "/upload"), false);
    client.send(frame(DATA, 0, upload, b"first "));
    client.head(held);
    sidecar.process.signal("TERM");
    assert_eq!(idle.end(), End::GoAway(0));
    while client.go_away.is_none() {
        assert!(client.turn().unwrap(), "cut before it was told to go");
    }
    client.send(frame(DATA, END_STREAM, upload, b"last"));
    assert_eq!(client.outcome(upload).status, 200);
    drop(go);
    let outcome = client.outcome(held);
    assert_eq!((outcome.whole, outcome.body.as_slice()), (true, &b"halfhalf"[..]));
    assert_eq!(client.end(), End::GoAway(0));
    assert_eq!(upstream.the("/upload").body.bytes, b"first last");
    eventually("the end of the process", || sidecar_has_ended(&sidecar).then_some(()));
}

fn sidecar_has_ended(sidecar: &Sidecar) -> bool {
    !std::path::Path::new(&format!("/proc/{}/exe", sidecar.process.pid())).exists()
}

#[test]
fn a_client_that_is_gone_leaves_nothing_behind() {
    let upstream = Recorder::with(|exchange| match exchange.request.target.as_str() {
        "/hang" => exchange.hang(),
        _ => exchange.reply(200, "ok"),
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let streams: Vec<u32> = (0..5).map(|_| client.request(&pseudo("GET", "/hang"), true)).collect();
    let in_flight = || sidecar.metric("countersign_requests_in_flight", &[]);
    eventually("five requests in flight", || (in_flight() == 5.0).then_some(()));
    // One is reset, and only its own exchange ends.
    client.send(frame(frames::RESET, 0, streams[0], &8_u32.to_be_bytes()));
    eventually("four requests in flight", || (in_flight() == 4.0).then_some(()));
    assert_eq!(client.get("/other", &[]).status, 200);
    drop(client);
    eventually("none in flight", || (in_flight() == 0.0).then_some(()));
    eventually("no connection upstream is held", || (upstream.open_connections() <= 1).then_some(()));
    eventually("records of all", || {
        let gone =
            sidecar.audit().into_iter().filter(|record| record["path"] == "/hang" && record["status"].is_null());
        (gone.count() == 5).then_some(())
    });
}
