//! [`Evidence`]: what will be recorded of one request; written once, when its answer's head is known.

use super::worker::Worker;
use crate::clock;
use crate::policy::decision::{Decision, Outcome, Refusal};
use crate::policy::outbound::OutboundRefusal;
use crate::request::head::HeadFault;
use crate::rules::classify::Class;
use crate::snapshot::Snapshot;
use crate::telemetry::audit::{AuditRecord, AuditSlot, Direction};
use std::time::{Duration, Instant};

/// The facts of one request that its record will hold, and the room reserved for it.
pub(super) struct Evidence<'e> {
    pub(super) worker: &'e Worker,
    pub(super) snapshot: &'e Snapshot,
    /// What is known of its way.
    pub(super) way: Judged<'e>,
    /// For `malformed_request`.
    pub(super) fault: Option<HeadFault>,
    pub(super) request_id: &'e str,
    pub(super) method: Option<&'e str>,
    pub(super) path: Option<&'e str>,
    pub(super) client: &'e str,
    /// Where it went, `host:port`.
    pub(super) upstream: Option<&'e str>,
    pub(super) slot: Option<AuditSlot>,
    /// Was its signature seen before, and does its service not call from there? Then it is evidence of nothing.
    pub(super) is_foreign: bool,
    /// Has the outcome been counted?
    pub(super) counted: bool,
    /// Wall clock of the decision.
    pub(super) unix_micros: u64,
    /// When the head was whole.
    pub(super) received: Instant,
    /// Our time until the request was ready to go upstream.
    pub(super) before: Duration,
    /// When it had gone upstream.
    pub(super) sent: Option<Instant>,
    /// When the upstream's answer had its head.
    pub(super) answered: Option<Instant>,
}

/// What was judged of a request, by the direction it takes.
#[derive(Clone, Copy)]
pub(super) enum Judged<'e> {
    /// To the guarded backend.
    Inbound {
        /// `None` for a head that could not be read.
        decision: Option<&'e Decision>,
        /// Who the request says it is.
        claimed: Option<&'e str>,
    },
    /// Away from here.
    Outbound {
        /// Why it does not leave; also `None` for a head that could not be read.
        refusal: Option<OutboundRefusal>,
        /// Whom it is signed as; `None` for what is not signed: a refused one, a tunnel.
        signed_as: Option<&'e str>,
    },
}

