//! [`Socket`]: one connection, read and written by the two directions of one task.

use super::buffer::{Buffer, BufferPool};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::ready_unless_full;
pub use super::stream::{Plain, Stream};

/// A connection. Both directions of an exchange hold `&Socket`; they run in one task, so no borrow is ever held across a
/// wait.
#[derive(Debug)]
pub struct Socket {
    stream: RefCell<Stream>,
    /// The kernel has been told to ask.
    is_kept_alive: Cell<bool>,
}

/// Why a write ended early.
#[derive(Debug)]
pub enum WriteFault {
    /// The other side took nothing for the whole time allowed.
    Idle,
    /// The connection is gone.
    Io(io::Error),
}

/// How long the word that nothing more will be sent may wait for a reader that takes nothing.
const LAST_WORD: Duration = Duration::from_secs(10);

impl Socket {
    /// Takes a stream over.
    pub fn new(stream: Stream) -> Socket {
        Socket { stream: RefCell::new(stream), is_kept_alive: Cell::new(false) }
    }

    /// Gives the stream back.
    pub fn into_stream(self) -> Stream {
        self.stream.into_inner()
    }

    /// Has the kernel ask, every minute of silence, whether the other side is still there: one that vanished without a
    /// word (a browser's closed lid under a tunnel that is never cut) must not hold its place for ever.
    pub fn keep_alive(&self) {
        if !self.is_kept_alive.replace(true)
            && let Some(plain) = self.stream.borrow().plain()
        {
            plain.keep_alive();
        }
    }

