//! Heads written anew: the request's for the upstream, the answer's for the client.

use super::headers::{
    self, Role, is_dropped_from_answer, is_nominated, nominated, passes_as_answer_trailer, passes_as_request_trailer,
    put, put_trailer_names, role, role_outbound,
};
use crate::config::Upstream;
use crate::request::fields::{list_members, put_decimal};
use crate::request::framing::Framing;
use crate::request::head::{RequestHead, Version};
use crate::request::name::FieldName;
use crate::signature::signer::Signer;
use crate::signature::verify::AuthenticatedService;
use crate::upstream::answer::AnswerHead;
use crate::wire::body::{BodyLength, WrittenAs};
use std::ops::Range;

/// What the proxy itself knows of a request.
pub(super) struct Known<'k> {
    /// Kept or made.
    pub(super) request_id: &'k str,
    /// Where it goes.
    pub(super) upstream: &'k Upstream,
    /// How the client reached us; `None`: by the upstream's own name.
    pub(super) reached: Option<Reached<'k>>,
    /// What is said upstream beside what the client said.
    pub(super) says: Says<'k>,
}

/// How the client reached us.
pub(super) struct Reached<'k> {
    /// `http` or `https`
    pub(super) scheme: &'static str,
    /// The name and port it used; absent where it did not say.
    pub(super) authority: Option<&'k str>,
}

/// What we say upstream.
pub(super) enum Says<'k> {
    /// To the guarded backend: who called.
    Caller {
        /// The client address, as text.
        client: &'k str,
        /// `http` or `https`: how the client reached us.
        scheme: &'static str,
        /// The proved caller: nothing else can set the identity header.
        service: Option<&'k AuthenticatedService>,
        /// The peer is a trusted proxy: its `X-Forwarded-*` are kept.
        trusted: bool,
    },
    /// To a destination: who we are, proved.
    Ourselves(&'k Signer),
}

/// Where the signature stands in a written head: empty until it is signed.
#[derive(Debug)]
pub(super) struct SignaturePlace(Range<usize>);

/// Appends the head of the request as the upstream gets it. One that [`Says::Ourselves`] is to be signed, at the place given,
/// when it is sent: what comes first of a body may be long in coming.
pub(super) fn request_head(out: &mut Vec<u8>, head: &RequestHead, known: &Known<'_>) -> SignaturePlace {
    head.put_line(out);
    match (head.host(), &known.says) {
        (Some(host), Says::Caller { .. }) => put(out, b"Host", host.as_bytes()),
        (None, _) | (_, Says::Ourselves(_)) => put(out, b"Host", authority(known.upstream).as_bytes()),
    }
    match known.says {
        Says::Caller { client, scheme, service, trusted } => {
            put_as_guard(out, head, client, scheme, trusted);
            put(out, b"X-Request-ID", known.request_id.as_bytes());
            if let Some(service) = service {
                put(out, b"X-Authenticated-Service", service.id().as_str().as_bytes());
            }
        }
        Says::Ourselves(_) => {
            let nominated = nominated(head.values(FieldName::Connection));
            head.copy_fields(out, |field| {
                role_outbound(field) == Role::Pass && !is_nominated(field.name, &nominated)
            });
            put(out, b"X-Request-ID", known.request_id.as_bytes());
        }
    }
    let signature = SignaturePlace(out.len()..out.len());
    put_connection(out, head);
    match head.framing() {
        Framing::None if head.has(FieldName::ContentLength) => {
            put(out, b"Content-Length", b"0");
        }
        Framing::None => {}
        Framing::Length(length) => put_length(out, length),
        Framing::Chunked => {
            put(out, b"Transfer-Encoding", b"chunked");
            put_trailer_names(out, head.values(FieldName::Trailer), passes_as_request_trailer);
        }
    }
    if head.expects_continue() {
        put(out, b"Expect", b"100-continue");
    }
    out.extend_from_slice(b"\r\n");
    signature
}

impl SignaturePlace {
    /// Signs the head in `out`, or signs it anew.
    pub(super) fn sign(&mut self, out: &mut Vec<u8>, head: &RequestHead, signer: &Signer, unix_seconds: u64) {
        let signed = signer.sign(head.method(), head.path(), unix_seconds);
        let mut lines = Vec::with_capacity(192);
        for (name, value) in signed.iter() {
            put(&mut lines, name.as_bytes(), value.as_bytes());
        }
        let end = self.0.start + lines.len();
        out.splice(self.0.clone(), lines);
        self.0.end = end;
    }
}

/// Appends what a guarded backend gets of the client's header lines, and ours about the client.
fn put_as_guard(out: &mut Vec<u8>, head: &RequestHead, client: &str, scheme: &str, trusted: bool) {
    let nominated = nominated(head.values(FieldName::Connection));
    head.copy_fields(out, |field| match role(field) {
        Role::Claim => true,
        Role::Pass => !is_nominated(field.name, &nominated),
        Role::Forwarded => trusted,
        Role::Drop => false,
    });
    let has = |name: FieldName| trusted && head.has(name);
    if !has(FieldName::ForwardedFor) {
        put(out, b"X-Forwarded-For", client.as_bytes());
    }
    if !has(FieldName::ForwardedProto) {
        put(out, b"X-Forwarded-Proto", scheme.as_bytes());
    }
    if let (false, Some(host)) = (has(FieldName::ForwardedHost), head.host()) {
        put(out, b"X-Forwarded-Host", host.as_bytes());
    }
}

