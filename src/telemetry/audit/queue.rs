//! [`AuditQueue`]: from the workers to the writer, bounded.
//!
//! 1. A slot is one unit of room, taken before the request is forwarded. Room is a counting semaphore: taking is one
//!    atomic, and only whoever waits (`on_full = "block"`) ever queues up.
//! 2. Filling copies the record into the worker's own buffer under its own lock, which only the writer shares, for the
//!    moment of a swap.
//! 3. The writer polls while there is work and parks when there was none for a while; then, and only then, the next
//!    record wakes it. The flag is read under the buffer's lock, and the writer looks into every buffer once more after
//!    it raised the flag: whoever came before is seen, whoever comes after sees the flag. So no record waits for ever
//!    and no fence is needed.
//!
//! Memory is bounded in bytes, not only in records: a unit stands for 1 KiB of text, and a longer record takes more
//! units as it is filled, as long as there are any. Beyond the bound can only be what slots already given out carry.
//! Answers the attack of long paths against a sink that hangs.
//!
//! Left out: the order among workers, which the writer restores within each batch.

use super::batch::Batch;
use super::record::{AuditRecord, StateChange};
use super::tap::Tap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The way to the writer: bounded, shared by all workers, cheap to clone. A slot is reserved before a request is
/// forwarded, so that nothing is let through that could not be recorded (`on_full = "block"`).
#[derive(Debug, Clone)]
pub struct AuditQueue {
    shards: Arc<[Arc<Shard>]>,
    /// The one this handle fills.
    shard: Arc<Shard>,
}

/// Room for one record. Dropped unfilled, it gives the room back.
#[derive(Debug)]
pub struct AuditSlot {
    /// Taken out when filled.
    shard: Option<Arc<Shard>>,
}

/// What the counters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditCounts {
    /// Records handed to the sink.
    pub written: u64,
    /// Records that had no room.
    pub dropped: u64,
    /// Attempts to write that failed; each is made again.
    pub write_errors: u64,
    /// Records lost for good, because the sink still failed at the end or could never take them.
    pub lost: u64,
    /// Records filled and not yet written.
    pub queued: u64,
}

#[derive(Debug)]
struct Shard {
    common: Arc<Common>,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    /// The writer was asked to come early for this batch.
    called: bool,
    /// Nobody takes from here any more.
    closed: bool,
}

#[derive(Debug)]
struct Common {
    room: Semaphore,
    capacity: usize,
    writer: OnceLock<Thread>,
    /// The writer parks until somebody wakes it.
    asleep: AtomicBool,
    filled: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    write_errors: AtomicU64,
    lost: AtomicU64,
    tap: Arc<Tap>,
}

impl AuditQueue {
    /// A queue for `workers` workers with `capacity` units of room.
    pub(super) fn new(workers: usize, capacity: usize) -> AuditQueue {
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        let common = Arc::new(Common {
            room: Semaphore::new(capacity),
            capacity,
            writer: OnceLock::new(),
            asleep: AtomicBool::new(false),
            filled: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            tap: Arc::default(),
        });
        let shards: Arc<[Arc<Shard>]> = (0..workers.max(1))
            .map(|_| Arc::new(Shard { common: Arc::clone(&common), pending: Mutex::default() }))
            .collect();
        let shard = Arc::clone(&shards[0]);
        AuditQueue { shards, shard }
    }

    /// The same queue as seen by worker `index`: its own buffer, so that workers do not wait for each other.
    pub fn worker(&self, index: usize) -> AuditQueue {
        let shard = Arc::clone(&self.shards[index % self.shards.len()]);
        AuditQueue { shards: Arc::clone(&self.shards), shard }
    }

    /// Room now, or `None` (not counted: the caller decides whether that is a drop).
    pub fn try_reserve(&self) -> Option<AuditSlot> {
        self.shard.common.room.try_acquire().ok()?.forget();
        Some(AuditSlot { shard: Some(Arc::clone(&self.shard)) })
    }

    /// Room within 1 s, or `None`.
    pub async fn reserve(&self) -> Option<AuditSlot> {
        if let Some(slot) = self.try_reserve() {
            return Some(slot);
        }
        let permit = tokio::time::timeout(RESERVE_TIMEOUT, self.shard.common.room.acquire()).await.ok()?.ok()?;
        permit.forget();
        Some(AuditSlot { shard: Some(Arc::clone(&self.shard)) })
    }

