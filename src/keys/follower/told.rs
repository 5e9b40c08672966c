//! What the log says of all this: each thing when it begins and when it ends, never once for each try.

use crate::keys::cache::{KeyEvent, Millis};
use crate::keys::expiry::Expiring;
use crate::keys::redis::StoreError;
use std::collections::BTreeSet;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Why Redis cannot be asked now, and every kind of reason that this outage has had so far.
    outage: Option<StoreError>,
    kinds: Vec<std::mem::Discriminant<StoreError>>,
    deaf: bool,
    /// What could not be written for want of a right.
    mute: BTreeSet<&'static str>,
    bad_file: Option<String>,
}

impl Told {
    /// Why Redis could not be asked, if it could not.
    pub(super) fn outage(&self) -> Option<&StoreError> {
        self.outage.as_ref()
    }

    /// Redis answers.
    pub(super) fn answers(&mut self, servers: &str) {
        if self.outage.take().is_some() {
            tracing::info!(servers, "redis answers again, its keys are in use");
        }
        self.bad_file = None;
    }

    /// Redis cannot be asked. Did that begin now?
    pub(super) fn is_out(&mut self, error: &StoreError, servers: &str, cached: usize) -> bool {
        let begins = self.outage.replace(error.clone()).is_none();
        let kind = std::mem::discriminant(error);
        if begins {
            self.kinds.clear();
        }
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
            tracing::error!(
                servers,
                %error,
                cached,
                "redis cannot be asked for keys: cached ones serve on, unknown services are told that keys are unavailable"
            );
        }
        begins
    }

    /// News are heard from now on, of others' changes too unless there is a reason.
    pub(super) fn listens(&mut self, untracked: Option<&StoreError>) {
        match untracked {
            Some(error) if !self.deaf => {
                self.deaf = true;
                tracing::warn!(
                    %error,
                    "redis does not tell of keys that others change: such changes are seen after [keys].cache, or when a request needs one"
                );
            }
            Some(_) => {}
            None => self.deaf = false,
        }
    }

    /// No news are heard.
    pub(super) fn deaf(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.deaf, true) {
            tracing::warn!(
                %error,
                "redis tells us no news of keys: changes, revocations too, are seen after [keys].cache"
            );
        }
    }

    /// `what` was written, or was not. That it may not be is said once until it was; other errors are an outage's, which is told.
    pub(super) fn wrote(&mut self, what: &'static str, error: Option<&StoreError>) {
        match error {
            None => {
                self.mute.remove(what);
            }
            Some(error) if error.forbids_writing() && self.mute.insert(what) => tracing::warn!(
                what,
                %error,
                "redis takes no word of this verifier: a rotation cannot rely on it"
            ),
            Some(_) => {}
        }
    }

    /// A key file cannot be used while it is needed.
    pub(super) fn bad_file(&mut self, problem: &str) {
        if self.bad_file.as_deref() != Some(problem) {
            self.bad_file = Some(problem.to_owned());
            tracing::error!(problem, "redis cannot be asked, and the key files after it cannot be read");
        }
    }
}

/// What happened to a key.
pub(super) fn event(event: &KeyEvent) {
    match event {
        KeyEvent::Revoked(id) => tracing::warn!(service = %id, "the key was revoked: it is no longer taken"),
        KeyEvent::Deleted(id) => {
            tracing::error!(service = %id, "the key was deleted in redis before its expiry: it is no longer taken");
        }
        KeyEvent::Lapsed(id, Some(until)) => tracing::error!(
            service = %id,
            served_until_unix = until / 1000,
            "the key lapsed in redis and serves on for the grace only: make a new one (countersign keys generate, rotate)"
        ),
        KeyEvent::Lapsed(id, None) => {
            tracing::error!(service = %id, "the key lapsed in redis: it is no longer taken");
        }
        KeyEvent::Lost(id) => tracing::error!(
            service = %id,
            "redis has lost its data and this key with it: it serves on for [keys].stale only, write it anew (countersign keys)"
        ),
        KeyEvent::LostTooLong(id) => tracing::error!(
            service = %id,
            "redis lost this key longer than [keys].stale ago: it is no longer taken"
        ),
        KeyEvent::GraceEnded(id) => {
            tracing::error!(service = %id, "the grace of a lapsed key is over: it is no longer taken");
        }
        KeyEvent::Unreadable(id, fault, serves) => {
            tracing::error!(
                service = %id,
                %fault,
                last_good_serves = serves,
                "what redis holds in the place of a key is none"
            );
        }
        KeyEvent::UnreadableTooLong(id) => tracing::error!(
            service = %id,
            "redis has held no good key for longer than [keys].stale: the last good one is no longer taken"
        ),
        KeyEvent::TooStale(keys) => tracing::error!(
            keys,
            "redis could not be asked for longer than [keys].stale: cached keys are no longer taken"
        ),
    }
}

/// A key has little time left.
pub(super) fn expiring(Expiring { id, mark, left }: &Expiring) {
    let days_left = left / DAY;
    let message = "a key is about to lapse in redis: rotate it (countersign keys rotate)";
    if *mark > 14 {
        tracing::warn!(service = %id, days_left, below_days = mark, message);
    } else {
        tracing::error!(service = %id, days_left, below_days = mark, message);
    }
}

const DAY: Millis = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_forbids_writing_mutes_and_a_write_that_is_taken_ends_it() {
        let mut told = Told::default();
        let servers = "192.0.2.1:6379".to_owned();
        told.wrote("its presence", Some(&StoreError::Loading { servers: servers.clone() }));
        assert!(told.mute.is_empty(), "a passing fault must not hide a lasting one");
        let forbidden = StoreError::NotPermitted { servers, command: "SET" };
        told.wrote("its presence", Some(&forbidden));
        told.wrote("the keys it has loaded", None);
        assert_eq!(told.mute.len(), 1, "another right is another matter");
        told.wrote("its presence", None);
        assert!(told.mute.is_empty());
    }
}
