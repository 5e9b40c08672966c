//! The OpenAPI description against the running program: schemathesis makes requests that it allows and requests that it does not,
//! and holds every answer against it.

use crate::support::control::{get, socket};
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::{count, eventually, python, seed};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn it_is_served_as_it_stands() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let answer = get(&sidecar, "/v1/openapi.json");
    assert_eq!((answer.status, answer.fields.one("content-type")), (200, Some("application/json")));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/control/openapi.json");
    assert_eq!(answer.text(), std::fs::read_to_string(file).unwrap());
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

#[test]
fn generated_requests_find_nothing_that_the_description_does_not_say() {
    let Some(python) = python::interpreter() else { return };
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).log_mode();
    let sidecar = sidecar.set("ramp", "groups", "[\"internals 30m\", \"npu 30m\"]").start();
    let relay = relay(&sidecar);
    let reports = tempfile::tempdir().unwrap();
    let mut schemathesis = Command::new("timeout");
    schemathesis
        .arg(count(120, 900).to_string())
        .arg(python)
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("http://{relay}/v1/openapi.json"))
        .args(["--url", &format!("http://{relay}"), "--seed", &seed().to_string()])
        .args(["--max-examples", &count(12, 300).to_string(), "--max-time", &count(30, 600).to_string()])
        .args(["--checks", "all", "--request-timeout", "10", "--continue-on-failure", "--no-color", "--no-shrink"])
        // It has no end of its own; `events` looks at it.
        .args(["--exclude-path", "/v1/events"])
        .current_dir(reports.path());
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        schemathesis.env_remove(proxy);
    }
    let output = schemathesis.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);

    let passed =
        said.lines().find_map(|line| line.trim().strip_suffix(" passed")?.split(' ').next()?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 200), "did it ask anything? {said}");
    assert_eq!(get(&sidecar, "/v1/status").json()["ready"], true, "it is well after all that");
    let changes = || sidecar.audit().iter().filter(|record| record["event"] == "mode").count();
    eventually("some of the changes were made", || (changes() > 0).then_some(()));
    let uid = format!("uid:{}", rustix::process::geteuid().as_raw());
    for record in sidecar.audit() {
        if let (Some("mode" | "rollback" | "grant" | "probe"), Some(who)) =
            (record["event"].as_str(), record["who"].as_str())
        {
            let known = [&*uid, "process", "file"].iter().any(|known| who.starts_with(known));
            assert!(known, "a change by nobody: {record}");
        }
    }
}

/// A port on loopback behind which the socket is, as somebody may have put it: for clients that know no unix sockets.
fn relay(sidecar: &Sidecar) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, socket) = (listener.local_addr().unwrap(), socket(sidecar));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The sidecar may be gone at the end of the test.
            let _ = join(stream, &socket);
        }
    });
    address
}

fn join(client: TcpStream, socket: &PathBuf) -> io::Result<()> {
    let sidecar = UnixStream::connect(socket)?;
    let (mut from_client, mut to_sidecar) = (client.try_clone()?, sidecar.try_clone()?);
    let (mut from_sidecar, mut to_client) = (sidecar, client);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_sidecar);
        let _ = to_sidecar.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_sidecar, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    Ok(())
}
