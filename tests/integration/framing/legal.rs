//! The legal neighbours of what is refused: they pass, and reach the upstream in one strict form.

use super::super::support::raw::{Client, exchange};
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::Builder;
use super::{Row, bytes};

/// With what the upstream must get as a body.
const BODIES: &[(&str, &[u8], &str)] = &[
    ("a length", b"Content-Length: 3~~abc", "abc"),
    ("a length of zero", b"Content-Length: 0~~", ""),
    ("a length between spaces", b"Content-Length: \t 3 \t~~abc", "abc"),
    ("a length in other case", b"cOnTeNt-LeNgTh: 3~~abc", "abc"),
    ("chunks", b"Transfer-Encoding: chunked~~3~abc~2~de~0~~", "abcde"),
    ("chunks in other case", b"transfer-encoding: CHUNKED~~3~abc~0~~", "abc"),
    ("chunks of nothing", b"Transfer-Encoding: chunked~~0~~", ""),
    ("chunk size in upper case", b"Transfer-Encoding: chunked~~A~0123456789~0~~", "0123456789"),
    ("chunk size in lower case", b"Transfer-Encoding: chunked~~a~0123456789~0~~", "0123456789"),
    ("chunk size with leading zeros", b"Transfer-Encoding: chunked~~0003~abc~000~~", "abc"),
    ("a chunk extension", b"Transfer-Encoding: chunked~~3;name=value~abc~0~~", "abc"),
    ("a quoted chunk extension", b"Transfer-Encoding: chunked~~3;a=\"b;c\"~abc~0;last~~", "abc"),
    ("a chunk extension without value", b"Transfer-Encoding: chunked~~3;a~abc~0~~", "abc"),
    (
        "a body that looks like a request",
        b"Content-Length: 24~~GET /x HTTP/1.1~Host: b~~",
        "GET /x HTTP/1.1\r\nHost: b",
    ),
];

/// Heads that are unusual and legal; the path holds the mark `legal`.
const HEADS: &[Row] = &[
    ("an unknown method", b"FROBNICATE /legal HTTP/1.1~Host: b~~"),
    ("a lower-case method", b"get /legal HTTP/1.1~Host: b~~"),
    ("a method of token characters", b"M-SEARCH /legal HTTP/1.1~Host: b~~"),
    ("an empty value", b"GET /legal HTTP/1.1~Host: b~X-Empty:~~"),
    ("no space behind the colon", b"GET /legal HTTP/1.1~Host:b~~"),
    ("a tab in a value", b"GET /legal HTTP/1.1~Host: b~X: a\tb~~"),
    ("UTF-8 in a value", b"GET /legal HTTP/1.1~Host: b~X: caf\xc3\xa9~~"),
    ("a name of token characters", b"GET /legal HTTP/1.1~Host: b~X!#$%&'*+-.^_`|: a~~"),
    ("Host with a port", b"GET /legal HTTP/1.1~Host: b:8001~~"),
    ("Host of an IPv4 address", b"GET /legal HTTP/1.1~Host: 127.0.0.1:8001~~"),
    ("Host of an IPv6 address", b"GET /legal HTTP/1.1~Host: [::1]:8001~~"),
    ("Host with an underscore", b"GET /legal HTTP/1.1~Host: main_backend~~"),
    ("a pipe in the path", b"GET /legal|x HTTP/1.1~Host: b~~"),
    ("braces in the path", b"GET /legal/{id} HTTP/1.1~Host: b~~"),
    ("brackets in the path", b"GET /legal[1] HTTP/1.1~Host: b~~"),
    ("a quote in the path", b"GET /legal\"x HTTP/1.1~Host: b~~"),
    ("a backslash in the path", b"GET /legal\\x HTTP/1.1~Host: b~~"),
    ("a caret in the path", b"GET /legal^x HTTP/1.1~Host: b~~"),
    ("an empty query", b"GET /legal? HTTP/1.1~Host: b~~"),
    ("two question marks", b"GET /legal??a=b HTTP/1.1~Host: b~~"),
    ("an encoded fragment", b"GET /legal%23x HTTP/1.1~Host: b~~"),
    ("an encoded NUL", b"GET /legal%00 HTTP/1.1~Host: b~~"),
    ("an address in the query", b"GET /legal?u=http://a/b HTTP/1.1~Host: b~~"),
    ("an escape that is none", b"GET /legal%zz HTTP/1.1~Host: b~~"),
    ("two slashes first", b"GET //legal HTTP/1.1~Host: b~~"),
    ("OPTIONS of everything", b"OPTIONS * HTTP/1.1~Host: b~X: legal~~"),
    ("GET with a body", b"GET /legal HTTP/1.1~Host: b~Content-Length: 3~~abc"),
    ("DELETE with chunks", b"DELETE /legal HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3~abc~0~~"),
    ("HTTP/1.0 with Host", b"GET /legal HTTP/1.0~Host: b~~"),
    ("HTTP/1.0 without Host", b"GET /legal HTTP/1.0~~"),
];

