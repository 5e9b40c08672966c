//! Handshakes that do not come about: each ends cleanly, is counted by its reason, and keeps nobody else waiting.

use super::super::support::pki::{Authority, Files};
use super::super::support::process::Process;
use super::super::support::raw::{Client, End, get};
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::{Builder, Sidecar};
use super::super::support::tls::Connector;
use super::super::support::{eventually, free_address, missing};
use super::{both, guarding, run};
use std::process::Command;

#[track_caller]
fn assert_counted(sidecar: &Sidecar, reason: &str, times: f64) {
    let label = format!("reason=\"{reason}\"");
    eventually(&format!("{times} handshakes failed by {reason}\n{}", sidecar.metrics()), || {
        (sidecar.metric("countersign_tls_handshake_failures_total", &[&label]) == times).then_some(())
    });
}

#[test]
fn plain_http_is_told_in_plain_http_to_use_https_and_nothing_goes_upstream() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let answer = get(sidecar.address, "/files/x");
    assert_eq!((answer.status, answer.reason().as_str()), (400, "malformed_request"));
    assert!(answer.text().contains("https"), "{answer:?}");
    assert_counted(&sidecar, "not_tls", 1.0);
    assert!(upstream.marked("/files/x").is_empty());
}

#[test]
fn garbage_and_cut_handshakes_end_the_connection_and_nothing_else() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let ends = |bytes: &[u8], finish: bool| {
        let mut client = Client::connect(sidecar.address);
        client.send(bytes);
        if finish {
            client.finish();
        }
        while client.end() == End::Bytes {
            client.stream.ahead.clear();
        }
    };
    ends(b"\x00\x01\x02\x03", false);
    ends(b"\x80\x2e\x01\x00\x02", false);
    assert_counted(&sidecar, "not_tls", 2.0);
    ends(b"", true);
    ends(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true);
    assert_counted(&sidecar, "closed", 2.0);
    // A record of a handshake that holds none, an oversized one, an alert in place of a hello.
    ends(b"\x16\x03\x01\x00\x04\xff\xff\xff\xff", true);
    ends(&[b"\x16\x03\x01\xff\xff".as_slice(), &[0; 70_000]].concat(), true);
    let failures = || sidecar.metric("countersign_tls_handshake_failures_total", &[]);
    eventually("both counted", || (failures() >= 6.0).then_some(()));
    let connector = Connector::trusting(&tls.authority);
    assert_eq!(connector.get(sidecar.address, "/files/x", "").unwrap(), 200);
    assert!(upstream.requests().iter().all(|request| request.target == "/files/x"));
}

#[test]
fn a_silent_and_a_slow_handshake_are_cut_and_meanwhile_others_are_served() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.set("timeouts", "head", "\"1500ms\"").start();
    let mut silent = Client::connect(sidecar.address);
    let mut slow = Client::connect(sidecar.address);
    slow.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let connector = Connector::trusting(&tls.authority);
    for _ in 0..10 {
        assert_eq!(connector.get(sidecar.address, "/files/x", "").unwrap(), 200, "two handshakes stand still");
    }
    assert_ne!(silent.end(), End::Bytes);
    assert_ne!(slow.end(), End::Bytes);
    assert_counted(&sidecar, "timed_out", 2.0);
    // After the handshake the usual timers count.
    let mut quiet = connector.connect(sidecar.address);
    assert_eq!(quiet.end(), End::Closed, "a farewell, not a break");
    let timed_out = || sidecar.metric("countersign_timeouts_total", &["timer=\"first_byte\""]);
    eventually("it to be counted", || (timed_out() == 1.0).then_some(()));
}

#[test]
fn tls_to_a_plain_port_ends_at_once_and_the_port_goes_on() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let to = sidecar.address.to_string();
    let said = both(&run("openssl", &["s_client", "-connect", &to]));
    assert!(said.contains("wrong version number"), "{said}");
    assert_eq!(get(sidecar.address, "/files/x").status, 200);
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(sidecar.metric("countersign_malformed_requests_total", &[]), 1.0);
}

#[test]
fn a_client_that_does_not_trust_us_says_so_and_is_counted() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let stranger = Connector::trusting(&Authority::new("another"));
    assert!(stranger.get(sidecar.address, "/files/x", "").is_err());
    assert_counted(&sidecar, "rejected", 1.0);
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_drain_does_not_wait_for_a_handshake() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let mut sidecar = tls.builder.set("timeouts", "head", "\"300s\"").start();
    let mut silent = Client::connect(sidecar.address);
    let mut idle = Connector::trusting(&tls.authority).connect(sidecar.address);
    idle.send("GET /files/x HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    sidecar.process.signal("TERM");
    assert_eq!(idle.end(), End::Closed);
    assert_ne!(silent.end(), End::Bytes);
    assert!(sidecar.process.wait().success());
}

#[test]
fn an_inherited_socket_speaks_tls_from_its_first_connection() {
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        missing("systemd-socket-activate");
        return;
    }
    let upstream = Recorder::plain();
    let (authority, files) = (Authority::new("the tests' own"), Files::new());
    let (cert, key) = files.pair("server", &authority.server());
    for name in ["keys", "state"] {
        std::fs::create_dir(files.path(name)).unwrap();
    }
    let config = files.write(
        "countersign.toml",
        &format!(
            "state_dir = \"state\"\n[inbound]\nlisten = \"systemd:inbound\"\nupstream = \"http://{}\"\n\
             tls = {{ cert = {cert:?}, key = {key:?} }}\n[keys]\ndir = \"keys\"\n[audit]\nfile = \"audit.jsonl\"\n\
             [admin]\nlisten = \"off\"\n[[rule]]\npaths = [\"/api/internal\"]\naccess = \"service\"\n",
            upstream.address
        ),
    );
    let inbound = free_address();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &inbound.to_string(), "--fdname", "inbound", env!("CARGO_BIN_EXE_countersign"), "run"]);
    command.arg("--config").arg(config);
    let _process = Process::start(&command);
    let connector = Connector::trusting(&authority);
    let status = eventually("an answer over TLS", || connector.get(inbound, "/files/x", "").ok());
    assert_eq!(status, 200);
}
