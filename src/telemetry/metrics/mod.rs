//! [`Metrics`]: counters per worker, merged when read; the exposition.
//!
//! A request touches only its worker's own counters. Merging, and everything that is a state and not a count (mode,
//! generation, health, the depth of the audit queue), is done when somebody asks.

use super::audit::AuditQueue;
use super::names;
use crate::clock;
use crate::keys::status::KeyStatus;
use crate::policy::enforcement::Enforcement;
use crate::policy::grants::GrantTable;
use crate::policy::replay::ReplayTable;
use crate::upstream::health::UpstreamHealth;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod cells;
mod drawn;
mod exposition;
mod health;
mod rollout;
mod services;
mod text;
mod worker;

pub use text::plain_text;
pub use worker::WorkerMetrics;

use drawn::DrawnWindow;
use rollout::Rollout;
use services::Services;

/// All counters: one shard per worker, merged when read.
#[derive(Debug)]
pub struct Metrics {
    workers: Box<[Arc<WorkerMetrics>]>,
    services: Arc<Services>,
    epoch: Instant,
    started_unix: u64,
    in_force: ArcSwapOption<(Enforcement, u64)>,
    /// Files of own certificates, and when they end.
    certificates: ArcSwap<Vec<(String, i64)>>,
    grants: ArcSwap<GrantTable>,
    reloads_ok: AtomicU64,
    reloads_failed: AtomicU64,
    last_reload_failed: AtomicU64,
    last_reload_ok_unix: AtomicU64,
    audit: Mutex<Option<AuditQueue>>,
    replay: Mutex<Option<Arc<ReplayTable>>>,
    keys: Mutex<Option<Arc<KeyStatus>>>,
    upstreams: Mutex<Vec<Arc<UpstreamHealth>>>,
    overlaps: Mutex<Vec<(String, u64)>>,
    drawn: Mutex<DrawnWindow>,
    rollout: Rollout,
    /// Whole seconds from the start to the last scrape, plus one; 0: never.
    last_scrape: AtomicU64,
}

/// Which upstream fault answered 502, 503 or 504; the code in `X-Countersign-Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamFault {
    /// Nothing listens, or the connection could not be made: 502 `upstream_unreachable`.
    Unreachable,
    /// Connecting took too long: 504 `upstream_connect_timeout`.
    ConnectTimeout,
    /// No first byte of the answer in time: 504 `upstream_timeout`.
    FirstByteTimeout,
    /// Its certificate is not believed, or it speaks no TLS: 502 `upstream_tls`.
    Tls,
    /// The connection ended before a whole head came: 502 `upstream_closed`.
    Closed,
    /// What came is not an acceptable answer: 502 `upstream_invalid_answer`.
    InvalidAnswer,
    /// Too many requests in flight: 503 `upstream_busy`.
    Busy,
}

impl UpstreamFault {
    /// Every fault, in the order of its number.
    pub const ALL: [UpstreamFault; 7] = [
        UpstreamFault::Unreachable,
        UpstreamFault::ConnectTimeout,
        UpstreamFault::FirstByteTimeout,
        UpstreamFault::Tls,
        UpstreamFault::Closed,
        UpstreamFault::InvalidAnswer,
        UpstreamFault::Busy,
    ];

    /// The word in `X-Countersign-Error`, in bodies and in metrics.
    pub const fn code(self) -> &'static str {
        match self {
            UpstreamFault::Unreachable => "upstream_unreachable",
            UpstreamFault::ConnectTimeout => "upstream_connect_timeout",
            UpstreamFault::FirstByteTimeout => "upstream_timeout",
            UpstreamFault::Tls => "upstream_tls",
            UpstreamFault::Closed => "upstream_closed",
            UpstreamFault::InvalidAnswer => "upstream_invalid_answer",
            UpstreamFault::Busy => "upstream_busy",
        }
    }
}

