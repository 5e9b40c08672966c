//! Stale connections: an idempotent request whose reused connection died unanswered is sent once more, on a new one;
//! nothing else is ever sent twice.

use super::support::python::{Parser, Uvicorn};
use super::support::raw::{Client, get};
use super::support::recorder::{Recorder, Then};
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, count, eventually, sign};

/// Answers the first request of each connection, and lets every later one down, unanswered.
fn fickle(then: Then) -> Recorder {
    Recorder::with(move |exchange| if exchange.request.place == 0 { exchange.reply(200, "first") } else { then })
}

fn one_worker(upstream: &Recorder) -> Sidecar {
    Builder::guarding(upstream.address).set("", "workers", "1").start_alive()
}

#[test]
fn an_idempotent_request_on_a_connection_that_died_is_sent_once_more() {
    for then in [Then::Close, Then::Reset] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            let upstream = fickle(then);
            let sidecar = one_worker(&upstream);
            let mut client = Client::connect(sidecar.address);
            client.send("GET /warm HTTP/1.1\r\nHost: b\r\n\r\n");
            assert_eq!(client.answer().status, 200);
            client.send(format!("{method} /again HTTP/1.1\r\nHost: b\r\n\r\n"));
            assert_eq!(client.answer_to(method).status, 200, "{method} after {then:?}");
            let tries = upstream.marked("/again");
            assert!(tries.len() <= 2 && tries.iter().all(|r| r.method == method), "{method}: {tries:?}");
        }
    }
}

#[test]
fn what_is_not_idempotent_or_has_begun_its_body_is_never_sent_twice() {
    for request in [
        "POST /once HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
        "POST /once HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nbody",
        "PATCH /once HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nbody",
        "FROB /once HTTP/1.1\r\nHost: b\r\n\r\n",
        "get /once HTTP/1.1\r\nHost: b\r\n\r\n",
    ] {
        let upstream = fickle(Then::Close);
        let sidecar = one_worker(&upstream);
        let mut client = Client::connect(sidecar.address);
        client.send("GET /warm HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client.send(request);
        let answer = client.answer();
        let tries = upstream.marked("/once");
        assert_eq!(tries.len(), 1, "{request:?}: {tries:?}");
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
    }
}

#[test]
fn a_request_that_a_new_connection_let_down_is_not_sent_again() {
    let upstream = Recorder::with(|_| Then::Close);
    let sidecar = one_worker(&upstream);
    assert_eq!(get(sidecar.address, "/fresh").status, 502);
    assert_eq!(upstream.marked("/fresh").len(), 1);
}

#[test]
fn a_request_that_was_half_answered_is_not_sent_again() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.place == 0 {
            return exchange.reply(200, "first");
        }
        exchange.send("HTTP/1.1 2");
        Then::Close
    });
    let sidecar = one_worker(&upstream);
    let mut client = Client::connect(sidecar.address);
    client.send("GET /warm HTTP/1.1\r\nHost: b\r\n\r\n");
    client.answer();
    client.send("GET /half HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().status, 502);
    assert_eq!(upstream.marked("/half").len(), 1);
}

#[test]
fn an_answer_of_only_1xx_and_then_an_end_is_an_answer_begun_and_is_not_sent_again() {
    for informational in ["102 Processing", "103 Early Hints"] {
        let upstream = Recorder::with(move |exchange| {
            if exchange.request.target == "/warm" {
                return exchange.reply(200, "first");
            }
            exchange.send(format!("HTTP/1.1 {informational}\r\n\r\n"));
            Then::Close
        });
        let sidecar = one_worker(&upstream);
        for method in ["DELETE", "GET", "PUT"] {
            let mut client = Client::connect(sidecar.address);
            client.send("GET /warm HTTP/1.1\r\nHost: b\r\n\r\n");
            assert_eq!(client.answer().status, 200);
            client.send(format!("{method} /hinted-{method} HTTP/1.1\r\nHost: b\r\n\r\n"));
            assert_eq!(client.answer().status, 502, "{method} after {informational}");
            let tries = upstream.marked(&format!("/hinted-{method}"));
            assert_eq!(tries.len(), 1, "{method} after {informational}: {tries:?}");
            assert!(tries[0].place > 0, "the connection was to be a reused one");
        }
    }
}

#[test]
fn a_second_connection_that_dies_too_is_a_502_and_not_a_third_try() {
    for then in [Then::Close, Then::Reset] {
        let upstream =
            Recorder::with(
                move |exchange| {
                    if exchange.request.target == "/warm" { exchange.reply(200, "first") } else { then }
                },
            );
        let sidecar = one_worker(&upstream);
        let mut client = Client::connect(sidecar.address);
        client.send("GET /warm HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client.send("GET /again HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer().status, 502, "after {then:?}");
        let places: Vec<usize> = upstream.marked("/again").iter().map(|request| request.place).collect();
        assert_eq!(places, [1, 0], "after {then:?}: once on the reused connection, once on a new one");
    }
}

#[test]
fn connections_that_keep_dying_fail_no_get_and_double_no_post() {
    // Like uvicorn at the end of its patience: closes some idle connections just after an answer.
    let upstream = Recorder::with(|exchange| {
        let fate = (exchange.request.connection * 7 + exchange.request.place * 3) % 5;
        let target = exchange.request.target.clone();
        let _ = exchange.body();
        exchange.reply(200, target);
        if fate == 0 { Then::Close } else { Then::Next }
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let rounds = count(500, 25_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let address = sidecar.address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..rounds {
                    let target = format!("/get-{thread}-{n}-");
                    client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n"));
                    let answer = client.answer();
                    assert_eq!((answer.status, answer.text()), (200, target));
                    client
                        .send(format!("POST /post-{thread}-{n}- HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi"));
                    let answer = client.answer();
                    assert!(matches!(answer.status, 200 | 502));
                    if answer.fields.has("connection") {
                        client = Client::connect(address);
                    }
                }
            });
        }
    });
    let mut posts: Vec<String> =
        upstream.requests().into_iter().filter(|r| r.method == "POST").map(|request| request.target).collect();
    let all = posts.len();
    posts.sort_unstable();
    posts.dedup();
    assert_eq!(posts.len(), all, "a POST came twice");
}

#[test]
fn idle_upstream_connections_are_dropped_before_uvicorns_five_seconds() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    assert_eq!(get(sidecar.address, "/x").status, 200);
    let began = std::time::Instant::now();
    eventually("the idle connection to be dropped", || (upstream.open_connections() == 0).then_some(()));
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_real_uvicorn_that_drops_its_idle_connections_fails_nobody() {
    let Some(backend) = Uvicorn::start(Parser::Httptools) else { return };
    let sidecar = Builder::guarding(backend.address).start();
    let path = "/api/internal/x";
    let mut client = Client::connect(sidecar.address);
    for round in 0..3 {
        let signed = sign::headers(KEY_A, "npu-worker", "POST", path);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: b\r\nX-Mark: {round}\r\n{signed}Content-Length: 2\r\n\r\nhi"
        ));
        assert_eq!(client.answer().status, 200, "round {round}");
        // Until uvicorn's patience is over, 5 s, nothing happens here; that is the point.
        assert!(client.silent_for(std::time::Duration::from_millis(if round < 2 { 5100 } else { 1 })));
    }
    let seen = get(backend.address, "/__seen").json();
    assert_eq!(seen.as_array().unwrap().len(), 3, "{seen}");
}
