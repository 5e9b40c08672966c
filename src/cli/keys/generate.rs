//! `keys generate`: a new key for each service; for all of them or, as far as can be known beforehand, for none.

use super::arguments::Generate;
use super::{KeyPlace, key_source, service_ids, words};
use crate::cli::output::{Answer, CliError, Output};
use crate::clock;
use crate::keys::record::KeyText;
use crate::keys::store::KeyStore;
use crate::keys::write::key_path;
use crate::signature::key::{Fingerprint, ServiceId};
use std::time::Duration;

pub(super) fn run(arguments: &Generate, output: &Output) -> Result<Answer, CliError> {
    let ids = service_ids(&arguments.ids)?;
    let place = KeyPlace::of(arguments.place.dir.as_deref(), &arguments.place.config)?;
    if let (Some(_), KeyStore::Directory(_)) = (arguments.ttl, &place.store) {
        return Err(CliError::Usage("--ttl is for keys in Redis: a key in a file does not lapse".into()));
    }
    let ttl = arguments.ttl.unwrap_or(place.keys.ttl);
    if ttl < Duration::from_secs(1) {
        return Err(CliError::Usage("--ttl must be at least 1s: a key with less has lapsed already".into()));
    }
    let now = clock::unix_seconds();
    let made = key_source::block_on(make(&place, &ids, ttl, now, arguments.force))?;
    show(&made, &place, ttl, now, output)?;
    Ok(Answer::Done)
}

/// A key that was made.
pub(super) struct Made {
    id: ServiceId,
    key: Fingerprint,
}

pub(super) async fn make(
    place: &KeyPlace,
    ids: &[ServiceId],
    ttl: Duration,
    now: u64,
    force: bool,
) -> Result<Vec<Made>, CliError> {
    let mut there = Vec::new();
    for id in ids.iter().filter(|_| !force) {
        there.extend(is_there(&place.store, id).await?);
    }
    if !there.is_empty() {
        let there = there.join("\n");
        return Err(CliError::Failed(format!("{there}\nnothing was written; replace with --force")));
    }
    let mut made: Vec<Made> = Vec::new();
    for id in ids {
        let key = KeyText::generate().map_err(|error| CliError::Failed(format!("no random bytes: {error}")))?;
        if let Err(fault) = place.store.create(id, &key, now, ttl, force).await {
            let before = made.iter().map(|made| format!("\nmade before that: {} {}", made.id, made.key));
            let text = format!("{fault}{}", before.collect::<String>());
            return Err(if fault.is_outage() { CliError::Unreachable(text) } else { CliError::Failed(text) });
        }
        made.push(Made { id: id.clone(), key: key.fingerprint() });
    }
    Ok(made)
}

/// What stands where the key would: whatever it is.
async fn is_there(store: &KeyStore, id: &ServiceId) -> Result<Option<String>, CliError> {
    match store {
        KeyStore::Directory(directory) => {
            let path = key_path(directory.path(), id);
            Ok(path.symlink_metadata().is_ok().then(|| format!("{} is there already", path.display())))
        }
        KeyStore::Redis(_) => {
            let there = store.read(id).await.map_err(key_source::failed)?;
            let fingerprint = there.map(|record| record.current.fingerprint());
            Ok(fingerprint.map(|key| format!("{id} has a key already ({key}) in {}", store.place())))
        }
    }
}

fn show(made: &[Made], place: &KeyPlace, ttl: Duration, now: u64, output: &Output) -> Result<(), CliError> {
    let lapses = now.saturating_add(ttl.as_secs());
    let where_to = |id: &ServiceId| match &place.store {
        KeyStore::Directory(directory) => key_path(directory.path(), id).display().to_string(),
        KeyStore::Redis(_) => place.store.place(),
    };
    if output.is_json() {
        let written = made.iter().map(|made| {
            let mut one = serde_json::json!({
                "service": made.id.as_str(),
                "fingerprint": made.key.to_string(),
                "place": where_to(&made.id),
            });
            match &place.store {
                KeyStore::Directory(_) => one["path"] = where_to(&made.id).into(),
                KeyStore::Redis(_) => one["expires"] = words::time(lapses).into(),
            }
            one
        });
        return output.json(&serde_json::json!({ "written": written.collect::<Vec<_>>() }));
    }
    made.iter().try_for_each(|made| {
        let end = match &place.store {
            KeyStore::Directory(_) => String::new(),
            KeyStore::Redis(_) => format!("  lapses {}, in {}", words::time(lapses), words::span(ttl.as_secs())),
        };
        output.text(format_args!("{}  fingerprint {}  {}{end}", made.id, made.key, where_to(&made.id)))
    })
}
