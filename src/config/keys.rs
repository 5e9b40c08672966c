//! `[keys]` as written → where keys come from and how long they live.
//!
//! **Who is asked** (`FileConfig::key_sources`):
//!
//! 1. `sources`, where it is written.
//! 2. Else, with a Redis: Redis, and after it the files where a directory was named (`dir`, `--keys`).
//! 3. Else the files.
//!
//! **Which Redis** (`FileConfig::wants_redis`): the URL in `redis`. `REDIS_HOST` and `REDIS_PORT` name it only where no URL does *and*
//! something asks for Redis: `sources`, `service.key = "redis"`, or that nobody named a directory and the usual one is not
//! there. Every `.env` file of the fleet names a Redis, also on VMs whose keys are in files: there it must say nothing. And a URL says
//! more than two variables can (TLS, user, database, sentinels), so these never change one.
//!
//! The password comes from `redis_password_file`, else from `REDIS_PASSWORD`.

use super::diagnostic::{Diagnostic, Place};
use super::file::{FileConfig, FileKeys};
use super::problems::{Problems, Setting, quoted};
use super::redis_url::RedisUrl;
use super::{KeySourceKind, Keys, OwnKey, Redis, RedisPassword, RedisServers, addresses, defaults};
use std::path::{Path, PathBuf};
use std::time::Duration;

impl FileConfig {
    /// Who is asked for keys, as far as can be said before everything is checked.
    pub(super) fn key_sources(&self, flags_alone: bool) -> Vec<KeySourceKind> {
        let keys = &self.keys;
        if let Some(sources) = &keys.sources {
            return sources.value.iter().map(|source| source.value).collect();
        }
        let has_redis = keys.says_redis || self.wants_redis(flags_alone);
        match (has_redis, keys.dir.is_some()) {
            (true, true) => vec![KeySourceKind::Redis, KeySourceKind::Files],
            (true, false) => vec![KeySourceKind::Redis],
            (false, _) => vec![KeySourceKind::Files],
        }
    }

    /// Is Redis asked for, where no URL names it, and does the environment name it?
    fn wants_redis(&self, flags_alone: bool) -> bool {
        let keys = &self.keys;
        let asked = match &keys.sources {
            Some(sources) => sources.value.iter().any(|source| source.value == KeySourceKind::Redis),
            // There is nothing that these keys could be but in Redis.
            // (One that this user may not look for may be there.)
            None => {
                let is_absent = || matches!(Path::new(defaults::KEYS_DIR).try_exists(), Ok(false));
                !flags_alone && keys.dir.is_none() && is_absent()
            }
        };
        let own = self.service_key.as_ref().is_some_and(|key| key.value == OwnKey::Redis);
        !keys.says_redis && keys.environment.host.is_some() && (asked || own)
    }
}

/// Where keys come from and how long they live; what contradicts itself is noted.
pub(super) fn keys(file: &FileConfig, state_dir: &Path, flags_alone: bool, problems: &Problems) -> Keys {
    let default = Keys::default();
    let written = &file.keys;
    let sources = file.key_sources(flags_alone);
    let url = match &written.redis {
        Some(url) => Some(url.clone()),
        None if file.wants_redis(flags_alone) => environment(written, problems),
        None => None,
    };
    let redis = url.as_ref().map(|url| redis(url, written, problems));
    // A wrong URL, or a wrong variable, was told of; then Redis is not missing.
    let is_named = redis.is_some() || written.says_redis || file.wants_redis(flags_alone);
    missing(file, &sources, is_named, problems);
    let (dir, make_on_start) = match &written.dir {
        Some(dir) => (std::path::absolute(&dir.value).unwrap_or_else(|_| dir.value.clone()), false),
        None if flags_alone => (state_dir.join("keys"), true),
        None => (PathBuf::from(defaults::KEYS_DIR), false),
    };
    let or = |setting: &Option<Setting<Duration>>, default| setting.as_ref().map_or(default, |said| said.value);
    let keys = Keys {
        dir,
        make_on_start,
        sources,
        redis,
        cache: or(&written.cache, default.cache),
        stale: or(&written.stale, default.stale),
        grace: or(&written.grace, default.grace),
        sealed_copy: written.sealed_copy.as_ref().map(|path| path.value.clone()),
        ttl: or(&written.ttl, default.ttl),
        overlap: or(&written.overlap, default.overlap),
        unused_for: or(&written.unused_for, default.unused_for),
        rotate_before: or(&written.rotate_before, default.rotate_before),
    };
    lives(&keys, written, problems);
    keys
}

