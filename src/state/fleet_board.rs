//! [`FleetBoard`]: how does it stand between this sidecar and those it shares its state with? For whoever shows it.

use super::lease::DriverLease;
use crate::rollout::shared::sealed::Presence;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One that was not heard of for so long is silent; it says something every second.
pub const SILENT: Duration = Duration::from_secs(5);

/// What is known of the fleet.
#[derive(Debug)]
pub struct FleetBoard {
    /// This sidecar's name.
    pub name: Box<str>,
    /// May this sidecar drive a ramp?
    pub lease: Arc<DriverLease>,
    mine: ArcSwap<Mine>,
    others: ArcSwap<BTreeMap<Box<str>, Seen>>,
    trouble: ArcSwapOption<Trouble>,
    published: ArcSwap<Box<str>>,
    rejected: AtomicU64,
    pub(super) asked: Notify,
}

/// Why the fleet is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Redis cannot be asked.
    #[error("{0}")]
    Away(String),
    /// What it holds is not taken.
    #[error("{0}")]
    Record(String),
}

impl Trouble {
    fn is_same_kind(&self, other: &Trouble) -> bool {
        match (self, other) {
            (Trouble::Away(_), Trouble::Away(_)) | (Trouble::Record(_), Trouble::Record(_)) => true,
            (Trouble::Away(_), Trouble::Record(_)) | (Trouble::Record(_), Trouble::Away(_)) => false,
        }
    }
}

/// What is in force here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mine {
    /// Of the state; empty before this sidecar found the fleet's.
    pub digest: Box<str>,
    /// Its revision.
    pub revision: u64,
}

/// Another sidecar, or this one.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it said last.
    pub presence: Presence,
    /// When it was heard of.
    pub heard: Instant,
}

/// What came of a state at one sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is in force there.
    Reached,
    /// Another one is in force there.
    Behind,
    /// It was not heard of.
    Silent,
}

impl Reach {
    /// The word in answers.
    pub const fn code(self) -> &'static str {
        match self {
            Reach::Reached => "reached",
            Reach::Behind => "behind",
            Reach::Silent => "silent",
        }
    }
}

impl FleetBoard {
    /// Before anything is known.
    pub fn new(name: Box<str>, lease: Arc<DriverLease>) -> FleetBoard {
        FleetBoard {
            name,
            lease,
            mine: ArcSwap::default(),
            others: ArcSwap::default(),
            trouble: ArcSwapOption::empty(),
            published: ArcSwap::default(),
            rejected: AtomicU64::new(0),
            asked: Notify::new(),
        }
    }

    /// What is in force here.
    pub fn mine(&self) -> Arc<Mine> {
        self.mine.load_full()
    }

    /// Why the fleet is not heard now, or its record not taken; `None`: all is well.
    pub fn trouble(&self) -> Option<Arc<Trouble>> {
        self.trouble.load_full()
    }

    /// Is what is in force here what Redis holds for all?
    pub fn is_published(&self) -> bool {
        let digest = self.mine.load().digest.clone();
        !digest.is_empty() && **self.published.load() == digest
    }

    /// Records and words that were not written with our fleet key.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Every other sidecar that is known, and whether what is in force here is in force there at `now`.
    pub fn others(&self, now: Instant) -> Vec<(Seen, Reach)> {
        let digest = self.mine.load().digest.clone();
        let reach = |seen: &Seen| match () {
            () if now.saturating_duration_since(seen.heard) > SILENT => Reach::Silent,
            () if seen.presence.digest == digest => Reach::Reached,
            () => Reach::Behind,
        };
        let others = self.others.load();
        others
            .values()
            .filter(|seen| *seen.presence.name != *self.name)
            .map(|seen| (seen.clone(), reach(seen)))
            .collect()
    }

    /// Does one of the others drive a ramp at `now`, by its own authenticated word?
    pub fn is_ramped_elsewhere(&self, now: Instant) -> bool {
        self.others(now).iter().any(|(seen, reach)| seen.presence.drives && *reach != Reach::Silent)
    }

    /// Asks for a fresh look at the fleet.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    pub(crate) fn moved(&self, mine: Mine) {
        self.mine.store(Arc::new(mine));
    }

    pub(super) fn published(&self, digest: Box<str>) {
        self.published.store(Arc::new(digest));
    }

    /// Told once for each kind of trouble, and once when it is over.
    pub(super) fn troubled(&self, trouble: Option<Trouble>) {
        let before = self.trouble.swap(trouble.clone().map(Arc::new));
        match (before, trouble) {
            (before, Some(trouble)) if !before.as_ref().is_some_and(|before| before.is_same_kind(&trouble)) => {
                tracing::error!(%trouble,
                    "the fleet's state of enforcement is not followed: what is known here stays in force"
                );
            }
            (Some(_), None) => tracing::info!("the fleet's state of enforcement is followed again"),
            (Some(_) | None, Some(_)) | (None, None) => {}
        }
    }

    pub(super) fn reject(&self) -> u64 {
        self.rejected.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// These were heard of; those that are missing are known for a while longer.
    pub(super) fn heard(&self, seen: impl Iterator<Item = Seen>, now: Instant, known: Duration) {
        let mut others = BTreeMap::clone(&self.others.load());
        others.extend(seen.map(|seen| (seen.presence.name.clone(), seen)));
        others.retain(|_, seen| now.saturating_duration_since(seen.heard) < known);
        self.others.store(Arc::new(others));
    }
}
