//! [`UpstreamHealth`]: does the upstream answer? Asked actively, noted passively.
//!
//! Without a configured `health` the question is whether it accepts a connection, every 5 s; with one, whether a GET gets
//! the expected status and JSON members. The rules, in `Streak`, which knows no clock:
//!
//! 1. The first check counts as it is.
//! 2. Up becomes down after two failures in a row; the second check follows one second after the first, so that one lost
//!    packet is not an outage and an outage is known within two seconds of its first sign.
//! 3. Down becomes up at the first success, and is asked every second until then (or as often as `interval` says, if that
//!    is oftener).
//! 4. A worker that could not reach an upstream that counts as up, or whose connection it ended before any answer, asks for
//!    a check at once, but not more than one a second: what requests find out shortens the wait, and never decides. So
//!    strangers' requests cannot make it down; a slow or an odd answer, which they may be able to cause, asks for nothing.
//!
//! The state informs readiness, metrics and operators, and which of several upstreams is chosen
//! ([`balance`](super::balance)). Requests are forwarded whatever it says: a single upstream that is down answers them with
//! its own fault, and recovers without waiting for a check.

use crate::clock;
use crate::config::{Health, Upstream};
use crate::telemetry::metrics::UpstreamFault;
use crate::tls::TlsMaterials;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

mod http2;
mod probe;

pub use probe::ProbeFault;

/// What is known of one upstream; read by readiness and metrics, written by its check.
#[derive(Debug)]
pub struct UpstreamHealth {
    upstream: Upstream,
    name: Box<str>,
    state: AtomicU8,
    /// Why it is down, and since when.
    down: ArcSwapOption<Down>,
    suspected: AtomicBool,
    check_now: Notify,
    /// Requests that are there now, of all workers.
    outstanding: AtomicUsize,
}

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// Not asked yet.
    Unknown,
    /// It answers as expected.
    Up,
    /// It does not.
    Down,
}

impl HealthState {
    /// The word in answers.
    pub const fn code(self) -> &'static str {
        match self {
            HealthState::Unknown => "unknown",
            HealthState::Up => "up",
            HealthState::Down => "down",
        }
    }
}

/// An outage.
#[derive(Debug, Clone)]
pub struct Down {
    /// Since when it is known.
    pub since: Instant,
    /// What the last check found, for people.
    pub why: String,
}

impl UpstreamHealth {
    /// Nothing known yet.
    pub fn new(upstream: Upstream) -> Arc<UpstreamHealth> {
        Arc::new(UpstreamHealth {
            name: upstream.to_string().into_boxed_str(),
            upstream,
            state: AtomicU8::new(HealthState::Unknown as u8),
            down: ArcSwapOption::empty(),
            suspected: AtomicBool::new(false),
            check_now: Notify::new(),
            outstanding: AtomicUsize::new(0),
        })
    }

    /// `host:port`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known now.
    pub fn state(&self) -> HealthState {
        match self.state.load(Ordering::Relaxed) {
            UP => HealthState::Up,
            DOWN => HealthState::Down,
            _ => HealthState::Unknown,
        }
    }

    /// The outage it is in.
    pub fn down(&self) -> Option<Arc<Down>> {
        self.down.load_full()
    }

    /// What became of a request: does it say that the upstream may be gone? One that is slow, or answers nonsense, is there; and
    /// a stranger may choose a path that does.
    pub fn suspect_after(&self, fault: UpstreamFault) {
        match fault {
            UpstreamFault::Unreachable
            | UpstreamFault::ConnectTimeout
            | UpstreamFault::Tls
            | UpstreamFault::Closed => self.suspect(),
            UpstreamFault::FirstByteTimeout | UpstreamFault::InvalidAnswer | UpstreamFault::Busy => {}
        }
    }

