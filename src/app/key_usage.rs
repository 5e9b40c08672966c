//! Tells which keys are taken now and which were used last: to the state directory, to Redis where keys live there, and to the metrics.
//!
//! `keys list` and `keys rotate` read it. What is taken is told within half a second of a change, what was used every
//! two seconds and at the end, sooner than a rotation looks a second time before it lets go of a key. While Redis cannot be asked, what was used waits here; a key has one last use, so no more waits than there are keys.

use super::process::host_name;
use crate::clock;
use crate::config::{Config, KeySourceKind, Redis};
use crate::keys::KeyTable;
use crate::keys::redis::{RedisStore, StoreError};
use crate::keys::usage::{ServiceUsage, TOLD_WITHIN, Usage, UsageBoard, file, merge};
use crate::proxy::Shared;
use crate::signature::key::{ServiceId, ServiceKeys};
use crate::snapshot::{Snapshot, SnapshotCell};
use crate::telemetry::metrics::Metrics;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often it is looked whether other keys are taken.
const LOOK: Duration = Duration::from_millis(500);

/// Every how many looks it is told what was used. [`TOLD_WITHIN`] promises it.
const LOOKS_A_TELLING: u32 = 4;

/// A rotation lets go of an old key after waiting so long for word of its use: one that waits less ends keys in use.
const _: () = assert!(LOOK.as_millis() * (LOOKS_A_TELLING as u128) < TOLD_WITHIN.as_millis());

/// Seconds for which the last use of a key is remembered: longer than a key lives.
const KEPT: u64 = 400 * 86_400;

/// Seconds between two warnings about one service.
const WARNINGS: u64 = 3600;

/// How long the end waits for Redis to be told.
const END: Duration = Duration::from_secs(2);

/// The task that tells.
pub(super) struct KeyUsageTask {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl KeyUsageTask {
    /// Starts to tell what the workers share.
    pub(super) fn start(shared: &Shared) -> KeyUsageTask {
        let (stop, stopped) = oneshot::channel();
        let teller = Teller::new(shared);
        KeyUsageTask { task: tokio::spawn(teller.run(stopped)), stop }
    }

    /// Tells what is left, and ends.
    pub(super) async fn stop(self) {
        // The task may be gone already; then nothing is left to tell.
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(END, self.task).await;
    }

    /// Did it end although nobody stopped it?
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

struct Teller {
    board: Arc<UsageBoard>,
    snapshot: Arc<SnapshotCell>,
    metrics: Arc<Metrics>,
    state_dir: PathBuf,
    /// Of every key that was ever used, as the file has it.
    known: Usage,
    /// What the file does not have yet.
    unwritten: bool,
    /// What Redis has not been told yet.
    untold: Usage,
    redis: Option<(Redis, RedisStore)>,
    /// Was it said that Redis does not let us tell?
    forbidden: bool,
    /// What was last told to be taken.
    taken: Option<Arc<KeyTable>>,
    /// When it was last said that an old key is still used, in Unix seconds.
    warned: BTreeMap<ServiceId, u64>,
}

impl Teller {
    fn new(shared: &Shared) -> Teller {
        let (board, snapshot) = (Arc::clone(&shared.key_usage), Arc::clone(&shared.snapshot));
        let metrics = Arc::clone(&shared.metrics);
        let state_dir = snapshot.load().config.state_dir.clone();
        let known = file::read_usage(&state_dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "when keys were last used before this start cannot be read");
            Usage::new()
        });
        let (unwritten, untold) = (false, Usage::new());
        Teller {
            board,
            snapshot,
            metrics,
            state_dir,
            known,
            unwritten,
            untold,
            redis: None,
            forbidden: false,
            taken: None,
            warned: BTreeMap::new(),
        }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0;
        loop {
            tokio::select! {
                _ = look.tick() => {}
                _ = &mut stopped => return self.tell().await,
            }
            self.tell_taken();
            looks += 1;
            if looks >= LOOKS_A_TELLING {
                looks = 0;
                self.tell().await;
            }
        }
    }

    fn tell_taken(&mut self) {
        let now = Arc::clone(&self.snapshot.load().keys);
        if self.taken.as_ref().is_some_and(|taken| Arc::ptr_eq(taken, &now)) {
            return;
        }
        let keys = now.iter().map(|(id, keys)| (id, keys.iter().map(|key| key.fingerprint()).collect()));
        let overlaps = now.iter().filter_map(|(id, keys)| Some((id.to_string(), keys.overlap_until?)));
        self.metrics.set_overlaps(overlaps.collect());
        if let Err(error) = file::write_in_use(&self.state_dir, keys) {
            // Tried again at the next look; a rotation waits for it, and says so.
            tracing::warn!(%error, "cannot write which keys are in use to the state directory");
            return;
        }
        self.taken = Some(now);
    }

