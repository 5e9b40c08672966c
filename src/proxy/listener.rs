//! One acceptor for all listeners: it takes connections, holds the limits, and hands each to the least-loaded worker. Of several
//! workers it is a thread of its own; a single worker runs it as a task, so that no connection changes threads.
//!
//! Not SO_REUSEPORT: it would put six long-lived callers on one core, and an inherited socket is single. Accepted
//! descriptors are registered only with the worker that serves them.

use super::BoundListener;
use super::accepted::{AcceptedStream, WatchedListener};
use super::worker::Message;
use crate::clock;
use crate::config::Side;
use crate::request::client::{ClientAddress, LimitKey, Peer};
use crate::snapshot::SnapshotCell;
use crate::telemetry::metrics::WorkerMetrics;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;

/// A connection as it was accepted.
pub(super) struct Accepted {
    pub(super) stream: AcceptedStream,
    pub(super) peer: Peer,
    /// Index of the listener that took it.
    pub(super) listener: usize,
    pub(super) permit: Permit,
}

/// What is left at a listener after a turn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waiting {
    Nobody,
    Perhaps,
}

/// Which listener: its place among the sockets, and in the configuration.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    side: Side,
}

/// Counts a connection, in all, of its address, and of its worker, until it is dropped.
pub(super) struct Permit {
    counts: Arc<Counts>,
    key: LimitKey,
    worker: usize,
}

/// Open connections.
#[derive(Debug)]
pub(super) struct Counts {
    all: AtomicUsize,
    by_address: Mutex<HashMap<LimitKey, usize>>,
    by_worker: Vec<AtomicUsize>,
}

/// The acceptor's part of what the proxy shares.
pub(super) struct Acceptor {
    pub(super) snapshot: Arc<SnapshotCell>,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) counts: Arc<Counts>,
    pub(super) workers: Vec<mpsc::UnboundedSender<Message>>,
    /// Counts turns of the accept loop.
    pub(super) turns: Arc<AtomicU64>,
}

/// How long the loop rests when the process is out of descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How often an idle loop shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Connections taken from one listener before the next has its turn.
const AT_A_TURN: usize = 64;
/// Turns after the word to stop, at most: more than any queue holds (`net.core.somaxconn` is 4096).
const LAST_TURNS: usize = 128;

impl Counts {
    pub(super) fn new(workers: usize) -> Counts {
        Counts {
            all: AtomicUsize::new(0),
            by_address: Mutex::default(),
            by_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Admits one connection, or says which limit is reached.
    fn admit(self: &Arc<Self>, key: LimitKey, all: usize, per_address: usize) -> Result<Permit, &'static str> {
        if self.open() >= all {
            return Err("connections");
        }
        // Counting cannot panic, so a poisoned lock holds good numbers.
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = by_address.entry(key).or_insert(0);
        if *of_address >= per_address {
            return Err("connections_per_address");
        }
        *of_address += 1;
        self.all.fetch_add(1, Ordering::Relaxed);
        let loads = self.by_worker.iter().map(|load| load.load(Ordering::Relaxed));
        let worker = loads.enumerate().min_by_key(|(_, load)| *load).map_or(0, |(index, _)| index);
        self.by_worker[worker].fetch_add(1, Ordering::Relaxed);
        Ok(Permit { counts: Arc::clone(self), key, worker })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let counts = &self.counts;
        counts.all.fetch_sub(1, Ordering::Relaxed);
        counts.by_worker[self.worker].fetch_sub(1, Ordering::Relaxed);
        let mut by_address = counts.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.key);
            }
        }
    }
}

