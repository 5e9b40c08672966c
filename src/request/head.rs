//! The bytes of a request head → [`RequestHead`], or which [`HeadFault`].
//!
//! What no two servers read alike is refused here, in both modes (README, "What happens to a request"): framing that could be
//! read two ways, raw controls, `#` and bytes from 0x80 in the target, a host that is doubled, malformed or missing,
//! absolute-form and authority-form targets, `CONNECT` (`request::line`; the signing direction serves those). The attacks are
//! request smuggling (CL.TE, TE.CL, TE.0, CL.0, 0.CL) and CVE-2026-48710 (a path rebuilt from `Host`); `tests.rs` has a row
//! each.
//!
//! What is left out: what the target means (readings), what the fields mean beyond framing (`proxy::headers`).

use super::authority::is_host;
pub use super::fault::HeadFault;
use super::fields::{Field, Fields, HeadRoom, Span, is_token_byte, list_members};
use super::framing::Framing;
use super::line::{LINE_OVERHEAD, RequestLine, TargetSpan};
pub use super::line::{Target, TargetForms};
use super::name::FieldName;
use memchr::{memchr, memchr2};

/// How much of a head is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head: beyond it 431.
    pub head: usize,
    /// Bytes of the request target: beyond it 414.
    pub target: usize,
    /// Header lines: beyond it 431.
    pub fields: usize,
}

/// HTTP/1.0 or HTTP/1.1; every other version is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// No `Host` needed, no chunks, no keep-alive unless asked for.
    Http10,
    /// The default.
    Http11,
}

/// A request head that reads one way only.
#[derive(Debug, Clone)]
pub struct RequestHead {
    text: Vec<u8>,
    /// Behind the request line.
    line_end: usize,
    method: Span,
    target: TargetSpan,
    path: Span,
    query: Option<Span>,
    version: Version,
    fields: Fields,
    framing: Framing,
    host: Option<Span>,
    keep_alive: bool,
    expects_continue: bool,
    upgrade: bool,
}

impl RequestHead {
    /// Reads a whole head whose target is a path, from the request line to the empty line.
    ///
    /// # Errors
    /// The first fault in the order of the bytes; framing and host faults last.
    pub fn parse(text: &[u8], limits: &HeadLimits) -> Result<RequestHead, HeadFault> {
        RequestHead::parse_as(text, limits, TargetForms::Path)
    }

    /// Reads a whole head with a target of one of these forms. Where any form is served, an empty `Host` reads as none, which
    /// is what a client writes whose URL names no host (a unix socket's; RFC 9110 section 7.2).
    ///
    /// # Errors
    /// As [`RequestHead::parse`].
    pub fn parse_as(text: &[u8], limits: &HeadLimits, forms: TargetForms) -> Result<RequestHead, HeadFault> {
        RequestHead::parse_in(&mut HeadRoom::default(), text, limits, forms)
    }

    /// The same in the memory of a head before, which [`RequestHead::leave`] left.
    ///
    /// # Errors
    /// As [`RequestHead::parse`].
    pub fn parse_in(
        room: &mut HeadRoom,
        text: &[u8],
        limits: &HeadLimits,
        forms: TargetForms,
    ) -> Result<RequestHead, HeadFault> {
        if text.len() > limits.head {
            return Err(HeadFault::HeadTooLong);
        }
        let line_end = memchr(b'\n', text).ok_or(HeadFault::BareLineEnd)?;
        let line = RequestLine::parse(&text[..=line_end], limits.target, forms)?;
        let fields = Fields::parse_in(room, text, line_end + 1, limits.fields)?;
        let text = room.keep(text);
        let seen = Seen::of(&fields, &text);
        let host = seen.host(&text, line.version, forms)?;
        let framing = seen.framing(line.version)?;
        if matches!(line.target, TargetSpan::Tunnel(_)) && framing != Framing::None {
            return Err(HeadFault::Connect);
        }
        let keep_alive = match line.version {
            Version::Http11 => !seen.connection_close,
            Version::Http10 => seen.connection_keep_alive && !seen.connection_close,
        };
        Ok(RequestHead {
            line_end: line_end + 1,
            method: line.method,
            target: line.target,
            path: line.path,
            query: line.query,
            version: line.version,
            framing,
            host,
            keep_alive,
            expects_continue: seen.expects_continue && line.version == Version::Http11 && framing != Framing::None,
            upgrade: seen.connection_upgrade
                && seen.upgrade
                && !seen.h2c
                && line.version == Version::Http11
                && framing == Framing::None,
            fields,
            text,
        })
    }

