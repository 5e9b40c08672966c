//! `report`, `report --readiness` and `learn`: what the real program says of the audit lines of real traffic, and what it says of logs that
//! are missing, torn or not there.
//!
//! Figures are computed again from the lines by a program of its own (`tests/python/clients/figures.py`).

mod bad_input;
mod figures;
mod learned;

use super::support::sidecar::{Builder, Sidecar, countersign};
use super::support::{KEY_A, KEY_B, eventually, raw, sign};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Output;

/// Where `npu-worker` calls from, and `ai-stack`.
const NPU: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 22);
const AI: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 24);
/// Another of `ai-stack`, from which it never proves itself.
const AI_TOO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 25);
/// An address that the configuration does not give to anybody.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
/// Nobody's, whatever happens.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 99);

/// A guard that knows both services by their address.
fn guard(builder: Builder) -> Builder {
    builder
        .set("services.npu-worker", "addresses", format!("[\"{NPU}\"]"))
        .set("services.ai-stack", "addresses", format!("[\"{AI}/32\", \"{AI_TOO}\"]"))
        .unlimited()
}

/// A request from there, signed by this service with this key.
fn signed(sidecar: &Sidecar, from: Ipv4Addr, (id, key): (&str, &str), path: &str) -> u16 {
    raw::get_from(from, sidecar.address, path, &sign::headers(key, id, "GET", path)).status
}

fn unsigned(sidecar: &Sidecar, from: Ipv4Addr, path: &str) -> u16 {
    raw::get_from(from, sidecar.address, path, "").status
}

const AS_NPU: (&str, &str) = ("npu-worker", KEY_A);
const AS_AI: (&str, &str) = ("ai-stack", KEY_B);

/// Waits until this many decisions are written.
fn written(sidecar: &Sidecar, decisions: usize) {
    eventually("every decision written", || {
        let lines = sidecar.audit();
        (lines.iter().filter(|line| line.get("outcome").is_some()).count() >= decisions).then_some(())
    });
}

/// Runs a verb with the sidecar's configuration.
fn run(sidecar: &Sidecar, arguments: &[&str]) -> Output {
    countersign().args(arguments).arg("--config").arg(sidecar.config_path()).output().unwrap()
}

/// Runs a verb on a log alone.
fn run_on(audit: &Path, arguments: &[&str]) -> Output {
    countersign().args(arguments).arg("--audit").arg(audit).output().unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        panic!("no JSON: {error}: {out}\n{err}")
    })
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What is said of one service.
#[track_caller]
fn service<'r>(report: &'r Value, id: &str) -> &'r Value {
    let services = report["services"].as_array().unwrap();
    services.iter().find(|service| service["service"] == id).unwrap_or_else(|| panic!("{id} in {report}"))
}
