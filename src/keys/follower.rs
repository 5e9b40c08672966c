//! [`Follower`]: keeps the keys of Redis at hand, so that no request ever waits for it.
//!
//! It lives in the control runtime and hands out a whole table whenever one changed. It looks at Redis
//!
//! - when it is told of a change (what our commands publish, what the server tells of others' changes), but not more often
//!   than ten times a second;
//! - when a request brought an id or a signature that is not known: once a second at most, and in a database so large that a
//!   look takes long, a twentieth of the time at most, however many strangers call;
//! - every `[keys].cache`, whatever happened; at once after a lost connection; twice a second while Redis cannot be reached.
//!
//! While Redis cannot be reached: what is cached serves on ([`KeyCache`](super::cache) says for how long), then the key
//! files where `[keys].sources` names them after Redis; any other id is told that keys cannot be had (503), for it may have one.
//! A key that Redis does not have is never looked for elsewhere.
//!
//! It also writes: word of this verifier's presence, and which keys-to-be it takes already. That is told only once they are
//! in force, and only where Redis is the first source: else it is not here that keys come to verify. A user that may not write, and a
//! replica, make it go without: a rotation then does not wait for us.

use super::cache::{KeyCache, Millis, Patience};
use super::expiry::ExpiryWatch;
use super::redis::{RedisStore, StoreError, Subscription, VerifierName};
use super::sealed::SealedCopy;
use super::status::KeyStatus;
use super::{KeyTable, Wanted};
use crate::clock;
use crate::config::{KeySourceKind, Keys, Redis, ServiceIdentity};
use crate::signature::key::{Fingerprint, ServiceId, ServiceKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

mod told;
mod turn;

use told::Told;

/// What of the configuration it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[keys]`
    pub keys: Keys,
    /// `[keys].redis`
    pub redis: Redis,
    /// `[service]`
    pub service: Option<ServiceIdentity>,
    /// Services whose keys alert nobody.
    pub unused: BTreeSet<ServiceId>,
}

/// Keeps the keys of Redis at hand.
pub struct Follower {
    settings: Settings,
    store: RedisStore,
    subscription: Option<Subscription>,
    cache: KeyCache,
    sealed: Option<Arc<SealedCopy>>,
    name: VerifierName,
    wanted: Arc<Wanted>,
    status: Arc<KeyStatus>,
    steady: SteadyClock,
    expiry: ExpiryWatch,
    told: Told,
    /// The key files, while they are asked because Redis cannot be reached.
    files: Option<KeyTable>,
    /// What was handed out last.
    shown: Option<Shape>,
    /// When Redis was last asked for all, and how long that took.
    asked: (Instant, Duration),
    sealed_at: Option<Instant>,
    due: Due,
}

/// When to do what next.
#[derive(Debug, Clone, Copy)]
struct Due {
    look: Instant,
    beat: Instant,
}

/// Keys that changed.
pub struct Followed {
    /// All of them.
    pub table: KeyTable,
    /// This service's own one, as Redis has it.
    pub own: Option<Arc<ServiceKey>>,
    /// To be told when the table is in force.
    pub in_force: oneshot::Sender<()>,
}

/// What a table is compared by: fingerprints, and whether the source can be had.
type Shape = (BTreeMap<ServiceId, (Vec<Fingerprint>, Option<u64>)>, bool);

/// Another configuration, and its sealed copy.
pub type Change = (Settings, Option<Arc<SealedCopy>>);

/// How long a start waits for Redis.
pub const START_WAIT: Duration = Duration::from_secs(2);

impl Follower {
    /// Gets ready and asks Redis once, for at most [`START_WAIT`]. `name`: who this verifier is among those that share the Redis.
    pub async fn begin(
        settings: Settings,
        sealed: Option<Arc<SealedCopy>>,
        name: VerifierName,
        status: Arc<KeyStatus>,
    ) -> Follower {
        let mut follower = Follower::new(settings, sealed, name, status);
        if tokio::time::timeout(START_WAIT, follower.look()).await.is_err() {
            let error = StoreError::TimedOut {
                servers: follower.store.servers(),
                command: "for the keys",
                milliseconds: START_WAIT.as_millis(),
            };
            follower.unheard(&error);
        }
        follower
    }

    /// Gets ready without asking Redis: that is the first thing [`Follower::run`] does.
    pub fn new(
        settings: Settings,
        sealed: Option<Arc<SealedCopy>>,
        name: VerifierName,
        status: Arc<KeyStatus>,
    ) -> Follower {
        status.named(name.clone());
        let now = clock::monotonic();
        let mut steady = SteadyClock::new();
        let cache = restore(sealed.as_deref(), &settings, steady.now());
        Follower {
            store: RedisStore::new(&settings.redis),
            settings,
            subscription: None,
            cache,
            sealed,
            name,
            wanted: Arc::default(),
            status,
            steady,
            expiry: ExpiryWatch::default(),
            told: Told::default(),
            files: None,
            shown: None,
            asked: (now, Duration::ZERO),
            sealed_at: None,
            due: Due { look: now, beat: now },
        }
    }

    /// What it goes by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The table as it stands, and what this service signs with.
    pub fn first(&mut self) -> (KeyTable, Option<Arc<ServiceKey>>) {
        let (table, shape) = self.table();
        self.shown = Some(shape);
        (table, self.own())
    }

    /// Why Redis could not be asked, if it could not.
    pub fn outage(&self) -> Option<&StoreError> {
        self.told.outage()
    }

