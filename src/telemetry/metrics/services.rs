//! [`Services`]: the series of `service_auth_attempts_total`, one per configured id.
//!
//! Only ids of the table are ever label values. The table is replaced when configuration or keys change; the series of an
//! id that is gone keep their counts and are shown on, because a counter must not vanish. Answers the attack of many
//! random ids.

use crate::telemetry::names::{NO_SERVICE, UNKNOWN_SERVICE};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptResult {
    Success,
    Failed,
    Override,
}

impl AttemptResult {
    pub(super) const ALL: [AttemptResult; 3] =
        [AttemptResult::Success, AttemptResult::Failed, AttemptResult::Override];

    pub(super) const fn code(self) -> &'static str {
        match self {
            AttemptResult::Success => "success",
            AttemptResult::Failed => "failed",
            AttemptResult::Override => "override",
        }
    }
}

/// All series, and which ids may have one.
#[derive(Debug)]
pub(super) struct Services {
    table: ArcSwap<HashMap<Box<str>, Arc<Series>>>,
    /// With those that are gone, `unknown` and `none`; the order they are shown in.
    all: Mutex<BTreeMap<Box<str>, Arc<Series>>>,
    unknown: Arc<Series>,
    none: Arc<Series>,
    workers: usize,
    /// Failing checks of known peers by service and rule; taken only for one of those.
    broken: Mutex<BTreeMap<Arc<str>, ByRule>>,
}

/// Counts by the name of a rule.
type ByRule = BTreeMap<Arc<str>, u64>;

/// One service's counters, apart for each worker.
#[derive(Debug)]
struct Series {
    id: Arc<str>,
    shards: Box<[Shard]>,
    /// Whole seconds from the start of the metrics to the last success, plus one; 0: never.
    last_success: AtomicU64,
}

/// On a cache line of its own, so that workers do not take it from each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    attempts: [AtomicU64; 3],
    /// Signatures seen before, from where their service does not call: authenticated, and evidence of nothing.
    foreign: AtomicU64,
    /// Authenticated calls answered 5xx. These two may wrap: who reads them looks at what was added.
    errors: AtomicU32,
    /// Failing checks of a known peer.
    broken: AtomicU32,
    skews: LastSkews,
}

/// The clock of a caller minus ours in its last authenticated calls, seconds. One worker writes and anybody reads, so a store is all that
/// a call costs; a reader that meets a writer sees one skew more or less.
#[derive(Debug, Default)]
struct LastSkews {
    seconds: [AtomicI32; LAST_SKEWS],
    /// How many there ever were.
    count: AtomicU32,
}

/// Of each worker; as many as leave a shard on its one cache line.
const LAST_SKEWS: usize = 5;

impl LastSkews {
    fn note(&self, seconds: i32) {
        let count = self.count.load(Ordering::Relaxed);
        self.seconds[count as usize % LAST_SKEWS].store(seconds, Ordering::Relaxed);
        // Never back to "none" when it wraps.
        let next = if count == u32::MAX - LAST_SKEWS as u32 { LAST_SKEWS as u32 } else { count + 1 };
        self.count.store(next, Ordering::Relaxed);
    }

    fn all(&self) -> impl Iterator<Item = i32> {
        let known = (self.count.load(Ordering::Relaxed) as usize).min(LAST_SKEWS);
        self.seconds[..known].iter().map(|seconds| seconds.load(Ordering::Relaxed))
    }
}

impl Services {
    /// No ids yet.
    pub(super) fn new(workers: usize) -> Services {
        let (unknown, none) =
            (Arc::new(Series::new(UNKNOWN_SERVICE, workers)), Arc::new(Series::new(NO_SERVICE, workers)));
        let all = [(UNKNOWN_SERVICE.into(), Arc::clone(&unknown)), (NO_SERVICE.into(), Arc::clone(&none))];
        let broken = Mutex::default();
        Services { table: ArcSwap::default(), all: Mutex::new(all.into()), unknown, none, workers, broken }
    }