    /// Counts a record that had no room. It takes a `seq`, so that the gap shows.
    pub fn count_dropped(&self) {
        self.shard.common.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a change of state. Needs no slot: changes are rare and must not be lost to a flood of requests. Beyond
    /// some thousand that nobody wrote yet they are dropped and counted all the same.
    pub fn state_change(&self, change: StateChange) {
        // all of them in one buffer, so that they keep their order
        self.shards[0].put(|pending| {
            let fits = pending.batch.changes() < MAX_CHANGES;
            if fits {
                pending.batch.push_change(change);
            }
            fits
        });
    }

    /// What the counters say now.
    pub fn counts(&self) -> AuditCounts {
        let common = &self.shard.common;
        let written = common.written.load(Ordering::Relaxed);
        let lost = common.lost.load(Ordering::Relaxed);
        AuditCounts {
            written,
            dropped: common.dropped.load(Ordering::Relaxed),
            write_errors: common.write_errors.load(Ordering::Relaxed),
            lost,
            queued: common.filled.load(Ordering::Relaxed).saturating_sub(written + lost),
        }
    }

    /// Where one can listen while records are written.
    pub fn tap(&self) -> &Arc<Tap> {
        &self.shard.common.tap
    }

    /// Is the writer parked until somebody wakes it?
    #[cfg(test)]
    pub(super) fn writer_sleeps(&self) -> bool {
        self.shard.common.asleep.load(Ordering::Relaxed)
    }

    /// The side of the writer.
    pub(super) fn drain(&self) -> QueueDrain {
        QueueDrain { shards: Arc::clone(&self.shards), dropped_seen: 0 }
    }
}

impl AuditSlot {
    /// Hands the record over. Never waits, makes no system call (but one to wake a writer that slept through idleness).
    pub fn fill(mut self, record: &AuditRecord<'_>) {
        let Some(shard) = self.shard.take() else { return };
        let extra = extra_units(record);
        let taken = match u32::try_from(extra) {
            Ok(extra @ 1..) => shard.common.room.try_acquire_many(extra).map_or(0, |permit| {
                permit.forget();
                extra as usize
            }),
            _ => 0,
        };
        let units = 1 + taken;
        let kept = shard.put(|pending| {
            pending.batch.push(record, units);
            true
        });
        if !kept {
            shard.common.room.add_permits(units);
        }
    }
}

impl Drop for AuditSlot {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.take() {
            shard.common.room.add_permits(1);
        }
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // nothing under this lock can panic half-way but an allocation failure, which ends the process
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in, wakes the writer when it must be woken; `false` when it was not taken (and is counted).
    fn put(&self, put: impl FnOnce(&mut Pending) -> bool) -> bool {
        let mut pending = self.lock();
        if pending.closed || !put(&mut pending) {
            drop(pending);
            self.common.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.common.filled.fetch_add(1, Ordering::Relaxed);
        let full = pending.batch.len() >= EARLY_RECORDS
            || pending.batch.text_len() >= EARLY_TEXT
            || pending.batch.units() >= self.common.capacity / 4;
        let call = full && !std::mem::replace(&mut pending.called, true);
        let wake = self.common.asleep.load(Ordering::Relaxed) || call;
        drop(pending);
        if wake {
            self.common.wake();
        }
        true
    }
}

impl Common {
    fn wake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

/// The side of the writer: takes what was filled, gives room back, counts.
#[derive(Debug)]
pub(super) struct QueueDrain {
    shards: Arc<[Arc<Shard>]>,
    dropped_seen: u64,
}

impl QueueDrain {
    /// This thread is the one to wake.
    pub(super) fn writer_is(&self, thread: Thread) {
        // set once, by whoever starts the thread
        let _ = self.common().writer.set(thread);
    }

    /// Takes all that was filled, leaving `spare` (which must be empty) in its place: one batch per buffer. Returns
    /// whether there was anything.
    pub(super) fn take(&self, spare: &mut [Batch]) -> bool {
        let mut any = false;
        for (shard, batch) in self.shards.iter().zip(spare) {
            let mut pending = shard.lock();
            pending.called = false;
            std::mem::swap(&mut pending.batch, batch);
            drop(pending);
            any |= batch.len() > 0;
        }
        any
    }

    /// Says that the writer is about to park until woken; `false` when something came in meanwhile and it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.common().asleep.store(true, Ordering::Relaxed);
        let empty = self.shards.iter().all(|shard| {
            let mut pending = shard.lock();
            pending.batch.shrink();
            pending.batch.len() == 0
        });
        if !empty {
            self.common().asleep.store(false, Ordering::Relaxed);
        }
        empty
    }

    /// The writer is awake; was it a record that woke it?
    pub(super) fn awake(&self) -> bool {
        !self.common().asleep.swap(false, Ordering::Relaxed)
    }

    /// From now on nothing is taken in; what came in before can still be taken.
    pub(super) fn close(&self) {
        for shard in self.shards.iter() {
            shard.lock().closed = true;
        }
    }

    /// Records dropped since last asked.
    pub(super) fn newly_dropped(&mut self) -> u64 {
        let dropped = self.common().dropped.load(Ordering::Relaxed);
        let new = dropped - self.dropped_seen;
        self.dropped_seen = dropped;
        new
    }

    /// Who listens.
    pub(super) fn tap(&self) -> &Tap {
        &self.common().tap
    }

    /// How many buffers there are.
    pub(super) fn buffers(&self) -> usize {
        self.shards.len()
    }

    /// `units` of room are free again.
    pub(super) fn give_back(&self, units: usize) {
        if units > 0 {
            self.common().room.add_permits(units);
        }
    }

    /// Records reached the sink.
    pub(super) fn count_written(&self, records: u64) {
        self.common().written.fetch_add(records, Ordering::Relaxed);
    }

    /// An attempt to write failed.
    pub(super) fn count_write_error(&self) {
        self.common().write_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Records are lost.
    pub(super) fn count_lost(&self, records: u64) {
        self.common().lost.fetch_add(records, Ordering::Relaxed);
    }

    fn common(&self) -> &Common {
        &self.shards[0].common
    }
}

/// Units a record needs beyond the one its slot holds.
fn extra_units(record: &AuditRecord<'_>) -> usize {
    let text =
        [record.path.map_or(0, <[u8]>::len), record.method.map_or(0, str::len), record.rule.map_or(0, str::len)];
    text.iter().sum::<usize>() / UNIT
}

/// Units of room by default: 65 536 records, 64 MiB of text.
pub(super) const DEFAULT_CAPACITY: usize = 65_536;
/// Changes of state that may wait.
const MAX_CHANGES: usize = 4_096;
/// Bytes of text a unit stands for.
const UNIT: usize = 1_024;
/// Records in one buffer, and bytes of their text, at which the writer is asked to come early: what waits from one look of the
/// writer to the next is memory, held twice because buffers are swapped, and a call costs next to nothing among so many.
const EARLY_RECORDS: usize = 256;
const EARLY_TEXT: usize = 64 * 1024;
/// How long [`AuditQueue::reserve`] waits.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
