//! What is accepted, and where it is registered: by a thread of its own with no runtime yet, by a single worker with its own.

use super::BoundListener;
use crate::wire::socket::Plain;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::net::{TcpListener, UnixListener};

/// An accepted socket.
pub(super) enum AcceptedStream {
    /// Not yet registered with any runtime.
    Tcp(std::net::TcpStream),
    /// Not yet registered with any runtime.
    Unix(std::os::unix::net::UnixStream),
    /// Registered with the runtime that it was accepted in.
    Registered(Plain),
}

impl AcceptedStream {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            AcceptedStream::Tcp(tcp) => tcp.as_fd(),
            AcceptedStream::Unix(unix) => unix.as_fd(),
            AcceptedStream::Registered(Plain::Tcp(tcp)) => tcp.as_fd(),
            AcceptedStream::Registered(Plain::Unix(unix)) => unix.as_fd(),
        }
    }
}

/// A listener that a worker's own runtime watches.
pub(super) enum WatchedListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl WatchedListener {
    pub(super) fn new(bound: BoundListener) -> io::Result<WatchedListener> {
        Ok(match bound {
            BoundListener::Tcp(tcp) => WatchedListener::Tcp(TcpListener::from_std(tcp)?),
            BoundListener::Unix(unix) => WatchedListener::Unix(UnixListener::from_std(unix)?),
        })
    }

    /// The socket itself, no longer watched.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            WatchedListener::Tcp(tcp) => tcp.into_std()?.into(),
            WatchedListener::Unix(unix) => unix.into_std()?.into(),
        })
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(AcceptedStream, Option<SocketAddr>)>> {
        let registered = AcceptedStream::Registered;
        Poll::Ready(Ok(match self {
            WatchedListener::Tcp(tcp) => {
                let (stream, peer) = ready!(tcp.poll_accept(cx))?;
                (registered(Plain::Tcp(stream)), Some(peer))
            }
            WatchedListener::Unix(unix) => {
                let (stream, _) = ready!(unix.poll_accept(cx))?;
                (registered(Plain::Unix(stream)), None)
            }
        }))
    }
}
