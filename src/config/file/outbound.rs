//! `[outbound]`, `[[outbound]]`: the ways out that sign, as they are written.

use super::upstreams::{self, FileUpstreams};
use crate::config::addresses;
use crate::config::diagnostic::Place;
use crate::config::problems::Setting;
use crate::config::readers;
use crate::config::table::Table;
use crate::config::values::{Expected, Reading};
use crate::config::{Health, Listen, Upstream};
use std::time::Duration;
use toml::de::DeValue;

/// One way out, as written.
#[derive(Debug)]
pub(in crate::config) struct FileOutbound {
    pub(in crate::config) listen: Option<Setting<Listen>>,
    pub(in crate::config) says_listen: bool,
    pub(in crate::config) upstreams: FileUpstreams,
    pub(in crate::config) forward_proxy: Option<Setting<bool>>,
    pub(in crate::config) allow: Option<Setting<Vec<Setting<Upstream>>>>,
    pub(in crate::config) says_allow: bool,
    pub(in crate::config) connect: Option<Setting<Vec<Setting<Upstream>>>>,
    pub(in crate::config) health: Option<Setting<Health>>,
    pub(in crate::config) h2c: Option<Setting<bool>>,
    pub(in crate::config) allow_uids: Option<Setting<Vec<Setting<u32>>>>,
    pub(in crate::config) allow_remote: Option<Setting<bool>>,
    pub(in crate::config) first_byte: Option<Duration>,
    /// Where the table stands.
    pub(in crate::config) place: Place,
}

pub(super) fn outbound(top: &mut Table<'_>) -> Vec<FileOutbound> {
    top.tables("outbound", true).into_iter().map(one).collect()
}

const ALLOWED: &str = "`host:port` or `https://host:port`, such as \"172.16.168.20:8001\"";
const CONNECT: &str = "`host:port`, such as \"172.16.168.20:8443\"";

fn one(mut table: Table<'_>) -> FileOutbound {
    let (says_listen, listen) = super::inbound::listen(&mut table);
    let upstreams = upstreams::read(&mut table);
    let forward_proxy = table.boolean("forward_proxy");
    let allow = table.list("allow", "hosts, such as [\"172.16.168.20:8001\"]", |value| {
        addresses::allowed_upstream(readers::text(value, ALLOWED)?).map_err(|error| with(error, ALLOWED))
    });
    let allow = table.filled("allow", allow, "list every host that may be called through this proxy");
    let connect = table.list("connect", "hosts, such as [\"172.16.168.20:8443\"]", |value| {
        addresses::bare_upstream(readers::text(value, CONNECT)?).ok_or_else(|| Expected::new(CONNECT))
    });
    let connect = table.filled("connect", connect, "leave `connect` out to open no tunnel");
    let allow_uids = table.list("allow_uids", "user ids, such as [1000]", uid);
    let allow_uids = table.filled("allow_uids", allow_uids, "leave `allow_uids` out to let the file's mode decide");
    let file = FileOutbound {
        listen,
        says_listen,
        upstreams,
        forward_proxy,
        says_allow: table.is_written("allow"),
        allow,
        connect,
        health: upstreams::health(table.table("health")),
        h2c: table.boolean("h2c"),
        allow_uids,
        allow_remote: table.boolean("allow_remote"),
        first_byte: table.duration("first_byte", &super::operation::FIRST_BYTE).map(|first_byte| first_byte.value),
        place: table.place().clone(),
    };
    table.finish();
    file
}

fn with(error: Expected, what: &str) -> Expected {
    Expected { what: what.into(), ..error }
}

fn uid(value: &DeValue<'_>) -> Reading<u32> {
    // 4294967295 is no user but "unchanged" in the system's calls.
    let uid = readers::count(value, &(0..=u64::from(u32::MAX - 1)))?;
    u32::try_from(uid).map_err(|_| Expected::new("a user id"))
}
