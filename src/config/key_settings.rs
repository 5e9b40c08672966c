//! The checked shape of `[service]` and `[keys]`: who this VM is, where keys come from, and how long they live.

use super::network::ClientTls;
use crate::signature::key::ServiceId;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[service]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceIdentity {
    /// `id`
    pub id: ServiceId,
    /// Where its key is.
    pub key: OwnKey,
}

/// Where this VM's own key is.
#[derive(Clone, PartialEq, Eq)]
pub enum OwnKey {
    /// `key_file`, `SERVICE_KEY_FILE`
    File(PathBuf),
    /// `SERVICE_KEY`: the text, as the environment gave it.
    Environment(Arc<zeroize::Zeroizing<String>>),
    /// `key = "redis"`, or not said where Redis is asked first for every key: from `[keys].redis`, followed without a restart.
    Redis,
    /// Not said, and the files are asked first: the id's file in `[keys].dir`.
    Directory,
}

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OwnKey::File(path) => f.debug_tuple("File").field(path).finish(),
            OwnKey::Environment(_) => f.write_str("Environment(..)"),
            OwnKey::Redis => f.write_str("Redis"),
            OwnKey::Directory => f.write_str("Directory"),
        }
    }
}

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// `dir`: `*.env` files.
    pub dir: PathBuf,
    /// With flags alone, and none that names a directory: a key is made here on the first start.
    pub make_on_start: bool,
    /// `sources`: who is asked, in this order; the next one only when the one before cannot be reached, never because it
    /// does not have a key.
    pub sources: Vec<KeySourceKind>,
    /// `redis`; always there where `sources` names it.
    pub redis: Option<Redis>,
    /// `cache`: how long a key of Redis is used without asking again.
    pub cache: Duration,
    /// `stale`: how long a cached key still serves while Redis cannot be reached.
    pub stale: Duration,
    /// `grace`: how long a key that lapsed in Redis (never one that was deleted) still serves, loudly.
    pub grace: Duration,
    /// `sealed_copy`: the file of 64 hex digits that the copy of the keys in the state directory is sealed with; `None`: no copy.
    pub sealed_copy: Option<PathBuf>,
    /// `ttl` of a key that is made in Redis.
    pub ttl: Duration,
    /// `overlap`: how long the key before a rotation stays valid at least.
    pub overlap: Duration,
    /// `unused_for`: an overlap ends only when no verifier has seen the old key used for this long.
    pub unused_for: Duration,
    /// `rotate_before`: `keys rotate --due` rotates what has less left than this.
    pub rotate_before: Duration,
}

/// A place keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySourceKind {
    /// `"redis"`
    Redis,
    /// `"files"`: `[keys].dir`.
    Files,
}

/// `[keys].redis` and what belongs to it: how Redis is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Which servers, and what they are to each other.
    pub servers: RedisServers,
    /// The database; 0 in a cluster.
    pub database: i64,
    /// The ACL user, from the URL (`redis://user@host`); `None`: the default user.
    pub user: Option<String>,
    /// `redis_password_file` or `REDIS_PASSWORD`.
    pub password: Option<RedisPassword>,
    /// `rediss://`: TLS, with `redis_tls = { ca, name, cert, key }`.
    pub tls: Option<ClientTls>,
}

/// The servers a Redis URL names: host and port of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisServers {
    /// `redis://host:port/db`
    Single((String, u16)),
    /// `redis+sentinel://host:port,host:port/MASTER/db`
    Sentinel {
        /// The name of the master.
        master: String,
        /// The sentinels.
        sentinels: Vec<(String, u16)>,
    },
    /// `redis+cluster://host:port,host:port`
    Cluster(Vec<(String, u16)>),
}

/// Where the password of Redis is; never its text in a message.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisPassword {
    /// `redis_password_file`
    File(PathBuf),
    /// `REDIS_PASSWORD`
    Environment(Arc<zeroize::Zeroizing<String>>),
}

impl std::fmt::Debug for RedisPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RedisPassword::File(path) => f.debug_tuple("File").field(path).finish(),
            RedisPassword::Environment(_) => f.write_str("Environment(..)"),
        }
    }
}
