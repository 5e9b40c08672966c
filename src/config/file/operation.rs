//! `[timeouts]`, `[limits]`, `[refusal]`, `[audit]`, `[admin]`, `[log]`: how the proxy goes about its work, as written.

use super::{FileAdmin, FileConfig};
use crate::config::addresses;
use crate::config::diagnostic::Diagnostic;
use crate::config::headers;
use crate::config::problems::Setting;
use crate::config::readers;
use crate::config::table::Table;
use crate::config::values::{Expected, Reading};
use crate::config::{Audit, AuditSink, Limits, LogFormat, LogLevel, OnFull, Timeouts};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const TIMER: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
/// Of a rule, of a listener, of all.
pub(super) const FIRST_BYTE: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
/// A stop may also wait for nothing.
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=DAY;

pub(super) fn timeouts(mut table: Table<'_>) -> Timeouts {
    let default = Timeouts::default();
    let mut timer = |key, default| table.duration(key, &TIMER).map_or(default, |timer| timer.value);
    let head = timer("head", default.head);
    let idle = timer("idle", default.idle);
    let body_idle = timer("body_idle", default.body_idle);
    let write_idle = timer("write_idle", default.write_idle);
    let connect = timer("connect", default.connect);
    let first_byte = timer("first_byte", default.first_byte);
    let tunnel_idle = table.value("tunnel_idle", |value| match value.as_str() {
        Some("off") => Ok(None),
        _ => readers::duration(value, &TIMER)
            .map(Some)
            .map_err(|error| Expected { what: format!("\"off\", or {}", error.what), ..error }),
    });
    let drain = table.duration("drain", &DRAIN).map_or(default.drain, |drain| drain.value);
    let tunnel_idle = tunnel_idle.map_or(default.tunnel_idle, |tunnel_idle| tunnel_idle.value);
    table.finish();
    Timeouts { head, idle, body_idle, write_idle, connect, first_byte, tunnel_idle, drain }
}

/// A head below this cannot carry a browser's cookies; above, one connection could take much memory.
const HEAD: RangeInclusive<u64> = 256..=16 << 20;
const TARGET: RangeInclusive<u64> = 16..=16 << 20;
const HEADERS: RangeInclusive<u64> = 1..=10_000;
const MANY: RangeInclusive<u64> = 1..=10_000_000;

pub(super) fn limits(mut table: Table<'_>) -> Limits {
    let default = Limits::default();
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let head = table.size("head", &HEAD);
    let target = table.size("target", &TARGET);
    if let (Some(head), Some(target)) = (&head, &target)
        && target.value > head.value
    {
        let message = "`limits.target` is larger than `limits.head`, of which the target is a part";
        table.problems().add(Diagnostic::error(&target.place, message).related(&head.place, "the whole head"));
    }
    let head = head.map_or(default.head, |head| bytes(head.value));
    let mut count = |key, range, default| table.count(key, range).map_or(default, |count| count.value);
    let limits = Limits {
        head,
        target: target.map_or(default.target, |target| bytes(target.value)).min(head),
        headers: count("headers", &HEADERS, default.headers),
        connections: count("connections", &MANY, default.connections),
        connections_per_address: count("connections_per_address", &MANY, default.connections_per_address),
        upstream_requests: count("upstream_requests", &MANY, default.upstream_requests),
    };
    table.finish();
    limits
}

pub(super) fn refusal(mut table: Table<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(Setting<String>, String)> = Vec::new();
    let entries = table.table("headers");
    for (key, value) in entries.entries() {
        let name = headers::name(&key.value);
        let text = readers::text(value.get_ref(), "a text").and_then(headers::value);
        if let Some((first, _)) = headers.iter().find(|(first, _)| first.value.eq_ignore_ascii_case(&key.value)) {
            let message = format!("the header `{}` is set twice", first.value);
            table.problems().add(Diagnostic::error(&key.place, message).related(&first.place, "and here"));
            continue;
        }
        match (name, text) {
            (Ok(_), Ok(text)) => headers.push((key, text)),
            (name, text) => {
                if let Err(expected) = name {
                    entries.wrong_key(&key, expected);
                }
                if let Err(expected) = text {
                    entries.wrong_entry(&key.value, value, expected);
                }
            }
        }
    }
    table.finish();
    headers.into_iter().map(|(name, value)| (name.value, value)).collect()
}

