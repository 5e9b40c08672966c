//! `keys revoke`: a key is taken away at once, from wherever a sidecar of this configuration could still read it.
//!
//! In Redis, and in the key directory of this machine too: files are asked when Redis cannot be reached, and a revoked key must not
//! come back then. Files on other machines are beyond this command's reach, which it says. It asks nobody and waits for nobody, not
//! even for a rotation that is under way: that one finds something else than it expected and changes nothing more.
//!
//! A place that fails keeps no other from being tried, nor one service another: what was revoked is told, then what was not.

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
    /// Where it could not be done, and why.
    failures: Vec<(String, StoreFault)>,
}

pub(super) fn run(arguments: &Revoke, output: &Output) -> Result<Answer, CliError> {
    let ids = service_ids(&arguments.ids)?;
    let place = KeyPlace::of(arguments.place.dir.as_deref(), &arguments.place.config)?;
    let now = clock::unix_seconds();
    let revoked = key_source::block_on(async {
        let mut revoked = Vec::new();
        for id in ids {
            revoked.push(revoke(&place, id, now).await);
        }
        Ok(revoked)
    })?;
    let failures: Vec<_> = revoked.iter().flat_map(Revoked::told_failures).collect();
    let is_outage = revoked.iter().flat_map(|revoked| &revoked.failures).any(|(_, fault)| fault.is_outage());
    if revoked.iter().all(|revoked| revoked.places.is_empty()) && !failures.is_empty() {
        let first = revoked.into_iter().flat_map(|revoked| revoked.failures).find(|f| f.1.is_outage() == is_outage);
        let text = failures.join("\n");
        return Err(match first.map(|(_, fault)| key_source::failed(fault)) {
            Some(CliError::Usage(_)) => CliError::Usage(text),
            Some(CliError::Unreachable(_)) => CliError::Unreachable(text),
            _ => CliError::FailedAll(failures),
        });
    }
    show(&revoked, &place, now, output)?;
    failures.iter().for_each(|failure| complain(failure));
    let all = failures.is_empty() && revoked.iter().all(|revoked| !revoked.places.is_empty());
    Ok(match all {
        true => Answer::Done,
        false if is_outage => Answer::Unreachable,
        false => Answer::No,
    })
}

impl Revoked {
    fn told_failures(&self) -> Vec<String> {
        let tell = |(place, fault): &(String, StoreFault)| {
            let still = if fault.is_outage() { "; sidecars may take it still: revoke it again" } else { "" };
            format!("{}: not revoked in {place}: {fault}{still}", self.id)
        };
        self.failures.iter().map(tell).collect()
    }
}

async fn revoke(place: &KeyPlace, id: ServiceId, now: u64) -> Revoked {
    // What cannot be told of a key is no reason to leave it there.
    let keys = match place.store.read(&id).await {
        Ok(Some(record)) => keys_of(&record, &place.store.usage(&id).await.ok().flatten().unwrap_or_default()),
        Ok(None) | Err(_) => Vec::new(),
    };
    let remember = place.keys.ttl.max(place.keys.stale).max(place.keys.grace);
    let (mut places, mut failures) = (Vec::new(), Vec::new());
    match place.store.revoke(&id, now, remember).await {
        Ok(true) => places.push(place.store.place()),
        Ok(false) => {}
        Err(fault) => failures.push((place.store.place(), fault)),
    }
    if let Some(files) = place.files() {
        match files.revoke(&id, now, remember).await {
            Ok(true) => places.push(files.place()),
            Ok(false) | Err(StoreFault::Key(_)) => {}
            Err(fault) => failures.push((files.place(), fault)),
        }
    }
    Revoked { id, places, keys, failures }
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
                "problems": revoked.told_failures(),
                "keys": revoked.keys.iter().map(key).collect::<Vec<_>>(),
            })
        });
        return output.json(&json!({ "keys": all.collect::<Vec<_>>() }));
    }
    for Revoked { id, places, keys, failures } in revoked {
        if places.is_empty() {
            if failures.is_empty() {
                let word = match place.store {
                    KeyStore::Directory(_) => "",
                    KeyStore::Redis(_) => {
                        "; word of the revocation is left there: who still serves one of its keys drops it"
                    }
                };
                complain(&format!("{id} has no key in {}{word}", place.store.place()));
            }
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
            KeyStore::Directory(_) => {
                "The sidecar that watches the directory drops it within two seconds (four on a network file system)."
            }
            KeyStore::Redis(_) => {
                "Running sidecars drop it within two seconds. Copies in files on other machines stay until they are removed."
            }
        })?;
    }
    Ok(())
}
