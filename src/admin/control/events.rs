//! `GET /v1/events`: what changes, and what is or would be refused, as it happens.
//!
//! Lines of the audit record as the writer puts them on record ([`crate::telemetry::audit::tap`]), behind a first one that tells how it
//! stands: `{"event":"now", ...}`. Whoever reads too slowly loses lines and is told how many: `{"event":"lost","lost":N}`. A line is a JSON
//! object (`application/x-ndjson`), or an event of a stream that browsers and others know (`Accept: text/event-stream`).

use super::ControlState;
use super::answer::{Answer, Body, refusal};
use super::status;
use crate::telemetry::audit::tap::{Heard, Listener};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use std::task::{Context, Poll};

/// A body that goes on for as long as somebody listens and the sidecar runs.
#[derive(Debug)]
pub(super) struct EventStream {
    first: Option<Bytes>,
    listener: Listener,
    form: Form,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    EventStream,
}

/// Begins to listen.
pub(super) fn events(control: &ControlState, method: &Method, headers: &HeaderMap) -> Answer {
    let form = Form::accepted(headers);
    // Who asks for the head alone does not listen.
    let body = if method == Method::HEAD {
        Body::Whole(Full::default())
    } else {
        let Some(listener) = control.audit.tap().listen() else {
            let detail = "Others listen already, as many as may; or the sidecar is stopping.";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", detail);
        };
        // Looked at only now: what changes meanwhile is heard behind it.
        let trouble = control.standing.trouble();
        let enforcement = status::enforcement(&control.standing.state(), trouble.as_deref().map(String::as_str));
        let generation = control.snapshot.load().generation;
        let now = json!({ "event": "now", "enforcement": enforcement, "generation": generation });
        let first = Some(form.written(now.to_string().as_bytes()));
        Body::Events(EventStream { first, listener, form })
    };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

impl EventStream {
    /// The next line, as it is sent.
    pub(super) fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        self.listener.poll_next(context).map(|heard| match heard {
            Some(Heard::Line(line)) => Some(self.form.written(&line)),
            Some(Heard::Lost(lost)) => {
                Some(self.form.written(json!({ "event": "lost", "lost": lost }).to_string().as_bytes()))
            }
            None => None,
        })
    }
}

impl Form {
    fn accepted(headers: &HeaderMap) -> Form {
        let mut kinds = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let names = |list: &str| {
            let mut kinds = list.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
            kinds.any(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
        };
        if kinds.any(names) { Form::EventStream } else { Form::Lines }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Form::Lines => "application/x-ndjson",
            Form::EventStream => EVENT_STREAM,
        }
    }

    /// A line holds no line end of its own: control characters are escaped in it.
    fn written(self, line: &[u8]) -> Bytes {
        match self {
            Form::Lines => [line, b"\n"].concat().into(),
            Form::EventStream => [b"data: ", line, b"\n\n"].concat().into(),
        }
    }
}

const EVENT_STREAM: &str = "text/event-stream";
