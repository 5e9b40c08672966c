//! The secrets that a configuration names: are they there, may they be trusted, are they any good?
//!
//! Keys: every one of the directory, and the service's own; a problem stands at the setting that names the file, or at the file
//! itself. What is missing on the machine where `check` runs because nothing is set up there (the key directory; a file whose directory is
//! missing too) is a warning: shipped configurations are checked anywhere. A missing directory also is one where Redis is asked
//! first: the files only stand in for it.
//!
//! What Redis needs: its password, and what the copy of its keys is sealed with. Redis itself is not asked.
//!
//! The override token: any text that can stand in a header. An empty one is none, so that emptying its file takes it away without
//! a restart; that, and one that is easy to guess, is worth a warning.

use super::check::Purpose;
use super::diagnostic::{Diagnostic, Place};
use super::file::{FileConfig, TokenSource};
use super::problems::{Problems, Setting};
use super::{KeySourceKind, Keys, ServiceIdentity};
use crate::keys::KeyTable;
use crate::keys::dir::{self, KeyFault, KeyPlace, KeyProblem, KeyRemark, LoadedKeys};
use crate::keys::key_file::KeyFileFault;
use crate::keys::secret_file::{SecretFileFault, SecretReader};
use crate::policy::override_token::{OverrideToken, OverrideTokenError};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the file or the environment says something of keys.
pub(super) struct KeysSaid {
    directory: Option<Place>,
    own: Option<Place>,
}

impl KeysSaid {
    pub(super) fn of(file: &FileConfig) -> KeysSaid {
        let directory = file.keys.dir_place();
        KeysSaid { directory, own: file.service_key.as_ref().map(|said| said.place.clone()) }
    }

    fn place(&self, of: &KeyPlace, keys: &Keys) -> Place {
        match of {
            KeyPlace::Path(path) if *path == keys.dir => {
                self.directory.clone().unwrap_or_else(|| Place::Path(path.clone()))
            }
            KeyPlace::Path(path) => Place::Path(path.clone()),
            KeyPlace::Named(path) => self.own.clone().unwrap_or_else(|| Place::Path(path.clone())),
            KeyPlace::Environment => self.own.clone().unwrap_or(Place::Nowhere),
        }
    }
}

/// Every key that the configuration names; `None` where there are none to read, or something is wrong with one.
pub(super) fn keys(
    keys: &Keys,
    service: Option<&ServiceIdentity>,
    said: &KeysSaid,
    purpose: Purpose,
    problems: &Problems,
) -> Option<KeyTable> {
    if purpose == Purpose::Inspect {
        return None;
    }
    let is_absence = |problem: &KeyProblem| matches!(problem.fault, KeyFault::NoDirectory);
    let redis_first = keys.sources.first() == Some(&KeySourceKind::Redis);
    let loaded = match dir::load(keys, service) {
        Err(found) if redis_first && found.iter().any(is_absence) => {
            absent_directory(keys, said, Purpose::Check, problems);
            // The rest may still be good.
            dir::load(&Keys { sources: vec![KeySourceKind::Redis], ..keys.clone() }, service)
        }
        loaded => loaded,
    };
    let found = match loaded {
        Ok(LoadedKeys { table, notes }) => {
            for note in notes {
                let problem = Diagnostic::warning(&said.place(&note.place, keys), note.to_string());
                problems.add(problem.fix(match note.what {
                    KeyRemark::UnusualForm => "countersign keys generate makes a random one of 256 bits",
                    KeyRemark::Overruled { .. } => "remove one of the two, or make them the same",
                }));
            }
            return Some(table);
        }
        Err(found) => found,
    };
    for KeyProblem { place, fault } in found {
        let at = said.place(&place, keys);
        let directory = keys.dir.display();
        match fault {
            // It is made on the first start.
            KeyFault::NoDirectory if keys.make_on_start => {}
            KeyFault::NoDirectory => absent_directory(keys, said, purpose, problems),
            KeyFault::OpenDirectory { .. } => problems.add(Diagnostic::error(&at, fault.to_string())),
            KeyFault::Directory(error) => {
                problems
                    .add(Diagnostic::error(&at, format!("the key directory {directory} cannot be listed: {error}")));
            }
            KeyFault::File(fault) => {
                let message = in_words(&place, &fault);
                let absent = match (&place, &fault) {
                    (KeyPlace::Named(path), KeyFileFault::File(fault)) => is_not_set_up(path, fault, purpose),
                    _ => false,
                };
                problems.add(if absent {
                    Diagnostic::warning(&at, message)
                } else {
                    Diagnostic::error(&at, message)
                });
            }
        }
    }
    None
}

