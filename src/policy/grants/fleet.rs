//! [`FleetWord`]: what the sidecars of a fleet tell each other of override grants, and what follows from it.
//!
//! 1. A word says that something was granted to all, or that it was revoked. Who may say so is proved by whoever hands a word in
//!    (`rollout::shared::sealed`): here it is believed.
//! 2. **Revoked wins**, whatever the order in which the words come: each sidecar remembers what was revoked ([`Revoked`]) until the grant
//!    would have been over, so that an old word put back by somebody who can write to the store opens nothing again.
//! 3. Uses are counted by each sidecar for itself: a grant of ten uses lets ten requests pass at each. To count them together, each use
//!    would have to wait for the store.
//! 4. What is over, too much for the table, or not for a fleet is not taken.

use super::stored::StoredGrant;
use super::{Grant, GrantId, GrantTable, Standing};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// A grant that was ended for the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    id: String,
    /// When it would have been over, unix seconds.
    pub expires: u64,
    /// Who.
    pub by: Box<str>,
    /// Why, for people.
    pub why: Box<str>,
}

impl Revoked {
    /// Of this grant.
    pub fn of(grant: &Grant, by: &str, why: &str) -> Revoked {
        Revoked { id: grant.id().to_string(), expires: grant.terms().expires, by: by.into(), why: why.into() }
    }

    /// Which; `None`: this is no word of ours.
    pub fn id(&self) -> Option<GrantId> {
        GrantId::parse(&self.id)
    }
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetWord {
    /// This holds for all.
    Granted(StoredGrant),
    /// This no more.
    Revoked(Revoked),
}

impl FleetWord {
    /// On which grant; `None`: on none.
    pub fn id(&self) -> Option<GrantId> {
        match self {
            FleetWord::Granted(stored) => stored.id(),
            FleetWord::Revoked(revoked) => revoked.id(),
        }
    }
}

/// What follows from a word.
#[derive(Debug)]
pub enum Heard {
    /// A grant that was not known here.
    Granted(GrantTable, Arc<Grant>),
    /// One that is known here no more.
    Revoked(GrantTable, Arc<Grant>, Revoked),
    /// It only has to be remembered.
    Remember(GrantTable),
    /// Nothing.
    Nothing,
}

/// So many ended grants are remembered; beyond it, the one that would be over first is forgotten.
const MOST_REVOKED: usize = 256;

impl GrantTable {
    /// What follows from this word here. `now`: the wall clock, unix seconds, and the monotonic one.
    pub fn hear(&self, word: FleetWord, now: (u64, Instant)) -> Heard {
        match word {
            FleetWord::Granted(stored) => {
                let Some(grant) = stored.made(now).filter(|grant| grant.terms().fleet) else { return Heard::Nothing };
                let is_known = self.revoked(grant.id()).is_some() || self.iter().any(|known| *known == grant);
                if is_known || grant.standing(now.0, now.1) != Standing::Open {
                    return Heard::Nothing;
                }
                match self.with(Arc::clone(&grant)) {
                    Ok(table) => Heard::Granted(table, grant),
                    Err(_) => Heard::Nothing,
                }
            }
            FleetWord::Revoked(revoked) => {
                let Some(id) = revoked.id() else { return Heard::Nothing };
                if revoked.expires <= now.0 || self.revoked(id).is_some() {
                    return Heard::Nothing;
                }
                match self.without(id) {
                    // What was never granted to all is not for others to end.
                    Some((_, grant)) if !grant.terms().fleet => Heard::Nothing,
                    Some((table, grant)) => Heard::Revoked(table.remembering(revoked.clone()), grant, revoked),
                    None => Heard::Remember(self.remembering(revoked)),
                }
            }
        }
    }

    /// The word on this grant's end, if it was ended for all.
    pub fn revoked(&self, id: GrantId) -> Option<&Revoked> {
        self.revoked.iter().find(|revoked| revoked.id() == Some(id))
    }

    /// All ends that are remembered.
    pub fn all_revoked(&self) -> &[Revoked] {
        &self.revoked
    }

    /// The same with one more end to remember.
    #[must_use]
    pub fn remembering(&self, revoked: Revoked) -> GrantTable {
        let mut table = self.clone();
        table.revoked.push(revoked);
        if table.revoked.len() > MOST_REVOKED {
            let first = table.revoked.iter().enumerate().min_by_key(|(_, revoked)| revoked.expires);
            if let Some((place, _)) = first {
                table.revoked.remove(place);
            }
        }
        table
    }

    /// Every word that this sidecar has for the others.
    pub fn words(&self) -> impl Iterator<Item = (GrantId, FleetWord)> {
        let ends =
            self.revoked.iter().filter_map(|revoked| Some((revoked.id()?, FleetWord::Revoked(revoked.clone()))));
        let grants = self.iter().filter(|grant| grant.terms().fleet);
        ends.chain(grants.map(|grant| (grant.id(), FleetWord::Granted(StoredGrant::of(grant, 0)))))
    }
}
