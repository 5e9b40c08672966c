//! [`judge`]: do these figures take enforcement back, or only worry somebody?
//!
//! *Nobody outside may be able to switch authentication off.* So what is judged comes from known peers, from authenticated requests and
//! from our own health checks alone ([`health`](super::health)); each service counts once, by its own rate, however often another calls; and
//! whether anything is carried out is the caller's matter: a ramp that runs, or `rollback_when.always`.
//!
//! The rows, most urgent first; the first one over its limit is the [`Evidence`], the others are named in it:
//!
//! | priority | signal | over its limit when |
//! |---|---|---|
//! | P0 | `upstream_down` | a backend whose check was good before fails it for `upstream_down` (1 min) without a break |
//! | P0 | `most_calls_failing` | at least two services have enough calls, and the mean of all their rates is over 50 % |
//! | P1 | `service_failing` | one service's rate is over 20 % in whole 10 minutes |
//! | P1 | `error_rate` | the rate of errors is over 5 times the usual one in whole 10 minutes |
//! | limit | `service_failing` | one service's rate is over `service_failure_rate` (5 %) |
//! | limit | `error_rate` | the rate of errors is over `error_rate_factor` (2) times the usual one, by more than chance |
//!
//! The fleet's third P0 row, exempt paths answered 401, cannot come about: an exempt request is never refused, and what the upstream itself
//! answers never counts. An operator, the fourth, needs no figures.
//!
//! - **Windows**: the last 1, 5 and 10 minutes and the whole stage; the shortest one that is over wins. A row with its own length has that.
//! - **Minimum of samples**: `min_requests` (20) calls in that window, of the service or, for errors, of all. A single failure among
//!   twenty calls is 5 %, and not over 5 %: at the defaults nothing is taken back for one.
//! - **Chance**: errors are never quite absent, and they are looked at every second for hours. Of sixty calls in a minute, a single error is
//!   more than twice 0.5 %. So a rate of errors is only over its limit if so many would come by chance, at the usual rate, less than
//!   once in a million looks (the Chernoff bound; at the floor 5 of 20, 8 of 100, 21 of 1000). Failing checks have no such usual rate: an
//!   honest service's signatures are right or wrong.
//! - **Hysteresis**: taking back is final until a person lifts it, so it needs none. What holds a stage up does ([`Worry`]): a service
//!   worries from half the limit on in its last minute or five, so that one that wavers about the limit does not pass in a quiet moment;
//!   and with each worry the stage's time begins anew.

use super::baseline::{Baseline, BasisPoints, FLOOR};
use super::health::{Counts, Health, Span};
use crate::rules::percentage::Percentage;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use super::evidence::{Evidence, Priority, Signal};

/// `[ramp].rollback_when`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackWhen {
    /// `service_failure_rate`
    pub service_failure_rate: Percentage,
    /// `error_rate_factor`
    pub error_rate_factor: Factor,
    /// `upstream_down`
    pub upstream_down: Duration,
    /// `min_requests`; at least 1.
    pub min_requests: u64,
    /// `always`: also when no ramp runs.
    pub always: bool,
    /// `scope`
    pub scope: Scope,
}

/// How many times the usual rate, in hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor(pub u32);

/// What a rollback for one service's sake takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// The rules under which the services over their limit failed; everything where one of them failed under none, or another signal won.
    Rule,
}

impl Scope {
    /// The word in the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Scope::All => "all",
            Scope::Rule => "rule",
        }
    }
}

impl Default for RollbackWhen {
    fn default() -> RollbackWhen {
        RollbackWhen {
            service_failure_rate: SERVICE_FAILURE_RATE,
            error_rate_factor: Factor(200),
            upstream_down: Duration::from_secs(60),
            min_requests: 20,
            always: false,
            scope: Scope::All,
        }
    }
}

/// What the figures say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// What takes enforcement back where that is armed.
    pub over: Option<Evidence>,
    /// How many different signals are over at once; more than one is told apart.
    pub signals: usize,
    /// What keeps a stage from being called healthy now.
    pub worries: Vec<Worry>,
}

/// Not healthy, and not enough to take anything back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Worry {
    /// A backend fails its check.
    #[error("the backend of {upstream} has failed its health check for {seconds} s")]
    UpstreamDown {
        /// By its listener.
        upstream: Arc<str>,
        /// For how long.
        seconds: u64,
    },
    /// More than half the limit.
    #[error("{failing} of {calls} calls of {service} failed their checks in the last {minutes} min")]
    ServiceFailing {
        /// Whose.
        service: Arc<str>,
        /// How many failed.
        failing: u64,
        /// Of how many.
        calls: u64,
        /// In which window.
        minutes: u8,
    },
}

