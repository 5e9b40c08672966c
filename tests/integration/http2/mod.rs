//! HTTP/2: what two servers could read differently is refused and never reaches the upstream; what is legal passes, judged
//! as in HTTP/1.1; floods end the connection; gRPC and the clients people have work. Frames are made by hand.

mod calls;
mod floods;
mod life;
mod messages;
mod random;
mod same;
mod upstreams;

use super::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, block, frame, pseudo};
use super::support::message::find;
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, Sidecar};
use std::net::SocketAddr;

/// A sidecar that takes HTTP/2 with prior knowledge.
fn guarding(upstream: SocketAddr) -> Sidecar {
    Builder::guarding(upstream).set("inbound", "h2c", "true").unlimited().start()
}

/// What a row comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// An answer of our own: `malformed_request`, with this status.
    Answer(u16),
    /// The stream is reset, or the connection ended: the frame layer found it malformed first.
    Broken,
}

type Row<'r> = (&'r str, Vec<(&'r str, &'r str)>, Told);

fn rows() -> Vec<Row<'static>> {
    use Told::{Answer, Broken};
    let with = |more: &[(&'static str, &'static str)]| [&pseudo("GET", "/bad")[..], more].concat();
    let authority = |authority: &'static str| {
        vec![(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/bad")]
    };
    let nobody = |more: &[(&'static str, &'static str)]| {
        [&[(":method", "GET"), (":scheme", "http"), (":path", "/bad")][..], more].concat()
    };
    let path = |path: &'static str| pseudo("GET", path).to_vec();
    vec![
        // Where it goes
        ("a user in the authority", authority("u@backend.test"), Answer(400)),
        ("a user and a password", authority("u:p@backend.test"), Answer(400)),
        ("an empty user", authority("@backend.test"), Answer(400)),
        ("a path in the authority", authority("b/api/internal?"), Broken),
        ("an empty authority", authority(""), Broken),
        ("a port too great", authority("b:99999"), Answer(400)),
        ("a host beside the authority that differs", with(&[("host", "evil")]), Answer(400)),
        ("a host beside the authority, equal", with(&[("host", "backend.test")]), Answer(400)),
        ("neither host nor authority", nobody(&[]), Answer(400)),
        ("two hosts", nobody(&[("host", "b"), ("host", "b")]), Answer(400)),
        ("a host with a user", nobody(&[("host", "u@b")]), Answer(400)),
        (
            "a scheme nobody knows",
            [(":method", "GET"), (":scheme", "ftp"), (":authority", "b"), (":path", "/bad")].to_vec(),
            Answer(400),
        ),
        // Targets
        ("a path without slash", path("bad"), Broken),
        ("an asterisk with GET", path("*"), Answer(400)),
        ("an empty path", path(""), Broken),
        ("a query first", path("?bad"), Answer(400)),
        ("an absolute target", path("http://b/bad"), Broken),
        ("bytes over 0x80", path("/bad/caf\u{e9}"), Answer(400)),
        ("a control in the path", path("/bad\x01"), Broken),
        ("a fragment", path("/bad#x"), Answer(400)),
        ("a fragment at once", path("/#bad"), Answer(400)),
        ("a fragment behind a query", path("/bad?x#y"), Answer(400)),
        ("nothing but a fragment", path("#bad"), Answer(400)),
        ("a space in the path", path("/bad x"), Broken),
        ("DEL in the path", path("/bad\x7f"), Broken),
        ("an angle bracket in the path", path("/bad<x"), Broken),
        ("a line end in the path", path("/bad HTTP/1.1\r\nX: y"), Broken),
        // Methods
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "bad:443")], Answer(400)),
        ("extended CONNECT", [&pseudo("CONNECT", "/bad")[..], &[(":protocol", "websocket")]].concat(), Broken),
        ("a method with a space", pseudo("GE T", "/bad").to_vec(), Broken),
        ("an empty method", pseudo("", "/bad").to_vec(), Broken),
        // Pseudo headers
        ("two paths", with(&[(":path", "/worse")]), Broken),
        ("two authorities", with(&[(":authority", "evil")]), Broken),
        ("two methods", with(&[(":method", "POST")]), Broken),
        ("a pseudo header behind a field", with(&[("x", "y"), (":path", "/worse")]), Broken),
        ("a pseudo header nobody knows", with(&[(":bad", "x")]), Broken),
        ("a status in a request", with(&[(":status", "200")]), Broken),
        ("no method", vec![(":scheme", "http"), (":authority", "b"), (":path", "/bad")], Broken),
        ("no scheme", vec![(":method", "GET"), (":authority", "b"), (":path", "/bad")], Broken),
        ("no path", vec![(":method", "GET"), (":scheme", "http"), (":authority", "b")], Broken),
        ("neither path nor authority", vec![(":method", "GET"), (":scheme", "http"), ("host", "b")], Answer(400)),
        // Names and values
        ("an upper-case name", with(&[("X-Bad", "x")]), Broken),
        ("a name with a space", with(&[("x bad", "x")]), Broken),
        ("a name with a line end", with(&[("x: y\r\nx-service-id", "x")]), Broken),
        ("an empty name", with(&[("", "x")]), Broken),
        ("a space before a value", with(&[("x-service-id", " npu-worker")]), Answer(400)),
        ("a space behind a value", with(&[("x-any", "x ")]), Answer(400)),
        ("a tab behind a value", with(&[("x-any", "x\t")]), Answer(400)),
        ("a line end in a value", with(&[("x-any", "x\r\nx-service-id: y")]), Broken),
        ("NUL in a value", with(&[("x-any", "x\0y")]), Broken),
        // What speaks about a connection
        ("connection", with(&[("connection", "close")]), Broken),
        ("keep-alive", with(&[("keep-alive", "timeout=5")]), Broken),
        ("proxy-connection", with(&[("proxy-connection", "keep-alive")]), Broken),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), Broken),
        ("upgrade", with(&[("upgrade", "websocket")]), Broken),
        ("te that is not trailers", with(&[("te", "gzip")]), Broken),
        ("te of two", with(&[("te", "trailers, gzip")]), Broken),
        // Lengths
        ("a length without a body", with(&[("content-length", "5")]), Broken),
        ("a length that is no number", with(&[("content-length", "+0")]), Broken),
        ("a length twice, equal", with(&[("content-length", "0"), ("content-length", "0")]), Answer(400)),
        ("a length twice, unequal", with(&[("content-length", "0"), ("content-length", "1")]), Broken),
    ]
}

