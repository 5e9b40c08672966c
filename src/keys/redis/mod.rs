//! [`RedisStore`]: the fleet's keys in Redis, as typed operations that end in time.
//!
//! 1. Every operation ends within the deadline (500 ms unless told otherwise; a listing asks several times), with an
//!    answer or a [`StoreError`] that says what to do. Nothing here is ever awaited by a request.
//! 2. The connection is made when it is first needed and kept; one that fails is dropped, and the next operation makes
//!    another, asking anew who the master is. An operation whose kept connection turns out to be dead is tried once
//!    more on a new one.
//! 3. Only a [`ServiceId`](crate::signature::key::ServiceId) or a [`VerifierName`] becomes part of a command ([`Entry`]).
//! 4. A value is never read beyond [`LARGEST_VALUE`] bytes: Redis is asked for that much and no more (`GETRANGE`), so that
//!    a value of 10 MB costs nothing here.
//! 5. Keys are wiped from memory when dropped. The buffers of the crate beneath are not, which we cannot change.
//!
//! | file | the question it answers |
//! |---|---|
//! | `names` | What is each entry called? |
//! | [`read`] | Which keys are there, until when, and what goes with them? |
//! | [`mod@write`] | How does a key change, in one step; who may change it now? |
//! | [`change`] | How does it change only if nobody else changed it meanwhile? |
//! | [`verifiers`] | Which sidecars run, what have they loaded, which key did they see last? |
//! | [`fleet`] | What do sidecars share of enforcement, and who drives a ramp? |
//! | [`news`] | What changed, as soon as it did? |
//! | [`grants`] | What do sidecars tell each other of override grants? |
//! | `link`, `sentinel`, `tls` | How is the master reached? |

use crate::config::Redis;
use link::Link;
use redis::{Cmd, FromRedisValue, Pipeline};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

pub mod change;
mod error;
pub mod fleet;
pub mod grants;
mod link;
mod names;
pub mod news;
pub mod read;
mod sentinel;
mod tls;
pub mod verifiers;
pub mod write;

pub use error::{EntryFault, StoreError};
pub use names::{Entry, VerifierName};
pub use news::{News, Subscription};
pub use read::{Companion, Listing, SecondKey, Stored};
pub use write::Lease;

/// How long one operation may take, unless told otherwise.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// No key is longer, and nothing else of ours.
pub const LARGEST_VALUE: usize = 4096;

/// The keys in Redis. Cheap to clone; clones share a connection.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    settings: Redis,
    deadline: Duration,
    /// What is connected now, and how many were made before it.
    kept: Mutex<(u64, Option<Link>)>,
}

impl RedisStore {
    /// A store that connects when it is first asked something.
    pub fn new(settings: &Redis) -> RedisStore {
        RedisStore::with_deadline(settings, DEADLINE)
    }

    /// The same, with another deadline.
    pub fn with_deadline(settings: &Redis, deadline: Duration) -> RedisStore {
        RedisStore(Arc::new(Inner { settings: settings.clone(), deadline, kept: Mutex::default() }))
    }

    /// A store that is connected: for commands, which want to know at once.
    ///
    /// # Errors
    /// When Redis cannot be reached, or does not let us in.
    pub async fn connect(settings: &Redis) -> Result<RedisStore, StoreError> {
        let store = RedisStore::new(settings);
        store.link().await?;
        Ok(store)
    }

    /// The configured servers, for messages: without user and password.
    pub fn servers(&self) -> String {
        link::describe(&self.0.settings)
    }

    /// Does Redis answer?
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.query("PING", &redis::cmd("PING")).await
    }

    async fn query<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, StoreError> {
        self.on_link(|link| async move { link.query(name, command).await }).await
    }

    async fn transaction<T: FromRedisValue>(&self, name: &'static str, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.on_link(|link| async move { link.transaction(name, pipeline).await }).await
    }

    /// Does something over the kept connection, and once more over a new one if the kept one was dead. Whatever is done so
    /// can be done twice with the same result.
    ///
    /// Not an `AsyncFn`: whether its future may move between threads cannot be said yet, and tasks must.
    async fn on_link<T, F>(&self, action: impl Fn(Link) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (number, link, is_new) = self.link().await?;
        match action(link).await {
            Err(error) if error.is_broken() => {
                self.drop_link(number).await;
                let again = matches!(error, StoreError::Unreachable { .. } | StoreError::ReadOnly { .. });
                if is_new || !again {
                    return Err(error);
                }
                let (number, link, _) = self.link().await?;
                let answer = action(link).await;
                if answer.as_ref().is_err_and(StoreError::is_broken) {
                    self.drop_link(number).await;
                }
                answer
            }
            answer => answer,
        }
    }

    /// The kept connection, or a new one: with its number, and whether it was made now.
    async fn link(&self) -> Result<(u64, Link, bool), StoreError> {
        let mut kept = self.0.kept.lock().await;
        if let (number, Some(link)) = &*kept {
            return Ok((*number, link.clone(), false));
        }
        let link = Link::make(&self.0.settings, self.0.deadline, None).await?;
        let number = kept.0 + 1;
        *kept = (number, Some(link.clone()));
        Ok((number, link, true))
    }

    /// Unless somebody else has replaced it already.
    async fn drop_link(&self, number: u64) {
        let mut kept = self.0.kept.lock().await;
        if kept.0 == number {
            kept.1 = None;
        }
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisStore({})", self.servers())
    }
}
