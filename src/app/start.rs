//! [`App`]: everything a running sidecar is made of, made in order.

use super::fleet::Fleet;
use super::grants::{GrantTask, KeptGrants};
use super::key_follower::{self, FirstKeys, KeyFollower};
use super::key_usage::KeyUsageTask;
use super::listeners::{self, ListenError, SocketFile};
use super::ramping::Ramping;
use super::state_dir::{StateDir, StateDirError};
use super::steering::{Begun, Steering};
use super::{keys, process, summary};
use crate::admin::control::{self, ControlSocket, ControlState};
use crate::admin::orders::Order;
use crate::admin::{self, AdminState, Readiness};
use crate::clock;
use crate::config::check::Loaded;
use crate::config::reload::{Changed, Source, Watcher};
use crate::config::{AdminSocket, Config, Health, Side, Upstream};
use crate::keys::KeyTable;
use crate::keys::status::KeyStatus;
use crate::keys::usage::UsageBoard;
use crate::policy::failure_limit::FailureLimit;
use crate::policy::known_peers::KnownPeers;
use crate::policy::replay::ReplayTable;
use crate::proxy::{Listener, Proxy, Shared};
use crate::snapshot::{Snapshot, SnapshotCell};
use crate::state::grant_keeper::GrantKeeper;
use crate::systemd::Inherited;
use crate::telemetry::audit::record::{Event, Fact};
use crate::telemetry::audit::{AuditLog, StateChange};
use crate::telemetry::logging::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::tls::TlsMaterials;
use crate::tls::expiry::ExpiryWatch;
use crate::upstream::health::UpstreamHealth;
use arc_swap::ArcSwap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Signatures remembered to recognise a second sight: ten minutes of 200 signed requests a second.
const REPLAY_CAPACITY: usize = 131_072;

/// A running sidecar.
pub struct App {
    pub(super) source: Source,
    pub(super) shared: Arc<Shared>,
    pub(super) proxy: Proxy,
    pub(super) audit: AuditLog,
    pub(super) admin: Option<AdminServer>,
    /// The control API.
    pub(super) control: Option<AdminServer>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) admin_state: Arc<AdminState>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) steering: Steering,
    pub(super) ramping: Ramping,
    pub(super) fleet: Option<Fleet>,
    pub(super) checks: Vec<HealthCheck>,
    pub(super) watcher: Watcher,
    pub(super) key_usage: Option<KeyUsageTask>,
    pub(super) key_follower: Option<KeyFollower>,
    pub(super) key_status: Arc<KeyStatus>,
    pub(super) grant_task: Option<GrantTask>,
    pub(super) changes: mpsc::Receiver<Changed>,
    pub(super) certificates: ExpiryWatch,
    pub(super) log: Option<LogHandle>,
    pub(super) socket_files: Vec<SocketFile>,
    addresses: Vec<(Side, SocketAddr)>,
    /// Held until the very end: a successor may start only when nothing of ours runs.
    _state_dir: StateDir,
}

/// Changes that wait for the control loop.
const ORDERS: usize = 64;

/// The admin listener's task, or the control API's.
pub(super) struct AdminServer {
    pub(super) task: JoinHandle<()>,
    pub(super) stop: oneshot::Sender<()>,
}

/// One upstream's health check.
pub(super) struct HealthCheck {
    pub(super) side: Side,
    pub(super) upstream: Arc<UpstreamHealth>,
    pub(super) how: Option<Health>,
    pub(super) task: JoinHandle<()>,
}