fn put_connection(out: &mut Vec<u8>, head: &RequestHead) {
    let takes_trailers =
        head.values(FieldName::Te).flat_map(list_members).any(|member| member.eq_ignore_ascii_case(b"trailers"));
    if head.is_upgrade() {
        put(out, b"Connection", b"Upgrade");
        for value in head.values(FieldName::Upgrade) {
            put(out, b"Upgrade", value);
        }
    } else if takes_trailers {
        put(out, b"Connection", b"TE");
        put(out, b"TE", b"trailers");
    }
}

/// Appends the head of the answer as the client gets it. `keep` says whether another request may follow.
pub(super) fn answer_head(
    out: &mut Vec<u8>,
    answer: &AnswerHead,
    request: &RequestHead,
    known: &Known<'_>,
    written_as: WrittenAs,
    keep: bool,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    put_decimal(out, answer.status().into());
    out.push(b' ');
    out.extend_from_slice(answer.reason());
    out.extend_from_slice(b"\r\n");
    let nominated = nominated(answer.values(FieldName::Connection));
    answer.copy_fields(out, |field| {
        !is_dropped_from_answer(field.known)
            && !is_nominated(field.name, &nominated)
            && field.known != FieldName::Location
    });
    for value in answer.values(FieldName::Location).filter(|_| !is_nominated(b"location", &nominated)) {
        put(out, b"Location", location(value, known).as_deref().unwrap_or(value));
    }
    put(out, b"X-Request-ID", known.request_id.as_bytes());
    if answer.status() == super::respond::SWITCHING_PROTOCOLS {
        put(out, b"Connection", b"Upgrade");
        for value in answer.values(FieldName::Upgrade) {
            put(out, b"Upgrade", value);
        }
    } else if written_as == WrittenAs::Chunked {
        put(out, b"Transfer-Encoding", b"chunked");
        put_trailer_names(out, answer.values(FieldName::Trailer), passes_as_answer_trailer);
    } else if let Some(length) = announced(answer) {
        put_length(out, length);
    }
    if answer.status() != super::respond::SWITCHING_PROTOCOLS {
        match (keep, request.version()) {
            (false, _) => put(out, b"Connection", b"close"),
            (true, Version::Http10) => put(out, b"Connection", b"keep-alive"),
            (true, Version::Http11) => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Is this 101 an answer to what was asked: an upgrade, to a protocol the request named? An unasked one would open a
/// tunnel for whatever the upstream and the client agree on behind our back (`h2c`).
pub(super) fn is_asked_for(answer: &AnswerHead, request: &RequestHead) -> bool {
    let chosen = || answer.values(FieldName::Upgrade).flat_map(list_members);
    let asked = || request.values(FieldName::Upgrade).flat_map(list_members);
    request.is_upgrade()
        && chosen().next().is_some()
        && chosen().all(|chosen| asked().any(|asked| asked.eq_ignore_ascii_case(chosen)))
}

/// The length to announce: of the body that follows, or, to HEAD and in 304, of the one that would.
fn announced(answer: &AnswerHead) -> Option<u64> {
    match answer.length() {
        BodyLength::Exactly(length) => Some(length),
        BodyLength::None if !answer.is_informational() && answer.status() != super::respond::NO_CONTENT => {
            answer.content_length()
        }
        BodyLength::None | BodyLength::Chunked | BodyLength::UntilEnd => None,
    }
}

fn put_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    put_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// The upstream's own `host:port`, as `Host` wants it.
pub(super) fn authority(upstream: &Upstream) -> String {
    if upstream.port == default_port(upstream) { upstream.host.clone() } else { upstream.to_string() }
}

/// The port that goes without saying.
fn default_port(upstream: &Upstream) -> u16 {
    if upstream.tls.is_some() { 443 } else { 80 }
}

/// A `Location` that names the upstream's own address, rewritten to the address the client used: a redirect must neither
/// leak the inner port nor lead around the proxy. `None`: it names something else and passes as it is.
fn location(value: &[u8], known: &Known<'_>) -> Option<Vec<u8>> {
    let reached = known.reached.as_ref()?;
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, rest) = text.split_once("//")?;
    let implied = match scheme.to_ascii_lowercase().as_str() {
        "" => default_port(known.upstream),
        "http:" => 80,
        "https:" => 443,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (named, path) = rest.split_at(end);
    if !names_upstream(named, implied, known.upstream) {
        return None;
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some(match reached.authority {
        Some(host) => format!("{}://{host}{path}", reached.scheme).into_bytes(),
        None => path.into_bytes(),
    })
}

fn names_upstream(named: &str, implied: u16, upstream: &Upstream) -> bool {
    let (host, port) = match named.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (named, Some(implied)),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |host: &str| {
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    port == Some(upstream.port)
        && (host.eq_ignore_ascii_case(upstream.lookup_host())
            || (is_loopback(host) && is_loopback(upstream.lookup_host())))
}

/// `X-Request-ID` of a request, if it came once and is sane: `[A-Za-z0-9._-]{1,128}`.
pub(super) fn given_request_id(head: &RequestHead) -> Option<&str> {
    let mut ids = head.values(FieldName::RequestId);
    let id = ids.next()?;
    let is_sane = (1..=128).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    (is_sane && ids.next().is_none()).then(|| std::str::from_utf8(id).ok()).flatten()
}

/// The lines of `X-Forwarded-For`, in order.
pub(super) fn forwarded_for(head: &RequestHead) -> impl DoubleEndedIterator<Item = &[u8]> {
    head.values(FieldName::ForwardedFor)
}

/// The filters both directions use.
pub(super) const REQUEST_TRAILERS: fn(&[u8]) -> bool = headers::passes_as_request_trailer;
pub(super) const ANSWER_TRAILERS: fn(&[u8]) -> bool = headers::passes_as_answer_trailer;

#[cfg(test)]
mod tests;
