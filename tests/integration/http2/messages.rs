//! What is legal passes, written anew: fields, cookies, bodies, trailers, answers without a body, answers that break off.

use super::super::support::KEY_A;
use super::super::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block, frame, pseudo};
use super::super::support::recorder::{Recorder, Then};
use super::super::support::{count, eventually, sign};
use super::guarding;

#[test]
fn a_request_goes_up_as_it_came_with_host_and_joined_cookies_and_nothing_of_an_identity_it_claims() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let more = [
        ("cookie", "a=1"),
        ("x-any", "one"),
        ("cookie", "b=2"),
        ("x-any", "two"),
        ("te", "trailers"),
        ("x-authenticated-service", "root"),
        ("x_service_id", "root"),
        ("x.service.id", "root"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-override-token", "guess"),
        ("http2-settings", "x"),
        ("expect", "nothing"),
    ];
    let outcome = client.get("/files/a%2Fb/..;x?q=%20&r=a|b", &more);
    assert_eq!((outcome.status, outcome.body.as_slice()), (200, &b"ok"[..]));
    let got = upstream.the("/files/a%2Fb");
    assert_eq!(
        (got.target.as_str(), got.fields.one("host")),
        ("/files/a%2Fb/..;x?q=%20&r=a|b", Some("backend.test"))
    );
    assert_eq!(got.fields.one("cookie"), Some("a=1; b=2"));
    assert_eq!(got.fields.all("x-any"), ["one", "two"]);
    assert_eq!((got.fields.one("te"), got.fields.one("connection")), (Some("trailers"), Some("TE")));
    assert_eq!(got.fields.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(
        (got.fields.one("x-forwarded-proto"), got.fields.one("x-forwarded-host")),
        (Some("http"), Some("backend.test"))
    );
    for name in
        ["x-authenticated-service", "x_service_id", "x.service.id", "x-override-token", "http2-settings", "expect"]
    {
        assert!(!got.fields.has(name), "{name}: {:?}", got.fields);
    }
    assert!(outcome.one("connection").is_none() && outcome.one("x-request-id").is_some());
}

#[test]
fn a_signed_request_carries_its_identity_up() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let lines = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/who");
    let signed: Vec<(String, &str)> = lines
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    let signed: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let outcome = client.get("/api/internal/who", &[&signed[..], &[("x-authenticated-service", "root")]].concat());
    assert_eq!(outcome.status, 200);
    let got = upstream.the("/api/internal/who");
    assert_eq!(got.fields.all("x-authenticated-service"), ["npu-worker"]);
    let record = sidecar.record(outcome.one("x-request-id").unwrap());
    assert_eq!((&record["outcome"], &record["service"]), (&"authenticated".into(), &"npu-worker".into()));
}

#[test]
fn bodies_pass_whole_with_and_without_a_length_and_trailers_are_filtered() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let stream = client.request(&[&pseudo("POST", "/sized")[..], &[("content-length", "10")]].concat(), false);
    client.send(frame(DATA, 0, stream, b"01234"));
    client.send(frame(DATA, 0, stream, b""));
    client.send(frame(DATA, END_STREAM, stream, b"56789"));
    assert_eq!(client.outcome(stream).status, 200);
    let got = upstream.the("/sized");
    assert_eq!((got.fields.one("content-length"), got.body.bytes.as_slice()), (Some("10"), &b"0123456789"[..]));

    let stream = client.request(&pseudo("POST", "/chunked"), false);
    // Padded, and an empty frame between: what would be the last chunk if it were written as one.
    client.send(frame(DATA, 8, stream, b"\x03abc\0\0\0"));
    client.send(frame(DATA, 0, stream, b""));
    client.send(frame(DATA, 0, stream, b"def"));
    let trailers = [
        ("x-checksum", "1"),
        ("x-service-id", "root"),
        ("x_authenticated_service", "root"),
        ("x-authenticated-service", "root"),
        ("content-length", "3"),
        ("host", "evil"),
        ("authorization", "x"),
    ];
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&trailers)));
    assert_eq!(client.outcome(stream).status, 200);
    let got = upstream.the("/chunked");
    assert_eq!((got.fields.one("transfer-encoding"), got.body.bytes.as_slice()), (Some("chunked"), &b"abcdef"[..]));
    let trailers: Vec<&str> = got.body.trailers.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(trailers, ["x-checksum"]);
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

#[test]
fn a_body_is_streamed_before_it_has_ended_and_so_is_the_answer() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n");
        match exchange.body() {
            Ok(_) => exchange.send("0\r\nX-Behind: it\r\nSet-Cookie: no\r\n\r\n"),
            Err(_) => return Then::Close,
        }
        Then::Next
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    // Nothing of the body, and yet the answer comes: as bidirectional streams need it.
    let stream = client.request(&pseudo("POST", "/both"), false);
    let outcome = client.head(stream);
    assert_eq!(outcome.status, 200);
    while client.so_far(stream).body != b"yes" {
        assert!(client.turn().unwrap());
    }
    client.send(frame(DATA, END_STREAM, stream, b"late"));
    let outcome = client.outcome(stream);
    assert!(outcome.whole);
    assert_eq!(outcome.trailers, [("x-behind".to_owned(), "it".to_owned())]);
    assert_eq!(upstream.the("/both").body.bytes, b"late");
}

