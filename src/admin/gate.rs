//! [`admit`]: is this a request of somebody who meant to ask us? Pure: decided from headers alone.
//!
//! Attack: DNS rebinding. A web page resolves its own name to 127.0.0.1 and reads `/metrics` as its own origin. Its
//! requests name the page's host, so:
//!
//! 1. The `Host` must be there exactly once, and the target must not name another: else 400.
//! 2. It must be a loopback name or address, with or without a port, or one of `allowed_hosts`: else 403.
//!    `127.0.0.1.evil.example` is neither.
//! 3. An `Origin` must be the one that the `Host` stands for, and `Sec-Fetch-Site` must be `none` or `same-origin`: else
//!    403. So a page of another origin cannot even cause load with requests whose answers it may not read; another port
//!    of localhost is another origin.
//! 4. Only GET and HEAD: else 405.

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Uri};
use std::net::IpAddr;

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No `Host`, two of them, or a target with a host of its own.
    HostUnclear,
    /// A host that is not ours.
    ForeignHost,
    /// Sent by a page of another origin.
    ForeignOrigin,
    /// A method that could mean a change.
    Method,
}

/// May this request be answered?
///
/// # Errors
/// Why not.
pub fn admit(method: &Method, uri: &Uri, headers: &HeaderMap, allowed_hosts: &[String]) -> Result<(), Refused> {
    admit_control(uri, headers, allowed_hosts)?;
    if method != Method::GET && method != Method::HEAD {
        return Err(Refused::Method);
    }
    Ok(())
}

/// The same for the control API, where methods mean what they say.
///
/// # Errors
/// Why not.
pub fn admit_control(uri: &Uri, headers: &HeaderMap, allowed_hosts: &[String]) -> Result<(), Refused> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Refused::HostUnclear) };
    if uri.authority().is_some() {
        return Err(Refused::HostUnclear);
    }
    let host = text(host).ok_or(Refused::ForeignHost)?;
    if !is_ours(host, allowed_hosts) {
        return Err(Refused::ForeignHost);
    }
    let is_own = |origin: &HeaderValue| text(origin).is_some_and(|origin| is_origin_of(origin, host));
    if !headers.get_all(ORIGIN).iter().all(is_own) {
        return Err(Refused::ForeignOrigin);
    }
    let is_meant = |site: &HeaderValue| matches!(text(site), Some("none" | "same-origin"));
    if !headers.get_all(SEC_FETCH_SITE).iter().all(is_meant) {
        return Err(Refused::ForeignOrigin);
    }
    Ok(())
}

/// Is this `Host` a loopback name or address, or one of those allowed? An allowed host without a port is allowed with any.
fn is_ours(host: &str, allowed_hosts: &[String]) -> bool {
    let Some((name, port)) = split(host) else { return false };
    let is_loopback =
        name.eq_ignore_ascii_case("localhost") || address(name).is_some_and(|a| a.to_canonical().is_loopback());
    is_loopback
        || allowed_hosts.iter().any(|allowed| {
            split(allowed).is_some_and(|(allowed_name, allowed_port)| {
                allowed_name.eq_ignore_ascii_case(name) && (allowed_port.is_none() || allowed_port == port)
            })
        })
}

/// Is this origin that of a page we served under this `Host`?
fn is_origin_of(origin: &str, host: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| origin.strip_prefix(scheme).is_some_and(|authority| authority.eq_ignore_ascii_case(host)))
}

/// Name and port; `None` when the text is no `host` or `host:port`.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (&host[..end], host[end..].strip_prefix(':').or((end == host.len()).then_some(""))?)
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if name.is_empty() || (port.is_empty() && host.ends_with(':')) {
        return None;
    }
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    Some((name, port))
}

fn address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

const SEC_FETCH_SITE: &str = "sec-fetch-site";

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;

    fn judge(method: &str, uri: &str, headers: &[(&str, &str)], allowed: &[&str]) -> Result<(), Refused> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
        admit(&method.parse().unwrap(), &uri.parse().unwrap(), &map, &allowed)
    }

    fn host(host: &str) -> Result<(), Refused> {
        judge("GET", "/metrics", &[("host", host)], &["backend.internal:9180", "any.internal", "172.16.168.20:9180"])
    }

    #[test]
    fn loopback_names_and_allowed_hosts_are_ours() {
        for ours in [
            "localhost",
            "localhost:9180",
            "LocalHost:1",
            "127.0.0.1",
            "127.0.0.1:9180",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:9180",
            "[::ffff:127.0.0.1]:9180",
            "backend.internal:9180",
            "Backend.Internal:9180",
            "any.internal",
            "any.internal:7",
            "172.16.168.20:9180",
        ] {
            assert_eq!(host(ours), Ok(()), "{ours}");
        }
    }

    #[test]
    fn every_other_host_is_foreign() {
        for foreign in [
            "127.0.0.1.evil.example",
            "evil.example",
            "localhost.evil.example",
            "evil.example:9180",
            "localhost@evil.example",
            "evil.example#localhost",
            "0.0.0.0",
            "0.0.0.0:9180",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "[::]",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[::1]:",
            "[127.0.0.1]",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "localhost:-1",
            ":9180",
            "",
            "localhost.",
            "localhost, evil.example",
            "172.16.168.20",
            "172.16.168.20:1",
            "backend.internal",
            "backend.internal:9181",
            "x.backend.internal:9180",
            "localh\u{f6}st",
            "127.0.0.1%2e",
            "127.0.0.1:9180/..",
        ] {
            assert_eq!(host(foreign), Err(Refused::ForeignHost), "{foreign}");
        }
    }

    #[test]
    fn a_host_must_be_said_exactly_once() {
        assert_eq!(judge("GET", "/metrics", &[], &[]), Err(Refused::HostUnclear));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(judge("GET", "/metrics", &twice, &[]), Err(Refused::HostUnclear));
        let absolute = judge("GET", "http://localhost/metrics", &[("host", "localhost")], &[]);
        assert_eq!(absolute, Err(Refused::HostUnclear));
    }

    fn from(name: &str, value: &str) -> Result<(), Refused> {
        judge("GET", "/metrics", &[("host", "localhost:9180"), (name, value)], &[])
    }

    #[test]
    fn our_own_pages_may_ask() {
        for (name, value) in [
            ("origin", "http://localhost:9180"),
            ("sec-fetch-site", "none"),
            ("sec-fetch-site", "same-origin"),
            ("referer", "http://evil.example/"),
        ] {
            assert_eq!(from(name, value), Ok(()), "{name}: {value}");
        }
    }

    #[test]
    fn pages_of_other_origins_may_not() {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "http://localhost"),
            ("origin", "http://localhost:9180.evil.example"),
            ("origin", "null"),
            ("origin", ""),
            ("origin", "localhost:9180"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "something-new"),
        ] {
            assert_eq!(from(name, value), Err(Refused::ForeignOrigin), "{name}: {value}");
        }
        let two = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")];
        assert_eq!(judge("GET", "/", &two, &[]), Err(Refused::ForeignOrigin));
    }

    #[test]
    fn only_reading_methods_are_answered() {
        for (method, expected) in [
            ("GET", Ok(())),
            ("HEAD", Ok(())),
            ("POST", Err(Refused::Method)),
            ("PUT", Err(Refused::Method)),
            ("DELETE", Err(Refused::Method)),
            ("OPTIONS", Err(Refused::Method)),
            ("PURGE", Err(Refused::Method)),
        ] {
            assert_eq!(judge(method, "/metrics", &[("host", "localhost")], &[]), expected, "{method}");
        }
    }
}