impl Acceptor {
    /// Accepts until the other end of `stop` is closed; then takes what is waiting in the queues, closes them, and tells the
    /// workers. Runs on a thread of its own, on plain `poll`: it has nothing else to wait for.
    ///
    /// # Errors
    /// When the sockets can no longer be polled.
    pub(super) fn run(self, listeners: Vec<(Side, BoundListener)>, stop: UnixStream) -> io::Result<()> {
        let listeners: Vec<(Place, OwnedFd)> = listeners
            .into_iter()
            .enumerate()
            .map(|(index, (side, listener))| (Place { index, side }, listener.into()))
            .collect();
        let mut is_stopping = false;
        while !is_stopping {
            self.turns.fetch_add(1, Ordering::Relaxed);
            is_stopping = wait(&listeners, &stop)?;
            if self.accept_on_all(&listeners).is_err() {
                // Out of descriptors or memory: those in use will come back. Accepting on would spin.
                thread::sleep(BACK_OFF);
            }
        }
        self.end(listeners);
        Ok(())
    }

    /// Whoever was let into a queue is served; the sockets close behind the last. Bounded: others may go on coming.
    fn end(self, listeners: Vec<(Place, OwnedFd)>) {
        for _ in 0..LAST_TURNS {
            if !matches!(self.accept_on_all(&listeners), Ok(Waiting::Perhaps)) {
                break;
            }
        }
        drop(listeners);
        self.say_drain();
    }

    /// The same as a task of the only worker.
    ///
    /// # Errors
    /// When the sockets cannot be watched.
    pub(super) async fn run_on_worker(
        self,
        listeners: Vec<(Side, BoundListener)>,
        stop: UnixStream,
    ) -> io::Result<()> {
        stop.set_nonblocking(true)?;
        let stop = tokio::net::UnixStream::from_std(stop)?;
        let mut watched = Vec::with_capacity(listeners.len());
        for (index, (side, listener)) in listeners.into_iter().enumerate() {
            watched.push((Place { index, side }, WatchedListener::new(listener)?));
        }
        let mut is_stopping = false;
        while !is_stopping {
            self.turns.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                biased;
                _ = stop.readable() => is_stopping = true,
                accepted = poll_fn(|cx| self.poll_accept(cx, &watched)) => if accepted.is_err() {
                    tokio::time::sleep(BACK_OFF).await;
                },
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            // What was accepted has its turn before more is.
            tokio::task::yield_now().await;
        }
        // Not through the runtime: it may not have heard of all that waits, and hands out only so much at a turn.
        let listeners = watched.into_iter().map(|(place, listener)| Ok((place, listener.into_fd()?)));
        self.end(listeners.collect::<io::Result<_>>()?);
        Ok(())
    }

