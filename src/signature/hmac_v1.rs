//! Scheme `hmac-v1`: signed text, MAC, sign; known answers.
//!
//! ```text
//! signature = hex( HMAC-SHA256( key, "{id}:{METHOD}:{path}:{timestamp}" ) )
//! ```
//!
//! The signed text can be split in one way only, so two different (id, method, path, timestamp) never share one: an id holds
//! no `:` and ends at the first, a method is a token (RFC 9110 section 5.6.2, no `:`) and ends at the second, a timestamp
//! is digits and begins after the last; whatever stands between is the path, colons and all.
//!
//! **Which path.** The fleet's verifier signs and checks the path its framework shows: percent-decoded once, with a
//! decoded `?`, `#` or `\` written back as `%3F`, `%23`, `%5C` (else `/a%3Fb` would read as path `/a` and a query). A
//! signer here signs that form; a verifier takes that form or the raw one, which other clients sign. Where both are
//! equal (nearly always) one MAC is made. The price, known and part of the scheme: `/a%2Fb` and `/a/b` share a decoded
//! form, so a signature for one holds for the other; what guards the path is the class of its strictest reading.

use super::headers::SignatureHeaders;
use super::key::{ServiceId, ServiceKey};
use crate::request::decode::signing_form;
use data_encoding::HEXLOWER;
use hmac::Mac;
use std::borrow::Cow;

/// The forms of one path that a signature may cover: the decoded one, and the raw one where it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPaths<'a> {
    decoded: Cow<'a, str>,
    raw: &'a str,
}

impl<'a> SignedPaths<'a> {
    /// The forms of a path as it is on the wire. Allocates nothing for a path without `%` and `\`.
    pub fn of(raw: &'a str) -> SignedPaths<'a> {
        let mut decoded = signing_form(raw);
        // A raw one, which few clients send: the framework writes it as it writes a decoded one.
        if decoded.contains('\\') {
            decoded = Cow::Owned(decoded.replace('\\', "%5C"));
        }
        SignedPaths { decoded, raw }
    }

    /// What a signer signs.
    pub fn decoded(&self) -> &str {
        &self.decoded
    }

    /// What a verifier takes, the likelier first: one form or two.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let raw = (self.decoded != self.raw).then_some(self.raw);
        std::iter::once(&*self.decoded).chain(raw)
    }
}

/// The signed text, for people to look at. MACs are made from the parts without joining them.
pub fn signed_text(id: &str, method: &str, path: &str, timestamp: &str) -> String {
    format!("{id}:{method}:{path}:{timestamp}")
}

/// The MAC over the signed text of these parts.
pub(super) fn mac(key: &ServiceKey, id: &str, method: &str, path: &str, timestamp: &str) -> [u8; 32] {
    let mut mac = key.begin();
    for part in [id, ":", method, ":", path, ":", timestamp] {
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

/// Signs a request. `path` as it goes on the wire, without the query; `method` as it goes on the wire.
pub fn sign(key: &ServiceKey, id: &ServiceId, method: &str, path: &str, unix_seconds: u64) -> SignatureHeaders {
    let timestamp = unix_seconds.to_string();
    let mac = mac(key, id.as_str(), method, SignedPaths::of(path).decoded(), &timestamp);
    SignatureHeaders { service_id: id.to_string(), timestamp, signature: HEXLOWER.encode(&mac) }
}

#[cfg(test)]
mod tests;
