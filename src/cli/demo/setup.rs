//! The stage: a temporary directory with configurations, keys and audit files, a backend, the sidecar that guards it, and one
//! that signs for a service that calls it.

use super::backend::Backend;
use super::failed;
use crate::app::App;
use crate::app::control::Signals;
use crate::cli::output::CliError;
use crate::clock;
use crate::config::check::{self, Overrides, Purpose};
use crate::config::env::Environment;
use crate::config::reload::Source;
use crate::signature::hmac_v1;
use crate::signature::key::{ServiceId, ServiceKey};
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The services that have a key here.
const SERVICES: [&str; 3] = ["npu-worker", "ai-stack", "browser-service"];

/// How long the end waits for requests in flight.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// The configuration, as a person would write it.
const CONFIG: &str = r#"# The demo's configuration. With `countersign demo --stay`, edit it: it takes effect at once.
state_dir = "DIR/state"
workers = 1

[inbound]
listen = "INBOUND"
upstream = "http://UPSTREAM"

[keys]
dir = "DIR/keys"

[enforcement]
mode = "MODE"
override_token_file = "DIR/override-token"

[audit]
file = "DIR/audit.jsonl"

[admin]
listen = "ADMIN"

[log]
level = "error"

[timeouts]
drain = "2s"

[[rule]]
name = "browsers"
paths = ["/api/health", "/api/chat", "/api/files", "/api/npu/workers", "/docs"]
access = "exempt"

[[rule]]
name = "npu"
paths = ["/api/npu/results", "/api/npu/heartbeat", "/api/npu/status", "/api/npu/internal"]
access = "service"
callers = ["npu-worker"]

[[rule]]
name = "browser"
paths = ["/api/browser/screenshots", "/api/browser/heartbeat"]
access = "service"
callers = ["browser-service"]

[[rule]]
name = "internal"
paths = ["/api/internal"]
access = "service"

[[rule]]
name = "ai-stack, not yet activated"
paths = ["/api/ai-stack/results", "/api/ai-stack/status"]
access = "service"
callers = ["ai-stack"]
enforce = 0
"#;

/// The configuration of the sidecar beside the service that calls.
const SIGNING_CONFIG: &str = r#"# The demo's sidecar that signs what a service sends.
state_dir = "DIR/signing-state"
workers = 1

[service]
id = "npu-worker"
key_file = "DIR/keys/npu-worker.env"

[[outbound]]
listen = "SIGNING"
upstream = "http://INBOUND"

[[outbound]]
listen = "PROXY"
forward_proxy = true
allow = ["INBOUND"]

[keys]
dir = "DIR/keys"

[audit]
file = "DIR/outbound.jsonl"

[admin]
listen = "off"

[log]
level = "error"

[timeouts]
drain = "2s"
"#;

/// Log or enforce.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Log,
    Enforce,
}

/// Everything that is set up.
pub(super) struct Stage {
    pub(super) backend: Backend,
    pub(super) inbound: SocketAddr,
    /// Signs for the guarded backend.
    pub(super) signing: SocketAddr,
    /// The same as a forward proxy.
    pub(super) proxy: SocketAddr,
    admin: SocketAddr,
    keys: BTreeMap<&'static str, (ServiceId, ServiceKey)>,
    /// The override token, for one case; it goes into no argument list.
    pub(super) override_token: String,
    pub(super) app: App,
    signer: App,
    /// Last, so that it is removed when nothing uses it any more.
    directory: Directory,
}

/// Where to go with `--stay`.
#[derive(Debug, Serialize)]
pub(super) struct Addresses {
    pub(super) guarded: SocketAddr,
    pub(super) signing: SocketAddr,
    pub(super) forward_proxy: SocketAddr,
    pub(super) backend: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) directory: PathBuf,
}

impl Stage {
    /// Sets everything up, in mode enforce.
    pub(super) async fn set() -> Result<Stage, CliError> {
        let write = |error: io::Error| failed("write into the temporary directory", &error);
        let directory = Directory::make().map_err(|error| failed("make a temporary directory", &error))?;
        let backend = Backend::start().await.map_err(|error| failed("start a backend", &error))?;
        let [inbound, admin, signing, proxy] = free_addresses().map_err(|error| failed("find free ports", &error))?;

        let mut keys = BTreeMap::new();
        make_directory(&directory.path.join("keys")).map_err(write)?;
        for service in SERVICES {
            let text = random_text().map_err(write)?;
            write_private(&directory.path.join(format!("keys/{service}.env")), &format!("SERVICE_KEY={text}\n"))
                .map_err(write)?;
            keys.insert(service, identity(service, &text)?);
        }
        keys.insert("forger", identity("npu-worker", &random_text().map_err(write)?)?);
        keys.insert("ghost", identity("ghost-service", &random_text().map_err(write)?)?);
        let override_token = random_text().map_err(write)?;
        write_private(&directory.path.join("override-token"), &format!("{override_token}\n")).map_err(write)?;
        // For curl's `-H @file`: the token then stands in no argument list.
        write_private(&directory.path.join("override-header"), &format!("X-Override-Token: {override_token}\n"))
            .map_err(write)?;

        write_config(&directory.path, Mode::Enforce, inbound, admin, backend.address).map_err(write)?;
        let app = start(&directory.path.join("countersign.toml")).await?;
        let text = SIGNING_CONFIG
            .replace("DIR", &directory.path.display().to_string())
            .replace("SIGNING", &signing.to_string())
            .replace("PROXY", &proxy.to_string())
            .replace("INBOUND", &inbound.to_string());
        let file = directory.path.join("signing.toml");
        write_private(&file, &text).map_err(write)?;
        let signer = start(&file).await?;
        Ok(Stage { backend, inbound, signing, proxy, admin, keys, override_token, app, signer, directory })
    }

