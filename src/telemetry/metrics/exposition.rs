//! What a scrape sees: every worker's counters added up, and the states.

use super::cells::{Count, Histogram, HistogramSum, UpDown, Words};
use super::names::{self, Family};
use super::services::AttemptResult;
use super::worker::{ANSWERED_BY, CLASSES, OUTCOMES, STATUS_CLASSES, WorkerMetrics};
use super::{Metrics, UpstreamFault};
use crate::clock;
use crate::policy::decision::{Outcome, Refusal};
use crate::policy::enforcement::{Enforcement, Mode};
use crate::policy::outbound::OutboundRefusal;
use crate::tls::handshake::HandshakeFault;
use crate::upstream::health::HealthState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Everything, as OpenMetrics text.
pub(super) fn openmetrics(metrics: &Metrics, now: Instant) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape::of(metrics, now)));
    let mut out = String::with_capacity(16 * 1024);
    // writing to a string does not fail
    let _ = text::encode(&mut out, &registry);
    out
}

/// Families with their samples, read at one moment.
#[derive(Debug, Default)]
struct Scrape {
    families: Vec<(Family, Samples)>,
}

/// Label names and values; few, so a vector.
type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Samples {
    Counter(Vec<(Labels, u64)>),
    Gauge(Vec<(Labels, f64)>),
    Histogram(HistogramSum),
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (family, samples) in &self.families {
            match samples {
                Samples::Counter(samples) => {
                    let mut metric =
                        encoder.encode_descriptor(family.name, family.help, None, MetricType::Counter)?;
                    for (labels, value) in samples {
                        match labels.as_slice() {
                            [] => metric.encode_counter::<NoLabelSet, _, u64>(value, None)?,
                            labels => {
                                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)?
                            }
                        }
                    }
                }
                Samples::Gauge(samples) => {
                    let mut metric = encoder.encode_descriptor(family.name, family.help, None, MetricType::Gauge)?;
                    for (labels, value) in samples {
                        match labels.as_slice() {
                            [] => metric.encode_gauge(&Number(*value))?,
                            labels => metric.encode_family(&labels)?.encode_gauge(&Number(*value))?,
                        }
                    }
                }
                Samples::Histogram(sum) => encoder
                    .encode_descriptor(family.name, family.help, None, MetricType::Histogram)?
                    .encode_histogram::<NoLabelSet>(sum.seconds(), sum.count(), &sum.buckets, None)?,
            }
        }
        Ok(())
    }
}

/// A gauge that is written without a fraction when it has none.
struct Number(f64);

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut prometheus_client::encoding::GaugeValueEncoder<'_>) -> Result<(), fmt::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            (self.0 as i64).encode(encoder)
        } else {
            self.0.encode(encoder)
        }
    }
}

impl Scrape {
    fn of(metrics: &Metrics, now: Instant) -> Scrape {
        let mut scrape = Scrape::default();
        scrape.services(metrics, now);
        scrape.keys(metrics);
        scrape.requests(metrics, now);
        scrape.upstream(metrics);
        scrape.outbound(metrics);
        scrape.connections(metrics);
        scrape.audit(metrics);
        scrape.configuration(metrics, now);
        scrape.process(metrics);
        scrape
    }

    fn services(&mut self, metrics: &Metrics, now: Instant) {
        let mut attempts = Vec::new();
        for (id, counts) in metrics.services.counts() {
            for (result, count) in AttemptResult::ALL.into_iter().zip(counts) {
                attempts.push((vec![("service_id", id.to_string()), ("result", result.code().to_owned())], count));
            }
        }
        self.counter(names::ATTEMPTS, attempts);
        self.histogram(names::AUTH_DURATION, metrics, |worker| &worker.auth);
        let since = now.saturating_duration_since(metrics.epoch);
        let skews = metrics.services.skews(since, ACTIVE_WINDOW).into_iter();
        let skews = skews.map(|(id, seconds)| (vec![("service_id", id.to_string())], f64::from(seconds)));
        self.families.push((names::CALLER_SKEW, Samples::Gauge(skews.collect())));
        self.gauge(names::ACTIVE_SERVICES, metrics.services.active(since, ACTIVE_WINDOW) as f64);
    }

