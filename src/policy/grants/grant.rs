//! [`Grant`]: one issued override: what it lets pass, for how long, how often, by whom and why.
//!
//! The token is 256 random bits and exists once, as [`GrantToken`], on its way to the operator; a grant holds its SHA-256 alone. The
//! public [`GrantId`] is random too and says nothing of the token.
//!
//! Open means: the wall clock has not reached its end, the monotonic clock has not either (so setting the clock back
//! prolongs nothing while the process runs), and uses are left. Uses are counted by one atomic number that all workers share:
//! of N uses, exactly N requests get one.

use super::scope::{GrantScope, ScopeError};
use crate::policy::override_token::TokenHash;
use data_encoding::HEXLOWER;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// What may be shown of a grant: 12 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId([u8; 6]);

impl GrantId {
    /// From random bytes.
    pub const fn from_random(bytes: [u8; 6]) -> GrantId {
        GrantId(bytes)
    }

    /// The id that reads so; `None` when the text is none.
    pub fn parse(text: &str) -> Option<GrantId> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(GrantId)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The secret of one grant, on its way to the operator and nobody else. No `Clone`, no `Debug` of it, wiped on drop.
pub struct GrantToken(Zeroizing<String>);

impl GrantToken {
    /// `cso_` and 64 hex digits.
    pub fn from_random(bytes: &[u8; 32]) -> GrantToken {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * bytes.len()));
        text.push_str(PREFIX);
        HEXLOWER.encode_append(bytes, &mut text);
        GrantToken(text)
    }

    /// The secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for GrantToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantToken(..)")
    }
}

const PREFIX: &str = "cso_";

/// What is granted: all but the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTerms {
    /// Which requests.
    pub scope: GrantScope,
    /// When it was made, unix seconds.
    pub created: u64,
    /// From when on it is no more, unix seconds.
    pub expires: u64,
    /// How often; `None`: as often as it is sent.
    pub uses: Option<NonZeroU64>,
    /// Why, for people.
    pub reason: Box<str>,
    /// Who made it: `uid:1000`.
    pub by: Box<str>,
    /// Does it hold at every sidecar of the fleet?
    pub fleet: bool,
}

/// Why no such grant is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// What it is for.
    #[error("{0}")]
    Scope(#[from] ScopeError),
    /// How long.
    #[error("a grant lasts from 1 second to 7 days, found {} seconds", .0.as_secs())]
    Lifetime(Duration),
    /// How often.
    #[error("a grant has at least 1 use; leave the number out for as many as are sent")]
    NoUses,
    /// Nobody will know what it was for.
    #[error("a grant needs a reason, in 1 to {LONGEST_REASON} bytes on one line")]
    Reason,
}

const LONGEST_REASON: usize = 2048;
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

impl GrantTerms {
    /// Terms as an operator asks for them at `now`, unix seconds.
    ///
    /// # Errors
    /// When they could not be kept, or say nothing.
    pub fn new(
        scope: GrantScope,
        lifetime: Duration,
        uses: Option<u64>,
        reason: &str,
        by: &str,
        now: u64,
    ) -> Result<GrantTerms, TermsError> {
        if lifetime < Duration::from_secs(1) || lifetime > LONGEST_LIFE {
            return Err(TermsError::Lifetime(lifetime));
        }
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > LONGEST_REASON || reason.chars().any(char::is_control) {
            return Err(TermsError::Reason);
        }
        let uses = uses.map(|uses| NonZeroU64::new(uses).ok_or(TermsError::NoUses)).transpose()?;
        let expires = now.saturating_add(lifetime.as_secs());
        Ok(GrantTerms { scope, created: now, expires, uses, reason: reason.into(), by: by.into(), fleet: false })
    }

    /// Could these have been made by [`GrantTerms::new`]? Asked of what was read from elsewhere.
    pub fn are_sound(&self) -> bool {
        let lifetime = Duration::from_secs(self.expires.saturating_sub(self.created));
        let uses = self.uses.map(NonZeroU64::get);
        let again = GrantTerms::new(self.scope.clone(), lifetime, uses, &self.reason, &self.by, self.created);
        again.is_ok_and(|again| GrantTerms { fleet: self.fleet, ..again } == *self)
    }
}

/// One issued override.
#[derive(Debug)]
pub struct Grant {
    id: GrantId,
    hash: TokenHash,
    terms: GrantTerms,
    /// The end by the monotonic clock.
    deadline: Instant,
    used: AtomicU64,
}

/// How a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It lets requests pass.
    Open,
    /// Its time is over.
    Expired,
    /// It was used as often as it may be.
    UsedUp,
}

/// Whose ids are the same are the same.
impl PartialEq for Grant {
    fn eq(&self, other: &Grant) -> bool {
        self.id == other.id
    }
}

impl Eq for Grant {}

impl Grant {
    /// A grant that was used so often already. `now`: the wall clock, unix seconds, and the monotonic one at the same moment.
    pub fn new(id: GrantId, hash: TokenHash, terms: GrantTerms, used: u64, now: (u64, Instant)) -> Grant {
        // Were the clock set back before a start, it would last no longer than it was granted for.
        let left = Duration::from_secs(terms.expires.saturating_sub(now.0.max(terms.created))).min(LONGEST_LIFE);
        Grant { id, hash, terms, deadline: now.1 + left, used: AtomicU64::new(used) }
    }

    /// What may be shown of it.
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// What is kept of its token.
    pub fn hash(&self) -> &TokenHash {
        &self.hash
    }

    /// What was granted.
    pub fn terms(&self) -> &GrantTerms {
        &self.terms
    }

    /// How often it has let a request pass.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// How often it still can; `None`: without bound.
    pub fn uses_left(&self) -> Option<u64> {
        self.terms.uses.map(|uses| uses.get().saturating_sub(self.used()))
    }

    /// How it stands at this wall clock (unix seconds) and monotonic time.
    pub fn standing(&self, unix_seconds: u64, monotonic: Instant) -> Standing {
        if unix_seconds >= self.terms.expires || monotonic >= self.deadline {
            Standing::Expired
        } else if self.uses_left() == Some(0) {
            Standing::UsedUp
        } else {
            Standing::Open
        }
    }

    /// Takes one use. `false`: another request had the last one.
    pub fn take_use(&self) -> bool {
        let room = |used: u64| self.terms.uses.is_none_or(|uses| used < uses.get()).then(|| used.saturating_add(1));
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }
}
