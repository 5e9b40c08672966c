//! The checked shape of what is listened on and where it goes: [`Inbound`], [`Outbound`], [`Upstream`], and the TLS of each.

use crate::policy::outbound::Place;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Which direction a listener serves, and its place in that list of every generation: a reload may change what belongs to
/// it, never its address or its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// [`Config::inbound`](super::Config::inbound)
    Inbound(usize),
    /// [`Config::outbound`](super::Config::outbound)
    Outbound(usize),
}

impl super::Config {
    /// Every listener: inbound ones first, each list in the order of the file.
    pub fn sides(&self) -> impl Iterator<Item = Side> {
        (0..self.inbound.len()).map(Side::Inbound).chain((0..self.outbound.len()).map(Side::Outbound))
    }

    /// Where this listener listens.
    pub fn listen(&self, side: Side) -> &Listen {
        match side {
            Side::Inbound(place) => &self.inbound[place].listen,
            Side::Outbound(place) => &self.outbound[place].listen,
        }
    }

    /// Every upstream that requests of this listener may go to.
    pub fn upstreams(&self, side: Side) -> &[Upstream] {
        match side {
            Side::Inbound(place) => self.inbound[place].upstreams.all(),
            Side::Outbound(place) => match &self.outbound[place].destination {
                Destination::Upstreams(upstreams) => upstreams.all(),
                Destination::ForwardProxy { allow, .. } => allow,
            },
        }
    }

    /// Do the upstreams of this listener do the same, so that it needs one of them? Those of a forward proxy are destinations
    /// that requests name: they are nobody's to choose, and nothing is asked of them.
    pub fn chooses(&self, side: Side) -> bool {
        match side {
            Side::Inbound(_) => true,
            Side::Outbound(place) => match self.outbound[place].destination {
                Destination::Upstreams(_) => true,
                Destination::ForwardProxy { .. } => false,
            },
        }
    }

    /// How the upstreams of this listener are asked for their health.
    pub fn health(&self, side: Side) -> Option<&Health> {
        match side {
            Side::Inbound(place) => self.inbound[place].health.as_ref(),
            Side::Outbound(place) => self.outbound[place].health.as_ref(),
        }
    }
}

/// One guarded backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// `listen`
    pub listen: Listen,
    /// `upstream`: one or several.
    pub upstreams: Upstreams,
    /// `health`
    pub health: Option<Health>,
    /// `tls`
    pub tls: Option<ServerTls>,
    /// `h2c`: HTTP/2 with prior knowledge is spoken beside HTTP/1.1.
    pub h2c: bool,
    /// `trusted_proxies`: whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<IpNet>,
    /// `first_byte` of this listener, else `[timeouts].first_byte`.
    pub first_byte: Duration,
}

/// One way out that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// `listen`
    pub listen: Listen,
    /// Where requests go.
    pub destination: Destination,
    /// `health` of the upstreams; nothing is asked of a forward proxy's.
    pub health: Option<Health>,
    /// `h2c`: HTTP/2 with prior knowledge is spoken beside HTTP/1.1.
    pub h2c: bool,
    /// `allow_uids`: who may connect to a unix socket; `None`: whoever the file's mode lets.
    pub allow_uids: Option<Vec<u32>>,
    /// `first_byte` of this listener, else 30 s.
    pub first_byte: Duration,
}

/// Where what comes to an outbound listener goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `upstream`: all of it there.
    Upstreams(Upstreams),
    /// `forward_proxy = true`: where each request says, if that is listed.
    ForwardProxy {
        /// `allow`: signed for.
        allow: Vec<Upstream>,
        /// `connect`: tunnels may be opened there; nothing in them can be signed.
        connect: Vec<Upstream>,
    },
}

/// `tls` of an inbound listener. The files are read when a configuration is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// `cert`: PEM, the listener's own certificate first.
    pub cert: PathBuf,
    /// `key`: PEM, refused if group or others can read it.
    pub key: PathBuf,
    /// `client_ca`: PEM; who may vouch for clients. `None`: clients are not asked.
    pub client_ca: Option<PathBuf>,
    /// `client`: must one with `client_ca` present a certificate (`"required"`, the default), or may it (`"optional"`)?
    pub client_required: bool,
}

/// How an `https://` upstream is known. The files are read when a configuration is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// `ca`: PEM; who may vouch for the server. `None`: whoever the system trusts.
    pub ca: Option<PathBuf>,
    /// `name`: what its certificate must name, where that is not the host of the URL.
    pub name: Option<String>,
    /// `cert` and `key`: what we show of ourselves.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// One or several upstreams that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// The upstreams as written; `None` for an empty list.
    pub fn new(upstreams: Vec<Upstream>) -> Option<Upstreams> {
        (!upstreams.is_empty()).then_some(Upstreams(upstreams))
    }

    /// The first one written.
    pub fn first(&self) -> &Upstream {
        &self.0[0]
    }

    /// All of them, at least one, as written.
    pub fn all(&self) -> &[Upstream] {
        &self.0
    }
}

impl From<Upstream> for Upstreams {
    fn from(one: Upstream) -> Upstreams {
        Upstreams(vec![one])
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `host:port`, resolved.
    Tcp(SocketAddr),
    /// `systemd:NAME`
    Systemd(String),
    /// `unix:/path`
    Unix(PathBuf),
}

/// As it stands in a file.
impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Systemd(name) => write!(f, "systemd:{name}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One upstream address, `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Host as it stands in a URL (an IPv6 address in brackets), for `Host` of HTTP/1.0 requests without one, and for `Location` rewriting.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `https://`: how the server is known (`upstream_tls`).
    pub tls: Option<Arc<ClientTls>>,
    /// `upstream_http2`: HTTP/2, by ALPN over TLS, else with prior knowledge.
    pub http2: bool,
}

impl Upstream {
    /// Plain HTTP/1.1 to there.
    pub fn http(host: impl Into<String>, port: u16) -> Upstream {
        Upstream { host: host.into(), port, tls: None, http2: false }
    }

    /// The place it is, for the judgement of what leaves.
    pub fn place(&self) -> Place {
        Place { host: self.host.clone(), port: self.port, tls: self.tls.is_some() }
    }

    /// The scheme of its URL.
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The host as the system's resolver wants it: an IPv6 address without its brackets.
    pub fn lookup_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}

/// `host:port`, as it stands in a URL.
impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Active health check of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Path asked with GET; also the query if one was written.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// Status that means healthy.
    pub expect: u16,
    /// Top-level JSON members the body must have.
    pub json: BTreeMap<String, serde_json::Value>,
}
