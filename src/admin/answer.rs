//! What each path answers, and the headers every answer carries.

use super::AdminState;
use super::gate::{Refused, admit};
use crate::clock;
use crate::telemetry::metrics::plain_text;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::json;

/// The answer to a request head. Bodies of requests are never read.
pub(super) fn answer(state: &AdminState, head: &Parts) -> Response<Full<Bytes>> {
    if let Err(refused) = admit(&head.method, &head.uri, &head.headers, &state.allowed_hosts.load()) {
        return refuse(refused);
    }
    match head.uri.path() {
        "/metrics" => metrics(state, &head.headers),
        "/healthz" | "/livez" => respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => {
            let (ready, body) = state.readiness.answer();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            respond(status, JSON, format!("{body}\n"))
        }
        "/" => respond(
            StatusCode::OK,
            TEXT,
            concat!("countersign ", env!("CARGO_PKG_VERSION"), "\n\n", include_str!("index.txt")),
        ),
        _ => refusal(StatusCode::NOT_FOUND, "not_found", "There is nothing here; / lists what there is."),
    }
}

fn metrics(state: &AdminState, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let now = clock::monotonic();
    let text = state.metrics.openmetrics(now);
    state.metrics.scraped(now);
    if wants_plain(headers) {
        respond(StatusCode::OK, PLAIN_METRICS, plain_text(&text))
    } else {
        respond(StatusCode::OK, OPENMETRICS, text)
    }
}

/// Does the client ask for text and not for OpenMetrics? Who takes anything gets OpenMetrics.
fn wants_plain(headers: &HeaderMap) -> bool {
    let accepts = |kind: &str| {
        let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.to_ascii_lowercase().contains(kind))
    };
    !accepts("application/openmetrics-text") && (accepts("text/plain") || accepts("text/html"))
}

fn refuse(refused: Refused) -> Response<Full<Bytes>> {
    match refused {
        Refused::HostUnclear => {
            refusal(StatusCode::BAD_REQUEST, "host_unclear", "The request must name its host exactly once, in Host.")
        }
        Refused::ForeignHost => refusal(
            StatusCode::FORBIDDEN,
            "foreign_host",
            "This Host is not served here; [admin].allowed_hosts can name more than loopback.",
        ),
        Refused::ForeignOrigin => {
            refusal(StatusCode::FORBIDDEN, "foreign_origin", "Requests of pages of another origin are not answered.")
        }
        Refused::Method => {
            let mut response =
                refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This listener is read-only.");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
    }
}

/// A refusal ends the connection: a body may follow, and nobody reads it.
fn refusal(status: StatusCode, reason: &str, detail: &str) -> Response<Full<Bytes>> {
    let mut response = respond(status, JSON, format!("{}\n", json!({ "detail": detail, "reason": reason })));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in &COMMON {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
    response
}

/// What every answer says to a browser: do not store, guess, frame, embed or run any of it.
static COMMON: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests;
