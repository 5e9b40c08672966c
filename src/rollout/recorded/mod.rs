//! What do the records of the past say? Figures over plain records, one at a time: what is kept does not grow with their number.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`peers`] | Whose address is this? |
//! | [`continuity`] | Is anything of the evidence missing? |
//! | [`readiness`] | Who would be refused if enforcement were switched on, and who is safe? |
//! | [`daily`] | What happened in the period? |
//! | [`strangers`] | Who of nobody called, bounded? |
//! | [`drift`] | How far off are the callers' clocks? |
//! | [`template`] | Which path pattern stands for this path? |
//! | [`learned`] | Which rules are missing? |
//!
//! Words of outcome and reason stay texts where a newer sidecar may have written others: what is not known is counted, never
//! guessed at.

pub mod continuity;
pub mod daily;
pub mod drift;
pub mod learned;
pub mod peers;
pub mod readiness;
pub mod strangers;
pub mod template;

use crate::policy::decision::{Outcome, Refusal};
use crate::rules::classify::Class;

/// One inbound decision, as far as figures need it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'l> {
    /// When, microseconds since the epoch.
    pub unix_micros: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was or would have been refused.
    pub reason: Option<&'l str>,
    /// What `rate_limited` stands in for.
    pub cause: Option<&'l str>,
    /// Absent when the request could not be read.
    pub class: Option<Class>,
    /// The rule it fell under.
    pub rule: Option<&'l str>,
    /// Proved.
    pub service: Option<&'l str>,
    /// Claimed.
    pub claimed: Option<&'l str>,
    /// The issued override that let it pass.
    pub grant: Option<&'l str>,
    /// The caller's clock minus ours.
    pub skew_seconds: Option<i64>,
    /// As it came.
    pub method: Option<&'l str>,
    /// As it came.
    pub path: Option<&'l str>,
    /// The client address.
    pub client: &'l str,
    /// What was answered.
    pub status: Option<u16>,
    /// Is the status the upstream's own?
    pub upstream_answered: bool,
}

impl Seen<'_> {
    /// Refused, or let pass only by mode or percentage. Exempt and open requests never are; unreadable ones are in every mode.
    pub fn is_refusal(&self) -> bool {
        matches!(self.outcome, Outcome::Refuse | Outcome::WouldRefuse)
    }

    /// Refused in log mode too, so that enforcement changes nothing about it?
    pub fn is_malformed(&self) -> bool {
        self.is_refusal() && self.reason == Some(Refusal::MalformedRequest.code())
    }

    /// Does it prove that the service calls from this address? A replayed signature does not: whoever overheard it can send it.
    pub fn proves_address(&self) -> bool {
        let replayed = self.reason == Some(Refusal::Replayed.code()) || self.cause == Some(Refusal::Replayed.code());
        self.service.is_some() && !replayed
    }
}

/// How often, and from when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// The first time, microseconds since the epoch; 0 when never.
    pub first: u64,
    /// The last time.
    pub last: u64,
}

impl Tally {
    /// Once more. Times need not come in order.
    pub fn add(&mut self, unix_micros: u64) {
        self.first = if self.count == 0 { unix_micros } else { self.first.min(unix_micros) };
        self.last = self.last.max(unix_micros);
        self.count += 1;
    }

    /// Both together.
    pub fn merge(&mut self, other: Tally) {
        if other.count == 0 {
            return;
        }
        self.first = if self.count == 0 { other.first } else { self.first.min(other.first) };
        self.last = self.last.max(other.last);
        self.count += other.count;
    }
}

/// The first few different texts, and whether there were more: examples, not lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Few {
    /// In the order they came.
    pub texts: Vec<Box<str>>,
    /// There were others.
    pub more: bool,
}

impl Few {
    /// How many are kept.
    pub const MOST: usize = 3;

    /// One more.
    pub fn add(&mut self, text: &str) {
        if self.texts.iter().any(|known| **known == *text) {
            return;
        }
        if self.texts.len() < Few::MOST {
            self.texts.push(text.into());
        } else {
            self.more = true;
        }
    }
}

#[cfg(test)]
pub(crate) mod samples;