    /// Follows until nobody listens any more. `changes`: another configuration, with its sealed copy; of several between two looks the
    /// last one counts.
    pub async fn run(mut self, mut changes: watch::Receiver<Change>, out: mpsc::UnboundedSender<Followed>) {
        self.mark_staged().await;
        loop {
            let now = clock::monotonic();
            if now >= self.due.look {
                self.look().await;
                if !self.hand_out(&out).await {
                    break;
                }
            } else if now >= self.due.beat {
                self.beat().await;
                if !self.hand_out(&out).await {
                    break;
                }
            }
            let next = tokio::time::Instant::from_std(self.due.look.min(self.due.beat));
            let subscription = &mut self.subscription;
            let news = async {
                match subscription {
                    Some(subscription) => subscription.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let (settings, sealed) = changes.borrow_and_update().clone();
                    self.reconfigure(settings, sealed).await;
                }
                news = news => self.hear(&news),
                () = self.wanted.asked() => self.hurry(),
                () = tokio::time::sleep_until(next) => {}
            }
        }
        if self.cache.is_reachable() {
            // It ends by itself within half a minute; this only tells sooner.
            let _ = self.store.absent(&self.name).await;
        }
    }

    /// Hands out the table if it changed, waits until it is in force, and tells so. `false`: nobody listens any more.
    async fn hand_out(&mut self, out: &mpsc::UnboundedSender<Followed>) -> bool {
        let (table, shape) = self.table();
        if self.shown.as_ref() != Some(&shape) {
            self.shown = Some(shape);
            let (in_force, is_in_force) = oneshot::channel();
            if out.send(Followed { table, own: self.own(), in_force }).is_err() {
                return false;
            }
            // Gone without a word: it was not taken, and nothing is told of it.
            if is_in_force.await.is_err() {
                return !out.is_closed();
            }
        }
        self.mark_staged().await;
        true
    }

    fn table(&self) -> (KeyTable, Shape) {
        let mut keys = self.cache.keys();
        for (id, of_file) in self.files.iter().flat_map(KeyTable::iter) {
            keys.entry(id.clone()).or_insert_with(|| of_file.clone());
        }
        let unavailable = !self.cache.is_reachable();
        let shown = keys.iter().map(|(id, keys)| {
            let fingerprints = keys.iter().map(|key| key.fingerprint()).collect();
            (id.clone(), (fingerprints, keys.overlap_until))
        });
        let shape = (shown.collect(), unavailable);
        (KeyTable::followed(keys, unavailable, Arc::clone(&self.wanted)), shape)
    }

    fn own(&self) -> Option<Arc<ServiceKey>> {
        let service = self.settings.service.as_ref()?;
        self.cache.current(&service.id).cloned()
    }

    fn patience(&self) -> Patience {
        Patience { stale: self.settings.keys.stale, grace: self.settings.keys.grace }
    }

    /// Do signatures verify by what is found here? Else nobody need wait until we take a key.
    fn verifies(&self) -> bool {
        self.settings.keys.sources.first() == Some(&KeySourceKind::Redis)
    }

    /// Are the key files asked when Redis cannot be reached?
    fn files_follow(&self) -> bool {
        self.settings.keys.sources.contains(&KeySourceKind::Files)
    }
}

/// What the sealed copy holds, unless it is too old.
fn restore(sealed: Option<&SealedCopy>, settings: &Settings, now: Millis) -> KeyCache {
    let mut cache = match sealed.map(SealedCopy::load) {
        None | Some(Ok(None)) => return KeyCache::default(),
        Some(Ok(Some(cache))) => cache,
        Some(Err(fault)) => {
            tracing::error!(%fault, "the sealed copy of the keys cannot be used");
            return KeyCache::default();
        }
    };
    if cache.not_after(now)
        && let Some(sealed) = sealed
        && let Err(fault) = sealed.store(&cache)
    {
        tracing::error!(%fault, "the sealed copy of the keys cannot be written");
    }
    let age = cache.stale_for(now) / 1000;
    let patience = Patience { stale: settings.keys.stale, grace: settings.keys.grace };
    for event in cache.age(patience, now) {
        told::event(&event);
    }
    tracing::info!(keys = cache.keys().len(), age_seconds = age, "the sealed copy of the keys was read");
    cache
}

/// Wall clock that never runs slower than time passes: a clock set back, also after it jumped ahead, makes nothing last longer.
#[derive(Debug)]
struct SteadyClock {
    /// When it was made.
    began: Millis,
    wall: Millis,
    from: Instant,
}

impl SteadyClock {
    fn new() -> SteadyClock {
        let wall = clock::unix_micros() / 1000;
        SteadyClock { began: wall, wall, from: clock::monotonic() }
    }

    fn now(&mut self) -> Millis {
        self.at(clock::unix_micros() / 1000, clock::monotonic())
    }

    /// The time by a wall clock that says `wall` at the moment `now`.
    fn at(&mut self, wall: Millis, now: Instant) -> Millis {
        let passed = now.duration_since(self.from).as_millis();
        let steady = self.wall.saturating_add(u64::try_from(passed).unwrap_or(Millis::MAX));
        if wall > steady {
            (self.wall, self.from) = (wall, now);
        }
        wall.max(steady)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_and_back_makes_nothing_last_longer() {
        let mut steady = SteadyClock::new();
        let (wall, start) = (steady.wall, steady.from);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(steady.at(wall + 1000, after(1)), wall + 1000);
        let jumped = steady.at(wall + 3_602_000, after(2));
        assert_eq!(jumped, wall + 3_602_000);
        assert_eq!(steady.at(wall + 3000, after(3)), jumped + 1000, "back again: what was good then is a second old");
        assert_eq!(steady.at(wall - 9_000_000, after(4)), jumped + 2000);
        assert_eq!(steady.began, wall);
    }
}