    /// These ids, and no others, from now on.
    pub(super) fn set<'s>(&self, ids: impl IntoIterator<Item = &'s str>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let table = ids
            .into_iter()
            .map(|id| {
                let series = all.entry(id.into()).or_insert_with(|| Arc::new(Series::new(id, self.workers)));
                (id.into(), Arc::clone(series))
            })
            .collect();
        self.table.store(Arc::new(table));
    }

    /// Counts an attempt. `id`: proved or claimed; `anonymous`: nothing was presented.
    /// `skew`: the service's clock minus ours, as the timestamp of an authenticated call says.
    pub(super) fn count(
        &self,
        worker: usize,
        id: Option<&str>,
        anonymous: bool,
        result: AttemptResult,
        since: Duration,
        skew: Option<i64>,
    ) {
        let table = self.table.load();
        let series = match id {
            Some(id) => table.get(id).unwrap_or(&self.unknown),
            None if anonymous => &self.none,
            None => &self.unknown,
        };
        let shard = &series.shards[worker];
        shard.attempts[result as usize].fetch_add(1, Ordering::Relaxed);
        if result == AttemptResult::Success {
            if let Some(seconds) = skew {
                // Within the window of the signature, so it fits.
                shard.skews.note(i32::try_from(seconds).unwrap_or(if seconds < 0 { i32::MIN } else { i32::MAX }));
            }
            let seconds = since.as_secs() + 1;
            // read first: all workers share this line, and it changes once a second at most
            if series.last_success.load(Ordering::Relaxed) < seconds {
                series.last_success.fetch_max(seconds, Ordering::Relaxed);
            }
        }
    }

    /// How far each configured service's clock is off: the median of its last authenticated calls (five on each worker). Only of those
    /// that had one within the window before `since`: an old skew tells nothing.
    pub(super) fn skews(&self, since: Duration, window: Duration) -> Vec<(Arc<str>, i32)> {
        let oldest = (since.as_secs() + 1).saturating_sub(window.as_secs());
        let table = self.table.load();
        let recent = table.values().filter(|series| {
            let last = series.last_success.load(Ordering::Relaxed);
            last > 0 && last >= oldest
        });
        let mut skews: Vec<_> =
            recent.filter_map(|series| Some((Arc::clone(&series.id), series.median_skew()?))).collect();
        skews.sort();
        skews
    }

    /// An authenticated call of this service was answered 5xx.
    pub(super) fn erred(&self, worker: usize, id: &str) {
        if let Some(series) = self.table.load().get(id) {
            series.shards[worker].errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A signature that was seen before came from where its service does not call.
    pub(super) fn foreign(&self, worker: usize, id: &str) {
        if let Some(series) = self.table.load().get(id) {
            series.shards[worker].foreign.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A check of a known peer failed, under this rule.
    pub(super) fn broke(&self, worker: usize, id: &str, rule: Option<&str>) {
        let table = self.table.load();
        let Some(series) = table.get(id) else { return };
        series.shards[worker].broken.fetch_add(1, Ordering::Relaxed);
        if let Some(rule) = rule {
            let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = broken.get_mut(id).and_then(|rules| rules.get_mut(rule)) {
                *count += 1;
            } else if broken.values().map(BTreeMap::len).sum::<usize>() < BROKEN {
                broken.entry(Arc::clone(&series.id)).or_default().insert(rule.into(), 1);
            }
        }
    }

    /// Every configured id: successes, errors, failing checks of known peers.
    pub(super) fn health(&self) -> Vec<(Arc<str>, [u64; 3])> {
        let table = self.table.load();
        let each = table.values().map(|series| (Arc::clone(&series.id), series.health()));
        each.collect()
    }

    /// Failing checks of known peers by service and rule.
    pub(super) fn broken(&self) -> Vec<(Arc<str>, Arc<str>, u64)> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(id, rules): (&Arc<str>, &ByRule)| {
            let id = Arc::clone(id);
            rules.iter().map(|(rule, count)| (Arc::clone(&id), Arc::clone(rule), *count)).collect::<Vec<_>>()
        };
        broken.iter().flat_map(of).collect()
    }

    /// Every id with its counts by result.
    pub(super) fn counts(&self) -> Vec<(Box<str>, [u64; 3])> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(id, series)| (id.clone(), series.counts())).collect()
    }

    /// How many ids had a success within the window before `since`.
    pub(super) fn active(&self, since: Duration, window: Duration) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = (since.as_secs() + 1).saturating_sub(window.as_secs());
        all.values()
            .filter(|series| !Arc::ptr_eq(series, &self.unknown) && !Arc::ptr_eq(series, &self.none))
            .map(|series| series.last_success.load(Ordering::Relaxed))
            .filter(|last| *last > 0 && *last >= oldest)
            .count()
    }
}

impl Series {
    fn new(id: &str, workers: usize) -> Series {
        Series {
            id: id.into(),
            shards: (0..workers).map(|_| Shard::default()).collect(),
            last_success: AtomicU64::new(0),
        }
    }

    fn health(&self) -> [u64; 3] {
        let mut sum = [0; 3];
        for Shard { attempts, foreign, errors, broken, skews: _ } in &self.shards {
            let [success, _, _] = attempts;
            // Read first: each was counted as a success before.
            let foreign = foreign.load(Ordering::Relaxed);
            let success = success.load(Ordering::Relaxed).saturating_sub(foreign);
            let (errors, broken) = (errors.load(Ordering::Relaxed), broken.load(Ordering::Relaxed));
            for (sum, count) in sum.iter_mut().zip([success, errors.into(), broken.into()]) {
                *sum += count;
            }
        }
        sum
    }

    fn median_skew(&self) -> Option<i32> {
        let mut all: Vec<i32> = self.shards.iter().flat_map(|shard| shard.skews.all()).collect();
        let middle = all.len().checked_sub(1)? / 2;
        Some(*all.select_nth_unstable(middle).1)
    }

