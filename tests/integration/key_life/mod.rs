//! Keys are made, listed, shared, rotated and revoked, in Redis and in a directory, and nobody is refused for it who should not be.

mod commands;
mod directory;
mod interrupted;
mod overlap;
mod rotation;
mod store;

use super::support::raw::exchange;
use super::support::recorder::Recorder;
use super::support::redis::{Redis, name};
use super::support::sidecar::{Builder, Sidecar, countersign, write_private};
use super::support::{KEY_A, KEY_B, sign};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

const PATH: &str = "/api/internal/x";

/// Where keys live in a test.
enum Place {
    Redis(Redis),
    Directory(tempfile::TempDir),
}

/// A place with a key of `npu-worker` ([`KEY_A`]), a guarding sidecar that follows it, and what is behind that one.
struct Guarded {
    place: Place,
    upstream: Recorder,
    sidecar: Sidecar,
}

impl Place {
    /// Both, with a key of `npu-worker`; Redis only where there is a redis-server.
    fn each() -> impl Iterator<Item = Place> {
        let redis = Redis::start().inspect(|redis| redis.put("npu-worker", KEY_A)).map(Place::Redis);
        let directory = tempfile::tempdir().unwrap();
        write_private(&directory.path().join("npu-worker.env"), &format!("SERVICE_KEY={KEY_A}\n"));
        write_private(&directory.path().join("ai-stack.env"), &format!("SERVICE_KEY={KEY_B}\n"));
        redis.into_iter().chain([Place::Directory(directory)])
    }

    fn configure(&self, builder: Builder) -> Builder {
        match self {
            Place::Redis(redis) => builder.set("keys", "redis", format!("{:?}", redis.url())),
            Place::Directory(directory) => builder.set("keys", "dir", format!("{:?}", directory.path())),
        }
    }

    /// The key as another program of the fleet would read it.
    fn key(&self) -> Option<String> {
        match self {
            Place::Redis(redis) => Some(redis.cli(&["GET", &name("npu-worker")])).filter(|key| !key.is_empty()),
            Place::Directory(directory) => {
                let text = std::fs::read_to_string(directory.path().join("npu-worker.env")).ok()?;
                text.lines().find_map(|line| line.strip_prefix("SERVICE_KEY=")).map(ToOwned::to_owned)
            }
        }
    }
}

impl Guarded {
    fn each(configure: impl Fn(Builder) -> Builder) -> impl Iterator<Item = Guarded> {
        Place::each().map(move |place| {
            let upstream = Recorder::plain();
            let sidecar = configure(place.configure(Builder::guarding(upstream.address).unlimited())).start();
            Guarded { place, upstream, sidecar }
        })
    }

    /// `countersign keys ...` with this sidecar's configuration.
    fn keys(&self, arguments: &[&str]) -> Output {
        keys(&self.sidecar.config_path(), arguments)
    }

    /// The answer to a request signed with this key.
    fn status(&self, key: &str) -> u16 {
        let signed = sign::headers(key, "npu-worker", "GET", PATH);
        exchange(self.sidecar.address, format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{signed}\r\n")).status
    }
}

fn keys(config: &Path, arguments: &[&str]) -> Output {
    countersign().arg("keys").args(arguments).arg("--config").arg(config).output().unwrap()
}

/// Everything it printed; a key must never be in it.
#[track_caller]
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    assert!(!text.as_bytes().windows(64).any(|window| window.iter().all(is_hex)), "a key is printed:\n{text}");
    text
}

/// It ended with this exit code; what it printed.
#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// The JSON it printed, which is about one service.
#[track_caller]
fn json(output: &Output, code: i32) -> Value {
    let text = ended(output, code);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    value["keys"].as_array().unwrap_or_else(|| panic!("{value}")).clone().pop().unwrap()
}

/// What `keys list` says of `npu-worker`.
#[track_caller]
fn listed(config: &Path) -> Value {
    json(&keys(config, &["list", "npu-worker", "--json"]), 0)
}

fn key_file(directory: &Path) -> PathBuf {
    directory.join("npu-worker.env")
}
