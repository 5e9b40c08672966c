//! [`Evidence`]: what will be recorded of one request; written once, when its answer's head is known.

use super::worker::Worker;
use crate::clock;
use crate::policy::decision::{Decision, Outcome, Refusal};
use crate::request::head::HeadFault;
use crate::rules::classify::Class;
use crate::snapshot::Snapshot;
use crate::telemetry::audit::{AuditRecord, AuditSlot};
use std::time::{Duration, Instant};

/// The facts of one request that its record will hold, and the room reserved for it.
pub(super) struct Evidence<'e> {
    pub(super) worker: &'e Worker,
    pub(super) snapshot: &'e Snapshot,
    /// `None` for a head that could not be read.
    pub(super) decision: Option<&'e Decision>,
    /// For `malformed_request`.
    pub(super) fault: Option<HeadFault>,
    pub(super) request_id: &'e str,
    pub(super) method: Option<&'e str>,
    pub(super) path: Option<&'e str>,
    pub(super) client: &'e str,
    pub(super) claimed: Option<&'e str>,
    pub(super) slot: Option<AuditSlot>,
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

impl Evidence<'_> {
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
        if let Some(status) = status {
            self.worker.metrics.answered(self.class(), status, own_us, upstream);
        }
        let (outcome, reason) = match (self.fault, self.decision) {
            (Some(_), _) | (None, None) => (Outcome::Refuse, Some(Refusal::MalformedRequest)),
            (None, Some(decision)) => (decision.outcome, decision.reason),
        };
        if !std::mem::replace(&mut self.counted, true) {
            self.worker.metrics.recorded(self.class(), outcome, reason);
        }
        let Some(slot) = self.slot.take() else { return };
        let config = &self.snapshot.config;
        let rule = self.decision.and_then(|decision| decision.classification.named_rule());
        let in_force = self.snapshot.enforcement;
        slot.fill(&AuditRecord {
            unix_micros: self.unix_micros,
            request_id: self.request_id,
            outcome,
            reason,
            cause: self.decision.and_then(|decision| decision.cause),
            fault: self.fault.map(HeadFault::code),
            class: self.class(),
            rule: rule.map(|index| &*config.rules.rule(index).name),
            service: self.decision.and_then(|decision| decision.service.as_ref()).map(|s| s.id().as_str()),
            claimed_service: self.claimed,
            scheme: self.claimed.filter(|_| self.class() == Some(Class::Service)).map(|_| "hmac-v1"),
            skew_seconds: self.decision.and_then(|decision| decision.skew_seconds),
            method: self.method,
            path: self.path.map(str::as_bytes),
            client: self.client,
            mode: in_force.mode,
            percentage: self.decision.map_or(in_force.percentage, |decision| decision.percentage).value(),
            status,
            own_us,
            upstream_us: upstream,
            generation: self.snapshot.generation,
        });
    }

    fn class(&self) -> Option<Class> {
        self.decision.map(|decision| decision.classification.class())
    }
}

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