    /// Rewrites the configuration file for this mode and lets it take effect.
    pub(super) fn configure(&mut self, mode: Mode) -> io::Result<()> {
        write_config(&self.directory.path, mode, self.inbound, self.admin, self.backend.address)?;
        self.app.reload("demo").map(drop).map_err(io::Error::other)
    }

    /// The audit file of the sidecar that guards.
    pub(super) fn audit_file(&self) -> PathBuf {
        self.directory.path.join("audit.jsonl")
    }

    /// The audit file of the sidecar that signs.
    pub(super) fn signing_audit_file(&self) -> PathBuf {
        self.directory.path.join("outbound.jsonl")
    }

    /// The signature headers of a POST by one of the identities, `age` seconds old; each line with its CRLF.
    pub(super) fn sign(&self, who: &str, path: &str, age: u64) -> String {
        let (id, key) = &self.keys[who];
        let headers = hmac_v1::sign(key, id, "POST", path, clock::unix_seconds().saturating_sub(age));
        headers.iter().fold(String::new(), |mut lines, (name, value)| {
            let _ = write!(lines, "{name}: {value}\r\n");
            lines
        })
    }

    /// Where to go.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            guarded: self.inbound,
            signing: self.signing,
            forward_proxy: self.proxy,
            backend: self.backend.address,
            admin: self.admin,
            directory: self.directory.path.clone(),
        }
    }

    /// Ends at once, or when a signal says so; then nothing of it is left.
    pub(super) async fn end(self, signals: Option<Signals>) -> Result<(), CliError> {
        let Stage { app, signer, directory, .. } = self;
        let ended = super::end(app, signals).await;
        signer.stop("demo", DRAIN).await;
        drop(directory);
        ended
    }
}

/// The very thing that `run` does, with nothing of this process's environment.
async fn start(file: &Path) -> Result<App, CliError> {
    let source =
        Source { file: Some(file.to_owned()), environment: Environment::default(), overrides: Overrides::default() };
    let loaded = check::load(source.file.as_deref(), &source.environment, &source.overrides, Purpose::Run)
        .map_err(|problems| CliError::Configuration(Box::new(problems)))?;
    App::start(source, loaded, None).await.map_err(|error| CliError::Failed(error.to_string()))
}

fn write_config(
    directory: &Path,
    mode: Mode,
    inbound: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
) -> io::Result<()> {
    let mode = match mode {
        Mode::Log => "log",
        Mode::Enforce => "enforce",
    };
    let text = CONFIG
        .replace("DIR", &directory.display().to_string())
        .replace("INBOUND", &inbound.to_string())
        .replace("UPSTREAM", &upstream.to_string())
        .replace("ADMIN", &admin.to_string())
        .replace("MODE", mode);
    write_private(&directory.join("countersign.toml"), &text)
}

fn identity(service: &str, key: &str) -> Result<(ServiceId, ServiceKey), CliError> {
    let id = ServiceId::parse(service).ok_or_else(|| CliError::Failed(format!("{service:?} is no service id")))?;
    let key = ServiceKey::from_text(key).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok((id, key))
}

/// 256 bits as 64 hex digits.
fn random_text() -> io::Result<String> {
    clock::random_bytes::<32>().map(|bytes| HEXLOWER.encode(&bytes)).map_err(io::Error::other)
}

/// Addresses that are free now. All are held until all are found, so that none is given twice.
fn free_addresses() -> io::Result<[SocketAddr; 4]> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [free()?, free()?, free()?, free()?];
    Ok([held[0].local_addr()?, held[1].local_addr()?, held[2].local_addr()?, held[3].local_addr()?])
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// A private temporary directory, removed with all it holds.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn make() -> io::Result<Directory> {
        let name = HEXLOWER.encode(&clock::random_bytes::<8>().map_err(io::Error::other)?);
        let path = std::env::temp_dir().join(format!("countersign-demo-{name}"));
        make_directory(&path)?;
        Ok(Directory { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is named by its directory's name; there is nobody left to tell.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