fn redis(url: &Setting<RedisUrl>, written: &FileKeys, problems: &Problems) -> Redis {
    let RedisUrl { servers, database, user, is_tls } = url.value.clone();
    let mut tls = is_tls.then_some(super::ClientTls { ca: None, name: None, identity: None });
    if let Some(said) = &written.redis_tls {
        if is_tls {
            tls = Some(said.value.checked());
        } else {
            let problem = Diagnostic::error(&said.place, "`keys.redis_tls` says nothing: the URL is one without TLS");
            let problem =
                problem.expected("a URL that begins with `rediss`").related(&url.place, "spoken to without TLS");
            problems.add(
                problem.fix("write `rediss://` there (its port is often another one), or leave `redis_tls` out"),
            );
        }
        if let (RedisServers::Cluster(_), Some(name)) = (&servers, &said.value.name) {
            let problem =
                Diagnostic::error(&name.place, "`keys.redis_tls.name` is one name for all nodes of a cluster");
            let problem = problem.expected("a certificate of each node that names its own address");
            problems.add(problem.related(&url.place, "a cluster").fix("leave `name` out"));
        }
    }
    let password = match (&written.redis_password_file, &written.environment.password) {
        (Some(file), _) => Some(RedisPassword::File(file.value.clone())),
        (None, Some(password)) => Some(RedisPassword::Environment(std::sync::Arc::clone(password))),
        (None, None) => None,
    };
    if let (Some(user), None) = (&user, &password) {
        let message = format!("the user `{user}` of Redis has no password");
        let fix = "`redis_password_file = \"…\"`, or REDIS_PASSWORD";
        problems.add(Diagnostic::warning(&url.place, message).fix(fix));
    }
    if let Some(host) = written.environment.host.as_ref().filter(|host| {
        url.place != host.place && !url.value.hosts().any(|other| other.eq_ignore_ascii_case(&host.value))
    }) {
        let message =
            format!("`REDIS_HOST` names another Redis ({}) than the file, whose URL holds", quoted(&host.value));
        let problem = Diagnostic::warning(&host.place, message).related(&url.place, "keys are read here");
        problems.add(problem.fix("make them the same, or leave it if the variable is another program's"));
    }
    Redis { servers, database, user, password, tls }
}

/// The Redis that the environment names; what is wrong with it is noted.
fn environment(written: &FileKeys, problems: &Problems) -> Option<Setting<RedisUrl>> {
    let host = written.environment.host.as_ref()?;
    let name = host.value.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host.value);
    let is_good = name.parse::<std::net::Ipv6Addr>().is_ok() || addresses::is_host_name(name);
    if !is_good {
        let problem = Diagnostic::error(&host.place, format!("`REDIS_HOST` is {}", quoted(&host.value)));
        let problem = problem.expected("a host name or an address, without scheme and port");
        problems.add(problem.fix("or name the whole URL in the file: `redis = \"redis://host:6379/0\"` in [keys]"));
    }
    let mut port = None;
    if let Some(said) = &written.environment.port {
        port = said.value.parse::<u16>().ok().filter(|port| *port != 0);
        if port.is_none() {
            let message = format!("`REDIS_PORT` is {}", quoted(&said.value));
            problems.add(Diagnostic::error(&said.place, message).expected("a port from 1 to 65535"));
            return None;
        }
    }
    is_good.then(|| Setting { value: RedisUrl::single(name, port), place: host.place.clone() })
}

