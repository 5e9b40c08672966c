//! [`pipe`]: two connected ends in the memory of one thread, with the manners of a socket.
//!
//! One stream of an HTTP/2 connection is served by the code that serves a socket: what multiplexes and what judges meet at
//! such a pipe, so that there is one reader of requests and one of answers, whatever brought them. The rules:
//!
//! 1. each direction holds at most its capacity; a writer waits for room, so that a slow reader at one end holds back the
//!    flow-control window at the other;
//! 2. bytes written before [`PipeEnd::shutdown`], or before an end was dropped, are read before the end is;
//! 3. [`PipeEnd::abort`] throws them away: the other end reads a reset, and never takes a part for the whole;
//! 4. a write to an end that is gone fails.
//!
//! Not `tokio::io::duplex`: it locks, holds its buffer while nothing flows, and cannot be asked whether it is quiet. An idle
//! pipe holds no buffer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// One end. Wakers are kept one for reading and one for writing: an end belongs to one task at a time.
#[derive(Debug)]
pub struct PipeEnd {
    incoming: Rc<RefCell<Channel>>,
    outgoing: Rc<RefCell<Channel>>,
}

/// One direction.
#[derive(Debug)]
struct Channel {
    held: VecDeque<u8>,
    capacity: usize,
    state: State,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The writer has said, or shown by going, that nothing more comes.
    Ended,
    /// The writer has taken back what it wrote.
    Aborted,
    /// The reader is gone.
    Unread,
}

/// Two ends; each direction holds at most `capacity` bytes.
pub fn pipe(capacity: usize) -> (PipeEnd, PipeEnd) {
    let channel = || Rc::new(RefCell::new(Channel::new(capacity)));
    let (there, back) = (channel(), channel());
    (PipeEnd { incoming: Rc::clone(&back), outgoing: Rc::clone(&there) }, PipeEnd { incoming: there, outgoing: back })
}

impl Channel {
    fn new(capacity: usize) -> Channel {
        Channel { held: VecDeque::new(), capacity, state: State::Open, reader: None, writer: None }
    }

    fn has_something(&self) -> bool {
        !self.held.is_empty() || matches!(self.state, State::Ended | State::Aborted)
    }

