//! The secrets that a configuration names: are they there, may they be trusted, are they any good?
//!
//! The override token: any text that can stand in a header. An empty one is none, so that emptying its file takes it away without
//! a restart; that, and one that is easy to guess, is worth a warning.

use super::check::Purpose;
use super::diagnostic::Diagnostic;
use super::file::TokenSource;
use super::problems::{Problems, Setting};
use crate::keys::secret_file::{SecretFileFault, SecretReader};
use crate::policy::override_token::{OverrideToken, OverrideTokenError};
use zeroize::Zeroizing;

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
        TokenSource::File(path) => match SecretReader::of_process().read(path) {
            Ok(text) => {
                read = text;
                &read
            }
            Err(fault) => {
                let message = format!("the override token's file {}: {fault}", path.display());
                // Another machine, another user: nothing is wrong with the configuration itself.
                let elsewhere = purpose == Purpose::Check && is_about_the_machine(&fault);
                problems.add(if elsewhere {
                    Diagnostic::warning(place, message)
                } else {
                    Diagnostic::error(place, message)
                });
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

/// Would it be different on another machine or for another user?
fn is_about_the_machine(fault: &SecretFileFault) -> bool {
    match fault {
        SecretFileFault::Missing | SecretFileFault::Io(_) | SecretFileFault::ForeignOwner { .. } => true,
        SecretFileFault::NotRegular(_)
        | SecretFileFault::OpenToOthers { .. }
        | SecretFileFault::WritableByAll { .. }
        | SecretFileFault::TooLarge
        | SecretFileFault::NotText => false,
    }
}
