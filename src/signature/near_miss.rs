//! Why does a signature not verify? [`near_miss`] looks for the mistake that would explain it.
//!
//! It asks which *other* text, key or spelling the presented signature is right for, and tells in how few ways that differs
//! from what should have been signed. The mistakes it knows are those that clients make: the query signed with the path,
//! a slash too many, a path decoded too often, another method or its other case, another service's key, the key's hex
//! decoded or its newline left on, a timestamp in milliseconds, upper-case hex or base64.
//!
//! For people only: nothing here makes a signature valid. It needs the keys' texts, which a running sidecar does not keep, so the
//! proxy cannot call it. It makes some thousand MACs, which an operator does not notice and a request would.

use super::hmac_v1::{SignedPaths, signed_text};
use super::key::{Fingerprint, ServiceId, ServiceKey};
use crate::request::decode::percent_decoded;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::Mac;
use std::borrow::Cow;
use std::fmt;

/// What a caller presented, spelled as it came: possibly malformed.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// `X-Service-ID`
    pub service_id: &'a str,
    /// `X-Service-Timestamp`
    pub timestamp: &'a str,
    /// `X-Service-Signature`
    pub signature: &'a str,
    /// The method as it came.
    pub method: &'a str,
    /// The path as it came, without query.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
}

/// A key of the table, with its text.
#[derive(Clone, Copy)]
pub struct KnownKey<'k> {
    /// Whose.
    pub id: &'k ServiceId,
    /// The text of its file.
    pub text: &'k str,
}

/// What the signature is right for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The text that was signed.
    pub signed_text: String,
    /// With which key.
    pub key: Fingerprint,
    /// In what it differs from what should have been signed; empty when only the clock is wrong, or nothing is.
    pub slips: Vec<Slip>,
}

/// One mistake of a signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slip {
    /// Path and query were signed.
    QuerySigned,
    /// The path was signed with a slash at its end that it does not have.
    SlashAdded,
    /// The path was signed without the slash at its end.
    SlashDropped,
    /// The path was signed without the slash at its beginning.
    LeadingSlashDropped,
    /// The path was decoded wholly: `%3F`, `%23`, `%5C` too.
    DecodedWholly,
    /// The path was decoded twice.
    DecodedTwice,
    /// The path was signed in lower case.
    PathLowered,
    /// Another method was signed, or another spelling of it.
    Method(String),
    /// Another id was signed than the header names.
    Id(ServiceId),
    /// Another service's key was used.
    KeyOf(ServiceId),
    /// The key's hex was decoded; its text is the key.
    KeyDecoded,
    /// The newline at the end of the key file was taken for a part of the key.
    KeyWithNewline,
    /// The timestamp was signed, and sent, in milliseconds.
    Milliseconds,
    /// The timestamp was sent in milliseconds and signed in seconds.
    SentMilliseconds,
    /// The signature was sent in upper-case hex.
    UpperCaseHex,
    /// The signature was sent in base64.
    Base64,
}

impl Slip {
    /// The word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Slip::QuerySigned => "query_signed",
            Slip::SlashAdded => "slash_added",
            Slip::SlashDropped => "slash_dropped",
            Slip::LeadingSlashDropped => "leading_slash_dropped",
            Slip::DecodedWholly => "decoded_wholly",
            Slip::DecodedTwice => "decoded_twice",
            Slip::PathLowered => "path_lowered",
            Slip::Method(_) => "method",
            Slip::Id(_) => "id",
            Slip::KeyOf(_) => "key_of_another_service",
            Slip::KeyDecoded => "key_decoded",
            Slip::KeyWithNewline => "key_with_newline",
            Slip::Milliseconds => "milliseconds",
            Slip::SentMilliseconds => "sent_milliseconds",
            Slip::UpperCaseHex => "upper_case_hex",
            Slip::Base64 => "base64",
        }
    }
}

/// What was done and what to do instead.
impl fmt::Display for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slip::QuerySigned => "the path was signed with its query; sign the path alone",
            Slip::SlashAdded => "the path was signed with a slash at its end that the request does not have",
            Slip::SlashDropped => "the path was signed without the slash at its end that the request has",
            Slip::LeadingSlashDropped => "the path was signed without the slash at its beginning",
            Slip::DecodedWholly => "the path was decoded wholly; keep ?, # and \\ as %3F, %23 and %5C",
            Slip::DecodedTwice => "the path was decoded twice; decode it once",
            Slip::PathLowered => "the path was signed in lower case; sign it as it is sent",
            Slip::Method(signed) => return write!(f, "the method {signed} was signed; sign the one that is sent"),
            Slip::Id(id) => return write!(f, "the id {id} was signed; sign the one in X-Service-ID"),
            Slip::KeyOf(id) => return write!(f, "the key of {id} was used"),
            Slip::KeyDecoded => "the key's hex was decoded; the key is the text itself, as ASCII",
            Slip::KeyWithNewline => "the newline behind the key was taken for a part of it",
            Slip::Milliseconds => "the timestamp is in milliseconds; sign and send seconds",
            Slip::SentMilliseconds => "seconds were signed and milliseconds sent; send what was signed",
            Slip::UpperCaseHex => "the signature is in upper-case hex; send it in lower case",
            Slip::Base64 => "the signature is in base64; send it in lower-case hex",
        })
    }
}

/// One way to do a step: its value, and the mistake that it is.
type Way<T> = (T, Option<Slip>);