    /// A worker could not reach it, or was left without an answer: asks for a check at once, instead of at the end of the interval.
    pub(super) fn suspect(&self) {
        // one waiting request is enough, and the usual case is one load
        if self.state() == HealthState::Up
            && !self.suspected.load(Ordering::Relaxed)
            && !self.suspected.swap(true, Ordering::Relaxed)
        {
            self.check_now.notify_one();
        }
    }

    /// Has a worker failed to reach it, or been left without an answer, since the last check began?
    pub fn is_suspected(&self) -> bool {
        self.suspected.load(Ordering::Relaxed)
    }

    /// Requests that are there now, tunnels among them.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// One more; its [`Outstanding`](super::balance::Outstanding) takes it back.
    pub(super) fn entered(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub(super) fn left(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    /// Checks for ever; runs in the control runtime and is ended by dropping or aborting it. Without `check` it only
    /// connects, every 5 s. `tls`: what an upstream is verified with now.
    pub async fn watch(self: Arc<Self>, check: Option<Health>, tls: impl Fn() -> Arc<TlsMaterials>) {
        let interval = check.as_ref().map_or(CONNECT_INTERVAL, |check| check.interval);
        let limit = interval.clamp(SOON, LONGEST_CHECK);
        let mut streak = Streak::default();
        loop {
            self.suspected.store(false, Ordering::Relaxed);
            let materials = tls();
            let probe = probe::probe(&self.upstream, &self.name, check.as_ref(), &materials);
            let checked = tokio::time::timeout(limit, probe).await;
            let result = checked.unwrap_or(Err(ProbeFault::TimedOut(limit)));
            self.note(streak.step(result.is_ok()), result.err());
            let pause = streak.pause(interval);
            tokio::time::sleep(pause.min(SOON)).await;
            tokio::select! {
                () = tokio::time::sleep(pause.saturating_sub(SOON)) => {}
                () = self.check_now.notified() => {}
            }
        }
    }

    /// Takes on a state without a check.
    #[cfg(test)]
    pub(crate) fn pretend(&self, state: HealthState) {
        self.note(state, (state == HealthState::Down).then_some(ProbeFault::Malformed("refused")));
    }

    fn note(&self, state: HealthState, fault: Option<ProbeFault>) {
        let before = self.state();
        let why = fault.map(|fault| fault.to_string());
        match (state, &why) {
            (HealthState::Down, Some(why)) => {
                let since = self.down.load().as_ref().map_or_else(clock::monotonic, |down| down.since);
                self.down.store(Some(Arc::new(Down { since, why: why.clone() })));
            }
            _ => self.down.store(None),
        }
        self.state.store(state as u8, Ordering::Relaxed);
        if state == before {
            return;
        }
        match state {
            HealthState::Unknown => {}
            HealthState::Up => tracing::info!(upstream = &*self.name, "upstream is up"),
            HealthState::Down => {
                tracing::error!(upstream = &*self.name, why = why.unwrap_or_default(), "upstream is down");
            }
        }
    }
}

/// How results of checks become a state.
#[derive(Debug, Default)]
struct Streak {
    state: Option<bool>,
    failures: u32,
}

impl Streak {
    /// Takes one result; the state after it.
    fn step(&mut self, succeeded: bool) -> HealthState {
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        let up = match self.state {
            None => succeeded,
            Some(up) => succeeded || (up && self.failures < FAILURES_TO_FALL),
        };
        self.state = Some(up);
        if up { HealthState::Up } else { HealthState::Down }
    }

    /// How long to wait before the next check.
    fn pause(&self, interval: Duration) -> Duration {
        if self.failures == 0 { interval } else { interval.min(SOON) }
    }
}

const UP: u8 = HealthState::Up as u8;
const DOWN: u8 = HealthState::Down as u8;
/// Failures in a row that make it down.
const FAILURES_TO_FALL: u32 = 2;
/// Between checks that cannot wait.
const SOON: Duration = Duration::from_secs(1);
/// How often to connect where no check is configured.
const CONNECT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a check may take, whatever the interval.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