/// Why a sidecar with a good configuration does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory.
    #[error("{0}")]
    StateDir(#[from] StateDirError),
    /// The keys, every problem: the text names the file and what is wrong with it.
    #[error("{}", lines(.0))]
    Keys(Vec<String>),
    /// What leaves cannot be signed, because Redis has no key for it, or cannot be asked: another start may go better.
    #[error("{0}")]
    OwnKey(String),
    /// The listeners, every one that cannot be opened.
    #[error("{}", lines(.0))]
    Listen(Vec<ListenError>),
    /// The audit log; the text names the file and what to do.
    #[error("cannot open the audit log: {0}")]
    Audit(io::Error),
    /// The control API.
    #[error("cannot listen on {} ([admin].socket): {error}", path.display())]
    ControlSocket {
        /// Where.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// Threads, runtimes, watches.
    #[error("cannot start {part}: {error}")]
    Part {
        /// What.
        part: &'static str,
        /// What came of it.
        error: io::Error,
    },
}

fn lines<T: ToString>(problems: &[T]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: ")
}

impl App {
    /// Starts everything. When this returns, connections are taken and judged. `log`: to follow changes of the level.
    ///
    /// # Errors
    /// When the surroundings do not let it; nothing is left running then.
    pub async fn start(source: Source, loaded: Loaded, log: Option<LogHandle>) -> Result<App, StartError> {
        let Loaded { config, keys: table, tls, mut watched, .. } = loaded;
        let part = |part| move |error| StartError::Part { part, error };
        let descriptors = process::raise_descriptor_limit();
        let state_dir = StateDir::hold(&config.state_dir)?;
        let used_before = state_dir.is_used();
        let kept_grants = KeptGrants::read(&config.state_dir);
        let mut begun = Begun::read(&config, used_before).map_err(part("the writer of state"))?;
        // Last: that the salt is there says that the rest should be, too.
        let (fleet, salt) = Fleet::begin(&config, &mut begun.steering, state_dir.salt()?)?;
        let made = keys::make_first(&config)?;
        if made {
            // What we wrote ourselves is no change to be told of.
            watched.look_again();
        }
        let key_status = Arc::new(KeyStatus::default());
        let FirstKeys { table, signer, follower } =
            key_follower::begin(&config, table.filter(|_| !made), &key_status).await?;
        let opened = listeners::open(&config, Inherited::from_environment());
        let admin = config.admin.listen.map(|address| listeners::tcp(address, "[admin].listen")).transpose();
        let (opened, admin) = match (opened, admin) {
            (Ok(opened), Ok(admin)) => (opened, admin),
            (Err(mut errors), admin) => {
                errors.extend(admin.err());
                return Err(StartError::Listen(errors));
            }
            (Ok(_), Err(error)) => return Err(StartError::Listen(vec![error])),
        };

        let audit = AuditLog::start(&config.audit, config.workers).map_err(StartError::Audit)?;
        let metrics = Arc::new(Metrics::new(config.workers, service_ids(&config, &table)));
        let upstreams: Vec<(Side, UpstreamList)> = config.sides().map(|side| (side, list(&config, side))).collect();
        let healths: Vec<_> =
            upstreams.iter().flat_map(|(_, list)| list.iter().map(|(_, health)| Arc::clone(health))).collect();
        let Begun { steering, unknown, edit, by_marker } = begun;
        let state = steering.state();
        metrics.set_in_force(state.in_force, 1);
        metrics.watch_standing(Arc::clone(&steering.standing));
        metrics.set_certificates(certificates(&tls));
        metrics.set_grants(Arc::clone(&kept_grants.table));
        metrics.watch_audit(audit.queue().clone());
        let replay = Arc::new(ReplayTable::new(REPLAY_CAPACITY));
        metrics.watch_replay(Arc::clone(&replay));
        metrics.watch_upstreams(healths);
        let by_listener = upstreams
            .iter()
            .filter(|(side, _)| config.chooses(*side))
            .map(|(side, list)| (*side, list.iter().map(|(_, health)| Arc::clone(health)).collect()));
        let by_listener: Vec<(Side, Vec<Arc<UpstreamHealth>>)> = by_listener.collect();
        let each = by_listener.iter().map(|(side, all)| (*side, all.as_slice()));
        let ramping =
            Ramping::begin(&config.state_dir, &config, each, &state).map_err(part("the writer of the ramp"))?;
        metrics.watch_notified(ramping.notified());
        let readiness = Arc::new(Readiness::new(by_listener));
        readiness.watch_standing(Arc::clone(&steering.standing));
        if follower.is_some() {
            metrics.watch_keys(Arc::clone(&key_status));
            readiness.watch_keys(Arc::clone(&key_status));
        }
        let admin_state = Arc::new(AdminState {
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
            allowed_hosts: Arc::new(ArcSwap::from_pointee(config.admin.allowed_hosts.clone())),
        });
        let socket = control_socket(&config.admin.socket)?;
        let (watcher, changes) = Watcher::start(watched).map_err(part("the file watch"))?;
        let admin = match admin {
            Some(socket) => Some(AdminServer::start(socket, &admin_state).map_err(part("the admin listener"))?),
            None => None,
        };

        let config = Arc::new(config);
        let limit = config.rate_limit;
        let shared = Arc::new(Shared {
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot {
                config: Arc::clone(&config),
                keys: Arc::new(table),
                signer: signer.map(Arc::new),
                tls: Arc::new(tls),
                grants: Arc::clone(&kept_grants.table),
                enforcement: state.in_force,
                rule_percentages: steering.rule_percentages(&config),
                generation: 1,
            })),
            failure_limit: Arc::new(FailureLimit::new(limit.failures, limit.window, limit.addresses)),
            replay,
            probes: Arc::default(),
            salt,
            audit: audit.queue().clone(),
            metrics,
            key_usage: Arc::new(UsageBoard::new(config.workers)),
            grants: Arc::new(GrantKeeper::new()),
            known_peers: KnownPeers::new(clock::monotonic()),
        });
        let grant_task = GrantTask::start(kept_grants, &shared);
        let key_usage = KeyUsageTask::start(&shared);
        let address = |(socket, side): &_| listeners::address(socket).map(|address| (*side, address));
        let addresses = opened.sockets.iter().filter_map(address).collect();
        let of = |side| upstreams.iter().find(|(other, _)| *other == side).map(|(_, list)| list.clone());
        let sockets = opened.sockets.into_iter().map(|(socket, side)| Listener {
            socket,
            side,
            upstreams: of(side).unwrap_or_default(),
        });
        let proxy =
            Proxy::start(Arc::clone(&shared), sockets.collect(), config.workers).map_err(part("the workers"))?;
        let checks = upstreams
            .into_iter()
            .filter(|(side, _)| config.chooses(*side))
            .flat_map(|(side, list)| list.into_iter().map(move |(_, upstream)| (side, upstream)))
            .map(|(side, upstream)| {
                HealthCheck::start(side, upstream, config.health(side).cloned(), &shared.snapshot)
            })
            .collect();

        let (order, orders) = mpsc::channel(ORDERS);
        let control = socket.map(|socket| {
            let state = ControlState {
                snapshot: Arc::clone(&shared.snapshot),
                standing: Arc::clone(&steering.standing),
                key_status: Arc::clone(&key_status),
                readiness: Arc::clone(&readiness),
                grants: Arc::clone(&shared.grants),
                probes: Arc::clone(&shared.probes),
                metrics: Arc::clone(&shared.metrics),
                audit: shared.audit.clone(),
                allowed_hosts: Arc::clone(&admin_state.allowed_hosts),
                orders: order,
                ramp: Arc::clone(&ramping.shown),
                started: clock::monotonic(),
            };
            AdminServer::control(socket, state)
        });
        let mut app = App {
            source,
            shared,
            proxy,
            audit,
            admin,
            control,
            orders,
            admin_state,
            readiness,
            steering,
            ramping,
            fleet,
            checks,
            watcher,
            key_usage: Some(key_usage),
            key_follower: follower.map(KeyFollower::start),
            key_status,
            grant_task: Some(grant_task),
            changes,
            certificates: ExpiryWatch::default(),
            log,
            socket_files: opened.socket_files,
            addresses,
            _state_dir: state_dir,
        };
        app.readiness.serving();
        summary::log_start(&app.shared.snapshot.load(), &app.addresses, descriptors);
        app.know_certificates();
        app.tell_of_kept_grants();
        app.take_up_state(unknown, &edit, by_marker);
        app.take_up_ramp();
        app.record(Event::Start, "process", "started".to_owned(), summary::facts(&app.shared.snapshot.load()));
        Ok(app)
    }

    /// The TCP addresses that are listened on, in the order of the configuration; what was bound, also for port 0.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().map(|(_, address)| *address)
    }

    /// Puts a change of state on record.
    pub(super) fn record(&self, event: Event, who: &str, why: String, detail: Vec<(&'static str, Fact)>) {
        self.audit.queue().state_change(StateChange {
            unix_micros: clock::unix_micros(),
            event,
            who: who.to_owned(),
            why,
            generation: self.shared.snapshot.load().generation,
            detail,
        });
    }
}

