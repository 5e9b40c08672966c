//! A refusal, a fault of the upstream or of the client → the answer. The only file with status codes.
//!
//! Every answer of our own has the same JSON body. What it says depends on the public code alone: an unknown service and
//! a wrong signature cannot be told apart (enumeration).

use super::headers::put;
use crate::policy::decision::{Decision, Refusal};
use crate::policy::outbound::OutboundRefusal;
use crate::request::head::HeadFault;
use crate::telemetry::metrics::UpstreamFault;
use std::io::Write;
use std::time::Duration;

/// The statuses that mean something to the forwarding path.
pub(super) const CONTINUE: u16 = 100;
pub(super) const SWITCHING_PROTOCOLS: u16 = 101;
pub(super) const NO_CONTENT: u16 = 204;
/// The tunnel that `CONNECT` asked for is open.
pub(super) const TUNNEL_OPEN: u16 = 200;

/// An answer of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnAnswer {
    pub(super) status: u16,
    code: &'static str,
    detail: &'static str,
    retry_after: Option<Duration>,
}

/// The client took too long with its request.
pub(super) const REQUEST_TIMEOUT: OwnAnswer = OwnAnswer {
    status: 408,
    code: "request_timeout",
    detail: "The request did not arrive in time.",
    retry_after: None,
};

/// Plain HTTP came where TLS is spoken.
pub(super) const NOT_TLS: OwnAnswer = OwnAnswer {
    status: 400,
    code: "malformed_request",
    detail: "This port speaks TLS: use https.",
    retry_after: None,
};

/// The limits on connections are reached.
pub(super) const TOO_MANY_CONNECTIONS: OwnAnswer = OwnAnswer {
    status: 503,
    code: "too_many_connections",
    detail: "Too many connections are open.",
    retry_after: Some(Duration::from_secs(1)),
};

/// The status that a refusal is answered with, for those who tell of it before it happens.
pub(crate) fn refusal_status(refusal: Refusal) -> u16 {
    of_refusal(refusal).status
}

/// The same for a head that cannot be served.
pub(crate) fn head_fault_status(fault: HeadFault) -> u16 {
    to_head_fault(fault).status
}

/// The answer to a refused request.
pub(super) fn to_refusal(decision: &Decision, refusal: Refusal) -> OwnAnswer {
    OwnAnswer { retry_after: decision.retry_after, ..of_refusal(refusal) }
}

/// The answer without what only the decision knows.
pub(super) fn of_refusal(refusal: Refusal) -> OwnAnswer {
    let (status, detail) = match refusal {
        Refusal::MalformedRequest => (400, "The request is malformed."),
        Refusal::MissingSignature => {
            (401, "This path requires the X-Service-ID, X-Service-Timestamp and X-Service-Signature headers.")
        }
        Refusal::MalformedSignature => (401, "A signature header is repeated or not of the expected form."),
        Refusal::TimestampOutsideWindow => (401, "The timestamp is too far from the current time."),
        Refusal::UnknownService | Refusal::InvalidSignature => (401, "The credentials are not valid."),
        Refusal::Replayed => (401, "This signature has been used before."),
        Refusal::CallerNotAllowed => (403, "This service may not call this path."),
        Refusal::RateLimited => (429, "Too many refused requests from this address."),
        Refusal::KeysUnavailable => (503, "The credentials cannot be checked at the moment."),
        Refusal::AuditUnavailable => (503, "The request cannot be recorded at the moment."),
    };
    let comes_back = matches!(refusal, Refusal::KeysUnavailable | Refusal::AuditUnavailable);
    let retry_after = comes_back.then_some(Duration::from_secs(1));
    OwnAnswer { status, code: refusal.public_code(), detail, retry_after }
}

/// The answer to a request that may not leave.
pub(super) fn of_outbound_refusal(refusal: OutboundRefusal) -> OwnAnswer {
    let (status, detail) = match refusal {
        OutboundRefusal::MalformedRequest => return of_refusal(Refusal::MalformedRequest),
        OutboundRefusal::AuditUnavailable => return of_refusal(Refusal::AuditUnavailable),
        OutboundRefusal::PeerNotAllowed => (403, "This user may not send requests here."),
        OutboundRefusal::CrossOrigin => (403, "Web pages may not send requests here."),
        OutboundRefusal::HostNotAllowed => (403, "Requests to this host are not sent from here."),
        OutboundRefusal::ConnectNotAllowed => (403, "Tunnels to this host are not opened here."),
        OutboundRefusal::SigningKeyUnavailable => (503, "There is no key to sign requests with at the moment."),
    };
    let retry_after = (refusal == OutboundRefusal::SigningKeyUnavailable).then_some(Duration::from_secs(1));
    OwnAnswer { status, code: refusal.code(), detail, retry_after }
}

