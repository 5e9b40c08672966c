//! `[inbound]`, `[[inbound]]`: the guarded backends as they are written.

use crate::config::addresses;
use crate::config::diagnostic::Place;
use crate::config::problems::Setting;
use crate::config::readers;
use crate::config::table::Table;
use crate::config::values::{Expected, Reading};
use crate::config::{Health, Listen, Upstream};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// One guarded backend, as written.
#[derive(Debug)]
pub(in crate::config) struct FileInbound {
    pub(in crate::config) listen: Option<Setting<Listen>>,
    pub(in crate::config) upstream: Option<Setting<Upstream>>,
    pub(in crate::config) health: Option<Health>,
    pub(in crate::config) trusted_proxies: Vec<Setting<IpNet>>,
    pub(in crate::config) first_byte: Option<Duration>,
    /// Where the table stands.
    pub(in crate::config) place: Place,
    /// Were `listen` and `upstream` written at all, rightly or wrongly? Otherwise a flag may still say them.
    pub(in crate::config) written: (bool, bool),
}

impl FileInbound {
    /// One of which nothing is known yet.
    pub(in crate::config) fn at(place: Place) -> FileInbound {
        FileInbound {
            listen: None,
            upstream: None,
            health: None,
            trusted_proxies: Vec::new(),
            first_byte: None,
            place,
            written: (false, false),
        }
    }
}

/// How often a backend may be asked.
const HEALTH_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const STATUS: RangeInclusive<u64> = 200..=599;

pub(super) fn inbound(top: &mut Table<'_>) -> Vec<FileInbound> {
    top.tables("inbound", true).into_iter().map(one).collect()
}

fn one(mut table: Table<'_>) -> FileInbound {
    let written = (table.is_written("listen"), table.is_written("upstream"));
    let listen = table.value("listen", |value| {
        addresses::listen(readers::text(value, "`host:port`, `systemd:NAME` or `unix:/path`")?)
    });
    let upstream = upstream(&mut table);
    table.not_built("tls");
    table.not_built("h2c");
    let trusted_proxies = table
        .list("trusted_proxies", "addresses and networks", |value| {
            addresses::network(readers::text(value, "an IP address or network")?)
        })
        .map_or_else(Vec::new, |list| list.value);
    let first_byte = table.duration("first_byte", &super::operation::FIRST_BYTE).map(|first_byte| first_byte.value);
    let health = health(table.table("health"));
    let place = table.place().clone();
    table.finish();
    FileInbound { listen, upstream, health, trusted_proxies, first_byte, place, written }
}

fn upstream(table: &mut Table<'_>) -> Option<Setting<Upstream>> {
    let unbuilt = |value: &DeValue<'_>| match value {
        DeValue::Array(_) => Some("a list of upstreams"),
        DeValue::String(text) if text.to_ascii_lowercase().starts_with("https://") => Some("an upstream over https"),
        _ => None,
    };
    if table.is_unbuilt("upstream", unbuilt) {
        return None;
    }
    table.value("upstream", |value| addresses::upstream(readers::text(value, "a URL `http://host:port`")?))
}

fn health(mut table: Table<'_>) -> Option<Health> {
    let path = table.value("path", |value| health_path(readers::text(value, HEALTH_PATH)?));
    let interval = table.duration("interval", &HEALTH_INTERVAL);
    let expect = table.value("expect", |value| readers::count(value, &STATUS));
    let members = table.table("json");
    let mut json = BTreeMap::new();
    for (key, value) in members.entries() {
        match member(value.get_ref()) {
            Ok(member) => {
                json.insert(key.value, member);
            }
            Err(expected) => members.wrong_entry(&key.value, value, expected),
        }
    }
    if table.is_present() {
        table.missing("path", HEALTH_PATH);
    }
    table.finish();
    Some(Health {
        path: path?.value,
        interval: interval.map_or(Health::INTERVAL, |interval| interval.value),
        // In the range of statuses, which a `u16` holds.
        expect: expect.map_or(200, |expect| u16::try_from(expect.value).unwrap_or(200)),
        json,
    })
}

const HEALTH_PATH: &str = "a path, such as \"/api/health\"";

fn health_path(text: &str) -> Reading<String> {
    let good = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if good { Ok(text.to_owned()) } else { Err(Expected::new(HEALTH_PATH)) }
}

/// A member the health answer must have: a plain value.
fn member(value: &DeValue<'_>) -> Reading<serde_json::Value> {
    let expected = || Expected::new("a text, a whole number, true or false");
    match value {
        DeValue::String(text) => Ok(text.as_ref().into()),
        DeValue::Boolean(value) => Ok((*value).into()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map(Into::into).map_err(|_| expected())
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => Err(expected()),
    }
}