fn absent_directory(keys: &Keys, said: &KeysSaid, purpose: Purpose, problems: &Problems) {
    let place = said.place(&KeyPlace::Path(keys.dir.clone()), keys);
    let message = format!("the key directory {} does not exist", keys.dir.display());
    let problem = match (purpose, &said.directory) {
        (Purpose::Check, Some(_)) => Diagnostic::warning(&place, format!("{message} on this machine")),
        // Nobody named it: beside mistakes it would be one message more than there are mistakes.
        (Purpose::Check, None) => Diagnostic::warning(&place, format!("{message} on this machine")).absence(),
        (Purpose::Run | Purpose::Inspect, _) => Diagnostic::error(&place, message),
    };
    problems.add(problem.fix("countersign keys generate ID, or countersign keys import, makes it"));
}

/// Is the file missing only because nothing is set up on the machine where `check` runs?
fn is_not_set_up(path: &Path, fault: &SecretFileFault, purpose: Purpose) -> bool {
    let nothing_there = path.parent().is_some_and(|directory| !directory.exists());
    purpose == Purpose::Check && nothing_there && matches!(fault, SecretFileFault::Missing)
}

/// A file that holds a secret, or why not, told at the setting that names it.
pub(super) fn secret(
    said: &Setting<PathBuf>,
    what: &str,
    purpose: Purpose,
    problems: &Problems,
) -> Option<Zeroizing<String>> {
    match SecretReader::of_process().read(&said.value) {
        Ok(text) => Some(text),
        Err(fault) => {
            let message = format!("{what} {}: {fault}", said.value.display());
            let absent = is_not_set_up(&said.value, &fault, purpose);
            let problem = if absent {
                Diagnostic::warning(&said.place, message)
            } else {
                Diagnostic::error(&said.place, message)
            };
            problems.add(problem);
            None
        }
    }
}

/// What Redis needs besides its URL.
pub(super) fn of_redis(written: &RedisSecrets, purpose: Purpose, problems: &Problems) {
    if purpose == Purpose::Inspect {
        return;
    }
    if let Some(said) = &written.password_file
        && let Some(text) = secret(said, "the password of Redis", purpose, problems)
        && text.trim().is_empty()
    {
        let message = format!("the password of Redis {}: the file is empty", said.value.display());
        problems.add(Diagnostic::error(&said.place, message).expected("the password on one line"));
    }
    if let Some(said) = &written.sealed_copy
        && let Some(text) = secret(said, "the key of the sealed copy", purpose, problems)
    {
        let digits = text.trim();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = format!("the key of the sealed copy {} is no 64 hex digits", said.value.display());
            let problem = Diagnostic::error(&said.place, message).expected("64 hex digits on one line");
            problems.add(problem.fix(format!("openssl rand -hex 32 > {}", said.value.display())));
        }
    }
}

/// The files that Redis needs, where they were named.
pub(super) struct RedisSecrets {
    pub(super) password_file: Option<Setting<PathBuf>>,
    pub(super) sealed_copy: Option<Setting<PathBuf>>,
}

impl RedisSecrets {
    pub(super) fn of(file: &FileConfig) -> RedisSecrets {
        let keys = &file.keys;
        RedisSecrets { password_file: keys.redis_password_file.clone(), sealed_copy: keys.sealed_copy.clone() }
    }
}

/// Which file, and what is wrong with it. The place of a file in the directory names the whole path.
fn in_words(place: &KeyPlace, fault: &KeyFileFault) -> String {
    match place {
        KeyPlace::Path(path) => {
            let name = path.file_name().unwrap_or_default();
            format!("the key file {}: {fault}", name.display())
        }
        KeyPlace::Named(path) => format!("the key file {}: {fault}", path.display()),
        KeyPlace::Environment => fault.to_string(),
    }
}

/// The override token, where one was named and is one.
pub(super) fn override_token(
    source: Option<&Setting<TokenSource>>,
    purpose: Purpose,
    problems: &Problems,
) -> Option<OverrideToken> {
    let Setting { value, place } = source?;
    let read: Zeroizing<String>;
    let text = match value {
        TokenSource::Text(text) => text,
        TokenSource::File(_) if purpose == Purpose::Inspect => return None,
        TokenSource::File(path) => {
            let said = Setting { value: path.clone(), place: place.clone() };
            read = secret(&said, "the override token's file", purpose, problems)?;
            &read
        }
    };
    match OverrideToken::from_text(text) {
        Ok(token) => {
            if OverrideToken::is_easy_to_guess(text) {
                let message = "the override token has fewer than 16 characters: easy to guess";
                problems.add(Diagnostic::warning(place, message).fix("a random one: openssl rand -hex 32"));
            }
            Some(token)
        }
        Err(error @ OverrideTokenError::Empty) => {
            let problem = Diagnostic::warning(place, format!("{error}, so there is none"));
            problems.add(problem.fix("leave the setting out where none is wanted"));
            None
        }
        Err(error @ (OverrideTokenError::TooLong(_) | OverrideTokenError::NotPrintable(_))) => {
            problems.add(Diagnostic::error(place, error.to_string()));
            None
        }
    }
}
