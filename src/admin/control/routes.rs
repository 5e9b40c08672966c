//! Which request asks for what?
//!
//! [`TABLE`] names every path with its methods; `openapi.json` describes the same ones, and a test keeps it so. What is not in the
//! table is not there: paths are compared byte by byte, nothing is decoded, cleaned or cut.

use super::answer::{Answer, body, json, not_allowed, refusal};
use super::{ControlState, description, enforcement, events, explain, grants, probes, ramp, status};
use crate::admin::gate::{Refused, admit_control};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Status,
    Enforcement,
    Enforce,
    RollBack,
    Lift,
    Reload,
    Grants,
    Grant,
    Revoke,
    Announce,
    Announced,
    EndAnnouncement,
    Explain,
    Ramp,
    RampPlan,
    RampStart,
    RampPause,
    RampResume,
    RampAdvance,
    RampAbort,
    Maintenance,
    Events,
    Description,
}

/// Paths and their methods; GET covers HEAD, and `{id}` is one segment that is not empty.
pub(super) const TABLE: &[(&str, &[(&str, Endpoint)])] = &[
    ("/v1/status", &[("GET", Endpoint::Status)]),
    ("/v1/enforcement", &[("GET", Endpoint::Enforcement), ("PUT", Endpoint::Enforce)]),
    ("/v1/rollback", &[("POST", Endpoint::RollBack)]),
    ("/v1/rollback/lift", &[("POST", Endpoint::Lift)]),
    ("/v1/override/grants", &[("GET", Endpoint::Grants), ("POST", Endpoint::Grant)]),
    ("/v1/override/grants/{id}", &[("DELETE", Endpoint::Revoke)]),
    ("/v1/reload", &[("POST", Endpoint::Reload)]),
    ("/v1/probes", &[("POST", Endpoint::Announce)]),
    ("/v1/probes/{id}", &[("GET", Endpoint::Announced), ("DELETE", Endpoint::EndAnnouncement)]),
    ("/v1/explain", &[("GET", Endpoint::Explain)]),
    ("/v1/ramp", &[("GET", Endpoint::Ramp)]),
    ("/v1/ramp/plan", &[("GET", Endpoint::RampPlan)]),
    ("/v1/ramp/start", &[("POST", Endpoint::RampStart)]),
    ("/v1/ramp/pause", &[("POST", Endpoint::RampPause)]),
    ("/v1/ramp/resume", &[("POST", Endpoint::RampResume)]),
    ("/v1/ramp/advance", &[("POST", Endpoint::RampAdvance)]),
    ("/v1/ramp/abort", &[("POST", Endpoint::RampAbort)]),
    ("/v1/maintenance", &[("POST", Endpoint::Maintenance)]),
    ("/v1/events", &[("GET", Endpoint::Events)]),
    ("/v1/openapi.json", &[("GET", Endpoint::Description)]),
];

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
    let (endpoint, id) = match find(head.uri.path(), head.method.as_str()) {
        Found::Endpoint(endpoint, id) => (endpoint, id),
        Found::OtherMethods(allowed) => return not_allowed(&allowed),
        Found::Nothing => {
            let detail = "There is nothing here; GET /v1/status tells how it stands.";
            return refusal(StatusCode::NOT_FOUND, "not_found", detail);
        }
    };
    match endpoint {
        Endpoint::Status => json(StatusCode::OK, &status::status(state)),
        Endpoint::Enforcement => {
            let trouble = state.standing.trouble();
            let told = status::enforcement(&state.standing.state(), trouble.as_deref().map(String::as_str));
            json(StatusCode::OK, &told)
        }
        Endpoint::Enforce => enforcement::put(state, uid, read!()).await,
        Endpoint::RollBack => enforcement::rollback(state, uid, read!()).await,
        Endpoint::Lift => enforcement::lift(state, uid, read!()).await,
        Endpoint::Events => events::events(state, &head.method, &head.headers),
        Endpoint::Description => description::description(),
        Endpoint::Explain => explain::explain(state, head.uri.query()),
        Endpoint::Reload => enforcement::reload(state, uid, read!()).await,
        Endpoint::Grants => json(StatusCode::OK, &grants::list(state)),
        Endpoint::Grant => grants::grant(state, uid, read!()).await,
        Endpoint::Revoke => {
            // Who gives no reason needs no body.
            let body = if head.headers.contains_key(CONTENT_TYPE) { read!() } else { grants::RevokeBody::default() };
            grants::revoke(state, uid, id, body).await
        }
        Endpoint::Announce => probes::announce(state, uid, &read!()),
        Endpoint::Announced => probes::report(state, id),
        Endpoint::EndAnnouncement => probes::end(state, id),
        Endpoint::Ramp => json(StatusCode::OK, &**state.ramp.load()),
        Endpoint::RampPlan => ramp::plan(state, head.uri.query()),
        Endpoint::RampStart => ramp::start(state, uid, read!()).await,
        Endpoint::RampPause => ramp::steer(state, uid, ramp::Steer::Pause, read!()).await,
        Endpoint::RampResume => ramp::steer(state, uid, ramp::Steer::Resume, read!()).await,
        Endpoint::RampAdvance => ramp::steer(state, uid, ramp::Steer::Advance, read!()).await,
        Endpoint::RampAbort => ramp::steer(state, uid, ramp::Steer::Abort, read!()).await,
        Endpoint::Maintenance => ramp::maintenance(state, uid, read!()).await,
    }
}