    fn counts(&self) -> [u64; 3] {
        let mut sum = [0; 3];
        for shard in &self.shards {
            for (sum, count) in sum.iter_mut().zip(&shard.attempts) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sum
    }
}

/// Pairs of service and rule, of all reloads together.
const BROKEN: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use AttemptResult::{Failed, Override, Success};

    const START: Duration = Duration::ZERO;

    fn counts(services: &Services) -> Vec<(String, [u64; 3])> {
        services.counts().into_iter().map(|(id, counts)| (id.into(), counts)).collect()
    }

    #[test]
    fn attempts_are_counted_by_configured_id_and_result_over_all_workers() {
        let services = Services::new(2);
        services.set(["a", "b"]);
        services.count(0, Some("a"), false, Success, START, None);
        services.count(1, Some("a"), false, Success, START, None);
        services.count(1, Some("a"), false, Failed, START, None);
        services.count(0, Some("b"), false, Override, START, None);
        services.count(0, Some("stranger"), false, Failed, START, None);
        services.count(0, None, true, Failed, START, None);
        services.count(0, None, false, Failed, START, None);
        let expected = [("a", [2, 1, 0]), ("b", [0, 0, 1]), ("none", [0, 1, 0]), ("unknown", [0, 2, 0])];
        assert_eq!(counts(&services), expected.map(|(id, counts)| (id.to_owned(), counts)));
    }

    #[test]
    fn strangers_make_no_series() {
        let services = Services::new(1);
        services.set(["a"]);
        for n in 0..50_000 {
            services.count(0, Some(&format!("id-{n}")), false, Failed, START, None);
        }
        assert_eq!(counts(&services).len(), 3);
        assert_eq!(counts(&services)[2], ("unknown".to_owned(), [0, 50_000, 0]));
    }

    #[test]
    fn a_service_that_is_gone_keeps_its_counts_and_gets_no_more() {
        let services = Services::new(1);
        services.set(["a", "b"]);
        services.count(0, Some("a"), false, Success, START, None);
        services.set(["b"]);
        services.count(0, Some("a"), false, Failed, START, None);
        assert_eq!(counts(&services)[0], ("a".to_owned(), [1, 0, 0]));
        services.set(["a", "b"]);
        services.count(0, Some("a"), false, Success, START, None);
        assert_eq!(counts(&services)[0], ("a".to_owned(), [2, 0, 0]), "and goes on when it is back");
    }

    #[test]
    fn active_is_who_authenticated_within_the_window() {
        let services = Services::new(1);
        let (window, minutes) = (Duration::from_secs(900), |n: u64| Duration::from_secs(n * 60));
        services.set(["a", "b", "c"]);
        assert_eq!(services.active(minutes(0), window), 0);
        services.count(0, Some("a"), false, Success, minutes(0), None);
        services.count(0, Some("b"), false, Success, minutes(5), None);
        services.count(0, Some("c"), false, Failed, minutes(5), None);
        services.count(0, Some("x"), false, Success, minutes(5), None);
        assert_eq!(services.active(minutes(6), window), 2);
        assert_eq!(services.active(minutes(16), window), 1);
        assert_eq!(services.active(minutes(21), window), 0);
    }

    #[test]
    fn skew_is_the_median_of_the_last_calls_of_configured_services_that_called_lately() {
        let services = Services::new(2);
        let (window, minutes) = (Duration::from_secs(900), |n: u64| Duration::from_secs(n * 60));
        services.set(["a", "b", "quiet"]);
        let call = |worker, id, at, skew| services.count(worker, Some(id), false, Success, at, Some(skew));
        for (worker, skew) in [(0, 900), (0, -2), (0, -2), (0, -2), (0, -2), (0, -7), (1, 3)] {
            call(worker, "a", minutes(1), skew);
        }
        services.count(1, Some("a"), false, Failed, minutes(1), Some(299));
        call(0, "b", minutes(20), i64::MIN);
        call(0, "stranger", minutes(20), 5);
        let of =
            |at| services.skews(at, window).into_iter().map(|(id, skew)| (id.to_string(), skew)).collect::<Vec<_>>();
        assert_eq!(of(minutes(1)), [("a".to_owned(), -2), ("b".to_owned(), i32::MIN)]);
        assert_eq!(of(minutes(21)), [("b".to_owned(), i32::MIN)], "an old skew is none");
        assert_eq!(size_of::<Shard>(), 64, "a line of its own, and no more");
    }

    #[test]
    fn a_service_called_like_a_word_of_ours_shares_its_series() {
        let services = Services::new(1);
        services.set(["unknown"]);
        services.count(0, Some("unknown"), false, Success, START, None);
        services.count(0, Some("stranger"), false, Failed, START, None);
        assert_eq!(counts(&services), [("none".to_owned(), [0; 3]), ("unknown".to_owned(), [1, 1, 0])]);
    }
}
