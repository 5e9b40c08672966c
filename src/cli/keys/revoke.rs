//! `keys revoke`: a key is taken away at once, from wherever a sidecar of this configuration could still read it.
//!
//! In Redis, and in the key directory of this machine too: files are asked when Redis cannot be reached, and a revoked key must not
//! come back then. Files on other machines are beyond this command's reach, which it says. It asks nobody and waits for nobody, not
//! even for a rotation that is under way: that one finds something else than it expected and changes nothing more.

use super::arguments::Revoke;
use super::{KeyPlace, key_source, service_ids, words};
use crate::cli::output::{Answer, CliError, Output, complain};
use crate::clock;
use crate::keys::record::KeyRecord;
use crate::keys::store::{KeyStore, StoreFault};
use crate::keys::usage::{ServiceUsage, Used};
use crate::signature::key::{Fingerprint, ServiceId};
use serde_json::{Value, json};

/// What was taken away.
struct Revoked {
    id: ServiceId,
    /// In words; none where there was nothing.
    places: Vec<String>,
    /// As far as they could be read, with their last use.
    keys: Vec<(Fingerprint, Option<Used>)>,
}

pub(super) fn run(arguments: &Revoke, output: &Output) -> Result<Answer, CliError> {
    let ids = service_ids(&arguments.ids)?;
    let place = KeyPlace::of(arguments.place.dir.as_deref(), &arguments.place.config)?;
    let now = clock::unix_seconds();
    let revoked = key_source::block_on(async {
        let mut revoked = Vec::new();
        for id in ids {
            revoked.push(revoke(&place, id, now).await?);
        }
        Ok(revoked)
    })?;
    show(&revoked, &place, now, output)?;
    let all = revoked.iter().all(|revoked| !revoked.places.is_empty());
    Ok(if all { Answer::Done } else { Answer::No })
}

async fn revoke(place: &KeyPlace, id: ServiceId, now: u64) -> Result<Revoked, CliError> {
    // What cannot be told of a key is no reason to leave it there.
    let record = place.store.read(&id).await.ok().flatten();
    let usage = place.store.usage(&id).await.ok().flatten().unwrap_or_default();
    let keys = record.as_ref().map(|record| keys_of(record, &usage)).unwrap_or_default();
    let remember = place.keys.ttl.max(place.keys.stale).max(place.keys.grace);
    let mut places = Vec::new();
    if place.store.revoke(&id, now, remember).await.map_err(key_source::failed)? {
        places.push(place.store.place());
    }
    if let Some(files) = place.files() {
        match files.revoke(&id, now, remember).await {
            Ok(true) => places.push(files.place()),
            Ok(false) | Err(StoreFault::Key(_)) => {}
            Err(fault) => {
                return Err(CliError::Failed(format!(
                    "{id}: its key in {} is revoked, but not the one beside it: {fault}",
                    place.store.place()
                )));
            }
        }
    }
    Ok(Revoked { id, places, keys })
}

fn keys_of(record: &KeyRecord, usage: &ServiceUsage) -> Vec<(Fingerprint, Option<Used>)> {
    let others = [record.previous.as_ref().map(|p| &p.key), record.next.as_ref().map(|n| &n.key)];
    let all = std::iter::once(&record.current).chain(others.into_iter().flatten());
    all.map(|key| (key.fingerprint(), usage.get(&key.fingerprint()).cloned())).collect()
}

fn show(revoked: &[Revoked], place: &KeyPlace, now: u64, output: &Output) -> Result<(), CliError> {
    if output.is_json() {
        let all = revoked.iter().map(|revoked| -> Value {
            let key = |(key, used): &(Fingerprint, Option<Used>)| {
                json!({ "fingerprint": key.to_string(), "last_used": words::used_json(used.as_ref()) })
            };
            json!({
                "service": revoked.id.as_str(),
                "revoked": !revoked.places.is_empty(),
                "places": revoked.places,
                "keys": revoked.keys.iter().map(key).collect::<Vec<_>>(),
            })
        });
        return output.json(&json!({ "keys": all.collect::<Vec<_>>() }));
    }
    for Revoked { id, places, keys } in revoked {
        if places.is_empty() {
            complain(&format!("{id} has no key in {}", place.store.place()));
            continue;
        }
        output.text(format_args!("{id}: revoked in {}", places.join(" and ")))?;
        for (key, used) in keys {
            let used = used
                .as_ref()
                .map_or_else(|| "never seen used".to_owned(), |used| format!("last used {}", words::used(used, now)));
            output.text(format_args!("  {key}  {used}"))?;
        }
    }
    if revoked.iter().any(|revoked| !revoked.places.is_empty()) {
        output.text(match &place.store {
            KeyStore::Directory(_) => "The sidecar that watches the directory drops it within two seconds.",
            KeyStore::Redis(_) => {
                "Running sidecars drop it within two seconds. Copies in files on other machines stay until they are removed."
            }
        })?;
    }
    Ok(())
}