impl Metrics {
    /// All at zero. `services`: the ids that may become label values, see [`Metrics::set_services`].
    pub fn new<'s>(workers: usize, services: impl IntoIterator<Item = &'s str>) -> Metrics {
        let workers = workers.max(1);
        let (epoch, started_unix) = (clock::monotonic(), clock::unix_seconds());
        let all = Arc::new(Services::new(workers));
        all.set(services);
        Metrics {
            workers: (0..workers).map(|index| Arc::new(WorkerMetrics::new(index, Arc::clone(&all), epoch))).collect(),
            services: all,
            epoch,
            started_unix,
            in_force: ArcSwapOption::empty(),
            certificates: ArcSwap::default(),
            grants: ArcSwap::default(),
            reloads_ok: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
            last_reload_failed: AtomicU64::new(0),
            last_reload_ok_unix: AtomicU64::new(started_unix),
            audit: Mutex::new(None),
            replay: Mutex::new(None),
            keys: Mutex::new(None),
            upstreams: Mutex::default(),
            overlaps: Mutex::default(),
            drawn: Mutex::default(),
            rollout: Rollout::default(),
            last_scrape: AtomicU64::new(0),
        }
    }

    fn services(&self) -> &Services {
        &self.services
    }

    /// The shard of worker `index`.
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        Arc::clone(&self.workers[index % self.workers.len()])
    }

    /// The ids that may become label values: those of `[services]` and of the key table. Called at start and whenever
    /// either changes. Series of ids that are gone keep their counts.
    pub fn set_services<'s>(&self, services: impl IntoIterator<Item = &'s str>) {
        self.services.set(services);
    }

    /// What is in force from now on.
    pub fn set_in_force(&self, enforcement: Enforcement, generation: u64) {
        self.in_force.store(Some(Arc::new((enforcement, generation))));
    }

    /// The certificates we present from now on: their files, and when each ends (unix seconds).
    pub fn set_certificates(&self, certificates: impl IntoIterator<Item = (String, i64)>) {
        self.certificates.store(Arc::new(certificates.into_iter().collect()));
    }

    /// The override grants from now on.
    pub fn set_grants(&self, grants: Arc<GrantTable>) {
        self.grants.store(grants);
    }

    /// One attempt to reload; `unix_seconds` now.
    pub fn reloaded(&self, succeeded: bool, unix_seconds: u64) {
        if succeeded {
            self.reloads_ok.fetch_add(1, Ordering::Relaxed);
            self.last_reload_ok_unix.store(unix_seconds, Ordering::Relaxed);
        } else {
            self.reloads_failed.fetch_add(1, Ordering::Relaxed);
        }
        self.last_reload_failed.store(u64::from(!succeeded), Ordering::Relaxed);
    }

    /// Shows this queue's counters.
    pub fn watch_audit(&self, queue: AuditQueue) {
        *self.audit.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    }

    /// Shows what this table had to forget.
    pub fn watch_replay(&self, table: Arc<ReplayTable>) {
        *self.replay.lock().unwrap_or_else(PoisonError::into_inner) = Some(table);
    }

    /// Shows how it stands with the keys of Redis.
    pub fn watch_keys(&self, status: Arc<KeyStatus>) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    /// Until when the key before a rotation was meant to be taken, for each service with one, in Unix seconds.
    pub fn set_overlaps(&self, overlaps: Vec<(String, u64)>) {
        *self.overlaps.lock().unwrap_or_else(PoisonError::into_inner) = overlaps;
    }

    /// Shows these upstreams' health.
    pub fn watch_upstreams(&self, upstreams: Vec<Arc<UpstreamHealth>>) {
        *self.upstreams.lock().unwrap_or_else(PoisonError::into_inner) = upstreams;
    }

    /// Somebody took the exposition.
    pub fn scraped(&self, now: Instant) {
        let seconds = now.saturating_duration_since(self.epoch).as_secs() + 1;
        self.last_scrape.fetch_max(seconds, Ordering::Relaxed);
    }

    /// How long ago somebody last did; `None`: never.
    pub fn since_scrape(&self, now: Instant) -> Option<Duration> {
        let last = self.last_scrape.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.epoch).saturating_sub(Duration::from_secs(last)))
    }

    /// The clock of each service that called lately, minus ours, in seconds.
    pub fn caller_skews(&self, now: Instant) -> Vec<(Arc<str>, i32)> {
        self.services.skews(now.saturating_duration_since(self.epoch), exposition::ACTIVE_WINDOW)
    }

    /// The exposition in the OpenMetrics text format. `now`: for what is over a window.
    pub fn openmetrics(&self, now: Instant) -> String {
        exposition::openmetrics(self, now)
    }
}

#[cfg(test)]
mod tests;
