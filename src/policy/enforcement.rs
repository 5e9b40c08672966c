//! [`Mode`], [`Sampling`]: is this refusal carried out?
//!
//! In `log` none is. In `enforce` at p %, a refusal is carried out when its draw, a number below 2^64, falls into the
//! lowest p hundredths. So what is in at p stays in at every larger p, 0 % is nothing and 100 % is all.
//!
//! A draw by call or by caller is a MAC over who calls what, keyed with a secret salt: the same request gets the same draw
//! on every worker, after every restart and (with a shared salt) on every sidecar, and nobody outside can
//! compute which respelling would get a better one. Attacks answered: retrying, reconnecting or changing headers until
//! a refusal is not carried out (none of them is drawn by); respelling the path (the fully cleaned reading is drawn by; with
//! the raw path the fifth try got through at 75 %) or the case of the method (drawn by in upper case).
//!
//! What is drawn by is encoded unambiguously: a byte for the kind of sampling, the limit key with a byte for its kind and a
//! fixed length, the method preceded by its length, the path last.

pub use crate::rules::percentage::Percentage;

use crate::request::client::LimitKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Are refusals carried out at all?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// None is; every check still runs and is recorded.
    Log,
    /// As many as the percentage says.
    Enforce,
}

impl Mode {
    /// The word in configuration, audit records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Mode::Log => "log",
            Mode::Enforce => "enforce",
        }
    }
}

/// What a draw is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// Client address, method and path: a call is in or out for good.
    Call,
    /// Client address alone.
    Caller,
    /// Anew for each request.
    Random,
}

impl Sampling {
    /// The word in configuration and status.
    pub const fn code(self) -> &'static str {
        match self {
            Sampling::Call => "call",
            Sampling::Caller => "caller",
            Sampling::Random => "random",
        }
    }
}

/// What is in force: mode, percentage, sampling. One value, swapped whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforcement {
    /// Log or enforce.
    pub mode: Mode,
    /// How much of what would be refused is refused.
    pub percentage: Percentage,
    /// What a draw is made by.
    pub sampling: Sampling,
}

impl Enforcement {
    /// Is a refusal carried out at this effective percentage? The draw is made only where it matters.
    pub fn carries_out(self, effective: Percentage, draw: impl FnOnce(Sampling) -> Draw) -> bool {
        match (self.mode, effective) {
            (Mode::Log, _) | (Mode::Enforce, Percentage::NONE) => false,
            (Mode::Enforce, Percentage::FULL) => true,
            (Mode::Enforce, partial) => draw(self.sampling).is_in(partial),
        }
    }
}

/// A place between 0 and 1, in units of 2^-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Draw(pub u64);

impl Draw {
    /// By client address, method and path. `reading`: the fully cleaned one.
    pub fn by_call(salt: &[u8; 32], client: LimitKey, method: &str, reading: &str) -> Draw {
        let mut mac = keyed(salt, b'c');
        note_client(&mut mac, client);
        mac.update(&(method.len() as u64).to_be_bytes());
        for byte in method.bytes() {
            mac.update(&[byte.to_ascii_uppercase()]);
        }
        mac.update(reading.as_bytes());
        finish(mac)
    }

    /// By client address alone.
    pub fn by_caller(salt: &[u8; 32], client: LimitKey) -> Draw {
        let mut mac = keyed(salt, b'a');
        note_client(&mut mac, client);
        finish(mac)
    }

    /// Does it fall into the lowest `percentage` hundredths?
    pub fn is_in(self, percentage: Percentage) -> bool {
        ((u128::from(self.0) * 100) >> 64) < u128::from(percentage.value())
    }
}

fn keyed(salt: &[u8; 32], kind: u8) -> Hmac<Sha256> {
    #[expect(clippy::unwrap_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mac = Hmac::<Sha256>::new_from_slice(salt).unwrap();
    mac.chain_update([kind])
}

fn note_client(mac: &mut Hmac<Sha256>, client: LimitKey) {
    match client {
        LimitKey::V4(address) => {
            mac.update(b"4");
            mac.update(&address.octets());
        }
        LimitKey::V6Net(network) => {
            mac.update(b"6");
            mac.update(&network.to_be_bytes());
        }
        LimitKey::Unix(uid) => {
            mac.update(b"u");
            mac.update(&uid.to_be_bytes());
        }
    }
}

fn finish(mac: Hmac<Sha256>) -> Draw {
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    Draw(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests;
