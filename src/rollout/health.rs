//! [`Health`]: how do the calls fare that we judge by? Exact counts over trailing windows, from counters that only grow.
//!
//! Once a second a [`HealthSample`] goes in: what each service has had so far, and whether the upstreams answer. What comes out is
//! counts, never averages or estimates:
//!
//! 1. **Windows** of 1, 5 and 10 minutes ([`Span::Minutes`]) hold the samples taken in them, each as what it added to the one before: exact to
//!    the sample. A sample that comes late counts, whole, for the moment it came. [`Span::Stage`] holds all since the stage began: a
//!    service that calls twice a minute has no twenty calls in ten minutes, but it has them in an hour.
//! 2. **Cold start**: the first sample is only what the others are compared with. So counts from before a start, or before a ramp,
//!    judge nobody. A service that appears later begins at zero. [`Health::forget`] empties every window: at the start of a ramp, when
//!    judgement goes on after maintenance, and whenever it begins anew ([`ground`](super::ground)).
//! 3. **Minimum of samples and hysteresis** belong to who judges: [`trigger`](super::trigger).
//!
//! What counts as *failing* is decided where it is counted (`telemetry::metrics::health`): checks of known peers that fail, carried out
//! or not. The checks run in full at every percentage, so at 10 % nine tenths of the evidence would be lost otherwise, and what breaks at
//! 100 % is known at 10 %.
//!
//! Bounded: at most [`SERVICES`] services, and for each as many entries as seconds in the longest window in which it called.

use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many services are watched at most; the configuration names them, so this is a bound on mistakes.
pub const SERVICES: usize = 20_000;

/// The longest window that is kept.
const LONGEST: Duration = Duration::from_secs(600);

/// Calls to service paths, of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Authenticated.
    pub authenticated: u64,
    /// Of those, answered 5xx by the upstream itself. That it cannot be reached is no error of a call but an outage, which its health
    /// check tells: else a restart of twenty seconds would take everything back.
    pub errors: u64,
    /// Failing checks of a known peer, carried out or not.
    pub failing: u64,
}

impl Counts {
    /// All calls.
    pub fn calls(self) -> u64 {
        self.authenticated + self.failing
    }

    /// What was added since. A counter that went back begins anew.
    fn since(self, before: Counts) -> Counts {
        let one = |now: u64, before: u64| if now >= before { now - before } else { now };
        Counts {
            authenticated: one(self.authenticated, before.authenticated),
            errors: one(self.errors, before.errors),
            failing: one(self.failing, before.failing),
        }
    }

    fn take_away(&mut self, other: Counts) {
        self.authenticated -= other.authenticated;
        self.errors -= other.errors;
        self.failing -= other.failing;
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.authenticated += other.authenticated;
        self.errors += other.errors;
        self.failing += other.failing;
    }
}

/// Does an upstream answer?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamState {
    /// Nobody has asked yet.
    Unknown,
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// The counters at one moment; all but the states only grow.
#[derive(Debug, Clone, Default)]
pub struct HealthSample {
    /// Of each service.
    pub services: Vec<(Arc<str>, Counts)>,
    /// Failing checks by service and the rule they fell under.
    pub failing: Vec<(Arc<str>, Arc<str>, u64)>,
    /// Each guarded backend, by its listener; up as long as one of its upstreams is.
    pub upstreams: Vec<(Arc<str>, UpstreamState)>,
}

/// Which samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Those of the last so many minutes: 1, 5 or 10.
    Minutes(u8),
    /// All since the stage began.
    Stage,
}

impl Span {
    /// From the shortest to the longest.
    pub const ALL: [Span; 4] = [Span::Minutes(1), Span::Minutes(5), Span::Minutes(10), Span::Stage];
}

/// See the page's head.
#[derive(Debug, Default)]
pub struct Health {
    services: BTreeMap<Arc<str>, Trail>,
    failing: BTreeMap<Arc<str>, ByRule>,
    upstreams: BTreeMap<Arc<str>, UpstreamTrail>,
    /// Has a sample been taken?
    warm: bool,
    watched_since: Option<Instant>,
    stage_since: Option<Instant>,
}

/// Failing checks of one service by rule: the last counter, and what was added in this stage.
type ByRule = BTreeMap<Arc<str>, (u64, u64)>;

/// One service.
#[derive(Debug, Default)]
struct Trail {
    last: Counts,
    entries: VecDeque<(Instant, Counts)>,
    /// The sum of `entries`.
    kept: Counts,
    stage: Counts,
    last_call: Option<Instant>,
}

#[derive(Debug, Default)]
struct UpstreamTrail {
    was_up: bool,
    down_since: Option<Instant>,
}

