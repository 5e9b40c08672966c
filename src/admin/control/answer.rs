//! Answers of the control API: JSON, and refusals of one shape.

use super::events::EventStream;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An answer.
pub(super) type Answer = Response<Body>;

/// What an answer carries.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// What comes.
    Events(EventStream),
}

impl Body {
    /// Does it have no end of its own?
    pub(super) const fn is_endless(&self) -> bool {
        matches!(self, Body::Events(_))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(whole) => Pin::new(whole).poll_frame(context),
            Body::Events(events) => events.poll_line(context).map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(whole) => whole.is_end_stream(),
            Body::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(whole) => whole.size_hint(),
            Body::Events(_) => SizeHint::default(),
        }
    }
}

/// Far more than any request has.
const LARGEST_BODY: usize = 64 * 1024;

/// This value, as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // Everything that is answered here is made of maps with text as keys, numbers and text.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    json_text(status, text.into())
}

/// This text, which is JSON.
pub(super) fn json_text(status: StatusCode, text: Bytes) -> Answer {
    let mut answer = Response::new(Body::Whole(Full::new(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A refusal: a word for programs, a sentence for people.
pub(super) fn refusal(status: StatusCode, reason: &str, detail: &str) -> Answer {
    json(status, &json!({ "reason": reason, "detail": detail }))
}

/// A method that a path does not have.
pub(super) fn not_allowed(allowed: &str) -> Answer {
    let mut answer = refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &format!("This path takes {allowed}; docs: `countersign man`."),
    );
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

/// The request's body, understood whole.
pub(super) async fn body<T: DeserializeOwned>(headers: &HeaderMap, body: Incoming) -> Result<T, Answer> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = "The body must be JSON, and say so: Content-Type: application/json.";
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    let bytes = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let detail = format!("The body cannot be read: {error}; at most {LARGEST_BODY} bytes are.");
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "body_unreadable", &detail));
        }
    };
    // Derived readers would take a list too, as the members in their order: who wrote one meant something else.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        let detail = "The body is not what this path takes: a JSON object.";
        return Err(refusal(StatusCode::BAD_REQUEST, "bad_request", detail));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let detail = format!("The body is not what this path takes: {error}.");
        refusal(StatusCode::BAD_REQUEST, "bad_request", &detail)
    })
}
