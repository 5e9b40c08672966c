//! [`Batch`]: filled records on their way to the writer, as plain data: fixed parts in one vector, all text in another,
//! and in a third the paths, which may hold any bytes.
//!
//! Copying into growing buffers, which are swapped and used again, costs a worker some tens of nanoseconds and no
//! allocation; a boxed string per field would cost seven.

use super::record::{AuditRecord, Direction, StateChange};
use crate::policy::decision::Outcome;
use crate::policy::enforcement::Mode;
use crate::policy::grants::GrantId;
use crate::rules::classify::Class;

/// What one buffer holds, in the order it was filled.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    text: String,
    paths: Vec<u8>,
    /// Units of room to give back once these are written.
    units: usize,
    /// How many of the items are changes of state.
    changes: usize,
}

#[derive(Debug)]
enum Item {
    Decision(Stored),
    Change(Box<StateChange>),
}

/// One item, readable again.
#[expect(clippy::large_enum_variant, reason = "made to be taken apart at once, and never kept")]
pub(super) enum Filled<'b> {
    /// A decision.
    Decision(AuditRecord<'b>),
    /// A change of state.
    Change(&'b StateChange),
}

impl Batch {
    /// Takes a copy of a decision that holds `units` of room.
    pub(super) fn push(&mut self, record: &AuditRecord<'_>, units: usize) {
        let (at, path_at) = (self.text.len(), self.paths.len());
        let texts = [
            Some(record.request_id),
            record.rule,
            record.service,
            record.claimed_service,
            record.method,
            Some(record.client),
            record.upstream,
        ];
        let lengths = texts.map(|text| length_of(text.map(str::len)));
        for (text, length) in texts.into_iter().zip(lengths) {
            if length != ABSENT {
                self.text.push_str(text.unwrap_or_default());
            }
        }
        let path_length = length_of(record.path.map(<[u8]>::len));
        if path_length != ABSENT {
            self.paths.extend_from_slice(record.path.unwrap_or_default());
        }
        self.items.push(Item::Decision(Stored {
            units,
            at,
            lengths,
            path_at,
            path_length,
            unix_micros: record.unix_micros,
            generation: record.generation,
            grant: record.grant,
            skew_seconds: record.skew_seconds,
            fault: record.fault,
            scheme: record.scheme,
            own_us: record.own_us,
            upstream_us: record.upstream_us,
            status: record.status,
            direction: record.direction,
            outcome: record.outcome,
            reason: record.reason,
            cause: record.cause,
            class: record.class,
            mode: record.mode,
            percentage: record.percentage,
            probe: record.probe,
        }));
        self.units += units;
    }

    /// Takes a change of state; it holds no room.
    pub(super) fn push_change(&mut self, change: StateChange) {
        self.items.push(Item::Change(Box::new(change)));
        self.changes += 1;
    }

    /// How many items.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many of them are changes of state.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// Bytes of text.
    pub(super) fn text_len(&self) -> usize {
        self.text.len() + self.paths.len()
    }

    /// Units of room to give back.
    pub(super) fn units(&self) -> usize {
        self.units
    }

    /// Units of room the item at `index` holds.
    pub(super) fn units_of(&self, index: usize) -> usize {
        match &self.items[index] {
            Item::Decision(stored) => stored.units,
            Item::Change(_) => 0,
        }
    }

    /// When the item at `index` was decided.
    pub(super) fn unix_micros_of(&self, index: usize) -> u64 {
        match &self.items[index] {
            Item::Decision(stored) => stored.unix_micros,
            Item::Change(change) => change.unix_micros,
        }
    }

    /// The item at `index`, which is below [`Batch::len`].
    pub(super) fn item(&self, index: usize) -> Filled<'_> {
        match &self.items[index] {
            Item::Decision(stored) => Filled::Decision(stored.read(&self.text, &self.paths)),
            Item::Change(change) => Filled::Change(change),
        }
    }

    /// Empty again, with its memory kept for the next round up to a bound.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.text.clear();
        self.paths.clear();
        self.units = 0;
        self.changes = 0;
    }

    /// Gives memory back that only a burst needed.
    pub(super) fn shrink(&mut self) {
        self.items.shrink_to(IDLE_ITEMS);
        self.text.shrink_to(IDLE_TEXT);
        self.paths.shrink_to(IDLE_TEXT);
    }
}

/// The fixed part of an [`AuditRecord`], with where its text is.
#[derive(Debug)]
struct Stored {
    units: usize,
    at: usize,
    lengths: [u32; 7],
    path_at: usize,
    path_length: u32,
    unix_micros: u64,
    generation: u64,
    grant: Option<GrantId>,
    skew_seconds: Option<i64>,
    fault: Option<&'static str>,
    scheme: Option<&'static str>,
    own_us: u32,
    upstream_us: Option<u32>,
    status: Option<u16>,
    direction: Direction,
    outcome: Outcome,
    reason: Option<&'static str>,
    cause: Option<&'static str>,
    class: Option<Class>,
    mode: Option<Mode>,
    percentage: Option<u8>,
    probe: bool,
}

impl Stored {
    fn read<'b>(&self, text: &'b str, paths: &'b [u8]) -> AuditRecord<'b> {
        let mut at = self.at;
        let [request_id, rule, service, claimed_service, method, client, upstream] = self.lengths.map(|length| {
            (length != ABSENT).then(|| {
                let start = at;
                at += length as usize;
                &text[start..at]
            })
        });
        let path =
            (self.path_length != ABSENT).then(|| &paths[self.path_at..self.path_at + self.path_length as usize]);
        AuditRecord {
            unix_micros: self.unix_micros,
            request_id: request_id.unwrap_or_default(),
            direction: self.direction,
            outcome: self.outcome,
            reason: self.reason,
            cause: self.cause,
            fault: self.fault,
            class: self.class,
            rule,
            service,
            claimed_service,
            scheme: self.scheme,
            grant: self.grant,
            skew_seconds: self.skew_seconds,
            method,
            path,
            client: client.unwrap_or_default(),
            upstream,
            mode: self.mode,
            percentage: self.percentage,
            status: self.status,
            own_us: self.own_us,
            upstream_us: self.upstream_us,
            generation: self.generation,
            probe: self.probe,
        }
    }
}

/// Every text comes out of a request head, whose limit is far below 4 GiB.
fn length_of(length: Option<usize>) -> u32 {
    length.and_then(|length| u32::try_from(length).ok()).unwrap_or(ABSENT)
}

/// The length that means: no such field.
const ABSENT: u32 = u32::MAX;
/// Items kept allocated through idleness.
const IDLE_ITEMS: usize = 64;
/// Bytes of text kept allocated through idleness.
const IDLE_TEXT: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::super::record::samples;
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let mut batch = Batch::default();
        let (full, bare, outbound) = (samples::full(), samples::bare(), samples::outbound());
        batch.push(&full, 1);
        batch.push(&bare, 3);
        batch.push(&outbound, 1);
        assert_eq!((batch.len(), batch.units()), (3, 5));
        for (index, expected) in [full, bare, outbound].into_iter().enumerate() {
            let Filled::Decision(record) = batch.item(index) else { panic!("a change?") };
            assert_eq!(format!("{record:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn a_cleared_batch_is_empty_and_good_again() {
        let mut batch = Batch::default();
        batch.push(&samples::full(), 1);
        batch.clear();
        batch.shrink();
        assert_eq!((batch.len(), batch.text_len(), batch.units()), (0, 0, 0));
        batch.push(&samples::bare(), 1);
        assert!(matches!(batch.item(0), Filled::Decision(record) if record.request_id == "r2"));
    }
}
