//! `keys`: make service keys, import them from where a fleet keeps them today, hand them out, look after them, rotate and revoke them.
//!
//! They live in Redis where the configuration asks there first, else in the key directory; `--dir` always means a directory. Everything is
//! read and checked before anything is written. What is printed of a key is its fingerprint.
//!
//! Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, 3 Redis cannot be asked (it cannot be reached, or
//! does not let us; the text says which).

mod arguments;
mod export;
mod generate;
mod import;
pub(super) mod list;
mod revoke;
mod rotate;
pub(super) mod words;

pub use arguments::{Args, KeysVerb};

use super::key_source::{self, KeyPlace};
use super::output::{Answer, CliError, Output};
use crate::signature::key::ServiceId;

pub(super) use list::{lifetimes, listed};

/// Does it.
///
/// # Errors
/// When it cannot be done.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    match args.verb {
        KeysVerb::Generate(arguments) => generate::run(&arguments, output),
        KeysVerb::List(arguments) => list::run(&arguments, output),
        KeysVerb::Export(arguments) => export::run(&arguments, output),
        KeysVerb::Import(arguments) => import::run(arguments, output),
        KeysVerb::Rotate(arguments) => rotate::run(&arguments, output),
        KeysVerb::Revoke(arguments) => revoke::run(&arguments, output),
    }
}

/// The ids, each once, in the order they were given.
fn service_ids(texts: &[String]) -> Result<Vec<ServiceId>, CliError> {
    let mut ids: Vec<ServiceId> = Vec::new();
    for text in texts {
        let id = ServiceId::parse(text).ok_or_else(|| {
            CliError::Usage(format!(
                "{text:?} is no service id; expected 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit"
            ))
        })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests;
