//! [`FleetKey`]: how is what sidecars share written down, so that only one of the fleet can have written it?
//!
//! A text of three lines: what it is, the MAC as 64 hex digits, one JSON object. The MAC is HMAC-SHA256 over the first line with its
//! line break, and the object; its key is made of the fleet key for this kind alone, so a text of one kind is never one of
//! another. The first line is a constant, and everything after the second line break is covered: there is one way to
//! read it.
//!
//! **What whoever has the store's password, but no fleet key, can do.** Not: change what is in force, switch anything on or off, undo a
//! rollback, speak as a sidecar. An older record that is put back is contained in what every sidecar knows ([`super::FleetState`]),
//! and is replaced. They can withhold: remove, fill or garble what is there, so that moves reach nobody until it is let be (sidecars say so,
//! keep what they know, and write it back); repeat a sidecar's last word of its presence for the few seconds that it counts
//! (it is sealed with its time: [`Presence::at`]); and hold up
//! a ramp, or end it where it stands, by holding its lease or forging its driver's number: what is undone by that is a step that nobody
//! else has heard of yet, and nothing before it. A sidecar that lost its state directory knows no newest record: an old one that is put back
//! counts there until another sidecar writes the newest one again, which takes under a second.
//!
//! The salt of the draws ([`FleetKey::salt`]) is made of the fleet key too: it is the same everywhere, also while the store is away,
//! and is never in the store.

use super::{FENCE_END, FleetState, Rollbacks, Word};
use crate::policy::grants::FleetWord;
use crate::rollout::state::{Hold, Move};
use crate::rollout::stored::{StoredEnforcement, StoredHold, StoredPercentage};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// The fleet's own secret. Never shown; wiped when dropped.
pub struct FleetKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetKey(…)")
    }
}

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Somebody without our fleet key wrote it, or it was cut or altered.
    #[error("was not written with this fleet key")]
    NotOurs,
    /// It is ours, and a later version of Countersign wrote it.
    #[error("was written by a newer version of Countersign (version {0}, this one reads {VERSION})")]
    Newer(u64),
    /// It is ours, and says nothing that can be.
    #[error("is no record that can be: {0}")]
    Corrupt(String),
}

/// What a sidecar says of itself to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Its name, which no other has.
    pub name: Box<str>,
    /// When it said so, by its own clock: unix milliseconds. Whoever repeats it later cannot make it newer.
    pub at: u64,
    /// The machine's.
    pub host: Box<str>,
    /// Where it listens.
    pub listens: Vec<String>,
    /// [`FleetKey::digest`] of the shared state that is in force there.
    pub digest: Box<str>,
    /// [`FleetState::revision`].
    pub revision: u64,
    /// `log` or `enforce`.
    pub mode: Box<str>,
    /// Of the whole.
    pub percentage: u8,
    /// Does a rollback hold there?
    pub held: bool,
    /// Does it drive a ramp?
    pub drives: bool,
    /// Its program.
    pub program: Box<str>,
}

/// The version that is written and read.
pub const VERSION: u64 = 1;

const RECORD: &str = "countersign enforcement 1\n";
const PRESENCE: &str = "countersign sidecar 1\n";
const GRANT: &str = "countersign override grant 1\n";
const SALT: &str = "countersign sampling salt 1\n";
/// Hex digits of a MAC.
const MAC: usize = 64;
/// Hex digits that tell two states apart, for people and comparisons among ourselves.
const DIGEST: usize = 16;

