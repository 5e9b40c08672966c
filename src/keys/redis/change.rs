//! How does a key change only if nobody else changed it meanwhile?
//!
//! A lease keeps our own commands apart, but a revocation does not wait for one, and other programs of the fleet write keys too.
//! So a rotation says what it believes to be there, and Redis compares and writes in one step: a key that was revoked while a rotation
//! waited does not come back.

use super::write::{companion_fields, millis};
use super::{Companion, Entry, RedisStore, StoreError};
use crate::signature::key::ServiceId;
use redis::Cmd;
use std::time::Duration;

/// What must still be there: the texts of a service's keys.
#[derive(Clone, Copy)]
pub struct Expected<'e> {
    /// `service:key:ID`
    pub current: &'e str,
    /// `next`
    pub next: Option<&'e str>,
    /// `previous`
    pub previous: Option<&'e str>,
}

impl RedisStore {
    /// Writes a key, for how long it lives, unless there is one. Was it written?
    ///
    /// # Errors
    /// When Redis cannot be asked, or takes no writes.
    pub async fn create(
        &self,
        id: &ServiceId,
        key: &str,
        ttl: Duration,
        companion: &Companion,
    ) -> Result<bool, StoreError> {
        let mut command = on_both(CREATE, id);
        command.arg(key).arg(millis(ttl));
        self.query("EVAL", &with_companion(command, companion)).await
    }

    /// Replaces all that goes with a key, and the key too where `key` is given (with how long it lives), if what is there is
    /// what is expected. Was it?
    ///
    /// # Errors
    /// As [`RedisStore::create`].
    pub async fn swap(
        &self,
        id: &ServiceId,
        expected: Expected<'_>,
        key: Option<(&str, Duration)>,
        companion: &Companion,
    ) -> Result<bool, StoreError> {
        let mut command = on_both(SWAP, id);
        let second = |key: Option<&str>| key.unwrap_or_default().to_owned();
        // The crate's own buffers hold these too, and are not wiped.
        command.arg(expected.current).arg(second(expected.next)).arg(second(expected.previous));
        match key {
            Some((key, ttl)) => command.arg(key).arg(millis(ttl)),
            None => command.arg("").arg(0),
        };
        self.query("EVAL", &with_companion(command, companion)).await
    }
}

fn on_both(script: &str, id: &ServiceId) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(2).arg(Entry::Key(id.clone()).to_string()).arg(Entry::Companion(id.clone()).to_string());
    command
}

fn with_companion(mut command: Cmd, companion: &Companion) -> Cmd {
    for (name, value) in companion_fields(companion) {
        command.arg(name).arg(value.as_str());
    }
    command
}

/// From `ARGV[first]` on: the companion's fields; it does not outlive the key.
macro_rules! write_companion {
    ($first:literal) => {
        concat!(
            "redis.call('DEL', KEYS[2])\n",
            "for i = ",
            $first,
            ", #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end\n",
            "local left = redis.call('PTTL', KEYS[1])\n",
            "if left > 0 then redis.call('PEXPIRE', KEYS[2], left) end\n",
            "return 1"
        )
    };
}

const CREATE: &str = concat!(
    "if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end\n",
    write_companion!(3)
);

/// White space around a key is cut, as the reader does.
const SWAP: &str = concat!(
    "local current = redis.call('GET', KEYS[1])\n",
    "if not current or string.match(current, '^%s*(.-)%s*$') ~= ARGV[1] then return 0 end\n",
    "local second = redis.call('HMGET', KEYS[2], 'next', 'previous')\n",
    "if (second[1] or '') ~= ARGV[2] or (second[2] or '') ~= ARGV[3] then return 0 end\n",
    "if ARGV[4] ~= '' then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) end\n",
    write_companion!(6)
);