    fn keys(&mut self, metrics: &Metrics) {
        let seconds = clock::unix_seconds();
        let overlaps = metrics.overlaps.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = |until: u64| if until <= seconds { 1.0 } else { 0.0 };
        let overlaps = overlaps.iter().map(|(id, until)| (vec![("service_id", id.clone())], overdue(*until)));
        self.families.push((names::OVERLAP_OVERDUE, Samples::Gauge(overlaps.collect())));
        let status = metrics.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(standing) = status.as_ref().map(|status| status.read()) else {
            // Key files know no TTL, and nothing comes from elsewhere.
            return self.families.push((names::KEY_TTL, Samples::Gauge(Vec::new())));
        };
        let now = clock::unix_micros() / 1000;
        let days = standing.days_left(now).map(|(id, days)| (vec![("service_id", id.to_string())], days));
        self.families.push((names::KEY_TTL, Samples::Gauge(days.collect())));
        self.gauge(names::KEYS_STALE, standing.stale_seconds(now));
        self.gauge(names::KEYS_LAPSED, standing.lapsed as f64);
        self.gauge(names::KEYS_LOST, standing.lost as f64);
        self.gauge(names::KEYS_UNREADABLE, standing.unreadable as f64);
        self.counter(names::KEYS_DELETED, vec![(Vec::new(), standing.deleted)]);
        let looks = [("ok", standing.heard), ("failed", standing.unheard)];
        let looks = looks.map(|(result, count)| (vec![("result", result.to_owned())], count));
        self.counter(names::KEY_REFRESHES, looks.into());
    }

    fn requests(&mut self, metrics: &Metrics, now: Instant) {
        let mut requests = Vec::new();
        for (class, name) in CLASSES.into_iter().enumerate() {
            for (outcome, word) in OUTCOMES.into_iter().enumerate() {
                let labels = vec![("class", name.to_owned()), ("outcome", word.code().to_owned())];
                requests.push((labels, sum(metrics, |worker| &worker.requests[class][outcome])));
            }
        }
        self.counter(names::REQUESTS, requests);
        let mut refusals = Vec::new();
        for (reason, word) in Refusal::ALL.into_iter().enumerate() {
            for (carried_out, answer) in ["no", "yes"].into_iter().enumerate() {
                let labels = vec![("reason", word.code().to_owned()), ("carried_out", answer.to_owned())];
                refusals.push((labels, sum(metrics, |worker| &worker.refusals[reason][carried_out])));
            }
        }
        self.counter(names::REFUSALS, refusals);
        self.words(names::MALFORMED, "fault", metrics, |worker| &worker.malformed);
        self.count(names::OVERRIDES, metrics, |worker| &worker.overrides);
        self.count(names::PROBES, metrics, |worker| &worker.probes);
        self.count(names::GRANT_USES, metrics, |worker| &worker.granted);
        let open = metrics.grants.load().open(clock::unix_seconds(), now);
        self.gauge(names::GRANTS_OPEN, open as f64);
        self.count(names::WRONG_OVERRIDES, metrics, |worker| &worker.wrong_overrides);
        self.count(names::REPLAYED, metrics, |worker| &worker.replayed);
        let replay = metrics.replay.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = replay.as_ref().map_or(0, |table| table.forgotten());
        self.counter(names::REPLAY_FORGOTTEN, vec![(Vec::new(), forgotten)]);
        self.histogram(names::REQUEST_DURATION, metrics, |worker| &worker.request);
        self.histogram(names::OWN_DURATION, metrics, |worker| &worker.own);
        let mut own = Vec::new();
        for place in 0..=names::OWN_STATUSES.len() {
            let status = names::OWN_STATUSES.get(place).map_or("other".to_owned(), u16::to_string);
            own.push((vec![("status", status)], sum(metrics, |worker| &worker.own_answers[place])));
        }
        self.counter(names::OWN_ANSWERS, own);
    }

