//! [`Authority`]: `host[:port]` as a URL or a `Host` writes it, and whether it names a given place, letter by letter.
//!
//! A name is compared as it is written, without regard to case, and never resolved: `2886772756`, `0xac10a814`,
//! `172.16.168.024`, `[::ffff:172.16.168.20]` and `backend.` may lead to the place that `172.16.168.20` or `backend` leads to
//! on some machine, but an operator did not write them. The one exception is an IPv6 address in brackets, which has
//! many spellings for one value and no other reading. A port is plain digits; where none is written the scheme's own counts.
//!
//! Attacks answered: an allow list that is got around by another spelling of a listed host, or by one that two readers
//! split differently (`allowed@evil`, `evil\@allowed`, `allowed:80@evil`): what is not exactly a host and a port is
//! nothing.

use std::net::Ipv6Addr;

/// A host, and the port if one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As it is written, an IPv6 address with its brackets.
    pub host: &'a str,
    /// `None`: the scheme's own.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `None` for anything but a host and an optional port.
    pub fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (host, port) = split(text)?;
        let port = match port {
            None => None,
            Some(digits) => Some(plain_port(digits)?),
        };
        is_name(host).then_some(Authority { host, port })
    }

    /// Does it name this host and port? `default_port` stands where none is written.
    pub fn names(&self, host: &str, port: u16, default_port: u16) -> bool {
        self.port.unwrap_or(default_port) == port && self.names_host(host)
    }

    /// Does it name this host, whatever the port?
    pub fn names_host(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(host) || matches!((v6(self.host), v6(host)), (Some(a), Some(b)) if a == b)
    }
}

/// Is this a host with an optional port, as `Host` may say it? An empty port is legal there, and leading zeros are.
pub(super) fn is_host(text: &[u8]) -> bool {
    let is_port = |digits: &str| {
        digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok()
            || digits.is_empty()
    };
    let split = std::str::from_utf8(text).ok().and_then(split);
    split.is_some_and(|(host, port)| is_name(host) && port.is_none_or(is_port))
}

/// The host, and what stands behind its colon.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// A registered name or address: letters, digits, `-._~`, or an address in brackets. Sub-delims and percent-encoding are
/// legal in URIs but in no host of ours; a path, a query or a user in there is an attack.
fn is_name(host: &str) -> bool {
    if host.starts_with('[') {
        return v6(host).is_some();
    }
    (1..=255).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

fn v6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Digits without a sign or a leading zero, which one server skips and another reads as octal.
fn plain_port(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    is_plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, host: &str, port: u16) -> bool {
        Authority::parse(text).is_some_and(|authority| authority.names(host, port, 80))
    }

    #[test]
    fn a_place_is_named_by_its_own_spelling_in_any_case() {
        for (text, host, port) in [
            ("172.16.168.20:8001", "172.16.168.20", 8001),
            ("Backend.Internal:8001", "backend.internal", 8001),
            ("172.16.168.20", "172.16.168.20", 80),
            ("172.16.168.20:80", "172.16.168.20", 80),
            ("[::1]:8001", "[::1]", 8001),
            ("[0:0:0:0:0:0:0:1]:8001", "[::1]", 8001),
            ("[FE80::1]", "[fe80::1]", 80),
        ] {
            assert!(names(text, host, port), "{text} is {host} {port}");
        }
    }

    #[test]
    fn no_other_spelling_names_it() {
        for text in [
            "172.16.168.20",
            "172.16.168.20:80",
            "172.16.168.20:",
            "172.16.168.20:08001",
            "172.16.168.20:+8001",
            "172.16.168.20:8001 ",
            "172.16.168.20:8001:8001",
            "172.16.168.20.:8001",
            "172.16.168.020:8001",
            "172.16.43028:8001",
            "2886772756:8001",
            "0xac10a814:8001",
            "0254.0020.0250.0024:8001",
            "[::ffff:172.16.168.20]:8001",
            "[172.16.168.20]:8001",
            "172.16.168.20%00:8001",
            "172.16.168.2%30:8001",
            "u@172.16.168.20:8001",
            "172.16.168.20:8001@evil",
            "evil\\@172.16.168.20:8001",
            "169.254.169.254:8001",
            "172.16.168.20:73537",
            ":8001",
            "",
        ] {
            assert!(!names(text, "172.16.168.20", 8001), "{text}");
        }
    }
}
