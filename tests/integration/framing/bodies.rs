//! Bodies: chunks that two servers could read differently, and bodies that end too soon.

use super::super::support::message::find;
use super::super::support::random::Random;
use super::super::support::raw::{Client, End};
use super::super::support::recorder::{Recorder, Then};
use super::super::support::refusal::assert_refused;
use super::super::support::sidecar::Builder;
use super::super::support::{count, eventually, seed};
use super::{Row, SMUGGLED, all_refused, bytes};

/// The first chunk is wrong, and comes with the head: nothing has gone upstream.
pub(super) const ROWS: &[Row] = &[
    ("chunk size with plus", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~+3~abc~0~~"),
    ("chunk size with minus", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~-3~abc~0~~"),
    ("chunk size with 0x", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0x3~abc~0~~"),
    ("chunk size behind a space", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~ 3~abc~0~~"),
    ("chunk size behind a tab", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~\t3~abc~0~~"),
    ("chunk size with an underscore", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0_3~abc~0~~"),
    ("chunk size empty", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~~abc~0~~"),
    ("chunk size no number", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~g~abc~0~~"),
    ("chunk size with a letter behind", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3z~abc~0~~"),
    ("chunk size in two words", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3 4~abc~0~~"),
    ("chunk size over 64 bits", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~10000000000000003~abc~0~~"),
    (
        "chunk size of forty digits",
        b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0000000000000000000000000000000000000003~abc~0~~",
    ),
    ("chunk size with a vertical tab", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3\x0b~abc~0~~"),
    ("chunk size with NUL", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3\0~abc~0~~"),
    ("chunk size over 0x80", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~\xd9\xa3~abc~0~~"),
    ("bare LF behind the size", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3\nabc~0~~"),
    ("bare CR behind the size", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3\rabc~0~~"),
    ("CR CR LF behind the size", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3\r~abc~0~~"),
    ("bare LF in an extension", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3;\nabc~0~~"),
    ("bare CR in an extension", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3;a\rb~abc~0~~"),
    ("NUL in an extension", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~3;a\0b~abc~0~~"),
    ("bare LF in the last chunk", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0\n\n"),
    ("a bare LF for the end", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~\n"),
    ("a last chunk with plus", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~+0~~"),
    ("a negative last chunk", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~-0~~"),
    ("a trailer folded", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~X: a~ b~~"),
    ("a trailer with a space in its name", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~X Y: a~~"),
    ("a trailer with a space before its colon", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~X : a~~"),
    ("a trailer without colon", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~nothing~~"),
    ("a trailer with NUL", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~X: a\0~~"),
    ("a trailer with bare LF", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~X: a\n\n"),
    ("a trailer with a bare CR", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~X: a\rb~~"),
    ("a trailer without name", b"POST /bad HTTP/1.1~Host: b~Transfer-Encoding: chunked~~0~: a~~"),
];

/// Behind one good chunk: the upstream may have begun, and must never see a clean end.
const LATER: &[Row] = &[
    ("data longer than its size", b"3~abcd~0~~"),
    ("data without CRLF", b"3~abc0~~"),
    ("data with bare LF behind", b"3~abc\n0~~"),
    ("data with bare CR behind", b"3~abc\r0~~"),
    ("size no number", b"x~abc~0~~"),
    ("size with plus", b"+3~abc~0~~"),
    ("size over 64 bits", b"fffffffffffffffff~abc~0~~"),
    ("size with bare LF", b"3\nabc~0~~"),
    ("no size", b"~0~~"),
    ("bare LF for the end", b"0~\n"),
    ("a trailer folded", b"0~X: a~ b~~"),
    ("a trailer with a space before its colon", b"0~X : a~~"),
    ("negative size", b"-1~abc~0~~"),
];

#[test]
fn chunks_that_read_two_ways_are_refused_and_never_forwarded() {
    all_refused(ROWS);
}

#[test]
fn an_endless_chunk_extension_is_refused() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for head in [
        "POST /bad HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3;a=",
        "POST /bad HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ] {
        let mut client = Client::connect(sidecar.address);
        client.send(head);
        for _ in 0..64 {
            client.send([b'a'; 4096]);
        }
        // Whether the head had gone upstream by then is a matter of time; that it ends, and not cleanly, is not.
        let answer = client.try_answer("POST");
        assert!(answer.is_err() || answer.unwrap().status == 400);
        drop(client);
    }
    assert!(upstream.requests().iter().all(|request| request.target != "/bad" || !request.body.complete));
}

#[test]
fn a_fault_behind_a_good_chunk_aborts_the_upstream_and_never_ends_it_cleanly() {
    for (name, row) in LATER {
        let upstream = Recorder::plain();
        let sidecar = Builder::guarding(upstream.address).start();
        let mut client = Client::connect(sidecar.address);
        client.send("POST /later HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        // The first chunk is to be upstream before the fault comes.
        eventually("the head upstream", || (!upstream.marked("/later").is_empty()).then_some(()));
        client.send([bytes(row), SMUGGLED.into()].concat());
        if let Ok(answer) = client.try_answer("POST") {
            assert_refused(&answer, 400, "malformed_request");
        }
        assert_ne!(client.end(), End::Bytes, "{name}");
        let request = upstream.the("/later");
        assert!(!request.body.complete, "{name}: the upstream saw a clean end: {:?}", request.body);
        assert!(find(b"firstabc", &request.body.bytes).is_some() || request.body.bytes.is_empty(), "{name}");
        assert!(upstream.marked("/smuggled").is_empty(), "{name}");
    }
}

#[test]
fn a_body_cut_short_by_the_client_never_ends_cleanly_upstream() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for (number, body) in [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ]
    .iter()
    .enumerate()
    {
        let mark = format!("/cut-{number}");
        let mut client = Client::connect(sidecar.address);
        client.send(format!("POST {mark} HTTP/1.1\r\nHost: b\r\n{body}"));
        eventually("the head upstream", || (!upstream.marked(&mark).is_empty()).then_some(()));
        drop(client);
        let request = upstream.the(&mark);
        assert!(!request.body.complete, "{body:?}: {request:?}");
    }
}

#[test]
fn chunked_bodies_arrive_whole_however_they_are_cut_into_packets() {
    let upstream = Recorder::with(|exchange| {
        let body = exchange.body().map(|body| body.bytes.clone()).unwrap_or_default();
        exchange.reply(200, body);
        Then::Next
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let mut random = Random::seeded(seed());
    let mut client = Client::connect(sidecar.address);
    for round in 0..count(60, 5_000) {
        let (mut wire, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..random.below(6) {
            let longest = if random.one_in(8) { 60_000 } else { 40 };
            let length = random.below(longest) + 1;
            let part: Vec<u8> = (0..length).map(|_| random.byte()).collect();
            let extension = random.pick(&["", "", ";a", ";a=b", " ;a=\"b;c\""]);
            wire.extend(format!("{:x}{extension}\r\n", part.len()).as_bytes());
            wire.extend(&part);
            wire.extend(b"\r\n");
            whole.extend(part);
        }
        wire.extend(b"0\r\n\r\n");
        let head = format!("POST /cuts-{round} HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n");
        let wire = [head.into_bytes(), wire].concat();
        let mut at = 0;
        while at < wire.len() {
            let most = if random.one_in(2) { 20 } else { 30_000 };
            let take = (random.below(most) + 1).min(wire.len() - at);
            client.send(&wire[at..at + take]);
            at += take;
        }
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.bytes == whole), (200, true), "round {round}");
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
}
