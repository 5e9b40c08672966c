//! [`FleetFollower`]: keeps what is in force here and the fleet's record in Redis the same.
//!
//! 1. It looks at the record when it is told of a new one, when something moved here, and twice a second besides.
//! 2. What it finds goes to the control loop, which merges it with what is in force here ([`FleetState`]) and says what is meant now.
//!    Where that is not what Redis holds, it is written there, if nobody else wrote meanwhile; else it looks again.
//! 3. A record that was not written with our fleet key is counted, told of once and replaced. Not by a sidecar that has never seen a good
//!    one: that one may have the wrong key itself.
//! 4. While Redis is away nothing changes here but what is moved here; that is written when Redis is back.
//! 5. What is in force here is told to the others every second, and at once when it changed: they see whom a rollback reached.
//! 6. The last state is kept in the state directory, so that after a restart, too, an older record changes nothing.

use super::file::replace;
use super::fleet_board::{FleetBoard, Seen, Trouble};
use super::lease::TTL;
use crate::clock;
use crate::config::Redis;
use crate::keys::redis::fleet::{Driver, KNOWN, Present, RecordNews, Swapped};
use crate::keys::redis::{RedisStore, StoreError};
use crate::rollout::shared::FleetState;
use crate::rollout::shared::sealed::{FleetKey, Presence, RecordFault};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// The last state's file, in the state directory: a record as in Redis.
pub const RECORD_FILE: &str = "fleet";

/// How often Redis is looked at, whatever it tells.
const LOOK: Duration = Duration::from_millis(400);
/// How often this sidecar says that it is there.
const PRESENCE: Duration = Duration::from_secs(1);
/// Between two tries to be told of new records.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// Tries at one record, where others write too, before the next look.
const TRIES: usize = 5;

/// What is meant here.
#[derive(Debug, Clone)]
pub struct Meant {
    /// `None`: this sidecar has not found the fleet's state yet.
    pub state: Option<FleetState>,
    /// The number of the ramp driver whose step it is, until it is written.
    pub driver: Option<u64>,
    /// What this sidecar says of itself.
    pub presence: Presence,
    /// Where Redis is.
    pub redis: Arc<Redis>,
}

/// What was found in Redis.
#[derive(Debug)]
pub enum What {
    /// No record.
    Nothing,
    /// One of ours.
    Record(FleetState),
    /// What was meant is written.
    Written,
    /// Another sidecar drives the ramp by now: the step is refused. With the record that stands there; it may be an old one.
    Fenced(Option<FleetState>),
}

/// Something found, and who waits until it was dealt with.
#[derive(Debug)]
pub struct Found {
    /// What.
    pub what: What,
    /// Dropped or sent: dealt with.
    pub done: oneshot::Sender<()>,
}

/// The task's parts.
pub struct FleetFollower {
    key: Arc<FleetKey>,
    store: RedisStore,
    redis: Arc<Redis>,
    meant: watch::Receiver<Meant>,
    found: mpsc::Sender<Found>,
    board: Arc<FleetBoard>,
    directory: PathBuf,
    news: Option<RecordNews>,
    listened: Option<Instant>,
    said: Option<(Instant, Box<str>)>,
    kept: Option<FleetState>,
    /// What was refused last in each place, hashed, so that it is counted once.
    refused: BTreeMap<&'static str, u64>,
    complained: Option<Instant>,
    drives: bool,
}

/// The state that was last shared, as it is kept in this directory; `None` where there is none, or none of this fleet key's.
pub fn last_shared(directory: &Path, key: &FleetKey) -> Option<FleetState> {
    let path = directory.join(RECORD_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the fleet's last state of enforcement cannot be read");
            return None;
        }
    };
    match key.open(&text) {
        Ok(state) => Some(state),
        Err(fault) => {
            tracing::warn!(path = %path.display(), %fault, "the fleet's last state of enforcement cannot be used");
            None
        }
    }
}

