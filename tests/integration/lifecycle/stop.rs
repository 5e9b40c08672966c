//! The end: requests in flight finish, nothing new is taken, a second signal does not wait.

use super::{admin, ended};
use crate::support::recorder::{Recorder, Then};
use crate::support::sidecar::Builder;
use crate::support::{count, eventually, raw};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An upstream that answers `/files/slow` when it is told to.
fn slow_upstream() -> (Recorder, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&go);
    let upstream = Recorder::with(move |exchange| {
        if exchange.request.target == "/files/slow" {
            eventually("the word to go on", || wait.load(Ordering::Relaxed).then_some(()));
        }
        exchange.reply(200, "ok")
    });
    (upstream, go)
}

fn slow_request(address: std::net::SocketAddr, upstream: &Recorder) -> raw::Client {
    let mut client = raw::Client::connect(address);
    client.send("GET /files/slow HTTP/1.1\r\nHost: backend.test\r\nX-Mark: slow\r\n\r\n");
    eventually("the slow request upstream", || {
        upstream.requests().iter().any(|request| request.target == "/files/slow").then_some(())
    });
    client
}

#[test]
fn a_stop_lets_the_request_in_flight_finish_and_takes_nothing_new() {
    // A single worker accepts by itself.
    for (signal, workers) in [("TERM", "1"), ("TERM", "2"), ("INT", "2")] {
        let (upstream, go) = slow_upstream();
        let mut sidecar = Builder::guarding(upstream.address).set("", "workers", workers).start();
        let mut slow = slow_request(sidecar.address, &upstream);
        let mut idle = raw::Client::connect(sidecar.address);
        idle.send("GET /health HTTP/1.1\r\nHost: backend.test\r\n\r\n");
        assert_eq!(idle.answer().status, 200);

        sidecar.process.signal(signal);
        eventually("a readiness of 503", || (admin(sidecar.admin, "/readyz") == 503).then_some(()));
        eventually("refused connections", || raw::Client::try_connect(sidecar.address).is_none().then_some(()));
        assert_eq!(idle.end(), raw::End::Closed, "an idle connection ends");
        assert!(sidecar.process.ended().is_none(), "it must wait for the request in flight");

        go.store(true, Ordering::Relaxed);
        assert_eq!(slow.answer().status, 200);
        assert_eq!(slow.end(), raw::End::Closed);
        assert_eq!(sidecar.process.wait().code(), Some(0), "{}", sidecar.process.stderr.text());
        let records = sidecar.audit();
        assert!(records.iter().any(|record| record["event"] == "stop"), "no record of the stop: {records:?}");
    }
}

#[test]
fn whoever_was_let_into_the_queue_before_a_stop_is_served_however_many_they_are() {
    const QUEUED: usize = 400;
    let upstream = Recorder::with(|exchange| exchange.reply(200, "ok"));
    for workers in ["1", "2"] {
        let mut sidecar = Builder::guarding(upstream.address).set("", "workers", workers).start();
        // While the process stands still, the kernel queues.
        sidecar.process.signal("STOP");
        let mut clients: Vec<_> = (0..QUEUED).map(|_| raw::Client::connect(sidecar.address)).collect();
        for client in &mut clients {
            client.send("GET /health HTTP/1.1\r\nHost: backend.test\r\n\r\n");
        }
        sidecar.process.signal("TERM");
        sidecar.process.signal("CONT");
        for (number, client) in clients.iter_mut().enumerate() {
            let (status, ..) =
                client.try_head().unwrap_or_else(|error| panic!("{workers} workers, {number}: {error}"));
            assert_eq!(status, 200, "{workers} workers, {number}");
        }
        drop(clients);
        assert_eq!(sidecar.process.wait().code(), Some(0), "{}", sidecar.process.stderr.text());
    }
}

#[test]
fn an_answer_that_a_stop_cuts_is_no_clean_end_even_where_only_the_end_tells_its_length() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
        exchange.hang()
    });
    let mut sidecar = Builder::guarding(upstream.address).set("timeouts", "drain", "\"200ms\"").start();
    let mut client = raw::Client::connect(sidecar.address);
    client.send("GET /files/stream HTTP/1.0\r\nHost: backend.test\r\n\r\n");
    assert_eq!(client.try_head().unwrap().0, 200);
    while client.stream.ahead.len() < 5 {
        assert!(client.stream.fill().unwrap());
    }
    client.stream.ahead.clear();
    sidecar.process.signal("TERM");
    assert_eq!(sidecar.process.wait().code(), Some(0), "{}", sidecar.process.stderr.text());
    assert_eq!(client.end(), raw::End::Reset);
}

#[test]
fn a_stream_goes_on_to_its_end_while_draining() {
    let parts = count(20, 200);
    let upstream = Recorder::with(move |exchange| {
        if exchange.request.target != "/files/stream" {
            return exchange.reply(200, "ok");
        }
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in 0..parts {
            exchange.send(format!("5\r\n{part:05}\r\n"));
            // Paces the stream; nothing is measured by it.
            std::thread::sleep(Duration::from_millis(50));
        }
        exchange.send("0\r\n\r\n");
        Then::Next
    });
    let mut sidecar = Builder::guarding(upstream.address).start();
    let mut client = raw::Client::connect(sidecar.address);
    client.send("GET /files/stream HTTP/1.1\r\nHost: backend.test\r\n\r\n");
    assert_eq!(client.try_head().unwrap().0, 200);
    sidecar.process.signal("TERM");
    let body = client.stream.chunked().unwrap();
    assert!(body.complete, "the stream was cut");
    assert_eq!(body.bytes.len(), parts * 5);
    assert_eq!(sidecar.process.wait().code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once_and_says_so() {
    let (upstream, _go) = slow_upstream();
    let mut sidecar = Builder::guarding(upstream.address).start();
    let _slow = slow_request(sidecar.address, &upstream);
    sidecar.process.signal("TERM");
    eventually("a readiness of 503", || (admin(sidecar.admin, "/readyz") == 503).then_some(()));
    assert!(sidecar.process.ended().is_none());
    sidecar.process.signal("TERM");
    let (code, said) = ended(&mut sidecar);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("second signal"), "{said}");
}

#[test]
fn what_hangs_is_cut_at_the_drain_deadline() {
    let (upstream, _go) = slow_upstream();
    let mut sidecar = Builder::guarding(upstream.address).set("timeouts", "drain", "\"200ms\"").start();
    let mut slow = slow_request(sidecar.address, &upstream);
    sidecar.process.signal("TERM");
    assert_eq!(sidecar.process.wait().code(), Some(0));
    assert!(slow.try_answer("GET").is_err(), "a cut answer must not look whole");
    let stop = sidecar.audit().into_iter().find(|record| record["event"] == "stop").unwrap();
    assert_eq!(stop["cut"], 1, "{stop}");
}