impl FleetKey {
    /// The key of 64 hex digits, white space around it aside. `None`: it is none.
    pub fn from_text(text: &str) -> Option<FleetKey> {
        let digits = text.trim_ascii();
        let bytes = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?);
        Some(FleetKey(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// What draws are keyed with at every sidecar of the fleet.
    pub fn salt(&self) -> [u8; 32] {
        self.mac(SALT, "").finalize().into_bytes().into()
    }

    /// The record of this state.
    pub fn seal(&self, state: &FleetState) -> String {
        self.sealed(RECORD, &Stored::from(state))
    }

    /// The state that a record holds.
    ///
    /// # Errors
    /// When it is not ours, or cannot be understood whole.
    pub fn open(&self, text: &str) -> Result<FleetState, RecordFault> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let body = self.opened(RECORD, text)?;
        let corrupt = |error: serde_json::Error| RecordFault::Corrupt(error.to_string());
        match serde_json::from_str::<Versioned>(body).map_err(corrupt)?.version {
            VERSION => {}
            newer if newer > VERSION => return Err(RecordFault::Newer(newer)),
            other => return Err(RecordFault::Corrupt(format!("version {other}"))),
        }
        let state = serde_json::from_str::<Stored>(body).map(FleetState::from).map_err(corrupt)?;
        match state.fence.max(state.word.fence) {
            fence if fence < FENCE_END => Ok(state),
            fence => Err(RecordFault::Corrupt(format!("a ramp driver's number {fence}"))),
        }
    }

    /// A short name of this state: the same for the same, at every sidecar.
    pub fn digest(&self, state: &FleetState) -> Box<str> {
        self.seal(state)[RECORD.len()..RECORD.len() + DIGEST].into()
    }

    /// The word of a presence.
    pub fn seal_presence(&self, presence: &Presence) -> String {
        self.sealed(PRESENCE, presence)
    }

    /// The presence that a text holds, if it is one of the sidecar of this name.
    ///
    /// # Errors
    /// When it is not ours, or another's.
    pub fn open_presence(&self, name: &str, text: &str) -> Result<Presence, RecordFault> {
        let body = self.opened(PRESENCE, text)?;
        let presence: Presence =
            serde_json::from_str(body).map_err(|error| RecordFault::Corrupt(error.to_string()))?;
        if *presence.name == *name { Ok(presence) } else { Err(RecordFault::NotOurs) }
    }

    /// A word on the override grant of this id.
    pub fn seal_grant(&self, id: &str, word: &FleetWord) -> String {
        self.sealed(GRANT, &(id, word))
    }

    /// The word that a text holds, if it is one on the override grant of this id.
    ///
    /// # Errors
    /// When it is not ours, or on another.
    pub fn open_grant(&self, id: &str, text: &str) -> Result<FleetWord, RecordFault> {
        let body = self.opened(GRANT, text)?;
        let read: Result<(Box<str>, FleetWord), _> = serde_json::from_str(body);
        let (of, word) = read.map_err(|error| RecordFault::Corrupt(error.to_string()))?;
        if *of == *id && word.id().is_some_and(|word| word.to_string() == id) {
            Ok(word)
        } else {
            Err(RecordFault::NotOurs)
        }
    }

    fn sealed(&self, kind: &str, value: &impl Serialize) -> String {
        // Maps with text as keys, numbers and text: nothing that JSON cannot hold.
        let body = serde_json::to_string(value).unwrap_or_default();
        let mac = HEXLOWER.encode(&self.mac(kind, &body).finalize().into_bytes());
        format!("{kind}{mac}\n{body}")
    }

    fn opened<'t>(&self, kind: &str, text: &'t str) -> Result<&'t str, RecordFault> {
        let rest = text.strip_prefix(kind).ok_or(RecordFault::NotOurs)?;
        let (mac, body) = rest.split_once('\n').filter(|(mac, _)| mac.len() == MAC).ok_or(RecordFault::NotOurs)?;
        let mac = HEXLOWER.decode(mac.as_bytes()).map_err(|_| RecordFault::NotOurs)?;
        // In constant time.
        self.mac(kind, body).verify_slice(&mac).map_err(|_| RecordFault::NotOurs)?;
        Ok(body)
    }

    fn mac(&self, kind: &str, body: &str) -> Hmac<Sha256> {
        let of_kind = Zeroizing::new(<[u8; 32]>::from(keyed(&self.0).chain_update(kind).finalize().into_bytes()));
        keyed(&of_kind).chain_update(kind).chain_update(body)
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    #[expect(clippy::unwrap_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    Hmac::<Sha256>::new_from_slice(key).unwrap()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    word: StoredWord,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rollbacks: BTreeMap<Box<str>, StoredRollbacks>,
    revision: u64,
    fence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredWord {
    epoch: u64,
    fence: u64,
    revision: u64,
    in_force: StoredEnforcement,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<Box<str>, StoredPercentage>,
    since: u64,
    by: Box<str>,
    why: Box<str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRollbacks {
    made: u64,
    lifted: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<StoredHold>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    rules: BTreeSet<Box<str>>,
}

impl From<&FleetState> for Stored {
    fn from(state: &FleetState) -> Stored {
        let FleetState { word, rollbacks, revision, fence } = state.clone();
        let Word { epoch, fence: driver, revision: said, in_force, rules, last } = word;
        let of_one = |one: Rollbacks| StoredRollbacks {
            made: one.made,
            lifted: one.lifted,
            hold: one.hold.as_ref().map(StoredHold::from),
            rules: one.rules,
        };
        Stored {
            version: VERSION,
            word: StoredWord {
                epoch,
                fence: driver,
                revision: said,
                in_force: in_force.into(),
                rules: rules.into_iter().map(|(name, percentage)| (name, StoredPercentage(percentage))).collect(),
                since: last.at,
                by: last.by,
                why: last.why,
            },
            rollbacks: rollbacks.into_iter().map(|(name, one)| (name, of_one(one))).collect(),
            revision,
            fence,
        }
    }
}

impl From<Stored> for FleetState {
    fn from(stored: Stored) -> FleetState {
        let StoredWord { epoch, fence, revision, in_force, rules, since, by, why } = stored.word;
        let of_one = |one: StoredRollbacks| Rollbacks {
            made: one.made,
            lifted: one.lifted,
            hold: one.hold.map(Hold::from),
            rules: one.rules,
        };
        FleetState {
            word: Word {
                epoch,
                fence,
                revision,
                in_force: in_force.into(),
                rules: rules.into_iter().map(|(name, percentage)| (name, percentage.0)).collect(),
                last: Move { at: since, by, why },
            },
            rollbacks: stored.rollbacks.into_iter().map(|(name, one)| (name, of_one(one))).collect(),
            revision: stored.revision,
            fence: stored.fence,
        }
    }
}
