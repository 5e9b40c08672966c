//! What sidecars share of enforcement through Redis: one record, who is there, and who drives a ramp.
//!
//! What the texts say, and whether the fleet wrote them, is not judged here. Every change is one script, so that it is one
//! step: a record is replaced only where it still is what its writer read, and a ramp driver's only while none with a higher
//! number was appointed. Somebody may have put a number there: one that is far above what the fleet has heard of ([`NEAR`]) counts as
//! none, so that numbers never run out.

use super::names::{FENCE, LEASE, RECORD, SIDECARS, STATES};
use super::news::{News, Subscription};
use super::{RedisStore, StoreError};
use crate::rollout::shared::FENCE_END;
use redis::Value;
use std::time::Duration;

/// No record of ours is longer.
pub const LARGEST_RECORD: usize = 256 * 1024;
/// No word of a presence is longer, and no name.
const LARGEST_PRESENCE: usize = 4096;
const LONGEST_NAME: usize = 128;
/// More than any fleet has. Where there are more somebody else put them there: all are removed, and who is there says so again.
pub const MOST_SIDECARS: usize = 512;
/// A sidecar that was not heard of for so long is forgotten.
pub const KNOWN: Duration = Duration::from_secs(86_400);

/// A driver's number that is further above the fleet's last one than this was given to nobody.
pub const NEAR: u64 = 1_000_000;

/// What came of writing a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// It stands there now.
    Yes,
    /// Another one stands there than was expected.
    Moved,
    /// Another sidecar drives the ramp by now.
    Fenced,
}

/// The word of a sidecar's presence, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The sidecar's name.
    pub name: String,
    /// How long ago it was written, by the clock of Redis.
    pub age: Duration,
    /// What it wrote.
    pub text: String,
}

/// Who drives a ramp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// The one who asked, under this number.
    Me(u64),
    /// Another one; its name.
    Another(String),
}

impl RedisStore {
    /// The record; `None`: there is none. What is longer than any of ours comes cut, and is none then.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn record(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(RECORD).arg(0).arg(LARGEST_RECORD);
        let read: Vec<u8> = self.query("GETRANGE", &command).await?;
        Ok(Some(read).filter(|read| !read.is_empty()))
    }

    /// Puts `text` in the place of the record `expected`. `driver`: the number of the ramp driver whose step this is.
    ///
    /// # Errors
    /// When Redis cannot be asked, or takes no writes.
    pub async fn swap_record(
        &self,
        expected: Option<&[u8]>,
        text: &str,
        driver: Option<u64>,
    ) -> Result<Swapped, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(SWAP).arg(2).arg(RECORD).arg(FENCE);
        command
            .arg(expected.unwrap_or_default())
            .arg(text)
            .arg(driver.unwrap_or(0))
            .arg(STATES)
            .arg(LARGEST_RECORD)
            .arg(NEAR);
        Ok(match self.query::<i64>("EVAL", &command).await? {
            1 => Swapped::Yes,
            -1 => Swapped::Fenced,
            _ => Swapped::Moved,
        })
    }

    /// Says that this sidecar is there, and hears who else is, and how long ago each was heard of.
    ///
    /// # Errors
    /// As [`RedisStore::swap_record`].
    pub async fn sidecars(&self, me: Option<(&str, &str)>) -> Result<Vec<Present>, StoreError> {
        let mut command = redis::cmd("EVAL");
        let (name, text) = me.unwrap_or_default();
        command.arg(PRESENT).arg(1).arg(SIDECARS).arg(name).arg(text).arg(KNOWN.as_millis().to_string());
        command.arg(MOST_SIDECARS).arg(LONGEST_NAME).arg(LARGEST_PRESENCE);
        let flat: Vec<Value> = self.query("EVAL", &command).await?;
        let text = |value: &Value| match value {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Value::SimpleString(text) => Some(text.clone()),
            _ => None,
        };
        let triples = flat.as_chunks::<3>().0.iter();
        Ok(triples
            .filter_map(|[name, age, said]| {
                let age = Duration::from_millis(text(age)?.parse().ok()?);
                Some(Present { name: text(name)?, age, text: text(said)? })
            })
            .collect())
    }

    /// Drives the ramp for `ttl` from now, or goes on doing so; a new driver gets a number above `floor` and all before it, and so does one
    /// whose number is no longer the highest.
    ///
    /// # Errors
    /// As [`RedisStore::swap_record`].
    pub async fn drive(&self, me: &str, floor: u64, ttl: Duration) -> Result<Driver, StoreError> {
        let mut command = redis::cmd("EVAL");
        let ttl = ttl.as_millis().to_string();
        command.arg(DRIVE).arg(2).arg(LEASE).arg(FENCE).arg(me).arg(floor).arg(ttl).arg(NEAR);
        let answer: String = self.query("EVAL", &command).await?;
        let (number, name) = answer.split_once(' ').unwrap_or_default();
        Ok(match number.parse::<u64>() {
            Ok(number) if name == me && number < FENCE_END => Driver::Me(number),
            Ok(_) | Err(_) => Driver::Another(name.to_owned()),
        })
    }

    /// Drives no more, if it did.
    ///
    /// # Errors
    /// As [`RedisStore::swap_record`].
    pub async fn stop_driving(&self, me: &str) -> Result<(), StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(STOP_DRIVING).arg(1).arg(LEASE).arg(me);
        self.query::<i64>("EVAL", &command).await.map(drop)
    }

    /// Tells when a record is written, from now on.
    ///
    /// # Errors
    /// When Redis cannot be asked, or does not permit it.
    pub async fn subscribe_records(&self) -> Result<RecordNews, StoreError> {
        self.listen(STATES).await.map(RecordNews)
    }
}

