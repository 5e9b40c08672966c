//! `GET /v1/explain`: what would happen to a request now.

use super::ControlState;
use super::answer::{Answer, json};
use super::enforcement::bad;
use super::query::Query;
use crate::explain::{Held, InForce, Live, Report};
use crate::signature::key::ServiceId;
use crate::telemetry::time::rfc3339_seconds;
use hyper::StatusCode;

/// The answer to `?method=M&path=P`, and `&as=SERVICE`.
pub(super) fn explain(control: &ControlState, query: Option<&str>) -> Answer {
    let query = match Query::read(query, &["method", "path", "as"]) {
        Ok(query) => query,
        Err(problem) => return bad(&problem),
    };
    let (Some(method), Some(path)) = (query.value("method"), query.value("path")) else {
        return bad("Say `method` and `path`: /v1/explain?method=GET&path=%2Fapi%2Finternal.");
    };
    let caller = match query.value("as") {
        None => None,
        Some(text) => match ServiceId::parse(text) {
            Some(id) => Some(id),
            None => return bad("`as` is no service id: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit."),
        },
    };
    // One generation of everything, as a request takes it.
    let snapshot = control.snapshot.load_full();
    let hold = control.standing.state().hold.as_ref().map(|hold| Held {
        kind: hold.kind.code(),
        since: rfc3339_seconds(hold.by.at),
        by: hold.by.by.to_string(),
        why: hold.by.why.to_string(),
    });
    let in_force = InForce {
        enforcement: snapshot.enforcement,
        rule_percentages: &snapshot.rule_percentages,
        live: Some(Live { generation: snapshot.generation, hold }),
    };
    let report = Report::of(&snapshot.config, in_force, method, path, caller.as_ref());
    let mut told = report.to_json();
    told["text"] = report.to_text().into();
    json(StatusCode::OK, &told)
}
