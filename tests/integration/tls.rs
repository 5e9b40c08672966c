//! TLS on both sides, by real clients (curl, openssl, Python) and a real nginx, and by rustls where single records count.

mod certificates;
mod files;
mod handshakes;
mod inbound;
mod reload;
mod upstream;

use super::support::pki::{Authority, Files};
use super::support::sidecar::Builder;
use std::net::SocketAddr;
use std::process::{Command, Output};

/// A sidecar to be that speaks TLS, with its authority and files.
struct Guarded {
    authority: Authority,
    files: Files,
    builder: Builder,
}

/// `tls` with a certificate for this machine, and these further keys (`, client_ca = ...`).
fn guarding(upstream: SocketAddr, more: &str) -> Guarded {
    let (authority, files) = (Authority::new("the tests' own"), Files::new());
    let (cert, key) = files.pair("server", &authority.server());
    files.write("ca.pem", authority.pem());
    let more = more.replace("CA", &format!("{:?}", files.path("ca.pem")));
    let builder =
        Builder::guarding(upstream).set("inbound", "tls", format!("{{ cert = {cert:?}, key = {key:?}{more} }}"));
    Guarded { authority, files, builder }
}

/// Runs a program with its input closed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    // A proxy of the environment is not meant.
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).stdin(std::process::Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
