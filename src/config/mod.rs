//! The operator's wishes: [`Config`], the checked shape. Every value is final here: no `Option` means "default".
//!
//! `file` mirrors the TOML, `env` overlays the fleet's environment, `check` turns both into this, reporting every
//! problem at once with `diagnostic`; `reload` watches and swaps whole.

use crate::policy::certificates::CertificateBindings;
use crate::policy::enforcement::Enforcement;
use crate::policy::override_token::OverrideToken;
use crate::rules::classify::RuleSet;
use crate::signature::key::ServiceId;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod addresses;
mod audit_file;
mod build;
pub mod check;
pub mod defaults;
pub mod diagnostic;
pub mod env;
mod file;
mod flags;
mod headers;
mod include;
mod key_settings;
mod keys;
mod listeners;
mod mask;
mod network;
mod problems;
mod ramp;
mod readers;
mod redis_url;
pub mod reload;
mod render;
mod rules;
mod secrets;
mod shared;
mod sources;
mod syntax;
mod table;
mod tls_files;
mod values;
mod watch;
mod watched;

pub use addresses::url_argument;
pub use values::duration_argument;

pub use key_settings::{KeySourceKind, Keys, OwnKey, Redis, RedisPassword, RedisServers, ServiceIdentity};
pub use network::{ClientTls, Destination, Health, Inbound, Listen, Outbound, ServerTls, Side, Upstream, Upstreams};
pub use ramp::{Notify, Ramp, Webhook};

/// A whole, checked configuration. `config/countersign.toml` names and explains every key.
#[derive(Debug)]
pub struct Config {
    /// `state_dir`
    pub state_dir: PathBuf,
    /// Worker threads; already resolved from `0` (one per core).
    pub workers: usize,
    /// `[service]`: who this VM is; `None` where only inbound listeners are configured.
    pub service: Option<ServiceIdentity>,
    /// `[inbound]` or `[[inbound]]`.
    pub inbound: Vec<Arc<Inbound>>,
    /// `[[outbound]]`; with `inbound`, at least one listener.
    pub outbound: Vec<Arc<Outbound>>,
    /// `[keys]`
    pub keys: Keys,
    /// `[signature]`
    pub signature: Signature,
    /// `[enforcement]` mode, percentage and sampling.
    pub enforcement: Enforcement,
    /// `[enforcement].shared_key_file`, where `shared` is true: the state of enforcement is shared through `[keys].redis`.
    pub shared_key: Option<PathBuf>,
    /// `[enforcement].override_token_file` or the environment's token, hashed.
    pub override_token: Option<OverrideToken>,
    /// `[enforcement].rate_limit`
    pub rate_limit: RateLimit,
    /// `[ramp]`
    pub ramp: Ramp,
    /// `[services.*]`
    pub services: BTreeMap<ServiceId, Service>,
    /// `[services.*].certificate`, ready to be asked.
    pub certificates: CertificateBindings,
    /// `[[rule]]` and `default_access`.
    pub rules: RuleSet,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[limits]`
    pub limits: Limits,
    /// `[refusal].headers`, checked, ready to be written.
    pub refusal_headers: Vec<(String, String)>,
    /// `[audit]`
    pub audit: Audit,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// The files all this was read from, in the order of reading; none with flags alone.
    pub files: Vec<Arc<diagnostic::SourceFile>>,
}

/// `[signature]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// `window`, whole seconds.
    pub window_seconds: u64,
    /// `replay`
    pub replay: Replay,
}

/// What a second sight of the same signature means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Not looked at.
    Off,
    /// Recorded.
    Report,
    /// Refused.
    Refuse,
}

/// `[enforcement].rate_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Refusals before the next one is answered 429; at least 1.
    pub failures: u32,
    /// The sliding window.
    pub window: Duration,
    /// Does the limit also hold valid signatures?
    pub lockout: bool,
    /// How many addresses are remembered at most.
    pub addresses: usize,
}

