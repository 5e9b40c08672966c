//! What the contract says of our own answers.

use super::raw::Answer;

/// A refusal with the contract's body and headers; gives its request id.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer, status: u16, reason: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.complete, "{answer:?}");
    let body = answer.json();
    let object = body.as_object().unwrap();
    assert_eq!(
        object.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        ["authenticated", "detail", "reason", "request_id"].into(),
        "{body}"
    );
    assert_eq!(body["reason"], reason, "{body}");
    assert_eq!(body["authenticated"], false);
    assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{body}");
    let id = body["request_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.fields.one("x-request-id"), Some(id.as_str()), "{answer:?}");
    assert!(answer.fields.one("content-type").is_some_and(|t| t.starts_with("application/json")), "{answer:?}");
    let expected = (status == 401).then_some("Countersign scheme=\"hmac-v1\"");
    assert_eq!(answer.fields.one("www-authenticate"), expected, "{answer:?}");
    assert_eq!(answer.fields.has("retry-after"), matches!(reason, "rate_limited" | "keys_unavailable"), "{answer:?}");
    assert!(!answer.fields.has("x-authenticated-service"));
    id
}

/// A failure of the proxy itself in the upstream's place; gives its code.
#[track_caller]
pub(crate) fn assert_own_failure(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let code =
        answer.fields.one("x-countersign-error").unwrap_or_else(|| panic!("no X-Countersign-Error: {answer:?}"));
    let body = answer.json();
    assert_eq!(body["reason"], code, "{body}");
    assert!(body["request_id"].is_string() && body["detail"].is_string(), "{body}");
    assert!(body["authenticated"].is_boolean(), "{body}");
    code.to_owned()
}