/// Judges. `baseline`: `None` where a ramp was started without one; the usual rate of errors is then the floor.
pub fn judge(health: &Health, baseline: Option<&Baseline>, when: &RollbackWhen, now: Instant) -> Judgement {
    let usual = baseline.map_or(FLOOR, Baseline::error_rate);
    let look = Look { health, when, usual, now };
    let whole = health.length(TEN, now) >= Duration::from_secs(600);
    // Services before errors: what breaks a caller often breaks what it calls, and the cause is to be named.
    let rows = [
        look.upstream_down(),
        look.most_failing(),
        look.service_failing(Priority::P1, ROW_FAILING, &[TEN]).filter(|_| whole),
        look.error_rate(Priority::P1, ROW_FACTOR, &[TEN]).filter(|_| whole),
        look.service_failing(Priority::Limit, when.service_failure_rate, &Span::ALL),
        look.error_rate(Priority::Limit, when.error_rate_factor, &Span::ALL),
    ];
    let over: Vec<Evidence> = rows.into_iter().flatten().collect();
    let mut signals: Vec<Signal> = over.iter().map(|evidence| evidence.signal).collect();
    signals.sort_unstable();
    signals.dedup();
    let won = over.into_iter().next().map(|won| {
        let also = signals.iter().copied().filter(|signal| *signal != won.signal).collect();
        Evidence { also, ..won }
    });
    Judgement { over: won, signals: signals.len(), worries: look.worries() }
}

/// One look at the figures.
struct Look<'h> {
    health: &'h Health,
    when: &'h RollbackWhen,
    usual: BasisPoints,
    now: Instant,
}

/// A service over a limit, and where it was seen.
struct Failing<'h> {
    service: &'h Arc<str>,
    span: Span,
    counts: Counts,
}

impl<'h> Look<'h> {
    fn upstream_down(&self) -> Option<Evidence> {
        let known = self.health.down(self.now).filter(|(_, _, was_up)| *was_up);
        let (upstream, down, _) = known.max_by_key(|(_, down, _)| *down)?;
        (down >= self.when.upstream_down).then(|| Evidence {
            window_seconds: down.as_secs(),
            limit_seconds: Some(self.when.upstream_down.as_secs()),
            upstream: Some(upstream.to_string()),
            ..Evidence::new(Signal::UpstreamDown, Priority::P0)
        })
    }

    fn most_failing(&self) -> Option<Evidence> {
        let enough = self.enough_calls(Span::Minutes(1));
        let rates = enough.iter().map(|found| BasisPoints::of(found.counts.failing, found.counts.calls()).0);
        let mean = rates.sum::<u64>().checked_div(enough.len() as u64)?;
        if enough.len() < 2 || mean <= HALF.0 {
            return None;
        }
        let mut failing: Vec<_> = enough.into_iter().filter(|found| is_over(found.counts, ROW_FAILING)).collect();
        sort(&mut failing);
        let sum = |pick: fn(Counts) -> u64| failing.iter().map(|found| pick(found.counts)).sum();
        Some(Evidence {
            window_seconds: self.health.length(Span::Minutes(1), self.now).as_secs(),
            samples: sum(Counts::calls),
            failed: sum(|counts| counts.failing),
            rate: Some(BasisPoints(mean)),
            limit: Some(HALF),
            services: failing.iter().map(|found| found.service.to_string()).collect(),
            ..Evidence::new(Signal::MostCallsFailing, Priority::P0)
        })
    }

    fn service_failing(&self, priority: Priority, limit: Percentage, spans: &[Span]) -> Option<Evidence> {
        let mut failing = self.failing(limit, spans);
        sort(&mut failing);
        if failing.is_empty() {
            return None;
        }
        // Who is over the other row's limit is taken back, or left broken, by the same move.
        let mut others = self.failing(self.when.service_failure_rate, &Span::ALL);
        others.retain(|other| failing.iter().all(|found| found.service != other.service));
        sort(&mut others);
        failing.append(&mut others);
        let worst = failing.first()?;
        Some(Evidence {
            window_seconds: self.health.length(worst.span, self.now).as_secs(),
            samples: worst.counts.calls(),
            failed: worst.counts.failing,
            rate: Some(BasisPoints::of(worst.counts.failing, worst.counts.calls())),
            limit: Some(BasisPoints(u64::from(limit.value()) * 100)),
            services: failing.iter().map(|found| found.service.to_string()).collect(),
            rules: self.rules_of(&failing),
            ..Evidence::new(Signal::ServiceFailing, priority)
        })
    }

