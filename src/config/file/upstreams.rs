//! Where requests of a listener go, as it is written: what `[inbound]` and `[[outbound]]` say alike.

use crate::config::addresses;
use crate::config::problems::Setting;
use crate::config::readers;
use crate::config::table::Table;
use crate::config::values::{Expected, Reading};
use crate::config::{ClientTls, Health, Upstream};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// `upstream` and what belongs to it, as written.
#[derive(Debug, Default)]
pub(in crate::config) struct FileUpstreams {
    /// `upstream`: one or a list. An `https://` one has the TLS that nobody described.
    pub(in crate::config) list: Option<Setting<Vec<Setting<Upstream>>>>,
    /// Was `upstream` written at all, rightly or wrongly? Otherwise a flag or a variable may still say it.
    pub(in crate::config) is_said: bool,
    /// `upstream_tls`
    pub(in crate::config) tls: Option<Setting<FileClientTls>>,
    /// `upstream_http2`
    pub(in crate::config) http2: Option<Setting<bool>>,
}

/// `upstream_tls` and `redis_tls`, as written.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct FileClientTls {
    pub(in crate::config) ca: Option<Setting<PathBuf>>,
    pub(in crate::config) name: Option<Setting<String>>,
    pub(in crate::config) cert: Option<Setting<PathBuf>>,
    pub(in crate::config) key: Option<Setting<PathBuf>>,
}

impl FileClientTls {
    /// The files it names.
    pub(in crate::config) fn files(&self) -> impl Iterator<Item = &Setting<PathBuf>> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten()
    }

    /// The checked shape; half an identity is none (and was reported).
    pub(in crate::config) fn checked(&self) -> ClientTls {
        let path = |file: &Option<Setting<PathBuf>>| file.as_ref().map(|file| file.value.clone());
        ClientTls {
            ca: path(&self.ca),
            name: self.name.as_ref().map(|name| name.value.clone()),
            identity: path(&self.cert).zip(path(&self.key)),
        }
    }
}

pub(super) fn read(table: &mut Table<'_>) -> FileUpstreams {
    let list = table.one_or_list("upstream", "URLs, such as [\"http://127.0.0.1:8000\"]", |value| {
        addresses::upstream(readers::text(value, "a URL `http://host:port`")?)
    });
    let fix = "leave the whole listener out, or say where requests go";
    FileUpstreams {
        list: table.filled("upstream", list, fix),
        is_said: table.is_written("upstream"),
        tls: client_tls(table.table("upstream_tls")),
        http2: table.boolean("upstream_http2"),
    }
}

/// How a server is known.
pub(super) fn client_tls(mut table: Table<'_>) -> Option<Setting<FileClientTls>> {
    let ca = table.path("ca");
    let name = table.value("name", |value| server_name(readers::text(value, SERVER_NAME)?));
    let cert = table.path("cert");
    let key = table.path("key");
    if table.is_present() {
        for (one, other, there) in [("cert", "key", &cert), ("key", "cert", &key)] {
            if there.is_some() {
                table.missing(other, &format!("`{other}` beside `{one}`: both make up a client certificate"));
            }
        }
    }
    let value = FileClientTls { ca, name, cert, key };
    let present = table.is_present().then(|| Setting { value, place: table.place().clone() });
    table.finish();
    present
}

const SERVER_NAME: &str = "the name in the server's certificate, such as \"backend.internal\"";

fn server_name(text: &str) -> Reading<String> {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if is_address || addresses::is_host_name(text) { Ok(text.to_owned()) } else { Err(Expected::new(SERVER_NAME)) }
}

/// How often a backend may be asked.
const HEALTH_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const STATUS: RangeInclusive<u64> = 200..=599;

/// `health`
pub(super) fn health(mut table: Table<'_>) -> Option<Setting<Health>> {
    let place = table.place().clone();
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
    let health = Health {
        path: path?.value,
        interval: interval.map_or(Health::INTERVAL, |interval| interval.value),
        // In the range of statuses, which a `u16` holds.
        expect: expect.map_or(200, |expect| u16::try_from(expect.value).unwrap_or(200)),
        json,
    };
    Some(Setting { value: health, place })
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
