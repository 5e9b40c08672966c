//! What changed, as soon as it did?
//!
//! Two ways, over a connection of its own: what our own commands publish, and what the server itself tells of any change to a
//! key, whoever made it (`CLIENT TRACKING`, which needs no setting of the server). Both are hints to look, and either may be
//! missing: a user may not be permitted them, a cluster tracks on one node only. What is missed is found by the next
//! periodic look, and after a lost connection by an immediate one.

use super::link::Link;
use super::{RedisStore, StoreError, names};
use crate::signature::key::ServiceId;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Something to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The key of this service may have changed.
    Changed(ServiceId),
    /// Any key may have changed: the server forgot, or emptied its database.
    AnyChanged,
    /// The connection is lost, and with it what happens from now on.
    Lost,
}

/// Hears of changes until it is dropped.
pub struct Subscription {
    link: Link,
    pushed: UnboundedReceiver<PushInfo>,
    /// Why changes that others make are not told, if they are not.
    untracked: Option<StoreError>,
}

impl RedisStore {
    /// Listens from now on. What changed before is not told: look once after this.
    ///
    /// # Errors
    /// When Redis cannot be asked, or does not permit it.
    pub async fn subscribe(&self) -> Result<Subscription, StoreError> {
        let mut subscription = self.listen(names::CHANNEL).await?;
        if !subscription.link.is_cluster() {
            let mut command = redis::cmd("CLIENT");
            command.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(names::KEYS);
            subscription.untracked = match subscription.link.query::<()>("CLIENT TRACKING", &command).await {
                Ok(()) => None,
                Err(error) if error.is_broken() => return Err(error),
                Err(error) => Some(error),
            };
        }
        Ok(subscription)
    }

    /// Listens to one channel on a connection of its own.
    pub(super) async fn listen(&self, channel: &'static str) -> Result<Subscription, StoreError> {
        let (sender, pushed) = unbounded_channel();
        let link = Link::make(&self.0.settings, self.0.deadline, Some(sender)).await?;
        link.subscribe(channel).await?;
        Ok(Subscription { link, pushed, untracked: None })
    }
}

impl Subscription {
    /// The next change.
    pub async fn next(&mut self) -> News {
        loop {
            let Some(PushInfo { kind, data }) = self.pushed.recv().await else { return News::Lost };
            match kind {
                PushKind::Disconnection => return News::Lost,
                // [channel, message]
                PushKind::Message => return data.into_iter().nth(1).map_or(News::AnyChanged, |id| of(id, "")),
                // [[name, ...]], or [nil] when the database was emptied
                PushKind::Invalidate => {
                    return match data.into_iter().next() {
                        Some(Value::Array(names)) if names.len() == 1 => {
                            names.into_iter().next().map_or(News::AnyChanged, |name| of(name, names::KEYS))
                        }
                        _ => News::AnyChanged,
                    };
                }
                _ => {}
            }
        }
    }

    /// Is the connection alive? A connection whose other side vanished tells nothing, which looks like no news.
    ///
    /// # Errors
    /// When it is not.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.link.query("PING", &redis::cmd("PING")).await
    }

    /// Why changes made by others than us are not told at once, if they are not.
    pub fn untracked(&self) -> Option<&StoreError> {
        self.untracked.as_ref()
    }
}

/// A name that is no id of ours says only that something changed.
fn of(name: Value, prefix: &str) -> News {
    let Value::BulkString(bytes) = name else { return News::AnyChanged };
    let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_prefix(prefix));
    text.and_then(ServiceId::parse).map_or(News::AnyChanged, News::Changed)
}
