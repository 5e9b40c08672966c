//! Everything streams, both ways: events, big bodies, early answers, `100-continue`, trailers, `HEAD`, HTTP/1.0.

use super::support::raw::{Client, End, exchange, get};
use super::support::recorder::{Recorder, Then};
use super::support::refusal::assert_refused;
use super::support::sidecar::Builder;
use super::support::{KEY_A, eventually, sign};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::channel;

#[test]
fn each_event_arrives_before_the_next_is_made() {
    // The upstream sends an event only when the client has told that it got the one before.
    let (got, next) = channel::<()>();
    let next = Mutex::new(next);
    let upstream = Recorder::with(move |exchange| {
        if exchange.request.target != "/api/chat/events" {
            return exchange.reply(200, "ok");
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..5 {
            exchange.send(format!("9\r\ndata: {n}\n\n\r\n"));
            if next.lock().unwrap().recv_timeout(super::support::DEADLINE).is_err() {
                return Then::Reset;
            }
        }
        exchange.send("0\r\n\r\n");
        Then::Next
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("GET /api/chat/events HTTP/1.1\r\nHost: b\r\nAccept: text/event-stream\r\n\r\n");
    assert_eq!(client.try_head().unwrap().0, 200);
    let mut seen = Vec::new();
    for n in 0..5 {
        let event = format!("data: {n}\n\n");
        loop {
            seen.append(&mut client.stream.ahead);
            if super::support::message::find(&seen, event.as_bytes()).is_some() {
                break;
            }
            assert!(client.stream.fill().unwrap());
        }
        got.send(()).unwrap();
    }
}

#[test]
fn a_request_body_reaches_the_upstream_while_it_is_still_being_sent() {
    let (told, heard) = channel::<()>();
    let upstream = Recorder::with(move |exchange| {
        if exchange.request.method == "POST" {
            while super::support::message::find(&exchange.stream.ahead, b"first").is_none() {
                if !exchange.stream.fill().unwrap_or(false) {
                    return Then::Reset;
                }
            }
            let _ = told.send(());
        }
        let _ = exchange.body();
        exchange.reply(200, "ok")
    });
    let sidecar = Builder::guarding(upstream.address).start();
    for framing in ["Content-Length: 11", "Transfer-Encoding: chunked"] {
        let chunked = framing.contains("chunked");
        let mut client = Client::connect(sidecar.address);
        client.send(format!(
            "POST /stream HTTP/1.1\r\nHost: b\r\n{framing}\r\n\r\n{}",
            if chunked { "5\r\nfirst\r\n" } else { "first" }
        ));
        heard.recv_timeout(super::support::DEADLINE).expect("the first half upstream before the second is sent");
        client.send(if chunked { "6\r\nsecond\r\n0\r\n\r\n" } else { "second" });
        assert_eq!(client.answer().status, 200);
    }
    eventually("both bodies whole", || {
        let bodies: Vec<_> = upstream.marked("/stream").into_iter().map(|request| request.body.bytes).collect();
        (bodies == [b"firstsecond", b"firstsecond"]).then_some(())
    });
}

#[test]
fn an_answer_that_comes_before_the_body_is_passed_on_at_once() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.target == "/early" {
            exchange.send("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly");
            return Then::Close;
        }
        exchange.reply(200, "ok")
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("POST /early HTTP/1.1\r\nHost: b\r\nContent-Length: 100000000\r\n\r\nonly the beginning");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "early"));
    // Nothing that the client goes on to send may be read as a request.
    client.send("GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_ne!(client.end(), End::Bytes);
    assert!(upstream.marked("/smuggled").is_empty());
}

#[test]
fn a_client_still_sending_gets_an_early_answer_and_not_a_reset() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.method == "POST" {
            exchange.send("HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nearly");
            return Then::Close;
        }
        exchange.reply(200, "ok")
    });
    let sidecar = Builder::guarding(upstream.address).start();
    for target in ["/early", "/api/internal/x"] {
        for _ in 0..20 {
            let mut client = Client::connect(sidecar.address);
            client.send(format!("POST {target} HTTP/1.1\r\nHost: b\r\nContent-Length: 3000000\r\n\r\n"));
            client.send(vec![b'x'; 1_000_000]);
            let answer = client.answer();
            assert!(matches!(answer.status, 401 | 403 | 429) && answer.body.complete, "{target}: {answer:?}");
        }
    }
}

/// Our own 100 would come after a second, but with this `first_byte` it never can: the upstream would have been given up
/// by then, with a 504. So whatever 100 arrives is the upstream's.
fn hasty(upstream: SocketAddr) -> Builder {
    Builder::guarding(upstream).set("timeouts", "first_byte", "\"900ms\"")
}

