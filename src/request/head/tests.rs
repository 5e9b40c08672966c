//! Heads that read one way, and heads that do not.

use super::*;

const LIMITS: HeadLimits = HeadLimits { head: 64 * 1024, target: 16 * 1024, fields: 100 };

fn parse(text: &str) -> Result<RequestHead, HeadFault> {
    RequestHead::parse(text.as_bytes(), &LIMITS)
}

fn with(lines: &str) -> Result<RequestHead, HeadFault> {
    parse(&format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"))
}

#[test]
fn a_plain_head_is_read() {
    let head = parse("GET /a/b?c=d HTTP/1.1\r\nHost: example.org:80\r\nX-A:  v \t\r\n\r\n").unwrap();
    assert_eq!((head.method(), head.path(), head.query()), ("GET", "/a/b", Some("c=d")));
    assert_eq!(head.host(), Some("example.org:80"));
    assert_eq!(head.framing(), Framing::None);
    assert!(head.keep_alive());
    assert_eq!(head.fields().nth(1), Some((&b"X-A"[..], &b"v"[..])));
}

#[test]
fn every_shorter_prefix_is_refused() {
    let whole = "GET /a HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n";
    for end in 0..whole.len() {
        assert!(parse(&whole[..end]).is_err(), "{:?}", &whole[..end]);
    }
}

#[test]
fn request_lines_that_servers_read_differently_are_refused() {
    for (line, fault) in [
        ("GET /", HeadFault::RequestLine),
        ("GET  / HTTP/1.1", HeadFault::RequestLine),
        ("GET /  HTTP/1.1", HeadFault::RequestLine),
        ("GET / HTTP/1.1 ", HeadFault::RequestLine),
        (" GET / HTTP/1.1", HeadFault::RequestLine),
        ("GET\t/ HTTP/1.1", HeadFault::Method),
        ("GET /\tHTTP/1.1", HeadFault::RequestLine),
        ("GE(T / HTTP/1.1", HeadFault::Method),
        ("GET / HTTP/1.2", HeadFault::Version),
        ("GET / HTTP/2.0", HeadFault::Version),
        ("PRI * HTTP/2.0", HeadFault::Version),
        ("GET / http/1.1", HeadFault::RequestLine),
        ("GET / HTTP/1.1\r", HeadFault::Version),
        ("GET http://a/ HTTP/1.1", HeadFault::TargetForm),
        ("GET a HTTP/1.1", HeadFault::TargetForm),
        ("GET * HTTP/1.1", HeadFault::TargetForm),
        ("GET /a#b HTTP/1.1", HeadFault::TargetByte),
        ("GET /a?b#c HTTP/1.1", HeadFault::TargetByte),
        ("GET /caf\u{e9} HTTP/1.1", HeadFault::TargetByte),
        ("GET /a\u{1}b HTTP/1.1", HeadFault::TargetByte),
        ("GET /a\u{7f} HTTP/1.1", HeadFault::TargetByte),
        ("GET /<a HTTP/1.1", HeadFault::TargetByte),
        ("GET /a> HTTP/1.1", HeadFault::TargetByte),
        ("GET /`a HTTP/1.1", HeadFault::TargetByte),
        ("CONNECT a:80 HTTP/1.1", HeadFault::Connect),
    ] {
        assert_eq!(parse(&format!("{line}\r\nHost: a\r\n\r\n")).err(), Some(fault), "{line:?}");
    }
    for line in [
        "GET /a\"b HTTP/1.1",
        "GET /?<> HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET //evil/ HTTP/1.1",
        "M-X /{}|^ HTTP/1.1",
    ] {
        assert!(parse(&format!("{line}\r\nHost: a\r\n\r\n")).is_ok(), "{line:?}");
    }
}

#[test]
fn framing_that_could_be_read_two_ways_is_refused() {
    for (lines, fault) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", HeadFault::LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", HeadFault::LengthAndEncoding),
        ("Content-Length: 3\r\nContent-Length: 3", HeadFault::ContentLength),
        ("Content-Length: 3, 3", HeadFault::ContentLength),
        ("Content-Length: +3", HeadFault::ContentLength),
        ("Content-Length: -3", HeadFault::ContentLength),
        ("Content-Length: 0x3", HeadFault::ContentLength),
        ("Content-Length: 3 3", HeadFault::ContentLength),
        ("Content-Length:", HeadFault::ContentLength),
        ("Content-Length: 18446744073709551616", HeadFault::ContentLength),
        ("Transfer-Encoding: gzip, chunked", HeadFault::TransferEncoding),
        ("Transfer-Encoding: chunked, chunked", HeadFault::TransferEncoding),
        ("Transfer-Encoding: identity", HeadFault::TransferEncoding),
        ("Transfer-Encoding: xchunked", HeadFault::TransferEncoding),
        ("Transfer-Encoding: chunked;q=0", HeadFault::TransferEncoding),
        ("Transfer-Encoding: \u{b}chunked", HeadFault::FieldValue),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", HeadFault::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", HeadFault::TransferEncoding),
        ("Transfer-Encoding:", HeadFault::TransferEncoding),
        ("Transfer-Encoding : chunked", HeadFault::FieldName),
        (" Transfer-Encoding: chunked", HeadFault::FoldedLine),
        ("A: b\r\n c", HeadFault::FoldedLine),
        ("A: b\nContent-Length: 3", HeadFault::BareLineEnd),
        ("A: b\rContent-Length: 3", HeadFault::FieldValue),
        ("A: b\0", HeadFault::FieldValue),
        (": b", HeadFault::FieldName),
        ("A", HeadFault::FieldName),
    ] {
        assert_eq!(with(lines).err(), Some(fault), "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(old).err(), Some(HeadFault::TransferEncoding));
    assert_eq!(with("Content-Length: 12").unwrap().framing(), Framing::Length(12));
    assert_eq!(with("Content-Length: 0").unwrap().framing(), Framing::None);
    assert_eq!(with("transfer-encoding: Chunked").unwrap().framing(), Framing::Chunked);
}

#[test]
fn a_host_is_single_and_a_host() {
    for (host, fault) in [
        ("", HeadFault::HostMissing),
        ("Host: a\r\nHost: a\r\n", HeadFault::HostRepeated),
        ("Host:\r\n", HeadFault::HostMalformed),
        ("Host: a/b\r\n", HeadFault::HostMalformed),
        ("Host: a?b\r\n", HeadFault::HostMalformed),
        ("Host: a b\r\n", HeadFault::HostMalformed),
        ("Host: u@a\r\n", HeadFault::HostMalformed),
        ("Host: a, b\r\n", HeadFault::HostMalformed),
        ("Host: a:b\r\n", HeadFault::HostMalformed),
        ("Host: a:80:80\r\n", HeadFault::HostMalformed),
        ("Host: [::1\r\n", HeadFault::HostMalformed),
        ("Host: [g]\r\n", HeadFault::HostMalformed),
        ("Host: [::1]x\r\n", HeadFault::HostMalformed),
        ("Host: http://a\r\n", HeadFault::HostMalformed),
        ("Host: caf\u{e9}\r\n", HeadFault::HostMalformed),
    ] {
        assert_eq!(parse(&format!("GET / HTTP/1.1\r\n{host}\r\n")).err(), Some(fault), "{host:?}");
    }
    for host in ["a", "a:80", "172.16.168.20:8001", "[::1]", "[::1]:8001", "a_b.example", "a:"] {
        assert!(parse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok(), "{host:?}");
    }
    assert_eq!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().host(), None);
}

