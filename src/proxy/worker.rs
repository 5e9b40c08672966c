//! [`Worker`]: one thread, one current-thread runtime, the connections handed to it, its own upstream connections.

use super::Shared;
use super::accepted::AcceptedStream;
use super::downstream::{self, Spare};
use super::listener::{Accepted, Permit};
use super::route::Route;
use crate::config::{Side, Upstream};
use crate::keys::usage::UsageNotes;
use crate::policy::known_peers::PeerNotes;
use crate::request::client::Peer;
use crate::snapshot::Snapshot;
use crate::telemetry::audit::AuditQueue;
use crate::telemetry::metrics::WorkerMetrics;
use crate::upstream::health::UpstreamHealth;
use crate::wire::buffer::BufferPool;
use crate::wire::socket::Plain;
use crate::wire::splice::KernelPipes;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// What a worker is told.
pub(super) enum Message {
    /// Serve this connection.
    Serve(Accepted),
    /// Finish what is in flight, take no more; the thread ends when the last connection has.
    Drain,
}

/// What the connections of one worker share. One thread: no locks.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) audit: AuditQueue,
    pub(super) key_usage: UsageNotes,
    pub(super) peers: PeerNotes,
    pub(super) buffers: BufferPool,
    pub(super) kernel_pipes: KernelPipes,
    pub(super) routes: Vec<Route>,
    /// Requests upstream, of all workers.
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) draining: Cell<bool>,
    pub(super) drain: Notify,
    /// Connections that wait for a request with all at hand that serves one.
    warm: Cell<usize>,
    /// What served a request of a connection that rests or has ended.
    #[expect(clippy::vec_box, reason = "a connection holds its own in a box, and hands it over as it is")]
    spares: RefCell<Vec<Box<Spare>>>,
    /// When a used override was last warned of, and how many have been since.
    overrides: Cell<(Option<Instant>, u64)>,
}

/// What a worker is made from, on its own thread.
pub(super) struct WorkerSeed {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) routes: Vec<RouteSeed>,
    pub(super) in_flight: Arc<AtomicUsize>,
}

/// What a route is made from.
pub(super) struct RouteSeed {
    pub(super) side: Side,
    pub(super) upstreams: Vec<(Upstream, Arc<UpstreamHealth>)>,
}

impl WorkerSeed {
    pub(super) fn grow(self) -> Worker {
        Worker {
            metrics: self.shared.metrics.worker(self.index),
            audit: self.shared.audit.worker(self.index),
            key_usage: self.shared.key_usage.notes(self.index),
            peers: self.shared.known_peers.notes(),
            shared: self.shared,
            buffers: BufferPool::default(),
            kernel_pipes: KernelPipes::default(),
            routes: self.routes.into_iter().map(|seed| Route::new(seed, self.index)).collect(),
            in_flight: self.in_flight,
            draining: Cell::new(false),
            drain: Notify::new(),
            warm: Cell::new(0),
            spares: RefCell::default(),
            overrides: Cell::default(),
        }
    }
}

/// One request in flight upstream; counts until it is dropped.
pub(super) struct InFlight<'w>(&'w Worker);

/// One connection that waits warm; counts until it is dropped.
pub(super) struct Warm<'w>(&'w Cell<usize>);

/// Connections that may wait with all at hand that serves a request, some 6 KiB each, 48 KiB after the longest heads: so that a
/// burst of many that are used once costs no more than a few do.
const WARM: usize = 64;
/// How much of what connections used is kept for others: enough for those that come and go one by one.
const SPARES: usize = 8;
/// The least time between two warnings of used overrides.
const OVERRIDE_WARNINGS: Duration = Duration::from_secs(1);

impl Worker {
    /// What this request is judged by.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Says that somebody used the override: at once, then at most once a second, with how many went unsaid. The audit
    /// log has each of them.
    pub(super) fn warn_of_override(&self, request_id: &str, client: &str, now: Instant) {
        let (last, unsaid) = self.overrides.get();
        if last.is_some_and(|last| now.saturating_duration_since(last) < OVERRIDE_WARNINGS) {
            return self.overrides.set((last, unsaid + 1));
        }
        self.overrides.set((Some(now), 0));
        tracing::warn!(request_id, client, others_since_the_last = unsaid, "the override token let a request pass");
    }

