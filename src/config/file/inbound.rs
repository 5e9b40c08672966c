//! `[inbound]`, `[[inbound]]`: the guarded backends as they are written.

use super::server_tls::{self, FileServerTls};
use super::upstreams::{self, FileUpstreams};
use crate::config::addresses;
use crate::config::diagnostic::Place;
use crate::config::problems::Setting;
use crate::config::readers;
use crate::config::table::Table;
use crate::config::{Health, Listen};
use ipnet::IpNet;
use std::time::Duration;

/// One guarded backend, as written.
#[derive(Debug)]
pub(in crate::config) struct FileInbound {
    pub(in crate::config) listen: Option<Setting<Listen>>,
    pub(in crate::config) upstreams: FileUpstreams,
    pub(in crate::config) health: Option<Setting<Health>>,
    pub(in crate::config) tls: Option<FileServerTls>,
    pub(in crate::config) h2c: bool,
    pub(in crate::config) trusted_proxies: Vec<Setting<IpNet>>,
    pub(in crate::config) first_byte: Option<Duration>,
    /// Where the table stands.
    pub(in crate::config) place: Place,
    /// Was `listen` written at all, rightly or wrongly? Otherwise a flag may still say it.
    pub(in crate::config) says_listen: bool,
}

impl FileInbound {
    /// One of which nothing is known yet.
    pub(in crate::config) fn at(place: Place) -> FileInbound {
        FileInbound {
            listen: None,
            upstreams: FileUpstreams::default(),
            health: None,
            tls: None,
            h2c: false,
            trusted_proxies: Vec::new(),
            first_byte: None,
            place,
            says_listen: false,
        }
    }
}

pub(super) fn inbound(top: &mut Table<'_>) -> Vec<FileInbound> {
    top.tables("inbound", true).into_iter().map(one).collect()
}

fn one(mut table: Table<'_>) -> FileInbound {
    let (says_listen, listen) = listen(&mut table);
    let upstreams = upstreams::read(&mut table);
    let tls = server_tls::read(table.table("tls"));
    let h2c = table.boolean("h2c").is_some_and(|h2c| h2c.value);
    let trusted_proxies = table
        .list("trusted_proxies", "addresses and networks", |value| {
            addresses::network(readers::text(value, "an IP address or network")?)
        })
        .map_or_else(Vec::new, |list| list.value);
    let first_byte = table.duration("first_byte", &super::operation::FIRST_BYTE).map(|first_byte| first_byte.value);
    let health = upstreams::health(table.table("health"));
    let place = table.place().clone();
    table.finish();
    FileInbound { listen, upstreams, health, tls, h2c, trusted_proxies, first_byte, place, says_listen }
}

/// `listen`, and whether it was written at all.
pub(super) fn listen(table: &mut Table<'_>) -> (bool, Option<Setting<Listen>>) {
    let listen = table.value("listen", |value| {
        addresses::listen(readers::text(value, "`host:port`, `systemd:NAME` or `unix:/path`")?)
    });
    (table.is_written("listen"), listen)
}
