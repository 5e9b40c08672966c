//! What a destination gets, and what comes back: byte for byte, but for who calls.

use super::super::support::free_address;
use super::super::support::message::Text;
use super::super::support::python::{Parser, Uvicorn};
use super::super::support::raw::{self, Client, exchange};
use super::super::support::recorder::{Recorder, Then};
use super::super::support::refusal::assert_own_failure;
use super::super::support::sidecar::Builder;
use super::{assert_signed, signing};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Targets, and what a signer signs of each.
const TARGETS: [(&str, &str); 15] = [
    ("/api/npu/results/42", "/api/npu/results/42"),
    ("/api/x?task=1&path=%2Fy", "/api/x"),
    ("/a%2Fb", "/a/b"),
    ("/a%3Fb", "/a%3Fb"),
    ("/a%3fb%23c", "/a%3Fb%23c"),
    ("/a%5Cb", "/a%5Cb"),
    ("/a\\b", "/a%5Cb"),
    ("/caf%C3%A9/%E2%82%AC", "/café/€"),
    ("/a%20b+c", "/a b+c"),
    ("/50%25off/50%off", "/50%off/50%off"),
    ("/%ff", "/\u{fffd}"),
    ("//x/../y/./z", "//x/../y/./z"),
    ("/a;b=c:d", "/a;b=c:d"),
    ("/%252F", "/%2F"),
    ("/", "/"),
];

#[test]
fn targets_go_up_byte_for_byte_and_their_decoded_path_is_signed() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    for (place, (target, decoded)) in TARGETS.into_iter().enumerate() {
        for (way, address, line) in [
            ("listener", signing.sidecar.address, target.to_owned()),
            ("proxy", signing.proxy, format!("http://{}{target}", upstream.address)),
        ] {
            let mark = format!("mark-{place}-{way}");
            let request = format!("PUT {line} HTTP/1.1\r\nHost: {}\r\nX-Mark: {mark}\r\n\r\n", upstream.address);
            assert_eq!(exchange(address, request).status, 200, "{target} {way}");
            let seen = upstream.the(&mark);
            assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", target), "{way}");
            assert_eq!(seen.fields.one("host"), Some(upstream.address.to_string().as_str()));
            assert_signed(&seen, decoded);
        }
    }
    assert_eq!(upstream.faults(), [""; 0]);
}

#[test]
fn a_verifier_in_a_python_backend_takes_every_signature() {
    for parser in Parser::BOTH {
        let Some(backend) = Uvicorn::shared(parser) else { return };
        let signing = signing(backend, &[]);
        for (target, decoded) in TARGETS {
            let request = format!("GET /verify{target} HTTP/1.1\r\nHost: {}\r\n\r\n", signing.sidecar.address);
            let answer = exchange(signing.sidecar.address, request);
            let expected = json!({ "path": format!("/verify{decoded}"), "service": "npu-worker", "good": true });
            assert_eq!(answer.json(), expected, "{target} {parser:?}");
        }
    }
}

