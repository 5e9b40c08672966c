//! [`ClientAddress`]: the peer and the trusted proxies in front of it → the address that counts, and its limit key.

use std::net::{IpAddr, Ipv4Addr};

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

/// The client address: the peer, or what a trusted proxy says stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub Peer);
