//! Long bodies of known length, most of which nobody here looks at: whole, in order, and nothing of one in another.

use super::support::eventually;
use super::support::message::Buffered;
use super::support::pki::{Authority, Files};
use super::support::raw::Client;
use super::support::recorder::{Recorder, Then};
use super::support::sidecar::Builder;
use super::support::tls::Connector;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

/// More than all queues between a client and its upstream take.
const LONG: usize = 20_000_000;

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn big_bodies_pass_whole_both_ways_at_once() {
    // Sends back what it reads, as it reads it.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let upstream = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = Buffered::new(stream.unwrap());
            thread::spawn(move || {
                // A health check says nothing.
                let Ok(Some(_)) = stream.head() else { return };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n");
                stream.inner.write_all(head.as_bytes()).unwrap();
                let ahead = std::mem::take(&mut stream.ahead);
                stream.inner.write_all(&ahead).unwrap();
                let mut writing = stream.inner.try_clone().unwrap();
                let _ = std::io::copy(&mut stream.inner, &mut writing);
            });
        }
    });
    let sidecar = Builder::guarding(upstream).start();
    let body = noise(LONG);
    let mut client = Client::connect(sidecar.address);
    let mut sending = client.stream.inner.try_clone().unwrap();
    let sent = body.clone();
    let sender = thread::spawn(move || {
        write!(sending, "POST /big HTTP/1.1\r\nHost: b\r\nContent-Length: {LONG}\r\n\r\n").unwrap();
        sending.write_all(&sent).unwrap();
    });
    let answer = client.answer();
    sender.join().unwrap();
    assert!(answer.status == 200 && answer.body.bytes == body, "{} bytes came back", answer.body.bytes.len());
}

#[test]
fn slow_readers_of_long_answers_each_get_their_own_whole_however_many_they_are() {
    // More at a time than one worker has pipes for: the others are copied.
    const READERS: usize = 40;
    let long = |target: &str| target.repeat(LONG / 2 / target.len()).into_bytes();
    let upstream = Recorder::with(move |exchange| {
        let answer = long(&exchange.request.target);
        exchange.reply(200, answer)
    });
    let sidecar = Builder::guarding(upstream.address).set("", "workers", "1").start();
    let mut readers: Vec<_> = (0..READERS).map(|_| Client::connect(sidecar.address)).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        reader.send(format!("GET /long/{number} HTTP/1.1\r\nHost: b\r\n\r\n"));
    }
    eventually("every answer under way", || (upstream.marked("/long/").len() == READERS).then_some(()));
    for (number, reader) in readers.iter_mut().enumerate() {
        assert!(reader.answer().body.bytes == long(&format!("/long/{number}")), "{number}");
    }
    // The connections go on behind it.
    for reader in &mut readers {
        reader.send("GET /again HTTP/1.1\r\nHost: b\r\n\r\n");
    }
    assert!(readers[0].answer().body.bytes == long("/again"));
}

#[test]
fn a_reader_that_is_slow_and_never_rests_gets_all_of_a_long_answer() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.target == "/announced" {
            return exchange.reply(200, noise(LONG));
        }
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.send(format!("{LONG:x}\r\n"));
        exchange.send(noise(LONG));
        exchange.send("\r\n0\r\n\r\n");
        Then::Next
    });
    let guarding = || Builder::guarding(upstream.address).set("timeouts", "write_idle", "\"1s\"");
    let plain = guarding().start();
    let (authority, files) = (Authority::new("the tests' own"), Files::new());
    let (cert, key) = files.pair("server", &authority.server());
    let tls = guarding().set("inbound", "tls", format!("{{ cert = {cert:?}, key = {key:?} }}")).start();
    thread::scope(|scope| {
        for path in ["/announced", "/chunked"] {
            let address = plain.address;
            scope.spawn(move || read_slowly(Client::connect(address), path));
        }
        scope.spawn(|| read_slowly(Connector::trusting(&authority).connect(tls.address), "/announced"));
    });
}

fn read_slowly<S: Read + Write>(mut client: Client<S>, path: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: b\r\n\r\n"));
    // Far less than the third of a full queue at which the kernel calls it writable.
    let mut part = vec![0; 16 * 1024];
    let mut taken = Vec::new();
    while taken.len() < 75 * part.len() {
        let count = client.stream.inner.read(&mut part).unwrap();
        taken.extend_from_slice(&part[..count]);
        // Paces the reader: three times as long as nothing may be taken.
        thread::sleep(Duration::from_millis(40));
    }
    client.stream.ahead = taken;
    assert!(client.answer().body.bytes == noise(LONG), "{path}");
}

#[test]
fn a_request_behind_a_long_body_is_read_as_one() {
    let upstream = Recorder::with(|exchange| {
        let body = exchange.body().map(|body| body.bytes.len()).unwrap_or_default();
        exchange.reply(200, body.to_string())
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("POST /first HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\n");
    // What looks like a request inside of a body is none.
    let inside = "GET /inside HTTP/1.1\r\nHost: b\r\n\r\n";
    let body = inside.repeat(1_000_000 / inside.len() + 1);
    client.send(&body[..1_000_000]);
    client.send("GET /second HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().text(), "1000000");
    assert_eq!(client.answer().text(), "0");
    assert!(upstream.marked("/inside").is_empty());
    assert_eq!(upstream.marked("/second").len(), 1);
}
