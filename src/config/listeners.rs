//! Where the proxy listens and what it forwards to, as written → checked; and what the listeners say about each other.
//!
//! Two listeners on one address would fail at the start; an upstream that is a listener of our own would send every
//! request around in a circle until the descriptors are gone. Both are seen here, also where one of them listens on all
//! addresses (`0.0.0.0`) or is written as a name.

use super::addresses;
use super::diagnostic::{Diagnostic, Place};
use super::file::{FileAdmin, FileInbound};
use super::problems::{Problems, Setting};
use super::{Admin, Inbound, Listen, Timeouts, Upstream, defaults};
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// An inbound listener, checked by itself.
pub(super) struct Checked {
    inbound: Inbound,
    listen: Place,
    upstream: Place,
}

impl From<Checked> for std::sync::Arc<Inbound> {
    fn from(checked: Checked) -> std::sync::Arc<Inbound> {
        std::sync::Arc::new(checked.inbound)
    }
}

/// `[inbound]`: those that are whole.
pub(super) fn inbound(written: Vec<FileInbound>, timeouts: Timeouts, problems: &Problems) -> Vec<Checked> {
    if written.is_empty() {
        let problem = Diagnostic::error(&Place::Nowhere, "nothing is guarded: there is no [inbound]")
            .expected("an [inbound] with `listen` and `upstream`, or `--listen` and `--upstream`");
        problems.add(problem.absence());
    }
    written.into_iter().filter_map(|inbound| one(inbound, timeouts, problems)).collect()
}

fn one(written: FileInbound, timeouts: Timeouts, problems: &Problems) -> Option<Checked> {
    let missing = |key: &str, expected: &str| {
        let (message, expected) = match &written.place {
            Place::Flag(_) => (format!("`--{key}` is missing"), format!("`--{key} {expected}`")),
            _ => (format!("`inbound.{key}` is missing"), format!("`{key} = \"{expected}\"`")),
        };
        problems.add(Diagnostic::error(&written.place, message).expected(expected).absence());
    };
    let (listen_written, upstream_written) = written.written;
    if !listen_written {
        missing("listen", "127.0.0.1:8001");
    }
    if !upstream_written {
        missing("upstream", "http://127.0.0.1:8000");
    }
    for net in written.trusted_proxies.iter().filter(|net| net.value.prefix_len() == 0) {
        let message = format!("`{}` trusts everyone: any caller could name any address as its own", net.value);
        problems.add(Diagnostic::warning(&net.place, message).fix("list the addresses of the proxies in front"));
    }
    let (listen, upstream) = (written.listen?, written.upstream?);
    Some(Checked {
        inbound: Inbound {
            listen: listen.value,
            upstreams: upstream.value.into(),
            health: written.health,
            tls: None,
            h2c: false,
            trusted_proxies: written.trusted_proxies.into_iter().map(|net| net.value).collect(),
            first_byte: written.first_byte.unwrap_or(timeouts.first_byte),
        },
        listen: listen.place,
        upstream: upstream.place,
    })
}

/// `[admin]`, checked by itself.
pub(super) struct CheckedAdmin {
    pub(super) listen: Option<Setting<SocketAddr>>,
    allowed_hosts: Vec<String>,
}

impl CheckedAdmin {
    pub(super) fn checked(self) -> Admin {
        Admin { listen: self.listen.map(|listen| listen.value), allowed_hosts: self.allowed_hosts }
    }
}

/// `[admin]`: beyond this machine only when somebody said so, twice.
pub(super) fn admin(written: FileAdmin, problems: &Problems) -> CheckedAdmin {
    let listen = match written.listen {
        Some(Setting { value, place }) => value.map(|value| Setting { value, place }),
        None => Some(Setting { value: defaults::ADMIN, place: Place::Nowhere }),
    };
    let remote = written.allow_remote.is_some_and(|allow| allow.value);
    if let Some(listen) = listen.as_ref().filter(|listen| !listen.value.ip().to_canonical().is_loopback() && !remote)
    {
        let message = format!("`admin.listen` is {}, which other machines can reach", listen.value);
        let problem = Diagnostic::error(&listen.place, message)
            .expected("a loopback address, or `allow_remote = true` beside it")
            .fix("metrics name every service: open them only to the network of the scraper");
        problems.add(problem);
    }
    CheckedAdmin { listen, allowed_hosts: written.allowed_hosts }
}

/// What the listeners say about each other.
pub(super) fn check(inbound: &[Checked], admin: Option<&Setting<SocketAddr>>, problems: &Problems) {
    for (index, one) in inbound.iter().enumerate() {
        if let Some(other) = inbound[..index].iter().find(|other| collide(&one.inbound.listen, &other.inbound.listen))
        {
            let message = format!("{} is listened on twice", shown(&one.inbound.listen));
            let problem = Diagnostic::error(&one.listen, message).related(&other.listen, "here as well");
            problems.add(problem.expected("an address of its own for each listener"));
        }
        if let Some(admin) = admin.filter(|admin| collide(&one.inbound.listen, &Listen::Tcp(admin.value))) {
            let message = format!("{} is also the address of the admin listener", shown(&one.inbound.listen));
            let mut problem =
                Diagnostic::error(&one.listen, message).expected("an address of its own for each listener");
            if admin.place != Place::Nowhere {
                problem = problem.related(&admin.place, "`admin.listen`");
            }
            problems.add(problem);
        }
        let own = inbound.iter().map(|other| (&other.inbound.listen, &other.listen, "this listener"));
        let admins = admin.map(|admin| (Listen::Tcp(admin.value), &admin.place));
        let admins = admins.iter().map(|(listen, place)| (listen, *place, "the admin listener"));
        if let Some((_, place, what)) =
            own.chain(admins).find(|(listen, ..)| is_loop(one.inbound.upstreams.first(), listen))
        {
            let message =
                format!("the upstream {} is one of this sidecar's own listeners", one.inbound.upstreams.first());
            let mut problem = Diagnostic::error(&one.upstream, message)
                .expected("where the backend itself listens")
                .fix("move the backend to another port, and name that here");
            if *place != Place::Nowhere {
                problem = problem.related(place, what);
            }
            problems.add(problem);
        }
    }
}

fn shown(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => format!("`{address}`"),
        Listen::Systemd(name) => format!("`systemd:{name}`"),
        Listen::Unix(path) => format!("`unix:{}`", path.display()),
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