const ON_FULL: [(&str, OnFull); 2] = [("drop_and_count", OnFull::DropAndCount), ("block", OnFull::Block)];
/// Below, a file would be rotated with nearly every record.
const ROTATE_SIZE: RangeInclusive<u64> = 4 << 10..=1 << 40;
const ROTATE_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=YEARS;
const ROTATE_KEEP: RangeInclusive<u64> = 1..=100_000;
const KEEP_SERVICE: RangeInclusive<Duration> = Duration::ZERO..=YEARS;
const YEARS: Duration = Duration::from_secs(3650 * 86_400);

pub(super) fn audit(mut table: Table<'_>, file: &mut FileConfig) {
    let default = Audit::default();
    let reader = table.reader();
    file.audit_sink = table.value("file", |value| match readers::text(value, AUDIT_FILE)? {
        "stdout" => Ok(AuditSink::Stdout),
        "journald" => Ok(AuditSink::Journald),
        text => reader.path(text).map(AuditSink::File).map_err(|_| Expected::new(AUDIT_FILE)),
    });
    let mut rotate = table.table("rotate");
    file.audit = Audit {
        sink: default.sink,
        rotate_size: rotate.size("size", &ROTATE_SIZE).map_or(default.rotate_size, |size| size.value),
        rotate_age: rotate.duration("age", &ROTATE_AGE).map_or(default.rotate_age, |age| age.value),
        rotate_keep: rotate.count("keep", &ROTATE_KEEP).map_or(default.rotate_keep, |keep| keep.value),
        keep_service: table.duration("keep_service", &KEEP_SERVICE).map_or(default.keep_service, |keep| keep.value),
        on_full: table.word("on_full", &ON_FULL).map_or(default.on_full, |on_full| on_full.value),
    };
    file.rotate = rotate.is_present().then(|| rotate.place().clone());
    rotate.finish();
    table.finish();
}

const AUDIT_FILE: &str = "\"stdout\", \"journald\" or the path of a file";

/// `--audit`: as in the file, but relative to where the command runs.
pub(in crate::config) fn audit_flag(text: &str) -> Reading<AuditSink> {
    match text {
        "stdout" => Ok(AuditSink::Stdout),
        "journald" => Ok(AuditSink::Journald),
        "" => Err(Expected::new(AUDIT_FILE)),
        path => Ok(AuditSink::File(PathBuf::from(path))),
    }
}

pub(super) fn admin(mut table: Table<'_>) -> FileAdmin {
    let listen = table.value("listen", |value| admin_listen(readers::text(value, ADMIN_LISTEN)?));
    let allowed_hosts = table
        .list("allowed_hosts", "hosts", |value| addresses::allowed_host(readers::text(value, "a host")?))
        .map_or_else(Vec::new, |list| list.value.into_iter().map(|host| host.value).collect());
    let allow_remote = table.boolean("allow_remote");
    let reader = table.reader();
    let socket =
        table.value("socket", |value| admin_socket(readers::text(value, ADMIN_SOCKET)?, |path| reader.path(path)));
    table.finish();
    FileAdmin { listen, allowed_hosts, allow_remote, socket }
}

fn admin_socket(text: &str, resolve: impl FnOnce(&str) -> Reading<PathBuf>) -> Reading<Option<PathBuf>> {
    match text {
        "off" => Ok(None),
        path => {
            let path = resolve(path)?;
            // The kernel's limit of a socket's address, with its final zero.
            if path.as_os_str().len() < 108 { Ok(Some(path)) } else { Err(Expected::new(ADMIN_SOCKET)) }
        }
    }
}

const ADMIN_SOCKET: &str = "\"off\", or a path of at most 107 bytes, such as \"/run/countersign/admin.sock\"";

const ADMIN_LISTEN: &str = "\"off\", or `host:port`, such as \"127.0.0.1:9180\"";

/// Also for `--admin`.
pub(in crate::config) fn admin_listen(text: &str) -> Reading<Option<std::net::SocketAddr>> {
    match text {
        "off" => Ok(None),
        text => addresses::tcp(text).map(Some).map_err(|error| Expected { what: ADMIN_LISTEN.into(), ..error }),
    }
}

pub(in crate::config) const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
pub(in crate::config) const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) fn log(mut table: Table<'_>, file: &mut FileConfig) {
    file.log_level = table.word("level", &LEVELS);
    file.log_format = table.word("format", &FORMATS);
    table.finish();
}