impl Evidence<'_> {
    /// Adds to our own time what we did since `begun`, while the request waited for its upstream.
    pub(super) fn took(&mut self, begun: Instant) {
        self.before += clock::monotonic().duration_since(begun);
    }

    /// Notes that the request is ready to go upstream; gives the time.
    pub(super) fn ready(&mut self) -> Instant {
        let now = clock::monotonic();
        self.before = now.duration_since(self.received);
        now
    }

    /// Notes that it has gone; gives the time.
    pub(super) fn sent(&mut self) -> Instant {
        *self.sent.insert(clock::monotonic())
    }

    /// Notes that the answer's head is there.
    pub(super) fn head_came(&mut self) {
        self.answered = Some(clock::monotonic());
    }

    /// A body that cannot be read makes the whole request malformed.
    pub(super) fn malformed(&mut self, fault: HeadFault) {
        self.fault = Some(fault);
        self.worker.metrics.malformed(fault.code());
    }

    /// Writes the record; the second time, nothing. `status`: what the client gets, `None` when it is gone.
    pub(super) fn record(&mut self, status: Option<u16>) {
        let now = clock::monotonic();
        let (own, upstream) = match (self.sent, self.answered) {
            (Some(sent), Some(answered)) => {
                (self.before + now.duration_since(answered), Some(micros(answered.duration_since(sent))))
            }
            (Some(_), None) => (self.before, None),
            (None, _) => (now.duration_since(self.received), None),
        };
        let own_us = micros(own);
        let config = &self.snapshot.config;
        let mut record = AuditRecord {
            unix_micros: self.unix_micros,
            request_id: self.request_id,
            direction: Direction::Inbound,
            outcome: Outcome::Refuse,
            reason: None,
            cause: None,
            fault: self.fault.map(HeadFault::code),
            class: None,
            rule: None,
            service: None,
            claimed_service: None,
            scheme: None,
            grant: None,
            skew_seconds: None,
            method: self.method,
            path: self.path.map(str::as_bytes),
            client: self.client,
            upstream: None,
            mode: None,
            percentage: None,
            status,
            own_us,
            upstream_us: upstream,
            generation: self.snapshot.generation,
            probe: false,
        };
        let is_new = !std::mem::replace(&mut self.counted, true);
        let metrics = &self.worker.metrics;
        match self.way {
            Judged::Inbound { decision, claimed } => {
                let class = decision.map(|decision| decision.classification.class());
                let (outcome, reason) = match (self.fault, decision) {
                    (Some(_), _) | (None, None) => (Outcome::Refuse, Some(Refusal::MalformedRequest)),
                    (None, Some(decision)) => (decision.outcome, decision.reason),
                };
                let is_probe = decision.is_some_and(|decision| decision.is_probe);
                if let (Some(status), false) = (status, is_probe) {
                    metrics.answered(class, status, own_us, upstream);
                    let service = decision.and_then(|decision| decision.service.as_ref());
                    // Only the upstream's own: that it cannot be reached is its health check's to say.
                    if let (Outcome::Authenticated, 500.., Some(service), Some(_), false) =
                        (outcome, status, service, upstream, self.is_foreign)
                    {
                        metrics.erred(service.id().as_str());
                    }
                }
                if is_new && !is_probe {
                    metrics.recorded(class, outcome, reason);
                }
                let in_force = self.snapshot.enforcement;
                let rule = decision.and_then(|decision| decision.classification.named_rule());
                let service = decision.and_then(|decision| decision.service.as_ref());
                let percentage = decision.map_or(in_force.percentage, |decision| decision.percentage);
                record.outcome = outcome;
                record.reason = reason.map(Refusal::code);
                record.cause = decision.and_then(|decision| decision.cause).map(Refusal::code);
                record.class = class;
                record.rule = rule.map(|index| &*config.rules.rule(index).name);
                record.service = service.map(|service| service.id().as_str());
                record.claimed_service = claimed;
                record.scheme = claimed.filter(|_| class == Some(Class::Service)).map(|_| SCHEME);
                record.grant = decision.and_then(|decision| decision.grant);
                record.skew_seconds = decision.and_then(|decision| decision.skew_seconds);
                record.probe = is_probe;
                record.mode = Some(in_force.mode);
                record.percentage = Some(percentage.value());
            }
            Judged::Outbound { refusal, signed_as } => {
                let refusal = self.fault.map(|_| OutboundRefusal::MalformedRequest).or(refusal);
                if let Some(status) = status {
                    metrics.answered_outbound(status, own_us, upstream);
                }
                if is_new {
                    metrics.recorded_outbound(refusal);
                }
                record.direction = Direction::Outbound;
                record.outcome = if refusal.is_some() { Outcome::Refuse } else { Outcome::Allow };
                record.reason = refusal.map(OutboundRefusal::code);
                // One with a faulty body was to be signed, and is not vouched for.
                let signed_as = signed_as.filter(|_| refusal.is_none());
                record.service = signed_as;
                record.scheme = signed_as.map(|_| SCHEME);
                record.upstream = self.upstream;
            }
        }
        if let Some(slot) = self.slot.take() {
            slot.fill(&record);
        }
    }
}

const SCHEME: &str = "hmac-v1";

impl Drop for Evidence<'_> {
    /// A request whose client went before its answer is recorded all the same.
    fn drop(&mut self) {
        if self.slot.is_some() || !self.counted {
            self.record(None);
        }
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
