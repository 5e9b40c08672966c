//! What a service manager sees and hands over; without one: a datagram socket and an inherited listener of our own.

use super::ended;
use crate::support::process::Process;
use crate::support::recorder::Recorder;
use crate::support::sidecar::Builder;
use crate::support::{eventually, free_address, missing, raw};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

/// The next message that holds this, with everything that came before it.
#[track_caller]
fn message(manager: &UnixDatagram, with: &str) -> String {
    manager.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut came = Vec::new();
    eventually(&format!("a message with {with:?} to the service manager"), || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let found = text.lines().any(|line| line.starts_with(with));
        came.push(text.clone());
        found.then_some(text)
    })
}

#[test]
fn the_service_manager_hears_of_readiness_reloads_life_and_the_end() {
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut sidecar = Builder::guarding(upstream.address)
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .environment("WATCHDOG_USEC", "200000")
        .launch();
    let ready = message(&manager, "READY=1");
    assert!(ready.contains("STATUS=mode enforce at 100%"), "{ready}");
    assert_eq!(raw::get(sidecar.address, "/health").status, 200, "ready means that it serves");
    message(&manager, "WATCHDOG=1");

    let config = sidecar.config().replace("mode = \"enforce\"", "mode = \"log\"");
    std::fs::write(sidecar.config_path(), config).unwrap();
    sidecar.process.signal("HUP");
    let reloading = message(&manager, "RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    let ready = message(&manager, "READY=1");
    assert!(ready.contains("STATUS=mode log"), "{ready}");

    sidecar.process.signal("TERM");
    let stopping = message(&manager, "STOPPING=1");
    assert!(stopping.contains("STATUS=draining"), "{stopping}");
    assert!(sidecar.process.wait().success());
}

#[test]
fn a_named_socket_that_was_not_handed_over_is_explained() {
    let upstream = Recorder::plain();
    let builder = Builder::guarding(upstream.address).set("inbound", "listen", "\"systemd:inbound\"");
    let (code, said) = ended(&mut builder.launch());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("systemd:inbound") && said.contains("countersign.socket"), "{said}");
}

#[test]
fn an_inherited_socket_is_found_by_its_name_and_served() {
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        missing("systemd-socket-activate");
        return;
    }
    let upstream = Recorder::plain();
    let state = tempfile::tempdir().unwrap();
    let (inbound, other) = (free_address(), free_address());
    let start = |name: &str| {
        let mut command = Command::new("systemd-socket-activate");
        command.args(["--listen", &inbound.to_string(), "--listen", &other.to_string(), "--fdname", "inbound:other"]);
        let flags = super::with_flags(upstream.address, &format!("systemd:{name}"), state.path());
        command.arg(flags.get_program()).args(flags.get_args());
        Process::start(&command)
    };
    let process = start("inbound");
    // The first connection starts it; that very connection is served.
    let answer = eventually("an answer", || {
        let mut client = raw::Client::try_connect(inbound)?;
        client.send("GET /health HTTP/1.1\r\nHost: backend.test\r\n\r\n");
        client.try_answer("GET").ok()
    });
    assert_eq!(answer.status, 200);
    eventually("a warning about the socket nobody takes", || {
        process.stderr.text().contains("inherited sockets that no listener takes").then_some(())
    });
    drop(process);

    let mut process = start("elsewhere");
    let _client = eventually("a connection", || raw::Client::try_connect(inbound));
    assert_eq!(process.wait().code(), Some(1));
    eventually("the names there are", || {
        let said = process.stderr.text();
        (said.contains("\"inbound\"") && said.contains("FileDescriptorName=elsewhere")).then_some(())
    });
}
