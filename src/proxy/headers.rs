//! Every header name the proxy knows, and what becomes of each on its way up: kept, dropped, or written by us.
//!
//! In this order (README, "What happens to a request"):
//! 1. framing and hop-by-hop fields are dropped and written anew;
//! 2. what only we may say (`X-Authenticated-Service`, `X-Forwarded-*`, `X-Override-Token`, `X-Countersign-Probe`) is dropped whoever sent it, and
//!    so is every look-alike of an owned name: a server that turns `_` or `.` into `-` would take it for the real one
//!    (measured: hyper forwards `X_Service_ID` and `X.Service.ID`);
//! 3. what `Connection` nominates is dropped, but it can never nominate away the claims (the attack: strip the signature,
//!    or the identity, on the way);
//! 4. the rest passes as it came, in order, letter case included; then our own lines follow.
//!
//! Trailers go through the same names, and lose all that frames, routes or authenticates.
//!
//! Outbound ([`role_outbound`]) the service is the client, and speaks for itself: what it says of those before it
//! (`X-Forwarded-*`) is its own business and passes. What only we may say is dropped there too, look-alikes included, and the
//! three claims with it: the signer writes them.

pub(super) use crate::request::fields::put;
use crate::request::fields::{Field, list_members};
use crate::request::name::FieldName;

/// What becomes of a request header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// As it came, unless nominated by `Connection`.
    Pass,
    /// As it came, whatever `Connection` says: the three claims.
    Claim,
    /// Dropped; some of these are written anew.
    Drop,
    /// Kept only behind a trusted proxy, else written anew: `X-Forwarded-For`, `-Proto`, `-Host`.
    Forwarded,
}

/// No owned name is longer than this, so no longer name can be taken for one.
const LONGEST_OWNED: usize = 40;

/// What becomes of this request header.
pub(super) fn role(field: Field<'_>) -> Role {
    role_of(field.known, field.name)
}

/// What becomes of a request header of this name. `Proxy` is no header of HTTP: a CGI backend would take it for its own
/// `HTTP_PROXY` (CVE-2016-5385).
fn role_of(known: FieldName, name: &[u8]) -> Role {
    match known {
        FieldName::ServiceId | FieldName::ServiceTimestamp | FieldName::ServiceSignature => Role::Claim,
        FieldName::ForwardedFor | FieldName::ForwardedProto | FieldName::ForwardedHost => Role::Forwarded,
        FieldName::AuthenticatedService
        | FieldName::Connection
        | FieldName::ContentLength
        | FieldName::Expect
        | FieldName::Forwarded
        | FieldName::ForwardedOther
        | FieldName::Host
        | FieldName::Http2Settings
        | FieldName::KeepAlive
        | FieldName::OriginalUrl
        | FieldName::OverrideToken
        | FieldName::Probe
        | FieldName::Proxy
        | FieldName::ProxyAuthenticate
        | FieldName::ProxyAuthorization
        | FieldName::ProxyConnection
        | FieldName::RequestId
        | FieldName::RewriteUrl
        | FieldName::Te
        | FieldName::Trailer
        | FieldName::TransferEncoding
        | FieldName::Upgrade => Role::Drop,
        FieldName::Odd if is_look_alike(name) => Role::Drop,
        FieldName::Odd | FieldName::Other | FieldName::CountersignError | FieldName::Location => Role::Pass,
    }
}

/// What becomes of a header of a request that leaves signed: it passes, or it is dropped.
pub(super) fn role_outbound(field: Field<'_>) -> Role {
    let is_dropped = |known: FieldName| match role_of(known, b"") {
        Role::Claim => true,
        Role::Drop => !is_said_by_the_service(known),
        Role::Forwarded | Role::Pass => false,
    };
    if is_dropped(field.known) || is_written_otherwise(field, is_dropped) { Role::Drop } else { Role::Pass }
}

