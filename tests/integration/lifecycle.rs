//! From start to stop: what a start that cannot be says, how a stop lets requests finish, what signals and a service
//! manager see.

mod running;
mod start;
mod stop;
mod supervised;

use super::support::sidecar::{Sidecar, countersign};
use super::support::{eventually, raw};
use std::net::SocketAddr;
use std::process::{Command, Output};

/// Waits for the end; the exit code, and what was said on standard error.
#[track_caller]
fn ended(sidecar: &mut Sidecar) -> (Option<i32>, String) {
    let status = sidecar.process.wait();
    // The collector of standard error may be a moment behind.
    let said = eventually("something on standard error", || {
        let said = sidecar.process.stderr.text();
        (!said.is_empty()).then_some(said)
    });
    (status.code(), said)
}

/// Runs to its end at once.
#[track_caller]
fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// The status of a read-only admin path.
#[track_caller]
pub(super) fn admin(address: SocketAddr, path: &str) -> u16 {
    raw::exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).status
}

/// `countersign run` with flags alone.
fn with_flags(upstream: SocketAddr, listen: &str, state: &std::path::Path) -> Command {
    let mut command = countersign();
    command
        .args(["run", "--upstream", &format!("http://{upstream}"), "--listen", listen, "--protect", "/api/internal"])
        .args(["--admin", "off", "--audit", "stdout", "--state-dir"])
        .arg(state);
    command
}