    /// Takes what waits at every listener, a bounded number at each; ready when there was any. An error at one does not keep
    /// another waiting.
    fn poll_accept(&self, cx: &mut Context<'_>, listeners: &[(Place, WatchedListener)]) -> Poll<io::Result<()>> {
        let mut any = Poll::Pending;
        let mut failed = None;
        for (place, listener) in listeners {
            for _ in 0..AT_A_TURN {
                match listener.poll_accept(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok((stream, peer))) => self.take(*place, stream, peer),
                    Poll::Ready(Err(error)) => {
                        if let Err(error) = self.not_accepted(error) {
                            failed = Some(error);
                            break;
                        }
                    }
                }
                any = Poll::Ready(Ok(()));
            }
        }
        failed.map_or(any, |error| Poll::Ready(Err(error)))
    }

    /// An error that only concerns one client is passed over.
    fn not_accepted(&self, error: io::Error) -> io::Result<()> {
        match error.kind() {
            // The client gave up while it waited: its own affair.
            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => Ok(()),
            _ => {
                self.metrics.limit_hit("descriptors");
                tracing::warn!(%error, "connections cannot be accepted; resting");
                Err(error)
            }
        }
    }

    fn say_drain(&self) {
        for worker in &self.workers {
            // A worker that is gone has nothing to drain.
            let _ = worker.send(Message::Drain);
        }
    }

    /// Takes what waits at every listener; an error at one does not keep another waiting.
    fn accept_on_all(&self, listeners: &[(Place, OwnedFd)]) -> io::Result<Waiting> {
        let turns: Vec<io::Result<Waiting>> =
            listeners.iter().map(|(place, listener)| self.accept_waiting(*place, listener)).collect();
        turns.into_iter().try_fold(Waiting::Nobody, |all, one| Ok(all.max(one?)))
    }

    /// Takes what waits at one listener, a bounded number, so that no listener starves another.
    fn accept_waiting(&self, place: Place, listener: &OwnedFd) -> io::Result<Waiting> {
        for _ in 0..AT_A_TURN {
            match accept(listener) {
                Ok((descriptor, Some(address))) => {
                    self.take(place, AcceptedStream::Tcp(descriptor.into()), Some(address));
                }
                Ok((descriptor, None)) => self.take(place, AcceptedStream::Unix(descriptor.into()), None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Waiting::Nobody),
                Err(error) => self.not_accepted(error)?,
            }
        }
        Ok(Waiting::Perhaps)
    }

    fn take(&self, place: Place, stream: AcceptedStream, peer: Option<SocketAddr>) {
        let peer = match peer {
            Some(address) => Peer::Ip(address.ip()),
            None => match rustix::net::sockopt::socket_peercred(stream.as_fd()) {
                Ok(credentials) => Peer::Unix(credentials.uid.as_raw()),
                Err(error) => return tracing::warn!(%error, "a unix peer does not say who it is"),
            },
        };
        let key = ClientAddress::of(peer, &[], []).limit_key();
        let limits = {
            let snapshot = self.snapshot.load();
            let is_trusted = match place.side {
                Side::Inbound(place) => peer.is_trusted(&snapshot.config.inbound[place].trusted_proxies),
                // All callers of an outbound listener are this machine.
                Side::Outbound(_) => true,
            };
            // Many clients stand behind one trusted proxy.
            let per_address = if is_trusted { usize::MAX } else { snapshot.config.limits.connections_per_address };
            (snapshot.config.limits.connections, per_address)
        };
        match self.counts.admit(key, limits.0, limits.1) {
            Ok(permit) => {
                let worker = permit.worker;
                // Fails only while the process ends; the connection is then closed.
                let _ = self.workers[worker].send(Message::Serve(Accepted {
                    stream,
                    peer,
                    listener: place.index,
                    permit,
                }));
            }
            Err(limit) => {
                self.metrics.limit_hit(limit);
                turn_away(stream.as_fd());
            }
        }
    }
}

/// Waits until a listener has a connection, a second has passed, or it is time to stop (true).
fn wait(listeners: &[(Place, OwnedFd)], stop: &UnixStream) -> io::Result<bool> {
    let mut watched: Vec<PollFd<'_>> =
        listeners.iter().map(|(_, listener)| PollFd::new(listener, PollFlags::IN)).collect();
    watched.push(PollFd::new(stop, PollFlags::IN));
    let heartbeat = Timespec { tv_sec: HEARTBEAT.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut watched, Some(&heartbeat)) {
        Ok(_) => Ok(watched.last().is_some_and(|stop| !stop.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Says that there is no room, as far as the socket takes it at once, and closes.
fn turn_away(descriptor: BorrowedFd<'_>) {
    let mut out = Vec::new();
    let mut made = [0; clock::REQUEST_ID];
    let wrapping = super::respond::Wrapping {
        request_id: clock::request_id(clock::unix_micros(), &mut made),
        headers: &[],
        head_only: false,
        keep: false,
        announce_keep: false,
    };
    super::respond::TOO_MANY_CONNECTIONS.write(&mut out, &wrapping);
    let _ = rustix::net::send(descriptor, &out, rustix::net::SendFlags::NOSIGNAL);
    let _ = rustix::net::shutdown(descriptor, rustix::net::Shutdown::Write);
}

/// One connection, already non-blocking. A unix peer has no address.
fn accept(listener: &impl AsFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (descriptor, address) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((descriptor, address.and_then(|address| SocketAddr::try_from(address).ok())))
}

impl From<BoundListener> for OwnedFd {
    fn from(listener: BoundListener) -> OwnedFd {
        match listener {
            BoundListener::Tcp(tcp) => tcp.into(),
            BoundListener::Unix(unix) => unix.into(),
        }
    }
}