    async fn tell(&mut self) {
        let snapshot = self.snapshot.load_full();
        for (id, keys) in self.board.take(&verifier(&snapshot.config)) {
            for (key, used) in keys {
                merge(self.untold.entry(id.clone()).or_default(), key, used.clone());
                self.unwritten |= merge(self.known.entry(id.clone()).or_default(), key, used);
            }
        }
        self.warn_of_overdue(&snapshot);
        if self.unwritten {
            let now = clock::unix_seconds();
            self.known.values_mut().for_each(|keys| keys.retain(|_, used| used.at.saturating_add(KEPT) > now));
            self.known.retain(|_, keys| !keys.is_empty());
            match file::write_usage(&self.state_dir, &self.known) {
                Ok(()) => self.unwritten = false,
                Err(error) => tracing::warn!(%error, "cannot write when keys were used to the state directory"),
            }
        }
        let redis = snapshot.config.keys.redis.as_ref();
        let Some(settings) = redis.filter(|_| snapshot.config.keys.sources.contains(&KeySourceKind::Redis)) else {
            (self.untold, self.redis) = (Usage::new(), None);
            return;
        };
        self.tell_redis(settings, &snapshot.keys).await;
    }

    /// A key that should be out of use and is not: said at most once an hour for each service.
    fn warn_of_overdue(&mut self, snapshot: &Snapshot) {
        let now = clock::unix_seconds();
        for (id, keys) in snapshot.keys.iter() {
            let (Some(until), Some(old)) = (keys.overlap_until, &keys.previous) else { continue };
            let used = self.known.get(id).and_then(|of_it| of_it.get(&old.fingerprint()));
            let said = self.warned.get(id).copied().unwrap_or_default();
            let Some(used) = used.filter(|used| used.at > until.max(said)) else { continue };
            if now.saturating_sub(said) < WARNINGS {
                continue;
            }
            self.warned.insert(id.clone(), now);
            tracing::warn!(
                service = %id,
                fingerprint = %old.fingerprint(),
                client = used.client,
                "the key before the last rotation should be out of use and is not: let that program load the new one"
            );
        }
    }

    async fn tell_redis(&mut self, settings: &Redis, taken: &KeyTable) {
        let store = match &self.redis {
            Some((same, store)) if same == settings => store.clone(),
            Some(_) | None => {
                // This one may not know what was seen before, also before this start: a use that it misses would end an overlap.
                self.untold = of_taken(&self.known, taken);
                self.redis.insert((settings.clone(), RedisStore::new(settings))).1.clone()
            }
        };
        while let Some((id, keys)) = self.untold.first_key_value() {
            let told = match store.used(id).await {
                Ok(there) => {
                    // What another verifier saw later stays.
                    let is_news = |key: &str, at| there.get(key).is_none_or(|used| used.at < at);
                    let news = keys.iter().filter(|(key, used)| is_news(&key.to_string(), used.at));
                    let news: Vec<_> = news.map(|(key, used)| (*key, used.clone())).collect();
                    store.mark_used(id, &news).await
                }
                Err(error) => Err(error),
            };
            if let Err(error @ StoreError::NotPermitted { .. }) = &told {
                if !std::mem::replace(&mut self.forbidden, true) {
                    tracing::warn!(
                        %error,
                        "redis is not told when keys were used: a rotation will take a key for unused that is used here"
                    );
                }
            } else if told.is_ok() {
                self.forbidden = false;
            }
            if let Err(error) = told {
                tracing::debug!(%error, "redis is told later when keys were used");
                if error.is_outage() {
                    return;
                }
            }
            self.untold.pop_first();
        }
    }
}

/// The last uses of the keys that are taken now: what is known of others is of no use to anybody, and would come back for ever.
fn of_taken(known: &Usage, taken: &KeyTable) -> Usage {
    let of = |(id, keys): (&ServiceId, &ServiceKeys)| {
        let used = known.get(id)?;
        let used: ServiceUsage = keys
            .iter()
            .filter_map(|key| used.get_key_value(&key.fingerprint()))
            .map(|(k, u)| (*k, u.clone()))
            .collect();
        (!used.is_empty()).then(|| (id.clone(), used))
    };
    taken.iter().filter_map(of).collect()
}

/// Who we are to those who read it: the service of this machine, else its host name.
fn verifier(config: &Config) -> String {
    if let Some(service) = &config.service {
        return service.id.to_string();
    }
    host_name().unwrap_or_else(|| "unnamed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::usage::Used;
    use crate::signature::key::ServiceKey;

    #[test]
    fn after_a_start_redis_is_told_what_the_file_knows_of_keys_that_are_taken() {
        let id = |text| ServiceId::parse(text).unwrap();
        let key = |fill: &str| ServiceKey::from_text(&fill.repeat(64)).unwrap();
        let print = |fill: &str| key(fill).fingerprint();
        let used = |at| Used { at, client: "192.0.2.1".into(), verifier: "v".into() };
        let known: Usage = [
            (id("rotated"), [(print("a"), used(1)), (print("b"), used(2)), (print("c"), used(3))].into()),
            (id("gone"), [(print("d"), used(4))].into()),
        ]
        .into();
        let previous = Some(Arc::new(key("a")));
        let rotated = ServiceKeys { previous, ..ServiceKeys::single(key("b")) };
        let table = KeyTable::new([(id("rotated"), rotated), (id("unused"), ServiceKeys::single(key("e")))].into());
        let told = [(id("rotated"), [(print("a"), used(1)), (print("b"), used(2))].into())].into();
        assert_eq!(of_taken(&known, &table), told);
    }
}
