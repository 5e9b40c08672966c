//! The daily report, gathered: the records of the period, and every key as the store has it now.
//!
//! A store that cannot be asked takes nothing away from the rest: what is known is told, and the exit code says that it is not all.

use crate::cli::args::ConfigArgs;
use crate::cli::evidence::{Evidence, inbound, is_beyond_us};
use crate::cli::keys;
use crate::cli::output::{Answer, CliError};
use crate::rollout::recorded::continuity::Continuity;
use crate::rollout::recorded::daily::{Calls, Daily, Outbound};
use crate::telemetry::audit::read::{StoredChange, StoredLine, StoredRecord};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// All that is told.
pub(super) struct Report<'e> {
    pub(super) evidence: &'e Evidence,
    pub(super) continuity: Continuity,
    pub(super) daily: Daily,
    pub(super) outbound: Outbound,
    pub(super) services: Vec<(String, Calls)>,
    pub(super) changes: Changes,
    /// `None` without a configuration.
    pub(super) keys: Option<Result<(String, Value), CliError>>,
    pub(super) beyond_us: u64,
}

/// Changes of state: all counted, the newest kept.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) newest: VecDeque<Change>,
    pub(super) left_out: u64,
}

/// One of them.
pub(super) struct Change {
    pub(super) unix_micros: u64,
    pub(super) said: StoredChange,
    /// The line, with what else it says.
    pub(super) line: Value,
}

/// Changes kept one by one.
const MOST_CHANGES: usize = 200;
/// Kinds of changes counted apart: more than there are.
const MOST_EVENTS: usize = 64;

impl<'e> Report<'e> {
    /// Reads the log and asks for the keys.
    pub(super) fn of(evidence: &'e Evidence, config: &ConfigArgs) -> Result<Report<'e>, CliError> {
        let peers = evidence.peers()?;
        let (mut daily, mut outbound, mut changes) = (Daily::default(), Outbound::default(), Changes::default());
        let mut beyond_us = 0;
        let continuity = evidence.each(|line| {
            beyond_us += u64::from(is_beyond_us(line));
            match &line.record {
                StoredRecord::Change(change) => changes.add(line, change),
                StoredRecord::Decision(decision) if decision.direction == "outbound" => outbound.add(
                    decision.reason.as_deref(),
                    decision.service.is_some(),
                    decision.status,
                    decision.upstream_us.is_some(),
                ),
                StoredRecord::Decision(_) => {
                    if let Some(seen) = inbound(line) {
                        daily.add(&seen, &peers);
                    }
                }
            }
        })?;
        let services = peers.all().map(|index| (peers.id(index).to_owned(), daily.calls(index))).collect();
        let keys = evidence.config.is_some().then(|| keys::listed(config));
        Ok(Report { evidence, continuity, daily, outbound, services, changes, keys, beyond_us })
    }

    /// Is everything told?
    pub(super) fn answer(&self) -> Answer {
        match &self.keys {
            None | Some(Ok(_)) => Answer::Done,
            Some(Err(CliError::Unreachable(_))) => Answer::Unreachable,
            Some(Err(_)) => Answer::No,
        }
    }
}

impl Changes {
    fn add(&mut self, line: &StoredLine, change: &StoredChange) {
        if self.counts.len() < MOST_EVENTS || self.counts.contains_key(&change.event) {
            *self.counts.entry(change.event.clone()).or_default() += 1;
        }
        if self.newest.len() == MOST_CHANGES {
            self.newest.pop_front();
            self.left_out += 1;
        }
        let value = serde_json::from_str(&line.text).unwrap_or_default();
        self.newest.push_back(Change { unix_micros: line.unix_micros, said: change.clone(), line: value });
    }
}
