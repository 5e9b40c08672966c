//! [`WorkerMetrics`]: one worker's counters, and what each decision, answer and fault adds to them.

use super::cells::{Count, Histogram, UpDown, Words};
use super::services::{AttemptResult, Services};
use super::{UpstreamFault, names};
use crate::policy::decision::{Decision, Outcome, Refusal};
use crate::policy::outbound::OutboundRefusal;
use crate::rules::classify::Class;
use crate::tls::handshake::HandshakeFault;
use std::sync::Arc;
use std::time::Instant;

/// One worker's counters: relaxed atomics, in memory that no other worker writes.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerMetrics {
    index: usize,
    services: Arc<Services>,
    epoch: Instant,
    /// By class (the last: unreadable) and outcome.
    pub(super) requests: [[Count; OUTCOMES.len()]; CLASSES.len()],
    /// By reason and whether carried out.
    pub(super) refusals: [[Count; 2]; Refusal::ALL.len()],
    pub(super) malformed: Words,
    pub(super) wrong_overrides: Count,
    pub(super) replayed: Count,
    pub(super) probes: Count,
    pub(super) overrides: Count,
    /// Of those, by a grant.
    pub(super) granted: Count,
    pub(super) drawn_in: Count,
    pub(super) drawn_out: Count,
    pub(super) auth: Histogram,
    pub(super) own: Histogram,
    pub(super) upstream: Histogram,
    pub(super) request: Histogram,
    /// By class (the last: unreadable) and hundreds of the status.
    pub(super) upstream_answers: [[Count; STATUS_CLASSES.len()]; CLASSES.len()],
    pub(super) exempt_unauthorized: Count,
    pub(super) outbound_allowed: Count,
    pub(super) outbound_refusals: [Count; OutboundRefusal::ALL.len()],
    /// By who answered (self, upstream) and hundreds of the status.
    pub(super) outbound_answers: [[Count; STATUS_CLASSES.len()]; 2],
    pub(super) outbound_own: Histogram,
    pub(super) outbound_upstream: Histogram,
    /// By place in [`names::OWN_STATUSES`]; the last: any other.
    pub(super) own_answers: [Count; names::OWN_STATUSES.len() + 1],
    pub(super) faults: [Count; UpstreamFault::ALL.len()],
    pub(super) retries: Count,
    pub(super) passed_over: Count,
    pub(super) informational_dropped: Count,
    pub(super) connections: UpDown,
    pub(super) in_flight: UpDown,
    pub(super) tunnels: UpDown,
    /// Full, resumed.
    pub(super) handshakes: [Count; 2],
    pub(super) handshake_faults: [Count; HandshakeFault::ALL.len()],
    pub(super) limits: Words,
    pub(super) timeouts: Words,
    pub(super) http2_floods: Words,
}