/// What is the proxy's to say inbound, and the service's own outbound.
fn is_said_by_the_service(known: FieldName) -> bool {
    matches!(known, FieldName::Forwarded | FieldName::ForwardedOther | FieldName::OriginalUrl | FieldName::RewriteUrl)
}

/// Would a server that reads every other sign as `-` take this for an owned name?
fn is_look_alike(name: &[u8]) -> bool {
    plainly(name).is_some_and(|known| role_of(known, b"") != Role::Pass)
}

/// Is this, with `-` for every other sign, a name that it is not as it stands?
fn is_written_otherwise(field: Field<'_>, is_owned: impl Fn(FieldName) -> bool) -> bool {
    field.known == FieldName::Odd && plainly(field.name).is_some_and(is_owned)
}

/// Which name this is with `-` for every other sign.
fn plainly(name: &[u8]) -> Option<FieldName> {
    let mut plain = [0; LONGEST_OWNED];
    let plain = plain.get_mut(..name.len())?;
    for (to, from) in plain.iter_mut().zip(name) {
        *to = if from.is_ascii_alphanumeric() { *from } else { b'-' };
    }
    Some(FieldName::of(plain))
}

/// The names that the values of a head's `Connection` lines nominate, beyond the options that are not header names.
pub(super) fn nominated<'h>(connection: impl Iterator<Item = &'h [u8]>) -> Vec<&'h [u8]> {
    connection
        .flat_map(list_members)
        .filter(|option| {
            ![&b"close"[..], b"keep-alive", b"upgrade", b"te"].iter().any(|known| option.eq_ignore_ascii_case(known))
        })
        .collect()
}

/// Is this name among the nominated?
pub(super) fn is_nominated(name: &[u8], nominated: &[&[u8]]) -> bool {
    nominated.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Hop-by-hop in an answer, or ours to say.
pub(super) fn is_dropped_from_answer(known: FieldName) -> bool {
    match known {
        FieldName::Connection
        | FieldName::ContentLength
        | FieldName::CountersignError
        | FieldName::KeepAlive
        | FieldName::ProxyAuthenticate
        | FieldName::ProxyConnection
        | FieldName::RequestId
        | FieldName::Te
        | FieldName::Trailer
        | FieldName::TransferEncoding
        | FieldName::Upgrade => true,
        FieldName::AuthenticatedService
        | FieldName::Expect
        | FieldName::Forwarded
        | FieldName::ForwardedFor
        | FieldName::ForwardedHost
        | FieldName::ForwardedOther
        | FieldName::ForwardedProto
        | FieldName::Host
        | FieldName::Http2Settings
        | FieldName::Location
        | FieldName::Odd
        | FieldName::OriginalUrl
        | FieldName::Other
        | FieldName::OverrideToken
        | FieldName::Probe
        | FieldName::Proxy
        | FieldName::ProxyAuthorization
        | FieldName::RewriteUrl
        | FieldName::ServiceId
        | FieldName::ServiceSignature
        | FieldName::ServiceTimestamp => false,
    }
}

/// May a request's trailer of this name go upstream? Nothing that frames, routes, authenticates or is ours.
pub(super) fn passes_as_request_trailer(name: &[u8]) -> bool {
    role_of(FieldName::of(name), name) == Role::Pass && !is_forbidden_trailer(name)
}

/// May an answer's trailer of this name go downstream?
pub(super) fn passes_as_answer_trailer(name: &[u8]) -> bool {
    !is_dropped_from_answer(FieldName::of(name)) && !is_forbidden_trailer(name)
}

/// RFC 9110 section 6.5.1: fields that change how a message is framed, routed, read or trusted have no place behind it.
fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 18] = [
        b"age",
        b"host",
        b"vary",
        b"cookie",
        b"expires",
        b"location",
        b"set-cookie",
        b"content-type",
        b"max-forwards",
        b"authorization",
        b"cache-control",
        b"content-range",
        b"content-length",
        b"content-encoding",
        b"www-authenticate",
        b"transfer-encoding",
        b"proxy-authenticate",
        b"proxy-authorization",
    ];
    NAMES.iter().any(|n| n.len() == name.len() && n.eq_ignore_ascii_case(name))
}

