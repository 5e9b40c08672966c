//! `[[outbound]]`: each way out by itself.
//!
//! 1. It says where requests go: `upstream`, or `forward_proxy = true` with `allow`, never both. Where it says nothing,
//!    `BACKEND_HOST` and `BACKEND_PORT` of the environment do: the fleet's services know their backend by these.
//! 2. Whoever reaches it is signed for. So it listens on loopback, a unix socket, or a socket that the service manager hands
//!    over; anywhere else only with `allow_remote = true`.
//! 3. Somebody must sign: `[service] id`.

use super::{Checked, Ways, upstreams};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::file::FileOutbound;
use crate::config::problems::{Problems, Setting, quoted};
use crate::config::{Destination, Listen, Outbound, Upstream, addresses, defaults};
use std::sync::Arc;

/// What a way out has to know besides itself.
pub(in crate::config) struct Surroundings<'s> {
    /// Is there a `[service] id`, even a wrong one?
    pub(in crate::config) has_identity: bool,
    /// `BACKEND_HOST` and `BACKEND_PORT`, as they came.
    pub(in crate::config) backend: &'s (Option<Setting<String>>, Option<Setting<String>>),
}

/// `[[outbound]]`
pub(in crate::config) fn outbound(
    written: Vec<FileOutbound>,
    around: &Surroundings<'_>,
    problems: &Problems,
) -> Vec<Checked<Outbound>> {
    if let Some(first) = written.first().filter(|_| !around.has_identity) {
        let problem = Diagnostic::error(&first.place, "nobody is named whose signature requests get here")
            .expected("`id` in [service], or SERVICE_ID in the environment")
            .fix("say who this VM is: [service] with `id = \"…\"`; its key comes from [keys], or `key_file = \"…\"` beside it");
        problems.add(problem.absence());
    }
    written.into_iter().map(|outbound| one(outbound, around, problems)).collect()
}

fn one(written: FileOutbound, around: &Surroundings<'_>, problems: &Problems) -> Checked<Outbound> {
    if !written.says_listen {
        let problem = Diagnostic::error(&written.place, "`outbound.listen` is missing");
        problems.add(problem.expected("`listen = \"127.0.0.1:9001\"`").absence());
    }
    if let Some(listen) = &written.listen {
        reachable(listen, &written, problems);
    }
    let first_byte = written.first_byte.unwrap_or(defaults::OUTBOUND_FIRST_BYTE);
    let allow_uids = written.allow_uids.as_ref().map(|uids| uids.value.iter().map(|uid| uid.value).collect());
    let h2c = written.h2c.as_ref().is_some_and(|h2c| h2c.value);
    let listen = written.listen.clone();
    let health = written.health.clone().map(|health| health.value);
    let (destination, towards) = destination(written, around, problems);
    let whole = listen.clone().zip(destination).map(|(listen, destination)| {
        Arc::new(Outbound { listen: listen.value, destination, health, h2c, allow_uids, first_byte })
    });
    Checked { made: whole, ways: Ways { listen, towards } }
}

/// Who can get here?
fn reachable(listen: &Setting<Listen>, written: &FileOutbound, problems: &Problems) {
    let is_remote = match &listen.value {
        Listen::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        Listen::Systemd(_) | Listen::Unix(_) => false,
    };
    if is_remote && !written.allow_remote.as_ref().is_some_and(|allow| allow.value) {
        let message = format!("`outbound.listen` is {}, which other machines can reach", listen.value);
        let problem = Diagnostic::error(&listen.place, message)
            .expected("a loopback address, `unix:/path`, or `allow_remote = true` beside it")
            .fix("whoever reaches it is signed for as this service: listen on 127.0.0.1");
        problems.add(problem);
    }
    if let Some(uids) = written.allow_uids.as_ref().filter(|_| !matches!(listen.value, Listen::Unix(_))) {
        let message =
            "`outbound.allow_uids` says nothing here: only of a unix socket the user at the other end is known";
        let problem = Diagnostic::error(&uids.place, message)
            .expected("`listen = \"unix:/path\"`")
            .related(&listen.place, "listens here")
            .fix("listen on a unix socket, or leave `allow_uids` out");
        problems.add(problem);
    }
}

/// Where requests go, if that is said rightly; and every place they may go to.
fn destination(
    written: FileOutbound,
    around: &Surroundings<'_>,
    problems: &Problems,
) -> (Option<Destination>, Vec<Setting<Upstream>>) {
    match written.forward_proxy.clone().filter(|proxy| proxy.value) {
        Some(proxy) => forward_proxy(written, &proxy, problems),
        None => {
            let towards = direct(&written, around, problems).unwrap_or_default();
            (upstreams::together(&towards).map(Destination::Upstreams), towards)
        }
    }
}

