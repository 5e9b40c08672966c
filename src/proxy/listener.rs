//! One acceptor for all listeners: it takes connections, holds the limits, and hands each to the least-loaded worker.
//!
//! Not SO_REUSEPORT: it would put six long-lived callers on one core, and an inherited socket is single. Accepted
//! descriptors are registered only with the worker that serves them.

use super::BoundListener;
use super::worker::Message;
use crate::clock;
use crate::request::client::{ClientAddress, LimitKey, Peer};
use crate::snapshot::SnapshotCell;
use crate::telemetry::metrics::WorkerMetrics;
use rustix::net::SocketFlags;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

/// A connection as it was accepted.
pub(super) struct Accepted {
    pub(super) stream: AcceptedStream,
    pub(super) peer: Peer,
    /// Index of the listener that took it.
    pub(super) listener: usize,
    pub(super) permit: Permit,
}

/// Not yet registered with any runtime.
pub(super) enum AcceptedStream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// Which listener: its place among the sockets, and in the configuration.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    inbound: usize,
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
    pub(super) stop: watch::Receiver<bool>,
}

/// How long the loop rests when the process is out of descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How often an idle loop shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);

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
    /// Accepts until told to stop; then takes what is waiting in the queues, and closes them.
    pub(super) async fn run(self, listeners: Vec<(usize, BoundListener)>) -> io::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        let acceptor = Arc::new(self);
        for (index, (inbound, listener)) in listeners.into_iter().enumerate() {
            let listener = AsyncFd::register(OwnedFd::from(listener))?;
            tasks.spawn(Arc::clone(&acceptor).accept_on(Place { index, inbound }, listener));
        }
        let mut stop = acceptor.stop.clone();
        loop {
            acceptor.turns.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                _ = tokio::time::sleep(HEARTBEAT) => {}
                changed = stop.changed() => if changed.is_err() || *stop.borrow() { break },
                Some(ended) = tasks.join_next() => {
                    return Err(io::Error::other(match ended {
                        Ok(()) => "an accept loop ended".to_owned(),
                        Err(error) => format!("an accept loop failed: {error}"),
                    }));
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        for worker in &acceptor.workers {
            // A worker that is gone has nothing to drain.
            let _ = worker.send(Message::Drain);
        }
        Ok(())
    }

    async fn accept_on(self: Arc<Self>, place: Place, listener: AsyncFd<OwnedFd>) {
        let mut stop = self.stop.clone();
        let mut is_stopping = *stop.borrow();
        loop {
            match accept(listener.get_ref()) {
                Ok((descriptor, peer)) => self.take(place, descriptor, peer),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock if is_stopping => return,
                    io::ErrorKind::WouldBlock => {
                        tokio::select! {
                            ready = listener.readable() => if let Ok(mut ready) = ready { ready.clear_ready() },
                            _ = stop.changed() => is_stopping = true,
                        }
                    }
                    // The client gave up while it waited: its own affair.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        // Out of descriptors or memory: those in use will come back. Accepting on would spin.
                        self.metrics.limit_hit("descriptors");
                        tracing::warn!(%error, "connections cannot be accepted; resting");
                        tokio::time::sleep(BACK_OFF).await;
                        if is_stopping {
                            return;
                        }
                    }
                },
            }
        }
    }

    fn take(&self, place: Place, descriptor: OwnedFd, peer: Option<SocketAddr>) {
        let peer = match peer {
            Some(address) => Peer::Ip(address.ip()),
            None => match rustix::net::sockopt::socket_peercred(&descriptor) {
                Ok(credentials) => Peer::Unix(credentials.uid.as_raw()),
                Err(error) => return tracing::warn!(%error, "a unix peer does not say who it is"),
            },
        };
        let key = ClientAddress::of(peer, &[], []).limit_key();
        let limits = {
            let snapshot = self.snapshot.load();
            let is_trusted =
                snapshot.config.inbound.get(place.inbound).is_some_and(|i| peer.is_trusted(&i.trusted_proxies));
            // Many clients stand behind one trusted proxy.
            let per_address = if is_trusted { usize::MAX } else { snapshot.config.limits.connections_per_address };
            (snapshot.config.limits.connections, per_address)
        };
        match self.counts.admit(key, limits.0, limits.1) {
            Ok(permit) => {
                let stream = match peer {
                    Peer::Ip(_) => AcceptedStream::Tcp(descriptor.into()),
                    Peer::Unix(_) => AcceptedStream::Unix(descriptor.into()),
                };
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
                turn_away(&descriptor);
            }
        }
    }
}

/// Says that there is no room, as far as the socket takes it at once, and closes.
fn turn_away(descriptor: &OwnedFd) {
    let mut out = Vec::new();
    let wrapping = super::respond::Wrapping {
        request_id: &clock::request_id(),
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