#[test]
fn answers_without_a_body_are_as_in_http_1() {
    let upstream = Recorder::with(|exchange| {
        match (exchange.request.method.as_str(), exchange.request.target.as_str()) {
            ("HEAD", _) => exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
            (_, "/204") => exchange.send("HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
            (_, "/304") => exchange.send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n"),
            (_, "/405") => {
                exchange.send("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n")
            }
            (_, "/moved") => exchange.send(
                "HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nKeep-Alive: x\r\nConnection: X-Gone\r\nX-Gone: 1\r\n\r\n",
            ),
            (_, "/103") => exchange
                .send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            _ => return exchange.reply(200, "ok"),
        }
        Then::Next
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let stream = client.request(&pseudo("HEAD", "/head"), true);
    let head = client.outcome(stream);
    assert_eq!((head.status, head.one("content-length"), head.body.len()), (200, Some("1234"), 0));
    assert!(head.whole);
    let got = client.get("/204", &[]);
    assert_eq!((got.status, got.one("x-a"), got.one("content-length"), got.whole), (204, Some("b"), None, true));
    let got = client.get("/304", &[]);
    assert_eq!((got.status, got.one("content-length"), got.body.len(), got.whole), (304, Some("77"), 0, true));
    let got = client.get("/405", &[]);
    assert_eq!((got.status, got.one("allow"), got.whole), (405, Some("GET"), true));
    let got = client.get("/moved", &[]);
    assert!(got.status == 301 && got.one("keep-alive").is_none() && got.one("x-gone").is_none(), "{got:?}");
    assert_eq!(client.get("/103", &[]).body, b"ok");
    let stream = client.request(&pseudo("HEAD", "/api/internal/x"), true);
    let refused = client.outcome(stream);
    assert_eq!((refused.status, refused.body.len(), refused.whole), (401, 0, true));
    let stream = client.request(&pseudo("OPTIONS", "*"), true);
    assert_eq!(client.outcome(stream).status, 200);
    assert_eq!(upstream.requests().iter().filter(|request| request.target == "*").count(), 1);
}

#[test]
fn an_answer_that_breaks_off_is_never_a_clean_end() {
    let upstream = Recorder::with(|exchange| match exchange.request.target.as_str() {
        "/sized" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            Then::Close
        }
        "/chunked" => {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            Then::Close
        }
        "/reset" => {
            exchange.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
            Then::Reset
        }
        "/bad-chunk" => {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n+3\r\nabc\r\n0\r\n\r\n");
            Then::Close
        }
        "/garbage" => {
            exchange.send("nonsense\r\n\r\n");
            Then::Close
        }
        "/nothing" => Then::Close,
        "/until-end" => {
            exchange.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
            Then::Close
        }
        _ => exchange.reply(200, "ok"),
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    for path in ["/sized", "/chunked", "/reset", "/bad-chunk"] {
        let outcome = client.get(path, &[]);
        assert!(outcome.reset.is_some() && !outcome.whole, "{path}: {outcome:?}");
    }
    for (path, code) in [("/garbage", "upstream_invalid_answer"), ("/nothing", "upstream_closed")] {
        let stream = client.request(&pseudo("POST", path), true);
        let outcome = client.outcome(stream);
        assert_eq!((outcome.status, outcome.one("x-countersign-error")), (502, Some(code)), "{outcome:?}");
    }
    let outcome = client.get("/until-end", &[]);
    assert_eq!((outcome.whole, outcome.body.as_slice()), (true, &b"until the end"[..]));
    assert_eq!(client.get("/good", &[]).status, 200, "the connection goes on");
}

#[test]
fn an_upload_that_is_refused_or_answered_early_is_told_to_stop() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let stream = client.request(&pseudo("POST", "/api/internal/upload"), false);
    client.send(frame(DATA, 0, stream, &[b'u'; 10_000]));
    let outcome = client.outcome(stream);
    assert_eq!((outcome.status, outcome.reason().as_str()), (401, "missing_signature"));
    while client.so_far(stream).reset.is_none() {
        assert!(client.turn().unwrap());
    }
    assert_eq!(client.so_far(stream).reset, Some(0), "NO_ERROR");
    assert_eq!(client.get("/good", &[]).status, 200);
    assert!(upstream.requests().iter().all(|request| !request.target.contains("internal")));
}

#[test]
fn a_client_that_waits_for_100_gets_it_when_the_upstream_says_so() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.fields.has("expect") {
            exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        match exchange.body() {
            Ok(_) => exchange.reply(200, "ok"),
            Err(_) => Then::Close,
        }
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let fields = [&pseudo("POST", "/wait")[..], &[("expect", "100-continue"), ("content-length", "4")]].concat();
    let stream = client.request(&fields, false);
    while client.so_far(stream).status != 100 {
        assert!(client.turn().unwrap(), "{:?}", client.so_far(stream));
    }
    client.send(frame(DATA, END_STREAM, stream, b"body"));
    assert_eq!(client.outcome(stream).status, 200);
    assert_eq!(upstream.the("/wait").body.bytes, b"body");
}

#[test]
fn a_slow_reader_holds_back_the_upstream_and_memory_stays_small() {
    let parts = count(64, 1_000);
    let upstream = Recorder::with(move |exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", parts * 1_000_000));
        let part = vec![b'z'; 1_000_000];
        for _ in 0..parts {
            exchange.send(&part);
        }
        Then::Close
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    assert_eq!(client.get("/api/internal", &[]).status, 401);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.process.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    // Ten large answers that nobody reads on.
    let streams: Vec<u32> = (0..10).map(|_| client.request(&pseudo("GET", "/huge"), true)).collect();
    for stream in &streams {
        client.head(*stream);
    }
    eventually("requests in flight", || {
        (sidecar.metric("countersign_requests_in_flight", &[]) == 10.0).then_some(())
    });
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
    assert_eq!(client.outcome(streams[0]).body.len(), parts * 1_000_000, "one that is read comes whole");
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} KiB more");
}
