//! [`Stream`]: the kinds of connection there are, and what each does when it is asked to read, write or end.
//!
//! A kind is one arm in each method here; [`super::socket::Socket`] knows none of them. What an arm owes the proxy:
//!
//! - `poll_readable` is ready when bytes *of the message* or its end can be taken, and holds no buffer of ours meanwhile;
//! - an end that the other side did not mean (over TLS: no `close_notify`) is an error, never a clean end of 0 bytes;
//! - `is_quiet` is about the message too: a TLS 1.3 ticket that waits on an idle connection is no answer;
//! - after `reset_on_close` the other side can tell that what it got is not the whole.

use super::pipe::PipeEnd;
use super::tls::TlsStream;
use std::io::{self, IoSlice, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The kinds of connection there are.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they are.
    Plain(Plain),
    /// TLS, its handshake done. Boxed: a plain connection does not hold the room of an encrypted one.
    Tls(Box<TlsStream>),
    /// One stream of a connection that carries many; the code that multiplexes has the other end.
    Pipe(PipeEnd),
}

/// A connection of the kernel's.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// How long a connection may be silent before the kernel asks.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

impl Stream {
    /// The kernel's connection below, if there is one.
    pub(super) fn plain(&self) -> Option<&Plain> {
        match self {
            Stream::Plain(plain) => Some(plain),
            Stream::Tls(tls) => Some(tls.plain()),
            Stream::Pipe(_) => None,
        }
    }

    /// Where the other side reached us; `None` for what has no address.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        match self.plain()? {
            Plain::Tcp(tcp) => tcp.local_addr().ok(),
            Plain::Unix(_) => None,
        }
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(Plain::Tcp(tcp)) => tcp.poll_read_ready(cx),
            Stream::Plain(Plain::Unix(unix)) => unix.poll_read_ready(cx),
            Stream::Tls(tls) => tls.poll_readable(cx),
            Stream::Pipe(pipe) => pipe.poll_readable(cx),
        }
    }

    /// Waits for the end of a pipe, past what it holds; the kernel tells of none before what came first.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Stream::Plain(_) | Stream::Tls(_) => Poll::Pending,
            Stream::Pipe(pipe) => pipe.poll_ended(cx),
        }
    }

    /// Is there neither a byte nor an end waiting? Asks the kernel itself: what the runtime knows may be a turn old, and
    /// inside a task that has used up its budget it says nothing at all.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Stream::Plain(plain) => plain.is_quiet(),
            Stream::Tls(tls) => tls.is_quiet(),
            Stream::Pipe(pipe) => pipe.is_quiet(),
        }
    }

    /// Bytes that have left for the kernel, where a write can be taken and still wait here; else 0.
    pub(super) fn sent(&self) -> u64 {
        match self {
            Stream::Plain(_) | Stream::Pipe(_) => 0,
            Stream::Tls(tls) => tls.sent(),
        }
    }

    /// What the kernel takes now, whatever the runtime has heard of it.
    pub(super) fn write_now(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(plain) => ready_unless_full((&*plain.kernel()).write(bytes)),
            Stream::Tls(_) | Stream::Pipe(_) => Poll::Pending,
        }
    }

    /// Has the kernel taken a little more of what waits here?
    pub(super) fn push(&mut self) -> bool {
        match self {
            Stream::Plain(_) | Stream::Pipe(_) => false,
            Stream::Tls(tls) => tls.push(),
        }
    }

    /// Says, as far as it can be said without waiting, that the end is meant.
    pub(super) fn farewell(&mut self) {
        match self {
            // The close itself says it.
            Stream::Plain(_) | Stream::Pipe(_) => {}
            Stream::Tls(tls) => tls.farewell(),
        }
    }

    pub(super) fn reset_on_close(&self, reset: bool) {
        match self {
            Stream::Plain(plain) => plain.reset_on_close(reset),
            // Without `close_notify` the end is no clean one anyway; the reset says so to those who do not look.
            Stream::Tls(tls) => tls.plain().reset_on_close(reset),
            Stream::Pipe(pipe) if reset => pipe.abort(),
            Stream::Pipe(_) => {}
        }
    }
}

/// A full queue is no error.
pub(super) fn ready_unless_full(written: io::Result<usize>) -> Poll<io::Result<usize>> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        written => Poll::Ready(written),
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(plain) => Pin::new(plain).poll_read(cx, into),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, into),
            Stream::Pipe(pipe) => pipe.poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(plain) => Pin::new(plain).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
            Stream::Pipe(pipe) => pipe.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(plain) => Pin::new(plain).poll_write_vectored(cx, slices),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
            Stream::Pipe(pipe) => pipe.poll_write(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Stream::Pipe(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Stream::Pipe(pipe) => {
                pipe.shutdown();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Plain {
    /// Waits until something is there, and tells its first byte without taking it; `None` at the end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let peek = || {
            let mut byte = [0];
            let (count, _) = rustix::net::recv(&*self.kernel(), &mut byte, rustix::net::RecvFlags::PEEK)?;
            Ok((count > 0).then_some(byte[0]))
        };
        match self {
            Plain::Tcp(tcp) => tcp.async_io(Interest::READABLE, peek).await,
            Plain::Unix(unix) => unix.async_io(Interest::READABLE, peek).await,
        }
    }

    /// The socket itself, past the runtime.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Plain::Tcp(tcp) => tcp.as_fd(),
            Plain::Unix(unix) => unix.as_fd(),
        }
    }

    /// A system call that reads from it, if the runtime has heard of anything to read; `WouldBlock` makes it listen again.
    pub(super) fn read_with<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        match self {
            Plain::Tcp(tcp) => tcp.try_io(Interest::READABLE, || call(tcp.as_fd())),
            Plain::Unix(unix) => unix.try_io(Interest::READABLE, || call(unix.as_fd())),
        }
    }

    /// The same for writing, as often as it takes.
    pub(super) fn poll_write_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let called = match self {
                Plain::Tcp(tcp) => {
                    ready!(tcp.poll_write_ready(cx))?;
                    tcp.try_io(Interest::WRITABLE, || call(tcp.as_fd()))
                }
                Plain::Unix(unix) => {
                    ready!(unix.poll_write_ready(cx))?;
                    unix.try_io(Interest::WRITABLE, || call(unix.as_fd()))
                }
            };
            match called {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                called => return Poll::Ready(called),
            }
        }
    }

    pub(super) fn keep_alive(&self) {
        if let Plain::Tcp(tcp) = self {
            let probes =
                socket2::TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4).with_retries(4);
            // Without it the connection still works.
            let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&probes);
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.peek(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) fn holds_bytes(&self) -> bool {
        self.peek().is_ok_and(|count| count > 0)
    }

    fn peek(&self) -> io::Result<usize> {
        self.kernel().peek(&mut [std::mem::MaybeUninit::uninit()])
    }

    pub(super) fn reset_on_close(&self, reset: bool) {
        if let Plain::Tcp(_) = self {
            // If it cannot be set, the connection is gone already.
            let _ = self.kernel().set_linger(reset.then_some(Duration::ZERO));
        }
    }

    /// The socket itself, past the runtime.
    pub(super) fn kernel(&self) -> socket2::SockRef<'_> {
        match self {
            Plain::Tcp(tcp) => tcp.into(),
            Plain::Unix(unix) => unix.into(),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Plain::Tcp(tcp) => Pin::new(tcp).poll_read(cx, into),
            Plain::Unix(unix) => Pin::new(unix).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Plain::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Plain::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Plain::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Plain::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Plain::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Plain::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Plain::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Plain::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}
