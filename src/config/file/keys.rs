//! `[service]` and `[keys]`: who this VM is and where keys come from, as it is written.

use super::upstreams::{self, FileClientTls};
use super::{FileConfig, service_id};
use crate::config::diagnostic::Diagnostic;
use crate::config::problems::Setting;
use crate::config::readers;
use crate::config::redis_url::{self, RedisUrl};
use crate::config::table::Table;
use crate::config::values::Expected;
use crate::config::{KeySourceKind, OwnKey};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// `[keys]`
#[derive(Default)]
pub(in crate::config) struct FileKeys {
    pub(in crate::config) dir: Option<Setting<PathBuf>>,
    pub(in crate::config) sources: Option<Setting<Vec<Setting<KeySourceKind>>>>,
    pub(in crate::config) redis: Option<Setting<RedisUrl>>,
    /// Was `redis` written at all, rightly or wrongly?
    pub(in crate::config) says_redis: bool,
    pub(in crate::config) redis_password_file: Option<Setting<PathBuf>>,
    pub(in crate::config) redis_tls: Option<Setting<FileClientTls>>,
    pub(in crate::config) sealed_copy: Option<Setting<PathBuf>>,
    pub(in crate::config) cache: Option<Setting<Duration>>,
    pub(in crate::config) stale: Option<Setting<Duration>>,
    pub(in crate::config) grace: Option<Setting<Duration>>,
    pub(in crate::config) ttl: Option<Setting<Duration>>,
    pub(in crate::config) overlap: Option<Setting<Duration>>,
    pub(in crate::config) unused_for: Option<Setting<Duration>>,
    pub(in crate::config) rotate_before: Option<Setting<Duration>>,
    /// What the environment says of Redis.
    pub(in crate::config) environment: RedisEnvironment,
}

/// `REDIS_HOST`, `REDIS_PORT` as they came, looked at only where something asks for Redis and no URL names it; `REDIS_PASSWORD`.
#[derive(Default)]
pub(in crate::config) struct RedisEnvironment {
    pub(in crate::config) host: Option<Setting<String>>,
    pub(in crate::config) port: Option<Setting<String>>,
    pub(in crate::config) password: Option<Arc<Zeroizing<String>>>,
}

const KEY: &str = "\"redis\": the key is read from [keys].redis";

pub(super) fn service(mut table: Table<'_>, file: &mut FileConfig) {
    file.says_id = table.is_written("id");
    file.service_id = table.value("id", |value| service_id(readers::text(value, super::SERVICE_ID)?));
    let key_file = table.path("key_file").map(|path| path.map(OwnKey::File));
    let key =
        table.value("key", |value| match readers::text(value, KEY)? {
            "redis" => Ok(OwnKey::Redis),
            _ => Err(Expected::new(KEY)
                .fix("the key itself never stands here: `key_file = \"…\"` names the file it is in")),
        });
    if let (Some(key), Some(file)) = (&key, &key_file) {
        let problem = Diagnostic::error(&key.place, "`service.key` contradicts `service.key_file`");
        let problem = problem.expected("one of the two").related(&file.place, "the key is in this file");
        table
            .problems()
            .add(problem.fix("leave `key_file` out to sign with the key in Redis, or `key` to sign with the file's"));
    }
    file.service_key = key_file.or(key);
    table.finish();
}

const SOURCES: [(&str, KeySourceKind); 2] = [("redis", KeySourceKind::Redis), ("files", KeySourceKind::Files)];
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Below, Redis would be asked without end.
const CACHE: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
const TOLERANCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(365 * 86_400);
const TTL: RangeInclusive<Duration> = SECOND..=Duration::from_secs(3650 * 86_400);

pub(super) fn keys(mut table: Table<'_>) -> FileKeys {
    let sources = table.list("sources", "sources: [\"redis\", \"files\"]", |value| readers::word(value, &SOURCES));
    let sources = table.filled("sources", sources, "leave `sources` out, or say who is asked for keys");
    let keys = FileKeys {
        dir: table.path("dir"),
        sources,
        says_redis: table.is_written("redis"),
        redis: table.value("redis", |value| redis_url::redis_url(readers::text(value, redis_url::EXPECTED)?)),
        redis_password_file: table.path("redis_password_file"),
        redis_tls: upstreams::client_tls(table.table("redis_tls")),
        sealed_copy: table.path("sealed_copy"),
        cache: table.duration("cache", &CACHE),
        stale: table.duration("stale", &TOLERANCE),
        grace: table.duration("grace", &TOLERANCE),
        ttl: table.duration("ttl", &TTL),
        overlap: table.duration("overlap", &TOLERANCE),
        unused_for: table.duration("unused_for", &TOLERANCE),
        rotate_before: table.duration("rotate_before", &TOLERANCE),
        environment: RedisEnvironment::default(),
    };
    table.finish();
    keys
}