impl Health {
    /// Takes the counters of now; what each service added since the sample before.
    pub fn take(&mut self, sample: &HealthSample, now: Instant) -> Vec<(Arc<str>, Counts)> {
        let mut all_added = Vec::new();
        let warm = std::mem::replace(&mut self.warm, true);
        self.watched_since.get_or_insert(now);
        self.stage_since.get_or_insert(now);
        for (id, counts) in &sample.services {
            if !self.services.contains_key(id) && self.services.len() >= SERVICES {
                continue;
            }
            let trail = self.services.entry(Arc::clone(id)).or_default();
            let added = counts.since(std::mem::replace(&mut trail.last, *counts));
            if warm && added != Counts::default() {
                trail.add(added, now);
                all_added.push((Arc::clone(id), added));
            }
        }
        for trail in self.services.values_mut() {
            trail.expire(now);
        }
        for (id, rule, count) in &sample.failing {
            let rules = self.failing.entry(Arc::clone(id)).or_default();
            let (last, added) = rules.entry(Arc::clone(rule)).or_default();
            let before = std::mem::replace(last, *count);
            if warm {
                *added += count.saturating_sub(before);
            }
        }
        self.upstreams.retain(|name, _| sample.upstreams.iter().any(|(other, _)| other == name));
        for (name, state) in &sample.upstreams {
            let trail = self.upstreams.entry(Arc::clone(name)).or_default();
            match state {
                UpstreamState::Unknown => {}
                UpstreamState::Up => *trail = UpstreamTrail { was_up: true, down_since: None },
                UpstreamState::Down => {
                    trail.down_since.get_or_insert(now);
                }
            }
        }
        all_added
    }

    /// Empties all windows and begins a stage. What was up before still counts as that; an outage begins anew.
    pub fn forget(&mut self, now: Instant) {
        for trail in self.services.values_mut() {
            trail.entries.clear();
            (trail.kept, trail.last_call) = (Counts::default(), None);
        }
        for trail in self.upstreams.values_mut() {
            trail.down_since = trail.down_since.map(|_| now);
        }
        self.watched_since = Some(now);
        self.begin_stage(now);
    }

    /// A stage begins: [`Span::Stage`] is empty. The minutes stay: a failure just before does not vanish by advancing.
    pub fn begin_stage(&mut self, now: Instant) {
        self.services.values_mut().for_each(|trail| trail.stage = Counts::default());
        self.failing.values_mut().flat_map(BTreeMap::values_mut).for_each(|(_, added)| *added = 0);
        self.stage_since = Some(now);
    }

    /// The services that have called since the windows were emptied or are watched otherwise, in order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.keys()
    }

    /// The counts of one service.
    pub fn counts(&self, service: &str, span: Span, now: Instant) -> Counts {
        self.services.get(service).map_or(Counts::default(), |trail| trail.counts(span, now))
    }

    /// The counts of all.
    pub fn total(&self, span: Span, now: Instant) -> Counts {
        self.services.values().fold(Counts::default(), |mut sum, trail| {
            sum += trail.counts(span, now);
            sum
        })
    }

    /// Has this service had a failing check in what is kept? Asked first: the answer is mostly no.
    pub fn has_failed(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|trail| trail.kept.failing + trail.stage.failing > 0)
    }

    /// Has anybody had an error in what is kept?
    pub fn has_errors(&self) -> bool {
        self.services.values().any(|trail| trail.kept.errors + trail.stage.errors > 0)
    }

    /// The rules under which this service's checks failed in this stage, the most frequent first.
    pub fn failing_rules(&self, service: &str) -> Vec<Arc<str>> {
        let rules = self.failing.get(service).into_iter().flatten();
        let mut failed: Vec<_> = rules.filter(|(_, (_, added))| *added > 0).collect();
        failed.sort_by_key(|(_, (_, added))| std::cmp::Reverse(*added));
        failed.into_iter().map(|(rule, _)| Arc::clone(rule)).collect()
    }

    /// Backends that are down and were up before, and for how long; `false`: were never seen up.
    pub fn down(&self, now: Instant) -> impl Iterator<Item = (&Arc<str>, Duration, bool)> {
        self.upstreams.iter().filter_map(move |(name, trail)| {
            let since = trail.down_since?;
            Some((name, now.saturating_duration_since(since), trail.was_up))
        })
    }

    /// How long this service has not called, as far as we watched.
    pub fn silent_for(&self, service: &str, now: Instant) -> Option<Duration> {
        let called = self.services.get(service).and_then(|trail| trail.last_call).or(self.watched_since)?;
        Some(now.saturating_duration_since(called))
    }

    /// How long these samples reach back, at most.
    pub fn length(&self, span: Span, now: Instant) -> Duration {
        let since =
            |since: Option<Instant>| since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        match span {
            Span::Minutes(minutes) => {
                Duration::from_secs(u64::from(minutes) * 60).min(since(self.watched_since)).min(LONGEST)
            }
            Span::Stage => since(self.stage_since),
        }
    }
}

impl Trail {
    fn add(&mut self, added: Counts, now: Instant) {
        self.entries.push_back((now, added));
        self.kept += added;
        self.stage += added;
        if added.calls() > 0 {
            self.last_call = Some(now);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, counts)) = self.entries.front()
            && now.saturating_duration_since(*at) >= LONGEST
        {
            self.kept.take_away(*counts);
            self.entries.pop_front();
        }
    }

    fn counts(&self, span: Span, now: Instant) -> Counts {
        match span {
            Span::Stage => self.stage,
            Span::Minutes(_) if self.entries.is_empty() => Counts::default(),
            Span::Minutes(minutes) => {
                let length = Duration::from_secs(u64::from(minutes) * 60).min(LONGEST);
                let recent = self.entries.iter().rev();
                let recent = recent.take_while(|(at, _)| now.saturating_duration_since(*at) < length);
                recent.fold(Counts::default(), |mut sum, (_, counts)| {
                    sum += *counts;
                    sum
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
