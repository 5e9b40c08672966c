//! [`PresentedSignature`]: parse and print the signature headers.
//!
//! Each of the three headers has exactly one spelling for each value, and anything else is malformed and never looked up
//! anywhere, in this order:
//!
//! 1. One of the three is absent: the signature is missing.
//! 2. One of the three came twice: malformed. Taking the first or the last would let two readers disagree on who called.
//! 3. The id is `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`; the timestamp `[1-9][0-9]{0,11}` (so a lone `0` is malformed too:
//!    it can only be the leading zero of a number that never came); the signature 64 lowercase hex digits.
//!
//! One spelling matters: were `01` and `1` both taken, or upper-case hex, one signed request would have several forms
//! and the replay table would not know it again.

use super::key::is_service_id;
use crate::request::facts::{Claims, Presence};
use data_encoding::HEXLOWER;
use std::fmt;

/// `X-Service-ID`, as it is written.
pub const SERVICE_ID: &str = "X-Service-ID";
/// `X-Service-Timestamp`, as it is written.
pub const TIMESTAMP: &str = "X-Service-Timestamp";
/// `X-Service-Signature`, as it is written.
pub const SIGNATURE: &str = "X-Service-Signature";

/// Well-formed credentials: not yet believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedSignature<'a> {
    /// Who the caller says it is; a well-formed service id.
    pub service_id: &'a str,
    /// Unix seconds as written (the text is what was signed; it has one spelling).
    pub timestamp: &'a str,
    /// The same as a number.
    pub unix_seconds: u64,
    /// The 32 bytes of the signature header.
    pub mac: [u8; 32],
}

/// Why there is no well-formed signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedFault {
    /// None or only some of the three headers.
    Missing,
    /// All three, but one is repeated or not of the exact form; which one.
    Malformed(&'static str),
}

impl<'a> PresentedSignature<'a> {
    /// Reads the three headers.
    ///
    /// # Errors
    /// When one is absent, repeated, or not of its exact form.
    pub fn parse(claims: &Claims<'a>) -> Result<PresentedSignature<'a>, PresentedFault> {
        let Claims { service_id, timestamp, signature, override_token: _ } = claims;
        if [service_id, timestamp, signature].contains(&&Presence::Absent) {
            return Err(PresentedFault::Missing);
        }
        let malformed = PresentedFault::Malformed;
        let service_id = claimed_service(claims).ok_or(malformed(SERVICE_ID))?;
        let (timestamp, unix_seconds) = once(*timestamp).and_then(parse_timestamp).ok_or(malformed(TIMESTAMP))?;
        let mac = once(*signature).and_then(parse_mac).ok_or(malformed(SIGNATURE))?;
        Ok(PresentedSignature { service_id, timestamp, unix_seconds, mac })
    }

    /// The caller's clock minus ours, in seconds.
    pub fn skew_seconds(&self, now: u64) -> i64 {
        let skew = i128::from(self.unix_seconds) - i128::from(now);
        i64::try_from(skew).unwrap_or(if skew < 0 { i64::MIN } else { i64::MAX })
    }
}

/// Who the caller says it is: only when the header came once and is a well-formed id, whatever the other two are.
pub fn claimed_service<'a>(claims: &Claims<'a>) -> Option<&'a str> {
    once(claims.service_id).filter(|id| is_service_id(id)).and_then(|id| std::str::from_utf8(id).ok())
}

fn once(presence: Presence<'_>) -> Option<&[u8]> {
    match presence {
        Presence::Once(value) => Some(value),
        Presence::Absent | Presence::Repeated => None,
    }
}

fn parse_timestamp(value: &[u8]) -> Option<(&str, u64)> {
    let [b'1'..=b'9', rest @ ..] = value else { return None };
    if rest.len() > 11 || !rest.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    Some((text, text.parse().ok()?))
}

fn parse_mac(value: &[u8]) -> Option<[u8; 32]> {
    let mut mac = [0; 32];
    (value.len() == 64 && HEXLOWER.decode_mut(value, &mut mac).is_ok()).then_some(mac)
}

/// The three headers of a signed request, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// Value of `X-Service-ID`.
    pub service_id: String,
    /// Value of `X-Service-Timestamp`.
    pub timestamp: String,
    /// Value of `X-Service-Signature`.
    pub signature: String,
}

impl SignatureHeaders {
    /// Name and value of each, in the order of the contract.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [(SERVICE_ID, &*self.service_id), (TIMESTAMP, &self.timestamp), (SIGNATURE, &self.signature)].into_iter()
    }
}

/// One `Name: value` line each, without a newline at the end.
impl fmt::Display for SignatureHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SERVICE_ID}: {}\n{TIMESTAMP}: {}\n", self.service_id, self.timestamp)?;
        write!(f, "{SIGNATURE}: {}", self.signature)
    }
}

#[cfg(test)]
mod tests;
