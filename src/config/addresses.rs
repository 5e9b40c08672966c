//! What does a text of the configuration say of the network? Addresses, networks, URLs, places to listen at.
//!
//! Pure but for one function: [`resolve`] asks the system for the addresses of a name, because `listen = "localhost:8001"`
//! is how people write it.

use super::values::{Expected, Reading};
use super::{ClientTls, Listen, Upstream};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

/// An address or a network, `172.16.168.22` or `10.0.0.0/8`. An IPv4-mapped IPv6 address is its IPv4 one.
pub(super) fn network(text: &str) -> Reading<IpNet> {
    let expected = || Expected::new("an IP address or network, such as \"172.16.168.22\" or \"10.0.0.0/8\"");
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let net = text.parse::<IpNet>().map_err(|_| expected())?;
    Ok(net.trunc())
}

/// `host:port` in its two parts; IPv6 in brackets.
pub(super) fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once("]:")?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port)
        }
        None => text.rsplit_once(':').filter(|(host, _)| is_host_name(host))?,
    };
    let digits = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| port.parse().ok().map(|port| (host, port)))?
}

/// Is this a host name or an IPv4 address, as it may stand in a URL?
pub(super) fn is_host_name(host: &str) -> bool {
    (1..=253).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && host.split('.').all(|label| label.len() <= 63)
        && !host.starts_with(['.', '-'])
        && !host.contains("..")
}

/// `http://host:port` or `https://host:port`: no path, because the path goes upstream byte for byte as it came. Of an `https://` one
/// nothing is known yet but that it is: whoever the system trusts may vouch for it.
pub(super) fn upstream(text: &str) -> Reading<Upstream> {
    let expected =
        || Expected::new("a URL `http://host:port` or `https://host:port`, such as \"http://127.0.0.1:8000\"");
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else {
        let port = text.trim_start_matches(':');
        return Err(if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
            expected().fix(format!("write \"http://127.0.0.1:{port}\""))
        } else if !text.contains("://") && authority(text, 80).is_some() {
            expected().fix(format!("write \"http://{text}\""))
        } else {
            expected()
        });
    };
    let rest = &text[scheme.len()..];
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !matches!(path, "" | "/") {
        return Err(expected().fix("leave the path out: requests go upstream with the path they came with"));
    }
    if host.contains('@') {
        return Err(expected().fix("leave the user name and password out: they would never be sent"));
    }
    let is_tls = scheme == "https://";
    let (host, port) = authority(host, if is_tls { 443 } else { 80 }).ok_or_else(expected)?;
    let tls = is_tls.then(|| Arc::new(ClientTls { ca: None, name: None, identity: None }));
    Ok(Upstream { tls, ..Upstream::http(host, port) })
}

/// A URL of the command line, as in the file: scheme, host and port.
///
/// # Errors
/// What would have been right.
pub fn url_argument(text: &str) -> Result<Upstream, String> {
    upstream(text).map_err(|expected| match expected.fix {
        Some(fix) => format!("expected {}; {fix}", expected.what),
        None => format!("expected {}", expected.what),
    })
}

/// The same, where plain `host:port` means `http://host:port`.
pub(super) fn allowed_upstream(text: &str) -> Reading<Upstream> {
    match bare_upstream(text) {
        Some(upstream) => Ok(upstream),
        None if text.contains("://") => upstream(text),
        None => Err(Expected::new("`host:port`")),
    }
}

/// `host:port`, both said.
pub(super) fn bare_upstream(text: &str) -> Option<Upstream> {
    host_port(text)?;
    authority(text, 0).map(|(host, port)| Upstream::http(host, port))
}

/// Host, as it stands in a URL, and port.
fn authority(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match host_port(text) {
        Some((host, port)) => (host, port),
        None => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => (address, default_port),
            None => (text, default_port),
        },
    };
    let is_v6 = text.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_ok();
    // As written: with brackets around an IPv6 address, the way `Host` wants it.
    let host = if is_v6 { format!("[{host}]") } else { host.to_owned() };
    (port != 0 && (is_v6 || is_host_name(&host))).then_some((host, port))
}

/// `host:port`, `systemd:NAME` or `unix:/path`.
pub(super) fn listen(text: &str) -> Reading<Listen> {
    if let Some(name) = text.strip_prefix("systemd:") {
        let good = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        return if good {
            Ok(Listen::Systemd(name.to_owned()))
        } else {
            Err(Expected::new("`systemd:NAME`, where NAME is the unit's `FileDescriptorName=`"))
        };
    }
    if let Some(path) = text.strip_prefix("unix:") {
        // The kernel's limit for the path of a socket is 108 bytes with its final NUL.
        let good = path.starts_with('/') && path.len() <= 107 && !path.contains('\0') && !path.ends_with('/');
        return if good {
            Ok(Listen::Unix(PathBuf::from(path)))
        } else {
            Err(Expected::new("`unix:/path`, an absolute path of at most 107 bytes"))
        };
    }
    tcp(text).map(Listen::Tcp).map_err(|error| match error.what.strip_prefix("`host:port`, ") {
        Some(example) => {
            Expected { what: format!("`host:port`, `systemd:NAME` or `unix:/path`, {example}"), ..error }
        }
        None => error,
    })
}

/// `host:port`, resolved.
pub(super) fn tcp(text: &str) -> Reading<SocketAddr> {
    let expected = || Expected::new("`host:port`, such as \"127.0.0.1:8001\"");
    let Some((host, port)) = host_port(text) else {
        let port = text.trim_start_matches(['*', ':']);
        let only_port = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        return Err(if only_port {
            expected().fix(format!("\"127.0.0.1:{port}\" for this machine alone, \"0.0.0.0:{port}\" for everyone"))
        } else if text.contains("://") {
            expected().fix("leave the scheme and the path out")
        } else {
            expected()
        });
    };
    resolve(host, port).ok_or_else(|| {
        Expected::new("a name or an address of this machine")
            .why("the name cannot be resolved")
            .fix("write an address")
    })
}

/// The address of a name; the IPv4 one where there are both, as `localhost` means to most people.
pub(super) fn resolve(host: &str, port: u16) -> Option<SocketAddr> {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// `host` or `host:port`, for `allowed_hosts`.
pub(super) fn allowed_host(text: &str) -> Reading<String> {
    let host = match text.strip_suffix(']') {
        Some(_) => text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(is_v6),
        None => is_host_name(text),
    };
    if host || host_port(text).is_some() {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Expected::new("a `Host` as clients send it, such as \"backend.internal:9180\""))
    }
}

fn is_v6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests;
