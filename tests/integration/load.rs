//! Load and slowness: whoever is slow, silent or too big is let go by its own timer or limit, and costs others nothing.

use super::support::raw::{Client, End, get, get_with};
use super::support::recorder::{Recorder, Then};
use super::support::refusal::assert_own_failure;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{count, eventually};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// All four timers at one second, and one listener.
fn impatient(upstream: SocketAddr) -> Builder {
    ["head", "idle", "body_idle", "write_idle"]
        .into_iter()
        .fold(Builder::guarding(upstream), |builder, timer| builder.set("timeouts", timer, "\"1s\""))
}

/// The sidecar is alive and serves.
#[track_caller]
fn assert_serves(sidecar: &Sidecar) {
    assert_eq!(get(sidecar.address, "/open").status, 200);
}

#[test]
fn a_silent_connection_is_closed() {
    let upstream = Recorder::plain();
    let sidecar = impatient(upstream.address).start();
    for first in ["", "G", "P", "PRI * HTTP/2.0\r\n\r\nS", "GET / HTTP/1.1\r\nHost: b\r\n", "\r"] {
        let mut client = Client::connect(sidecar.address);
        client.send(first);
        // An answer may come first (408, 400); the end must.
        while client.end() == End::Bytes {
            client.stream.ahead.clear();
        }
    }
}

#[test]
fn a_head_that_trickles_is_cut_in_all_not_only_when_it_pauses() {
    let upstream = Recorder::plain();
    let sidecar = impatient(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("GET /trickle HTTP/1.1\r\nHost: b\r\n");
    let mut sent = 0;
    // A header line every 50 ms never pauses for a second; the whole must end all the same.
    while client.silent_for(std::time::Duration::from_millis(50)) {
        client.send(format!("X-{sent}: 1\r\n"));
        sent += 1;
        assert!(sent < 90, "still open after {sent} lines");
    }
    assert!(upstream.marked("/trickle").is_empty());
    assert_serves(&sidecar);
}

#[test]
fn a_body_that_stops_is_cut_and_never_ends_cleanly_upstream() {
    let upstream = Recorder::plain();
    let sidecar = impatient(upstream.address).start();
    for (mark, framing) in
        [("/slow-1", "Content-Length: 9\r\n\r\nhalf"), ("/slow-2", "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf")]
    {
        let mut client = Client::connect(sidecar.address);
        client.send(format!("POST {mark} HTTP/1.1\r\nHost: b\r\n{framing}"));
        while client.end() == End::Bytes {
            client.stream.ahead.clear();
        }
        assert!(upstream.marked(mark).is_empty() || !upstream.the(mark).body.complete);
    }
    assert_serves(&sidecar);
}

#[test]
fn a_reader_that_takes_nothing_is_cut() {
    let big = vec![b'x'; 64 * 1024 * 1024];
    let over = Arc::new(AtomicBool::new(false));
    let noted = over.clone();
    let upstream = Recorder::with(move |exchange| {
        if exchange.request.target != "/big" {
            return exchange.reply(200, "ok");
        }
        let then = exchange.reply(200, &big);
        noted.store(true, Ordering::Relaxed);
        then
    });
    let sidecar = impatient(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("GET /big HTTP/1.1\r\nHost: b\r\n\r\n");
    // The upstream gets rid of its answer or of its connection only when the sidecar gives up on the reader.
    eventually("the sidecar to let go of the slow reader", || over.load(Ordering::Relaxed).then_some(()));
    let answer = client.try_answer("GET");
    assert!(answer.is_err() || !answer.unwrap().body.complete, "the reader got everything");
    assert_serves(&sidecar);
}

#[test]
fn giants_are_refused_by_name() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let long = "a".repeat(17 * 1024);
    let wide = format!("X-Wide: {}\r\n", "a".repeat(66 * 1024));
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (status, answer) in [
        (414, get(sidecar.address, &format!("/giant/{long}"))),
        (414, get(sidecar.address, &format!("/giant?{long}"))),
        (431, get_with(sidecar.address, "/giant", &wide)),
        (431, get_with(sidecar.address, "/giant", &many)),
    ] {
        assert_eq!(answer.status, status);
        let body = answer.json();
        assert!(body["request_id"].is_string() && body["detail"].is_string() && body["reason"].is_string(), "{body}");
    }
    assert!(upstream.marked("/giant").is_empty());
    // Just below, they pass.
    let fits: String = (0..90).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(get_with(sidecar.address, &format!("/fits/{}", "a".repeat(16_000)), &fits).status, 200);
}

#[test]
fn an_endless_head_is_refused_before_it_is_kept() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let before = sidecar.process.peak_memory();
    for (begin, status) in [
        ("", 414),
        ("GET /", 414),
        ("GET / HTTP/1.1\r\nHost: b\r\nX: ", 431),
        ("GET / HTTP/1.1\r\nHost: b\r\nX: 1\r\n", 431),
    ] {
        let mut client = Client::connect(sidecar.address);
        client.send(begin);
        for _ in 0..1024 {
            client.send([b'a'; 16 * 1024]);
        }
        assert_eq!(client.answer().status, status, "{begin:?} without end");
        assert!(upstream.requests().is_empty());
    }
    let grown = sidecar.process.peak_memory() - before;
    assert!(grown < 4 * 1024 * 1024, "16 MiB of each head were sent, and {grown} bytes kept");
    assert_serves(&sidecar);
}