/// The explanation with the fewest mistakes; `None` when none is known.
pub fn near_miss(attempt: &Attempt<'_>, keys: &[KnownKey<'_>]) -> Option<NearMiss> {
    let (presented, spelling) = mac_of(attempt.signature)?;
    let mut found: Vec<NearMiss> = Vec::new();
    for known in keys {
        let owner = (known.id.as_str() != attempt.service_id).then(|| Slip::KeyOf(known.id.clone()));
        let texts = texts_of(attempt, known.id);
        for (key, form) in forms_of(known) {
            let right = texts.iter().filter(|(text, _)| mac_of_text(&key, text) == presented);
            found.extend(right.map(|(text, slips)| NearMiss {
                signed_text: text.clone(),
                key: key.fingerprint(),
                slips: [&spelling, &owner, &form].into_iter().flatten().chain(slips).cloned().collect(),
            }));
        }
    }
    found.into_iter().min_by_key(|miss| miss.slips.len())
}

fn mac_of_text(key: &ServiceKey, text: &str) -> [u8; 32] {
    key.begin().chain_update(text).finalize().into_bytes().into()
}

/// Every text that may have been signed, with the mistakes it would be.
fn texts_of(attempt: &Attempt<'_>, owner: &ServiceId) -> Vec<(String, Vec<Slip>)> {
    let mut ids = vec![(attempt.service_id, None)];
    if owner.as_str() != attempt.service_id {
        ids.push((owner.as_str(), Some(Slip::Id(owner.clone()))));
    }
    let (paths, methods, timestamps) =
        (paths_of(attempt), methods_of(attempt.method), timestamps_of(attempt.timestamp));
    let mut texts = Vec::new();
    for (id, id_slip) in &ids {
        for (path, path_slip) in &paths {
            for (method, method_slip) in &methods {
                for (timestamp, time_slip) in &timestamps {
                    let slips = [id_slip, path_slip, method_slip, time_slip];
                    texts.push((
                        signed_text(id, method, path, timestamp),
                        slips.into_iter().flatten().cloned().collect(),
                    ));
                }
            }
        }
    }
    texts
}

/// The 32 bytes that were meant, however they are spelled.
fn mac_of(signature: &str) -> Option<Way<[u8; 32]>> {
    let decoded = |bytes: Result<Vec<u8>, _>| bytes.ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let text = signature.as_bytes();
    if let Some(mac) = decoded(HEXLOWER.decode(text)) {
        return Some((mac, None));
    }
    if let Some(mac) = decoded(HEXLOWER_PERMISSIVE.decode(text)) {
        return Some((mac, Some(Slip::UpperCaseHex)));
    }
    let bare = signature.trim_end_matches('=').as_bytes();
    let mac = decoded(BASE64.decode(text)).or_else(|| decoded(BASE64URL_NOPAD.decode(bare)))?;
    Some((mac, Some(Slip::Base64)))
}

fn forms_of(known: &KnownKey<'_>) -> Vec<Way<ServiceKey>> {
    let text = known.text.as_bytes();
    let mut forms = vec![
        (ServiceKey::from_bytes(text), None),
        (ServiceKey::from_bytes(&[text, b"\n"].concat()), Some(Slip::KeyWithNewline)),
    ];
    if let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(text) {
        forms.push((ServiceKey::from_bytes(&bytes), Some(Slip::KeyDecoded)));
    }
    forms
}

fn paths_of<'a>(attempt: &Attempt<'a>) -> Vec<Way<Cow<'a, str>>> {
    let raw = attempt.path;
    let forms = SignedPaths::of(raw);
    let taken: Vec<String> = forms.iter().map(str::to_owned).collect();
    let once = percent_decoded(raw);
    let twice = percent_decoded(&once).into_owned();
    let mut paths: Vec<Way<Cow<'a, str>>> = vec![
        (once.clone(), Some(Slip::DecodedWholly)),
        (twice.into(), Some(Slip::DecodedTwice)),
        (raw.to_ascii_lowercase().into(), Some(Slip::PathLowered)),
    ];
    for path in &taken {
        if let Some(query) = attempt.query {
            paths.push((format!("{path}?{query}").into(), Some(Slip::QuerySigned)));
            paths.push((format!("{path}?{}", percent_decoded(query)).into(), Some(Slip::QuerySigned)));
        }
        paths.push(match path.strip_suffix('/') {
            Some(shorter) => (shorter.to_owned().into(), Some(Slip::SlashDropped)),
            None => (format!("{path}/").into(), Some(Slip::SlashAdded)),
        });
        paths.push((path.trim_start_matches('/').to_owned().into(), Some(Slip::LeadingSlashDropped)));
    }
    paths.retain(|(path, _)| !taken.iter().any(|taken| taken == path));
    taken.into_iter().map(|path| (path.into(), None)).chain(paths).collect()
}

fn methods_of(method: &str) -> Vec<Way<String>> {
    let upper = method.to_ascii_uppercase();
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let others = [upper.clone(), method.to_ascii_lowercase()].into_iter();
    let others = others.chain(known.into_iter().flat_map(|name| [name.to_owned(), name.to_ascii_lowercase()]));
    let slips = others.filter(|name| name != method).map(|name| (name.clone(), Some(Slip::Method(name))));
    std::iter::once((method.to_owned(), None)).chain(slips).collect()
}

fn timestamps_of(timestamp: &str) -> Vec<Way<Cow<'_, str>>> {
    let milliseconds = timestamp.len() == 13 && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    if milliseconds {
        let seconds = &timestamp[..10];
        return vec![(timestamp.into(), Some(Slip::Milliseconds)), (seconds.into(), Some(Slip::SentMilliseconds))];
    }
    vec![(timestamp.into(), None)]
}

#[cfg(test)]
mod tests;
