//! The only reader of time and chance: wall clock for signatures, monotonic for windows, random bytes for keys.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch. A clock before the epoch reads as 0: every signature is then out of its window.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> u64 {
    unix_micros() / 1_000_000
}

/// A point on the monotonic clock.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Random bytes from the kernel, for keys, salts and ids that must not be guessed.
///
/// # Errors
/// Only when the kernel has none to give.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a request id of ours.
pub const REQUEST_ID: usize = uuid::fmt::Hyphenated::LENGTH;

/// A new request id, made at this time: UUIDv7, so that ids sort by time in logs.
pub fn request_id(unix_micros: u64, into: &mut [u8; REQUEST_ID]) -> &str {
    let (seconds, nanos) = (unix_micros / 1_000_000, (unix_micros % 1_000_000) * 1_000);
    // below 1 000 000 000, so the cast keeps it whole
    let made_at = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos as u32);
    uuid::Uuid::new_v7(made_at).hyphenated().encode_lower(into)
}

/// A random number for a draw that is made anew for each request. If the kernel has no chance to give, 0: the draw that
/// carries a refusal out.
pub fn random_draw() -> u64 {
    random_bytes().map_or(0, u64::from_ne_bytes)
}
