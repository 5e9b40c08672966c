//! Which request asks for what?

use super::answer::{Answer, body, json, not_allowed, refusal};
use super::{ControlState, enforcement, status};
use crate::admin::gate::{Refused, admit_control};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

/// Answers one request of somebody who may ask.
pub(super) async fn answer(state: &ControlState, uid: u32, request: Request<Incoming>) -> Answer {
    let (head, incoming) = request.into_parts();
    if let Err(refused) = admit_control(&head.uri, &head.headers, &state.allowed_hosts.load()) {
        return foreign(refused);
    }
    /// Reads the body, or answers what is wrong with it.
    macro_rules! read {
        () => {
            match body(&head.headers, incoming).await {
                Ok(body) => body,
                Err(answer) => return answer,
            }
        };
    }
    match (head.uri.path(), &head.method) {
        ("/v1/status", &Method::GET | &Method::HEAD) => json(StatusCode::OK, &status::status(state)),
        ("/v1/status", _) => not_allowed("GET, HEAD"),
        ("/v1/enforcement", &Method::GET | &Method::HEAD) => {
            let trouble = state.standing.trouble();
            let told = status::enforcement(&state.standing.state(), trouble.as_deref().map(String::as_str));
            json(StatusCode::OK, &told)
        }
        ("/v1/enforcement", &Method::PUT) => enforcement::put(state, uid, read!()).await,
        ("/v1/enforcement", _) => not_allowed("GET, HEAD, PUT"),
        ("/v1/rollback", &Method::POST) => enforcement::rollback(state, uid, read!()).await,
        ("/v1/rollback/lift", &Method::POST) => enforcement::lift(state, uid, read!()).await,
        ("/v1/reload", &Method::POST) => enforcement::reload(state, uid, read!()).await,
        ("/v1/rollback" | "/v1/rollback/lift" | "/v1/reload", _) => not_allowed("POST"),
        _ => {
            refusal(StatusCode::NOT_FOUND, "not_found", "There is nothing here; GET /v1/status tells how it stands.")
        }
    }
}

fn foreign(refused: Refused) -> Answer {
    match refused {
        Refused::HostUnclear => {
            let detail = "The request must name its host exactly once, in Host.";
            refusal(StatusCode::BAD_REQUEST, "host_unclear", detail)
        }
        Refused::ForeignHost => {
            let detail = "This Host is not served here: say localhost, or a name in [admin].allowed_hosts.";
            refusal(StatusCode::FORBIDDEN, "foreign_host", detail)
        }
        Refused::ForeignOrigin | Refused::Method => {
            refusal(StatusCode::FORBIDDEN, "foreign_origin", "Requests of web pages are not answered here.")
        }
    }
}