    fn close(&mut self, state: State) {
        self.state = state;
        if state != State::Ended {
            self.held = VecDeque::new();
        }
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl PipeEnd {
    /// Is there something to read, or the end? Gives the buffer's memory back while there is not.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut channel = self.incoming.borrow_mut();
        if channel.has_something() {
            return Poll::Ready(Ok(()));
        }
        channel.held = VecDeque::new();
        channel.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Reads what is there; nothing is the end.
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut channel = self.incoming.borrow_mut();
        if channel.state == State::Aborted {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !channel.has_something() {
            channel.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut taken = 0;
        let (front, back) = channel.held.as_slices();
        for part in [front, back] {
            let count = part.len().min(into.remaining());
            into.put_slice(&part[..count]);
            taken += count;
        }
        channel.held.drain(..taken);
        if let Some(waker) = channel.writer.take_if(|_| taken > 0) {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what there is room for.
    pub fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut channel = self.outgoing.borrow_mut();
        if channel.state != State::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = channel.capacity - channel.held.len();
        let mut written = 0;
        for slice in slices {
            let count = slice.len().min(room - written);
            channel.held.extend(&slice[..count]);
            written += count;
        }
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            channel.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(waker) = channel.reader.take() {
            waker.wake();
        }
        Poll::Ready(Ok(written))
    }

    /// Says that nothing more will be written.
    pub fn shutdown(&self) {
        let mut channel = self.outgoing.borrow_mut();
        if channel.state == State::Open {
            channel.close(State::Ended);
        }
    }

    /// Takes back what was not read yet: the other end reads a reset.
    pub fn abort(&self) {
        let mut channel = self.outgoing.borrow_mut();
        if matches!(channel.state, State::Open | State::Ended) {
            channel.close(State::Aborted);
        }
    }

    /// Waits until the other end is gone, or has said that nothing more comes; what waits to be read does not count.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut channel = self.incoming.borrow_mut();
        if channel.state == State::Open {
            channel.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Is there neither a byte nor an end to read?
    pub fn is_quiet(&self) -> bool {
        !self.incoming.borrow().has_something()
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.shutdown();
        self.incoming.borrow_mut().close(State::Unread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn read(end: &PipeEnd, most: usize) -> io::Result<Vec<u8>> {
        let mut room = vec![0; most];
        let mut into = ReadBuf::new(&mut room);
        poll_fn(|cx| end.poll_read(cx, &mut into)).await?;
        Ok(into.filled().to_vec())
    }

    async fn write(end: &PipeEnd, text: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| end.poll_write(cx, &[IoSlice::new(text)])).await
    }

    fn is_pending<T>(poll: Poll<T>) -> bool {
        poll.is_pending()
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_and_no_more_than_the_capacity_is_held() {
        let (one, other) = pipe(10);
        let text: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let sending = async {
            let mut sent = 0;
            while sent < text.len() {
                let count = write(&one, &text[sent..]).await.unwrap();
                assert!(count <= 10);
                sent += count;
            }
            one.shutdown();
        };
        let taking = async {
            let mut got = Vec::new();
            loop {
                let part = read(&other, 7).await.unwrap();
                if part.is_empty() {
                    return got;
                }
                got.extend(part);
            }
        };
        let ((), got) = tokio::join!(sending, taking);
        assert_eq!(got, text);
    }

    #[tokio::test]
    async fn a_full_pipe_makes_the_writer_wait_until_something_is_read() {
        let (one, other) = pipe(4);
        assert_eq!(write(&one, b"abcdef").await.unwrap(), 4);
        let mut waiting = a_waiter();
        assert!(is_pending(one.poll_write(&mut waiting.context(), &[IoSlice::new(b"ef")])));
        assert_eq!(read(&other, 1).await.unwrap(), b"a");
        assert!(waiting.woken());
        assert_eq!(write(&one, b"ef").await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_is_read_before_it() {
        let (one, other) = pipe(10);
        write(&one, b"last").await.unwrap();
        drop(one);
        assert!(!other.is_quiet());
        assert_eq!(read(&other, 10).await.unwrap(), b"last");
        assert_eq!(read(&other, 10).await.unwrap(), b"");
        assert!(write(&other, b"x").await.is_err(), "nobody reads it");
    }

    #[tokio::test]
    async fn an_abort_takes_back_what_was_written_and_is_no_clean_end() {
        let (one, other) = pipe(10);
        write(&one, b"part").await.unwrap();
        one.abort();
        drop(one);
        assert_eq!(read(&other, 10).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn the_end_can_be_waited_for_past_what_is_held() {
        let (one, other) = pipe(10);
        write(&one, b"held").await.unwrap();
        let mut waiting = a_waiter();
        assert!(is_pending(other.poll_ended(&mut waiting.context())));
        drop(one);
        assert!(waiting.woken() && !is_pending(other.poll_ended(&mut waiting.context())));
        assert_eq!(read(&other, 10).await.unwrap(), b"held");
    }

    #[tokio::test]
    async fn an_end_that_waits_is_woken_by_bytes_and_by_the_end() {
        let (one, other) = pipe(10);
        let mut waiting = a_waiter();
        assert!(other.is_quiet() && is_pending(other.poll_readable(&mut waiting.context())));
        write(&one, b"x").await.unwrap();
        assert!(waiting.woken() && !other.is_quiet());
        read(&other, 1).await.unwrap();
        assert!(is_pending(other.poll_readable(&mut waiting.context())));
        drop(one);
        assert!(waiting.woken());
    }

    struct Waiting(std::sync::Arc<Flag>, Waker);
    #[derive(Default)]
    struct Flag(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    impl Waiting {
        fn context(&mut self) -> Context<'_> {
            Context::from_waker(&self.1)
        }

        /// Was it woken since it was last asked?
        fn woken(&self) -> bool {
            self.0.0.swap(false, std::sync::atomic::Ordering::Relaxed)
        }
    }

    fn a_waiter() -> Waiting {
        let flag = std::sync::Arc::new(Flag::default());
        Waiting(std::sync::Arc::clone(&flag), flag.into())
    }
}
