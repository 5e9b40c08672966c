//! What cannot be asked is unknown, and that is no go; a sidecar that is not there leaves the rest to be told.

use super::{Recorder, Said, guarding, make_ready, preflight, soft};
use crate::support::redis::Redis;
use crate::support::sidecar::countersign;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

#[test]
fn a_sidecar_that_is_not_there_is_exit_code_3_and_the_rest_is_told() {
    let upstream = Recorder::plain();
    let mut sidecar = guarding(upstream.address).start();
    make_ready(&sidecar);
    soft(&sidecar).is_go();
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    let said = soft(&sidecar);
    assert_eq!((said.code, &said.json["sidecar_reached"], &said.json["go"]), (Some(3), &false.into(), &false.into()));
    for criterion in ["keys", "env_files", "upstream_around", "drilled", "signed", "signatures"] {
        assert_eq!(said.of(criterion)["verdict"], "pass", "{criterion}: {}", said.text);
    }
    for criterion in ["ready", "upstream", "configuration", "state_durable", "no_hold", "monitoring"] {
        assert_eq!(said.of(criterion)["verdict"], "unknown", "{criterion}: {}", said.text);
        assert!(said.of(criterion)["measured"].as_str().unwrap().contains("the sidecar cannot be reached"));
    }
    assert_eq!(preflight(&sidecar, &[]).json["gate"], "start", "where nothing is in force that is known");
}

#[test]
fn without_records_that_can_be_read_there_is_no_evidence_and_no_go() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address).set("audit", "file", "\"stdout\"").start();
    make_ready(&sidecar);
    let said = soft(&sidecar);
    assert_eq!(said.code, Some(1), "{}", said.text);
    let wrong = said.wrong();
    assert!(wrong.iter().all(|(_, verdict)| *verdict == "unknown"), "{wrong:?}");
    for criterion in ["elapsed", "evidence", "drilled", "signed", "no_rollback", "blocked"] {
        assert!(wrong.iter().any(|(name, _)| *name == criterion), "{criterion}: {}", said.text);
        assert!(said.of(criterion)["measured"].as_str().unwrap().contains("standard output"), "{}", said.text);
    }
}

#[test]
fn what_cannot_be_followed_is_a_usage_error() {
    let run = |arguments: &[&str]| countersign().arg("preflight").args(arguments).output().unwrap();
    for arguments in [
        &["--gate", "soon"][..],
        &["--waive", "nonsense=x"],
        &["--waive", "keys"],
        &["--waive", "keys= "],
        &["--elapsed", "soon"],
        &["--config", "/nowhere/at/all.toml"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Stands before a Redis whose clock is so many seconds off.
fn with_another_clock(redis: SocketAddr, off: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { continue };
            let Ok(server) = TcpStream::connect(redis) else { continue };
            let (mut up, mut down) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut down, &mut up));
            std::thread::spawn(move || relay(server, client, off));
        }
    });
    address
}

fn relay(mut server: TcpStream, mut client: TcpStream, off: i64) {
    // What answers TIME: two texts, the first of ten digits.
    const BEGIN: &[u8] = b"*2\r\n$10\r\n";
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let answer = &mut buffer[..count];
        if answer.starts_with(BEGIN) {
            let seconds = &mut answer[BEGIN.len()..BEGIN.len() + 10];
            let truth: i64 = std::str::from_utf8(seconds).unwrap().parse().unwrap();
            seconds.copy_from_slice((truth + off).to_string().as_bytes());
        }
        if client.write_all(answer).is_err() {
            return;
        }
    }
}

#[test]
fn a_redis_whose_clock_is_off_is_no_go_and_one_that_is_not_there_is_unknown() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Recorder::plain();
    let start = |address: SocketAddr| {
        // The keys stay in files: what is asked of Redis is its time.
        let builder = guarding(upstream.address).set("keys", "sources", "[\"files\"]");
        let sidecar = builder.set("keys", "redis", format!("\"redis://{address}/0\"")).start();
        sidecar.metrics();
        preflight(&sidecar, &["--gate", "start"])
    };
    let measured = |said: &Said| said.of("redis_clock")["measured"].as_str().unwrap().to_owned();
    let said = start(redis.address);
    said.is_go();
    assert!(measured(&said).contains(" ms, give or take "), "{}", said.text);
    start(with_another_clock(redis.address, 200)).is_no_go_for(&[("redis_clock", "fail", "give or take")]);
    start(with_another_clock(redis.address, -101)).is_no_go_for(&[("redis_clock", "fail", "-10")]);
    start(with_another_clock(redis.address, 90)).is_go();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    start(nowhere).is_no_go_for(&[("redis_clock", "unknown", "redis")]);
}
