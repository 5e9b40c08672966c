//! [`DriverLease`]: may this sidecar drive the ramp now?
//!
//! Of the sidecars that share their state exactly one drives a ramp: the one that has the lease in Redis. It lives a few seconds and is
//! renewed while it is wanted; who cannot renew it in time has lost it, by its own monotonic clock and before Redis gives it
//! to another. A process that was paused between the question and its step may still be late: therefore each driver has a higher
//! number than those before, its step says the number, and Redis refuses the step of a lower one
//! ([`crate::keys::redis::fleet`]). Where nothing is shared the one sidecar there is may always drive.

use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the lease lives in Redis without being renewed.
pub const TTL: Duration = Duration::from_secs(6);

/// So much sooner its holder takes it for lost: clocks run a little differently, and a step takes its time.
const MARGIN: Duration = Duration::from_secs(1);

/// The right to drive a ramp, as far as this sidecar knows.
#[derive(Debug)]
pub struct DriverLease {
    /// Is there anybody else?
    shared: bool,
    wanted: AtomicBool,
    held: ArcSwapOption<Held>,
    another: ArcSwapOption<String>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    number: u64,
    until: Instant,
}

impl DriverLease {
    /// `shared`: are there other sidecars that could drive?
    pub fn new(shared: bool) -> DriverLease {
        DriverLease {
            shared,
            wanted: AtomicBool::new(false),
            held: ArcSwapOption::empty(),
            another: ArcSwapOption::empty(),
        }
    }

    /// From now on this sidecar wants to drive, or no longer does. The lease is asked for, or given back, within a moment.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Release);
    }

    /// Does it?
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// May this sidecar take a step of the ramp at `now`? To be asked right before each.
    pub fn holds(&self, now: Instant) -> bool {
        !self.shared || self.held.load().as_ref().is_some_and(|held| now < held.until)
    }

    /// The number under which this sidecar drives or last drove; `None`: it never did.
    pub fn number(&self) -> Option<u64> {
        self.held.load().as_ref().map(|held| held.number)
    }

    /// The name of the sidecar that drives instead.
    pub fn another(&self) -> Option<Arc<String>> {
        self.another.load_full()
    }

    /// It was given, to a question asked at `asked`.
    pub(crate) fn given(&self, number: u64, asked: Instant) {
        self.held.store(Some(Arc::new(Held { number, until: asked + TTL - MARGIN })));
        self.another.store(None);
    }

    /// Another one has it, or this one gave it back. The number stays: a step that is on its way is the old driver's.
    pub(crate) fn lost(&self, to: Option<String>, now: Instant) {
        if let Some(held) = self.held.load_full() {
            self.held.store(Some(Arc::new(Held { until: held.until.min(now), ..*held })));
        }
        self.another.store(to.map(Arc::new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn it_is_held_until_shortly_before_redis_would_give_it_to_another() {
        let (lease, asked) = (DriverLease::new(true), clock::monotonic());
        assert!(!lease.holds(asked) && lease.number().is_none());
        lease.given(3, asked);
        assert!(lease.holds(asked) && lease.holds(asked + TTL - MARGIN - Duration::from_millis(1)));
        assert!(!lease.holds(asked + TTL - MARGIN));
        lease.given(3, asked + Duration::from_secs(2));
        assert!(lease.holds(asked + TTL));
        lease.lost(Some("b".to_owned()), asked + Duration::from_secs(3));
        assert!(!lease.holds(asked + Duration::from_secs(3)), "another has it");
        assert_eq!((lease.number(), lease.another().as_deref().map(String::as_str)), (Some(3), Some("b")));
    }

    #[test]
    fn where_nothing_is_shared_it_is_always_held() {
        assert!(DriverLease::new(false).holds(clock::monotonic()));
    }
}