impl WorkerMetrics {
    pub(super) fn new(index: usize, services: Arc<Services>, epoch: Instant) -> WorkerMetrics {
        WorkerMetrics {
            index,
            services,
            epoch,
            requests: Default::default(),
            refusals: Default::default(),
            malformed: Words::new(names::FAULTS),
            wrong_overrides: Count::default(),
            replayed: Count::default(),
            probes: Count::default(),
            overrides: Count::default(),
            granted: Count::default(),
            drawn_in: Count::default(),
            drawn_out: Count::default(),
            auth: Histogram::new(names::AUTH_BUCKETS),
            own: Histogram::new(names::OWN_BUCKETS),
            upstream: Histogram::new(names::REQUEST_BUCKETS),
            request: Histogram::new(names::REQUEST_BUCKETS),
            upstream_answers: Default::default(),
            exempt_unauthorized: Count::default(),
            outbound_allowed: Count::default(),
            outbound_refusals: Default::default(),
            outbound_answers: Default::default(),
            outbound_own: Histogram::new(names::OWN_BUCKETS),
            outbound_upstream: Histogram::new(names::REQUEST_BUCKETS),
            own_answers: Default::default(),
            faults: Default::default(),
            retries: Count::default(),
            passed_over: Count::default(),
            informational_dropped: Count::default(),
            connections: UpDown::default(),
            in_flight: UpDown::default(),
            tunnels: UpDown::default(),
            handshakes: Default::default(),
            handshake_faults: Default::default(),
            limits: Words::new(names::LIMITS),
            timeouts: Words::new(names::TIMERS),
            http2_floods: Words::new(names::FLOODS),
        }
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// One decision about a readable request. `claimed`: the well-formed id it claimed, if any. `auth_nanos`: what the
    /// checks took (counted for service paths only). `now`: the monotonic time of the decision.
    ///
    /// An attempt is a decision about a service path. `would_refuse` counts as failed too: the checks say the same in
    /// every mode, and so do the numbers. Exempt and open requests are no attempts. Announced tests are counted by themselves, and
    /// nowhere else.
    pub fn decided(&self, decision: &Decision, claimed: Option<&str>, auth_nanos: u64, now: Instant) {
        if decision.is_probe {
            return self.probes.add(1);
        }
        if decision.wrong_override {
            self.wrong_overrides.add(1);
        }
        if decision.classification.class() != Class::Service {
            return;
        }
        self.auth.observe(auth_nanos);
        if decision.drawn_in { &self.drawn_in } else { &self.drawn_out }.add(1);
        let reason = decision.cause.or(decision.reason);
        if reason == Some(Refusal::Replayed) {
            self.replayed.add(1);
        }
        let result = match decision.outcome {
            Outcome::Allow | Outcome::Authenticated => AttemptResult::Success,
            Outcome::Refuse | Outcome::WouldRefuse => AttemptResult::Failed,
            Outcome::Override => {
                self.overrides.add(1);
                if decision.grant.is_some() {
                    self.granted.add(1);
                }
                AttemptResult::Override
            }
        };
        let proved = decision.service.as_ref().map(|service| service.id().as_str());
        let skew = decision.skew_seconds.filter(|_| proved.is_some());
        let id = proved.or(claimed);
        // a malformed id is not nobody's
        let anonymous = reason != Some(Refusal::MalformedSignature);
        let since = now.saturating_duration_since(self.epoch);
        self.services.count(self.index, id, anonymous, result, since, skew);
    }

    /// What a request's audit record says, counted whether or not the record had room: so that both add up to the same.
    /// `class` is absent for unreadable requests.
    pub fn recorded(&self, class: Option<Class>, outcome: Outcome, reason: Option<Refusal>) {
        self.requests[class_place(class)][outcome_place(outcome)].add(1);
        let carried_out = match outcome {
            Outcome::Refuse => true,
            Outcome::WouldRefuse => false,
            Outcome::Allow | Outcome::Authenticated | Outcome::Override => return,
        };
        if let Some(place) = reason.and_then(|reason| Refusal::ALL.iter().position(|each| *each == reason)) {
            self.refusals[place][usize::from(carried_out)].add(1);
        }
    }

    /// One unreadable request or body; the fault's constant word.
    pub fn malformed(&self, fault: &'static str) {
        self.malformed.add(fault);
    }

    /// One answer's head: its status and the time to it. `class` is absent for unreadable requests; `upstream_us` is
    /// present when, and only when, the answer is the upstream's.
    pub fn answered(&self, class: Option<Class>, status: u16, own_us: u32, upstream_us: Option<u32>) {
        let nanos = |us: u32| u64::from(us) * 1_000;
        self.own.observe(nanos(own_us));
        self.request.observe(nanos(own_us) + upstream_us.map_or(0, nanos));
        match upstream_us {
            Some(upstream_us) => {
                self.upstream.observe(nanos(upstream_us));
                let hundreds = usize::from(status / 100).clamp(1, STATUS_CLASSES.len());
                self.upstream_answers[class_place(class)][hundreds - 1].add(1);
                if class == Some(Class::Exempt) && status == UNAUTHORIZED {
                    self.exempt_unauthorized.add(1);
                }
            }
            None => {
                let known = names::OWN_STATUSES.iter().position(|known| *known == status);
                self.own_answers[known.unwrap_or(names::OWN_STATUSES.len())].add(1);
            }
        }
    }

    /// What an outbound request's audit record says: it left, or why not.
    pub fn recorded_outbound(&self, refusal: Option<OutboundRefusal>) {
        match refusal.and_then(|refusal| OutboundRefusal::ALL.iter().position(|each| *each == refusal)) {
            Some(place) => self.outbound_refusals[place].add(1),
            None => self.outbound_allowed.add(1),
        }
    }

    /// One outbound answer's head, as [`WorkerMetrics::answered`]. Those of the guarded backend are told apart: its error rate
    /// and latency are not those of another machine.
    pub fn answered_outbound(&self, status: u16, own_us: u32, upstream_us: Option<u32>) {
        let nanos = |us: u32| u64::from(us) * 1_000;
        self.outbound_own.observe(nanos(own_us));
        if let Some(upstream_us) = upstream_us {
            self.outbound_upstream.observe(nanos(upstream_us));
        }
        let hundreds = usize::from(status / 100).clamp(1, STATUS_CLASSES.len());
        self.outbound_answers[usize::from(upstream_us.is_some())][hundreds - 1].add(1);
    }

    /// One answer of our own in the upstream's place.
    pub fn upstream_fault(&self, fault: UpstreamFault) {
        self.faults[fault as usize].add(1);
        if fault == UpstreamFault::Busy {
            self.limits.add("upstream_requests");
        }
    }

    /// One idempotent request sent again on a new connection.
    pub fn upstream_retried(&self) {
        self.retries.add(1);
    }

    /// One request that went on to another upstream, because no connection could be opened to the one chosen.
    pub fn upstream_passed_over(&self) {
        self.passed_over.add(1);
    }

    /// One informational answer other than 100 and 101, dropped.
    pub fn informational_dropped(&self) {
        self.informational_dropped.add(1);
    }

    /// A downstream connection opened (+1) or ended (-1).
    pub fn connections(&self, change: i64) {
        self.connections.change(change);
    }

    /// A TLS handshake with a client came about; by resuming a session?
    pub fn handshake(&self, resumed: bool) {
        self.handshakes[usize::from(resumed)].add(1);
    }

    /// A TLS handshake with a client did not.
    pub fn handshake_failed(&self, fault: HandshakeFault) {
        self.handshake_faults[fault as usize].add(1);
    }

    /// Something refused by a limit; which (`connections`, `connections_per_address`, `descriptors`).
    pub fn limit_hit(&self, limit: &'static str) {
        self.limits.add(limit);
    }

    /// A request went in flight upstream (+1) or ended (-1).
    pub fn in_flight(&self, change: i64) {
        self.in_flight.change(change);
    }

    /// A tunnel (WebSocket or other upgrade) opened (+1) or ended (-1).
    pub fn tunnels(&self, change: i64) {
        self.tunnels.change(change);
    }

    /// An HTTP/2 connection ended for a flood; the word of its kind.
    pub fn http2_flood(&self, kind: &'static str) {
        self.http2_floods.add(kind);
    }

    /// A timer cut a connection; which (`first_byte`, `idle`, `head`, `body_idle`, `write_idle`, `tunnel_idle`).
    pub fn timed_out(&self, timer: &'static str) {
        self.timeouts.add(timer);
    }
}

/// Values of `class`, in the order of the counters.
pub(super) const CLASSES: [&str; 4] = ["exempt", "open", "service", "unreadable"];
/// Values of `outcome`, in the order of the counters.
pub(super) const OUTCOMES: [Outcome; 5] =
    [Outcome::Allow, Outcome::Authenticated, Outcome::Override, Outcome::Refuse, Outcome::WouldRefuse];
/// Values of `from`, in the order of the counters.
pub(super) const ANSWERED_BY: [&str; 2] = ["self", "upstream"];
/// Values of `status_class`, in the order of the counters.
pub(super) const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const UNAUTHORIZED: u16 = 401;

const fn class_place(class: Option<Class>) -> usize {
    match class {
        Some(Class::Exempt) => 0,
        Some(Class::Open) => 1,
        Some(Class::Service) => 2,
        None => 3,
    }
}

const fn outcome_place(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Allow => 0,
        Outcome::Authenticated => 1,
        Outcome::Override => 2,
        Outcome::Refuse => 3,
        Outcome::WouldRefuse => 4,
    }
}
