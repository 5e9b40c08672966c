//! The secrets that a configuration names: are they there, may they be trusted, are they any good?
//!
//! Keys: every one of the directory, and the service's own; a problem stands at the setting that names the file, or at the file
//! itself. A directory that is missing on the machine where `check` runs is a warning: shipped configurations are checked anywhere.
//!
//! The override token: any text that can stand in a header. An empty one is none, so that emptying its file takes it away without
//! a restart; that, and one that is easy to guess, is worth a warning.

use super::check::Purpose;
use super::diagnostic::{Diagnostic, Place};
use super::file::{FileConfig, TokenSource};
use super::problems::{Problems, Setting};
use super::{Keys, ServiceIdentity};
use crate::keys::KeyTable;
use crate::keys::dir::{self, KeyFault, KeyPlace, KeyProblem, KeyRemark, LoadedKeys};
use crate::keys::key_file::KeyFileFault;
use crate::keys::secret_file::SecretReader;
use crate::policy::override_token::{OverrideToken, OverrideTokenError};
use zeroize::Zeroizing;

/// Where the file or the environment says something of keys.
pub(super) struct KeysSaid {
    directory: Option<Place>,
    own: Option<Place>,
}

impl KeysSaid {
    pub(super) fn of(file: &FileConfig) -> KeysSaid {
        let directory = file.keys_dir.as_ref().map(|said| said.place.clone());
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
    let found = match dir::load(keys, service) {
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
            KeyFault::NoDirectory => {
                let message = format!("the key directory {directory} does not exist");
                let problem = match (purpose, &said.directory) {
                    (Purpose::Check, Some(_)) => Diagnostic::warning(&at, format!("{message} on this machine")),
                    // Nobody named it: beside mistakes it would be one message more than there are mistakes.
                    (Purpose::Check, None) => {
                        Diagnostic::warning(&at, format!("{message} on this machine")).absence()
                    }
                    (Purpose::Run | Purpose::Inspect, _) => Diagnostic::error(&at, message),
                };
                problems.add(problem.fix("countersign keys generate ID, or countersign keys import, makes it"));
            }
            KeyFault::OpenDirectory { .. } => problems.add(Diagnostic::error(&at, fault.to_string())),
            KeyFault::Directory(error) => {
                problems
                    .add(Diagnostic::error(&at, format!("the key directory {directory} cannot be listed: {error}")));
            }
            KeyFault::File(fault) => problems.add(Diagnostic::error(&at, in_words(&place, &fault))),
        }
    }
    None
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
        TokenSource::File(path) => match SecretReader::of_process().read(path) {
            Ok(text) => {
                read = text;
                &read
            }
            Err(fault) => {
                let message = format!("the override token's file {}: {fault}", path.display());
                problems.add(Diagnostic::error(place, message));
                return None;
            }
        },
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
