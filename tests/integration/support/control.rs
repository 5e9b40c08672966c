//! A client of the admin socket that sends exactly the bytes it is given.

use super::DEADLINE;
use super::message::Buffered;
use super::raw::{Answer, Client};
use super::sidecar::Sidecar;
use serde_json::Value;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where a sidecar of the tests has its socket: in its own state directory, as nobody said otherwise.
pub(crate) fn socket(sidecar: &Sidecar) -> PathBuf {
    sidecar.directory.join("state/admin.sock")
}

/// Connects if something listens there.
pub(crate) fn try_connect(socket: &Path) -> Option<Client<UnixStream>> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.set_write_timeout(Some(DEADLINE)).ok()?;
    Some(Client { stream: Buffered::new(stream) })
}

#[track_caller]
pub(crate) fn connect(sidecar: &Sidecar) -> Client<UnixStream> {
    try_connect(&socket(sidecar)).unwrap_or_else(|| panic!("nobody listens: {}", sidecar.process.stderr.text()))
}

/// Sends these bytes over a connection of their own.
#[track_caller]
pub(crate) fn exchange(sidecar: &Sidecar, request: impl AsRef<[u8]>) -> Answer {
    let mut client = connect(sidecar);
    client.send(request);
    client.answer()
}

#[track_caller]
pub(crate) fn get(sidecar: &Sidecar, target: &str) -> Answer {
    exchange(sidecar, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// Asks for a change.
#[track_caller]
pub(crate) fn change(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> Answer {
    let body = body.to_string();
    exchange(
        sidecar,
        format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}
