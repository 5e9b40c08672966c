//! The commands that ask a running sidecar: where its control API is, one request, one answer.
//!
//! The socket is, in this order: `--socket`; what the configuration says (`[admin].socket`, or where it is when nobody says); the
//! default. A configuration that is not good is no obstacle: whoever steers in an emergency may have just broken it.

use super::args::ConfigArgs;
use super::output::{CliError, complain};
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::config::{AdminSocket, defaults};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Which sidecar.
#[derive(Debug, Clone, clap::Args)]
pub struct SidecarArgs {
    /// The sidecar's admin socket [default: as its configuration says]
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    #[command(flatten)]
    /// Its configuration.
    pub config: ConfigArgs,
}

/// A running sidecar, as its commands reach it.
#[derive(Debug)]
pub struct Sidecar {
    /// The control API.
    pub socket: PathBuf,
    /// Where its state is; for a rollback while nobody answers.
    pub state_dir: PathBuf,
}

/// What was answered.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Nobody listens, or we may not ask.
    #[error("cannot reach the sidecar on {}: {error}{}", socket.display(), hint(error))]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// It listens, and does not answer.
    #[error("the sidecar on {} did not answer: {why}", socket.display())]
    Silent {
        /// Where.
        socket: PathBuf,
        /// What came of it.
        why: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "\nrun this as root, or as the user of the sidecar",
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "\nis it running? `--socket FILE` or `--config FILE` says which one is meant"
        }
        _ => "",
    }
}

impl From<Unanswered> for CliError {
    fn from(unanswered: Unanswered) -> CliError {
        CliError::Unreachable(unanswered.to_string())
    }
}

impl SidecarArgs {
    /// Finds it, also where its configuration is not good at the moment: what is broken in the file is not what runs.
    ///
    /// # Errors
    /// When nothing says where it is, or its control API is switched off.
    pub fn find(&self) -> Result<Sidecar, CliError> {
        self.find_anyway(None)
    }

    /// The same, with the state directory of somebody who knows better. Of a configuration that is not good only the two places
    /// are read, as far as they can be.
    ///
    /// # Errors
    /// As [`SidecarArgs::find`].
    pub fn find_anyway(&self, state_dir: Option<&Path>) -> Result<Sidecar, CliError> {
        let found = match self.find_whole() {
            Ok(found) => found,
            Err(CliError::Configuration(problems)) => {
                let (socket, state) = self.places();
                let state = state_dir.map(Path::to_owned).or(state);
                let Some(socket) = socket.or_else(|| Some(state.clone()?.join("admin.sock"))) else {
                    return Err(CliError::Usage(format!(
                        "{}\nsay which sidecar is meant: --socket FILE (and for a rollback --state-dir DIR)",
                        problems.one_line()
                    )));
                };
                complain(&format!(
                    "the configuration is not good, and what runs is asked all the same: {}",
                    problems.one_line()
                ));
                Sidecar { socket, state_dir: state.unwrap_or_else(|| PathBuf::from(defaults::STATE_DIR)) }
            }
            Err(error) => return Err(error),
        };
        Ok(Sidecar { state_dir: state_dir.map_or(found.state_dir, Path::to_owned), socket: found.socket })
    }

    /// Finds it by a configuration that is good.
    ///
    /// # Errors
    /// When it is not, or the control API is switched off.
    pub fn find_whole(&self) -> Result<Sidecar, CliError> {
        let environment = Environment::of_process();
        let file = self.config.path();
        let loaded = check::load(Some(file), &environment, &Overrides::default(), Purpose::Inspect);
        let (said, state_dir) = match loaded {
            Ok(loaded) => (loaded.config.admin.socket, loaded.config.state_dir),
            Err(problems) if self.config.is_named() && self.socket.is_none() => {
                return Err(CliError::Configuration(Box::new(problems)));
            }
            Err(_) => (AdminSocket::Default(defaults::ADMIN_SOCKET.into()), PathBuf::from(defaults::STATE_DIR)),
        };
        match (&self.socket, said.path()) {
            (Some(socket), _) => Ok(Sidecar { socket: socket.clone(), state_dir }),
            (None, Some(socket)) => Ok(Sidecar { socket: socket.to_owned(), state_dir }),
            (None, None) => Err(CliError::Usage(
                "this sidecar has no control API: `socket = \"off\"` under [admin] of its configuration".to_owned(),
            )),
        }
    }

    /// `admin.socket` and `state_dir`, line by line: the file need not be whole.
    fn places(&self) -> (Option<PathBuf>, Option<PathBuf>) {
        let file = self.config.path();
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let base = file.parent().unwrap_or(Path::new(""));
        let of = |key: &str| {
            let line = text.lines().map(str::trim).find(|line| line.starts_with(key))?;
            let value = line[key.len()..].trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
            let path = base.join(value.split('"').next()?);
            Some(std::path::absolute(&path).unwrap_or(path))
        };
        (of("socket"), of("state_dir"))
    }
}

impl Sidecar {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answered, Unanswered> {
        let silent = |why: String| Unanswered::Silent { socket: self.socket.clone(), why };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| silent(format!("no runtime: {error}")))?;
        runtime.block_on(self.asked(method, path, body))
    }

    /// The same for who waits for other things too.
    ///
    /// # Errors
    /// When there is none.
    pub async fn asked(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answered, Unanswered> {
        match tokio::time::timeout(PATIENCE, exchange(&self.socket, method, path, body)).await {
            Ok(answered) => answered,
            Err(_) => {
                let why = format!("nothing came within {} s", PATIENCE.as_secs());
                Err(Unanswered::Silent { socket: self.socket.clone(), why })
            }
        }
    }

    /// The same; an answer that is no success is an error: 3 where it is stopping, else 1.
    ///
    /// # Errors
    /// What the sidecar said against it, or why it said nothing.
    pub fn done(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let answered = self.ask(method, path, body)?;
        if (200..300).contains(&answered.status) {
            return Ok(answered.body);
        }
        let detail = answered.body.get("detail").and_then(Value::as_str).unwrap_or("it gave no reason");
        match answered.status {
            400 | 404 | 405 | 415 => Err(CliError::Usage(detail.to_owned())),
            503 => Err(CliError::Unreachable(detail.to_owned())),
            _ => Err(CliError::Failed(detail.to_owned())),
        }
    }
}

async fn exchange(socket: &Path, method: &Method, path: &str, body: Option<&Value>) -> Result<Answered, Unanswered> {
    let silent = |why: &dyn std::fmt::Display| Unanswered::Silent { socket: socket.to_owned(), why: why.to_string() };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| Unanswered::Unreachable { socket: socket.to_owned(), error })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| silent(&error))?;
    let connection = tokio::spawn(connection);
    let text = body.map(Value::to_string).unwrap_or_default();
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(text))).map_err(|error| silent(&error))?;
    let response = sender.send_request(request).await.map_err(|error| silent(&error))?;
    let status = response.status().as_u16();
    let bytes = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| silent(&error))?;
    connection.abort();
    let body = serde_json::from_slice(&bytes.to_bytes()).map_err(|error| silent(&error))?;
    Ok(Answered { status, body })
}

/// As part of a query: all but what never has a meaning of its own as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Longer than the sidecar waits for its disk, and for a fleet.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of an answer.
const LARGEST: usize = 64 << 20;

/// Who ran `sudo`, if that is how this was run: told to the sidecar, for its record.
pub fn sudo_user() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty())
}
