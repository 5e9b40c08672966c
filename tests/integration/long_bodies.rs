//! Long bodies of known length, most of which nobody here looks at: whole, in order, and nothing of one in another.

use super::support::eventually;
use super::support::raw::Client;
use super::support::recorder::Recorder;
use super::support::sidecar::Builder;

#[test]
fn big_bodies_pass_whole_both_ways_at_once() {
    let upstream = Recorder::with(|exchange| {
        let body = exchange.body().map(|body| body.bytes.clone()).unwrap_or_default();
        exchange.reply(200, body)
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = Client::connect(sidecar.address);
    client.send(format!("POST /big HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    let answer = client.answer();
    assert!(answer.status == 200 && answer.body.bytes == body, "{} bytes came back", answer.body.bytes.len());
}

#[test]
fn slow_readers_of_long_answers_each_get_their_own_whole_however_many_they_are() {
    // More at a time than bodies that can be moved by the kernel: the others are copied.
    const READERS: usize = 100;
    let long = |target: &str| target.bytes().cycle().take(1_000_000).collect::<Vec<u8>>();
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
        // The connection goes on behind it.
        reader.send(format!("GET /long/again/{number} HTTP/1.1\r\nHost: b\r\n\r\n"));
        assert!(reader.answer().body.bytes == long(&format!("/long/again/{number}")), "{number}");
    }
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
