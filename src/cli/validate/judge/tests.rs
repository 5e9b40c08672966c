#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::super::standing::SaidBy;
use super::*;
use crate::policy::enforcement::Mode;
use crate::rules::percentage::Percentage;
use std::collections::BTreeMap;

fn npu() -> ServiceId {
    ServiceId::parse("npu-worker").unwrap()
}

fn refusals() -> Vec<Check> {
    let id = npu();
    vec![
        Check::Unsigned,
        Check::WrongSignature(Some(id.clone())),
        Check::Stale(Some(id.clone())),
        Check::WrongCaller(id),
        Check::WrongOverride,
    ]
}

fn probe(check: Check) -> Probe {
    Probe {
        check,
        subject: "/api/x".to_owned(),
        method: "GET".to_owned(),
        path: "/api/x/none".to_owned(),
        rules: vec![("x".into(), None)],
        is_first: true,
    }
}

/// An answer of a sidecar, as it writes them.
fn refusal(status: u16, reason: &str) -> Answer {
    let mut headers = vec![("X-Request-ID".to_owned(), "r".to_owned())];
    if status == 401 {
        headers.push(("WWW-Authenticate".to_owned(), "Countersign scheme=\"hmac-v1\"".to_owned()));
    }
    if status >= 500 {
        headers.push(("X-Countersign-Error".to_owned(), reason.to_owned()));
    }
    let body = serde_json::json!({ "detail": "x", "authenticated": false, "reason": reason, "request_id": "r" });
    Answer { status, headers, body: body.to_string().into_bytes() }
}

/// An answer of an upstream.
fn own(status: u16) -> Answer {
    let headers = vec![("WWW-Authenticate".to_owned(), "Basic realm=\"x\"".to_owned())];
    Answer { status, headers, body: b"{\"detail\": \"Not Found\", \"reason\": \"x\"}".to_vec() }
}

struct World {
    standing: Standing,
    has_sidecar: bool,
    expect_enforced: bool,
}

fn world(mode: Mode, percentage: u8) -> World {
    let percentage = Percentage::new(percentage).unwrap();
    let standing = Standing { mode, percentage, rules: BTreeMap::new(), said_by: SaidBy::Argument };
    World { standing, has_sidecar: true, expect_enforced: false }
}

fn told(outcome: Outcome, reason: Option<Refusal>, class: &str) -> Told {
    Told { outcome, reason, class: class.to_owned(), skew_seconds: None }
}

impl World {
    fn judge(&self, check: Check, answer: Answer, told: Option<&Told>) -> (Judgement, String) {
        let known =
            Known { standing: &self.standing, has_sidecar: self.has_sidecar, expect_enforced: self.expect_enforced };
        let row = Row::of(&probe(check), &Ok(answer), told, known);
        (row.result, row.detail)
    }

    #[track_caller]
    fn gives(&self, check: Check, answer: Answer, told: Option<&Told>, result: Judgement, words: &str) {
        let (found, detail) = self.judge(check.clone(), answer, told);
        assert_eq!(found, result, "{check:?}: {detail}");
        assert!(detail.contains(words), "{check:?}: {words:?} is not in {detail:?}");
    }
}

#[test]
fn an_upstreams_own_answers_are_not_taken_for_ours() {
    for status in [200, 301, 400, 401, 403, 404, 405, 429, 500, 503] {
        assert_eq!(Said::of(&own(status)), Said::Through { status });
    }
    for (status, code) in [
        (400, "malformed_request"),
        (401, "missing_signature"),
        (403, "caller_not_allowed"),
        (429, "rate_limited"),
        (502, "connect_failed"),
    ] {
        assert_eq!(Said::of(&refusal(status, code)), Said::Refusal { status, code: code.to_owned() });
    }
    // a backend of the fleet answers much like it by itself
    let other = Answer { headers: Vec::new(), ..refusal(403, "caller_not_allowed") };
    assert_eq!(Said::of(&other), Said::Through { status: 403 });
    // to HEAD there is no body, and the challenge is enough
    let head = Answer { body: Vec::new(), ..refusal(401, "missing_signature") };
    assert_eq!(Said::of(&head), Said::Refusal { status: 401, code: String::new() });
}

#[test]
fn an_exempt_path_is_reachable_whatever_the_upstream_says_itself() {
    let world = world(Mode::Enforce, 100);
    for status in [200, 204, 401, 403, 404, 405, 422, 500] {
        world.gives(Check::Exempt, own(status), None, Judgement::Passed, "reachable");
    }
    for (status, code) in [(401, "missing_signature"), (403, "caller_not_allowed"), (429, "rate_limited")] {
        world.gives(Check::Exempt, refusal(status, code), None, Judgement::Failed, "guarded");
    }
    world.gives(Check::Exempt, refusal(502, "connect_failed"), None, Judgement::Failed, "connect_failed");
    world.gives(Check::Exempt, own(502), None, Judgement::Failed, "does not reach");
}

