//! Secrets kept elsewhere: [`KeyTable`], what verification looks into; and where it is loaded from.
//!
//! Keys are listed into a table in the background; a request never waits for a source while a table exists. A claimed id is an
//! index into that table and nothing else: it never becomes part of a path or a command.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`dir`], [`key_file`], [`env_file`], [`secret_file`] | Which keys are in files, and may these be trusted? |
//! | [`mod@write`] | How does a file change whole or not at all? |
//! | [`redis`] | Which keys are in Redis, and how do they change there? |
//! | [`cache`] | Which of them count now, given what Redis said when? Pure. |
//! | [`follower`] | When is Redis asked, and who is told? |
//! | [`sealed`] | What serves after a restart while Redis is away? |
//! | [`expiry`], [`status`] | Whose key is about to lapse, and how does it stand? |
//! | [`store`], [`record`], [`rotation`], [`usage`] | How do commands make, rotate and revoke keys wherever they live, and who used them last? |

use crate::signature::key::{ServiceId, ServiceKeys};
use crate::signature::verify::KeyLookup;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

pub mod cache;
pub mod dir;
pub mod env_file;
pub mod expiry;
pub mod follower;
pub mod key_file;
pub mod record;
pub mod redis;
pub mod rotation;
pub mod sealed;
pub mod secret_file;
pub mod status;
pub mod store;
pub mod usage;
pub mod write;

/// Every key that may verify a signature, by service. Immutable: a reload makes a new one.
#[derive(Debug, Default)]
pub struct KeyTable {
    keys: HashMap<ServiceId, ServiceKeys>,
    unavailable: bool,
    wanted: Option<Arc<Wanted>>,
}

/// Somebody met an id or a signature that the table does not know: its source should be asked again. Costs a request one
/// look at a flag; how often the source really is asked, its follower decides.
#[derive(Debug, Default)]
pub struct Wanted {
    asked: AtomicBool,
    bell: Notify,
}

impl Wanted {
    /// The table may be out of date.
    pub fn ask(&self) {
        // read first: all workers share this line
        if !self.asked.load(Ordering::Relaxed) && !self.asked.swap(true, Ordering::Relaxed) {
            self.bell.notify_one();
        }
    }

    /// Waits until somebody asks.
    async fn asked(&self) {
        self.bell.notified().await;
    }

    /// What was asked so far is being answered.
    fn answered(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }
}

impl KeyTable {
    /// A table of these keys.
    pub fn new(keys: HashMap<ServiceId, ServiceKeys>) -> KeyTable {
        KeyTable { keys, unavailable: false, wanted: None }
    }

    /// A table of what is known while its source is `unavailable` or not; `wanted` hears of what it does not know.
    pub fn followed(keys: HashMap<ServiceId, ServiceKeys>, unavailable: bool, wanted: Arc<Wanted>) -> KeyTable {
        KeyTable { keys, unavailable, wanted: Some(wanted) }
    }

    /// No source could be read and nothing is cached: every lookup says so.
    pub fn unavailable() -> KeyTable {
        KeyTable { keys: HashMap::new(), unavailable: true, wanted: None }
    }

    /// The keys of a claimed id. The id must be well-formed; it is only ever compared.
    pub fn lookup(&self, id: &str) -> KeyLookup<'_> {
        match self.keys.get_key_value(id) {
            Some((id, keys)) => KeyLookup::Known(id, keys),
            None => {
                self.doubt();
                if self.unavailable { KeyLookup::Unavailable } else { KeyLookup::Unknown }
            }
        }
    }

    /// A signature did not fit the keys of its id: they may have changed at their source.
    pub fn doubt(&self) {
        if let Some(wanted) = &self.wanted {
            wanted.ask();
        }
    }

    /// Did its keys come from a source that is asked again, not from files?
    pub fn is_followed(&self) -> bool {
        self.wanted.is_some()
    }

    /// Is the source of the keys out of reach? Ids that are not here may have keys there.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
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
