//! Which keys are there, until when, and what goes with them?
//!
//! A listing finds names with `SCAN`, on every master, and then asks for each key by itself. The names that the caller knows
//! already are asked for too, found or not: a scan may miss an entry that moves between two nodes of a cluster, and a key
//! that is taken for deleted stops a service.
//!
//! One entry that is none of ours (another type, 10 MB, no text) is told by itself; the others are listed.

use super::{Entry, EntryFault, LARGEST_VALUE, RedisStore, StoreError, names};
use crate::config::RedisServers;
use crate::signature::key::{ServiceId, ServiceKey};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use redis::{Cmd, RedisResult, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use zeroize::Zeroizing;

/// Nobody has more services; who has more entries has named another database.
const MOST_NAMES: usize = 10_000;

/// Questions under way at once.
const AT_ONCE: usize = 64;

/// Every key, at one moment of Redis's own clock.
#[derive(Debug)]
pub struct Listing {
    /// Redis's clock when it was asked, in milliseconds since the Unix epoch: what times to live count by.
    pub redis_millis: u64,
    /// What each id holds; ids that hold nothing are not here.
    pub keys: BTreeMap<ServiceId, Result<Stored, EntryFault>>,
    /// What the mark of the database says, if there is one: another one than before, or none, and its data is not what it was.
    pub database: Option<String>,
    /// Ids without a key whose companion says that theirs was revoked.
    pub revoked: BTreeSet<ServiceId>,
}

/// One key as Redis has it.
pub struct Stored {
    /// Its text.
    pub text: Zeroizing<String>,
    /// How long it still lives; `None`: until it is deleted.
    pub ttl: Option<Duration>,
    /// What goes with it.
    pub companion: Companion,
}

/// Shows the fingerprint of the key, never its text.
impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fingerprint = ServiceKey::from_text(&self.text).map(|key| key.fingerprint());
        f.debug_struct("Stored")
            .field("key", &fingerprint)
            .field("ttl", &self.ttl)
            .field("companion", &self.companion)
            .finish()
    }
}

/// What is known of a key beside the key: `{service:key:ID}:countersign`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Companion {
    /// The key before the last rotation, and until when it is still taken (`previous`, `previous_until`).
    pub previous: Option<SecondKey>,
    /// The key of the rotation under way, and since when verifiers may load it (`next`, `next_since`).
    pub next: Option<SecondKey>,
    /// When the current key was made (`made`), in Unix seconds.
    pub made: Option<u64>,
    /// When the key was revoked (`revoked`), in Unix seconds: it is gone because somebody wanted it to be.
    pub revoked: Option<u64>,
}

/// A key beside the current one, with the Unix seconds that belong to it.
#[derive(PartialEq, Eq)]
pub struct SecondKey {
    /// Its text.
    pub text: Zeroizing<String>,
    /// `previous_until` or `next_since`.
    pub at: u64,
}

/// Shows the fingerprint of the key, never its text.
impl std::fmt::Debug for SecondKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fingerprint = ServiceKey::from_text(&self.text).map(|key| key.fingerprint());
        f.debug_struct("SecondKey").field("key", &fingerprint).field("at", &self.at).finish()
    }
}

/// The fields of a companion, in the order they are asked for.
pub(super) const FIELDS: [&str; 6] = ["previous", "previous_until", "next", "next_since", "made", "revoked"];

