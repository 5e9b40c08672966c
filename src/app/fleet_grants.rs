//! Override grants for the whole fleet: how what was granted elsewhere takes effect here, and what is granted here gets there.
//!
//! 1. A task looks at Redis every second. Words that were written with the fleet key and say something new go to the control loop, which
//!    alone changes what is granted ([`FleetWord`]); so a grant, and its end, reach every sidecar within two seconds.
//! 2. What this sidecar knows and Redis does not, it says there: a Redis that was away or was emptied is told again.
//! 3. What is not the fleet's (no fleet key, altered, another's id) grants nothing. It is told of once and let be.
//! 4. While Redis is away nothing changes: what was granted holds until its time is over, an end that was given here holds here, and
//!    is told when Redis is back.

use super::start::App;
use crate::clock;
use crate::config::Redis;
use crate::keys::redis::RedisStore;
use crate::keys::secret_file::SecretReader;
use crate::policy::grants::{FleetWord, GrantId, Heard};
use crate::proxy::Shared;
use crate::rollout::shared::sealed::FleetKey;
use crate::snapshot::SnapshotCell;
use crate::state::grant_keeper::GrantKeeper;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often Redis is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Seconds for which a word stays in Redis beyond the time it speaks of: clocks differ.
const MARGIN: u64 = 600;

/// This sidecar as one that hears of grants and tells of its own.
pub(super) struct FleetGrants {
    voice: Arc<Voice>,
    heard: mpsc::Receiver<Vec<FleetWord>>,
    task: JoinHandle<()>,
}

/// What it takes to say something.
pub(super) struct Voice {
    key: FleetKey,
    snapshot: Arc<SnapshotCell>,
}

impl FleetGrants {
    /// Begins where enforcement is shared; the configuration has been checked.
    pub(super) fn begin(shared: &Shared) -> Option<FleetGrants> {
        let snapshot = Arc::clone(&shared.snapshot);
        let config = Arc::clone(&snapshot.load().config);
        let (Some(path), Some(_)) = (&config.shared_key, &config.keys.redis) else { return None };
        let text = SecretReader::of_process().read(path).ok()?;
        let voice = Arc::new(Voice { key: FleetKey::from_text(&text)?, snapshot });
        let (sender, heard) = mpsc::channel(1);
        let task = tokio::spawn(follow(Arc::clone(&voice), Arc::clone(&shared.grants), sender));
        Some(FleetGrants { voice, heard, task })
    }

    /// What was heard next.
    pub(super) async fn heard(&mut self) -> Vec<FleetWord> {
        match self.heard.recv().await {
            Some(heard) => heard,
            // Its end is seen by the looks.
            None => std::future::pending().await,
        }
    }

    /// To say something by.
    pub(super) fn voice(&self) -> Arc<Voice> {
        Arc::clone(&self.voice)
    }