/// What a path and a method lead to.
#[derive(Debug, PartialEq, Eq)]
enum Found<'p> {
    /// To this, with what stands for `{id}`.
    Endpoint(Endpoint, &'p str),
    /// The path has these methods.
    OtherMethods(String),
    Nothing,
}

fn find<'p>(path: &'p str, method: &str) -> Found<'p> {
    let Some((id, methods)) = TABLE.iter().find_map(|(pattern, methods)| Some((fits(pattern, path)?, methods)))
    else {
        return Found::Nothing;
    };
    let asked = if method == "HEAD" { "GET" } else { method };
    if let Some((_, endpoint)) = methods.iter().find(|(name, _)| *name == asked) {
        return Found::Endpoint(*endpoint, id);
    }
    let names = methods.iter().map(|(name, _)| if *name == "GET" { "GET, HEAD" } else { name });
    Found::OtherMethods(names.collect::<Vec<_>>().join(", "))
}

/// What stands for `{id}`; the empty text where the pattern has none; `None` where the path is another.
fn fits<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, after)) = pattern.split_once("{id}") else { return (pattern == path).then_some("") };
    let id = path.strip_prefix(before)?.strip_suffix(after)?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_as_it_stands_and_in_no_other_spelling() {
        assert_eq!(find("/v1/status", "GET"), Found::Endpoint(Endpoint::Status, ""));
        assert_eq!(find("/v1/status", "HEAD"), Found::Endpoint(Endpoint::Status, ""));
        for other in ["/", "/v1", "/v1/", "/v1/status/", "//v1/status", "/V1/status", "/v1/%73tatus", "/v1/./status"]
        {
            assert_eq!(find(other, "GET"), Found::Nothing, "{other}");
        }
    }

    #[test]
    fn a_method_that_a_path_lacks_is_told_which_ones_it_has() {
        assert_eq!(find("/v1/enforcement", "DELETE"), Found::OtherMethods("GET, HEAD, PUT".to_owned()));
        assert_eq!(find("/v1/rollback", "HEAD"), Found::OtherMethods("POST".to_owned()));
        assert_eq!(find("/v1/status", "OPTIONS"), Found::OtherMethods("GET, HEAD".to_owned()));
        assert_eq!(find("/v1/status", "get"), Found::OtherMethods("GET, HEAD".to_owned()));
    }

    #[test]
    fn an_id_is_one_segment() {
        assert_eq!(fits("/v1/x/{id}", "/v1/x/7"), Some("7"));
        assert_eq!(fits("/v1/x/{id}/end", "/v1/x/7/end"), Some("7"));
        for other in ["/v1/x/", "/v1/x", "/v1/x/7/8", "/v1/x/7/", "/v1/x//end"] {
            assert_eq!(fits("/v1/x/{id}", other), None, "{other}");
        }
    }
}