impl FleetFollower {
    /// Follows with this key. `kept`: what [`last_shared`] gave.
    pub fn new(
        key: Arc<FleetKey>,
        meant: watch::Receiver<Meant>,
        found: mpsc::Sender<Found>,
        board: Arc<FleetBoard>,
        directory: &Path,
        kept: Option<FleetState>,
    ) -> FleetFollower {
        let redis = Arc::clone(&meant.borrow().redis);
        FleetFollower {
            key,
            store: RedisStore::new(&redis),
            redis,
            meant,
            found,
            board,
            directory: directory.to_owned(),
            news: None,
            listened: None,
            said: None,
            kept,
            refused: BTreeMap::new(),
            complained: None,
            drives: false,
        }
    }

    /// Until nobody means anything any more.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let board = Arc::clone(&self.board);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                changed = self.meant.changed() => if changed.is_err() { return },
                told = told(&mut self.news) => if !told { self.news = None },
                () = board.asked.notified() => self.said = None,
            }
            let redis = Arc::clone(&self.meant.borrow_and_update().redis);
            if *redis != *self.redis {
                (self.store, self.news) = (RedisStore::new(&redis), None);
                self.redis = redis;
            }
            let turned = self.turn().await;
            self.board.troubled(turned.err());
        }
    }

    async fn turn(&mut self) -> Result<(), Trouble> {
        let away = |error: StoreError| Trouble::Away(error.to_string());
        let followed = self.follow().await.map_err(away)?;
        self.drive().await.map_err(away)?;
        self.keep().await;
        self.say().await.map_err(away)?;
        self.listen().await;
        followed.map_err(Trouble::Record)
    }

    /// Brings the record and what is meant here together. Inside: what is wrong with the record, if it is not followed.
    async fn follow(&mut self) -> Result<Result<(), String>, StoreError> {
        for _ in 0..TRIES {
            let raw = self.store.record().await?;
            let opened = raw.as_deref().map(|raw| self.opened(raw));
            let joined = self.meant.borrow().state.is_some();
            let record = match opened {
                None => {
                    if !joined {
                        self.tell(What::Nothing).await;
                    }
                    None
                }
                Some(Ok(record)) => {
                    if self.meant.borrow().state.as_ref() != Some(&record) {
                        self.tell(What::Record(record.clone())).await;
                    }
                    Some(record)
                }
                Some(Err(fault @ RecordFault::NotOurs)) => {
                    self.refuse("record", &[raw.as_deref().unwrap_or_default()], &fault);
                    if !joined {
                        return Ok(Err(format!("the record in redis {fault}: has this sidecar the fleet's?")));
                    }
                    None
                }
                // Ours, and not understood: nothing of it may be lost.
                Some(Err(fault @ (RecordFault::Newer(_) | RecordFault::Corrupt(_)))) => {
                    self.refuse("record", &[raw.as_deref().unwrap_or_default()], &fault);
                    return Ok(Err(format!("the record in redis {fault}")));
                }
            };
            let Meant { state: Some(state), driver, .. } = self.meant.borrow_and_update().clone() else {
                return Ok(Ok(()));
            };
            if record.as_ref() != Some(&state) {
                let text = self.key.seal(&state);
                match self.store.swap_record(raw.as_deref(), &text, driver).await? {
                    Swapped::Yes => {}
                    Swapped::Moved => continue,
                    Swapped::Fenced => {
                        self.tell(What::Fenced(record)).await;
                        continue;
                    }
                }
            }
            self.board.published(self.key.digest(&state));
            if driver.is_some() || self.kept.is_none() {
                self.tell(What::Written).await;
            }
            return Ok(Ok(()));
        }
        // Others write all the time: the next look goes on.
        Ok(Ok(()))
    }

    fn opened(&self, raw: &[u8]) -> Result<FleetState, RecordFault> {
        std::str::from_utf8(raw).map_err(|_| RecordFault::NotOurs).and_then(|text| self.key.open(text))
    }

    async fn tell(&mut self, what: What) {
        let (done, dealt_with) = oneshot::channel();
        if self.found.send(Found { what, done }).await.is_ok() {
            // Dropped means the same.
            let _ = dealt_with.await;
        }
    }

    /// Counts what is not taken, once for each text, and tells of it now and then: whoever writes it can write a lot.
    fn refuse(&mut self, place: &'static str, texts: &[&[u8]], fault: &RecordFault) {
        let mut hasher = DefaultHasher::new();
        texts.hash(&mut hasher);
        if texts.is_empty() || self.refused.insert(place, hasher.finish()) == Some(hasher.finish()) {
            return;
        }
        let times = self.board.reject();
        let now = clock::monotonic();
        if self.complained.is_some_and(|at| now.saturating_duration_since(at) < COMPLAIN_AGAIN) {
            return;
        }
        self.complained = Some(now);
        tracing::error!(
            place,
            %fault,
            times,
            "what stands in redis for the fleet's state of enforcement is not taken: somebody writes there who does not belong to the fleet, \
             or a sidecar has another fleet key"
        );
    }

    /// Asks for the ramp driver's lease, renews it, or gives it back.
    async fn drive(&mut self) -> Result<(), StoreError> {
        let asked = clock::monotonic();
        if !self.board.lease.is_wanted() {
            if std::mem::take(&mut self.drives) {
                self.board.lease.lost(None, asked);
                self.store.stop_driving(&self.board.name).await?;
            }
            return Ok(());
        }
        let floor = self.meant.borrow().state.as_ref().map_or(0, |state| state.fence);
        match self.store.drive(&self.board.name, floor, TTL).await? {
            Driver::Me(number) => {
                if !std::mem::replace(&mut self.drives, true) {
                    tracing::info!(number, "this sidecar drives the ramp");
                }
                self.board.lease.given(number, asked);
            }
            Driver::Another(name) => {
                if std::mem::take(&mut self.drives) {
                    tracing::warn!(driver = name, "another sidecar drives the ramp now");
                }
                self.board.lease.lost(Some(name), asked);
            }
        }
        Ok(())
    }

    /// Keeps what is meant for the next start.
    async fn keep(&mut self) {
        let state = self.meant.borrow().state.clone();
        let Some(state) = state.filter(|state| self.kept.as_ref() != Some(state)) else { return };
        let (directory, text) = (self.directory.clone(), self.key.seal(&state));
        let written = tokio::task::spawn_blocking(move || replace(&directory, RECORD_FILE, &text)).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => self.kept = Some(state),
            Err(error) => {
                tracing::warn!(%error, "the fleet's state of enforcement cannot be kept for the next start")
            }
        }
    }

    /// Says what is in force here, and hears the others.
    async fn say(&mut self) -> Result<(), StoreError> {
        let (now, mut presence) = (clock::monotonic(), self.meant.borrow().presence.clone());
        presence.drives = self.board.lease.is_wanted() && self.board.lease.holds(now);
        let is_due = self
            .said
            .as_ref()
            .is_none_or(|(at, digest)| *digest != presence.digest || now.saturating_duration_since(*at) >= PRESENCE);
        if !is_due {
            return Ok(());
        }
        let now_is = (clock::unix_micros() / 1000, now);
        presence.at = now_is.0;
        let text = self.key.seal_presence(&presence);
        let present = self.store.sidecars(Some((&presence.name, &text))).await?;
        self.said = Some((now, presence.digest));
        let (mut seen, mut refused, mut fault) = (Vec::new(), Vec::new(), RecordFault::NotOurs);
        for Present { name, age, text } in &present {
            match self.key.open_presence(name, text) {
                Ok(presence) => seen.extend(Seen::of(presence, *age, now_is)),
                Err(found) => {
                    refused.push(text.as_bytes());
                    fault = found;
                }
            }
        }
        // In whatever order they come.
        refused.sort_unstable();
        self.refuse("sidecars", &refused, &fault);
        self.board.heard(seen.into_iter(), now_is, KNOWN);
        Ok(())
    }

    /// Sees to it that new records are told of. Without, they are seen at the next look.
    async fn listen(&mut self) {
        let now = clock::monotonic();
        let is_due = self.listened.is_none_or(|at| now.saturating_duration_since(at) >= LISTEN_AGAIN);
        if self.news.is_some() || !is_due {
            return;
        }
        self.listened = Some(now);
        match self.store.subscribe_records().await {
            Ok(news) => self.news = Some(news),
            Err(error) => tracing::debug!(%error, "new records are not told of, they are seen twice a second"),
        }
    }
}

/// Between two lines of the log about what is refused.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(30);

async fn told(news: &mut Option<RecordNews>) -> bool {
    match news {
        Some(news) => news.next().await,
        None => std::future::pending().await,
    }
}
