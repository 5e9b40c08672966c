//! Does anybody reach the upstream around the sidecar? Whoever does needs no signature.
//!
//! 1. An upstream on a loopback address of this machine: its port is tried on every address of this machine that others reach.
//!    Somebody who takes a connection there, and is not a listener of the sidecar, is the upstream that listens on `0.0.0.0`, or may as well be.
//! 2. One on another address of this machine is tried there.
//! 3. One on another machine: what stands before it cannot be told from here.
//!
//! A connection from this machine to itself passes firewalls that others do not: what is found is that somebody listens there. Left
//! out: link-local addresses, which need more than an address to be reached.

use crate::config::{Config, Listen, Side, Upstream};
use crate::rollout::gates::figures::Around;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// A machine answers itself at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tries every way.
pub(super) fn attempt(config: &Config) -> Around {
    let own = own_addresses();
    let (mut tried, mut around) = (BTreeSet::new(), Around::default());
    let inbound = config.sides().filter(|side| matches!(side, Side::Inbound(_)));
    for upstream in inbound.flat_map(|side| config.upstreams(side)) {
        match places(upstream, &own) {
            Some(places) => tried.extend(places.into_iter().filter(|place| !is_ours(config, *place))),
            None => around.elsewhere.push(upstream.to_string()),
        }
    }
    for place in tried {
        around.tried.push(place.to_string());
        if TcpStream::connect_timeout(&place, PATIENCE).is_ok() {
            around.open.push(place.to_string());
        }
    }
    around
}

/// Where it could be reached by others; `None`: it is not on this machine.
fn places(upstream: &Upstream, own: &BTreeSet<IpAddr>) -> Option<Vec<SocketAddr>> {
    let resolved = (upstream.lookup_host(), upstream.port).to_socket_addrs();
    let mut places = Vec::new();
    for address in resolved.ok()? {
        let ip = address.ip().to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            places.extend(own.iter().map(|own| SocketAddr::new(*own, upstream.port)));
        } else if own.contains(&ip) {
            places.push(SocketAddr::new(ip, upstream.port));
        } else {
            return None;
        }
    }
    Some(places)
}

fn is_ours(config: &Config, place: SocketAddr) -> bool {
    let listens = |listen: &Listen| match listen {
        Listen::Tcp(address) => {
            address.port() == place.port() && (address.ip().is_unspecified() || address.ip() == place.ip())
        }
        Listen::Systemd(_) | Listen::Unix(_) => false,
    };
    config.sides().any(|side| listens(config.listen(side)))
}

/// The addresses of this machine by which others reach it.
fn own_addresses() -> BTreeSet<IpAddr> {
    let four = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let six = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut own: BTreeSet<IpAddr> = of_routes(&four).chain(of_interfaces(&six)).collect();
    // Where these files are hidden: the address that calls the world. Nothing is sent.
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    own.extend(outward.ok().map(|address| address.ip()));
    own.retain(|address| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_unspecified() && !address.is_link_local(),
        IpAddr::V6(address) => {
            !address.is_loopback() && !address.is_unspecified() && !address.is_unicast_link_local()
        }
    });
    own
}

/// `|-- 172.16.168.20` followed by `/32 host LOCAL`.
fn of_routes(table: &str) -> impl Iterator<Item = IpAddr> {
    let pairs = table.lines().zip(table.lines().skip(1));
    let local = pairs.filter(|(_, below)| below.trim() == "/32 host LOCAL");
    local.filter_map(|(line, _)| line.trim().strip_prefix("|-- ")?.parse::<Ipv4Addr>().ok()).map(IpAddr::V4)
}

/// 32 hex digits and more.
fn of_interfaces(table: &str) -> impl Iterator<Item = IpAddr> {
    let digits = table.lines().filter_map(|line| line.split_whitespace().next());
    digits.filter_map(|digits| u128::from_str_radix(digits, 16).ok()).map(|bits| IpAddr::V6(Ipv6Addr::from(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_kernels_tables() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 172.16.168.0\n        /24 link UNICAST\n     |-- 172.16.168.20\n        \
                     /32 host LOCAL\n     |-- 172.16.168.255\n        /32 link BROADCAST\n";
        assert_eq!(of_routes(table).collect::<Vec<_>>(), ["172.16.168.20".parse::<IpAddr>().unwrap()]);
        let table = "fe80000000000000021122fffe334455 02 40 20 80     eth0\n00000000000000000000000000000001 01 80 10 80 lo\n";
        assert_eq!(of_interfaces(table).last(), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert!(own_addresses().iter().all(|address| !address.is_loopback()));
    }

    #[test]
    fn where_others_would_reach_an_upstream_follows_from_where_it_is() {
        let own: BTreeSet<IpAddr> = ["10.0.0.5".parse().unwrap(), "192.168.1.5".parse().unwrap()].into();
        let at = |host: &str| places(&Upstream::http(host, 80), &own).map(|places| places.len());
        assert_eq!(
            (at("127.0.0.1"), at("127.8.8.8"), at("[::1]"), at("0.0.0.0")),
            (Some(2), Some(2), Some(2), Some(2))
        );
        assert_eq!((at("10.0.0.5"), at("10.0.0.6"), at("no such name")), (Some(1), None, None));
    }
}