#[test]
fn what_is_refused_for_its_reason_passes_and_429_is_a_refusal() {
    let world = world(Mode::Enforce, 100);
    for check in refusals() {
        let reason = check.reason().unwrap();
        let status = if reason == Refusal::CallerNotAllowed { 403 } else { 401 };
        world.gives(check.clone(), refusal(status, reason.public_code()), None, Judgement::Passed, "refused");
        world.gives(check.clone(), refusal(429, "rate_limited"), None, Judgement::Passed, "limit");
        world.gives(check.clone(), refusal(503, "keys_unavailable"), None, Judgement::Failed, "cannot read its keys");
        world.gives(check.clone(), own(404), None, Judgement::Failed, "OPEN");
        world.gives(check.clone(), own(200), None, Judgement::Failed, "OPEN");
        world.gives(check, refusal(502, "connect_failed"), None, Judgement::Failed, "OPEN");
    }
    world.gives(
        Check::WrongCaller(npu()),
        refusal(401, "invalid_credentials"),
        None,
        Judgement::Failed,
        "another key",
    );
    world.gives(Check::Malformed, refusal(400, "malformed_request"), None, Judgement::Passed, "refused");
    world.gives(Check::Malformed, own(400), None, Judgement::Failed, "no sidecar");
}

#[test]
fn without_a_sidecar_everything_that_should_be_refused_is_open_in_every_mode() {
    for mode in [Mode::Log, Mode::Enforce] {
        let world = World { has_sidecar: false, ..world(mode, 100) };
        for check in refusals() {
            world.gives(check, own(404), None, Judgement::Failed, "OPEN");
        }
        world.gives(Check::Signed(npu()), own(404), None, Judgement::Unknown, "no sidecar");
    }
}

#[test]
fn where_refusals_are_not_carried_out_passing_is_no_failure_unless_it_is_expected() {
    for (mode, percentage, word) in [(Mode::Log, 100, "log mode"), (Mode::Enforce, 50, "enforced at 50%")] {
        for check in refusals() {
            let world = world(mode, percentage);
            world.gives(check.clone(), own(404), None, Judgement::Passed, word);
            let strict = World { expect_enforced: true, ..world };
            strict.gives(check.clone(), own(404), None, Judgement::Failed, word);
            let reason = check.reason().unwrap();
            let status = if reason == Refusal::CallerNotAllowed { 403 } else { 401 };
            strict.gives(check, refusal(status, reason.public_code()), None, Judgement::Passed, "refused");
        }
        let (result, words) = world(mode, percentage).judge(Check::Signed(npu()), own(404), None);
        assert_eq!(result, Judgement::Unknown, "{words}");
    }
}

#[test]
fn in_log_mode_what_the_sidecar_judged_counts() {
    let world = world(Mode::Log, 100);
    for check in refusals() {
        let reason = check.reason();
        let as_asked = told(Outcome::WouldRefuse, reason, "service");
        world.gives(check.clone(), own(404), Some(&as_asked), Judgement::Passed, "recorded as would_refuse");
        for (wrong, words) in [
            (told(Outcome::Allow, None, "open"), "the running rules say open"),
            (told(Outcome::Authenticated, None, "service"), "valid call"),
            (told(Outcome::Override, None, "service"), "valid call"),
            (told(Outcome::WouldRefuse, Some(Refusal::MalformedSignature), "service"), "malformed_signature"),
        ] {
            world.gives(check.clone(), own(404), Some(&wrong), Judgement::Failed, words);
        }
    }
    let unknown = told(Outcome::WouldRefuse, Some(Refusal::UnknownService), "service");
    world.gives(Check::WrongSignature(None), own(404), Some(&unknown), Judgement::Passed, "would_refuse");

    let signed = || Check::Signed(npu());
    let good = told(Outcome::Authenticated, None, "service");
    world.gives(signed(), own(404), Some(&good), Judgement::Passed, "let in");
    let replayed = told(Outcome::Authenticated, Some(Refusal::Replayed), "service");
    world.gives(signed(), own(404), Some(&replayed), Judgement::Passed, "let in");
    for (reason, words) in [
        (Refusal::InvalidSignature, "another key of npu-worker"),
        (Refusal::UnknownService, "another key of npu-worker"),
        (Refusal::TimestampOutsideWindow, "clock"),
        (Refusal::CallerNotAllowed, "do not name npu-worker"),
    ] {
        world.gives(
            signed(),
            own(404),
            Some(&told(Outcome::WouldRefuse, Some(reason), "service")),
            Judgement::Failed,
            words,
        );
    }
    world.gives(signed(), own(404), Some(&told(Outcome::Allow, None, "open")), Judgement::Failed, "unproved");
    let guarded = told(Outcome::WouldRefuse, Some(Refusal::MissingSignature), "service");
    world.gives(Check::Exempt, own(404), Some(&guarded), Judgement::Failed, "guarded");
    world.gives(Check::Exempt, own(404), Some(&told(Outcome::Allow, None, "exempt")), Judgement::Passed, "reachable");
}

#[test]
fn a_signed_call_that_is_refused_says_what_most_likely_is_wrong() {
    let world = world(Mode::Enforce, 100);
    let signed = || Check::Signed(npu());
    world.gives(signed(), own(404), None, Judgement::Passed, "let in");
    for (answer, words) in [
        (refusal(401, "invalid_credentials"), "another key of npu-worker, or none"),
        (refusal(401, "timestamp_outside_window"), "clock"),
        (refusal(403, "caller_not_allowed"), "do not name npu-worker"),
        (refusal(503, "keys_unavailable"), "cannot read its keys"),
        (refusal(502, "connect_failed"), "the upstream does not answer"),
        (own(503), "does not reach"),
    ] {
        world.gives(signed(), answer, None, Judgement::Failed, words);
    }
    world.gives(Check::Override, own(404), None, Judgement::Passed, "let in");
    world.gives(Check::Override, refusal(401, "missing_signature"), None, Judgement::Failed, "refused");
}
