//! The network on the downstream side: accept, read strictly, judge, forward, answer.
//!
//! The HTTP/1.1 codec here is our own on both sides, not hyper's. A verifier must see what hyper hides from its service
//! (fragments cut, `Content-Length` beside `Transfer-Encoding` removed, duplicate lengths collapsed, bare LF accepted),
//! so a strict reader is needed under it in any case; with it, hyper's second reading of the same bytes adds cost,
//! holds 12 KiB per idle connection, hides how many answer bytes came (retries), swallows 1xx, and cannot carry a
//! target byte for byte. One task serves a connection and both directions of its exchange; nothing is spawned per request.

mod accepted;
mod downstream;
mod evidence;
mod forward;
mod forward_proxy;
mod h2;
mod headers;
mod inbound;
mod last_word;
mod listener;
mod outbound;
mod read_head;
mod relay;
mod respond;
mod rewrite;
mod route;
mod secure;
mod tunnel;
mod upload;
mod worker;

pub(crate) use respond::{head_fault_status, refusal_status};

use self::listener::{Acceptor, Counts};
use self::worker::{RouteSeed, WorkerSeed};
use crate::config::{Side, Upstream};
use crate::keys::usage::UsageBoard;
use crate::policy::failure_limit::FailureLimit;
use crate::policy::known_peers::KnownPeers;
use crate::policy::probes::ProbeTable;
use crate::policy::replay::ReplayTable;
use crate::snapshot::SnapshotCell;
use crate::state::grant_keeper::GrantKeeper;
use crate::telemetry::audit::AuditQueue;
use crate::telemetry::metrics::Metrics;
use crate::upstream::health::UpstreamHealth;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What every worker shares. Only snapshots, the failure limit and the replay table are touched per request by more
/// than one worker.
pub struct Shared {
    /// Configuration, keys, enforcement.
    pub snapshot: Arc<SnapshotCell>,
    /// Refusals per client address.
    pub failure_limit: Arc<FailureLimit>,
    /// Signatures seen.
    pub replay: Arc<ReplayTable>,
    /// Tests announced through the admin socket.
    pub probes: Arc<ProbeTable>,
    /// The sampling salt: random, made once, kept in the state directory.
    pub salt: [u8; 32],
    /// Where audit records go.
    pub audit: AuditQueue,
    /// Counters; each worker takes its own shard.
    pub metrics: Arc<Metrics>,
    /// Which keys verified; each worker notes by itself.
    pub key_usage: Arc<UsageBoard>,
    /// Writes down the uses of override grants.
    pub grants: Arc<GrantKeeper>,
    /// Who authenticated from where; each worker notes by itself, and asks only when a check fails.
    pub known_peers: Arc<KnownPeers>,
}

/// A bound, listening socket.
#[derive(Debug)]
pub enum BoundListener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix; peers are known by uid.
    Unix(std::os::unix::net::UnixListener),
}

/// One listening socket, and what is behind it.
#[derive(Debug)]
pub struct Listener {
    /// Where connections come from.
    pub socket: BoundListener,
    /// What it serves.
    pub side: Side,
    /// Where its requests may go, in the order of [`Config::upstreams`](crate::config::Config::upstreams) at start, with what
    /// is known of each: a worker that cannot reach one says so.
    pub upstreams: Vec<(Upstream, Arc<UpstreamHealth>)>,
}

/// The running proxy: one acceptor, and the workers it feeds.
pub struct Proxy {
    counts: Arc<Counts>,
    turns: Arc<AtomicU64>,
    seen_turns: AtomicU64,
    /// Closed to stop the acceptor.
    stop: UnixStream,
    ended: watch::Receiver<usize>,
    threads: usize,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections still in use when the deadline came; they are cut when the process ends.
    pub cut: usize,
}