    /// Did it end although nobody stopped it?
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for FleetGrants {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Voice {
    /// Says this to the others now; else the task says it when it can.
    pub(super) async fn say(&self, id: GrantId, word: &FleetWord) -> Result<(), String> {
        let redis = self.redis().ok_or("no Redis is configured")?;
        self.say_through(&RedisStore::new(&redis), id, word).await
    }

    async fn say_through(&self, store: &RedisStore, id: GrantId, word: &FleetWord) -> Result<(), String> {
        let (expires, replaces) = match word {
            FleetWord::Granted(stored) => (stored.expires(), false),
            FleetWord::Revoked(revoked) => (revoked.expires, true),
        };
        let ttl = Duration::from_secs((expires + MARGIN).saturating_sub(clock::unix_seconds()));
        let id = id.to_string();
        let said = store.say_of_grant(&id, &self.key.seal_grant(&id, word), replaces, ttl).await;
        if said.map_err(|error| error.to_string())? { Ok(()) } else { Err(TOO_MANY.to_owned()) }
    }

    fn redis(&self) -> Option<Redis> {
        self.snapshot.load().config.keys.redis.clone()
    }
}

const TOO_MANY: &str = "there are far more words on override grants in redis than a fleet has, so that no sidecar reads any; remove the hash";

/// Looks for ever. `keeper` is told how it stands.
async fn follow(voice: Arc<Voice>, keeper: Arc<GrantKeeper>, heard: mpsc::Sender<Vec<FleetWord>>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut eyes = Eyes::default();
    loop {
        look.tick().await;
        let Some(redis) = voice.redis() else { continue };
        if eyes.redis.as_ref() != Some(&redis) {
            eyes.store = Some(RedisStore::new(&redis));
            eyes.redis = Some(redis);
        }
        let Some(store) = &eyes.store else { continue };
        match compare(&voice, store, &mut eyes.foreign).await {
            Ok(news) => {
                if eyes.away.take().is_some() {
                    keeper.fleet_is(None);
                    tracing::info!("override grants of the fleet are followed again");
                }
                if !news.is_empty() && heard.send(news).await.is_err() {
                    return;
                }
            }
            Err(problem) => {
                if eyes.away.as_ref() != Some(&problem) {
                    tracing::warn!(problem, "override grants of the fleet cannot be followed: what is known stays");
                    keeper.fleet_is(Some(&problem));
                }
                eyes.away = Some(problem);
            }
        }
    }
}

/// What the task remembers.
#[derive(Default)]
struct Eyes {
    redis: Option<Redis>,
    store: Option<RedisStore>,
    /// Why Redis is away.
    away: Option<String>,
    /// What was told not to be the fleet's.
    foreign: BTreeSet<Vec<u8>>,
}

/// Words that are new here; what is not known there is said there.
async fn compare(
    voice: &Voice,
    store: &RedisStore,
    foreign: &mut BTreeSet<Vec<u8>>,
) -> Result<Vec<FleetWord>, String> {
    let said = store.grant_words().await.map_err(|error| error.to_string())?;
    if said.too_many {
        return Err(TOO_MANY.to_owned());
    }
    let now = (clock::unix_seconds(), clock::monotonic());
    let table = Arc::clone(&voice.snapshot.load().grants);
    let mut unsaid: Vec<(GrantId, FleetWord)> = table.words().collect();
    let (mut news, mut over, mut strange) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (id, text) in said.words {
        let opened = std::str::from_utf8(&id).ok().zip(std::str::from_utf8(&text).ok());
        let Some(word) = opened.and_then(|(id, text)| voice.key.open_grant(id, text).ok()) else {
            if !foreign.contains(&id) {
                tracing::warn!(
                    "redis holds a word on an override grant that was not written with this fleet key: ignored"
                );
            }
            strange.insert(id);
            continue;
        };
        let expires = match &word {
            FleetWord::Granted(stored) => stored.expires(),
            FleetWord::Revoked(revoked) => revoked.expires,
        };
        if expires.saturating_add(MARGIN) <= now.0 {
            over.push(id);
            continue;
        }
        // A word of ours that stands there need not be said; an end is said over a grant.
        unsaid.retain(|(mine, ours)| {
            mine.to_string().as_bytes() != id
                || matches!((ours, &word), (FleetWord::Revoked(_), FleetWord::Granted(_)))
        });
        if !matches!(table.hear(word.clone(), now), Heard::Nothing) {
            news.push(word);
        }
    }
    *foreign = strange;
    for (id, word) in unsaid {
        voice.say_through(store, id, &word).await?;
    }
    if !over.is_empty() {
        store.drop_grants(&over).await.map_err(|error| error.to_string())?;
    }
    Ok(news)
}

impl App {
    /// What was granted or ended elsewhere takes effect here.
    pub(super) fn hear_of_grants(&self, words: Vec<FleetWord>) {
        for word in words {
            let table = Arc::clone(&self.shared.snapshot.load().grants);
            match table.hear(word, (clock::unix_seconds(), clock::monotonic())) {
                Heard::Granted(table, grant) => {
                    self.put_grants(table);
                    self.tell_of_grant(&grant, "granted", &grant.terms().by, &grant.terms().reason);
                }
                Heard::Revoked(table, grant, revoked) => {
                    self.put_grants(table);
                    self.tell_of_grant(&grant, "revoked", &revoked.by, &revoked.why);
                }
                Heard::Remember(table) => self.put_grants(table),
                Heard::Nothing => {}
            }
        }
        self.shared.grants.ask();
    }
}