    /// May one more connection wait with all at hand that serves its next request?
    pub(super) fn keep_warm(&self) -> Option<Warm<'_>> {
        let warm = self.warm.get();
        (warm < WARM).then(|| {
            self.warm.set(warm + 1);
            Warm(&self.warm)
        })
    }

    /// Memory for a connection that becomes busy.
    pub(super) fn lend(&self) -> Box<Spare> {
        self.spares.borrow_mut().pop().unwrap_or_default()
    }

    /// The same, from one that is busy no more.
    pub(super) fn take_back(&self, spare: Box<Spare>) {
        let mut spares = self.spares.borrow_mut();
        if spares.len() < SPARES {
            spares.push(spare);
        }
    }

    /// Room for one more request upstream, or `None` at the limit.
    pub(super) fn enter(&self, limit: usize) -> Option<InFlight<'_>> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.metrics.in_flight(1);
        Some(InFlight(self))
    }

    /// Serves what it is handed until it is told to drain and the last connection has ended.
    pub(super) async fn run(self: Rc<Self>, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Serve(accepted)) => {
                        begin(&self, &mut connections, accepted);
                    }
                    Some(Message::Drain) | None => break,
                },
                Some(ended) = connections.join_next() => note_panic(ended),
            }
        }
        // What was accepted before the drain is in the channel already.
        while let Ok(Message::Serve(accepted)) = messages.try_recv() {
            begin(&self, &mut connections, accepted);
        }
        self.draining.set(true);
        self.drain.notify_waiters();
        while let Some(ended) = connections.join_next().await {
            note_panic(ended);
        }
    }
}

impl Drop for Warm<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.in_flight(-1);
    }
}

/// Registers what was accepted, before the task that serves it: the task needs not hold both.
fn begin(worker: &Rc<Worker>, connections: &mut JoinSet<()>, accepted: Accepted) {
    let Accepted { stream, peer, listener, permit } = accepted;
    let stream = match stream {
        AcceptedStream::Tcp(tcp) => TcpStream::from_std(tcp).map(Plain::Tcp),
        AcceptedStream::Unix(unix) => UnixStream::from_std(unix).map(Plain::Unix),
        AcceptedStream::Registered(plain) => Ok(plain),
    };
    match stream {
        Ok(plain) => {
            connections.spawn_local(serve(Rc::clone(worker), Served { plain, peer, listener, permit }));
        }
        Err(error) => tracing::warn!(%error, "an accepted connection cannot be registered"),
    }
}

/// A connection that this worker serves.
struct Served {
    plain: Plain,
    peer: Peer,
    listener: usize,
    permit: Permit,
}

async fn serve(worker: Rc<Worker>, connection: Served) {
    let Served { plain, peer, listener, permit } = connection;
    downstream::serve(&worker, plain, peer, listener).await;
    drop(permit);
}

pub(super) fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // The connection is gone, the proxy goes on. The panic hook has said where.
        tracing::error!("a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests {
    use super::super::downstream::Client;
    use super::super::h2;
    use super::*;

    /// How large is what this function returns?
    fn size_of_returned<A, B, R>(_: fn(A, B) -> R) -> usize {
        size_of::<R>()
    }

    /// A thousand clients that keep their connections hold a thousand of these, in use or not. What is rare belongs into a
    /// box of its own (see [`downstream::serve`]); `benches/memory` tells what a connection costs in all.
    #[test]
    fn a_connection_that_waits_is_small() {
        let size = size_of_returned(serve);
        assert!(size <= 1000, "{size} bytes for each connection");
    }

    /// One of HTTP/2 holds h2's state as well, once and not in every hand it passed through.
    #[test]
    fn a_connection_of_http2_that_waits_is_not_much_larger() {
        let size = size_of_returned::<&'static Rc<Worker>, Client, _>(h2::serve);
        assert!(size <= 3000, "{size} bytes for each connection");
    }
}