/// Hears of new records until it is dropped.
pub struct RecordNews(Subscription);

impl RecordNews {
    /// Resolves when a record may be new. `false`: the connection is lost, and with it what happens from now on.
    pub async fn next(&mut self) -> bool {
        match self.0.next().await {
            News::Changed(_) | News::AnyChanged => true,
            News::Lost => false,
        }
    }
}

/// KEYS: record, number. ARGV: expected, new, driver or 0, channel, the most that is read, how far a number may be above.
const SWAP: &str = "\
local there = redis.call('GETRANGE', KEYS[1], 0, ARGV[5])
if there ~= ARGV[1] then return 0 end
if ARGV[3] ~= '0' then
  local driver, text = tonumber(ARGV[3]), redis.call('GETRANGE', KEYS[2], 0, 16)
  local number = #text < 17 and string.match(text, '^%d+$') and tonumber(text) or 0
  if number > driver and number <= driver + tonumber(ARGV[6]) then return -1 end
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], '')
return 1";

/// KEYS: sidecars. ARGV: my name or '', my text, milliseconds that one is known, the most of them, the longest name and text. Each is kept
/// as `MILLISECONDS TEXT`.
const PRESENT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then redis.call('DEL', KEYS[1]) end
if ARGV[1] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2]) end
local known = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local at, text
  if #name <= tonumber(ARGV[5]) and redis.call('HSTRLEN', KEYS[1], name) <= tonumber(ARGV[6]) + 20 then
    at, text = string.match(redis.call('HGET', KEYS[1], name), '^(%d+) (.*)$')
  end
  if not at or now - tonumber(at) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], name)
  else
    table.insert(known, name)
    table.insert(known, string.format('%.0f', math.max(0, now - tonumber(at))))
    table.insert(known, text)
  end
end
return known";

/// KEYS: lease, number. ARGV: my name, floor, milliseconds, how far a number may be above the floor. The lease holds `NUMBER NAME`.
const DRIVE: &str = "\
local floor = tonumber(ARGV[2])
local function known(text)
  local number = #text < 17 and string.match(text, '^%d+$') and tonumber(text) or 0
  return number <= floor + tonumber(ARGV[4]) and number or 0
end
local highest = known(redis.call('GETRANGE', KEYS[2], 0, 16))
local there = redis.call('GETRANGE', KEYS[1], 0, 255)
local mine, name = string.match(there, '^(%d+) (.*)$')
if name and name ~= ARGV[1] then return there end
if name and known(mine) >= math.max(1, floor, highest) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return there
end
local number = string.format('%.0f', math.max(highest, floor) + 1)
redis.call('SET', KEYS[2], number)
redis.call('SET', KEYS[1], number .. ' ' .. ARGV[1], 'PX', ARGV[3])
return number .. ' ' .. ARGV[1]";

/// KEYS: lease. ARGV: my name.
const STOP_DRIVING: &str = "\
local there = redis.call('GET', KEYS[1])
if there and string.match(there, '^%d+ (.*)$') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";
