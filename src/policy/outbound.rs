//! [`judge`]: may this request of a program on this machine leave, signed as this machine's service, and where to?
//!
//! In this order; the first thing that is wrong refuses it:
//!
//! 1. Who asks: on a unix socket with `allow_uids`, one of those users.
//! 2. A web page asks: any `Origin`, or a `Sec-Fetch-Site` other than `none` and `same-origin`. Browsers let any page send
//!    requests to 127.0.0.1, and what leaves here is signed: the listener would be its deputy.
//! 3. Where to. `CONNECT`: only to a place listed for tunnels. A whole URL: at a forward proxy, only one that names a listed
//!    place with its scheme; else the listener itself or its upstream. A path: at a forward proxy, `Host` must name a listed
//!    place (which is what a redirected port delivers), and it is not enough that it names the listener; else all go to
//!    the upstream.
//! 4. `Host` names the listener or the place. Any other is what a page sends whose own name was made to lead to this
//!    machine (DNS rebinding). Beside a whole URL it does not say where the request goes (RFC 9112 section 3.2.2), but it
//!    must not say anything else either. None at all is not a browser's.
//! 5. There is a key to sign with. Nothing leaves unsigned in its place.
//!
//! Names are matched as they are written, see [`Authority`]: no name is resolved here, so none can be made to match.
//!
//! Left out: which user of this machine sends over TCP (every local program may; a unix socket with `allow_uids` tells
//! them apart), and what the destination lets this service do: that is its own to decide.

use crate::request::authority::Authority;
use crate::request::client::Peer;
use crate::request::head::{RequestHead, Target};
use std::net::{IpAddr, SocketAddr};

/// A place requests may go to, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host as it stands in a URL.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `https://`
    pub tls: bool,
}

/// What one listener does with what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Listener<'l> {
    /// Where the client reached it; `None` for a unix socket.
    pub address: Option<SocketAddr>,
    /// The users that may connect to a unix socket; `None`: whoever the file's mode lets.
    pub allow_uids: Option<&'l [u32]>,
    /// Where requests go.
    pub way: Way<'l>,
}

/// Where requests go.
#[derive(Debug, Clone, Copy)]
pub enum Way<'l> {
    /// All of them to these, which do the same.
    Upstreams(&'l [Place]),
    /// Where each says, if that is listed.
    ForwardProxy {
        /// Signed for.
        allow: &'l [Place],
        /// Tunnels may be opened there; nothing in them can be signed.
        connect: &'l [Place],
    },
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Be signed and sent to the listener's upstream.
    Upstream,
    /// Be signed and sent to this place of `allow`.
    Allowed(usize),
    /// Open a tunnel to this place of `connect`.
    Tunnel(usize),
}

/// Why a request does not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboundRefusal {
    /// No two servers read it alike.
    MalformedRequest,
    /// This user may not use the socket.
    PeerNotAllowed,
    /// A web page asks.
    CrossOrigin,
    /// It names a place that is not listed, or the wrong name for this listener.
    HostNotAllowed,
    /// `CONNECT` to a place that is not listed for it.
    ConnectNotAllowed,
    /// There is no key to sign with.
    SigningKeyUnavailable,
    /// The audit sink is full and the operator chose to block.
    AuditUnavailable,
}

impl OutboundRefusal {
    /// The word in audit records, metrics and answers.
    pub const fn code(self) -> &'static str {
        match self {
            OutboundRefusal::MalformedRequest => "malformed_request",
            OutboundRefusal::PeerNotAllowed => "peer_not_allowed",
            OutboundRefusal::CrossOrigin => "cross_origin",
            OutboundRefusal::HostNotAllowed => "host_not_allowed",
            OutboundRefusal::ConnectNotAllowed => "connect_not_allowed",
            OutboundRefusal::SigningKeyUnavailable => "signing_key_unavailable",
            OutboundRefusal::AuditUnavailable => "audit_unavailable",
        }
    }

    /// Every refusal, for tables and metrics.
    pub const ALL: [OutboundRefusal; 7] = [
        OutboundRefusal::MalformedRequest,
        OutboundRefusal::PeerNotAllowed,
        OutboundRefusal::CrossOrigin,
        OutboundRefusal::HostNotAllowed,
        OutboundRefusal::ConnectNotAllowed,
        OutboundRefusal::SigningKeyUnavailable,
        OutboundRefusal::AuditUnavailable,
    ];
}

/// Judges one request. `has_key`: is there a key to sign with?
///
/// # Errors
/// The first reason why it may not leave.
pub fn judge(
    head: &RequestHead,
    peer: Peer,
    listener: &Listener<'_>,
    has_key: bool,
) -> Result<Passage, OutboundRefusal> {
    if !may_connect(peer, listener.allow_uids) {
        return Err(OutboundRefusal::PeerNotAllowed);
    }
    if head.fields().any(|(name, value)| is_of_a_page(name, value)) {
        return Err(OutboundRefusal::CrossOrigin);
    }
    let asked = Asked { host: head.host(), address: listener.address };
    let passage = match (head.target(), listener.way) {
        (Target::Tunnel(authority), Way::ForwardProxy { connect, .. }) => asked.tunnel(authority, connect),
        (Target::Tunnel(_), Way::Upstreams(_)) => Err(OutboundRefusal::ConnectNotAllowed),
        (Target::Path, Way::Upstreams(places)) => asked.upstream(places),
        (Target::Url { https, authority }, Way::Upstreams(places)) => asked.upstream_by_url(https, authority, places),
        (Target::Path, Way::ForwardProxy { allow, .. }) => asked.redirected(allow),
        (Target::Url { https, authority }, Way::ForwardProxy { allow, .. }) => asked.allowed(https, authority, allow),
    }?;
    match passage {
        Passage::Upstream | Passage::Allowed(_) if !has_key => Err(OutboundRefusal::SigningKeyUnavailable),
        Passage::Upstream | Passage::Allowed(_) | Passage::Tunnel(_) => Ok(passage),
    }
}

