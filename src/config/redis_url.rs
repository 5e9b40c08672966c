//! What does the URL of a Redis say? [`RedisUrl`]: which servers, what they are to each other, which database, which user.
//!
//! ```text
//! redis://[user@]host[:port][/database]
//! redis+sentinel://[user@]host[:port],host[:port]/MASTER[/database]
//! redis+cluster://[user@]host[:port],host[:port]
//! ```
//!
//! `rediss` in front is the same over TLS. Other programs write `sentinel://`, `redis-sentinel://`, `cluster://` and
//! `redis-cluster://`; they are taken too.
//!
//! A password in the URL is refused: the file is read by more eyes than a password should be. No message repeats it, nor any
//! other part of the URL before the `@`.

use super::addresses;
use super::key_settings::RedisServers;
use super::values::{Expected, Reading};

/// A Redis as its URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedisUrl {
    pub(super) servers: RedisServers,
    pub(super) database: i64,
    pub(super) user: Option<String>,
    pub(super) is_tls: bool,
}

pub(super) const EXPECTED: &str = "a URL such as \"redis://172.16.168.23:6379/0\", \"rediss://…\", \
     \"redis+sentinel://host:26379,host:26379/MASTER\" or \"redis+cluster://host:6379,host:6379\"";

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl RedisUrl {
    /// Only this server, and nothing special about it.
    pub(super) fn single(host: &str, port: Option<u16>) -> RedisUrl {
        let servers = RedisServers::Single((host.to_owned(), port.unwrap_or(PORT)));
        RedisUrl { servers, database: 0, user: None, is_tls: false }
    }

    /// Every host it names.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let servers = match &self.servers {
            RedisServers::Single(server) => std::slice::from_ref(server),
            RedisServers::Sentinel { sentinels, .. } => sentinels,
            RedisServers::Cluster(nodes) => nodes,
        };
        servers.iter().map(|(host, _)| host.as_str())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

/// Reads a URL.
pub(super) fn redis_url(text: &str) -> Reading<RedisUrl> {
    let expected = || Expected::new(EXPECTED);
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(match addresses::host_port(text) {
            Some(_) => expected().fix(format!("write \"redis://{text}/0\"")),
            None => expected(),
        });
    };
    let (kind, is_tls) = scheme_of(scheme).ok_or_else(expected)?;
    let (authority, path) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
    let user = user(authority)?;
    if path.contains(['?', '#']) {
        let fix = "leave `?…` and `#…` out; TLS is described by `redis_tls = { ca, name, cert, key }`";
        return Err(expected().fix(fix));
    }
    let (hosts, path) = path.split_once('/').unwrap_or((path, ""));
    let port = if kind == Kind::Sentinel { SENTINEL_PORT } else { PORT };
    let servers = hosts.split(',').map(|host| server(host, port)).collect::<Option<Vec<_>>>().ok_or_else(expected)?;
    let (servers, number) = match kind {
        Kind::Single => {
            let fix = "of several servers it must be said what they are: \"redis+sentinel://…/MASTER\" or \"redis+cluster://…\"";
            let [server] = &servers[..] else { return Err(expected().fix(fix)) };
            (RedisServers::Single(server.clone()), path)
        }
        Kind::Sentinel => {
            let (master, number) = path.split_once('/').unwrap_or((path, ""));
            if !is_plain(master) {
                let fix =
                    "name the master behind the sentinels, as they do: \"redis+sentinel://host:26379/mymaster\"";
                return Err(expected().fix(fix));
            }
            (RedisServers::Sentinel { master: master.to_owned(), sentinels: servers }, number)
        }
        Kind::Cluster => {
            if !matches!(path, "" | "0") {
                return Err(expected().fix("leave the database out: a cluster has only database 0"));
            }
            (RedisServers::Cluster(servers), path)
        }
    };
    let database =
        database(number).ok_or_else(|| expected().fix("the database is a number: \"redis://host:6379/0\""))?;
    Ok(RedisUrl { servers, database, user, is_tls })
}

fn scheme_of(scheme: &str) -> Option<(Kind, bool)> {
    let scheme = scheme.to_ascii_lowercase();
    let (kind, is_tls) = match scheme.strip_prefix("rediss") {
        Some(kind) => (kind, true),
        None => (scheme.strip_prefix("redis").unwrap_or(&scheme), false),
    };
    // `sentinel` alone, or behind `redis+`; never `redissentinel`.
    let has_prefix = kind.len() != scheme.len();
    let kind = match (kind, has_prefix) {
        ("", true) => Kind::Single,
        ("+sentinel" | "-sentinel", true) | ("sentinel", false) => Kind::Sentinel,
        ("+cluster" | "-cluster", true) | ("cluster", false) => Kind::Cluster,
        _ => return None,
    };
    Some((kind, is_tls))
}

/// Of `user@` or nothing.
fn user(authority: &str) -> Reading<Option<String>> {
    let Some(user) = authority.strip_suffix('@') else { return Ok(None) };
    if user.contains(':') {
        return Err(Expected::new("a URL without the password, such as \"redis://user@172.16.168.23:6379/0\"")
            .why("there is a password in it, which does not belong into this file")
            .fix("put it into a file of its own and name that: `redis_password_file = \"/etc/countersign/redis-password\"`; or into REDIS_PASSWORD"));
    }
    if !is_plain(user) {
        return Err(Expected::new("a user of letters, digits, `.`, `_` and `-` before the `@`"));
    }
    Ok(Some(user.to_owned()))
}

fn server(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match addresses::host_port(text) {
        Some(both) => both,
        None => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => (address, default_port),
            None => (text, default_port),
        },
    };
    let is_v6 = text.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_ok();
    (port != 0 && (is_v6 || addresses::is_host_name(host))).then(|| (host.to_owned(), port))
}

fn database(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn is_plain(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