/// `[services.ID]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// `addresses`
    pub addresses: Vec<IpNet>,
    /// `certificate`: the name (DNS or URI) its client certificate must bear, where one is presented.
    pub certificate: Option<String>,
    /// `unused`: its key alerts nobody.
    pub unused: bool,
}

/// `[timeouts]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head; also how long a fresh connection may stay silent.
    pub head: Duration,
    /// Keep-alive.
    pub idle: Duration,
    /// No progress on a request body.
    pub body_idle: Duration,
    /// A reader that takes nothing.
    pub write_idle: Duration,
    /// Upstream connection.
    pub connect: Duration,
    /// Upstream's first byte of the answer.
    pub first_byte: Duration,
    /// No byte in either direction of a tunnel; `None`: never cut.
    pub tunnel_idle: Option<Duration>,
    /// How long a stop waits for what is in flight.
    pub drain: Duration,
}

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head.
    pub head: usize,
    /// Bytes of a request target.
    pub target: usize,
    /// Header fields.
    pub headers: usize,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one client address.
    pub connections_per_address: usize,
    /// Requests in flight upstream; beyond it 503 at once.
    pub upstream_requests: usize,
}

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// `file`
    pub sink: AuditSink,
    /// `rotate.size`, bytes.
    pub rotate_size: u64,
    /// `rotate.age`
    pub rotate_age: Duration,
    /// `rotate.keep`: rotated files kept.
    pub rotate_keep: usize,
    /// `keep_service`: how long rotated records of service paths are kept.
    pub keep_service: Duration,
    /// `on_full`
    pub on_full: OnFull,
}

/// Where audit records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditSink {
    /// A file, rotated.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// The journal, natively.
    Journald,
    /// Nowhere (only for `demo` and tests of other parts; not writable in the file).
    None,
}

/// What happens when the audit queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// The record is dropped and counted.
    DropAndCount,
    /// Service requests wait 1 s, then 503 `audit_unavailable`; others never wait.
    Block,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: the read-only listener; `None` when switched off with `listen = "off"`.
    pub listen: Option<SocketAddr>,
    /// `allowed_hosts`: `Host` values accepted beyond loopback names.
    pub allowed_hosts: Vec<String>,
    /// `socket`: the control API.
    pub socket: AdminSocket,
}

/// Where the control API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminSocket {
    /// `socket = "off"`
    Off,
    /// Somebody said where: what cannot be made there stops the start.
    Said(PathBuf),
    /// Nobody said: what cannot be made there is told of, and the sidecar runs without it.
    Default(PathBuf),
}

impl AdminSocket {
    /// Where it is, if anywhere.
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            AdminSocket::Off => None,
            AdminSocket::Said(path) | AdminSocket::Default(path) => Some(path),
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// `level`
    pub level: LogLevel,
    /// `format`
    pub format: LogFormat,
}

/// Log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what stops something.
    Error,
    /// And what needs a person.
    Warn,
    /// And what changed.
    Info,
    /// And what strangers trigger.
    Debug,
    /// Everything.
    Trace,
}

/// Log formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The service that calls from this address, if one is configured to: a refused call from there is its failure, even
    /// if it names nobody. The first by id, where two share an address.
    pub fn service_at(&self, address: Option<IpAddr>) -> Option<&str> {
        let address = address?;
        let calls_from = |service: &Service| service.addresses.iter().any(|net| net.contains(&address));
        self.services.iter().find(|(_, service)| calls_from(service)).map(|(id, _)| id.as_str())
    }

    /// The same, preferring the service that is claimed where several share the address.
    pub fn service_calling(&self, address: IpAddr, claimed: Option<&str>) -> Option<&str> {
        let claimed = claimed.and_then(|claimed| self.services.get_key_value(claimed));
        let at_home = claimed.filter(|(_, service)| service.addresses.iter().any(|net| net.contains(&address)));
        at_home.map(|(id, _)| id.as_str()).or_else(|| self.service_at(Some(address)))
    }
}