    fn upstream(&mut self, metrics: &Metrics) {
        let mut answers = Vec::new();
        for (class, name) in CLASSES.into_iter().enumerate() {
            for (hundreds, word) in STATUS_CLASSES.into_iter().enumerate() {
                let labels = vec![("class", name.to_owned()), ("status_class", word.to_owned())];
                answers.push((labels, sum(metrics, |worker| &worker.upstream_answers[class][hundreds])));
            }
        }
        self.counter(names::UPSTREAM_ANSWERS, answers);
        self.count(names::EXEMPT_UNAUTHORIZED, metrics, |worker| &worker.exempt_unauthorized);
        self.histogram(names::UPSTREAM_DURATION, metrics, |worker| &worker.upstream);
        let faults = UpstreamFault::ALL.into_iter().map(|fault| {
            (vec![("code", fault.code().to_owned())], sum(metrics, |worker| &worker.faults[fault as usize]))
        });
        self.counter(names::UPSTREAM_FAULTS, faults.collect());
        self.count(names::UPSTREAM_RETRIES, metrics, |worker| &worker.retries);
        self.count(names::UPSTREAM_PASSED_OVER, metrics, |worker| &worker.passed_over);
        self.count(names::INFORMATIONAL_DROPPED, metrics, |worker| &worker.informational_dropped);
        let upstreams = metrics.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        // Two listeners may have the same upstream: one that fails either check is not up.
        let (mut up, mut outstanding) = (BTreeMap::new(), BTreeMap::new());
        for upstream in upstreams.iter() {
            *outstanding.entry(upstream.name()).or_insert(0.0) += upstream.outstanding() as f64;
            let value = match upstream.state() {
                HealthState::Unknown => continue,
                HealthState::Up => 1.0,
                HealthState::Down => 0.0,
            };
            up.entry(upstream.name()).and_modify(|known: &mut f64| *known = known.min(value)).or_insert(value);
        }
        for (family, by_upstream) in [(names::UPSTREAM_UP, up), (names::UPSTREAM_OUTSTANDING, outstanding)] {
            let samples =
                by_upstream.into_iter().map(|(name, value)| (vec![("upstream", name.to_owned())], value)).collect();
            self.families.push((family, Samples::Gauge(samples)));
        }
    }

    fn outbound(&mut self, metrics: &Metrics) {
        let refusals: Vec<_> = OutboundRefusal::ALL
            .into_iter()
            .enumerate()
            .map(|(place, word)| (word, sum(metrics, |worker| &worker.outbound_refusals[place])))
            .collect();
        let outcomes = [
            (Outcome::Allow, sum(metrics, |worker| &worker.outbound_allowed)),
            (Outcome::Refuse, refusals.iter().map(|(_, count)| count).sum()),
        ];
        let outcomes = outcomes.map(|(word, count)| (vec![("outcome", word.code().to_owned())], count));
        self.counter(names::OUTBOUND_REQUESTS, outcomes.into());
        let refusals = refusals.into_iter().map(|(word, count)| (vec![("reason", word.code().to_owned())], count));
        self.counter(names::OUTBOUND_REFUSALS, refusals.collect());
        let mut answers = Vec::new();
        for (by, name) in ANSWERED_BY.into_iter().enumerate() {
            for (hundreds, word) in STATUS_CLASSES.into_iter().enumerate() {
                let labels = vec![("from", name.to_owned()), ("status_class", word.to_owned())];
                answers.push((labels, sum(metrics, |worker| &worker.outbound_answers[by][hundreds])));
            }
        }
        self.counter(names::OUTBOUND_ANSWERS, answers);
        self.histogram(names::OUTBOUND_OWN_DURATION, metrics, |worker| &worker.outbound_own);
        self.histogram(names::OUTBOUND_UPSTREAM_DURATION, metrics, |worker| &worker.outbound_upstream);
    }