/// The upstreams of one listener, with what is known of each.
type UpstreamList = Vec<(Upstream, Arc<UpstreamHealth>)>;

fn list(config: &Config, side: Side) -> UpstreamList {
    config.upstreams(side).iter().map(|upstream| (upstream.clone(), UpstreamHealth::new(upstream.clone()))).collect()
}

/// The files of the certificates we present, and when each ends.
pub(super) fn certificates(tls: &TlsMaterials) -> impl Iterator<Item = (String, i64)> {
    tls.own().iter().map(|own| (own.path.display().to_string(), own.certificate.not_after))
}

/// The ids that may become values of a metric's label: never what a request claims.
pub(super) fn service_ids<'c>(config: &'c Config, keys: &'c KeyTable) -> impl Iterator<Item = &'c str> {
    config.services.keys().chain(keys.ids()).map(|id| id.as_str())
}

impl AdminServer {
    fn start(socket: std::net::TcpListener, state: &Arc<AdminState>) -> io::Result<AdminServer> {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let (stop, stopped) = oneshot::channel();
        let state = Arc::clone(state);
        let task = tokio::spawn(admin::serve(socket, state, async {
            // An error means that the sender is gone: the same order.
            let _ = stopped.await;
        }));
        Ok(AdminServer { task, stop })
    }

