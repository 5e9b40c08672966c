//! `keys list`: every key, as the store has it now, beside what the files on this machine and the verifiers say of it.
//!
//! A service that the configuration names and that has no key is listed too, and so is an entry that is no key. What alerts somebody is
//! `--fail-below`; services marked `unused` alert nobody.

use super::arguments::List;
use super::{KeyPlace, key_source, service_ids};
use crate::cli::args::ConfigArgs;
use crate::cli::output::{Answer, CliError, Output, complain};
use crate::clock;
use crate::config::Config;
use crate::keys::record::KeyRecord;
use crate::keys::rotation::{OverlapStage, overlap};
use crate::keys::store::{KeyStore, StoreFault};
use crate::keys::usage::{ServiceUsage, Usage, Used, file, merge};
use crate::rollout::gates::figures::{Key, Lasts};
use crate::signature::key::{Fingerprint, ServiceId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod table;

/// One service.
pub(super) struct Row {
    pub(super) id: ServiceId,
    /// `None`: it has no key; an error: what stands there is none.
    pub(super) key: Option<Result<KeyRow, String>>,
    pub(super) unused: bool,
}

/// One service's key.
pub(super) struct KeyRow {
    pub(super) key: Fingerprint,
    pub(super) made: Option<u64>,
    pub(super) expires: Option<u64>,
    /// Seconds; negative when it should be gone.
    pub(super) left: Option<i64>,
    pub(super) source: Source,
    pub(super) used: Option<Used>,
    pub(super) next: Option<(Fingerprint, u64)>,
    pub(super) previous: Option<Outgoing>,
}

/// The key on its way out.
pub(super) struct Outgoing {
    pub(super) key: Fingerprint,
    pub(super) until: u64,
    pub(super) used: Option<Used>,
    /// Would we know of a use?
    pub(super) known: bool,
    pub(super) stage: OverlapStage,
}

/// Where a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// In the directory, and Redis is not asked.
    Files,
    /// In Redis, and in no file here.
    Redis,
    /// In both, and the same.
    Both,
    /// In both, and the file has another one.
    Differs(Fingerprint),
    /// In a file here, and not in Redis, where it should be.
    FilesOnly,
}

pub(super) fn run(arguments: &List, output: &Output) -> Result<Answer, CliError> {
    let ids = service_ids(&arguments.ids)?;
    let place = KeyPlace::of(arguments.place.dir.as_deref(), &arguments.place.config)?;
    let now = clock::unix_seconds();
    let rows = key_source::block_on(rows(&place, &ids, now))?;
    if output.is_json() {
        output.json(&table::to_json(&rows, &place.store.place()))?;
    } else {
        output.text(table::to_text(&rows, &place.store.place(), now))?;
    }
    let short = arguments.fail_below.map(|limit| too_short(&rows, limit)).unwrap_or_default();
    short.iter().for_each(|problem| complain(problem));
    Ok(if short.is_empty() { Answer::Done } else { Answer::No })
}

/// Every key of a configuration, as `keys list` prints it: for people, and for programs.
pub(in crate::cli) fn listed(config: &ConfigArgs) -> Result<(String, Value), CliError> {
    let place = KeyPlace::of(None, config)?;
    let now = clock::unix_seconds();
    let rows = key_source::block_on(rows(&place, &[], now))?;
    Ok((table::to_text(&rows, &place.store.place(), now), table::to_json(&rows, &place.store.place())))
}

/// What stands against keys that must have this much time left.
fn too_short(rows: &[Row], limit: Duration) -> Vec<String> {
    rows.iter().filter(|row| !row.unused).filter_map(|row| problem(row, limit)).collect()
}

fn problem(row: &Row, limit: Duration) -> Option<String> {
    let limit_seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    match &row.key {
        None => Some(format!("{} has no key", row.id)),
        Some(Err(fault)) => Some(fault.clone()),
        Some(Ok(key)) => {
            if key.source == Source::FilesOnly {
                return Some(format!("{} has a key in a file only; Redis, which is asked first, has none", row.id));
            }
            let left = key.left.filter(|left| *left < limit_seconds)?;
            let limit = super::words::span(limit.as_secs());
            Some(format!("the key of {} has {} left, less than {limit}", row.id, table::left(left)))
        }
    }
}

/// What `keys list` says of the key of one service in use.
pub(in crate::cli) struct TimeLeft {
    pub(in crate::cli) id: ServiceId,
    /// `87d 3h`, or what stands against it.
    pub(in crate::cli) left: Result<String, String>,
}

/// The same for others: services in use (those named, else all), with what stands against less time than this.
pub(in crate::cli) async fn time_left(
    place: &KeyPlace,
    ids: &[ServiceId],
    limit: Duration,
    now: u64,
) -> Result<Vec<TimeLeft>, CliError> {
    let rows = rows(place, ids, now).await?;
    let of = |row: Row| {
        let good = match &row.key {
            Some(Ok(KeyRow { left: Some(left), .. })) => format!("{} left", table::left(*left)),
            Some(Ok(_) | Err(_)) | None => "does not end".to_owned(),
        };
        TimeLeft { left: problem(&row, limit).map_or(Ok(good), Err), id: row.id }
    };
    Ok(rows.into_iter().filter(|row| !row.unused).map(of).collect())
}