    fn connections(&mut self, metrics: &Metrics) {
        let mut both = |open: Family, opened: Option<Family>, of: fn(&WorkerMetrics) -> &UpDown| {
            let came: u64 = metrics.workers.iter().map(|worker| of(worker).came()).sum();
            let went: u64 = metrics.workers.iter().map(|worker| of(worker).went()).sum();
            self.gauge(open, came.saturating_sub(went) as f64);
            if let Some(opened) = opened {
                self.counter(opened, vec![(Vec::new(), came)]);
            }
        };
        both(names::CONNECTIONS, Some(names::CONNECTIONS_OPENED), |worker| &worker.connections);
        both(names::IN_FLIGHT, None, |worker| &worker.in_flight);
        both(names::TUNNELS, Some(names::TUNNELS_OPENED), |worker| &worker.tunnels);
        let kinds = ["full", "resumed"]
            .into_iter()
            .enumerate()
            .map(|(place, kind)| (vec![("kind", kind.to_owned())], sum(metrics, |worker| &worker.handshakes[place])));
        self.counter(names::HANDSHAKES, kinds.collect());
        let failures = HandshakeFault::ALL.into_iter().enumerate().map(|(place, fault)| {
            (vec![("reason", fault.code().to_owned())], sum(metrics, |worker| &worker.handshake_faults[place]))
        });
        self.counter(names::HANDSHAKE_FAILURES, failures.collect());
        self.words(names::LIMITS_HIT, "limit", metrics, |worker| &worker.limits);
        self.words(names::TIMEOUTS, "timer", metrics, |worker| &worker.timeouts);
        self.words(names::HTTP2_FLOODS, "kind", metrics, |worker| &worker.http2_floods);
    }

    fn audit(&mut self, metrics: &Metrics) {
        let audit = metrics.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = audit.as_ref().map(|queue| queue.counts()).unwrap_or_default();
        for (family, count) in [
            (names::AUDIT_WRITTEN, counts.written),
            (names::AUDIT_DROPPED, counts.dropped),
            (names::AUDIT_LOST, counts.lost),
            (names::AUDIT_ERRORS, counts.write_errors),
        ] {
            self.counter(family, vec![(Vec::new(), count)]);
        }
        self.gauge(names::AUDIT_QUEUED, counts.queued as f64);
    }

    fn configuration(&mut self, metrics: &Metrics, now: Instant) {
        let (ok, failed) =
            (metrics.reloads_ok.load(Ordering::Relaxed), metrics.reloads_failed.load(Ordering::Relaxed));
        let results = [("ok", ok), ("failed", failed)];
        let reloads = results.map(|(result, count)| (vec![("result", result.to_owned())], count));
        self.counter(names::RELOADS, reloads.into());
        self.gauge(names::RELOAD_OK, f64::from(u8::from(metrics.last_reload_failed.load(Ordering::Relaxed) == 0)));
        self.gauge(names::RELOAD_TIME, metrics.last_reload_ok_unix.load(Ordering::Relaxed) as f64);
        let (drawn_in, drawn_out) =
            (sum(metrics, |worker| &worker.drawn_in), sum(metrics, |worker| &worker.drawn_out));
        let ends = metrics.certificates.load();
        let ends = ends.iter().map(|(file, end)| (vec![("file", file.clone())], *end as f64));
        self.families.push((names::CERTIFICATE_EXPIRY, Samples::Gauge(ends.collect())));
        if let Some(in_force) = metrics.in_force.load().as_deref() {
            self.enforcement(in_force);
        }
        self.rollout(metrics);
        let share = metrics.drawn.lock().unwrap_or_else(PoisonError::into_inner).read(now, drawn_in, drawn_out);
        self.families
            .push((names::ACTUAL, Samples::Gauge(share.map(|share| (Vec::new(), share)).into_iter().collect())));
        let drawn = [("in", drawn_in), ("out", drawn_out)];
        self.counter(names::DRAWN, drawn.map(|(drawn, count)| (vec![("drawn", drawn.to_owned())], count)).into());
    }