    /// Leaves its memory to the next.
    pub fn leave(self, room: &mut HeadRoom) {
        room.take_back(self.text, self.fields);
    }

    /// The method as it came.
    pub fn method(&self) -> &str {
        ascii(self.method.of(&self.text))
    }

    /// Where the target says that the request goes.
    pub fn target(&self) -> Target<'_> {
        match self.target {
            TargetSpan::Path => Target::Path,
            TargetSpan::Url { https, authority } => Target::Url { https, authority: ascii(authority.of(&self.text)) },
            TargetSpan::Tunnel(authority) => Target::Tunnel(ascii(authority.of(&self.text))),
        }
    }

    /// The path as it came, or `*`. A URL without one means `/`, that of OPTIONS means `*` (RFC 9112 section 3.2.4).
    pub fn path(&self) -> &str {
        match ascii(self.path.of(&self.text)) {
            "" if self.method() == "OPTIONS" && self.query.is_none() => "*",
            "" => "/",
            path => path,
        }
    }

    /// The query as it came, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| ascii(span.of(&self.text)))
    }

    /// The `Host` as it came; `None` only in HTTP/1.0, and where [`RequestHead::parse_as`] says so.
    pub fn host(&self) -> Option<&str> {
        self.host.map(|span| ascii(span.of(&self.text)))
    }

    /// The version of the request.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How long the body is.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// May another request follow on this connection?
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Does the caller wait for `100 Continue` before it sends its body?
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Does the caller ask for another protocol, with both headers and without a body? One that would also take `h2c` is
    /// served as a plain request: HTTP/2 in a tunnel would carry requests nobody judges.
    pub fn is_upgrade(&self) -> bool {
        self.upgrade
    }

    /// Name and value of each header line, in order.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.fields.iter(&self.text)
    }

    /// Each header line with which name it has, in order.
    pub fn each_field(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.each(&self.text)
    }

    /// Is there a header line of this name?
    pub fn has(&self, name: FieldName) -> bool {
        self.fields.has(name)
    }

    /// The values of the header lines of this name, in order.
    pub fn values(&self, name: FieldName) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.fields.values(&self.text, name)
    }

    /// Appends the request line that asks the same of a server by its path.
    pub fn put_line(&self, out: &mut Vec<u8>) {
        match (self.target, self.version) {
            (TargetSpan::Path, Version::Http11) => out.extend_from_slice(&self.text[..self.line_end]),
            (
                TargetSpan::Path | TargetSpan::Url { .. } | TargetSpan::Tunnel(_),
                Version::Http10 | Version::Http11,
            ) => {
                out.extend_from_slice(self.method().as_bytes());
                out.push(b' ');
                out.extend_from_slice(self.path().as_bytes());
                if let Some(query) = self.query() {
                    out.push(b'?');
                    out.extend_from_slice(query.as_bytes());
                }
                out.extend_from_slice(b" HTTP/1.1\r\n");
            }
        }
    }

    /// Appends the header lines that pass.
    pub fn copy_fields(&self, out: &mut Vec<u8>, passes: impl FnMut(Field<'_>) -> bool) {
        self.fields.copy(&self.text, out, passes);
    }

    /// Bytes of the head.
    pub fn size(&self) -> usize {
        self.text.len()
    }
}

/// A fault that can be told before the head is whole: so that HTTP/0.9 and a TLS hello are answered, not waited for.
///
/// # Errors
/// The fault of the request line, if its end has come; or of its length or first byte, if not.
pub fn early_fault(begun: &[u8], limits: &HeadLimits, forms: TargetForms) -> Result<(), HeadFault> {
    match memchr(b'\n', begun) {
        Some(end) => RequestLine::parse(&begun[..=end], limits.target, forms).map(|_| ()),
        None if begun.first().is_some_and(|&b| !is_token_byte(b)) => Err(HeadFault::RequestLine),
        None if begun.len() > limits.target + LINE_OVERHEAD => Err(HeadFault::TargetTooLong),
        None => Ok(()),
    }
}

