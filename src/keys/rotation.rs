//! What is to be done about one service's keys now? A state machine over a [`KeyRecord`]; it reads no clock and writes no store.
//!
//! | state | current | next | previous | verifiers take | signers use |
//! |---|---|---|---|---|---|
//! | settled | A | | | A | A |
//! | staged | A | B | | A B | A |
//! | overlapping | B | | A | B A | B |
//!
//! Settled → staged → overlapping → settled. The new key is valid everywhere before any signer uses it, and the old one stays valid
//! for an overlap after the last one should have stopped: programs that load their key once go on using it. So no request is refused
//! for a rotation, and a crash between two steps leaves a state that the next run goes on from.
//!
//! An overlap ends when its time has come *and* no verifier has seen the old key used for a while. One whose time has come and whose old key
//! is still used is kept, and alerts: ending it would be the outage that the overlap is there to prevent. `force` ends one, promised or used. Where nobody
//! knows whether the old key is used, it may be: that is no reason to end it.
//!
//! Never three keys: a rotation while an overlap runs is refused rather than make one of the three invalid silently.

use super::record::{KeyRecord, KeyText, Next, Previous};
use super::usage::{ServiceUsage, Used};
use crate::signature::key::Fingerprint;

/// How keys live, from `[keys]`; in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `ttl`
    pub ttl: u64,
    /// `unused_for`
    pub unused_for: u64,
    /// `rotate_before`
    pub rotate_before: u64,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Somebody wants this key rotated.
    Now,
    /// A timer wants done what is due.
    WhenDue,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Stage a new key, wait until verifiers have it, switch.
    Rotate {
        /// First let go of the key before.
        ends: Option<Fingerprint>,
    },
    /// One was staged by a run that did not come to its end: wait until verifiers have it, switch.
    Resume {
        /// Which.
        next: Fingerprint,
    },
    /// Let go of the key before, and no more.
    EndOverlap {
        /// Which.
        old: Fingerprint,
    },
    /// It is not the time.
    Nothing,
    /// It would make a key invalid that was promised to be valid, or is used.
    Refuse(Overlap),
    /// The overlap should be over, and its old key is still used, for all we know: somebody must look.
    Overdue(Overlap),
}

/// An overlap, and who is in its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The key on its way out.
    pub old: Fingerprint,
    /// It was meant to be taken until then.
    pub until: u64,
    /// Its last use, if one was seen.
    pub used: Option<Used>,
    /// Would we know of a use?
    pub known: bool,
    /// How far it is.
    pub stage: OverlapStage,
}

/// How far an overlap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlapStage {
    /// Its time has not come.
    Running,
    /// Its time has come, and the old key was used lately.
    StillUsed,
    /// Its time has come, and nobody here knows whether the old key is used.
    Unknown,
    /// Its time has come, and nobody has used the old key lately.
    Over,
}

/// The overlap of this record, if one is there. `usage`: `None` where nobody knows which keys are used.
pub fn overlap(record: &KeyRecord, usage: Option<&ServiceUsage>, unused_for: u64, now: u64) -> Option<Overlap> {
    let previous = record.previous.as_ref()?;
    let old = previous.key.fingerprint();
    let used = usage.and_then(|usage| usage.get(&old)).cloned();
    let stage = match &used {
        _ if now < previous.until => OverlapStage::Running,
        // A use in the future (a verifier's clock) is a late one.
        Some(used) if used.at.saturating_add(unused_for) > now => OverlapStage::StillUsed,
        None if usage.is_none() => OverlapStage::Unknown,
        Some(_) | None => OverlapStage::Over,
    };
    Some(Overlap { old, until: previous.until, used, known: usage.is_some(), stage })
}

/// What to do about this record. `force`: an overlap is in nobody's way.
pub fn plan(
    record: &KeyRecord,
    usage: Option<&ServiceUsage>,
    rules: &Rules,
    asked: Asked,
    force: bool,
    now: u64,
) -> Plan {
    if let Some(next) = &record.next {
        return Plan::Resume { next: next.key.fingerprint() };
    }
    let left = record.left(rules.ttl, now);
    let due = left.is_some_and(|left| left < rules.rotate_before.cast_signed());
    let wanted = asked == Asked::Now || due;
    let Some(overlap) = overlap(record, usage, rules.unused_for, now) else {
        return if wanted { Plan::Rotate { ends: None } } else { Plan::Nothing };
    };
    let old = overlap.old;
    let may_end = match (overlap.stage, asked) {
        (OverlapStage::Over, _) => true,
        // Its time has not come, and nobody asked for more than what is due.
        (OverlapStage::Running, Asked::WhenDue) if !force => return Plan::Nothing,
        (OverlapStage::StillUsed | OverlapStage::Unknown | OverlapStage::Running, _) => force,
    };
    match (may_end, wanted, asked) {
        (true, true, _) => Plan::Rotate { ends: Some(old) },
        (true, false, _) => Plan::EndOverlap { old },
        (false, _, Asked::Now) => Plan::Refuse(overlap),
        (false, _, Asked::WhenDue) => Plan::Overdue(overlap),
    }
}

/// The record with a new key staged. What it had of a rotation before is gone.
pub fn staged(record: &KeyRecord, next: &KeyText, now: u64) -> KeyRecord {
    KeyRecord { next: Some(Next { key: next.copy(), since: now }), previous: None, ..copy(record) }
}

/// The record with the staged key in use and the one before on its way out; `None` where none is staged. It lapses after `ttl` seconds
/// where keys lapse.
pub fn switched(record: &KeyRecord, overlap: u64, ttl: u64, now: u64) -> Option<KeyRecord> {
    Some(KeyRecord {
        current: record.next.as_ref()?.key.copy(),
        made: Some(now),
        expires: Some(now.saturating_add(ttl)),
        previous: Some(Previous { key: record.current.copy(), until: now.saturating_add(overlap) }),
        next: None,
    })
}

/// The record with its overlap ended.
pub fn settled(record: &KeyRecord) -> KeyRecord {
    KeyRecord { previous: None, ..copy(record) }
}

fn copy(record: &KeyRecord) -> KeyRecord {
    KeyRecord {
        current: record.current.copy(),
        made: record.made,
        expires: record.expires,
        previous: record
            .previous
            .as_ref()
            .map(|previous| Previous { key: previous.key.copy(), until: previous.until }),
        next: record.next.as_ref().map(|next| Next { key: next.key.copy(), since: next.since }),
    }
}

#[cfg(test)]
mod tests;
