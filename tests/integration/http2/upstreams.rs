//! HTTP/2 to the upstream: what it gets, what becomes of its answers and failures, how connections are shared.

use super::super::support::h2_server::H2Server;
use super::super::support::raw::{self, Client, exchange, get, get_with};
use super::super::support::recorder::Recorder;
use super::super::support::refusal::assert_own_failure;
use super::super::support::sidecar::{Builder, RULES, Sidecar};
use super::super::support::{KEY_A, eventually, free_address, sign};

fn in_front_of(upstream: &H2Server) -> Sidecar {
    Builder::guarding(upstream.address)
        .set("", "workers", "1")
        .set("inbound", "upstream_http2", "true")
        .unlimited()
        .start()
}

#[test]
fn requests_of_http_1_reach_it_as_streams_of_one_connection() {
    let upstream = H2Server::start(100);
    let sidecar = in_front_of(&upstream);
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/a b");
    let more = format!(
        "X-Any: 1\r\nx-ANY: 2\r\nCookie: a; b\r\nTE: trailers, gzip\r\nConnection: TE, X-Gone\r\nX-Gone: 1\r\n\
         X-Authenticated-Service: root\r\nX_Service_ID: root\r\nKeep-Alive: x\r\n{signed}"
    );
    assert_eq!(get_with(sidecar.address, "/api/internal/a%20b?q=\"<>&r=1", &more).text(), "ok");
    let got = upstream.the("/api/internal");
    assert_eq!(got.uri, "http://backend.test/api/internal/a%20b?q=%22%3C%3E&r=1");
    assert_eq!((got.method.as_str(), got.whole), ("GET", true));
    assert_eq!(
        (got.all("x-any"), got.all("cookie"), got.all("te")),
        (vec!["1", "2"], vec!["a; b"], vec!["trailers"])
    );
    assert_eq!(
        (got.all("x-authenticated-service"), got.all("x-service-id")),
        (vec!["npu-worker"], vec!["npu-worker"])
    );
    for name in ["connection", "keep-alive", "x-gone", "x_service_id", "host", "transfer-encoding"] {
        assert_eq!(got.all(name), Vec::<&str>::new(), "{name}");
    }
    let mut client = Client::connect(sidecar.address);
    for number in 0..20 {
        client.send(format!("GET /many/{number} HTTP/1.1\r\nHost: backend.test\r\n\r\n"));
        assert_eq!(client.answer().text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let upstream = H2Server::start(100);
    let sidecar = in_front_of(&upstream);
    let sized = "POST /sized HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n0123456789";
    assert_eq!(exchange(sidecar.address, sized).text(), "ok");
    let got = upstream.the("/sized");
    assert_eq!((got.body.as_slice(), got.all("content-length"), got.whole), (&b"0123456789"[..], vec!["10"], true));
    let chunked = "POST /trailers HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3;x\r\ndef\r\n0\r\n\
        X-Checksum: 1\r\nX-Service-ID: root\r\n\r\n";
    let answer = exchange(sidecar.address, chunked);
    assert_eq!((answer.status, answer.text().as_str()), (200, "with trailers"));
    assert_eq!(answer.fields.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((answer.body.trailers.one("x-behind"), answer.body.trailers.has("set-cookie")), (Some("it"), false));
    let got = upstream.the("/trailers");
    assert_eq!((got.body.as_slice(), got.whole), (&b"abcdef"[..], true));
    assert_eq!(got.trailers, [("x-checksum".to_owned(), "1".to_owned())]);
    let large = vec![b'l'; 5_000_000];
    let head = format!("POST /large HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n\r\n", large.len());
    assert_eq!(exchange(sidecar.address, [head.as_bytes(), &large].concat()).text(), "ok");
    assert!(upstream.the("/large").body == large);
}

#[test]
fn answers_without_a_body_and_before_the_answer_are_as_in_http_1() {
    let upstream = H2Server::start(100);
    let sidecar = in_front_of(&upstream);
    let head = exchange(sidecar.address, "HEAD /head HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((head.status, head.fields.one("content-length")), (200, Some("77")));
    let got = get(sidecar.address, "/204");
    assert_eq!(
        (got.status, got.fields.has("content-length"), got.fields.has("transfer-encoding")),
        (204, false, false)
    );
    assert_eq!(get(sidecar.address, "/empty").fields.one("content-length"), Some("0"));
    assert_eq!(get(sidecar.address, "/103").text(), "ok");
    assert_eq!(sidecar.metric("countersign_informational_answers_dropped_total", &[]), 1.0);
    let mut client = Client::connect(sidecar.address);
    client.send("POST /100 HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.try_answer("POST").unwrap().status, 100);
    client.send("body");
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(upstream.the("/100").body, b"body");
}

#[test]
fn what_fails_is_told_like_any_failure_of_an_upstream() {
    let upstream = H2Server::start(100);
    let sidecar = in_front_of(&upstream);
    assert_eq!(get(sidecar.address, "/ok").status, 200);
    let post = |path: &str| {
        exchange(sidecar.address, format!("POST {path} HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n"))
    };
    for path in ["/nothing", "/refused"] {
        assert_eq!(assert_own_failure(&post(path), 502), "upstream_closed", "{path}");
    }
    assert_eq!(upstream.seen().iter().filter(|seen| seen.uri.ends_with("/refused")).count(), 1, "never sent again");
    // One whose stream was given up after it was taken is not sent again either, idempotent or not.
    assert_eq!(assert_own_failure(&get(sidecar.address, "/nothing?idempotent"), 502), "upstream_closed");
    assert_eq!(upstream.seen().iter().filter(|seen| seen.uri.ends_with("/nothing?idempotent")).count(), 1);
    // An idempotent one that was refused unseen is sent again, once.
    assert_eq!(get(sidecar.address, "/refused-once").text(), "again");
    assert_eq!(sidecar.metric("countersign_upstream_retries_total", &[]), 1.0);
    let half = get(sidecar.address, "/half");
    assert!(!half.body.complete, "{half:?}");
    let mut client = Client::connect(sidecar.address);
    client.send("POST /early HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\nbegun");
    assert_eq!(client.answer().text(), "enough");
    assert_eq!(get(sidecar.address, "/ok").status, 200);
    assert_eq!(upstream.connections(), 1, "streams fail alone");
}

#[test]
fn a_client_that_is_gone_resets_its_stream_and_a_body_that_breaks_off_never_ends_cleanly() {
    let upstream = H2Server::start(100);
    let sidecar = in_front_of(&upstream);
    let mut client = Client::connect(sidecar.address);
    client.send("POST /cut HTTP/1.1\r\nHost: b\r\nContent-Length: 100\r\n\r\nbegun");
    eventually("the request in flight", || {
        (sidecar.metric("countersign_requests_in_flight", &[]) == 1.0).then_some(())
    });
    drop(client);
    let got = upstream.the("/cut");
    assert!(!got.whole && b"begun".starts_with(&got.body), "{got:?}");
    let mut client = Client::connect(sidecar.address);
    client.send("POST /bad HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
    eventually("the request in flight", || {
        (sidecar.metric("countersign_requests_in_flight", &[]) == 1.0).then_some(())
    });
    client.send("+3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    assert!(!upstream.the("/bad").whole);
}

#[test]
fn a_second_connection_is_opened_when_the_first_is_full() {
    let upstream = H2Server::start(3);
    let sidecar = in_front_of(&upstream);
    assert_eq!(get(sidecar.address, "/ok").status, 200);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(sidecar.address)).collect();
    for client in &mut clients {
        client.send("GET /held HTTP/1.1\r\nHost: b\r\n\r\n");
    }
    eventually("five held", || (upstream.holding() == 5).then_some(()));
    assert_eq!(upstream.connections(), 2);
    upstream.let_go();
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_cold_burst_is_spread_over_as_many_connections_as_it_needs() {
    let upstream = H2Server::start(3);
    let sidecar = in_front_of(&upstream);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(sidecar.address)).collect();
    for client in &mut clients {
        client.send("GET /held HTTP/1.1\r\nHost: b\r\n\r\n");
    }
    eventually("eight held", || (upstream.holding() == 8).then_some(()));
    assert_eq!(upstream.connections(), 3);
    upstream.let_go();
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(sidecar.metric("countersign_upstream_retries_total", &[]), 0.0);
}

#[test]
fn a_new_connection_is_opened_behind_a_goaway() {
    let upstream = H2Server::start(3);
    let sidecar = in_front_of(&upstream);
    assert_eq!(get(sidecar.address, "/go-away").status, 200);
    assert_eq!(upstream.connections(), 1);
    for _ in 0..5 {
        assert_eq!(get(sidecar.address, "/behind").status, 200);
    }
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_answer_that_was_delivered_is_not_cancelled_while_its_stream_ends() {
    let upstream = H2Server::start(100);
    let sidecar = in_front_of(&upstream);
    assert_eq!(
        exchange(sidecar.address, "HEAD /late/200/5 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").status,
        200
    );
    for (path, status) in [("/late/204/", 204), ("/late/304/", 304), ("/late/200/0", 200)] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(sidecar.address, request).status, status, "{path}");
    }
    eventually("the streams to end", || (upstream.ended_late() == 4).then_some(()));
    assert_eq!(upstream.cancelled(), 0);
}

#[test]
fn an_upstream_that_is_not_there_or_does_not_speak_it_is_told_as_such() {
    let nobody = free_address();
    let sidecar = Builder::guarding(nobody).set("inbound", "upstream_http2", "true").start_alive();
    assert_eq!(assert_own_failure(&get(sidecar.address, "/x"), 502), "upstream_unreachable");
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).set("inbound", "upstream_http2", "true").start_alive();
    let answer = raw::get(sidecar.address, "/x");
    assert_eq!(assert_own_failure(&answer, 502), "upstream_closed");
}

#[test]
fn it_is_asked_for_its_health_in_http_2() {
    let upstream = H2Server::start(100);
    let sidecar = Builder::guarding(upstream.address)
        .set("inbound", "upstream_http2", "true")
        .set("inbound", "health", "{ path = \"/api/health\", interval = \"100ms\" }")
        .start();
    let seen = upstream.seen();
    assert!(seen.iter().any(|seen| seen.uri.ends_with("/api/health") && seen.method == "GET"), "{seen:?}");
    assert_eq!(sidecar.metric("countersign_upstream_up", &[]), 1.0);
}

#[test]
fn what_leaves_is_signed_over_http_2_too() {
    let upstream = H2Server::start(100);
    let outbound = free_address();
    let sidecar = Builder::guarding(upstream.address)
        .set("inbound", "upstream_http2", "true")
        .set("service", "id", "\"npu-worker\"")
        .rules(&format!(
            "{RULES}\n[[outbound]]\nlisten = \"{outbound}\"\nupstream = \"http://{}\"\nupstream_http2 = true\n",
            upstream.address
        ))
        .start();
    let request = "POST /api/internal/out?q=1 HTTP/1.1\r\nHost: localhost\r\nX-Service-ID: root\r\nContent-Length: 4\r\n\r\nbody";
    let answer = exchange(outbound, request.replace("localhost", &outbound.to_string()));
    assert_eq!(answer.text(), "ok", "{answer:?} {}", sidecar.config());
    let got = upstream.the("/api/internal/out");
    assert_eq!(got.uri, format!("http://{}/api/internal/out?q=1", upstream.address));
    assert_eq!(got.all("x-service-id"), ["npu-worker"]);
    let stamp: u64 = got.all("x-service-timestamp")[0].parse().unwrap();
    let expected = sign::signature(KEY_A, "npu-worker", "POST", "/api/internal/out", stamp);
    assert_eq!((got.all("x-service-signature"), got.body.as_slice()), (vec![expected.as_str()], &b"body"[..]));
}