#[test]
fn who_calls_is_ours_to_say_and_the_rest_is_the_services_own() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    let request = format!(
        "POST /api/x HTTP/1.1\r\nHost: {}\r\nX-Mark: forged\r\nX-Service-ID: ai-stack\r\nX-Service-Timestamp: 1\r\n\
         X-Service-Signature: {}\r\nX_Service_ID: ai-stack\r\nx.service.timestamp: 1\r\nX-Service_Signature: 00\r\n\
         X-Authenticated-Service: root\r\nX_Authenticated_Service: root\r\nX-Override-Token: t\r\nX_Override.Token: t\r\n\
         X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.1.2.3\r\nCookie: a=b\r\n\
         Authorization: Bearer x\r\nx-OdD: Case\r\nConnection: keep-alive, X-Hop, X-Service-ID\r\nX-Hop: gone\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nKeep-Alive: 5\r\nX-Request-ID: its-own.1\r\n\
         Content-Length: 4\r\n\r\nbody",
        signing.sidecar.address,
        "0".repeat(64)
    );
    let answer = exchange(signing.sidecar.address, request);
    assert_eq!((answer.status, answer.fields.one("x-request-id")), (200, Some("its-own.1")));
    let seen = upstream.the("forged");
    assert_signed(&seen, "/api/x");
    let (before, rest) = {
        let head = String::from_utf8(seen.head.clone()).unwrap();
        let (before, rest) = head.split_once("X-Service-ID: ").unwrap();
        (before.to_owned(), rest.to_owned())
    };
    let expected = format!(
        "POST /api/x HTTP/1.1\r\nHost: {}\r\nX-Mark: forged\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\n\
         Forwarded: for=10.1.2.3\r\nCookie: a=b\r\nAuthorization: Bearer x\r\nx-OdD: Case\r\nX-Request-ID: its-own.1\r\n",
        upstream.address
    );
    assert_eq!(before, expected, "{:?}", Text(&seen.head));
    assert_eq!(rest.lines().skip(3).collect::<Vec<_>>(), ["Content-Length: 4", ""]);
    assert_eq!(seen.body.bytes, b"body");
    let record = signing.sidecar.record("its-own.1");
    let destination = upstream.address.to_string();
    for (name, value) in [
        ("direction", "outbound"),
        ("outcome", "allow"),
        ("service", "npu-worker"),
        ("scheme", "hmac-v1"),
        ("client", "127.0.0.1"),
        ("path", "/api/x"),
        ("upstream", destination.as_str()),
    ] {
        assert_eq!(record[name], value, "{record}");
    }
    assert_eq!(record["status"], 200);
    assert!(record["own_us"].is_u64() && record["upstream_us"].is_u64(), "{record}");
    for absent in ["mode", "percentage", "claimed_service", "class", "reason"] {
        assert!(record.get(absent).is_none(), "{absent}: {record}");
    }
}

#[test]
fn a_trailer_cannot_say_who_calls() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    let request = format!(
        "POST /api/x HTTP/1.1\r\nHost: {}\r\nX-Mark: trailer\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, X-Service-ID\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nX-Service-ID: root\r\nX_Authenticated_Service: root\r\n\r\n",
        signing.sidecar.address
    );
    assert_eq!(exchange(signing.sidecar.address, request).status, 200);
    let seen = upstream.the("trailer");
    assert_eq!(seen.body.bytes, b"ab");
    assert_eq!(seen.body.trailers.0, [("X-Sum".to_owned(), "1".to_owned())]);
    assert_eq!(seen.fields.one("trailer"), Some("X-Sum"));
}