    fn control(socket: ControlSocket, state: ControlState) -> AdminServer {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(control::serve(socket, Arc::new(state), async {
            // An error means that the sender is gone: the same order.
            let _ = stopped.await;
        }));
        AdminServer { task, stop }
    }
}

/// Where nobody said where the control API is, and it cannot be there, the sidecar runs without it.
fn control_socket(where_to: &AdminSocket) -> Result<Option<ControlSocket>, StartError> {
    let Some(path) = where_to.path() else { return Ok(None) };
    match (control::open(path), where_to) {
        (Ok(socket), _) => Ok(Some(socket)),
        (Err(error), AdminSocket::Said(_)) => Err(StartError::ControlSocket { path: path.to_owned(), error }),
        (Err(error), AdminSocket::Default(_) | AdminSocket::Off) => {
            tracing::warn!(
                path = %path.display(),
                %error,
                "there is no control API: its socket cannot be made; say where under [admin], `socket`, or \"off\""
            );
            Ok(None)
        }
    }
}

impl HealthCheck {
    pub(super) fn start(
        side: Side,
        upstream: Arc<UpstreamHealth>,
        how: Option<Health>,
        now: &Arc<SnapshotCell>,
    ) -> HealthCheck {
        let now = Arc::clone(now);
        let task = tokio::spawn(Arc::clone(&upstream).watch(how.clone(), move || Arc::clone(&now.load().tls)));
        HealthCheck { side, upstream, how, task }
    }
}

impl Drop for HealthCheck {
    fn drop(&mut self) {
        self.task.abort();
    }
}