/// All requests go to the same upstreams.
fn direct(written: &FileOutbound, around: &Surroundings<'_>, problems: &Problems) -> Option<Vec<Setting<Upstream>>> {
    let FileOutbound { upstreams, allow, says_allow, connect, place, .. } = written;
    for (key, list) in [("allow", allow), ("connect", connect)] {
        let Some(list) = list else { continue };
        let message = format!("`outbound.{key}` says nothing without `forward_proxy = true`");
        let mut problem = Diagnostic::error(&list.place, message).expected("`forward_proxy = true` beside it");
        if let Some(said) = &upstreams.list {
            problem = problem.related(&said.place, "all requests go there");
        }
        problems.add(problem.fix(format!("write `forward_proxy = true`, or leave `{key}` out")));
    }
    if upstreams.is_said {
        return upstreams::checked("outbound", upstreams, problems);
    }
    match backend(around, problems) {
        Some(Ok(backend)) => Some(upstreams::equipped("outbound", vec![backend], upstreams, problems)),
        Some(Err(())) => None,
        None => {
            // Whoever lists hosts means a forward proxy, and was told how to say so.
            if !says_allow && connect.is_none() {
                let problem = Diagnostic::error(place, "this [[outbound]] does not say where requests go")
                    .expected(
                        "`upstream = \"http://host:port\"`, or `forward_proxy = true` with `allow = [\"host:port\"]`",
                    )
                    .fix("or name the backend in the environment: BACKEND_HOST and BACKEND_PORT");
                problems.add(problem.absence());
            }
            None
        }
    }
}

/// Each request says where it goes, and goes there if that is listed.
fn forward_proxy(
    written: FileOutbound,
    proxy: &Setting<bool>,
    problems: &Problems,
) -> (Option<Destination>, Vec<Setting<Upstream>>) {
    let FileOutbound { upstreams, allow, says_allow, connect, health, h2c, .. } = written;
    if let Some(list) = &upstreams.list {
        let problem = Diagnostic::error(&list.place, "`outbound.upstream` contradicts `forward_proxy = true`")
            .expected("one of the two")
            .related(&proxy.place, "each request says where it goes")
            .fix("leave `upstream` out, and list its host in `allow`; or make two [[outbound]] of this one");
        problems.add(problem);
    }
    if let Some(health) = &health {
        let problem = Diagnostic::error(&health.place, "`outbound.health` says nothing with `forward_proxy = true`")
            .expected("`health` beside an `upstream`")
            .related(&proxy.place, "each request says where it goes: nobody is asked for their health");
        problems.add(problem.fix("leave `health` out"));
    }
    if let Some(h2c) = h2c.filter(|h2c| h2c.value) {
        let problem = Diagnostic::error(&h2c.place, "`outbound.h2c` says nothing with `forward_proxy = true`")
            .expected("`h2c` beside an `upstream`")
            .related(&proxy.place, "programs speak HTTP/1.1 to a proxy");
        problems.add(problem.fix("leave `h2c` out, or make an [[outbound]] with an `upstream` for those programs"));
    }
    if !says_allow {
        let problem = Diagnostic::error(&proxy.place, "`outbound.allow` is missing: a forward proxy for no host")
            .expected("`allow = [\"host:port\"]`, every host that may be called")
            .absence();
        problems.add(problem);
    }
    let allow = allow.map(|allow| upstreams::equipped("outbound", allow.value, &upstreams, problems));
    let connect = connect.map_or_else(Vec::new, |connect| connect.value);
    let plain = |list: &[Setting<Upstream>]| list.iter().map(|upstream| upstream.value.clone()).collect();
    let whole = allow.as_ref().filter(|_| !upstreams.is_said);
    let destination = whole.map(|allow| Destination::ForwardProxy { allow: plain(allow), connect: plain(&connect) });
    (destination, allow.into_iter().flatten().chain(connect).collect())
}

/// The upstream that the environment names; an error inside was reported.
fn backend(around: &Surroundings<'_>, problems: &Problems) -> Option<Result<Setting<Upstream>, ()>> {
    let (host, port) = around.backend;
    let host = host.as_ref()?;
    let name = host.value.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host.value);
    let is_v6 = name.parse::<std::net::Ipv6Addr>().is_ok();
    let good_host = is_v6 || addresses::is_host_name(name);
    if !good_host {
        let message = format!("`BACKEND_HOST` is {}", quoted(&host.value));
        let problem =
            Diagnostic::error(&host.place, message).expected("a host name or an address, without scheme and port");
        problems.add(problem.fix("or name the `upstream` in the file"));
    }
    let number = match port {
        Some(port) => {
            let number = port.value.parse::<u16>().ok().filter(|number| *number != 0);
            if number.is_none() {
                let message = format!("`BACKEND_PORT` is {}", quoted(&port.value));
                problems.add(Diagnostic::error(&port.place, message).expected("a port from 1 to 65535"));
            }
            number
        }
        None => {
            let problem = Diagnostic::error(&host.place, "`BACKEND_HOST` names an upstream without its port");
            problems.add(problem.expected("the port in `BACKEND_PORT`"));
            None
        }
    };
    let Some(number) = number.filter(|_| good_host) else { return Some(Err(())) };
    let host_shown = if is_v6 { format!("[{name}]") } else { name.to_owned() };
    Some(Ok(Setting { value: Upstream::http(host_shown, number), place: Place::Variable("BACKEND_HOST") }))
}
