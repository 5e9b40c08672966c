//! What is counted for the judgement of a rollout, beside what is counted for people: errors of authenticated calls, and failing checks
//! of known peers, by service; merged into a [`HealthSample`] once a second.
//!
//! They live in the cache line that a worker's other counters of that service have, and are added to only when something goes wrong:
//! an authenticated request that is answered well costs nothing more. Failing checks by rule are kept under a lock, which only a failing check of
//! a known peer takes.

use super::Metrics;
use super::services::Services;
use super::worker::WorkerMetrics;
use crate::rollout::health::{Counts, HealthSample, UpstreamState};
use crate::upstream::health::{HealthState, UpstreamHealth};
use std::sync::Arc;

impl WorkerMetrics {
    /// An authenticated call of this service was answered 5xx by the upstream.
    pub fn erred(&self, service: &str) {
        self.services().erred(self.index(), service);
    }

    /// A signature of this service that was seen before came from where it does not call: no evidence of how its calls fare.
    pub fn foreign(&self, service: &str) {
        self.services().foreign(self.index(), service);
    }

    /// A check of a known peer failed, carried out or not: it counts for this service. `rule`: its name, where one decided.
    pub fn broke(&self, service: &str, rule: Option<&str>) {
        self.services().broke(self.index(), service, rule);
    }
}

impl Metrics {
    /// What a rollout is judged by, now. `upstreams`: each guarded backend by its listener.
    pub fn health_sample<'u>(
        &self,
        upstreams: impl IntoIterator<Item = (Arc<str>, &'u [Arc<UpstreamHealth>])>,
    ) -> HealthSample {
        let services: &Services = self.services();
        HealthSample {
            services: services.health().into_iter().map(|(id, counts)| (id, to_counts(counts))).collect(),
            failing: services.broken(),
            upstreams: upstreams.into_iter().map(|(name, all)| (name, state_of(all))).collect(),
        }
    }
}

fn to_counts([authenticated, errors, failing]: [u64; 3]) -> Counts {
    Counts { authenticated, errors, failing }
}

/// One that is up serves all; nobody is called down before he was asked.
fn state_of(all: &[Arc<UpstreamHealth>]) -> UpstreamState {
    let is = |state| all.iter().any(|upstream| upstream.state() == state);
    if is(HealthState::Up) {
        UpstreamState::Up
    } else if all.is_empty() || is(HealthState::Unknown) {
        UpstreamState::Unknown
    } else {
        UpstreamState::Down
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;

    #[test]
    fn errors_and_failing_checks_are_summed_over_workers_for_configured_ids_only() {
        let metrics = Metrics::new(2, ["a", "b"]);
        metrics.worker(0).erred("a");
        metrics.worker(1).erred("a");
        metrics.worker(1).broke("a", Some("rule"));
        metrics.worker(1).foreign("b");
        metrics.worker(0).broke("a", Some("rule"));
        metrics.worker(0).broke("a", None);
        (0..1000).for_each(|n| metrics.worker(0).broke(&format!("stranger-{n}"), Some("rule")));
        let sample = metrics.health_sample([]);
        let of = |id: &str| sample.services.iter().find(|(other, _)| **other == *id).map(|(_, counts)| *counts);
        assert_eq!(of("a"), Some(Counts { authenticated: 0, errors: 2, failing: 3 }));
        assert_eq!((of("b"), sample.services.len()), (Some(Counts::default()), 2));
        assert_eq!(sample.failing, [("a".into(), "rule".into(), 2)]);
    }

    #[test]
    fn a_signature_seen_before_from_elsewhere_is_no_authenticated_call_to_judge_by() {
        let metrics = Metrics::new(1, ["a"]);
        let worker = metrics.worker(0);
        for _ in 0..3 {
            worker.services().count(
                0,
                Some("a"),
                false,
                super::super::services::AttemptResult::Success,
                Default::default(),
                None,
            );
        }
        worker.foreign("a");
        worker.foreign("a");
        worker.foreign("a stranger");
        assert_eq!(metrics.health_sample([]).services[0].1.authenticated, 1);
    }

    #[test]
    fn a_backend_is_up_as_long_as_one_of_its_upstreams_is() {
        use HealthState::{Down, Unknown, Up};
        for (states, expected) in [
            (&[][..], UpstreamState::Unknown),
            (&[Up, Down], UpstreamState::Up),
            (&[Down, Down], UpstreamState::Down),
            (&[Down, Unknown], UpstreamState::Unknown),
        ] {
            let all: Vec<_> = states
                .iter()
                .map(|state| {
                    let health = UpstreamHealth::new(Upstream::http("x", 1));
                    if *state != Unknown {
                        health.pretend(*state);
                    }
                    health
                })
                .collect();
            assert_eq!(state_of(&all), expected, "{states:?}");
        }
    }
}
