//! What the listeners say about each other.
//!
//! Two listeners on one address would fail at the start; an upstream that is a listener of our own would send every
//! request around in a circle until the descriptors are gone. Both are seen here, over both directions and the admin listener, also
//! where one of them listens on all addresses (`0.0.0.0`) or is written as a name.

use super::Ways;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::problems::{Problems, Setting};
use crate::config::{Listen, Upstream, addresses};
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Notes every clash and every loop.
pub(in crate::config) fn check(listeners: &[&Ways], admin: Option<&Setting<SocketAddr>>, problems: &Problems) {
    let known: Vec<&Setting<Listen>> = listeners.iter().filter_map(|ways| ways.listen.as_ref()).collect();
    for (index, one) in known.iter().enumerate() {
        if let Some(other) = known[..index].iter().find(|other| collide(&one.value, &other.value)) {
            let message = format!("`{}` is listened on twice", one.value);
            let problem = Diagnostic::error(&one.place, message).related(&other.place, "here as well");
            problems.add(problem.expected("an address of its own for each listener"));
        }
        if let Some(admin) = admin.filter(|admin| collide(&one.value, &Listen::Tcp(admin.value))) {
            let message = format!("`{}` is also the address of the admin listener", one.value);
            let mut problem =
                Diagnostic::error(&one.place, message).expected("an address of its own for each listener");
            if admin.place != Place::Nowhere {
                problem = problem.related(&admin.place, "`admin.listen`");
            }
            problems.add(problem);
        }
    }
    let admin = admin.map(|admin| (Listen::Tcp(admin.value), &admin.place));
    for upstream in listeners.iter().flat_map(|ways| &ways.towards) {
        let own = known.iter().map(|listen| (&listen.value, &listen.place, "this listener"));
        let admins = admin.iter().map(|(listen, place)| (listen, *place, "the admin listener"));
        let Some((_, place, what)) = own.chain(admins).find(|(listen, ..)| is_loop(&upstream.value, listen)) else {
            continue;
        };
        let message = format!("the upstream {} is one of this sidecar's own listeners", upstream.value);
        let mut problem = Diagnostic::error(&upstream.place, message)
            .expected("where the backend itself listens")
            .fix("name the backend's own port here; move the backend to another one, if need be");
        if *place != Place::Nowhere {
            problem = problem.related(place, what);
        }
        problems.add(problem);
    }
}

/// Can only one of the two be bound? Port 0 is a new port each time.
fn collide(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Tcp(one), Listen::Tcp(other)) => {
            one.port() != 0
                && one.port() == other.port()
                && (one.ip() == other.ip() || covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
        }
        (Listen::Systemd(one), Listen::Systemd(other)) => one == other,
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        (Listen::Tcp(_) | Listen::Systemd(_) | Listen::Unix(_), _) => false,
    }
}

/// Does listening on `all` also take what comes to `one`?
fn covers(all: IpAddr, one: IpAddr) -> bool {
    // The IPv6 wildcard takes IPv4 as well, unless the system says otherwise.
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

/// Would a request to this upstream come back to this listener?
fn is_loop(upstream: &Upstream, listen: &Listen) -> bool {
    let Listen::Tcp(listen) = listen else { return false };
    if listen.port() != upstream.port {
        return false;
    }
    // Only now a name is worth asking for.
    let Some(to) = addresses::resolve(upstream.lookup_host(), upstream.port) else { return false };
    let to = if to.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { to.ip().to_canonical() };
    listen.ip().to_canonical() == to || (covers(listen.ip(), to) && is_of_this_machine(to))
}

/// Is this an address of this machine? Only such an address can be bound; a UDP socket on port 0 disturbs nobody.
fn is_of_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}