/// How long the key of each service in use lasts.
pub(in crate::cli) fn lifetimes(config: &ConfigArgs) -> Result<Vec<Key>, CliError> {
    let place = KeyPlace::of(None, config)?;
    let rows = key_source::block_on(rows(&place, &[], clock::unix_seconds()))?;
    let lasts = |key: Option<Result<KeyRow, String>>| match key {
        None => Lasts::Missing("it has no key".to_owned()),
        Some(Err(fault)) => Lasts::Missing(fault),
        Some(Ok(KeyRow { source: Source::FilesOnly, .. })) => {
            Lasts::Missing("its key is in a file only; Redis, which is asked first, has none".to_owned())
        }
        Some(Ok(KeyRow { left: Some(left), .. })) => Lasts::For(left),
        Some(Ok(KeyRow { source: Source::Files, .. })) => Lasts::Unknown,
        Some(Ok(_)) => Lasts::Forever,
    };
    let used = rows.into_iter().filter(|row| !row.unused);
    Ok(used.map(|row| Key { service: row.id.to_string(), lasts: lasts(row.key) }).collect())
}

async fn rows(place: &KeyPlace, ids: &[ServiceId], now: u64) -> Result<Vec<Row>, CliError> {
    let config = place.config.as_ref();
    let wanted = |id: &ServiceId| ids.is_empty() || ids.contains(id);
    let found = place.store.list().await.map_err(key_source::failed)?;
    let files = beside(place).await;
    let local = local_usage(config);
    let mut rows = BTreeMap::new();
    for (id, record) in found.into_iter().filter(|(id, _)| wanted(id)) {
        let key = match record {
            Ok(record) => {
                let usage = usage(&place.store, &id, &local).await?;
                Ok(row(&record, usage.as_ref(), source(&place.store, &record, files.get(&id)), place, now))
            }
            Err(fault) => Err(fault.to_string()),
        };
        rows.insert(id, Some(key));
    }
    for (id, record) in &files {
        if wanted(id) && !rows.contains_key(id) {
            let usage = usage(&place.store, id, &local).await?;
            rows.insert(id.clone(), Some(Ok(row(record, usage.as_ref(), Source::FilesOnly, place, now))));
        }
    }
    for id in expected(config).into_iter().chain(ids.iter().cloned()).filter(wanted) {
        rows.entry(id).or_insert(None);
    }
    let unused =
        |id: &ServiceId| config.and_then(|config| config.services.get(id)).is_some_and(|service| service.unused);
    Ok(rows.into_iter().map(|(id, key)| Row { unused: unused(&id), id, key }).collect())
}

/// Who must have a key: who exists by the configuration, and who this machine is.
fn expected(config: Option<&Config>) -> BTreeSet<ServiceId> {
    let Some(config) = config else { return BTreeSet::new() };
    let own = config.service.as_ref().map(|service| service.id.clone());
    config.services.keys().cloned().chain(own).collect()
}

/// The good keys in files of this machine, where they live elsewhere. What is wrong with the others is of no importance here.
async fn beside(place: &KeyPlace) -> BTreeMap<ServiceId, KeyRecord> {
    let Some(files) = place.files() else { return BTreeMap::new() };
    let found = files.list().await.unwrap_or_default();
    found.into_iter().filter_map(|(id, record)| Some((id, record.ok()?))).collect()
}

/// What the sidecar on this machine has seen, where that can be read.
fn local_usage(config: Option<&Config>) -> Usage {
    config.and_then(|config| file::read_usage(&config.state_dir).ok()).unwrap_or_default()
}

async fn usage(store: &KeyStore, id: &ServiceId, local: &Usage) -> Result<Option<ServiceUsage>, CliError> {
    let mut usage = match store.usage(id).await {
        Ok(usage) => usage,
        // Somebody else's file: less is known.
        Err(StoreFault::Io { .. }) => None,
        Err(fault) => return Err(key_source::failed(fault)),
    };
    for (key, used) in local.get(id).into_iter().flatten() {
        merge(usage.get_or_insert_default(), *key, used.clone());
    }
    Ok(usage)
}

fn source(store: &KeyStore, record: &KeyRecord, file: Option<&KeyRecord>) -> Source {
    match (store, file) {
        (KeyStore::Directory(_), _) => Source::Files,
        (KeyStore::Redis(_), None) => Source::Redis,
        (KeyStore::Redis(_), Some(file)) if file.current.is(&record.current) => Source::Both,
        (KeyStore::Redis(_), Some(file)) => Source::Differs(file.current.fingerprint()),
    }
}

fn row(record: &KeyRecord, usage: Option<&ServiceUsage>, source: Source, place: &KeyPlace, now: u64) -> KeyRow {
    let overlap = overlap(record, usage, place.keys.unused_for.as_secs(), now);
    // Redis lets a key without a time to live stay; that it is old is no reason to think it had less left.
    let reckons = matches!(source, Source::Files | Source::FilesOnly);
    KeyRow {
        key: record.current.fingerprint(),
        made: record.made,
        expires: record.expires,
        left: record.left(place.keys.ttl.as_secs(), now).filter(|_| reckons || record.expires.is_some()),
        source,
        used: usage.and_then(|usage| usage.get(&record.current.fingerprint())).cloned(),
        next: record.next.as_ref().map(|next| (next.key.fingerprint(), next.since)),
        previous: overlap.map(|o| Outgoing {
            key: o.old,
            until: o.until,
            used: o.used,
            known: o.known,
            stage: o.stage,
        }),
    }
}
