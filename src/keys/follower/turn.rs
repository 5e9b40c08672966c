//! One turn of the follower: a look at Redis, a sign of life, news, another configuration; and when the next is due.

use super::{Due, Follower, Settings};
use crate::clock;
use crate::keys::cache::KeyEvent;
use crate::keys::dir;
use crate::keys::redis::{News, RedisStore, StoreError};
use crate::keys::sealed::SealedCopy;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After news of a change: so long after the last look at the earliest.
const NEWS_GAP: Duration = Duration::from_millis(100);
/// After a request that met something unknown.
const WANTED_GAP: Duration = Duration::from_secs(1);
/// Strangers make us spend at most one part in so many on looking.
const WANTED_SHARE: u32 = 20;
/// While Redis cannot be reached.
const RETRY: Duration = Duration::from_millis(500);
/// Signs of life.
const BEAT: Duration = Duration::from_secs(5);
/// A whole look; each answer has a deadline of its own.
const LONGEST_LOOK: Duration = Duration::from_secs(20);
/// The sealed copy is written anew, when nothing changed, to tell how fresh it is.
const SEAL_GAP: Duration = Duration::from_secs(60);

impl Follower {
    /// Asks Redis for everything, and takes in what it says.
    pub(super) async fn look(&mut self) {
        let started = clock::monotonic();
        self.wanted.answered();
        let asked = match tokio::time::timeout(LONGEST_LOOK, self.ask()).await {
            Ok(asked) => asked,
            Err(_) => Err(StoreError::TimedOut {
                servers: self.store.servers(),
                command: "for all keys",
                milliseconds: LONGEST_LOOK.as_millis(),
            }),
        };
        let ended = clock::monotonic();
        self.asked = (started, ended.duration_since(started));
        match asked {
            Ok(listing) => {
                let events = self.cache.heard(listing, self.patience(), self.steady.now());
                self.told.answers(&self.store.servers());
                self.files = None;
                self.tell(&events);
                self.mark_database().await;
                self.status.asked(true, deleted(&events));
                self.due.look = ended + self.settings.keys.cache.max(WANTED_GAP);
                self.seal(!events.is_empty(), ended);
            }
            Err(error) => self.unheard(&error),
        }
        self.show();
    }

    async fn ask(&mut self) -> Result<crate::keys::redis::Listing, StoreError> {
        // First listen, then look: what changes in between is heard.
        if self.subscription.is_none() {
            match self.store.subscribe().await {
                Ok(subscription) => {
                    self.told.listens(subscription.untracked());
                    self.subscription = Some(subscription);
                }
                Err(error @ (StoreError::NotPermitted { .. } | StoreError::Refused { .. })) => self.told.deaf(&error),
                Err(error) => return Err(error),
            }
        }
        self.store.list(self.cache.ids()).await
    }

    /// Redis could not be asked.
    pub(super) fn unheard(&mut self, error: &StoreError) {
        let now = clock::monotonic();
        let events = self.cache.unheard(self.patience(), self.steady.now());
        self.subscription = None;
        self.status.asked(false, 0);
        self.due.look = now + RETRY;
        if self.told.is_out(error, &self.store.servers(), self.cache.keys().len()) {
            self.read_files();
        }
        self.tell(&events);
        self.show();
    }

    /// Tells that this verifier runs, and asks whether the line still is one.
    pub(super) async fn beat(&mut self) {
        self.due.beat = clock::monotonic() + BEAT;
        let events = self.cache.age(self.patience(), self.steady.now());
        self.tell(&events);
        if self.cache.is_reachable() {
            let mut alive = if self.verifies() { self.be_present().await } else { self.store.ping().await };
            if let (Ok(()), Some(subscription)) = (&alive, &self.subscription) {
                alive = subscription.check().await;
            }
            if let Err(error) = alive {
                tracing::debug!(%error, "redis gave no sign of life");
                self.subscription = None;
                self.due.look = clock::monotonic();
            }
        } else {
            self.read_files();
        }
        self.show();
    }

    async fn be_present(&mut self) -> Result<(), StoreError> {
        let said = self.store.present(&self.name).await;
        self.told.wrote("its presence", said.as_ref().err());
        match said {
            Err(error) if error.forbids_writing() => self.store.ping().await,
            said => said,
        }
    }