impl RedisStore {
    /// What time it is there, microseconds since the epoch.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn time(&self) -> Result<u64, StoreError> {
        let (seconds, micros) = self.clock().await?;
        Ok(seconds.saturating_mul(1_000_000).saturating_add(micros))
    }

    async fn clock(&self) -> Result<(u64, u64), StoreError> {
        self.query("TIME", &redis::cmd("TIME")).await
    }

    /// Every key, and every id of `known` that has none any more but was revoked.
    ///
    /// # Errors
    /// When Redis cannot be asked; never because of one bad entry.
    pub async fn list(&self, known: impl IntoIterator<Item = &ServiceId>) -> Result<Listing, StoreError> {
        let (seconds, micros) = self.clock().await?;
        let pattern = &format!("{}*", names::KEYS);
        let found = self.on_link(|link| async move { link.scan(pattern, MOST_NAMES).await }).await?;
        let ids: BTreeSet<ServiceId> =
            found.iter().filter_map(|name| names::service_of(name)).chain(known.into_iter().cloned()).collect();
        let read = stream::iter(ids)
            .map(async |id| match self.read(&id).await {
                Ok(found) => Ok((id, Ok(found))),
                Err(StoreError::Entry { fault, .. }) => Ok((id, Err(fault))),
                Err(error) => Err(error),
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>();
        let (mut keys, mut revoked) = (BTreeMap::new(), BTreeSet::new());
        for (id, found) in read.await? {
            match found {
                Ok((Some(stored), _)) => {
                    keys.insert(id, Ok(stored));
                }
                Ok((None, companion)) => {
                    if companion.revoked.is_some() {
                        revoked.insert(id);
                    }
                }
                Err(fault) => {
                    keys.insert(id, Err(fault));
                }
            }
        }
        // Last of all: data that was lost while it was listed shows too.
        let mut mark = redis::cmd("GET");
        mark.arg(Entry::Database.to_string());
        let database = self.query("GET", &mark).await.map_err(|error| wrong_type(error, &Entry::Database))?;
        Ok(Listing { redis_millis: seconds * 1000 + micros / 1000, keys, database, revoked })
    }

    /// The key of one service.
    ///
    /// # Errors
    /// When Redis cannot be asked, or what it has is no key.
    pub async fn fetch(&self, id: &ServiceId) -> Result<Option<Stored>, StoreError> {
        Ok(self.read(id).await?.0)
    }

    /// What goes with the key of one service, also where there is no key.
    ///
    /// # Errors
    /// When Redis cannot be asked, or what it has is none of ours.
    pub async fn companion(&self, id: &ServiceId) -> Result<Companion, StoreError> {
        let entry = Entry::Companion(id.clone());
        let answer: Result<Vec<Option<Value>>, _> = self.query("HMGET", &fields_of(&entry)).await;
        let values = answer.map_err(|error| wrong_type(error, &entry))?;
        companion(values).map_err(|fault| StoreError::Entry { entry, fault })
    }

    /// A key with its companion, as both were at one moment: a rotation changes them in one step, and keys of two sides of it
    /// would lack one that counts on both.
    async fn read(&self, id: &ServiceId) -> Result<(Option<Stored>, Companion), StoreError> {
        match self.0.settings.servers {
            RedisServers::Single(_) | RedisServers::Sentinel { .. } => match self.read_at_once(id).await {
                // Redis that is out of memory takes no transactions, not even of reads.
                Err(error) if error.is_out_of_memory() => self.read_until_stable(id).await,
                read => read,
            },
            RedisServers::Cluster(_) => self.read_until_stable(id).await,
        }
    }

    async fn read_at_once(&self, id: &ServiceId) -> Result<(Option<Stored>, Companion), StoreError> {
        const NAME: &str = "MULTI, PTTL, GETRANGE or HMGET";
        let (key, companion) = (Entry::Key(id.clone()), Entry::Companion(id.clone()));
        let mut steps = redis::pipe();
        steps.atomic().ignore_errors();
        steps.add_command(life_of(&key)).add_command(value_of(&key)).add_command(fields_of(&companion));
        let answers: Vec<RedisResult<Value>> = self.transaction(NAME, &steps).await?;
        let mut answers = answers.into_iter();
        let mut next = |entry: &Entry| {
            let answer = answers.next().unwrap_or(Ok(Value::Nil));
            answer.map_err(|error| wrong_type(StoreError::of(&error, &self.servers(), NAME, self.0.deadline), entry))
        };
        let (life, value, fields) = (next(&key), next(&key), next(&companion));
        let fields = redis::from_redis_value::<Vec<Option<Value>>>(fields?)
            .map_err(|_| StoreError::Entry { entry: companion.clone(), fault: EntryFault::WrongType })?;
        let fields = self::companion(fields).map_err(|fault| StoreError::Entry { entry: companion, fault })?;
        Ok(match stored_key(&key, redis::from_redis_value::<i64>(life?).unwrap_or(NO_ENTRY), value)? {
            Some((text, ttl)) => (Some(Stored { text, ttl, companion: fields }), Companion::default()),
            None => (None, fields),
        })
    }

    /// Question by question. In a cluster nobody follows the redirection of a transaction, which is refused as a whole. But a companion that is the same
    /// before and after belongs to the key that was read between.
    async fn read_until_stable(&self, id: &ServiceId) -> Result<(Option<Stored>, Companion), StoreError> {
        let entry = Entry::Key(id.clone());
        let (life, value) = (life_of(&entry), value_of(&entry));
        let mut before = self.companion(id).await?;
        let mut tries = 0;
        loop {
            let value = async {
                let value = self.query::<Value>("GETRANGE", &value).await;
                Ok(value.map_err(|error| wrong_type(error, &entry)))
            };
            let (life, value) = tokio::try_join!(self.query::<i64>("PTTL", &life), value)?;
            let after = self.companion(id).await?;
            tries += 1;
            if before != after && tries < MOST_TRIES {
                before = after;
                continue;
            }
            return Ok(match stored_key(&entry, life, value)? {
                Some((text, ttl)) => (Some(Stored { text, ttl, companion: after }), Companion::default()),
                None => (None, after),
            });
        }
    }
}

fn life_of(entry: &Entry) -> Cmd {
    let mut command = redis::cmd("PTTL");
    command.arg(entry.to_string());
    command
}

fn value_of(entry: &Entry) -> Cmd {
    let mut command = redis::cmd("GETRANGE");
    command.arg(entry.to_string()).arg(0).arg(LARGEST_VALUE);
    command
}

fn fields_of(entry: &Entry) -> Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(entry.to_string()).arg(&FIELDS);
    command
}

