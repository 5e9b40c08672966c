//! Real Python on both sides: uvicorn upstreams, and clients that sign as the contract says.

use super::process::Process;
use super::{eventually, free_address, missing};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The interpreter of the virtual environment that `tests/run` makes; `None` (and a word about it) when there is none.
#[track_caller]
pub(crate) fn interpreter() -> Option<PathBuf> {
    let venv = std::env::var_os("COUNTERSIGN_TEST_VENV")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"), PathBuf::from);
    let python = venv.join("bin/python");
    if python.exists() {
        return Some(python);
    }
    missing("the virtual environment target/test-venv");
    None
}

pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// uvicorn's two parsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parser {
    H11,
    Httptools,
}

impl Parser {
    pub(crate) const BOTH: [Parser; 2] = [Parser::H11, Parser::Httptools];

    fn name(self) -> &'static str {
        match self {
            Parser::H11 => "h11",
            Parser::Httptools => "httptools",
        }
    }
}

/// A uvicorn serving `tests/python/apps/backend.py`.
pub(crate) struct Uvicorn {
    pub(crate) address: SocketAddr,
    _process: Process,
}

impl Uvicorn {
    /// Starts one of its own.
    pub(crate) fn start(parser: Parser) -> Option<Uvicorn> {
        let python = interpreter()?;
        let address = free_address();
        let mut command = Command::new(python);
        command
            .args(["-m", "uvicorn", "backend:app", "--no-access-log", "--lifespan", "off", "--host", "127.0.0.1"])
            .args(["--http", parser.name(), "--port", &address.port().to_string()])
            .arg("--app-dir")
            .arg(scripts().join("apps"));
        let mut process = Process::start(&command);
        eventually("uvicorn to listen", || {
            if let Some(status) = process.ended() {
                panic!("uvicorn ended with {status}: {}", process.stderr.text());
            }
            TcpStream::connect(address).ok()
        });
        Some(Uvicorn { address, _process: process })
    }

    /// One instance for all tests of this process.
    pub(crate) fn shared(parser: Parser) -> Option<SocketAddr> {
        static SHARED: [OnceLock<Option<Uvicorn>>; 2] = [OnceLock::new(), OnceLock::new()];
        let slot = match parser {
            Parser::H11 => &SHARED[0],
            Parser::Httptools => &SHARED[1],
        };
        slot.get_or_init(|| Uvicorn::start(parser)).as_ref().map(|uvicorn| uvicorn.address)
    }
}

/// Runs `tests/python/clients/NAME.py` with these arguments; gives its JSON answer.
#[track_caller]
pub(crate) fn client(name: &str, arguments: &[&str]) -> Option<serde_json::Value> {
    client_in(name, arguments, &[])
}

/// The same with these environment variables.
#[track_caller]
pub(crate) fn client_in(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Option<serde_json::Value> {
    // Interpreters are heavy; one at a time keeps deadlines honest on a small machine.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let python = interpreter()?;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new("timeout");
    command.arg("60").arg(python).arg(scripts().join("clients").join(format!("{name}.py"))).args(arguments);
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy);
    }
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}.py {arguments:?} ended with {}:\n{errors}", output.status);
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{name}.py answered no JSON: {error}: {}\n{errors}", String::from_utf8_lossy(&output.stdout))
    }))
}
