//! Broken upstreams: what is not a whole, well-formed answer never looks like one to the client, and nobody ever gets
//! another's answer.

use super::support::raw::{Client, End, exchange, get};
use super::support::recorder::{Recorder, Then};
use super::support::refusal::assert_own_failure;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{count, eventually, free_address};
use std::time::{Duration, Instant};

/// An upstream that sends what the mark in the target says; `/ok...` is answered with its own target.
fn scripted(script: &'static [(&'static str, &'static str)], then: Then) -> (Recorder, Sidecar) {
    let upstream = Recorder::with(move |exchange| {
        let target = exchange.request.target.clone();
        match script.iter().find(|(name, _)| target == format!("/{}", name.replace(' ', "-"))) {
            Some((_, answer)) => {
                let _ = exchange.body();
                exchange.send(answer.replace('~', "\r\n"));
                then
            }
            None => exchange.reply(200, target),
        }
    });
    let sidecar = Builder::guarding(upstream.address).set("timeouts", "first_byte", "\"2s\"").start();
    (upstream, sidecar)
}

/// Afterwards everyone gets their own answer.
#[track_caller]
fn assert_sound(sidecar: &Sidecar, round: usize) {
    for n in 0..3 {
        let target = format!("/ok-{round}-{n}");
        let answer = get(sidecar.address, &target);
        assert_eq!((answer.status, answer.text()), (200, target));
    }
}

#[test]
fn an_upstream_that_refuses_is_answered_502_at_once() {
    let sidecar = Builder::guarding(free_address()).start_alive();
    let began = Instant::now();
    let answer = get(sidecar.address, "/open");
    let code = assert_own_failure(&answer, 502);
    assert!(began.elapsed() < Duration::from_millis(500), "it took {:?}", began.elapsed());
    let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
    assert_eq!((&record["outcome"], &record["status"]), (&"allow".into(), &502.into()), "{code}: {record}");
}

#[test]
fn an_upstream_that_hangs_is_answered_504() {
    let upstream = Recorder::with(|exchange| exchange.hang());
    let sidecar = Builder::guarding(upstream.address).set("timeouts", "first_byte", "\"1s\"").start_alive();
    assert_own_failure(&get(sidecar.address, "/hang"), 504);
    // The abandoned request's connection is not kept.
    upstream.the("/hang");
}

const NO_ANSWERS: &[(&str, &str)] = &[
    ("nothing", ""),
    ("half a status line", "HTTP/1."),
    ("half a head", "HTTP/1.1 200 OK~Content-Le"),
    ("a head without end", "HTTP/1.1 200 OK~Content-Length: 2~"),
    ("garbage", "garbage~~"),
    ("binary", "\u{1}\u{2}\u{3}\0~~"),
    ("HTTP 0.9", "<html>hello</html>"),
    ("another version", "HTTP/2.0 200 OK~Content-Length: 2~~ok"),
    ("another protocol", "SSH-2.0-OpenSSH_9.2~"),
    ("a status of letters", "HTTP/1.1 abc OK~Content-Length: 2~~ok"),
    ("a status of two digits", "HTTP/1.1 20 OK~Content-Length: 2~~ok"),
    ("a status of four digits", "HTTP/1.1 2000 OK~Content-Length: 2~~ok"),
    ("CL and TE", "HTTP/1.1 200 OK~Content-Length: 2~Transfer-Encoding: chunked~~2~ok~0~~"),
    ("CL twice unequal", "HTTP/1.1 200 OK~Content-Length: 2~Content-Length: 3~~ok"),
    ("CL odd", "HTTP/1.1 200 OK~Content-Length: +2~~ok"),
    ("CL negative", "HTTP/1.1 200 OK~Content-Length: -2~~ok"),
    ("TE odd", "HTTP/1.1 200 OK~Transfer-Encoding: xchunked~~2~ok~0~~"),
    ("TE twice", "HTTP/1.1 200 OK~Transfer-Encoding: chunked, chunked~~2~ok~0~~"),
    ("a fold", "HTTP/1.1 200 OK~X: a~ b~Content-Length: 2~~ok"),
    ("a name with a space", "HTTP/1.1 200 OK~X Y: a~Content-Length: 2~~ok"),
    ("NUL in a value", "HTTP/1.1 200 OK~X: a\0~Content-Length: 2~~ok"),
    ("a bare CR in a value", "HTTP/1.1 200 OK~X: a\rb~Content-Length: 2~~ok"),
    ("a line without colon", "HTTP/1.1 200 OK~nothing~Content-Length: 2~~ok"),
    ("an unasked 101", "HTTP/1.1 101 Switching Protocols~Upgrade: x~Connection: upgrade~~owned"),
    ("only 1xx", "HTTP/1.1 103 Early Hints~~"),
];