/// A key's text, and how long it lives.
type Living = (Zeroizing<String>, Option<Duration>);

/// The key, if it is there and is one.
fn stored_key(entry: &Entry, life: i64, value: Result<Value, StoreError>) -> Result<Option<Living>, StoreError> {
    if life == NO_ENTRY {
        return Ok(None);
    }
    let text = text(value?).map_err(|fault| StoreError::Entry { entry: entry.clone(), fault })?;
    let check = ServiceKey::from_text(&text);
    check.map_err(|error| StoreError::Entry { entry: entry.clone(), fault: EntryFault::NotAKey(error) })?;
    Ok(Some((text, u64::try_from(life).ok().map(Duration::from_millis))))
}

/// A companion changes a few times in a rotation, and not faster than it can be read.
const MOST_TRIES: u32 = 5;

/// What `PTTL` says of an entry that is not there; -1: it has no time to live.
const NO_ENTRY: i64 = -2;

/// The text of a value, with surrounding white space cut: the fleet's scripts write some with a line end.
pub(super) fn text(value: Value) -> Result<Zeroizing<String>, EntryFault> {
    let bytes = match value {
        Value::BulkString(bytes) => Zeroizing::new(bytes),
        Value::SimpleString(text) => Zeroizing::new(text.into_bytes()),
        _ => return Err(EntryFault::WrongType),
    };
    if bytes.len() > LARGEST_VALUE {
        return Err(EntryFault::TooLarge);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| EntryFault::NotText)?;
    Ok(Zeroizing::new(text.trim_ascii().to_owned()))
}

fn companion(values: Vec<Option<Value>>) -> Result<Companion, EntryFault> {
    let mut values = values.into_iter().map(|value| value.filter(|value| *value != Value::Nil).map(text).transpose());
    let mut next = || values.next().unwrap_or(Ok(None));
    let [previous, until, upcoming, since, made, revoked] = [next()?, next()?, next()?, next()?, next()?, next()?];
    let number = |text: Option<Zeroizing<String>>, field| {
        text.map(|text| text.parse::<u64>().map_err(|_| EntryFault::NotANumber(field))).transpose()
    };
    let second = |key: Option<Zeroizing<String>>, at: Option<u64>, field| match (key, at) {
        (Some(text), Some(at)) => {
            ServiceKey::from_text(&text).map_err(EntryFault::NotAKey)?;
            Ok(Some(SecondKey { text, at }))
        }
        // Without its time nobody knows whether it still counts.
        (Some(_), None) => Err(EntryFault::NotANumber(field)),
        (None, _) => Ok(None),
    };
    Ok(Companion {
        previous: second(previous, number(until, "previous_until")?, "previous_until")?,
        next: second(upcoming, number(since, "next_since")?, "next_since")?,
        made: number(made, "made")?,
        revoked: number(revoked, "revoked")?,
    })
}

/// An entry of another type is that entry's fault, not the server's.
pub(super) fn wrong_type(error: StoreError, entry: &Entry) -> StoreError {
    match error {
        StoreError::Refused { code, .. } if code == "WRONGTYPE" => {
            StoreError::Entry { entry: entry.clone(), fault: EntryFault::WrongType }
        }
        error => error,
    }
}
