//! [`Socket`]: one connection, read and written by the two directions of one task.

use super::buffer::{Buffer, BufferPool};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The kinds of connection there are.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A connection. Both directions of an exchange hold `&Socket`; they run in one task, so no borrow is ever held across a
/// wait.
#[derive(Debug)]
pub struct Socket {
    stream: RefCell<Stream>,
}

/// Why a write ended early.
#[derive(Debug)]
pub enum WriteFault {
    /// The other side took nothing for the whole time allowed.
    Idle,
    /// The connection is gone.
    Io(io::Error),
}

/// How long a connection may be silent before the kernel asks.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

impl Socket {
    /// Takes a stream over. TCP: small writes leave at once.
    pub fn new(stream: Stream) -> Socket {
        if let Stream::Tcp(tcp) = &stream {
            // An option of latency: without it the connection still works.
            let _ = tcp.set_nodelay(true);
        }
        Socket { stream: RefCell::new(stream) }
    }

    /// Has the kernel ask, every minute of silence, whether the other side is still there: one that vanished without a
    /// word (a browser's closed lid under a tunnel that is never cut) must not hold its place for ever.
    pub fn keep_alive(&self) {
        if let Stream::Tcp(tcp) = &*self.stream.borrow() {
            let probes =
                socket2::TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4).with_retries(4);
            // Without it the connection still works.
            let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&probes);
        }
    }

    /// Waits until there is something to read, or the end. Holds no buffer meanwhile.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| match &*self.stream.borrow() {
            Stream::Tcp(tcp) => tcp.poll_read_ready(cx),
            Stream::Unix(unix) => unix.poll_read_ready(cx),
        })
        .await
    }

    /// Reads once into the buffer; 0 is the end. At most `limit` bytes are held.
    pub async fn read(&self, buffer: &mut Buffer, pool: &BufferPool, limit: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer, pool, limit)).await
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
        ready!(match &mut *self.stream.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut read),
            Stream::Unix(unix) => Pin::new(unix).poll_read(cx, &mut read),
        })?;
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
        Ok(())
    }

    /// Writes all slices, in order, in as few system calls as the socket takes.
    pub async fn write_all_of(&self, slices: &mut [IoSlice<'_>], idle: Duration) -> Result<(), WriteFault> {
        let mut left = slices;
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = self.write_some(left, idle).await?;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    async fn write_some(&self, slices: &[IoSlice<'_>], idle: Duration) -> Result<usize, WriteFault> {
        let at_once = poll_fn(|cx| Poll::Ready(self.poll_write(cx, slices))).await;
        let result = match at_once {
            Poll::Ready(result) => result,
            // Only a full socket pays for a timer.
            Poll::Pending => tokio::time::timeout(idle, poll_fn(|cx| self.poll_write(cx, slices)))
                .await
                .map_err(|_| WriteFault::Idle)?,
        };
        match result {
            Ok(0) => Err(WriteFault::Io(io::ErrorKind::WriteZero.into())),
            Ok(written) => Ok(written),
            Err(error) => Err(WriteFault::Io(error)),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // A single slice is the common case, and a plain write is the cheaper call.
        match (&mut *self.stream.borrow_mut(), slices) {
            (Stream::Tcp(tcp), [slice]) => Pin::new(tcp).poll_write(cx, slice),
            (Stream::Tcp(tcp), _) => Pin::new(tcp).poll_write_vectored(cx, slices),
            (Stream::Unix(unix), [slice]) => Pin::new(unix).poll_write(cx, slice),
            (Stream::Unix(unix), _) => Pin::new(unix).poll_write_vectored(cx, slices),
        }
    }

    /// Is there neither a byte nor an end waiting? Asks the kernel itself: what the runtime knows may be a turn old, and
    /// inside a task that has used up its budget it says nothing at all.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = match &*self.stream.borrow() {
            Stream::Tcp(tcp) => socket2::SockRef::from(tcp).peek(&mut byte),
            Stream::Unix(unix) => socket2::SockRef::from(unix).peek(&mut byte),
        };
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says that nothing more will be sent.
    pub async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| match &mut *self.stream.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        })
        .await
    }

    /// Makes the coming close a reset: the other side cannot take what it got for the whole.
    pub fn reset_on_close(&self) {
        if let Stream::Tcp(tcp) = &*self.stream.borrow() {
            // If it cannot be set, the connection is gone already.
            let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}