/// Appends the members of the values of `Trailer` lines that may pass, as one line, if any.
pub(super) fn put_trailer_names<'h>(
    out: &mut Vec<u8>,
    trailer: impl Iterator<Item = &'h [u8]>,
    passes: fn(&[u8]) -> bool,
) {
    let mut is_first = true;
    for name in trailer.flat_map(list_members) {
        if passes(name) {
            out.extend_from_slice(if is_first { b"Trailer: " } else { b", " });
            out.extend_from_slice(name);
            is_first = false;
        }
    }
    if !is_first {
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Field<'_> {
        Field { known: FieldName::of(name.as_bytes()), name: name.as_bytes(), value: b"" }
    }

    #[test]
    fn what_only_we_may_say_is_dropped_in_every_spelling() {
        for name in [
            "X-Authenticated-Service",
            "x-authenticated-service",
            "X_Authenticated_Service",
            "x.authenticated.service",
            "X-Authenticated_Service",
            "X_Service_ID",
            "x.service.id",
            "X-Service_Signature",
            "X!Service!Timestamp",
            "X-Override-Token",
            "X_Override_Token",
            "X-Countersign-Probe",
            "x_countersign_probe",
            "X_Forwarded_For",
            "X-Forwarded-Uri",
            "X-Forwarded-Prefix",
            "X-Forwarded-Port",
            "Forwarded",
            "X-Original-URL",
            "X_Rewrite_URL",
            "Content_Length",
            "Transfer_Encoding",
            "Proxy-Authorization",
            "HTTP2-Settings",
            "TE",
        ] {
            assert_eq!(role(field(name)), Role::Drop, "{name}");
        }
        for name in ["X-Service-ID", "x-service-timestamp", "X-SERVICE-SIGNATURE"] {
            assert_eq!(role(field(name)), Role::Claim, "{name}");
        }
        for name in
            ["Accept", "Cookie", "Authorization", "X-Service-Version", "X_Custom", "Content-Type", "X-Real-IP"]
        {
            assert_eq!(role(field(name)), Role::Pass, "{name}");
        }
    }

    #[test]
    fn of_what_a_service_sends_only_what_is_ours_to_say_is_dropped() {
        for name in [
            "X-Service-ID",
            "x-service-timestamp",
            "X-SERVICE-SIGNATURE",
            "X_Service_ID",
            "x.service.signature",
            "X-Authenticated-Service",
            "X_Authenticated.Service",
            "X-Override-Token",
            "x_override_token",
            "X-Countersign-Probe",
            "Content_Length",
            "Transfer-Encoding",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Keep-Alive",
            "Host",
            "TE",
        ] {
            assert_eq!(role_outbound(field(name)), Role::Drop, "{name}");
        }
        for name in [
            "X-Forwarded-For",
            "X-Forwarded-Prefix",
            "X_Forwarded_For",
            "Forwarded",
            "X-Original-URL",
            "Cookie",
            "Authorization",
            "X-Service-Version",
            "X-Service-ID2",
        ] {
            assert_eq!(role_outbound(field(name)), Role::Pass, "{name}");
        }
    }

    #[test]
    fn connection_options_are_no_header_names() {
        let values = [&b"close, X-A , te"[..], b"x-service-id"];
        assert_eq!(nominated(values.into_iter()), [&b"X-A"[..], b"x-service-id"]);
    }

    #[test]
    fn trailers_neither_frame_nor_authenticate() {
        for name in ["Content-Length", "X-Service-ID", "X_Authenticated_Service", "Host", "Authorization", "Cookie"] {
            assert!(!passes_as_request_trailer(name.as_bytes()), "{name}");
        }
        assert!(passes_as_request_trailer(b"X-Checksum") && passes_as_answer_trailer(b"grpc-status"));
        assert!(!passes_as_answer_trailer(b"Transfer-Encoding") && !passes_as_answer_trailer(b"Set-Cookie"));
    }
}