/// The answer to a head that cannot be served.
pub(super) fn to_head_fault(fault: HeadFault) -> OwnAnswer {
    let answer = of_refusal(Refusal::MalformedRequest);
    let (status, detail) = match fault {
        HeadFault::TargetTooLong => (414, "The request target is too long."),
        HeadFault::HeadTooLong | HeadFault::TooManyFields => (431, "The request head is too large."),
        HeadFault::RequestLine
        | HeadFault::Method
        | HeadFault::Version
        | HeadFault::TargetForm
        | HeadFault::TargetByte
        | HeadFault::Connect
        | HeadFault::BareLineEnd
        | HeadFault::FoldedLine
        | HeadFault::FieldName
        | HeadFault::FieldValue
        | HeadFault::HostMissing
        | HeadFault::HostRepeated
        | HeadFault::HostMalformed
        | HeadFault::ContentLength
        | HeadFault::TransferEncoding
        | HeadFault::LengthAndEncoding
        | HeadFault::Chunk
        | HeadFault::Trailer => (answer.status, answer.detail),
    };
    OwnAnswer { status, detail, ..answer }
}

/// The answer in the place of an upstream that gave none.
pub(super) fn to_upstream_fault(fault: UpstreamFault) -> OwnAnswer {
    let (status, detail) = match fault {
        UpstreamFault::Unreachable => (502, "The upstream cannot be reached."),
        UpstreamFault::Tls => (502, "The upstream cannot be reached securely."),
        UpstreamFault::Closed => (502, "The upstream closed the connection without an answer."),
        UpstreamFault::InvalidAnswer => (502, "The upstream's answer is not acceptable."),
        UpstreamFault::Busy => (503, "Too many requests are in flight to the upstream."),
        UpstreamFault::ConnectTimeout => (504, "The upstream did not accept a connection in time."),
        UpstreamFault::FirstByteTimeout => (504, "The upstream did not answer in time."),
    };
    let retry_after = (fault == UpstreamFault::Busy).then_some(Duration::from_secs(1));
    OwnAnswer { status, code: fault.code(), detail, retry_after }
}

/// How an answer of our own is written.
pub(super) struct Wrapping<'w> {
    pub(super) request_id: &'w str,
    /// `[refusal].headers`
    pub(super) headers: &'w [(String, String)],
    /// No body follows, as for HEAD.
    pub(super) head_only: bool,
    /// Another request may follow.
    pub(super) keep: bool,
    /// The client speaks HTTP/1.0 and must be told that the connection stays.
    pub(super) announce_keep: bool,
}

impl OwnAnswer {
    /// Appends the whole answer.
    pub(super) fn write(&self, out: &mut Vec<u8>, wrapping: &Wrapping<'_>) {
        let body = format!(
            "{{\"detail\": \"{}\", \"authenticated\": false, \"reason\": \"{}\", \"request_id\": \"{}\"}}",
            self.detail, self.code, wrapping.request_id
        );
        // Writing to a vector cannot fail.
        let _ = write!(out, "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\n", self.status, phrase(self.status));
        let _ = write!(out, "Content-Length: {}\r\nCache-Control: no-store\r\n", body.len());
        put(out, b"X-Request-ID", wrapping.request_id.as_bytes());
        if self.status == 401 {
            put(out, b"WWW-Authenticate", b"Countersign scheme=\"hmac-v1\"");
        }
        if self.status >= 500 {
            put(out, b"X-Countersign-Error", self.code.as_bytes());
        }
        if let Some(after) = self.retry_after {
            let _ = write!(out, "Retry-After: {}\r\n", after.as_millis().div_ceil(1000).max(1));
        }
        for (name, value) in wrapping.headers {
            put(out, name.as_bytes(), value.as_bytes());
        }
        if !wrapping.keep {
            put(out, b"Connection", b"close");
        } else if wrapping.announce_keep {
            put(out, b"Connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
        if !wrapping.head_only {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        408 => "Request Timeout",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
