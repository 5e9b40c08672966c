//! [`Tap`]: who listens while records are written? Changes of state, and what is or would be refused, line by line.
//!
//! 1. The writer's thread offers what it has just serialised: the same line, with its `seq`. A worker knows nothing of it, so a request
//!    costs nothing more; the writer itself asks one relaxed atomic while nobody listens.
//! 2. Every listener has its own bounded queue. What does not fit is lost to that listener alone, and the loss is told where it
//!    happened, with how many. Nobody is waited for.
//! 3. There are at most [`MOST`] listeners.
//!
//! What is not put on record is not heard: a record that had no room, and, while the sink takes nothing, those that wait for it.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Where listeners come and the writer offers.
#[derive(Debug, Default)]
pub struct Tap {
    listening: AtomicUsize,
    ears: Mutex<Ears>,
}

#[derive(Debug, Default)]
struct Ears {
    open: Vec<Arc<Mutex<Ear>>>,
    /// Nothing will be offered any more.
    closed: bool,
}

/// The queue of one listener.
#[derive(Debug, Default)]
struct Ear {
    waiting: VecDeque<Heard>,
    /// Bytes of the lines that wait.
    bytes: usize,
    /// Lines lost behind those that wait.
    lost: u64,
    closed: bool,
    waker: Option<Waker>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// One JSON object, without the end of its line.
    Line(Bytes),
    /// So many lines were lost here, because the listener was slow.
    Lost(u64),
}

/// Somebody who listens, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    tap: Arc<Tap>,
    ear: Arc<Mutex<Ear>>,
}

impl Tap {
    /// Listens from now on; `None`: too many do already, or the end has come.
    pub fn listen(self: &Arc<Self>) -> Option<Listener> {
        let mut ears = lock(&self.ears);
        if ears.closed || ears.open.len() >= MOST {
            return None;
        }
        let ear = Arc::<Mutex<Ear>>::default();
        ears.open.push(Arc::clone(&ear));
        self.listening.store(ears.open.len(), Ordering::Relaxed);
        Some(Listener { tap: Arc::clone(self), ear })
    }

    /// Does anybody listen?
    pub(super) fn is_heard(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0
    }

    /// Tells all who listen.
    pub(super) fn offer(&self, line: &[u8]) {
        let line = Bytes::copy_from_slice(line.trim_ascii_end());
        for ear in &lock(&self.ears).open {
            lock(ear).put(&line);
        }
    }

    /// Nothing comes any more: listeners hear what waits, and then the end.
    pub(super) fn close(&self) {
        let mut ears = lock(&self.ears);
        ears.closed = true;
        for ear in &ears.open {
            let mut ear = lock(ear);
            ear.closed = true;
            ear.wake();
        }
    }
}

impl Ear {
    fn put(&mut self, line: &Bytes) {
        // One line fits always, however long it is.
        let fits = self.waiting.is_empty()
            || (self.waiting.len() < MOST_LINES && self.bytes.saturating_add(line.len()) <= MOST_BYTES);
        if !fits {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            self.waiting.push_back(Heard::Lost(std::mem::take(&mut self.lost)));
        }
        self.bytes += line.len();
        self.waiting.push_back(Heard::Line(line.clone()));
        self.wake();
    }

    fn take(&mut self) -> Option<Heard> {
        let heard = self.waiting.pop_front();
        match &heard {
            Some(Heard::Line(line)) => self.bytes -= line.len(),
            Some(Heard::Lost(_)) => {}
            None if self.lost > 0 => return Some(Heard::Lost(std::mem::take(&mut self.lost))),
            None => {}
        }
        heard
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Listener {
    /// What is heard next; `None` at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Heard>> {
        let mut ear = lock(&self.ear);
        match ear.take() {
            Some(heard) => Poll::Ready(Some(heard)),
            None if ear.closed => Poll::Ready(None),
            None => {
                ear.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut ears = lock(&self.tap.ears);
        ears.open.retain(|ear| !Arc::ptr_eq(ear, &self.ear));
        self.tap.listening.store(ears.open.len(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way but an allocation failure, which ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listeners at a time: a person or two, a program or two.
pub const MOST: usize = 4;
/// Lines that wait for one listener, and bytes of them.
const MOST_LINES: usize = 1_024;
const MOST_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn next(listener: &mut Listener) -> Poll<Option<Heard>> {
        listener.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn line(text: &str) -> Poll<Option<Heard>> {
        Poll::Ready(Some(Heard::Line(Bytes::copy_from_slice(text.as_bytes()))))
    }

    #[test]
    fn all_who_listen_hear_what_is_offered_from_then_on_in_order() {
        let tap = Arc::new(Tap::default());
        tap.offer(b"before");
        let (mut one, mut two) = (tap.listen().unwrap(), tap.listen().unwrap());
        assert!(next(&mut one).is_pending());
        tap.offer(b"{\"a\":1}\n");
        tap.offer(b"b");
        for listener in [&mut one, &mut two] {
            assert_eq!(next(listener), line("{\"a\":1}"));
            assert_eq!(next(listener), line("b"));
            assert!(next(listener).is_pending());
        }
        tap.offer(b"c");
        tap.close();
        assert_eq!(next(&mut one), line("c"));
        assert_eq!(next(&mut one), Poll::Ready(None));
        assert!(tap.listen().is_none(), "the end has come");
    }

    #[test]
    fn a_slow_listener_is_told_how_many_it_lost_and_where_and_others_lose_nothing() {
        let tap = Arc::new(Tap::default());
        let (mut slow, mut quick) = (tap.listen().unwrap(), tap.listen().unwrap());
        for n in 0..MOST_LINES + 7 {
            tap.offer(n.to_string().as_bytes());
            assert_eq!(next(&mut quick), line(&n.to_string()));
        }
        assert_eq!(next(&mut slow), line("0"));
        tap.offer(b"late");
        for n in 1..MOST_LINES {
            assert_eq!(next(&mut slow), line(&n.to_string()));
        }
        assert_eq!(next(&mut slow), Poll::Ready(Some(Heard::Lost(7))));
        assert_eq!(next(&mut slow), line("late"));
        assert!(next(&mut slow).is_pending());
        assert_eq!(next(&mut quick), line("late"));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_a_loss_at_the_end_is_told_too() {
        let tap = Arc::new(Tap::default());
        let mut listener = tap.listen().unwrap();
        let long = "x".repeat(MOST_BYTES);
        tap.offer(long.as_bytes());
        tap.offer(b"one byte too many");
        assert!(lock(&listener.ear).bytes <= MOST_BYTES);
        assert_eq!(next(&mut listener), line(&long));
        assert_eq!(next(&mut listener), Poll::Ready(Some(Heard::Lost(1))));
        assert!(next(&mut listener).is_pending());
        assert_eq!(lock(&listener.ear).bytes, 0);
    }

    #[test]
    fn there_are_never_more_than_a_few_and_who_leaves_makes_room() {
        let tap = Arc::new(Tap::default());
        assert!(!tap.is_heard());
        let mut all: Vec<Listener> = (0..MOST).map(|_| tap.listen().unwrap()).collect();
        assert!(tap.listen().is_none());
        all.pop();
        assert!(tap.listen().is_some());
        drop(all);
        assert!(!tap.is_heard());
    }
}