const EXPECT: &str = "Host: b\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[test]
fn a_client_that_waits_for_100_gets_it_from_the_upstream_and_only_then_sends_its_body() {
    let upstream = Recorder::with(|exchange| {
        // Whatever of the body is here before the 100 came too early.
        let early = exchange.stream.ahead.len();
        if exchange.request.fields.one("expect") == Some("100-continue") {
            exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        let _ = exchange.body();
        exchange.reply(200, format!("{early} bytes too early"))
    });
    let sidecar = hasty(upstream.address).start_alive();
    // On a machine that stands still for those 900 ms an attempt may end in 504; then the next one counts.
    eventually("a 100 from the upstream", || {
        let mut client = Client::connect(sidecar.address);
        client.send(format!("POST /continue HTTP/1.1\r\n{EXPECT}"));
        if client.try_head().unwrap().0 != 100 {
            return None;
        }
        client.send("body");
        assert_eq!(client.answer().text(), "0 bytes too early");
        Some(())
    });
    eventually("the body upstream", || {
        upstream.marked("/continue").iter().any(|request| request.over && request.body.bytes == b"body").then_some(())
    });
}

#[test]
fn an_upstream_that_says_no_at_once_is_heard_and_no_100_comes_first() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        Then::Close
    });
    let sidecar = hasty(upstream.address).start_alive();
    eventually("the upstream's no", || {
        let answer = exchange(sidecar.address, format!("POST /no HTTP/1.1\r\n{EXPECT}"));
        assert!(matches!(answer.status, 417 | 504), "{answer:?}");
        (answer.status == 417).then_some(())
    });
}

#[test]
fn a_refused_request_gets_no_100_first() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let answer = exchange(
        sidecar.address,
        "POST /api/internal/x HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_refused(&answer, 401, "missing_signature");
    assert!(upstream.marked("/api/internal").is_empty());
}

#[test]
fn a_client_that_waits_for_100_is_not_left_waiting_by_an_upstream_that_knows_none() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("POST /patient HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let (status, ..) = client.try_head().unwrap();
    if status == 100 {
        client.send("body");
        assert_eq!(client.answer().status, 200);
    } else {
        assert_eq!(status, 200);
    }
}

#[test]
fn trailers_of_answers_pass() {
    let upstream = Recorder::with(|exchange| {
        exchange.send(
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
        );
        Then::Next
    });
    let sidecar = Builder::guarding(upstream.address).start_alive();
    let answer = exchange(sidecar.address, "GET /sum HTTP/1.1\r\nHost: b\r\nTE: trailers\r\n\r\n");
    assert_eq!((answer.text().as_str(), answer.body.trailers.one("x-sum")), ("ok", Some("7")));
}

#[test]
fn head_has_the_headers_of_get_and_no_body_and_the_connection_goes_on() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.method == "HEAD" {
            let framing = if exchange.request.target == "/chunked" {
                "Transfer-Encoding: chunked"
            } else {
                "Content-Length: 1234"
            };
            exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\nX-Head: 1\r\n\r\n"));
            return Then::Next;
        }
        exchange.reply(200, "body")
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    for target in ["/sized", "/chunked", "/sized"] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: b\r\n\r\n"));
        let answer = client.answer_to("HEAD");
        assert_eq!((answer.status, answer.fields.one("x-head")), (200, Some("1")));
        if target == "/sized" {
            assert_eq!(answer.fields.one("content-length"), Some("1234"));
        }
        client.send("GET /next HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer().text(), "body");
    }
}

#[test]
fn http_1_0_is_served_as_it_wants_to_be() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        Then::Next
    });
    let sidecar = Builder::guarding(upstream.address).start_alive();
    let mut client = Client::connect(sidecar.address);
    client.send("GET /none HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert!(!answer.fields.has("transfer-encoding"), "{answer:?}");
    assert_eq!(answer.text(), "ok");
    let seen = upstream.the("/none");
    assert_eq!(seen.fields.one("host"), Some(upstream.address.to_string().as_str()));
    exchange(sidecar.address, "GET /named HTTP/1.0\r\nHost: named.test\r\n\r\n");
    assert_eq!(upstream.the("/named").fields.one("host"), Some("named.test"));
    // Guarded all the same, and signing works.
    assert_eq!(exchange(sidecar.address, "GET /api/internal/x HTTP/1.0\r\n\r\n").status, 401);
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/x");
    assert_eq!(exchange(sidecar.address, format!("GET /api/internal/x HTTP/1.0\r\n{signed}\r\n")).status, 200);
    // Without being asked, the connection ends.
    client.send("GET /again HTTP/1.0\r\n\r\n");
    assert_ne!(client.end(), End::Bytes);
}

