//! The request line → method, target and version, or which [`HeadFault`].
//!
//! Inbound, a target is a path (or `*` of OPTIONS): absolute-form and authority-form make servers disagree on which host
//! and path were meant. Outbound they are how a client speaks to a proxy (`HTTP_PROXY`), so there they are read as well
//! ([`TargetForms::Any`]): `http://` or `https://`, an authority, and from there on a path as strict as the other. What the
//! authority *means* is not asked here: it is kept as it came, never forwarded, and matched letter by letter against what
//! the operator listed (`policy::outbound`).

use super::fields::{Span, is_token_byte};
use super::head::{HeadFault, Version};

/// Which forms of target are served (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForms {
    /// A path, or `*` of OPTIONS.
    Path,
    /// Also a whole URL, and `CONNECT host:port`.
    Any,
}

/// Where the target says that the request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'h> {
    /// A path: nothing is said, `Host` names it.
    Path,
    /// A whole URL.
    Url {
        /// `https://`
        https: bool,
        /// What stands before the path, as it came.
        authority: &'h str,
    },
    /// `CONNECT`: a tunnel to there, as it came.
    Tunnel(&'h str),
}

/// The same as spans of the line.
#[derive(Debug, Clone, Copy)]
pub(super) enum TargetSpan {
    Path,
    Url { https: bool, authority: Span },
    Tunnel(Span),
}

/// The longest accepted method, two spaces, the version and CRLF.
pub(super) const LINE_OVERHEAD: usize = MAX_METHOD + 12;
const MAX_METHOD: usize = 64;

/// A request line that reads one way only. Spans count from the begin of the line.
pub(super) struct RequestLine {
    pub(super) method: Span,
    pub(super) target: TargetSpan,
    /// Empty in a URL without a path, and in a `CONNECT`.
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) version: Version,
}

impl RequestLine {
    pub(super) fn parse(line: &[u8], target_limit: usize, forms: TargetForms) -> Result<RequestLine, HeadFault> {
        let line = line.strip_suffix(b"\r\n").ok_or(HeadFault::BareLineEnd)?;
        let method_end = line.iter().position(|&b| b == b' ').ok_or(HeadFault::RequestLine)?;
        let method = &line[..method_end];
        if method.is_empty() {
            return Err(HeadFault::RequestLine);
        }
        if method.len() > MAX_METHOD || !method.iter().all(|&b| is_token_byte(b)) {
            return Err(HeadFault::Method);
        }
        let rest = &line[method_end + 1..];
        let target_len = rest.iter().position(|&b| b == b' ').ok_or(HeadFault::RequestLine)?;
        let version = match &rest[target_len + 1..] {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            other if other.starts_with(b"HTTP/") && !other.contains(&b' ') => return Err(HeadFault::Version),
            _ => return Err(HeadFault::RequestLine),
        };
        let start = method_end + 1;
        let target = &rest[..target_len];
        if target.is_empty() {
            return Err(HeadFault::RequestLine);
        }
        if target.len() > target_limit {
            return Err(HeadFault::TargetTooLong);
        }
        let span = |from: usize, to: usize| Span::new(start + from, start + to);
        let (form, path_at) = match (method, forms) {
            (b"CONNECT", TargetForms::Path) => return Err(HeadFault::Connect),
            (b"CONNECT", TargetForms::Any) => {
                check_bytes(target)?;
                (TargetSpan::Tunnel(span(0, target.len())), target.len())
            }
            (b"OPTIONS", _) if target == b"*" => (TargetSpan::Path, 0),
            _ => {
                check_bytes(target)?;
                match (target[0], forms) {
                    (b'/', _) => (TargetSpan::Path, 0),
                    (_, TargetForms::Path) => return Err(HeadFault::TargetForm),
                    (_, TargetForms::Any) => {
                        let (https, from, to) = authority(target).ok_or(HeadFault::TargetForm)?;
                        (TargetSpan::Url { https, authority: span(from, to) }, to)
                    }
                }
            }
        };
        let path = &target[path_at..];
        let path_len = path.iter().position(|&b| b == b'?').unwrap_or(path.len());
        if path[..path_len].iter().any(|&b| matches!(b, b'<' | b'>' | b'`')) {
            return Err(HeadFault::TargetByte);
        }
        let path_end = path_at + path_len;
        Ok(RequestLine {
            method: Span::new(0, method_end),
            target: form,
            path: span(path_at, path_end),
            query: (path_end < target.len()).then(|| span(path_end + 1, target.len())),
            version,
        })
    }
}

/// Visible ASCII without a fragment.
fn check_bytes(target: &[u8]) -> Result<(), HeadFault> {
    let is_good = target.iter().all(|&b| matches!(b, 0x21..=0x7e) && b != b'#');
    if is_good { Ok(()) } else { Err(HeadFault::TargetByte) }
}

/// Of a URL: is it `https`, and from where to where its authority goes.
fn authority(url: &[u8]) -> Option<(bool, usize, usize)> {
    let has_prefix = |prefix: &[u8]| url.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    let (https, from) = match () {
        () if has_prefix(b"http://") => (false, 7),
        () if has_prefix(b"https://") => (true, 8),
        () => return None,
    };
    let len = url[from..].iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(url.len() - from);
    (len > 0).then_some((https, from, from + len))
}
