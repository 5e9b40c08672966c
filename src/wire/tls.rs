//! [`TlsStream`]: a connection behind a finished TLS handshake, as one kind of [`super::stream::Stream`].
//!
//! rustls takes plaintext and holds the records until the kernel takes them, so a write that was taken may still wait
//! here; `TlsStream::sent` tells a slow reader from one that takes nothing. Attack: a connection cut by somebody in
//! between ends without `close_notify`, and is reported as an error where a body is read until the end.

use super::stream::Plain;
use rustls::{ConnectionCommon, SideData};
use std::io::{self, BufRead as _, IoSlice, Read, Write};
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, ReadBuf};

/// Either side of a TLS connection, its handshake done.
#[derive(Debug)]
pub struct TlsStream(tokio_rustls::TlsStream<Counted>);

/// The kernel's connection below TLS; counts what it takes.
#[derive(Debug)]
pub struct Counted {
    plain: Plain,
    sent: u64,
}

impl Counted {
    /// A connection that a handshake is about to be made on.
    pub fn new(plain: Plain) -> Counted {
        Counted { plain, sent: 0 }
    }

    /// The connection below, when no handshake came about.
    pub fn into_plain(self) -> Plain {
        self.plain
    }

    fn push(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<usize>) -> io::Result<usize> {
        let count = write(&mut Kernel(&self.plain))?;
        self.sent += count as u64;
        Ok(count)
    }
}

impl<S: Into<tokio_rustls::TlsStream<Counted>>> From<S> for TlsStream {
    fn from(stream: S) -> TlsStream {
        TlsStream(stream.into())
    }
}

impl TlsStream {
    pub(super) fn plain(&self) -> &Plain {
        &self.0.get_ref().0.plain
    }

    pub(super) fn sent(&self) -> u64 {
        self.0.get_ref().0.sent
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll_fill_buf(cx)).map(|_| ()))
    }

    /// Looks at the kernel and takes what belongs to TLS alone (tickets) out of the way.
    pub(super) fn is_quiet(&mut self) -> bool {
        match &mut self.0 {
            tokio_rustls::TlsStream::Client(stream) => {
                let (io, session) = stream.get_mut();
                nothing_for_us(&io.plain, session)
            }
            tokio_rustls::TlsStream::Server(stream) => {
                let (io, session) = stream.get_mut();
                nothing_for_us(&io.plain, session)
            }
        }
    }

    /// Has the kernel taken a little more of what waits here, whatever the runtime has heard of it?
    pub(super) fn push(&mut self) -> bool {
        let taken = match &mut self.0 {
            tokio_rustls::TlsStream::Client(stream) => {
                let (io, session) = stream.get_mut();
                io.push(|plain| session.write_tls(plain))
            }
            tokio_rustls::TlsStream::Server(stream) => {
                let (io, session) = stream.get_mut();
                io.push(|plain| session.write_tls(plain))
            }
        };
        taken.is_ok_and(|count| count > 0)
    }

    pub(super) fn farewell(&mut self) {
        // What does not go at once does not go: nobody waits for it.
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

/// Is there no plaintext, no end and no error?
fn nothing_for_us<D: SideData>(plain: &Plain, session: &mut impl DerefMut<Target = ConnectionCommon<D>>) -> bool {
    loop {
        match session.reader().fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return false,
        }
        match session.read_tls(&mut Kernel(plain)) {
            Ok(0) => return false,
            Ok(_) if session.process_new_packets().is_ok() => {}
            Ok(_) => return false,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Reads and writes past the runtime: what it does not know of, it asks for once in vain.
struct Kernel<'k>(&'k Plain);

impl Read for Kernel<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.0.kernel()).read(into)
    }
}

impl Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0.kernel()).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, into)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().plain).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.plain).poll_write(cx, bytes))?;
        this.sent += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // What is asked for nearly always is one record, and a plain write is the cheaper call.
        if let [one] = slices {
            return self.poll_write(cx, one);
        }
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.plain).poll_write_vectored(cx, slices))?;
        this.sent += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().plain).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().plain).poll_shutdown(cx)
    }
}
