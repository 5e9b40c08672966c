//! Secrets kept elsewhere: [`KeyTable`], what verification looks into; and where it is loaded from.
//!
//! Keys are listed into a table in the background; a request never waits for a source while a table exists. A claimed id is an
//! index into that table and nothing else: it never becomes part of a path or a command.

use crate::signature::key::{ServiceId, ServiceKeys};
use crate::signature::verify::KeyLookup;
use std::collections::HashMap;

pub mod cache;
pub mod dir;
pub mod env_file;
pub mod key_file;
pub mod record;
pub mod redis;
pub mod rotation;
pub mod sealed;
pub mod secret_file;
pub mod store;
pub mod usage;
pub mod write;

/// Every key that may verify a signature, by service. Immutable: a reload makes a new one.
#[derive(Debug, Default)]
pub struct KeyTable {
    keys: HashMap<ServiceId, ServiceKeys>,
    unavailable: bool,
}

impl KeyTable {
    /// A table of these keys.
    pub fn new(keys: HashMap<ServiceId, ServiceKeys>) -> KeyTable {
        KeyTable { keys, unavailable: false }
    }

    /// No source could be read and nothing is cached: every lookup says so.
    pub fn unavailable() -> KeyTable {
        KeyTable { keys: HashMap::new(), unavailable: true }
    }

    /// The keys of a claimed id. The id must be well-formed; it is only ever compared.
    pub fn lookup(&self, id: &str) -> KeyLookup<'_> {
        match self.keys.get_key_value(id) {
            Some((id, keys)) => KeyLookup::Known(id, keys),
            None if self.unavailable => KeyLookup::Unavailable,
            None => KeyLookup::Unknown,
        }
    }

    /// The ids that have keys, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &ServiceId> {
        self.keys.keys()
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceId, &ServiceKeys)> {
        self.keys.iter()
    }

    /// How many services have keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Does no service have one?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
