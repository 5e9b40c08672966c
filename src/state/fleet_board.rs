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

/// A word whose time is further than this from our clock, either way, counts as heard that long ago. Clocks of sidecars may differ by as
/// much; the word itself is never believed longer than [`SILENT`] beyond it.
pub const CLOCKS: Duration = Duration::from_secs(10);

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

impl Seen {
    /// What the store held, written `age` ago by its word. That is anybody's word, and so is the time of a copy; the time in the presence
    /// is the sidecar's own. `now`: the wall clock in unix milliseconds, and the monotonic one. `None`: too old to tell.
    pub(super) fn of(presence: Presence, age: Duration, (wall, now): (u64, Instant)) -> Option<Seen> {
        let apart = Duration::from_millis(wall.abs_diff(presence.at));
        let age = if apart > CLOCKS { age.max(apart) } else { age };
        now.checked_sub(age).map(|heard| Seen { presence, heard })
    }
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

    /// These were heard of; those that are missing are known for a while longer. A word that is not newer than the last one of its sidecar
    /// is a repetition, and says nothing.
    pub(super) fn heard(&self, seen: impl Iterator<Item = Seen>, (wall, now): (u64, Instant), known: Duration) {
        let mut others = BTreeMap::clone(&self.others.load());
        for seen in seen {
            let is_news = others.get(&seen.presence.name).is_none_or(|last| {
                // Our own clock may have been put back since.
                let is_ahead = Duration::from_millis(last.presence.at.saturating_sub(wall)) > CLOCKS;
                seen.presence.at > last.presence.at || is_ahead
            });
            if is_news {
                others.insert(seen.presence.name.clone(), seen);
            }
        }
        others.retain(|_, seen| now.saturating_duration_since(seen.heard) < known);
        self.others.store(Arc::new(others));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const WALL: u64 = 1_790_000_000_000;
    const DAY: Duration = Duration::from_secs(86_400);

    fn board() -> FleetBoard {
        FleetBoard::new("me".into(), Arc::new(DriverLease::new(true)))
    }

    fn said(at: u64, drives: bool) -> Presence {
        Presence {
            name: "other".into(),
            at,
            host: "vm21".into(),
            listens: Vec::new(),
            digest: "".into(),
            revision: 1,
            mode: "enforce".into(),
            percentage: 10,
            held: false,
            drives,
            program: "0".into(),
        }
    }

    /// The board at so many milliseconds later, where the store holds this, as of just now.
    fn hears(board: &FleetBoard, start: Instant, later: u64, presence: Presence) -> (bool, Reach) {
        let now = (WALL + later, start + Duration::from_millis(later));
        board.heard(Seen::of(presence, Duration::ZERO, now).into_iter(), now, DAY);
        (board.is_ramped_elsewhere(now.1), board.others(now.1)[0].1)
    }

    #[test]
    fn a_word_that_is_repeated_under_its_own_name_says_nothing_new() {
        let (board, start) = (board(), clock::monotonic());
        assert_eq!(hears(&board, start, 0, said(WALL, true)), (true, Reach::Reached));
        assert_eq!(hears(&board, start, 1000, said(WALL + 1000, false)), (false, Reach::Reached));
        assert_eq!(hears(&board, start, 2000, said(WALL, true)), (false, Reach::Reached), "it has ended since");
        // It ends, and somebody repeats its last word every second.
        for later in (2000..=6000).step_by(1000) {
            assert_eq!(hears(&board, start, later, said(WALL + 1000, false)).1, Reach::Reached);
        }
        assert_eq!(hears(&board, start, 7000, said(WALL + 1000, false)).1, Reach::Silent);
        assert_eq!(hears(&board, start, 8000, said(WALL + 8000, true)), (true, Reach::Reached), "it is back");
    }

    #[test]
    fn one_that_starts_later_believes_no_old_word_and_none_of_the_future() {
        for (off, present) in [(0, true), (10_000, true), (10_001, false), (86_000_000, false)] {
            for at in [WALL - off, WALL + off] {
                let reach = if present { Reach::Reached } else { Reach::Silent };
                assert_eq!(hears(&board(), clock::monotonic(), 0, said(at, true)), (present, reach), "{off}");
            }
        }
        let board = board();
        let start = clock::monotonic();
        hears(&board, start, 0, said(WALL - 9000, true));
        assert_eq!(hears(&board, start, 5001, said(WALL - 9000, true)), (false, Reach::Silent));
    }

    #[test]
    fn a_clock_of_ours_that_was_put_back_silences_nobody() {
        let (board, now) = (board(), clock::monotonic());
        let ahead = (WALL + 3_600_000, now);
        board.heard(Seen::of(said(ahead.0, false), Duration::ZERO, ahead).into_iter(), ahead, DAY);
        assert_eq!(hears(&board, now, 9000, said(WALL + 9000, true)), (true, Reach::Reached));
    }
}
