//! `[inbound]`: each guarded backend by itself.

use super::{Checked, Ways, upstreams};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::file::FileInbound;
use crate::config::problems::{Problems, Setting};
use crate::config::{Inbound, Timeouts, Upstream};
use std::sync::Arc;

/// `[inbound]`
pub(in crate::config) fn inbound(
    written: Vec<FileInbound>,
    timeouts: Timeouts,
    problems: &Problems,
) -> Vec<Checked<Inbound>> {
    written.into_iter().map(|inbound| one(inbound, timeouts, problems)).collect()
}

fn one(written: FileInbound, timeouts: Timeouts, problems: &Problems) -> Checked<Inbound> {
    let missing = |key: &str, expected: &str| {
        let (message, expected) = match &written.place {
            Place::Flag(_) => (format!("`--{key}` is missing"), format!("`--{key} {expected}`")),
            _ => (format!("`inbound.{key}` is missing"), format!("`{key} = \"{expected}\"`")),
        };
        problems.add(Diagnostic::error(&written.place, message).expected(expected).absence());
    };
    if !written.says_listen {
        missing("listen", "127.0.0.1:8001");
    }
    if !written.upstreams.is_said {
        missing("upstream", "http://127.0.0.1:8000");
    }
    for net in written.trusted_proxies.iter().filter(|net| net.value.prefix_len() == 0) {
        let message = format!("`{}` trusts everyone: any caller could name any address as its own", net.value);
        problems.add(Diagnostic::warning(&net.place, message).fix("list the addresses of the proxies in front"));
    }
    let towards = upstreams::checked("inbound", &written.upstreams, problems);
    let ways = Ways { listen: written.listen.clone(), towards: towards.clone().unwrap_or_default() };
    Checked { made: whole(written, towards, timeouts).map(Arc::new), ways }
}

fn whole(written: FileInbound, towards: Option<Vec<Setting<Upstream>>>, timeouts: Timeouts) -> Option<Inbound> {
    let tls = match &written.tls {
        Some(tls) => Some(tls.checked()?),
        None => None,
    };
    Some(Inbound {
        listen: written.listen?.value,
        upstreams: upstreams::together(&towards?)?,
        health: written.health.map(|health| health.value),
        tls,
        h2c: written.h2c,
        trusted_proxies: written.trusted_proxies.into_iter().map(|net| net.value).collect(),
        first_byte: written.first_byte.unwrap_or(timeouts.first_byte),
    })
}