#[test]
fn legal_bodies_reach_the_upstream_whole_and_framed_once() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    for (number, (name, row, body)) in BODIES.iter().enumerate() {
        let mark = format!("/legal-{number}");
        client.send([format!("POST {mark} HTTP/1.1\r\nHost: b\r\n").as_bytes(), &bytes(row)].concat());
        assert_eq!(client.answer().status, 200, "{name}");
        let request = upstream.the(&mark);
        assert_eq!(String::from_utf8_lossy(&request.body.bytes), *body, "{name}");
        let framed = request.fields.all("content-length").len() + request.fields.all("transfer-encoding").len();
        assert_eq!(framed, 1, "{name}: {:?}", request.fields);
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

#[test]
fn legal_heads_reach_the_upstream_with_their_target_unchanged() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for (name, row) in HEADS {
        let row = bytes(row);
        let answer = exchange(sidecar.address, &row);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let request = upstream.marked("legal").pop().unwrap();
        let sent = String::from_utf8_lossy(&row);
        let mut words = sent.split(' ');
        assert_eq!(request.method, words.next().unwrap(), "{name}");
        assert_eq!(request.target, words.next().unwrap(), "{name}");
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

#[test]
fn values_and_the_spelling_of_names_pass_unchanged_and_in_order() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    exchange(
        sidecar.address,
        "GET /spelling HTTP/1.1\r\nHost: Backend.TEST:80\r\nX-One: 1\r\nx-TWO:  two words \r\nX-One: another\r\nCookie: a=b; c=\"d\"\r\nUser-Agent: x/1 (y; z)\r\n\r\n",
    );
    let request = upstream.the("/spelling");
    let ours = ["x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "connection"];
    let theirs: Vec<_> =
        request.fields.0.iter().filter(|(name, _)| !ours.contains(&name.to_ascii_lowercase().as_str())).collect();
    let expected = [
        ("Host", "Backend.TEST:80"),
        ("X-One", "1"),
        ("x-TWO", "two words"),
        ("X-One", "another"),
        ("Cookie", "a=b; c=\"d\""),
        ("User-Agent", "x/1 (y; z)"),
    ];
    assert_eq!(theirs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).iter().collect::<Vec<_>>());
}

#[test]
fn requests_in_one_packet_are_answered_one_by_one_and_a_bad_one_ends_the_row() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    let good = |n: usize| format!("POST /row-{n} HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nbody");
    let row: String = (0..20).map(good).collect();
    client.send(format!("{row}GET /bad HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\n{}", good(21)));
    for _ in 0..20 {
        assert_eq!(client.answer().status, 200);
    }
    super::assert_refused(&client.answer(), 400, "malformed_request");
    assert_ne!(client.end(), super::End::Bytes);
    assert_eq!(upstream.marked("/row-").len(), 20);
    assert!(upstream.marked("/bad").is_empty() && upstream.marked("/row-21").is_empty());
}