#[test]
fn limits_are_told_apart() {
    let small = HeadLimits { head: 200, target: 20, fields: 2 };
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20));
    assert_eq!(RequestHead::parse(long.as_bytes(), &small).err(), Some(HeadFault::TargetTooLong));
    assert_eq!(early_fault(&[b'a'; 200], &small, TargetForms::Path), Err(HeadFault::TargetTooLong));
    let many = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n";
    assert_eq!(RequestHead::parse(many.as_bytes(), &small).err(), Some(HeadFault::TooManyFields));
    let big = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(200));
    assert_eq!(RequestHead::parse(big.as_bytes(), &small).err(), Some(HeadFault::HeadTooLong));
}

#[test]
fn what_cannot_become_a_head_is_told_early() {
    assert_eq!(early_fault(b"GET /\r\n", &LIMITS, TargetForms::Path), Err(HeadFault::RequestLine));
    assert_eq!(early_fault(b"\x16\x03\x01", &LIMITS, TargetForms::Path), Err(HeadFault::RequestLine));
    assert_eq!(early_fault(b"\r\n", &LIMITS, TargetForms::Path), Err(HeadFault::RequestLine));
    assert_eq!(early_fault(b"GET / HTTP/1.1\n", &LIMITS, TargetForms::Path), Err(HeadFault::BareLineEnd));
    assert_eq!(early_fault(b"GET / HT", &LIMITS, TargetForms::Path), Ok(()));
}