    /// Something changed, or nothing is heard any more.
    pub(super) fn hear(&mut self, news: &News) {
        let earliest = match news {
            News::Changed(id) => {
                tracing::debug!(service = %id, "a key may have changed");
                self.asked.0 + NEWS_GAP
            }
            News::AnyChanged => self.asked.0 + NEWS_GAP,
            News::Lost => {
                tracing::debug!("the line to redis is lost");
                self.subscription = None;
                self.asked.0 + NEWS_GAP
            }
        };
        self.soon(earliest);
    }

    /// A request met something that is not known here.
    pub(super) fn hurry(&mut self) {
        let (started, took) = self.asked;
        self.soon(started + WANTED_GAP.max(took * WANTED_SHARE));
    }

    fn soon(&mut self, earliest: Instant) {
        self.due.look = self.due.look.min(earliest);
    }

    /// Another configuration: what is cached stays, another Redis is asked at once.
    pub(super) async fn reconfigure(&mut self, settings: Settings, sealed: Option<Arc<SealedCopy>>) {
        let (store, verified, reachable) = (self.store.clone(), self.verifies(), self.cache.is_reachable());
        let is_another = settings.redis != self.settings.redis;
        if settings.redis != self.settings.redis {
            self.store = RedisStore::new(&settings.redis);
            self.subscription = None;
        }
        (self.settings, self.sealed, self.sealed_at) = (settings, sealed, None);
        // Who takes the table may have kept another one so far: what verifies, or what signs, may come from here only now.
        self.shown = None;
        let now = clock::monotonic();
        self.due = Due { look: now, beat: now };
        if verified && reachable && (is_another || !self.verifies()) {
            // A rotation need not wait for us any more; where this is not heard, our presence lapses.
            let _ = store.absent(&self.name).await;
        }
        if self.files.take().is_some() {
            self.read_files();
        }
    }

    /// The key files count while Redis cannot be reached, if they come after it.
    fn read_files(&mut self) {
        if !self.files_follow() {
            return;
        }
        match dir::load(&self.settings.keys, self.settings.service.as_ref()) {
            Ok(loaded) => self.files = Some(loaded.table),
            Err(problems) => {
                let left = self
                    .files
                    .as_ref()
                    .and_then(|files| dir::without_gone(&self.settings.keys, self.settings.service.as_ref(), files));
                self.files = left.or(self.files.take());
                for problem in problems {
                    self.told.bad_file(&problem.to_string());
                }
            }
        }
    }

    /// Without a mark nobody can tell lost data from deleted keys.
    async fn mark_database(&mut self) {
        if self.cache.knows_database() {
            return;
        }
        let marked = self.store.mark_database().await;
        self.told.wrote("the mark of the database", marked.as_ref().err());
        if let Ok(Some(mark)) = marked {
            self.cache.marked(mark);
        }
    }

    /// Tells who waits for it which keys-to-be are taken here by now.
    pub(super) async fn mark_staged(&mut self) {
        if !self.cache.is_reachable() || !self.verifies() {
            return;
        }
        for (id, key) in self.cache.staged() {
            let said = self.store.mark_seen(&id, &self.name, key).await;
            self.told.wrote("the keys it has loaded", said.as_ref().err());
        }
    }

    fn seal(&mut self, changed: bool, now: Instant) {
        let Some(sealed) = &self.sealed else { return };
        let is_due = self.sealed_at.is_none_or(|at| now.duration_since(at) >= SEAL_GAP);
        let differs = self.shown.as_ref() != Some(&self.table().1);
        if changed || differs || is_due {
            match sealed.store(&self.cache) {
                Ok(()) => self.sealed_at = Some(now),
                Err(fault) => tracing::error!(%fault, "the sealed copy of the keys cannot be written"),
            }
        }
    }

    fn tell(&mut self, events: &[KeyEvent]) {
        for event in events {
            super::told::event(event);
        }
        let mut expiries = self.cache.expiries();
        expiries.retain(|id, _| !self.settings.unused.contains(id));
        for expiring in self.expiry.passed(&expiries, self.steady.now()) {
            super::told::expiring(&expiring);
        }
    }

    fn show(&mut self) {
        let now = self.steady.now();
        let unheard_since = (!self.cache.is_reachable()).then(|| match self.cache.has_heard() {
            true => now.saturating_sub(self.cache.stale_for(now)),
            false => self.steady.began,
        });
        self.status.shows(&self.cache, unheard_since);
    }
}

fn deleted(events: &[KeyEvent]) -> u64 {
    events.iter().filter(|event| matches!(event, KeyEvent::Revoked(_) | KeyEvent::Deleted(_))).count() as u64
}
