//! Did it come out as the contract says? One [`Row`] per case: what was expected, what happened, what was recorded.

use super::backend::Seen;
use super::client::Answer;
use serde::Serialize;
use serde_json::Value;

/// What the contract says of one case.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Expected {
    pub(super) status: u16,
    /// The record's `outcome`.
    pub(super) outcome: &'static str,
    /// The record's `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    /// The record's `cause`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<&'static str>,
    /// What the caller is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<&'static str>,
    /// Does the request arrive, and as whose?
    pub(super) arrives: Arrives,
}

/// What reaches the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Arrives {
    /// Nothing.
    Nothing,
    /// The request, without an identity.
    Anonymous,
    /// The request, as this service's.
    As(&'static str),
}

/// One case and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) case: &'static str,
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) expected: Expected,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<String>,
    /// The audit record, as it stands in the file: the guarding sidecar's, or the signing one's of what did not leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) record: Option<Value>,
    /// The signing sidecar's record of what left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<Value>,
    /// What the backend noted.
    pub(super) arrived: Vec<Seen>,
    pub(super) as_promised: bool,
    /// What is not as promised.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) differs: Vec<String>,
}

/// What was sent.
pub(super) struct Sent {
    pub(super) case: &'static str,
    pub(super) method: &'static str,
    pub(super) target: String,
    /// The address it was sent from.
    pub(super) from: String,
}

impl Row {
    /// Compares all three views of a request with what the contract says.
    pub(super) fn judge(
        sent: Sent,
        expected: Expected,
        answer: &Answer,
        record: Option<Value>,
        arrived: Vec<Seen>,
    ) -> Row {
        let mut differs = Vec::new();
        let mut compare = |what: &str, wanted: Option<&str>, found: Option<&str>| {
            if wanted != found {
                differs.push(format!("{what}: {} instead of {}", found.unwrap_or("none"), wanted.unwrap_or("none")));
            }
        };
        compare("status", Some(&expected.status.to_string()), Some(&answer.status.to_string()));
        compare("told", expected.told, answer.told.as_deref());
        let fact = |name: &str| record.as_ref().and_then(|record| record.get(name)).and_then(Value::as_str);
        compare("outcome", Some(expected.outcome), fact("outcome"));
        compare("reason", expected.reason, fact("reason"));
        compare("cause", expected.cause, fact("cause"));
        let recorded = record.as_ref().and_then(|record| record.get("status")).map(Value::to_string);
        compare("recorded status", Some(&expected.status.to_string()), recorded.as_deref());
        match (expected.arrives, arrived.as_slice()) {
            (Arrives::Nothing, []) => {}
            (Arrives::Anonymous, [seen]) => compare("identity", None, seen.authenticated_service.as_deref()),
            (Arrives::As(service), [seen]) => {
                compare("identity", Some(service), seen.authenticated_service.as_deref());
            }
            (_, arrived) => {
                let wanted = if expected.arrives == Arrives::Nothing { "0" } else { "1" };
                compare("requests that arrived", Some(wanted), Some(&arrived.len().to_string()));
            }
        }
        for seen in &arrived {
            compare("path", Some(&sent.target), Some(&seen.target));
            compare("X-Forwarded-For", Some(&sent.from), seen.forwarded_for.as_deref());
            compare("smuggled headers", Some(""), Some(&seen.smuggled.join(" ")));
        }
        Row {
            case: sent.case,
            method: sent.method,
            target: sent.target,
            expected,
            status: answer.status,
            told: answer.told.clone(),
            record,
            left: None,
            arrived,
            as_promised: differs.is_empty(),
            differs,
        }
    }

    /// Adds what the signing sidecar recorded of a request that left: signed as this service, and answered alike.
    pub(super) fn left(mut self, record: Option<Value>, service: &str) -> Row {
        let fact = |name: &str| record.as_ref().and_then(|record| record.get(name)).and_then(Value::as_str);
        for (name, wanted) in [("direction", "outbound"), ("outcome", "allow"), ("service", service)] {
            if fact(name) != Some(wanted) {
                self.differs
                    .push(format!("{name} of what left: {} instead of {wanted}", fact(name).unwrap_or("none")));
            }
        }
        let status = record.as_ref().and_then(|record| record.get("status"));
        if status != Some(&self.status.into()) {
            self.differs.push("another status of what left".to_owned());
        }
        self.as_promised = self.differs.is_empty();
        self.left = record;
        self
    }

    /// A fact of the record.
    pub(super) fn recorded(&self, name: &str) -> Option<&str> {
        self.record.as_ref()?.get(name)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const AUTHENTICATED: Expected = Expected {
        status: 200,
        outcome: "authenticated",
        reason: None,
        cause: None,
        told: None,
        arrives: Arrives::As("npu-worker"),
    };

    fn row(record: Value, arrived: Vec<Seen>) -> Row {
        let sent = Sent { case: "", method: "GET", target: "/x".to_owned(), from: "127.0.0.9".to_owned() };
        let answer = Answer { status: 200, request_id: "demo".to_owned(), told: None };
        Row::judge(sent, AUTHENTICATED, &answer, Some(record), arrived)
    }

    fn seen() -> Seen {
        Seen {
            target: "/x".to_owned(),
            authenticated_service: Some("npu-worker".to_owned()),
            forwarded_for: Some("127.0.0.9".to_owned()),
            smuggled: Vec::new(),
            body: 0,
        }
    }

    #[test]
    fn what_is_as_promised_is_said_to_be() {
        let row = row(json!({ "outcome": "authenticated", "status": 200 }), vec![seen()]);
        assert!(row.as_promised, "{:?}", row.differs);
    }

    #[test]
    fn every_single_deviation_is_found() {
        let good = json!({ "outcome": "authenticated", "status": 200 });
        let deviations = [
            row(json!({ "outcome": "allow", "status": 200 }), vec![seen()]),
            row(json!({ "outcome": "authenticated", "reason": "replayed", "status": 200 }), vec![seen()]),
            row(json!({ "outcome": "authenticated", "status": 502 }), vec![seen()]),
            row(good.clone(), vec![]),
            row(good.clone(), vec![seen(), seen()]),
            row(good.clone(), vec![Seen { authenticated_service: None, ..seen() }]),
            row(good.clone(), vec![Seen { target: "/y".to_owned(), ..seen() }]),
            row(good.clone(), vec![Seen { forwarded_for: Some("1.2.3.4".to_owned()), ..seen() }]),
            row(good, vec![Seen { smuggled: vec!["x-override-token".to_owned()], ..seen() }]),
        ];
        for row in deviations {
            assert_eq!(row.differs.len(), 1, "{:?}", row.differs);
            assert!(!row.as_promised);
        }
    }
}
