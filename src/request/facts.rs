//! [`RequestFacts`]: all a decision may know of a request, taken once from its head.
//!
//! Facts borrow from the bytes of the head, never from a library's view of them, and hold no header but those the
//! contract names: a decision cannot depend on anything else a caller sends.

use super::certificate::ClientCertificate;
use super::client::LimitKey;
use super::name::FieldName;

/// All that the checks may look at. Borrowed, so that building it allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The method as it came; methods are case-sensitive (RFC 9110 section 9.1).
    pub method: &'a str,
    /// The path as it came, byte for byte, without the query. ASCII 0x21..=0x7e: the head parser refused the rest.
    pub path: &'a str,
    /// The query without its `?`, absent when there was no `?`. It never counts for classes or `hmac-v1`.
    pub query: Option<&'a str>,
    /// The credentials the request presents.
    pub claims: Claims<'a>,
    /// What the connection proved of its client.
    pub certificate: ClientCertificate<'a>,
    /// Whom refusals are counted against and draws are made by.
    pub limit_key: LimitKey,
    /// Was it announced as a test (`policy::probes`)? Judged like any other, and counted nowhere.
    pub is_probe: bool,
}

/// The credential headers, exactly as they came. `Connection` cannot nominate them away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claims<'a> {
    /// `X-Service-ID`
    pub service_id: Presence<'a>,
    /// `X-Service-Timestamp`
    pub timestamp: Presence<'a>,
    /// `X-Service-Signature`
    pub signature: Presence<'a>,
    /// `X-Override-Token`
    pub override_token: Presence<'a>,
}

/// How often a header that must be single came. A repeated one is malformed, never first-or-last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence<'a> {
    /// Not there at all.
    #[default]
    Absent,
    /// There once; the value without surrounding spaces and tabs, possibly empty.
    Once(&'a [u8]),
    /// There twice or more.
    Repeated,
}

impl<'a> Claims<'a> {
    /// Takes note of one header field; names are compared without case. Other names are passed over.
    pub fn note(&mut self, name: &[u8], value: &'a [u8]) {
        self.note_known(FieldName::of(name), value);
    }

    /// The same where the name has been told already.
    pub fn note_known(&mut self, name: FieldName, value: &'a [u8]) {
        let slot = match name {
            FieldName::ServiceId => &mut self.service_id,
            FieldName::ServiceTimestamp => &mut self.timestamp,
            FieldName::ServiceSignature => &mut self.signature,
            FieldName::OverrideToken => &mut self.override_token,
            _ => return,
        };
        *slot = match slot {
            Presence::Absent => Presence::Once(value.trim_ascii()),
            Presence::Once(_) | Presence::Repeated => Presence::Repeated,
        };
    }
}