    /// The rules under which any of these failed, those of the first one first; none where one of them failed under none, because no
    /// rules are then enough.
    fn rules_of(&self, failing: &[Failing<'_>]) -> Vec<String> {
        let mut all = Vec::new();
        for found in failing {
            let rules = self.health.failing_rules(found.service);
            if rules.is_empty() {
                return Vec::new();
            }
            all.extend(rules.iter().map(ToString::to_string));
        }
        let mut seen = BTreeSet::new();
        all.retain(|rule| seen.insert(rule.clone()));
        all
    }

    fn error_rate(&self, priority: Priority, factor: Factor, spans: &[Span]) -> Option<Evidence> {
        if !self.health.has_errors() {
            return None;
        }
        let limit = BasisPoints(self.usual.0 * u64::from(factor.0) / 100);
        spans.iter().find_map(|span| {
            let Counts { authenticated, errors, .. } = self.health.total(*span, self.now);
            let is_over = authenticated >= self.when.min_requests
                && u128::from(errors) * 10_000 > u128::from(authenticated) * u128::from(limit.0)
                && is_more_than_chance(errors, authenticated, self.usual);
            is_over.then(|| Evidence {
                window_seconds: self.health.length(*span, self.now).as_secs(),
                samples: authenticated,
                failed: errors,
                rate: Some(BasisPoints::of(errors, authenticated)),
                limit: Some(limit),
                usual: Some(self.usual),
                ..Evidence::new(Signal::ErrorRate, priority)
            })
        })
    }

    /// The services over this limit, each in the shortest window that says so.
    fn failing(&self, limit: Percentage, spans: &[Span]) -> Vec<Failing<'h>> {
        let failed = self.health.services().filter(|service| self.health.has_failed(service));
        let found = failed.filter_map(|service| {
            spans.iter().find_map(|span| {
                let counts = self.health.counts(service, *span, self.now);
                let over = counts.calls() >= self.when.min_requests && is_over(counts, limit);
                over.then_some(Failing { service, span: *span, counts })
            })
        });
        found.collect()
    }

    /// The services with enough calls to be judged.
    fn enough_calls(&self, span: Span) -> Vec<Failing<'h>> {
        if !self.health.services().any(|service| self.health.has_failed(service)) {
            return Vec::new();
        }
        let all = self.health.services().map(|service| Failing {
            service,
            span,
            counts: self.health.counts(service, span, self.now),
        });
        all.filter(|found| found.counts.calls() >= self.when.min_requests.max(1)).collect()
    }

    fn worries(&self) -> Vec<Worry> {
        let down = self.health.down(self.now).map(|(upstream, down, _)| Worry::UpstreamDown {
            upstream: Arc::clone(upstream),
            seconds: down.as_secs(),
        });
        let failed = self.health.services().filter(|service| self.health.has_failed(service));
        let failing = failed.filter_map(|service| {
            WORRY_MINUTES.iter().find_map(|minutes| {
                let counts = self.health.counts(service, Span::Minutes(*minutes), self.now);
                let (calls, failing) = (counts.calls(), counts.failing);
                let limit = u64::from(self.when.service_failure_rate.value());
                // With too few calls to be judged, more than one failure worries as well.
                let enough = calls >= self.when.min_requests || failing > 1;
                let worries = enough && failing * 200 > limit * calls;
                worries.then(|| Worry::ServiceFailing {
                    service: Arc::clone(service),
                    failing,
                    calls,
                    minutes: *minutes,
                })
            })
        });
        down.chain(failing).collect()
    }
}

/// The worst first, by rate; by id where they are equal.
fn sort(failing: &mut [Failing<'_>]) {
    failing.sort_by(|a, b| {
        let rate = |of: &Failing<'_>, by: &Failing<'_>| u128::from(of.counts.failing) * u128::from(by.counts.calls());
        rate(b, a).cmp(&rate(a, b)).then_with(|| a.service.cmp(b.service))
    });
}

fn is_over(counts: Counts, limit: Percentage) -> bool {
    u128::from(counts.failing) * 100 > u128::from(limit.value()) * u128::from(counts.calls())
}

/// Would so many of so many come less than once in a million looks, if `usual` were true? By Chernoff:
/// P(X >= k) <= exp(-n D(k/n || p)), which is never too small, so that it errs on the side of chance.
fn is_more_than_chance(errors: u64, calls: u64, usual: BasisPoints) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "counts of minutes and of an hour, far below 2^53")]
    let (k, n, p) = (errors as f64, calls as f64, usual.0.min(9_999) as f64 / 10_000.0);
    let a = k / n;
    if n == 0.0 || a <= p {
        return false;
    }
    let rest = if errors >= calls { 0.0 } else { (1.0 - a) * ((1.0 - a) / (1.0 - p)).ln() };
    n * (a * (a / p).ln() + rest) > ONCE_IN_A_MILLION
}

const TEN: Span = Span::Minutes(10);
/// ln(1 000 000)
const ONCE_IN_A_MILLION: f64 = 13.8;
/// Where a stage is held up.
const WORRY_MINUTES: [u8; 2] = [1, 5];
/// The mean of all services' rates, P0.
const HALF: BasisPoints = BasisPoints(5_000);
/// One service's rate in ten minutes, P1.
const ROW_FAILING: Percentage = Percentage::new(20).unwrap();
/// Errors in ten minutes, P1.
const ROW_FACTOR: Factor = Factor(500);
const SERVICE_FAILURE_RATE: Percentage = Percentage::new(5).unwrap();

#[cfg(test)]
mod tests;
