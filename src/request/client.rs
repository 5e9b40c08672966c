//! [`ClientAddress`]: the peer and the trusted proxies in front of it → the address that counts, and its limit key.
//!
//! A caller can write any `X-Forwarded-For` it likes; only what a trusted proxy *appended* is knowledge. So the chain
//! (all values in order, then the peer) is walked from its right end, and the walk goes on only past addresses that the
//! operator trusts:
//!
//! 1. The peer is not trusted, or sits on a unix socket: it is the client, whatever the header says.
//! 2. Otherwise the rightmost entry that is not trusted is the client.
//! 3. An entry that is no address (`unknown`, an empty one, a zone id) ends the walk: the last trusted hop is the client.
//! 4. A chain of nothing but trusted addresses: its leftmost one.
//!
//! Attacks answered: a chosen header evades the failure limit (take the leftmost entry, and every request has a new
//! address) or inflicts it on a neighbour; an IPv4-mapped address (`::ffff:10.0.0.1`) counts apart from its IPv4 form; an
//! IPv6 host walks through the 2^64 addresses of its own network.
//!
//! Left out: `Forwarded` (RFC 7239). It is dropped, never read: two headers for one fact can disagree.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whom refusals are counted against: one IPv4 address, one IPv6 /64, or one local uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitKey {
    /// One IPv4 address; an IPv4-mapped IPv6 address counts as this.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    V6Net(u64),
    /// A peer on a unix socket, by its uid.
    Unix(u32),
}

/// Who is connected: the peer of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Ip(IpAddr),
    /// A unix-socket peer, by uid.
    Unix(u32),
}

impl Peer {
    /// May this peer say in `X-Forwarded-For` whom it stands for?
    pub fn is_trusted(self, trusted_proxies: &[IpNet]) -> bool {
        match self {
            Peer::Ip(address) => is_trusted(address.to_canonical(), trusted_proxies),
            Peer::Unix(_) => false,
        }
    }
}

/// The client address: the peer, or what a trusted proxy says stands behind it. Never an IPv4-mapped IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(Peer);

impl ClientAddress {
    /// Walks the chain. `forwarded_for`: the values of every `X-Forwarded-For` line, in the order they came.
    pub fn of<'v, I>(peer: Peer, trusted_proxies: &[IpNet], forwarded_for: I) -> ClientAddress
    where
        I: IntoIterator<Item = &'v [u8]>,
        I::IntoIter: DoubleEndedIterator,
    {
        let mut client = match peer {
            Peer::Ip(address) => address.to_canonical(),
            Peer::Unix(_) => return ClientAddress(peer),
        };
        if trusted_proxies.is_empty() || !is_trusted(client, trusted_proxies) {
            return ClientAddress(Peer::Ip(client));
        }
        let entries = forwarded_for.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for entry in entries {
            let Some(address) = parse_entry(entry) else { break };
            client = address;
            if !is_trusted(client, trusted_proxies) {
                break;
            }
        }
        ClientAddress(Peer::Ip(client))
    }

    /// The IP address; absent for a unix-socket peer.
    pub const fn ip(self) -> Option<IpAddr> {
        match self.0 {
            Peer::Ip(address) => Some(address),
            Peer::Unix(_) => None,
        }
    }

    /// Whom refusals of this client are counted against.
    pub fn limit_key(self) -> LimitKey {
        match self.0 {
            Peer::Ip(IpAddr::V4(address)) => LimitKey::V4(address),
            Peer::Ip(IpAddr::V6(address)) => LimitKey::V6Net((address.to_bits() >> 64) as u64),
            Peer::Unix(uid) => LimitKey::Unix(uid),
        }
    }
}

/// As in audit records: the address, or `unix:<uid>`.
impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Peer::Ip(address) => address.fmt(f),
            Peer::Unix(uid) => write!(f, "unix:{uid}"),
        }
    }
}

/// `address` is canonical; a network written in IPv4-mapped form covers it too.
fn is_trusted(address: IpAddr, trusted_proxies: &[IpNet]) -> bool {
    trusted_proxies.iter().any(|net| match (net, address) {
        (IpNet::V6(net), IpAddr::V4(address)) => net.prefix_len() >= 96 && net.contains(&address.to_ipv6_mapped()),
        (net, address) => net.contains(&address),
    })
}

/// One entry: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(inside) => IpAddr::V6(inside.parse().ok()?),
        // A zone id (`fe80::1%eth0`, `[fe80::1%2]:80`) names an interface of another machine: no address here.
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => match text.parse::<SocketAddr>().ok()? {
                SocketAddr::V6(socket) if socket.scope_id() != 0 => return None,
                socket => socket.ip(),
            },
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
