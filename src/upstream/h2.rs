//! HTTP/2 to an upstream: one connection of a worker carries its requests as streams; each request sees a pipe.
//!
//! What forwards a request knows connections that carry one exchange of HTTP/1.1. For an upstream with `upstream_http2` such a
//! connection is the end of a pipe, and [`exchange`] carries what goes through it as one stream. The rules:
//!
//! 1. a connection is opened when the first request needs one, one at a time; another when all have as many streams as
//!    their server takes;
//! 2. one that is told to go away, or that broke, gets no new stream; one that carried nothing for three seconds is closed,
//!    before a server closes it under a request that may not be sent twice (as in [`pool`](super::pool));
//! 3. a stream that is refused, or whose connection breaks before an answer, ends the pipe before its first byte: to what
//!    forwards, that is a connection that died unused, with the same rules for sending again;
//! 4. over TLS, a connection is as good as what it was verified with.
//!
//! Left out: server push (refused), upgrades (extended CONNECT), and pings: the kernel asks whether a silent server is there.

mod exchange;

use super::pool::{FRESH, is_same};
use crate::clock;
use crate::tls::ClientMaterial;
use crate::wire::buffer::BufferPool;
use crate::wire::h2::{CONNECTION_WINDOW, PIPE, SEND_BUFFER, STREAM_WINDOW, told};
use crate::wire::pipe::pipe;
use crate::wire::socket::{Socket, Stream};
use ::h2::client::{Builder, SendRequest};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// One worker's HTTP/2 connections to one upstream.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: RefCell<Vec<Rc<Session>>>,
    /// Held by whoever opens one.
    pub(super) turn: tokio::sync::Mutex<()>,
    buffers: Rc<BufferPool>,
    sweeping: Cell<bool>,
}

/// One connection.
#[derive(Debug)]
struct Session {
    send: SendRequest<Bytes>,
    verified_with: Option<Arc<ClientMaterial>>,
    /// Exchanges it carries.
    carries: Cell<usize>,
    /// When it last began or ended to carry one.
    used: Cell<Instant>,
    ended: Rc<Cell<bool>>,
}

/// More streams than any server can say it takes.
const UNTOLD: usize = usize::MAX - 1;

impl Sessions {
    /// A pipe to a new stream on a connection that has room for it.
    pub(super) fn stream(&self, material: Option<&Arc<ClientMaterial>>, scheme: &'static str) -> Option<Socket> {
        let mut open = self.open.borrow_mut();
        // Those that go away end when the last of their streams has.
        let now = clock::monotonic();
        open.retain(|session| session.is_fresh(now) && session.lives(material));
        let session = open.iter().find(|session| session.carries.get() < session.send.current_max_send_streams())?;
        Some(self.carry(session, scheme))
    }

    /// Makes a connection of the stream; a pipe to the first stream on it.
    ///
    /// # Errors
    /// When the stream is gone, or does not speak HTTP/2.
    pub(super) async fn begin(
        self: &Rc<Self>,
        stream: Stream,
        verified_with: Option<Arc<ClientMaterial>>,
        scheme: &'static str,
    ) -> io::Result<Socket> {
        let socket = Socket::new(stream);
        socket.keep_alive();
        let (send, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(super::answer::MAX_ANSWER_HEAD as u32)
            .max_send_buffer_size(SEND_BUFFER)
            .initial_max_send_streams(UNTOLD)
            .handshake(socket.into_stream())
            .await
            .map_err(|error| io::Error::other(told(&error)))?;
        // How many streams it takes is the first thing a server says; until then all who wait would be put on this connection.
        poll_fn(|cx| match std::pin::Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(told(&error)))),
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Pending if send.current_max_send_streams() == UNTOLD => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await?;
        let ended = Rc::new(Cell::new(false));
        let is_over = Rc::clone(&ended);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = told(&error), "an HTTP/2 connection to an upstream ended");
            }
            is_over.set(true);
        });
        let (carries, used) = (Cell::new(0), Cell::new(clock::monotonic()));
        let session = Rc::new(Session { send, verified_with, carries, used, ended });
        let first = self.carry(&session, scheme);
        self.open.borrow_mut().push(session);
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).sweep());
        }
        Ok(first)
    }

    fn carry(&self, session: &Rc<Session>, scheme: &'static str) -> Socket {
        let (ours, theirs) = pipe(PIPE);
        let carried = Carried::by(session);
        let buffers = Rc::clone(&self.buffers);
        let send = session.send.clone();
        tokio::task::spawn_local(async move {
            let _carried = carried;
            exchange::carry(send, scheme, Socket::new(Stream::Pipe(ours)), &buffers).await;
        });
        Socket::new(Stream::Pipe(theirs))
    }

    /// Closes what carries nothing; ends when nothing is left, so that a quiet worker sleeps.
    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(FRESH / 3).await;
            let now = clock::monotonic();
            let mut open = self.open.borrow_mut();
            open.retain(|session| session.is_fresh(now) && !session.ended.get());
            if open.is_empty() {
                self.sweeping.set(false);
                return;
            }
        }
    }
}

impl Session {
    fn is_fresh(&self, now: Instant) -> bool {
        self.carries.get() > 0 || now.saturating_duration_since(self.used.get()) < FRESH
    }

    /// May it get a new stream?
    fn lives(&self, material: Option<&Arc<ClientMaterial>>) -> bool {
        let is_verified = is_same(self.verified_with.as_ref(), material);
        // Without a stream of its own that waits, this is ready at once, or an error: gone, or told to go away.
        let ready = self.send.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        is_verified && !self.ended.get() && matches!(ready, Poll::Ready(Ok(())))
    }
}

/// One exchange on a connection; counts until it is dropped.
struct Carried(Rc<Session>);

impl Carried {
    fn by(session: &Rc<Session>) -> Carried {
        session.carries.set(session.carries.get() + 1);
        session.used.set(clock::monotonic());
        Carried(Rc::clone(session))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.carries.set(self.0.carries.get() - 1);
        self.0.used.set(clock::monotonic());
    }
}
