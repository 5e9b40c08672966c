//! `keys export`: a key on its way to the service that signs with it, as a file of the fleet's form.
//!
//! The current key only: a service signs with one. A file with the same key is left alone, whatever else stands in it; one with another
//! key, or with none, is replaced with `--force` only. Nothing is written before all is known to be right.

use super::arguments::Export;
use super::{KeyPlace, key_source, service_ids};
use crate::cli::output::{Answer, CliError, Output};
use crate::config::RedisServers;
use crate::keys::key_file::KeyFile;
use crate::keys::record::KeyRecord;
use crate::keys::secret_file::SecretReader;
use crate::keys::write::{self, key_path};
use crate::signature::key::ServiceId;
use std::fmt::Write as _;
use std::path::Path;
use zeroize::Zeroizing;

/// A key to write.
struct Outgoing {
    id: ServiceId,
    record: KeyRecord,
    /// The same key is there already.
    unchanged: bool,
}

pub(super) fn run(arguments: &Export, output: &Output) -> Result<Answer, CliError> {
    let ids = service_ids(&arguments.ids)?;
    let place = KeyPlace::of(arguments.place.dir.as_deref(), &arguments.place.config)?;
    let keys = key_source::block_on(gather(&place, ids, &arguments.out, arguments.force))?;
    let io = |error: &dyn std::fmt::Display| CliError::Failed(error.to_string());
    write::make_directory(&arguments.out).map_err(|fault| io(&fault))?;
    for key in keys.iter().filter(|key| !key.unchanged) {
        let path = key_path(&arguments.out, &key.id);
        write::private_file(&path, &text(&place, key), None)
            .map_err(|error| io(&format_args!("cannot write {}: {error}", path.display())))?;
    }
    show(&keys, &arguments.out, output)?;
    Ok(Answer::Done)
}

async fn gather(place: &KeyPlace, ids: Vec<ServiceId>, out: &Path, force: bool) -> Result<Vec<Outgoing>, CliError> {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for id in ids {
        let record = match place.store.read(&id).await {
            Ok(Some(record)) => record,
            Ok(None) => {
                problems.push(format!("{id} has no key in {}", place.store.place()));
                continue;
            }
            Err(fault) if fault.is_outage() => return Err(key_source::failed(fault)),
            Err(fault) => {
                problems.push(fault.to_string());
                continue;
            }
        };
        let path = key_path(out, &id);
        let there = path.symlink_metadata().is_ok();
        let same = KeyFile::read(&SecretReader::of_process(), &path)
            .is_ok_and(|file| *file.text == *record.current.reveal() && file.next.is_none());
        if there && !same && !force {
            problems.push(format!("{} is there already with another key; replace it with --force", path.display()));
        }
        keys.push(Outgoing { id, record, unchanged: same });
    }
    if problems.is_empty() {
        return Ok(keys);
    }
    Err(CliError::Failed(format!("{}\nnothing was written", problems.join("\n"))))
}

/// As the fleet's scripts write them, as far as it is known here.
fn text(place: &KeyPlace, key: &Outgoing) -> Zeroizing<String> {
    // The whole room at once: a growing string would leave copies of a secret behind.
    let mut text = Zeroizing::new(String::with_capacity(2048));
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}={value}");
    };
    line("SERVICE_ID", &key.id);
    line("SERVICE_KEY", &key.record.current.reveal());
    if let Some(made) = key.record.made {
        line("SERVICE_KEY_MADE", &made);
    }
    if let Some(RedisServers::Single((host, port))) = place.keys.redis.as_ref().map(|redis| &redis.servers) {
        line("REDIS_HOST", host);
        line("REDIS_PORT", port);
    }
    if let Some(config) = &place.config {
        line("AUTH_TIMESTAMP_WINDOW", &config.signature.window_seconds);
    }
    text
}

fn show(keys: &[Outgoing], out: &Path, output: &Output) -> Result<(), CliError> {
    let action = |key: &Outgoing| if key.unchanged { "unchanged" } else { "written" };
    if output.is_json() {
        let all = keys.iter().map(|key| {
            serde_json::json!({
                "service": key.id.as_str(),
                "fingerprint": key.record.current.fingerprint().to_string(),
                "path": key_path(out, &key.id).display().to_string(),
                "action": action(key),
            })
        });
        return output.json(&serde_json::json!({ "keys": all.collect::<Vec<_>>() }));
    }
    keys.iter().try_for_each(|key| {
        let (print, path) = (key.record.current.fingerprint(), key_path(out, &key.id));
        output.text(format_args!("{}  fingerprint {print}  {} ({})", key.id, path.display(), action(key)))
    })
}