const NAME_IT: &str = "`redis = \"redis://host:6379/0\"` in [keys], or REDIS_HOST and REDIS_PORT in the environment";

/// What asks for a Redis that nobody names, or describes one that nobody asks.
fn missing(file: &FileConfig, sources: &[KeySourceKind], is_named: bool, problems: &Problems) {
    let written = &file.keys;
    let asks = sources.contains(&KeySourceKind::Redis);
    let listed = written.sources.iter().flat_map(|sources| &sources.value);
    for (index, source) in listed.clone().enumerate() {
        if let Some(first) = listed.clone().take(index).find(|first| first.value == source.value) {
            let problem = Diagnostic::error(&source.place, "an entry of `keys.sources` is there twice");
            problems.add(problem.expected("each source once").related(&first.place, "here as well"));
        }
    }
    if let Some(source) = listed.clone().find(|source| source.value == KeySourceKind::Redis && !is_named) {
        let problem = Diagnostic::error(&source.place, "`keys.sources` asks Redis, but no Redis is named");
        problems.add(problem.expected(NAME_IT).fix("name it, or leave \"redis\" out").absence());
    }
    if let Some(own) = file.service_key.as_ref().filter(|key| key.value == OwnKey::Redis) {
        if !is_named {
            let problem = Diagnostic::error(&own.place, "`service.key` is in Redis, but no Redis is named");
            problems.add(problem.expected(NAME_IT).fix("name it, or say `key_file = \"…\"` here").absence());
        } else if !asks {
            let mut problem =
                Diagnostic::error(&own.place, "`service.key` is in Redis, which `keys.sources` does not ask");
            if let Some(sources) = &written.sources {
                problem = problem.related(&sources.place, "who is asked for keys");
            }
            problems.add(problem.expected("\"redis\" among `keys.sources`"));
        }
    }
    let described = [
        ("redis_password_file", written.redis_password_file.as_ref().map(|file| &file.place)),
        ("redis_tls", written.redis_tls.as_ref().map(|tls| &tls.place)),
    ];
    for (key, place) in described {
        if let Some(place) = place.filter(|_| !is_named) {
            let problem = Diagnostic::error(place, format!("`keys.{key}` says nothing: no Redis is named"));
            problems.add(problem.expected(NAME_IT).fix(format!("name it, or leave `{key}` out")).absence());
        }
    }
    if let Some(sealed) = written.sealed_copy.as_ref().filter(|_| !asks) {
        let problem =
            Diagnostic::warning(&sealed.place, "`keys.sealed_copy` says nothing where Redis is not asked for keys");
        problems.add(problem.fix("leave it out: key files are there after a restart as well"));
    }
}

/// How long keys live must fit together.
fn lives(keys: &Keys, written: &FileKeys, problems: &Problems) {
    for (name, said, value) in
        [("rotate_before", &written.rotate_before, keys.rotate_before), ("overlap", &written.overlap, keys.overlap)]
    {
        if value < keys.ttl {
            continue;
        }
        // Only one of the two may have been written; the other is then the default.
        let Some(place) = said.as_ref().map(|said| &said.place).or(written.ttl.as_ref().map(|ttl| &ttl.place)) else {
            continue;
        };
        let (value, ttl) = (super::values::show_duration(value), super::values::show_duration(keys.ttl));
        let message = format!("`keys.{name}` ({value}) is not shorter than `keys.ttl` ({ttl})");
        let mut problem = Diagnostic::error(place, message).expected("less than a key lives");
        if let Some(ttl) = written.ttl.as_ref().filter(|ttl| ttl.place != *place) {
            problem = problem.related(&ttl.place, "how long a key lives");
        }
        problems.add(problem);
    }
}

/// Where a key directory or Redis is named at all, for messages.
impl FileKeys {
    pub(super) fn dir_place(&self) -> Option<Place> {
        self.dir.as_ref().map(|said| said.place.clone())
    }
}