#[test]
fn what_two_servers_read_differently_is_refused_in_both_modes_and_never_forwarded() {
    for mode in ["log", "enforce"] {
        let upstream = Recorder::plain();
        let sidecar = Builder::guarding(upstream.address)
            .set("inbound", "h2c", "true")
            .set("enforcement", "mode", format!("{mode:?}"))
            .start();
        let mut wrong = Vec::new();
        for (name, fields, told) in rows() {
            let mut client = Frames::connect(sidecar.address);
            let stream = client.request(&fields, true);
            let outcome = client.outcome(stream);
            let as_told = match told {
                Told::Answer(status) => {
                    outcome.status == status && outcome.whole && outcome.reason() == "malformed_request"
                }
                Told::Broken => outcome.status == 0 && (outcome.reset.is_some() || client.go_away.is_some()),
            };
            if !as_told {
                wrong.push(format!("{name}: {told:?}: {outcome:?} {:?}", client.go_away));
            }
        }
        assert!(wrong.is_empty(), "{mode} mode: {} went wrong:\n{}", wrong.len(), wrong.join("\n"));
        let reached = upstream.requests().into_iter().find(|request| find(&request.head, b"bad").is_some());
        assert!(reached.is_none(), "{mode} mode: upstream saw {reached:?}");
        assert_eq!(upstream.faults(), Vec::<String>::new(), "{mode} mode");
        let answered = rows().iter().filter(|(_, _, told)| *told == Told::Answer(400)).count();
        let recorded = || {
            let audit = sidecar.audit();
            audit.iter().filter(|r| r["reason"] == "malformed_request" && r["status"] == 400).count()
        };
        super::support::eventually("an audit record of each answer", || (recorded() == answered).then_some(()));
    }
}

#[test]
fn a_bad_stream_leaves_the_others_of_its_connection_alone() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let bad = client.request(&[&pseudo("GET", "/bad")[..], &[("te", "gzip")]].concat(), true);
    let refused = client.request(&[(":method", "GET"), (":scheme", "http"), (":path", "/bad")], true);
    let good = client.request(&pseudo("GET", "/good"), true);
    assert_eq!((client.outcome(good).status, client.outcome(refused).status), (200, 400));
    assert!(client.outcome(bad).reset.is_some());
    assert_eq!(client.get("/good", &[]).status, 200);
}

