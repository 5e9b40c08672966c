//! [`StoredGrant`]: a grant as it is written down, in the file of a sidecar and in what a fleet shares.
//!
//! With the hash of its token and never a token. What could not have been granted by [`GrantTerms::new`] is no grant, whoever wrote it.

use super::{Grant, GrantId, GrantScope, GrantTerms};
use crate::policy::override_token::TokenHash;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

/// One grant, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredGrant {
    id: String,
    sha256: String,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    created: u64,
    expires: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uses: Option<NonZeroU64>,
    used: u64,
    reason: Box<str>,
    by: Box<str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fleet: bool,
}

impl StoredGrant {
    /// With this count of uses.
    pub fn of(grant: &Grant, used: u64) -> StoredGrant {
        let terms = grant.terms();
        StoredGrant {
            id: grant.id().to_string(),
            sha256: grant.hash().to_hex(),
            path: terms.scope.path().to_string(),
            method: terms.scope.method().map(str::to_owned),
            created: terms.created,
            expires: terms.expires,
            uses: terms.uses,
            used,
            reason: terms.reason.clone(),
            by: terms.by.clone(),
            fleet: terms.fleet,
        }
    }

    /// Which; `None`: it is none.
    pub fn id(&self) -> Option<GrantId> {
        GrantId::parse(&self.id)
    }

    /// When it is over, unix seconds.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The grant; `None`: it is none. `now`: the wall clock, unix seconds, and the monotonic one.
    pub fn made(self, now: (u64, Instant)) -> Option<Arc<Grant>> {
        let (id, hash) = (GrantId::parse(&self.id)?, TokenHash::parse(&self.sha256)?);
        let scope = GrantScope::new(&self.path, self.method.as_deref()).ok()?;
        let StoredGrant { created, expires, uses, used, reason, by, fleet, .. } = self;
        let terms = GrantTerms { scope, created, expires, uses, reason, by, fleet };
        terms.are_sound().then(|| Arc::new(Grant::new(id, hash, terms, used, now)))
    }
}