#[test]
fn redirects_come_back_with_the_name_the_client_used_and_are_not_followed() {
    let other = Recorder::plain();
    let elsewhere = other.address;
    let upstream = Recorder::with(move |exchange| {
        let own = exchange.request.fields.one("host").unwrap().to_owned();
        let to = match exchange.request.target.as_str() {
            "/own" => format!("http://{own}/next"),
            "/schemeless" => format!("//{own}/next"),
            "/relative" => "/next".to_owned(),
            _ => format!("http://{elsewhere}/next"),
        };
        exchange.send(format!("HTTP/1.1 307 R\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"));
        Then::Next
    });
    let signing = signing(upstream.address, &[]);
    let (listener, destination) = (signing.sidecar.address, upstream.address);
    let localhost = format!("localhost:{}", listener.port());
    for (address, line, host, expected) in [
        (listener, "/own".to_owned(), listener.to_string(), format!("http://{listener}/next")),
        (listener, "/own".to_owned(), localhost.clone(), format!("http://{localhost}/next")),
        (listener, "/own".to_owned(), destination.to_string(), format!("http://{destination}/next")),
        (listener, "/schemeless".to_owned(), listener.to_string(), format!("http://{listener}/next")),
        (listener, "/relative".to_owned(), listener.to_string(), "/next".to_owned()),
        (listener, "/elsewhere".to_owned(), listener.to_string(), format!("http://{elsewhere}/next")),
        (listener, format!("http://{listener}/own"), listener.to_string(), format!("http://{listener}/next")),
        (
            signing.proxy,
            format!("http://{destination}/own"),
            destination.to_string(),
            format!("http://{destination}/next"),
        ),
    ] {
        let answer = exchange(address, format!("GET {line} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((answer.status, answer.fields.one("location")), (307, Some(expected.as_str())), "{line} {host}");
    }
    assert!(other.requests().is_empty() && upstream.requests().len() == 8, "a redirect was followed");
}

#[test]
fn a_destination_that_is_away_or_slow_is_told_from_its_own_answers() {
    let gone = Builder::signing(&format!("http://{}", free_address())).start_alive();
    let answer = exchange(gone.address, format!("POST / HTTP/1.1\r\nHost: {}\r\n\r\n", gone.address));
    assert_eq!(assert_own_failure(&answer, 502), "upstream_unreachable");
    let upstream = Recorder::with(|exchange| exchange.hang());
    let slow = Builder::signing(&format!("http://{}", upstream.address));
    let slow = slow.set("[outbound]", "first_byte", "\"200ms\"").start();
    let answer = exchange(slow.address, format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", slow.address));
    assert_eq!(assert_own_failure(&answer, 504), "upstream_timeout");
    let record = slow.record(answer.fields.one("x-request-id").unwrap());
    assert_eq!((&record["outcome"], &record["status"]), (&json!("allow"), &json!(504)));
}

#[test]
fn what_is_sent_again_is_signed_again() {
    // Each connection dies under its second request.
    let upstream = Recorder::with(|exchange| match exchange.request.place {
        0 => exchange.reply(200, "ok"),
        _ => Then::Reset,
    });
    let signing = Builder::signing(&format!("http://{}", upstream.address)).set("", "workers", "1").start();
    let mut client = Client::connect(signing.address);
    for round in 0..4 {
        client.send(format!("GET /a%2Fb HTTP/1.1\r\nHost: {}\r\nX-Mark: round-{round}\r\n\r\n", signing.address));
        assert_eq!(client.answer().status, 200);
    }
    let all = upstream.requests();
    assert!(all.len() > 4, "nothing was sent again");
    for request in &all {
        assert_signed(request, "/a/b");
    }
}

#[test]
fn several_upstreams_of_one_listener_are_signed_for_alike() {
    let upstreams = [Recorder::plain(), Recorder::plain()];
    let urls: Vec<String> = upstreams.iter().map(|upstream| format!("http://{}", upstream.address)).collect();
    let signing = Builder::signing("").set("[outbound]", "upstream", format!("{urls:?}")).start();
    for round in 0..6 {
        for host in [signing.address, upstreams[0].address, upstreams[1].address] {
            let request = format!("GET /r HTTP/1.1\r\nHost: {host}\r\nX-Mark: {round}\r\n\r\n");
            assert_eq!(exchange(signing.address, request).status, 200, "{host}");
        }
    }
    for upstream in &upstreams {
        let seen = upstream.requests();
        assert!(!seen.is_empty());
        for request in &seen {
            assert_signed(request, "/r");
            assert_eq!(request.fields.one("host"), Some(upstream.address.to_string().as_str()));
        }
    }
}

#[test]
fn a_body_streams_while_the_answer_does_and_100_is_relayed() {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let upstream = Recorder::with(move |exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        let length = exchange.body().map_or(0, |body| body.bytes.len());
        counted.store(length, Ordering::Relaxed);
        exchange.reply(200, length.to_string())
    });
    let signing = signing(upstream.address, &[]);
    let mut client = Client::connect(signing.sidecar.address);
    let body = vec![b'u'; 3_000_000];
    client.send(format!(
        "POST /up HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        signing.sidecar.address,
        body.len()
    ));
    assert_eq!(client.try_head().unwrap().0, 100);
    client.send(&body);
    assert_eq!(client.answer().text(), "3000000");
    assert_signed(&upstream.requests()[0], "/up");
    assert_eq!(count.load(Ordering::Relaxed), body.len());
}

#[test]
fn http_1_0_without_a_host_is_served() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    let answer = raw::exchange(signing.sidecar.address, "GET /old HTTP/1.0\r\nX-Mark: old\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_signed(&upstream.the("old"), "/old");
}