    fn enforcement(&mut self, (enforcement, generation): &(Enforcement, u64)) {
        self.gauge(names::GENERATION, *generation as f64);
        let modes = [Mode::Log, Mode::Enforce]
            .map(|mode| (vec![("mode", mode.code().to_owned())], f64::from(u8::from(mode == enforcement.mode))));
        self.families.push((names::MODE, Samples::Gauge(modes.into())));
        let target = match enforcement.mode {
            Mode::Log => 0,
            Mode::Enforce => enforcement.percentage.value(),
        };
        self.gauge(names::TARGET, target.into());
    }

    fn rollout(&mut self, metrics: &Metrics) {
        let kinds = metrics.rollout.rollbacks().map(|(kind, count)| (vec![("kind", kind.code().to_owned())], count));
        self.counter(names::ROLLBACKS, kinds.collect());
        let [stage, alerts, maintenance] = metrics.rollout.ramp();
        self.gauge(names::RAMP_STAGE, stage as f64);
        self.gauge(names::ROLLOUT_ALERTS, alerts as f64);
        self.gauge(names::MAINTENANCE, maintenance as f64);
        let (sent, failed) = metrics.rollout.notified();
        let results = [("ok", sent), ("failed", failed)];
        let results = results.map(|(result, count)| (vec![("result", result.to_owned())], count));
        self.counter(names::ANNOUNCEMENTS, results.into());
        if let Some((followed, missed, rejected)) = metrics.rollout.fleet(clock::monotonic()) {
            self.gauge(names::FLEET_FOLLOWED, f64::from(u8::from(followed)));
            self.gauge(names::FLEET_MISSED, missed as f64);
            self.counter(names::FLEET_REJECTED, vec![(Vec::new(), rejected)]);
        }
        if let Some((held, durable)) = metrics.rollout.held_and_durable() {
            self.gauge(names::ROLLBACK_HELD, f64::from(u8::from(held)));
            self.gauge(names::STATE_DURABLE, f64::from(u8::from(durable)));
        }
    }

    fn process(&mut self, metrics: &Metrics) {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        self.families.push((names::BUILD_INFO, Samples::Gauge(vec![(version, 1.0)])));
        self.gauge(names::START_TIME, metrics.started_unix as f64);
    }

    fn counter(&mut self, family: Family, samples: Vec<(Labels, u64)>) {
        self.families.push((family, Samples::Counter(samples)));
    }

    fn gauge(&mut self, family: Family, value: f64) {
        self.families.push((family, Samples::Gauge(vec![(Vec::new(), value)])));
    }

    fn count(&mut self, family: Family, metrics: &Metrics, of: impl Fn(&WorkerMetrics) -> &Count) {
        self.counter(family, vec![(Vec::new(), sum(metrics, of))]);
    }

    fn words(
        &mut self,
        family: Family,
        label: &'static str,
        metrics: &Metrics,
        of: impl Fn(&WorkerMetrics) -> &Words,
    ) {
        let mut counts = BTreeMap::new();
        for worker in &metrics.workers {
            of(worker).add_to(&mut counts);
        }
        let samples = counts.into_iter().map(|(word, count)| (vec![(label, word.to_owned())], count));
        self.counter(family, samples.collect());
    }

    fn histogram(&mut self, family: Family, metrics: &Metrics, of: impl Fn(&WorkerMetrics) -> &Histogram) {
        let mut sum = HistogramSum::default();
        for worker in &metrics.workers {
            of(worker).add_to(&mut sum);
        }
        self.families.push((family, Samples::Histogram(sum)));
    }
}

fn sum(metrics: &Metrics, of: impl Fn(&WorkerMetrics) -> &Count) -> u64 {
    metrics.workers.iter().map(|worker| of(worker).value()).sum()
}

/// How long after its last success a service counts as active.
pub(super) const ACTIVE_WINDOW: Duration = Duration::from_secs(15 * 60);
