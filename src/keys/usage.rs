//! Who used which key last? What ends an overlap, and what `keys list` shows.
//!
//! 1. A worker [notes](UsageNotes::note) each verified signature: service, key, caller's address, second; at most once a second
//!    for each key, so that a request costs a comparison and no lock.
//! 2. Every few seconds the [board](UsageBoard) is taken and told: to a file in the state directory ([`mod@file`]), and to Redis where
//!    keys live there.
//!
//! What is told of a key is its last use, never a count. Nothing here is keyed by outsiders: only what verified is noted, so there are
//! no more entries than keys.

use crate::signature::key::{Fingerprint, ServiceId};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

pub mod file;

/// Within which time a running sidecar tells of a use. Who is about to let go of a key waits for so long, and looks again.
pub const TOLD_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// The last use of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// When, in Unix seconds, by the verifier's clock.
    pub at: u64,
    /// From where: the caller's address.
    pub client: String,
    /// Who saw it.
    pub verifier: String,
}

impl Used {
    /// `SECONDS CLIENT VERIFIER`: as Redis keeps it.
    pub fn to_text(&self) -> String {
        format!("{} {} {}", self.at, self.client, self.verifier)
    }

    /// The use that this text tells of; `None` when it is none.
    pub fn parse(text: &str) -> Option<Used> {
        let mut words = text.splitn(3, ' ');
        let (at, client, verifier) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        Some(Used { at, client: client.to_owned(), verifier: verifier.to_owned() })
    }
}

/// The last use of each key of one service.
pub type ServiceUsage = BTreeMap<Fingerprint, Used>;

/// The last use of each key of every service.
pub type Usage = BTreeMap<ServiceId, ServiceUsage>;

/// Adds a use, unless a later one is known. Was it news?
pub fn merge(usage: &mut ServiceUsage, key: Fingerprint, used: Used) -> bool {
    match usage.get(&key) {
        Some(known) if known.at >= used.at => false,
        Some(_) | None => {
            usage.insert(key, used);
            true
        }
    }
}

/// What all workers noted since it was last taken.
#[derive(Debug)]
pub struct UsageBoard {
    shards: Box<[Arc<Shard>]>,
}

/// One worker's part; locked once a second for each key at most.
type Shard = Mutex<HashMap<(ServiceId, Fingerprint), (u64, Box<str>)>>;

impl UsageBoard {
    /// Room for this many workers.
    pub fn new(workers: usize) -> UsageBoard {
        UsageBoard { shards: (0..workers.max(1)).map(|_| Arc::default()).collect() }
    }

    /// What worker `index` notes on.
    pub fn notes(&self, index: usize) -> UsageNotes {
        UsageNotes { shard: Arc::clone(&self.shards[index % self.shards.len()]), last: Default::default() }
    }

    /// What was noted since this was last asked. `verifier`: our own name.
    pub fn take(&self, verifier: &str) -> Usage {
        let mut usage = Usage::new();
        for shard in &self.shards {
            let noted = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            for ((id, key), (at, client)) in noted {
                let used = Used { at, client: client.into(), verifier: verifier.to_owned() };
                merge(usage.entry(id).or_default(), key, used);
            }
        }
        usage
    }
}

/// Where one worker notes what it verified.
pub struct UsageNotes {
    shard: Arc<Shard>,
    /// The last second noted of a few keys, by their fingerprints.
    last: [Cell<(Option<Fingerprint>, u64)>; REMEMBERED],
}

/// Callers whose signatures verify turn by turn, on one worker, without a lock.
const REMEMBERED: usize = 16;

impl UsageNotes {
    /// A signature with this key verified.
    pub fn note(&self, id: &ServiceId, key: Fingerprint, client: &str, unix_seconds: u64) {
        let last = &self.last[usize::from(key.first_byte()) % REMEMBERED];
        if last.replace((Some(key), unix_seconds)) == (Some(key), unix_seconds) {
            return;
        }
        let mut noted = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
        noted.insert((id.clone(), key), (unix_seconds, client.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::record::KeyText;

    fn id(text: &str) -> ServiceId {
        ServiceId::parse(text).unwrap()
    }

    fn print(letter: &str) -> Fingerprint {
        KeyText::parse(&letter.repeat(64)).unwrap().fingerprint()
    }

    fn used(at: u64, client: &str) -> Used {
        Used { at, client: client.into(), verifier: "v".into() }
    }

    #[test]
    fn a_use_is_read_as_it_was_written() {
        let one = Used { at: 1_759_742_876, client: "2001:db8::1".into(), verifier: "main-backend".into() };
        assert_eq!(one.to_text(), "1759742876 2001:db8::1 main-backend");
        assert_eq!(Used::parse(&one.to_text()), Some(one));
        for text in ["", "1", "1 a", "x a v", "-1 a v", "99999999999999999999 a v"] {
            assert_eq!(Used::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn of_all_workers_the_last_use_of_each_key_is_told_once() {
        let board = UsageBoard::new(2);
        let (one, other) = (board.notes(0), board.notes(1));
        one.note(&id("a"), print("a"), "192.0.2.1", 5);
        other.note(&id("a"), print("a"), "192.0.2.2", 7);
        one.note(&id("a"), print("a"), "192.0.2.1", 6);
        one.note(&id("a"), print("o"), "192.0.2.3", 6);
        other.note(&id("b"), print("b"), "192.0.2.4", 1);
        let taken = board.take("v");
        assert_eq!(taken[&id("a")], [(print("a"), used(7, "192.0.2.2")), (print("o"), used(6, "192.0.2.3"))].into());
        assert_eq!(taken[&id("b")], [(print("b"), used(1, "192.0.2.4"))].into());
        assert!(board.take("v").is_empty());
        one.note(&id("a"), print("a"), "192.0.2.9", 6);
        assert!(board.take("v").is_empty(), "the same second of the same key was told already");
        one.note(&id("a"), print("a"), "192.0.2.9", 8);
        assert_eq!(board.take("v").len(), 1);
    }

    #[test]
    fn many_keys_in_one_second_are_all_told() {
        let board = UsageBoard::new(1);
        let notes = board.notes(0);
        for _ in 0..3 {
            for n in 0..200 {
                let key = KeyText::parse(&format!("{n:064}")).unwrap().fingerprint();
                notes.note(&id(&format!("s{n}")), key, "192.0.2.1", 9);
            }
        }
        assert_eq!(board.take("v").len(), 200);
    }

    #[test]
    fn an_older_use_does_not_replace_a_later_one() {
        let mut usage = ServiceUsage::new();
        assert!(merge(&mut usage, print("a"), used(5, "x")));
        assert!(!merge(&mut usage, print("a"), used(5, "y")) && !merge(&mut usage, print("a"), used(4, "y")));
        assert!(merge(&mut usage, print("a"), used(6, "y")));
        assert_eq!(usage[&print("a")], used(6, "y"));
    }
}