#[test]
fn what_is_no_answer_becomes_a_502_of_our_own() {
    let (_upstream, sidecar) = scripted(NO_ANSWERS, Then::Close);
    for (round, (name, _)) in NO_ANSWERS.iter().enumerate() {
        let request = format!("POST /{} HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi", name.replace(' ', "-"));
        let answer = exchange(sidecar.address, request);
        assert_eq!(answer.status, 502, "{name}: {answer:?}");
        assert_own_failure(&answer, 502);
        assert_sound(&sidecar, round);
    }
}

const HALF_ANSWERS: &[(&str, &str)] = &[
    ("less than its length", "HTTP/1.1 200 OK~Content-Length: 100~~half"),
    ("none of its length", "HTTP/1.1 200 OK~Content-Length: 100~~"),
    ("chunks without end", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~4~half~"),
    ("a chunk cut short", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~100~half"),
    ("a chunk size cut short", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~4~half~1"),
    ("a last chunk cut short", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~4~half~0~"),
    ("a bad chunk size", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~4~half~zz~more~0~~"),
    ("a chunk size with plus", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~4~half~+4~more~0~~"),
    ("a chunk too long", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~4~halfmore~0~~"),
];

#[test]
fn half_an_answer_is_seen_as_an_abort_and_never_as_a_clean_end() {
    for then in [Then::Close, Then::Reset] {
        let (_upstream, sidecar) = scripted(HALF_ANSWERS, then);
        for (round, (name, _)) in HALF_ANSWERS.iter().enumerate() {
            let mut client = Client::connect(sidecar.address);
            client.send(format!("GET /{} HTTP/1.1\r\nHost: b\r\n\r\n", name.replace(' ', "-")));
            // The fault may be seen before anything was passed on; then it is a 502.
            match client.try_answer("GET") {
                Ok(answer) if answer.status == 502 => drop(assert_own_failure(&answer, 502)),
                Ok(answer) => assert!(!answer.body.complete, "{name}: a clean end: {answer:?}"),
                Err(_) => {}
            }
            // An answer to HTTP/1.0 has no framing of its own: only a reset tells.
            let mut client = Client::connect(sidecar.address);
            client.send(format!("GET /{} HTTP/1.0\r\n\r\n", name.replace(' ', "-")));
            match client.try_answer("GET") {
                Ok(answer) if answer.status == 502 => {}
                Ok(answer) => assert!(!answer.body.complete, "{name} in HTTP/1.0: a clean end: {answer:?}"),
                Err(_) => {}
            }
            assert_sound(&sidecar, round);
        }
    }
}

#[test]
fn a_kept_connection_does_not_outlive_half_an_answer() {
    let (_upstream, sidecar) = scripted(HALF_ANSWERS, Then::Close);
    let mut client = Client::connect(sidecar.address);
    client.send("GET /less-than-its-length HTTP/1.1\r\nHost: b\r\n\r\nGET /ok HTTP/1.1\r\nHost: b\r\n\r\n");
    assert!(client.try_answer("GET").is_ok_and(|answer| !answer.body.complete) && client.end() != End::Bytes);
}

/// Whole answers with something behind them that nobody may ever see.
const TAILS: &[(&str, &str, &str, &str)] = &[
    ("GET", "behind a length", "HTTP/1.1 200 OK~Content-Length: 2~~ok", "ok"),
    ("GET", "behind chunks", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~2~ok~0~~", "ok"),
    ("GET", "behind a 204", "HTTP/1.1 204 No Content~~", ""),
    ("GET", "behind a 204 with a length", "HTTP/1.1 204 No Content~Content-Length: 5~~", ""),
    ("GET", "behind a 304", "HTTP/1.1 304 Not Modified~Content-Length: 5~~", ""),
    ("HEAD", "behind HEAD", "HTTP/1.1 200 OK~Content-Length: 5~~", ""),
    ("HEAD", "behind HEAD in chunks", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~", ""),
    ("GET", "behind a length of zero", "HTTP/1.1 200 OK~Content-Length: 0~~", ""),
];

#[test]
fn extra_bytes_behind_an_answer_reach_nobody() {
    const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Poison: 1\r\n\r\npoisoned";
    for at_once in [true, false] {
        let (told, sent) = std::sync::mpsc::channel();
        let upstream = Recorder::with(move |exchange| {
            let target = exchange.request.target.clone();
            let Some((_, _, head, _)) =
                TAILS.iter().find(|(_, name, ..)| target == format!("/{}", name.replace(' ', "-")))
            else {
                return exchange.reply(200, target);
            };
            let answer = head.replace('~', "\r\n");
            if at_once {
                exchange.send(answer + POISON);
            } else {
                exchange.send(answer);
                exchange.send(POISON);
            }
            let _ = told.send(());
            Then::Next
        });
        let sidecar = Builder::guarding(upstream.address).set("", "workers", "1").start();
        for round in 0..count(5, 200) {
            for (method, name, _, body) in TAILS {
                let mut client = Client::connect(sidecar.address);
                client.send(format!("{method} /{} HTTP/1.1\r\nHost: b\r\n\r\n", name.replace(' ', "-")));
                let answer = client.answer_to(method);
                assert!(answer.status < 400 && answer.text() == *body, "{name}: {answer:?}");
                // Only what is there when the next request goes out can be told from its answer.
                sent.recv_timeout(super::support::DEADLINE).unwrap();
                client.send(format!("GET /ok-mine-{round} HTTP/1.1\r\nHost: b\r\n\r\n"));
                if let Ok(next) = client.try_answer("GET") {
                    assert_eq!(next.text(), format!("/ok-mine-{round}"), "{name}");
                }
                assert_sound(&sidecar, round);
            }
        }
    }
}

/// A task that has used up its turn is told by the runtime that nothing waits anywhere; the connection itself is asked.
#[test]
fn extra_bytes_are_noticed_however_many_requests_came_before_on_the_same_connection() {
    const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";
    let (told, sent) = std::sync::mpsc::channel();
    let upstream = Recorder::with(move |exchange| {
        let target = exchange.request.target.clone();
        if target == "/warm" {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n/warm");
            exchange.send(POISON);
            let _ = told.send(());
            return Then::Next;
        }
        exchange.reply(200, target)
    });
    let sidecar = Builder::guarding(upstream.address).set("", "workers", "1").start();
    // tokio gives a task 128 operations at a turn; each of these requests takes one, and some are taken by others.
    for refused in (0..8).chain(116..136) {
        let mut first = Client::connect(sidecar.address);
        first.send("GET /warm HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(first.answer_to("GET").text(), "/warm");
        sent.recv_timeout(super::support::DEADLINE).unwrap();
        let mut client = Client::connect(sidecar.address);
        let mut requests = "GET /api/internal/x HTTP/1.1\r\nHost: b\r\n\r\n".repeat(refused);
        requests.push_str("GET /mine HTTP/1.1\r\nHost: b\r\n\r\n");
        client.send(requests);
        for _ in 0..refused {
            assert!(matches!(client.answer_to("GET").status, 401 | 429));
        }
        assert_eq!(client.answer_to("GET").text(), "/mine", "behind {refused}");
    }
}

#[test]
fn informational_answers_are_dropped_however_many_and_the_real_one_passes() {
    let upstream = Recorder::with(|exchange| {
        let many = match exchange.request.target.as_str() {
            "/few" => 3,
            "/many" => 1000,
            _ => 0,
        };
        for _ in 0..many {
            exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n");
        }
        exchange.reply(200, "real")
    });
    let sidecar = Builder::guarding(upstream.address).start();
    for (target, many) in [("/few", 3.0), ("/many", 1000.0)] {
        let before = sidecar.metric("countersign_informational_answers_dropped_total", &[]);
        let answer = get(sidecar.address, target);
        assert_eq!((answer.status, answer.text().as_str()), (200, "real"), "{target}");
        let after = sidecar.metric("countersign_informational_answers_dropped_total", &[]);
        assert_eq!(after - before, many, "{target}");
    }
    assert_sound_after(&sidecar);
}

fn assert_sound_after(sidecar: &Sidecar) {
    eventually("real answers", || (get(sidecar.address, "/").text() == "real").then_some(()));
}

#[test]
fn an_answer_without_length_ends_with_its_connection_and_arrives_whole() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end");
        Then::Close
    });
    let sidecar = Builder::guarding(upstream.address).start_alive();
    let answer = get(sidecar.address, "/unframed");
    assert_eq!((answer.status, answer.text().as_str(), answer.body.complete), (200, "until the end", true));
    let answer = exchange(sidecar.address, "GET /unframed HTTP/1.0\r\n\r\n");
    assert_eq!((answer.text().as_str(), answer.body.complete), ("until the end", true));
}

#[test]
fn an_upstream_of_http_1_0_is_understood() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Close
    });
    let sidecar = Builder::guarding(upstream.address).start();
    let mut client = Client::connect(sidecar.address);
    for _ in 0..3 {
        client.send("GET /old HTTP/1.1\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn a_giant_answer_head_is_a_502_not_a_growing_memory() {
    let upstream = Recorder::with(|exchange| {
        if exchange.request.target == "/giant" {
            exchange.send("HTTP/1.1 200 OK\r\nX-Giant: ");
            for _ in 0..1024 {
                exchange.send([b'a'; 64 * 1024]);
            }
            return Then::Close;
        }
        exchange.reply(200, "real")
    });
    let sidecar = Builder::guarding(upstream.address).start();
    assert_eq!(get(sidecar.address, "/").text(), "real");
    let before = sidecar.process.peak_memory();
    assert_own_failure(&get(sidecar.address, "/giant"), 502);
    upstream.the("/giant");
    let grown = sidecar.process.peak_memory() - before;
    assert!(grown < 4 * 1024 * 1024, "64 MiB of head were sent, and {grown} bytes kept");
    assert_sound_after(&sidecar);
}

#[test]
fn nobody_gets_anothers_answer_while_upstream_connections_break() {
    let upstream = Recorder::with(|exchange| {
        let target = exchange.request.target.clone();
        let place = exchange.request.place + exchange.request.connection;
        match place % 7 {
            2 => Then::Reset,
            4 => {
                exchange.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}HTTP/1.1 200 OK\r\n\r\nextra",
                    target.len()
                ));
                Then::Next
            }
            5 => {
                exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len() + 9));
                Then::Close
            }
            _ => exchange.reply(200, target),
        }
    });
    let sidecar = Builder::guarding(upstream.address).start_alive();
    let served: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let address = sidecar.address;
                scope.spawn(move || {
                    let (mut client, mut served) = (Client::connect(address), 0);
                    for n in 0..count(300, 50_000) {
                        let target = format!("/mine-{thread}-{n}");
                        client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n"));
                        match client.try_answer("GET") {
                            Ok(answer) if answer.status == 200 && answer.body.complete => {
                                assert_eq!(answer.text(), target);
                                served += 1;
                            }
                            Ok(answer) if answer.status == 502 => {}
                            _ => client = Client::connect(address),
                        }
                    }
                    served
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(served > count(300, 50_000), "only {served} were served");
}
