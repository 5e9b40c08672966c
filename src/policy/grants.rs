//! [`GrantTable`]: is this the token of an override that was granted?
//!
//! Beside the fleet's one static token ([`override_token`](super::override_token)) stand those that an operator issues for an
//! emergency: for one path and method, for a while, perhaps for a number of requests, with a reason, and revocable. A
//! request with such a token is judged as one with the static token: see [`decide`](super::decide). In detail:
//!
//! 1. Only a SHA-256 of each token is kept, here and in the file. A token is 256 random bits, so its hash tells nothing.
//! 2. A presented token is hashed once and compared with [`GrantTable::MOST`] hashes in constant time, however many grants there
//!    are: who guesses cannot tell from the time whether there is anything to guess. This is done only for a request that carries the
//!    header and is not the static token; any other pays nothing.
//! 3. It is valid when the grant is open ([`Grant::standing`]) and the request is within its [scope](GrantScope). Else
//!    it is a wrong token like any other: same answer, counted against the address.
//! 4. A use is taken when the decision is `override`, in every mode, and not before: an authenticated, exempt or
//!    open request takes none. A use is a decision and not a success: it is taken also where the upstream then fails.
//!
//! A table never changes; granting, revoking and sweeping make a new one that shares the grants (and so the counts of
//! their uses) with the old. So requests read it from their snapshot without a lock, and a revoked grant is gone for every request
//! that is judged after the swap.

mod fleet;
mod grant;
mod scope;
mod stored;

pub use fleet::{FleetWord, Heard, Revoked};
pub use grant::{Grant, GrantId, GrantTerms, GrantToken, Standing, TermsError};
pub use scope::{GrantScope, ScopeError};
pub use stored::StoredGrant;

use super::override_token::TokenHash;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// The grants of one moment.
#[derive(Clone)]
pub struct GrantTable {
    grants: Vec<Arc<Grant>>,
    /// Their hashes as words, in the same order; the rest zeros, which nothing hashes to.
    hashes: Box<[[u64; 4]; GrantTable::MOST]>,
    /// What was ended for the whole fleet.
    revoked: Vec<Revoked>,
}

/// A grant that is no longer open, and why not.
pub type Over = (Arc<Grant>, Standing);

/// Why a grant is not taken into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There are as many as are looked through.
    #[error("there are {} override grants already: revoke one first", GrantTable::MOST)]
    Full,
    /// There is one of this id or token.
    #[error("there is a grant {0} already")]
    Again(GrantId),
}

impl GrantTable {
    /// No more grants than this at a time.
    pub const MOST: usize = 64;

    /// Of these grants.
    ///
    /// # Errors
    /// When they are too many, or two are the same.
    pub fn new(grants: Vec<Arc<Grant>>) -> Result<GrantTable, TableError> {
        if grants.len() > Self::MOST {
            return Err(TableError::Full);
        }
        for (place, grant) in grants.iter().enumerate() {
            if grants[..place].iter().any(|other| other.id() == grant.id() || other.hash() == grant.hash()) {
                return Err(TableError::Again(grant.id()));
            }
        }
        Ok(GrantTable::of(grants))
    }

    /// The same with one more.
    ///
    /// # Errors
    /// When there is no room, or it is there.
    pub fn with(&self, grant: Arc<Grant>) -> Result<GrantTable, TableError> {
        let table = GrantTable::new(self.grants.iter().cloned().chain([grant]).collect())?;
        Ok(GrantTable { revoked: self.revoked.clone(), ..table })
    }

    /// The same without this one, and the one; `None`: it is not there.
    pub fn without(&self, id: GrantId) -> Option<(GrantTable, Arc<Grant>)> {
        let gone = self.grants.iter().find(|grant| grant.id() == id)?;
        let left = self.grants.iter().filter(|grant| grant.id() != id).cloned().collect();
        Some((GrantTable { revoked: self.revoked.clone(), ..GrantTable::of(left) }, Arc::clone(gone)))
    }

    /// The grants of the fleet that were used as often as they may be: they stay until their time is over, since the fleet's word
    /// would grant them anew.
    pub fn spent(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.iter().filter(|grant| grant.terms().fleet && grant.uses_left() == Some(0))
    }

    /// The same without what is no longer open (but [spent](Self::spent)), and that with how it stands; `None`: nothing is over.
    pub fn swept(&self, unix_seconds: u64, monotonic: Instant) -> Option<(GrantTable, Vec<Over>)> {
        let standing = |grant: &Arc<Grant>| (Arc::clone(grant), grant.standing(unix_seconds, monotonic));
        let (open, over): (Vec<_>, Vec<_>) =
            self.grants.iter().map(standing).partition(|(grant, standing)| match standing {
                Standing::Open => true,
                Standing::UsedUp => grant.terms().fleet,
                Standing::Expired => false,
            });
        let left = open.into_iter().map(|(grant, _)| grant).collect();
        let mut revoked = self.revoked.clone();
        revoked.retain(|revoked| revoked.expires > unix_seconds);
        let changes = !over.is_empty() || revoked.len() < self.revoked.len();
        changes.then(|| (GrantTable { revoked, ..GrantTable::of(left) }, over))
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Grant>> {
        self.grants.iter()
    }

    /// Has this grant a number of uses?
    pub fn is_bounded(&self, id: GrantId) -> bool {
        self.grants.iter().any(|grant| grant.id() == id && grant.terms().uses.is_some())
    }

    /// How many let requests pass at this time.
    pub fn open(&self, unix_seconds: u64, monotonic: Instant) -> usize {
        self.grants.iter().filter(|grant| grant.standing(unix_seconds, monotonic) == Standing::Open).count()
    }

    /// The grant whose token hashes to this. The same work for any hash and any number of grants.
    pub fn find(&self, presented: &TokenHash) -> Option<&Grant> {
        let presented = presented.words();
        let mut found = Self::MOST as u64;
        for (place, hash) in (0_u64..).zip(self.hashes.iter()) {
            let differs = hash.iter().zip(&presented).fold(0, |all, (one, other)| all | (one ^ other));
            found.conditional_assign(&place, differs.ct_eq(&0));
        }
        self.grants.get(found as usize).map(Arc::as_ref)
    }

    fn of(grants: Vec<Arc<Grant>>) -> GrantTable {
        let mut hashes = Box::new([[0; 4]; Self::MOST]);
        for (words, grant) in hashes.iter_mut().zip(&grants) {
            *words = grant.hash().words();
        }
        GrantTable { grants, hashes, revoked: Vec::new() }
    }
}

/// None are granted.
impl Default for GrantTable {
    fn default() -> GrantTable {
        GrantTable::of(Vec::new())
    }
}

impl fmt::Debug for GrantTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.grants.iter().map(|grant| grant.id())).finish()
    }
}

#[cfg(test)]
mod tests;