fn may_connect(peer: Peer, allow_uids: Option<&[u32]>) -> bool {
    match (peer, allow_uids) {
        (_, None) => true,
        (Peer::Unix(uid), Some(uids)) => uids.contains(&uid),
        // The list is about users, and who stands behind a TCP connection nobody says.
        (Peer::Ip(_), Some(_)) => false,
    }
}

/// Does this header say that a web page asks, and not this page's own server?
fn is_of_a_page(name: &[u8], value: &[u8]) -> bool {
    match name.len() {
        6 => name.eq_ignore_ascii_case(b"origin"),
        14 => name.eq_ignore_ascii_case(b"sec-fetch-site") && !matches!(value, b"none" | b"same-origin"),
        _ => false,
    }
}

/// What is known of where a request was sent.
struct Asked<'a> {
    host: Option<&'a str>,
    address: Option<SocketAddr>,
}

impl Asked<'_> {
    fn upstream(&self, places: &[Place]) -> Result<Passage, OutboundRefusal> {
        self.host_is(places).map(|()| Passage::Upstream)
    }

    fn upstream_by_url(&self, https: bool, text: &str, places: &[Place]) -> Result<Passage, OutboundRefusal> {
        let authority = Authority::parse(text).ok_or(OutboundRefusal::HostNotAllowed)?;
        let named = places.iter().any(|place| (place.tls || !https) && place.is_named_by(authority, https));
        if named || !https && self.is_listener(authority) {
            self.upstream(places)
        } else {
            Err(OutboundRefusal::HostNotAllowed)
        }
    }

    fn allowed(&self, https: bool, text: &str, allow: &[Place]) -> Result<Passage, OutboundRefusal> {
        let authority = Authority::parse(text).ok_or(OutboundRefusal::HostNotAllowed)?;
        let at = allow.iter().position(|place| place.tls == https && place.is_named_by(authority, https));
        let at = at.ok_or(OutboundRefusal::HostNotAllowed)?;
        self.host_is(&allow[at..=at]).map(|()| Passage::Allowed(at))
    }

    /// A path at a forward proxy: what it was sent to can only be told by `Host`.
    fn redirected(&self, allow: &[Place]) -> Result<Passage, OutboundRefusal> {
        let authority = self.host.and_then(Authority::parse).ok_or(OutboundRefusal::HostNotAllowed)?;
        let at = allow.iter().position(|place| !place.tls && place.is_named_by(authority, false));
        at.map(Passage::Allowed).ok_or(OutboundRefusal::HostNotAllowed)
    }

    fn tunnel(&self, text: &str, connect: &[Place]) -> Result<Passage, OutboundRefusal> {
        // A tunnel has no default port: it must be written.
        let authority = Authority::parse(text).filter(|authority| authority.port.is_some());
        let authority = authority.ok_or(OutboundRefusal::ConnectNotAllowed)?;
        let at = connect.iter().position(|place| authority.names(&place.host, place.port, 0));
        let at = at.ok_or(OutboundRefusal::ConnectNotAllowed)?;
        let place = &connect[at];
        let is_good = |host: Authority<'_>| host.names(&place.host, place.port, place.port) || self.is_listener(host);
        match self.host {
            Some(host) if !Authority::parse(host).is_some_and(is_good) => Err(OutboundRefusal::HostNotAllowed),
            Some(_) | None => Ok(Passage::Tunnel(at)),
        }
    }

    /// Is `Host` absent, the listener's, or one of these places'?
    fn host_is(&self, places: &[Place]) -> Result<(), OutboundRefusal> {
        let Some(host) = self.host else { return Ok(()) };
        let is_good = Authority::parse(host).is_some_and(|host| {
            self.is_listener(host) || places.iter().any(|place| place.is_named_by(host, place.tls))
        });
        if is_good { Ok(()) } else { Err(OutboundRefusal::HostNotAllowed) }
    }

    /// Is it a name of this listener: its address, or that of the loopback interface, with its port? A unix socket has no
    /// address; clients call it `localhost`.
    fn is_listener(&self, authority: Authority<'_>) -> bool {
        let is_localhost = authority.host.eq_ignore_ascii_case("localhost");
        let Some(address) = self.address else { return is_localhost };
        let bare = authority.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(authority.host);
        let ip: Option<IpAddr> = bare.parse().ok();
        authority.port.unwrap_or(HTTP) == address.port()
            && (is_localhost || ip.is_some_and(|ip| ip == address.ip().to_canonical() || LOOPBACK.contains(&ip)))
    }
}

impl Place {
    fn is_named_by(&self, authority: Authority<'_>, https: bool) -> bool {
        authority.names(&self.host, self.port, if https { HTTPS } else { HTTP })
    }
}

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// What programs write for this machine.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];

#[cfg(test)]
mod tests;