impl Proxy {
    /// Starts worker threads and the acceptor; connections are taken from now on.
    ///
    /// # Errors
    /// When a thread or a runtime cannot be made, or a listener cannot be made non-blocking.
    pub fn start(shared: Arc<Shared>, listeners: Vec<Listener>, workers: usize) -> io::Result<Proxy> {
        let workers = workers.max(1);
        let counts = Arc::new(Counts::new(workers));
        let in_flight = Arc::new(AtomicUsize::new(0));
        let turns = Arc::new(AtomicU64::new(1));
        let (stop, stopped) = UnixStream::pair()?;
        let (ended_sender, ended) = watch::channel(0);
        let mut senders = Vec::with_capacity(workers);
        let routes: Vec<_> = listeners.iter().map(|listener| (listener.side, listener.upstreams.clone())).collect();
        let (seeds, receivers): (Vec<_>, Vec<_>) = (0..workers)
            .map(|index| {
                let (sender, receiver) = mpsc::unbounded_channel();
                senders.push(sender);
                let routes =
                    routes.iter().map(|(side, upstreams)| RouteSeed { side: *side, upstreams: upstreams.clone() });
                let seed = WorkerSeed {
                    index,
                    shared: Arc::clone(&shared),
                    routes: routes.collect(),
                    in_flight: Arc::clone(&in_flight),
                };
                (seed, receiver)
            })
            .unzip();
        let acceptor = Acceptor {
            snapshot: Arc::clone(&shared.snapshot),
            metrics: shared.metrics.worker(0),
            counts: Arc::clone(&counts),
            workers: senders,
            turns: Arc::clone(&turns),
        };
        let mut bound = Vec::with_capacity(listeners.len());
        for listener in listeners {
            listener.socket.set_nonblocking()?;
            bound.push((listener.side, listener.socket));
        }
        // The only worker accepts by itself; of several one thread chooses the one with the fewest.
        let mut accepts = Some((acceptor, bound, stopped));
        let mut beside = if workers == 1 { accepts.take() } else { None };
        for (worker, receiver) in seeds.into_iter().zip(receivers) {
            let ended = Ended(ended_sender.clone());
            let beside = beside.take();
            thread::Builder::new().name(format!("worker-{}", worker.index)).spawn(move || {
                let _ended = ended;
                // A local runtime is made on its own thread.
                match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
                    Ok(runtime) => runtime.block_on(async move {
                        if let Some((acceptor, bound, stopped)) = beside {
                            tokio::task::spawn_local(async move {
                                if let Err(error) = acceptor.run_on_worker(bound, stopped).await {
                                    tracing::error!(%error, "no more connections are accepted");
                                }
                            });
                        }
                        Rc::new(worker.grow()).run(receiver).await;
                    }),
                    Err(error) => tracing::error!(%error, "a worker has no runtime"),
                }
            })?;
        }
        if let Some((acceptor, bound, stopped)) = accepts {
            thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
                if let Err(error) = acceptor.run(bound, stopped) {
                    tracing::error!(%error, "no more connections are accepted");
                }
            })?;
        }
        Ok(Proxy { counts, turns, seen_turns: AtomicU64::new(0), stop, ended, threads: workers })
    }

    /// Stops accepting, lets requests in flight finish (keep-alive connections end after their answer), and returns when
    /// all have, or at the deadline.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        // Fails only when the acceptor has ended already.
        let _ = self.stop.shutdown(Shutdown::Both);
        let mut ended = self.ended.clone();
        let all = ended.wait_for(|count| *count == self.threads);
        match tokio::time::timeout(deadline, all).await {
            Ok(_) => Drained { cut: 0 },
            Err(_) => Drained { cut: self.counts.open() },
        }
    }

    /// Did the accept loop turn since this was last asked? It turns at least once a second: ask less often than that.
    pub fn accepting(&self) -> bool {
        let turns = self.turns.load(Ordering::Relaxed);
        self.seen_turns.swap(turns, Ordering::Relaxed) != turns
    }

    /// Do all workers run? Not asked during a drain, which ends them.
    pub fn workers_run(&self) -> bool {
        *self.ended.borrow() == 0
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.counts.open()
    }
}

/// Counts a worker thread that ended, however it did.
struct Ended(watch::Sender<usize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl BoundListener {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            BoundListener::Tcp(tcp) => tcp.set_nonblocking(true),
            BoundListener::Unix(unix) => unix.set_nonblocking(true),
        }
    }
}
