//! What do requests of our own find? Those of `validate`, on exempt paths and unsigned on service paths.

use super::Args;
use super::standing;
use crate::cli::args::ConfigArgs;
use crate::cli::validate;
use crate::config::{Config, Listen, Upstream};
use crate::rollout::gates::figures::{Asked, Fact, Suite};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Asks, where there is somebody to ask.
pub(super) fn ask(args: &Args, config: &Config, standing: &standing::Asked) -> Fact<Suite> {
    if args.no_requests {
        return Ok(Suite::NotAsked);
    }
    let Some(url) = args.url.clone().or_else(|| listener(config)) else {
        return Err(
            "nothing was asked: no inbound listener of plain HTTP has an address; name it with --url".to_owned()
        );
    };
    let named = ConfigArgs { config: Some(args.sidecar.config.path().to_owned()) };
    let answers = validate::paths(named, url, standing.socket.clone())
        .map_err(|error| format!("nothing was asked: {}", error.to_string().replace('\n', "; ")))?;
    let (mut exempt, mut unsigned) = (Asked::default(), Asked::default());
    for answer in answers {
        let asked = if answer.is_exempt { &mut exempt } else { &mut unsigned };
        match answer.good {
            Some(true) => asked.good += 1,
            Some(false) => asked.bad.push(answer.words),
            None => asked.unknown.push(answer.words),
        }
    }
    Ok(Suite::Asked { exempt, unsigned })
}

/// The first inbound listener that speaks plain HTTP, as this machine reaches it.
fn listener(config: &Config) -> Option<Upstream> {
    let plain = config.inbound.iter().filter(|inbound| inbound.tls.is_none());
    let mut addresses = plain.filter_map(|inbound| match &inbound.listen {
        Listen::Tcp(address) => Some(*address),
        Listen::Systemd(_) | Listen::Unix(_) => None,
    });
    let address = addresses.next()?;
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let host = match host {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Some(Upstream::http(host, address.port()))
}