    /// Where the other side reached us; `None` for a unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.stream.borrow().local_address()
    }

    /// Waits until there is something to read, or the end. Holds no buffer meanwhile.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.stream.borrow_mut().poll_readable(cx)).await
    }

    /// Waits until the other end of a pipe is gone, whatever waits to be read. Never ready for any other connection.
    pub async fn ended(&self) {
        poll_fn(|cx| self.stream.borrow().poll_ended(cx)).await;
    }

    /// Reads once into the buffer; 0 is the end. At most `limit` bytes are held. A buffer that holds no memory takes some only
    /// when there is something to put there: of many that wait at a time few are read from.
    pub async fn read(&self, buffer: &mut Buffer, pool: &BufferPool, limit: usize) -> io::Result<usize> {
        poll_fn(|cx| {
            if !buffer.has_memory() {
                ready!(self.stream.borrow_mut().poll_readable(cx))?;
            }
            self.poll_read(cx, buffer, pool, limit)
        })
        .await
    }

    /// Reads what is there now: `None` when that is nothing.
    pub async fn read_now(&self, buffer: &mut Buffer, pool: &BufferPool, limit: usize) -> Option<io::Result<usize>> {
        poll_fn(|cx| {
            Poll::Ready(match self.poll_read(cx, buffer, pool, limit) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            })
        })
        .await
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        pool: &BufferPool,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = buffer.room(pool, limit);
        if room.is_empty() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, "the buffer's limit is reached")));
        }
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut read))?;
        let count = read.filled().len();
        buffer.read(count);
        Poll::Ready(Ok(count))
    }

    /// Writes all of it; each wait for room takes at most `idle`.
    pub async fn write_all(&self, mut bytes: &[u8], idle: Duration) -> Result<(), WriteFault> {
        while !bytes.is_empty() {
            let written = self.write_some(&[IoSlice::new(bytes)], idle).await?;
            bytes = &bytes[written..];
        }
        self.flush(idle).await
    }

    /// Writes all slices, in order, in as few system calls as the socket takes.
    pub async fn write_all_of(&self, slices: &mut [IoSlice<'_>], idle: Duration) -> Result<(), WriteFault> {
        let mut left = slices;
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = self.write_some(left, idle).await?;
            IoSlice::advance_slices(&mut left, written);
        }
        self.flush(idle).await
    }

    /// Has what was taken leave: where it is encrypted, it may still be here. While some of it goes, nobody is idle.
    async fn flush(&self, idle: Duration) -> Result<(), WriteFault> {
        if matches!(*self.stream.borrow(), Stream::Plain(_)) {
            return Ok(());
        }
        let poll_flush = |cx: &mut Context<'_>| Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        if let Poll::Ready(flushed) = poll_fn(|cx| Poll::Ready(poll_flush(cx))).await {
            return flushed.map_err(WriteFault::Io);
        }
        loop {
            let before = self.stream.borrow().sent();
            match tokio::time::timeout(idle, poll_fn(poll_flush)).await {
                Ok(flushed) => return flushed.map_err(WriteFault::Io),
                Err(_) if self.stream.borrow().sent() > before || self.stream.borrow_mut().push() => {}
                Err(_) => return Err(WriteFault::Idle),
            }
        }
    }

    async fn write_some(&self, slices: &[IoSlice<'_>], idle: Duration) -> Result<usize, WriteFault> {
        self.when_writable(idle, |stream, cx| match (cx, slices) {
            (None, _) => stream.write_now(slices.first().map_or(&[], |slice| &**slice)),
            // A single slice is the common case, and a plain write is the cheaper call.
            (Some(cx), [slice]) => Pin::new(stream).poll_write(cx, slice),
            (Some(cx), _) => Pin::new(stream).poll_write_vectored(cx, slices),
        })
        .await
    }

    /// Tries until something is taken. Without a context an attempt goes past the runtime: the kernel calls a long queue writable
    /// only when a third of it is free, and one that a slow reader empties in hours takes a little more all the time.
    async fn when_writable(
        &self,
        idle: Duration,
        mut attempt: impl FnMut(&mut Stream, Option<&mut Context<'_>>) -> Poll<io::Result<usize>>,
    ) -> Result<usize, WriteFault> {
        let mut attempt = |cx: Option<&mut Context<'_>>| attempt(&mut self.stream.borrow_mut(), cx);
        let mut result = poll_fn(|cx| Poll::Ready(attempt(Some(cx)))).await;
        // Only a full socket pays for a timer.
        while result.is_pending() {
            result = match tokio::time::timeout(idle, poll_fn(|cx| attempt(Some(cx)))).await {
                Ok(result) => Poll::Ready(result),
                Err(_) => attempt(None),
            };
            if result.is_pending() && !self.stream.borrow_mut().push() {
                return Err(WriteFault::Idle);
            }
        }
        match result {
            Poll::Ready(Ok(written)) if written > 0 => Ok(written),
            Poll::Ready(Err(error)) => Err(WriteFault::Io(error)),
            Poll::Ready(Ok(_)) | Poll::Pending => Err(WriteFault::Io(io::ErrorKind::WriteZero.into())),
        }
    }

    /// Are its bytes the kernel's own, so that they can be moved without being seen?
    pub fn is_plain(&self) -> bool {
        matches!(*self.stream.borrow(), Stream::Plain(_))
    }

    /// A system call that takes bytes from it, if any have come.
    pub(super) fn read_with(&self, call: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>) -> io::Result<usize> {
        match &*self.stream.borrow() {
            Stream::Plain(plain) => plain.read_with(call),
            Stream::Tls(_) | Stream::Pipe(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// A system call that hands bytes to it, as soon as it has room; waits for that at most `idle`.
    pub(super) async fn write_with(
        &self,
        idle: Duration,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Result<usize, WriteFault> {
        self.when_writable(idle, |stream, cx| match (stream, cx) {
            (Stream::Plain(plain), Some(cx)) => plain.poll_write_with(cx, &mut call),
            (Stream::Plain(plain), None) => ready_unless_full(call(plain.as_fd())),
            (Stream::Tls(_) | Stream::Pipe(_), _) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        })
        .await
    }

    /// Is there neither a byte nor an end waiting?
    pub fn is_quiet(&self) -> bool {
        self.stream.borrow_mut().is_quiet()
    }

    /// Would a close be no reset? Known only of a connection of the kernel's: over TLS the last word has to be written first, and
    /// may have to wait.
    pub fn may_just_close(&self) -> bool {
        match &*self.stream.borrow() {
            Stream::Plain(plain) => !plain.holds_bytes(),
            Stream::Tls(_) | Stream::Pipe(_) => false,
        }
    }

    /// Says that nothing more will be sent.
    pub async fn shutdown(&self) -> io::Result<()> {
        let shutdown = poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx));
        // Over TLS it is a message too, and waits behind what was not taken yet.
        tokio::time::timeout(LAST_WORD, shutdown).await?
    }

    /// Says, before a close between two messages, that the end is meant; waits for nothing.
    pub fn farewell(&self) {
        self.stream.borrow_mut().farewell();
    }

    /// Makes the coming close a reset, however it comes about: the other side cannot take what it got for the whole.
    pub fn reset_on_close(&self) {
        self.stream.borrow().reset_on_close(true);
    }

    /// Takes that back: now it is the whole.
    pub fn end_on_close(&self) {
        self.stream.borrow().reset_on_close(false);
    }
}
