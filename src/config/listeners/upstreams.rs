//! Where requests of a listener go: what `upstream`, `upstream_tls` and `upstream_http2` say together.

use crate::config::diagnostic::Diagnostic;
use crate::config::file::FileUpstreams;
use crate::config::problems::{Problems, Setting};
use crate::config::{Upstream, Upstreams};
use std::sync::Arc;

/// The upstreams as written, each with its TLS and its protocol; `None` where none was said, or wrongly.
pub(super) fn checked(table: &str, written: &FileUpstreams, problems: &Problems) -> Option<Vec<Setting<Upstream>>> {
    let list = written.list.as_ref()?.value.clone();
    Some(equipped(table, list, written, problems))
}

/// The same for a list that stands under another key.
pub(super) fn equipped(
    table: &str,
    list: Vec<Setting<Upstream>>,
    written: &FileUpstreams,
    problems: &Problems,
) -> Vec<Setting<Upstream>> {
    let tls = written.tls.as_ref().map(|tls| Arc::new(tls.value.checked()));
    if let Some(said) = written.tls.as_ref().filter(|_| list.iter().all(|upstream| upstream.value.tls.is_none())) {
        let message = format!("`{table}.upstream_tls` says nothing: no upstream begins with `https://`");
        let mut problem = Diagnostic::error(&said.place, message).expected("an upstream `https://host:port`");
        if let Some(first) = list.first() {
            problem = problem.related(&first.place, "spoken to without TLS");
        }
        problems.add(problem.fix("write `https://` there, or leave `upstream_tls` out"));
    }
    for (index, one) in list.iter().enumerate() {
        if let Some(first) = list[..index].iter().find(|other| is_same(&one.value, &other.value)) {
            let message = format!("the upstream {} is listed twice", one.value);
            problems.add(
                Diagnostic::error(&one.place, message)
                    .expected("each upstream once")
                    .related(&first.place, "here as well"),
            );
        }
    }
    let http2 = written.http2.as_ref().is_some_and(|http2| http2.value);
    let equip = |upstream: Upstream| {
        let tls = upstream.tls.map(|usual| tls.clone().unwrap_or(usual));
        Upstream { tls, http2, ..upstream }
    };
    list.into_iter().map(|upstream| upstream.map(equip)).collect()
}

fn is_same(one: &Upstream, other: &Upstream) -> bool {
    one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
}

/// Without their places.
pub(super) fn together(towards: &[Setting<Upstream>]) -> Option<Upstreams> {
    Upstreams::new(towards.iter().map(|upstream| upstream.value.clone()).collect())
}