#[test]
fn the_end_of_a_head_is_found_however_it_is_cut() {
    let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    for cut in 0..whole.len() {
        let expected = (cut >= 27).then_some(27);
        assert_eq!(find_end(&whole[..cut], 0), Ok(expected));
        assert_eq!(find_end(whole, cut.min(26)), Ok(Some(27)));
    }
    for bare in ["\r\n", "A\n", "A\r\nHost: a\n\n", "A\r\n\r\r\n", "A\r\nX: a\rb\r\n", "A\r\nX: a\r\r", "\n"] {
        for cut in 0..bare.len() {
            let found = find_end(&bare.as_bytes()[..cut], 0).and_then(|_| find_end(bare.as_bytes(), cut));
            assert_eq!(found, Err(HeadFault::BareLineEnd), "{bare:?} cut at {cut}");
        }
    }
}

#[test]
fn connection_options_are_read() {
    assert!(!with("Connection: Close").unwrap().keep_alive());
    assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive());
    assert!(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().keep_alive());
    assert!(with("Connection: keep-alive, Upgrade\r\nUpgrade: websocket").unwrap().is_upgrade());
    assert!(!with("Connection: Upgrade\r\nUpgrade: h2c").unwrap().is_upgrade());
    assert!(!with("Upgrade: websocket").unwrap().is_upgrade());
    assert!(!with("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1").unwrap().is_upgrade());
    assert!(with("Content-Length: 1\r\nExpect: 100-Continue").unwrap().expects_continue());
    assert!(!with("Expect: 100-continue").unwrap().expects_continue());
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 0x9e37_79b9_u32;
    let alphabet = b"GET / HTTP/1.1\r\n:\0\x80AHost: chunked,;0123456789abcdef";
    for _ in 0..50_000 {
        let mut text = Vec::new();
        for _ in 0..(seed % 60) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push(alphabet[(seed >> 16) as usize % alphabet.len()]);
        }
        seed = seed.wrapping_add(1);
        let _ = RequestHead::parse(&text, &LIMITS);
        let mut chunks = super::super::framing::ChunkReader::default();
        let _ = chunks.step(&text);
    }
}

fn outbound(text: &str) -> Result<RequestHead, HeadFault> {
    RequestHead::parse_as(text.as_bytes(), &LIMITS, TargetForms::Any)
}

#[test]
fn where_any_form_is_served_a_url_is_taken_apart_and_its_path_stays_as_it_came() {
    for (line, target, path, query) in [
        ("GET /a%2Fb?c", Target::Path, "/a%2Fb", Some("c")),
        ("OPTIONS *", Target::Path, "*", None),
        ("GET http://a:80/b%2f?c?d", Target::Url { https: false, authority: "a:80" }, "/b%2f", Some("c?d")),
        ("GET HTTPS://A//b", Target::Url { https: true, authority: "A" }, "//b", None),
        ("GET http://a", Target::Url { https: false, authority: "a" }, "/", None),
        ("GET http://a?b=/", Target::Url { https: false, authority: "a" }, "/", Some("b=/")),
        ("OPTIONS http://a", Target::Url { https: false, authority: "a" }, "*", None),
        ("OPTIONS http://a/", Target::Url { https: false, authority: "a" }, "/", None),
        ("GET http://u@a/", Target::Url { https: false, authority: "u@a" }, "/", None),
        ("CONNECT a:443", Target::Tunnel("a:443"), "/", None),
    ] {
        let head = outbound(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!((head.target(), head.path(), head.query()), (target, path, query), "{line}");
    }
}

#[test]
fn where_any_form_is_served_what_is_no_url_is_refused_and_its_path_is_as_strict() {
    for (line, fault) in [
        ("GET ftp://a/", HeadFault::TargetForm),
        ("GET http:/a/", HeadFault::TargetForm),
        ("GET http:///b", HeadFault::TargetForm),
        ("GET http://", HeadFault::TargetForm),
        ("GET a:80", HeadFault::TargetForm),
        ("GET *", HeadFault::TargetForm),
        ("GET http://a/b#c", HeadFault::TargetByte),
        ("GET http://a/<b", HeadFault::TargetByte),
        ("GET http://caf\u{e9}/", HeadFault::TargetByte),
        ("CONNECT a\u{1}:80", HeadFault::TargetByte),
    ] {
        assert_eq!(outbound(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).err(), Some(fault), "{line}");
    }
    let with_body = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(outbound(with_body).err(), Some(HeadFault::Connect));
    assert_eq!(outbound("GET /a HTTP/1.1\r\n\r\n").err(), Some(HeadFault::HostMissing));
    assert_eq!(outbound("GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n").err(), Some(HeadFault::HostMalformed));
    assert_eq!(outbound("GET /a HTTP/1.1\r\nHost:\r\n\r\n").unwrap().host(), None);
}
