//! `[enforcement]` `shared` and `shared_key_file`: is the state of enforcement shared through Redis, and with which fleet key?

use super::Keys;
use super::check::Purpose;
use super::diagnostic::Diagnostic;
use super::file::FileEnforcement;
use super::problems::{Problems, Setting};
use super::secrets;
use crate::rollout::shared::sealed::FleetKey;
use std::path::PathBuf;

/// The file of the fleet key, where the state is shared.
pub(super) fn shared(file: &FileEnforcement, keys: &Keys, purpose: Purpose, problems: &Problems) -> Option<PathBuf> {
    let Some(shared) = file.shared.as_ref().filter(|shared| shared.value) else {
        if let Some(key) = &file.shared_key {
            let message = "`enforcement.shared_key_file` says nothing where the state is not shared";
            problems.add(Diagnostic::warning(&key.place, message).fix("write `shared = true` under [enforcement]"));
        }
        return None;
    };
    if keys.redis.is_none() {
        let problem =
            Diagnostic::error(&shared.place, "`enforcement.shared` shares through Redis, and none is named");
        problems.add(problem.expected("`redis = \"redis://host:6379/0\"` under [keys]"));
    }
    let Some(key) = &file.shared_key else {
        let message =
            "`enforcement.shared` needs a fleet key, so that the password of Redis alone switches nothing off";
        let problem = Diagnostic::error(&shared.place, message).expected("`shared_key_file = \"FILE\"` beside it");
        problems.add(problem.fix(
            "make the file on one machine (umask 077; openssl rand -hex 32 > FILE) and copy it to every sidecar's",
        ));
        return None;
    };
    check(key, purpose, problems);
    Some(key.value.clone())
}

fn check(key: &Setting<PathBuf>, purpose: Purpose, problems: &Problems) {
    if purpose == Purpose::Inspect {
        return;
    }
    let Some(text) = secrets::secret(key, "the fleet key", purpose, problems) else { return };
    if FleetKey::from_text(&text).is_none() {
        let message = format!("the fleet key {} is no 64 hex digits", key.value.display());
        let problem = Diagnostic::error(&key.place, message).expected("64 hex digits on one line");
        problems.add(problem.fix(format!("openssl rand -hex 32 > {}", key.value.display())));
    }
}