#[test]
fn a_client_that_says_close_gets_its_answer_and_the_end() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    client.send("GET /close HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\nGET /more HTTP/1.1\r\nHost: b\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.fields.one("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    assert_ne!(client.end(), End::Bytes);
    // A client that ends its side still gets its answer.
    let mut client = Client::connect(sidecar.address);
    client.send("GET /half-closed HTTP/1.1\r\nHost: b\r\n\r\n");
    client.finish();
    assert_eq!(client.answer().status, 200);
    assert_ne!(client.end(), End::Bytes);
}

#[test]
fn who_asked_for_the_end_and_reads_late_gets_all_of_the_answer_also_with_bytes_behind_its_request() {
    // The kernel's queues take the long one whole: the sidecar is done with either before anybody reads.
    const ANSWERS: [(&str, usize); 2] = [("/short", 1000), ("/long", 1024 * 1024)];
    // The upstream answers when it is told to.
    let (go, may_answer) = channel::<()>();
    let may_answer = Mutex::new(may_answer);
    let upstream = Recorder::with(move |exchange| {
        let length =
            ANSWERS.iter().find(|(path, _)| *path == exchange.request.target).map_or(0, |(_, length)| *length);
        match may_answer.lock().unwrap().recv_timeout(super::support::DEADLINE) {
            Ok(()) => exchange.reply(200, "a".repeat(length)),
            Err(_) => Then::Reset,
        }
    });
    for workers in ["1", "2"] {
        let sidecar = Builder::guarding(upstream.address).set("", "workers", workers).start();
        for (path, length) in ANSWERS {
            for behind in ["", "\r\n", "GET /second HTTP/1.1\r\nHost: b\r\n\r\n"] {
                for is_late in [false, true] {
                    let before = upstream.marked(path).len();
                    let mut client = Client::connect(sidecar.address);
                    client.send(format!("GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"));
                    // Not in one piece with the request.
                    eventually("the request upstream", || (upstream.marked(path).len() > before).then_some(()));
                    if !is_late {
                        client.send(behind);
                    }
                    go.send(()).unwrap();
                    if is_late {
                        let open = || sidecar.metric("countersign_connections", &[]);
                        if path == "/short" {
                            eventually("a close before anything is read", || (open() == 0.0).then_some(()));
                        }
                        client.send(behind);
                    }
                    assert_eq!(client.answer().body.bytes.len(), length, "{path} {behind:?} {is_late}");
                    assert_ne!(client.end(), End::Bytes, "{path} {behind:?} {is_late}");
                }
            }
        }
    }
    assert!(upstream.marked("/second").is_empty(), "what follows the end was served");
}

#[test]
fn a_location_that_names_the_upstream_is_rewritten_and_any_other_is_left() {
    let upstream = Recorder::with(|exchange| {
        let to = exchange.request.fields.one("x-to").unwrap_or_default().to_owned();
        exchange.send(format!("HTTP/1.1 307 T\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"));
        Then::Next
    });
    let sidecar = Builder::guarding(upstream.address).start_alive();
    let own = upstream.address;
    for (to, expected) in [
        (format!("http://{own}/there?x=1"), "http://client.test:8001/there?x=1".to_owned()),
        (format!("http://{own}"), "http://client.test:8001/".to_owned()),
        (format!("HTTP://{own}/up"), "http://client.test:8001/up".to_owned()),
        ("/relative".to_owned(), "/relative".to_owned()),
        (format!("http://{own}0/other-port"), format!("http://{own}0/other-port")),
        ("http://elsewhere.test/x".to_owned(), "http://elsewhere.test/x".to_owned()),
        (format!("http://elsewhere.test/?u=http://{own}/"), format!("http://elsewhere.test/?u=http://{own}/")),
    ] {
        let request = format!("GET /go HTTP/1.1\r\nHost: client.test:8001\r\nX-To: {to}\r\n\r\n");
        assert_eq!(exchange(sidecar.address, request).fields.one("location"), Some(expected.as_str()), "{to}");
    }
}

#[test]
fn statuses_reasons_and_repeated_headers_of_answers_pass_unchanged() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 418 I'm a teapot\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nx-LOWER-upper: v\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n");
        Then::Next
    });
    let sidecar = Builder::guarding(upstream.address).start_alive();
    let answer = get(sidecar.address, "/teapot");
    assert_eq!(answer.fields.all("set-cookie"), ["a=1", "b=2"]);
    let head = String::from_utf8(answer.head.clone()).unwrap();
    assert!(head.starts_with("HTTP/1.1 418 ") && head.contains("x-LOWER-upper: v"), "{head}");
    assert!(!answer.fields.has("x-hop") && !answer.fields.has("keep-alive"), "{head}");
    eventually("the record", || sidecar.audit().iter().any(|record| record["status"] == 418).then_some(()));
}