#[test]
fn many_idle_connections_are_held_and_others_served() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).set("limits", "connections_per_address", "9000").start();
    assert_serves(&sidecar);
    let (crowd, before) = (count(2_000, 8_000), sidecar.process.peak_memory());
    let mut idle: Vec<Client> = (0..crowd).map(|_| Client::connect(sidecar.address)).collect();
    // Half of them have been used once.
    for client in idle.iter_mut().step_by(2) {
        client.send("GET /idle HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    // No buffer, no parser, no exchange: a task of 1 KiB and what the runtime knows of its socket.
    let each = (sidecar.process.peak_memory() - before) as usize / crowd;
    assert!(each < 3 * 1024, "{each} bytes for a connection that waits");
    assert_serves(&sidecar);
    for client in &mut idle {
        client.send("GET /idle HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn connections_beyond_the_limits_are_let_go_and_the_limit_frees_up() {
    let upstream = Recorder::plain();
    // A single worker accepts by itself.
    for workers in ["1", "2"] {
        let sidecar = Builder::guarding(upstream.address)
            .set("", "workers", workers)
            .set("limits", "connections_per_address", "5")
            .start();
        let served = |client: &mut Client| {
            client.send("GET /open HTTP/1.1\r\nHost: b\r\n\r\n");
            client.try_answer("GET").is_ok_and(|answer| answer.status == 200)
        };
        let mut held: Vec<Client> = Vec::new();
        for _ in 0..5 {
            let mut client = Client::connect(sidecar.address);
            assert!(served(&mut client));
            held.push(client);
        }
        assert!(!served(&mut Client::connect(sidecar.address)), "the sixth connection of one address was served");
        assert!(
            served(&mut Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), sidecar.address)),
            "another address was not"
        );
        drop(held);
        eventually("the limit to free up", || served(&mut Client::connect(sidecar.address)).then_some(()));
    }
}

#[test]
fn requests_in_flight_beyond_the_limit_get_503_at_once() {
    let upstream =
        Recorder::with(
            |exchange| {
                if exchange.request.target == "/hang" { exchange.hang() } else { exchange.reply(200, "ok") }
            },
        );
    let sidecar = Builder::guarding(upstream.address).set("limits", "upstream_requests", "3").start();
    let mut hanging: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::connect(sidecar.address);
            client.send("GET /hang HTTP/1.1\r\nHost: b\r\n\r\n");
            client
        })
        .collect();
    eventually("three in flight", || (upstream.marked("/hang").len() == 3).then_some(()));
    assert_own_failure(&get(sidecar.address, "/open"), 503);
    // Whoever hangs up makes room.
    drop(hanging.pop());
    eventually("room", || (get(sidecar.address, "/open").status == 200).then_some(()));
}

#[test]
fn a_client_that_hangs_up_ends_its_request_upstream() {
    let upstream =
        Recorder::with(
            |exchange| {
                if exchange.request.target == "/hang" { exchange.hang() } else { exchange.reply(200, "ok") }
            },
        );
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("GET /hang HTTP/1.1\r\nHost: b\r\n\r\n");
    eventually("the request upstream", || (!upstream.marked("/hang").is_empty()).then_some(()));
    drop(client);
    upstream.the("/hang");
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let limited = std::process::Command::new("prlimit")
        .args(["--nofile=64:64", "--pid", &sidecar.process.pid().to_string()])
        .status()
        .unwrap();
    assert!(limited.success());
    let mut crowd: Vec<Client> = (0..150).filter_map(|_| Client::try_connect(sidecar.address)).collect();
    crowd.iter_mut().for_each(|client| client.send("GET /open HTTP/1.1\r\n"));
    drop(crowd);
    eventually("it to serve again", || {
        let mut client = Client::try_connect(sidecar.address)?;
        client.stream.inner.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        client.send("GET /open HTTP/1.1\r\nHost: b\r\n\r\n");
        client.try_answer("GET").ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn slow_and_broken_crowds_do_not_keep_others_from_being_served() {
    let upstream = Recorder::with(|exchange| match exchange.request.target.as_str() {
        "/half" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            Then::Close
        }
        _ => exchange.reply(200, "ok"),
    });
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let slow: Vec<Client> = (0..200)
        .map(|n| {
            let mut client = Client::connect(sidecar.address);
            client.send(
                ["G", "GET / HTTP/1.1\r\nHost: b\r\n", "POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nx"]
                    [n % 3],
            );
            client
        })
        .collect();
    for n in 0..count(300, 10_000) {
        assert_eq!(get(sidecar.address, "/open").status, 200);
        let mut client = Client::connect(sidecar.address);
        client.send(
            [
                "GET /half HTTP/1.1\r\nHost: b\r\n\r\n",
                "\0",
                "GET /x HTTP/1.1\n\n",
                "GET /api/internal/x HTTP/1.1\r\nHost: b\r\n\r\n",
            ][n % 4],
        );
        let _ = client.try_answer("GET");
    }
    drop(slow);
    assert_serves(&sidecar);
}
