//! [`FieldName`]: is this a header name the proxy knows? Told once, when a head is read.
//!
//! What each of them means is said elsewhere (`request::head`, `request::facts`, `proxy::headers`). Here they are only told
//! apart, so that nobody compares text again, and so that a head can say without a search what it does not hold.
//!
//! Names are compared without case (RFC 9110 section 5.1). A name with signs beside letters, digits and `-` is none of these:
//! whether a server might take it for one is [`FieldName::Odd`]'s question.

/// A header name, as far as the proxy asks about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FieldName {
    /// Letters, digits and `-`, and nothing the proxy knows.
    Other,
    /// Other signs too: perhaps made to be taken for a known name (`X_Service_ID`).
    Odd,
    /// `X-Service-ID`
    ServiceId,
    /// `X-Service-Timestamp`
    ServiceTimestamp,
    /// `X-Service-Signature`
    ServiceSignature,
    /// `X-Override-Token`
    OverrideToken,
    /// `X-Countersign-Probe`
    Probe,
    /// `X-Authenticated-Service`
    AuthenticatedService,
    /// `X-Request-ID`
    RequestId,
    /// `X-Countersign-Error`
    CountersignError,
    /// `X-Forwarded-For`
    ForwardedFor,
    /// `X-Forwarded-Proto`
    ForwardedProto,
    /// `X-Forwarded-Host`
    ForwardedHost,
    /// Everything else that begins with `X-Forwarded-`.
    ForwardedOther,
    /// `Forwarded`
    Forwarded,
    /// `X-Original-URL`
    OriginalUrl,
    /// `X-Rewrite-URL`
    RewriteUrl,
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `Keep-Alive`
    KeepAlive,
    /// `Upgrade`
    Upgrade,
    /// `HTTP2-Settings`
    Http2Settings,
    /// `Expect`
    Expect,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Proxy`
    Proxy,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `Proxy-Authenticate`
    ProxyAuthenticate,
    /// `Proxy-Authorization`
    ProxyAuthorization,
    /// `Location`
    Location,
}

/// Which names a head holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldNames(u32);

impl FieldName {
    /// Which name this is.
    pub fn of(name: &[u8]) -> FieldName {
        if name.iter().all(|&b| is_plain_sign(b)) { FieldName::of_plain(name) } else { FieldName::Odd }
    }

    /// The same for a name whose signs were looked at.
    pub(super) fn of_plain(name: &[u8]) -> FieldName {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => FieldName::Te,
            4 if is(b"host") => FieldName::Host,
            5 if is(b"proxy") => FieldName::Proxy,
            6 if is(b"expect") => FieldName::Expect,
            7 if is(b"upgrade") => FieldName::Upgrade,
            7 if is(b"trailer") => FieldName::Trailer,
            8 if is(b"location") => FieldName::Location,
            9 if is(b"forwarded") => FieldName::Forwarded,
            10 if is(b"connection") => FieldName::Connection,
            10 if is(b"keep-alive") => FieldName::KeepAlive,
            12 if is(b"x-service-id") => FieldName::ServiceId,
            12 if is(b"x-request-id") => FieldName::RequestId,
            13 if is(b"x-rewrite-url") => FieldName::RewriteUrl,
            14 if is(b"content-length") => FieldName::ContentLength,
            14 if is(b"x-original-url") => FieldName::OriginalUrl,
            14 if is(b"http2-settings") => FieldName::Http2Settings,
            15 if is(b"x-forwarded-for") => FieldName::ForwardedFor,
            16 if is(b"x-forwarded-host") => FieldName::ForwardedHost,
            16 if is(b"x-override-token") => FieldName::OverrideToken,
            16 if is(b"proxy-connection") => FieldName::ProxyConnection,
            17 if is(b"transfer-encoding") => FieldName::TransferEncoding,
            17 if is(b"x-forwarded-proto") => FieldName::ForwardedProto,
            18 if is(b"proxy-authenticate") => FieldName::ProxyAuthenticate,
            19 if is(b"x-service-timestamp") => FieldName::ServiceTimestamp,
            19 if is(b"x-service-signature") => FieldName::ServiceSignature,
            19 if is(b"x-countersign-error") => FieldName::CountersignError,
            19 if is(b"proxy-authorization") => FieldName::ProxyAuthorization,
            19 if is(b"x-countersign-probe") => FieldName::Probe,
            23 if is(b"x-authenticated-service") => FieldName::AuthenticatedService,
            12.. if name[..12].eq_ignore_ascii_case(b"x-forwarded-") => FieldName::ForwardedOther,
            _ => FieldName::Other,
        }
    }
}

impl FieldNames {
    /// Takes note of a name.
    pub fn note(&mut self, name: FieldName) {
        self.0 |= 1 << name as u8;
    }

    /// Was this name there?
    pub fn has(self, name: FieldName) -> bool {
        self.0 & (1 << name as u8) != 0
    }
}

/// A letter, a digit or `-`: what known names are made of.
pub(super) const fn is_plain_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_in_any_case_and_nothing_else_is_taken_for_them() {
        for (text, name) in [
            ("X-Service-ID", FieldName::ServiceId),
            ("x-service-timestamp", FieldName::ServiceTimestamp),
            ("X-SERVICE-SIGNATURE", FieldName::ServiceSignature),
            ("X-Override-Token", FieldName::OverrideToken),
            ("X-Countersign-Probe", FieldName::Probe),
            ("x-authenticated-service", FieldName::AuthenticatedService),
            ("X-Request-Id", FieldName::RequestId),
            ("X-Countersign-Error", FieldName::CountersignError),
            ("X-Forwarded-For", FieldName::ForwardedFor),
            ("X-Forwarded-Proto", FieldName::ForwardedProto),
            ("X-Forwarded-Host", FieldName::ForwardedHost),
            ("X-Forwarded-", FieldName::ForwardedOther),
            ("X-Forwarded-Prefix", FieldName::ForwardedOther),
            ("Forwarded", FieldName::Forwarded),
            ("X-Original-URL", FieldName::OriginalUrl),
            ("X-Rewrite-Url", FieldName::RewriteUrl),
            ("Host", FieldName::Host),
            ("CONTENT-LENGTH", FieldName::ContentLength),
            ("Transfer-Encoding", FieldName::TransferEncoding),
            ("connection", FieldName::Connection),
            ("Keep-Alive", FieldName::KeepAlive),
            ("Upgrade", FieldName::Upgrade),
            ("HTTP2-Settings", FieldName::Http2Settings),
            ("Expect", FieldName::Expect),
            ("TE", FieldName::Te),
            ("Trailer", FieldName::Trailer),
            ("Proxy", FieldName::Proxy),
            ("Proxy-Connection", FieldName::ProxyConnection),
            ("Proxy-Authenticate", FieldName::ProxyAuthenticate),
            ("Proxy-Authorization", FieldName::ProxyAuthorization),
            ("Location", FieldName::Location),
            ("X_Service_ID", FieldName::Odd),
            ("X-Service.ID", FieldName::Odd),
            ("Content-Type", FieldName::Other),
            ("X-Service-ID2", FieldName::Other),
            ("X-Service-I", FieldName::Other),
            ("X-Forwarded", FieldName::Other),
            ("Hosts", FieldName::Other),
            ("", FieldName::Other),
        ] {
            assert_eq!(FieldName::of(text.as_bytes()), name, "{text}");
        }
    }

    #[test]
    fn a_head_says_which_names_it_holds() {
        let mut names = FieldNames::default();
        assert!(!names.has(FieldName::Other) && !names.has(FieldName::Location));
        names.note(FieldName::Location);
        names.note(FieldName::Host);
        assert!(names.has(FieldName::Location) && names.has(FieldName::Host));
        assert!(!names.has(FieldName::Other) && !names.has(FieldName::Te));
    }
}