/// Where the head ends in what has come so far, looking from `from` on (what was looked at before). `None`: not yet.
///
/// # Errors
/// [`HeadFault::BareLineEnd`] as soon as one is there: such a head might never end.
pub fn find_end(begun: &[u8], from: usize) -> Result<Option<usize>, HeadFault> {
    // A line end may have been cut: look at it again, from its first byte.
    let mut at = from.saturating_sub(3);
    if at > 0 && begun[at - 1..].starts_with(b"\r\n") {
        at -= 1;
    }
    while let Some(offset) = memchr2(b'\r', b'\n', &begun[at..]) {
        let line_end = at + offset;
        match &begun[line_end..] {
            [b'\r', b'\n', b'\r', b'\n', ..] => return Ok(Some(line_end + 4)),
            [b'\r', b'\n', ..] if line_end == 0 => return Err(HeadFault::BareLineEnd),
            [b'\r', b'\n', ..] => at = line_end + 2,
            // The rest of the line end has not come yet.
            [b'\r'] => return Ok(None),
            _ => return Err(HeadFault::BareLineEnd),
        }
    }
    Ok(None)
}

/// What the framing, host and connection fields of a head say, taken in one pass.
#[derive(Default)]
struct Seen<'t> {
    host: Option<Span>,
    host_repeated: bool,
    length: Option<&'t [u8]>,
    length_repeated: bool,
    encoding: Option<&'t [u8]>,
    encoding_repeated: bool,
    connection_close: bool,
    connection_keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
    h2c: bool,
    expects_continue: bool,
}

impl<'t> Seen<'t> {
    fn of(fields: &Fields, text: &'t [u8]) -> Seen<'t> {
        let mut seen = Seen::default();
        for field in fields.spans() {
            let value = field.value.of(text);
            match field.known {
                FieldName::Host => seen.host_repeated |= seen.host.replace(field.value).is_some(),
                FieldName::ContentLength => seen.length_repeated |= seen.length.replace(value).is_some(),
                FieldName::TransferEncoding => seen.encoding_repeated |= seen.encoding.replace(value).is_some(),
                FieldName::Connection => {
                    for option in list_members(value) {
                        seen.connection_close |= option.eq_ignore_ascii_case(b"close");
                        seen.connection_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                        seen.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                FieldName::Upgrade => {
                    seen.upgrade |= list_members(value).next().is_some();
                    seen.h2c |= list_members(value).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
                }
                FieldName::Expect => seen.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
                _ => {}
            }
        }
        seen
    }

    fn host(&self, text: &[u8], version: Version, forms: TargetForms) -> Result<Option<Span>, HeadFault> {
        match self.host {
            _ if self.host_repeated => Err(HeadFault::HostRepeated),
            Some(host) if host.of(text).is_empty() && forms == TargetForms::Any => Ok(None),
            Some(host) if is_host(host.of(text)) => Ok(Some(host)),
            Some(_) => Err(HeadFault::HostMalformed),
            None if version == Version::Http10 => Ok(None),
            None => Err(HeadFault::HostMissing),
        }
    }

    fn framing(&self, version: Version) -> Result<Framing, HeadFault> {
        match (self.length, self.encoding) {
            (Some(_), Some(_)) => Err(HeadFault::LengthAndEncoding),
            (None, None) => Ok(Framing::None),
            (Some(_), None) if self.length_repeated => Err(HeadFault::ContentLength),
            (Some(length), None) => match super::framing::content_length(length) {
                Some(0) => Ok(Framing::None),
                Some(length) => Ok(Framing::Length(length)),
                None => Err(HeadFault::ContentLength),
            },
            (None, Some(encoding))
                if !self.encoding_repeated
                    && version == Version::Http11
                    && encoding.eq_ignore_ascii_case(b"chunked") =>
            {
                Ok(Framing::Chunked)
            }
            (None, Some(_)) => Err(HeadFault::TransferEncoding),
        }
    }
}

/// Spans of method, target and host were checked to be ASCII; anything else reads as empty rather than panics.
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
