//! Heads as the other side gets them.

use super::*;
use crate::request::head::HeadLimits;

const LIMITS: HeadLimits = HeadLimits { head: 65536, target: 16384, fields: 100 };

fn upstream() -> Upstream {
    Upstream::http("127.0.0.1", 18001)
}

fn known(upstream: &Upstream, trusted: bool) -> Known<'_> {
    let reached = Some(Reached { scheme: "http", authority: Some("a.example:8001") });
    let says = Says::Caller { client: "203.0.113.9", scheme: "http", service: None, trusted };
    Known { request_id: "id-1", upstream, reached, says }
}

fn head(text: &str) -> RequestHead {
    RequestHead::parse(text.as_bytes(), &LIMITS).unwrap()
}

fn sent(text: &str, trusted: bool) -> String {
    let (upstream, mut out) = (upstream(), Vec::new());
    request_head(&mut out, &head(text), &known(&upstream, trusted));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_head_is_signed_in_its_place_and_anew_when_it_is_sent_again() {
    use crate::signature::key::{ServiceId, ServiceKey};
    let key = ServiceKey::from_text(&"a".repeat(64)).unwrap();
    let signer = Signer { id: ServiceId::parse("test-service").unwrap(), key: key.into() };
    let upstream = Upstream::http("backend.internal", 80);
    let known = Known { request_id: "id-1", upstream: &upstream, reached: None, says: Says::Ourselves(&signer) };
    let text = "POST /api/test HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nX-Service-ID: other\r\nContent-Length: 2\r\n\r\n";
    let (request, mut out) = (head(text), Vec::new());
    let mut place = request_head(&mut out, &request, &known);
    out.extend_from_slice(b"ab");
    let expected = |timestamp: &str, signature: &str| {
        format!(
            "POST /api/test HTTP/1.1\r\nHost: backend.internal\r\nX-Request-ID: id-1\r\nX-Service-ID: test-service\r\n\
             X-Service-Timestamp: {timestamp}\r\nX-Service-Signature: {signature}\r\nContent-Length: 2\r\n\r\nab"
        )
    };
    for seconds in [1, 1_234_567_890] {
        place.sign(&mut out, &request, &signer, seconds);
    }
    let known_answer = "de80db4cb5149e8db2bc61c3bdf7a8ea2b58be7aeca6bf7e988804046fa13403";
    assert_eq!(String::from_utf8(out).unwrap(), expected("1234567890", known_answer));
}

const OURS: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\nX-Request-ID: id-1\r\n";

#[test]
fn a_request_goes_up_byte_for_byte_but_for_what_is_ours() {
    let text =
        "GET /a%2Fb/..;x?q=\"<> HTTP/1.1\r\nHost: a.example\r\nx-MiXed: V\r\nAccept: */*\r\nX-Service-ID: me\r\n\r\n";
    let expected = format!(
        "GET /a%2Fb/..;x?q=\"<> HTTP/1.1\r\nHost: a.example\r\nx-MiXed: V\r\nAccept: */*\r\nX-Service-ID: me\r\n{OURS}\r\n"
    );
    assert_eq!(sent(text, false), expected);
}

#[test]
fn nothing_from_outside_can_claim_what_only_we_may_say() {
    let text = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Authenticated-Service: root\r\nx_authenticated_service: root\r\n\
        X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Prefix: /x\r\n\
        Forwarded: for=1.2.3.4\r\nX-Override-Token: t\r\nX.Service.ID: root\r\nX-Request-ID: bad id\r\nKeep-Alive: 1\r\n\
        Proxy-Connection: x\r\nHTTP2-Settings: x\r\nX-Original-URL: /b\r\n\r\n";
    assert_eq!(sent(text, false), format!("GET / HTTP/1.1\r\nHost: a.example\r\n{OURS}\r\n"));
}

#[test]
fn a_trusted_proxy_s_chain_is_kept() {
    let text = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n";
    let out = sent(text, true);
    assert!(
        out.contains("X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n"),
        "{out}"
    );
    assert!(!out.contains("203.0.113.9"));
}

#[test]
fn connection_removes_what_it_names_but_never_a_claim() {
    let text = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: X-A, x-service-id, x-authenticated-service, close\r\n\
        X-A: gone\r\nX-Service-ID: me\r\n\r\n";
    assert_eq!(sent(text, false), format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Service-ID: me\r\n{OURS}\r\n"));
}

#[test]
fn framing_is_written_anew() {
    let post = |lines: &str| sent(&format!("POST / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n\r\n"), false);
    assert!(post("Content-Length: 007").ends_with("Content-Length: 7\r\n\r\n"));
    assert!(post("content-length: 0").ends_with("Content-Length: 0\r\n\r\n"));
    assert!(
        post("Transfer-Encoding: Chunked\r\nTrailer: X-Sum, X-Service-ID, Host")
            .ends_with("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
    );
    assert!(!post("A: b").contains("ontent-"));
    assert!(post("TE: trailers, deflate").contains("Connection: TE\r\nTE: trailers\r\n"));
    assert!(
        post("Upgrade: websocket\r\nConnection: Upgrade").contains("Connection: Upgrade\r\nUpgrade: websocket\r\n")
    );
    assert!(!post("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings").contains("pgrade"));
    let old = sent("GET /a HTTP/1.0\r\n\r\n", false);
    assert!(
        old.starts_with("GET /a HTTP/1.1\r\nHost: 127.0.0.1:18001\r\n") && !old.contains("X-Forwarded-Host"),
        "{old}"
    );
}

fn answered(lines: &str, request: &str, keep: bool) -> String {
    let text = format!("HTTP/1.1 {lines}\r\n\r\n");
    let request = head(request);
    let answer = AnswerHead::parse(text.as_bytes(), request.method() == "HEAD").unwrap();
    let written_as = match answer.length() {
        BodyLength::Chunked | BodyLength::UntilEnd => WrittenAs::Chunked,
        BodyLength::None | BodyLength::Exactly(_) => WrittenAs::Plain,
    };
    let (upstream, mut out) = (upstream(), Vec::new());
    answer_head(&mut out, &answer, &request, &known(&upstream, false), written_as, keep);
    String::from_utf8(out).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example:8001\r\n\r\n";

#[test]
fn a_protocol_that_was_not_asked_for_is_not_switched_to() {
    let request = |upgrade: &str| {
        head(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"))
    };
    let answer = |lines: &str| AnswerHead::parse(format!("HTTP/1.1 101 S\r\n{lines}\r\n").as_bytes(), false).unwrap();
    assert!(is_asked_for(&answer("Upgrade: WebSocket\r\n"), &request("websocket")));
    assert!(is_asked_for(&answer("Upgrade: b\r\n"), &request("a, b")));
    for (chosen, asked) in [("Upgrade: h2c\r\n", "websocket"), ("Upgrade: a, c\r\n", "a, b"), ("", "websocket")] {
        assert!(!is_asked_for(&answer(chosen), &request(asked)), "{chosen} {asked}");
    }
    assert!(!is_asked_for(&answer("Upgrade: h2c\r\n"), &request("h2c, websocket")));
    assert!(!is_asked_for(&answer("Upgrade: a\r\n"), &head(GET)));
}

#[test]
fn an_answer_comes_down_as_it_is_but_for_its_framing() {
    assert_eq!(
        answered(
            "200 Fine\r\nsErver: x\r\nContent-Length: 2\r\nConnection: X-A\r\nX-A: 1\r\nX-Countersign-Error: no",
            GET,
            true
        ),
        "HTTP/1.1 200 Fine\r\nsErver: x\r\nX-Request-ID: id-1\r\nContent-Length: 2\r\n\r\n"
    );
    assert_eq!(
        answered("200 OK\r\nTrailer: grpc-status, Set-Cookie\r\nTransfer-Encoding: chunked", GET, false),
        "HTTP/1.1 200 OK\r\nX-Request-ID: id-1\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\nConnection: close\r\n\r\n"
    );
    let to_head = "HEAD / HTTP/1.1\r\nHost: a.example:8001\r\n\r\n";
    assert!(answered("200 OK\r\nContent-Length: 9", to_head, true).contains("Content-Length: 9\r\n"));
    assert!(!answered("204 No Content\r\nContent-Length: 9", GET, true).contains("Content-Length"));
    assert!(
        answered("200 OK\r\nContent-Length: 1", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true)
            .contains("Connection: keep-alive\r\n")
    );
}

#[test]
fn a_redirect_to_the_inner_address_leads_to_the_outer_one() {
    for (given, expected) in [
        ("http://127.0.0.1:18001/x?y", "http://a.example:8001/x?y"),
        ("HTTP://127.0.0.1:18001", "http://a.example:8001/"),
        ("http://localhost:18001/x", "http://a.example:8001/x"),
        ("//127.0.0.1:18001/x", "http://a.example:8001/x"),
        ("http://127.0.0.1/x", "http://127.0.0.1/x"),
        ("http://127.0.0.1:18002/x", "http://127.0.0.1:18002/x"),
        ("http://elsewhere:18001/x", "http://elsewhere:18001/x"),
        ("https://127.0.0.1:18001/x", "http://a.example:8001/x"),
        ("ftp://127.0.0.1:18001/x", "ftp://127.0.0.1:18001/x"),
        ("/x//127.0.0.1:18001/", "/x//127.0.0.1:18001/"),
        ("/x", "/x"),
        ("http://127.0.0.1:18001@evil/x", "http://127.0.0.1:18001@evil/x"),
    ] {
        let out = answered(&format!("307 R\r\nLocation: {given}\r\nContent-Length: 0"), GET, true);
        assert!(out.contains(&format!("Location: {expected}\r\n")), "{given}: {out}");
    }
}

#[test]
fn a_request_id_is_kept_only_if_single_and_sane() {
    let with = |lines: &str| head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"));
    assert_eq!(given_request_id(&with("X-Request-ID: a.B_c-1")), Some("a.B_c-1"));
    for odd in
        ["X-Request-ID: a b", "X-Request-ID:", "X-Request-ID: a\r\nX-Request-ID: a", "X-Request-ID: \"a\"", "A: b"]
    {
        assert_eq!(given_request_id(&with(odd)), None, "{odd}");
    }
    assert_eq!(given_request_id(&with(&format!("X-Request-ID: {}", "a".repeat(129)))), None);
}