#[test]
fn heads_over_the_limits_are_answered_431_and_414() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .set("inbound", "h2c", "true")
        .set("limits", "head", "\"8KiB\"")
        .set("limits", "target", "\"1KiB\"")
        .set("limits", "headers", "20")
        .start();
    let mut client = Frames::connect(sidecar.address);
    let long = "v".repeat(9_000);
    let outcome = client.get("/bad", &[("x-long", &long)]);
    assert_eq!((outcome.status, outcome.reason().as_str()), (431, "malformed_request"));
    let many: Vec<(String, String)> = (0..40).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    let outcome = client.get("/bad", &many);
    assert_eq!((outcome.status, outcome.reason().as_str()), (431, "malformed_request"));
    let outcome = client.get(&format!("/bad{}", "x".repeat(1_100)), &[]);
    assert_eq!((outcome.status, outcome.reason().as_str()), (414, "malformed_request"));
    // What the frame layer itself turns away has no body, but the same status.
    let longer = "v".repeat(14_000);
    assert_eq!(client.get("/bad", &[("x-long", &longer)]).status, 431);
    assert_eq!(client.get("/good", &[]).status, 200);
    assert!(upstream.requests().iter().all(|request| find(&request.head, b"bad").is_none()));
}

#[test]
fn a_body_that_is_not_as_long_as_was_said_never_ends_cleanly_upstream() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    for (name, parts) in [
        ("too short", &[&b"abc"[..]][..]),
        ("too long", &[&b"abcdefgh"[..]]),
        ("too long in the second part", &[&b"abc"[..], b"defgh"]),
        ("nothing", &[&b""[..]]),
    ] {
        let mut client = Frames::connect(sidecar.address);
        let fields = [&pseudo("POST", "/bad")[..], &[("content-length", "5")]].concat();
        let stream = client.request(&fields, false);
        for (index, part) in parts.iter().enumerate() {
            let flags = if index + 1 == parts.len() { END_STREAM } else { 0 };
            client.send(frame(DATA, flags, stream, part));
        }
        let outcome = client.outcome(stream);
        assert!(outcome.reset.is_some() || outcome.status >= 400, "{name}: {outcome:?}");
        assert_ne!(outcome.status, 200, "{name}");
    }
    assert_eq!(Frames::connect(sidecar.address).get("/good", &[]).status, 200);
    assert!(
        upstream.requests().iter().all(|request| !request.body.complete || find(&request.head, b"bad").is_none())
    );
}

#[test]
fn a_fragment_is_seen_however_it_is_coded_and_whatever_the_table_holds() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let head = |path: &[u8]| [&b"\x82\x86\x41\x0cbackend.test"[..], path].concat();
    let mut ask = |block: &[u8]| {
        let stream = client.open();
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block));
        client.outcome(stream).status
    };
    // By the name's index, coded: `/` and `#` in Huffman's code; then kept in the table, and referred to.
    assert_eq!(ask(&head(&[0x04, 0x83, 0b0110_0011, 0b1111_1110, 0b1011_1111])), 400);
    assert_eq!(ask(&head(b"\x44\x04/a#b")), 400);
    assert_eq!(ask(b"\x82\x86\xbf\xbe"), 400, "from the table");
    assert_eq!(ask(&head(b"\x44\x02/a")), 200);
    assert_eq!(ask(b"\x82\x86\xbf\xbe"), 200, "from the table");
    assert!(upstream.requests().iter().all(|request| request.target == "/a" || request.target == "/health"));
}

/// A header block cut into a HEADERS frame and as many CONTINUATION frames as are needed.
fn in_pieces(stream: u32, fields: &[(&str, &str)], size: usize) -> Vec<u8> {
    let block = block(fields);
    let parts: Vec<&[u8]> = block.chunks(size).collect();
    let mut wire = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let kind = if index == 0 { HEADERS } else { super::support::frames::CONTINUATION };
        let end = if index + 1 == parts.len() { END_HEADERS } else { 0 };
        let flags = if index == 0 { end | END_STREAM } else { end };
        wire.extend(frame(kind, flags, stream, part));
    }
    wire
}

#[test]
fn a_header_block_in_many_frames_is_one_head() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let stream = client.open();
    client.send(in_pieces(stream, &[&pseudo("GET", "/pieces")[..], &[("x-long", &"v".repeat(50))]].concat(), 30));
    let outcome: Outcome = client.outcome(stream);
    assert_eq!(outcome.status, 200, "{outcome:?}");
}
