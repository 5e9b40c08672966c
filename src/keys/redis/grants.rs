//! What sidecars tell each other of override grants, through one hash in Redis: id → word.
//!
//! What a word says, and whether the fleet wrote it, is not judged here. Somebody may have filled the hash: it is read in one step
//! that takes no more than [`MOST`] words of at most [`LARGEST_WORD`] bytes, and says that there are too many.

use super::names::GRANTS;
use super::{RedisStore, StoreError};
use std::time::Duration;

/// No word of ours is longer.
pub const LARGEST_WORD: usize = 8192;
/// No id of ours is.
const LONGEST_ID: usize = 64;
/// More than any fleet grants and revokes in a week.
pub const MOST: usize = 1024;

/// The words that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantWords {
    /// Each with its id; what is longer than any of ours comes without text, and an id that is longer comes cut.
    pub words: Vec<(Vec<u8>, Vec<u8>)>,
    /// Are there more, so that none was read?
    pub too_many: bool,
}

impl RedisStore {
    /// Every word that is there.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn grant_words(&self) -> Result<GrantWords, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(READ).arg(1).arg(GRANTS).arg(MOST).arg(LARGEST_WORD).arg(LONGEST_ID);
        let flat: Vec<Vec<u8>> = self.query("EVAL", &command).await?;
        let too_many = flat.len() == 1;
        let words = flat.as_chunks::<2>().0.iter().map(|[id, text]| (id.clone(), text.clone())).collect();
        Ok(GrantWords { words, too_many })
    }

    /// Says this of the grant, and keeps the hash for at least `ttl`. `replaces`: whatever was said of it before. `false`: it was not
    /// said, because there are so many words that nobody reads any ([`GrantWords::too_many`]).
    ///
    /// # Errors
    /// When Redis cannot be asked, or takes no writes.
    pub async fn say_of_grant(
        &self,
        id: &str,
        text: &str,
        replaces: bool,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(SAY).arg(1).arg(GRANTS).arg(id).arg(text).arg(u8::from(replaces));
        command.arg(ttl.as_millis().max(1).to_string()).arg(MOST);
        Ok(self.query::<i64>("EVAL", &command).await? >= 0)
    }

    /// Nothing is said of these grants any more: they are over.
    ///
    /// # Errors
    /// As [`RedisStore::say_of_grant`].
    pub async fn drop_grants(&self, ids: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut command = redis::cmd("HDEL");
        command.arg(GRANTS).arg(ids);
        self.query::<u64>("HDEL", &command).await.map(drop)
    }
}

/// KEYS: hash. ARGV: the most words, the longest, the longest id.
const READ: &str = "\
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return {'too many'} end
local known = {}
for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do
  local text = ''
  if #id <= tonumber(ARGV[3]) and redis.call('HSTRLEN', KEYS[1], id) <= tonumber(ARGV[2]) then
    text = redis.call('HGET', KEYS[1], id)
  end
  table.insert(known, string.sub(id, 1, tonumber(ARGV[3])))
  table.insert(known, text)
end
return known";

/// KEYS: hash. ARGV: id, text, 1 to replace, milliseconds, the most words. A hash that somebody gave no end keeps none.
const SAY: &str = "\
local left, there = redis.call('PTTL', KEYS[1]), redis.call('HSTRLEN', KEYS[1], ARGV[1]) > 0
if redis.call('HLEN', KEYS[1]) + (there and 0 or 1) > tonumber(ARGV[5]) then return -1 end
if ARGV[3] ~= '1' and there then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if left ~= -1 and left < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1";
