//! [`ProbeTable`]: who may announce probes, how many and until when; and what the announced ones were judged.
//!
//! `countersign validate` sends requests that have to be refused. They must not look like somebody's breakage: a service's
//! failure rate, the address's failure limit and the figures that roll enforcement back would all see an attack that is
//! none. So a probe is *announced*: it carries a secret in `X-Countersign-Probe` that was handed out through the admin socket.
//!
//! - An announced probe is judged as any request is, answered as any request is, and recorded, marked `probe`. It is left out of every
//!   count: attempts, requests, answers, the failure limit, the last use of a key.
//! - The header must not be a way to hide. It counts for nothing unless its secret was handed out here, to who may use the admin
//!   socket, minutes ago, with uses left. Whatever else it holds, the request counts like one without it.
//! - Only a SHA-256 of each secret is kept, and a presented one is compared with all of them in constant time.
//! - Everything is bounded: [`OPEN`] announcements, [`USES`] probes each, [`VALID`] at most.
//!
//! While nothing is announced, a presented header costs one look at a number. Left out: binding an announcement to an address. The
//! probes of one run may come from several (IPv4 and IPv6), and who holds the secret got it from the socket.

use super::decision::{Decision, Outcome, Refusal};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Announcements that may be open at once.
pub const OPEN: usize = 8;
/// Probes that one announcement may cover.
pub const USES: u32 = 2_000;
/// How long an announcement is good for.
pub const VALID: Duration = Duration::from_secs(600);

/// What is announced, and what came of it. A state machine over `now`: reads no clock.
#[derive(Default)]
pub struct ProbeTable {
    /// How many announcements there may be: a look at it saves the lock.
    open: AtomicUsize,
    announced: Mutex<Announcements>,
}

#[derive(Default)]
struct Announcements {
    last: u64,
    list: Vec<Announcement>,
}

struct Announcement {
    id: ProbeId,
    sha256: [u8; 32],
    until: Instant,
    left: u32,
    verdicts: Vec<ProbeVerdict>,
}

/// Which announcement; no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProbeId(pub u64);

/// The secret that announces probes; shown once, to who asked for it.
pub struct ProbeToken(Zeroizing<String>);

/// What one announced probe was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeVerdict {
    /// Which: the request id it was sent with.
    pub request_id: Box<str>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it is or would be refused.
    pub reason: Option<Refusal>,
    /// The class of its path.
    pub class: &'static str,
    /// The sender's clock minus ours, as far as its timestamp says.
    pub skew_seconds: Option<i64>,
}

/// What is known of one announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Probes that may still come.
    pub left: u32,
    /// For how long.
    pub valid: Duration,
    /// What the others were judged, in the order they came.
    pub verdicts: Vec<ProbeVerdict>,
}

/// As many announcements as may be are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{OPEN} runs of probes are announced already; one ends within {VALID:?}")]
pub struct TooManyOpen;

impl ProbeToken {
    /// The token of these random bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> ProbeToken {
        ProbeToken(Zeroizing::new(HEXLOWER.encode(bytes)))
    }

    /// The text, for the one answer that hands it out.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Hex digits of a token.
const LENGTH: usize = 64;

impl ProbeTable {
    /// Opens an announcement of as many probes as are asked for, at most [`USES`], for at most [`VALID`].
    ///
    /// # Errors
    /// When too many are open.
    pub fn announce(
        &self,
        token: &ProbeToken,
        uses: u32,
        valid: Duration,
        now: Instant,
    ) -> Result<ProbeId, TooManyOpen> {
        let mut announced = self.lock(now);
        if announced.list.len() >= OPEN {
            return Err(TooManyOpen);
        }
        announced.last += 1;
        let id = ProbeId(announced.last);
        announced.list.push(Announcement {
            id,
            sha256: Sha256::digest(token.reveal()).into(),
            until: now + valid.min(VALID),
            left: uses.min(USES),
            verdicts: Vec::new(),
        });
        self.open.store(announced.list.len(), Ordering::Release);
        Ok(id)
    }

    /// Does this header announce a probe? If so, one use of its announcement is taken.
    pub fn recognise(&self, presented: &[u8], now: Instant) -> Option<ProbeId> {
        if presented.len() != LENGTH || self.open.load(Ordering::Acquire) == 0 {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(presented).into();
        let mut announced = self.lock(now);
        let mut found = None;
        for (place, one) in announced.list.iter().enumerate() {
            let is_it = one.sha256.ct_eq(&hash) & Choice::from(u8::from(one.left > 0));
            if bool::from(is_it) {
                found = Some(place);
            }
        }
        let one = &mut announced.list[found?];
        one.left -= 1;
        Some(one.id)
    }

    /// Notes what a recognised probe was judged.
    pub fn note(&self, id: ProbeId, request_id: &str, decision: &Decision, now: Instant) {
        let verdict = ProbeVerdict {
            request_id: request_id.into(),
            outcome: decision.outcome,
            reason: decision.cause.or(decision.reason),
            class: decision.classification.class().code(),
            skew_seconds: decision.skew_seconds,
        };
        let mut announced = self.lock(now);
        if let Some(one) = announced.list.iter_mut().find(|one| one.id == id) {
            one.verdicts.push(verdict);
        }
    }

    /// What came of an announcement; `None` when it is over, or never was.
    pub fn report(&self, id: ProbeId, now: Instant) -> Option<ProbeReport> {
        let announced = self.lock(now);
        let one = announced.list.iter().find(|one| one.id == id)?;
        let valid = one.until.saturating_duration_since(now);
        Some(ProbeReport { left: one.left, valid, verdicts: one.verdicts.clone() })
    }

    /// Ends an announcement; was there one?
    pub fn end(&self, id: ProbeId, now: Instant) -> bool {
        let mut announced = self.lock(now);
        let before = announced.list.len();
        announced.list.retain(|one| one.id != id);
        self.open.store(announced.list.len(), Ordering::Release);
        announced.list.len() < before
    }

    /// What is open now; what is over is gone. Whole between any two statements that could panic, so a poisoned one is
    /// still good.
    fn lock(&self, now: Instant) -> MutexGuard<'_, Announcements> {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        announced.list.retain(|one| now < one.until);
        self.open.store(announced.list.len(), Ordering::Release);
        announced
    }
}

#[cfg(test)]
mod tests;
