//! [`AuditQueue`]: from the workers to the writer, bounded.

use super::record::{AuditRecord, StateChange};

/// The way to the writer: bounded, shared by all workers, cheap to clone. A slot is reserved before a request is
/// forwarded, so that nothing is let through that could not be recorded (`on_full = "block"`).
#[derive(Debug, Clone)]
pub struct AuditQueue {}

/// Room for one record. Dropped unfilled, it gives the room back.
#[derive(Debug)]
pub struct AuditSlot {}

impl AuditQueue {
    /// The same queue as seen by worker `index`: its own buffer, so that workers do not wait for each other.
    pub fn worker(&self, _index: usize) -> AuditQueue {
        unimplemented!()
    }

    /// Room now, or `None` (not counted: the caller decides whether that is a drop).
    pub fn try_reserve(&self) -> Option<AuditSlot> {
        unimplemented!()
    }

    /// Room within 1 s, or `None`.
    pub async fn reserve(&self) -> Option<AuditSlot> {
        unimplemented!()
    }

    /// Counts a record that had no room. It takes a `seq`, so that the gap shows.
    pub fn count_dropped(&self) {
        unimplemented!()
    }

    /// Records a change of state. Needs no slot: changes are rare and must not be lost to a flood of requests.
    pub fn state_change(&self, _change: StateChange) {
        unimplemented!()
    }
}

impl AuditSlot {
    /// Hands the record over. Never waits, makes no system call (but one to wake a writer that slept through idleness).
    pub fn fill(self, _record: &AuditRecord<'_>) {
        unimplemented!()
    }
}
