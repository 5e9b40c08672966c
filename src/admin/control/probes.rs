//! Announcements of probes: the secret is handed out here and nowhere else (`policy::probes`). Who may ask is who may use the socket;
//! that somebody did is recorded, with what may come of it.

use super::ControlState;
use super::answer::{Answer, json, refusal};
use super::enforcement::{bad, who};
use super::whole::{optional_whole, whole};
use crate::clock;
use crate::policy::probes::{ProbeId, ProbeToken, ProbeVerdict, USES, VALID};
use crate::telemetry::audit::{Event, StateChange};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The body of `POST /v1/probes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbesBody {
    #[serde(deserialize_with = "whole")]
    uses: u32,
    #[serde(default, deserialize_with = "optional_whole")]
    seconds: Option<u64>,
    sudo_user: Option<String>,
}

/// Hands out a secret for so many probes.
pub(super) fn announce(control: &ControlState, uid: u32, body: &ProbesBody) -> Answer {
    if !(1..=USES).contains(&body.uses) {
        return bad(&format!("`uses` is {}; it is a whole number from 1 to {USES}.", body.uses));
    }
    let longest = VALID.as_secs();
    let seconds = body.seconds.unwrap_or(longest);
    if !(1..=longest).contains(&seconds) {
        return bad(&format!("`seconds` is {seconds}; it is a whole number from 1 to {longest}."));
    }
    let Ok(bytes) = clock::random_bytes::<32>() else {
        let detail = "The kernel has no random bytes to give.";
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "no_random_bytes", detail);
    };
    let token = ProbeToken::from_bytes(&bytes);
    let announced = control.probes.announce(&token, body.uses, Duration::from_secs(seconds), clock::monotonic());
    let id = match announced {
        Ok(ProbeId(id)) => id,
        Err(full) => return refusal(StatusCode::CONFLICT, "too_many", &format!("{full}.")),
    };
    control.audit.state_change(StateChange {
        unix_micros: clock::unix_micros(),
        event: Event::Probe,
        who: who(uid, body.sudo_user.as_deref()).into(),
        why: "probes are announced: they are counted nowhere".to_owned(),
        generation: control.snapshot.load().generation,
        detail: vec![("announcement", id.into()), ("uses", u64::from(body.uses).into()), ("seconds", seconds.into())],
    });
    json(StatusCode::CREATED, &json!({ "id": id, "token": token.reveal(), "uses": body.uses, "seconds": seconds }))
}

/// What the probes of one announcement were judged.
pub(super) fn report(control: &ControlState, id: &str) -> Answer {
    let report = parse(id).and_then(|id| control.probes.report(id, clock::monotonic()));
    let Some(report) = report else { return none() };
    let verdicts: Vec<Value> = report.verdicts.iter().map(verdict).collect();
    json(StatusCode::OK, &json!({ "left": report.left, "seconds": report.valid.as_secs(), "verdicts": verdicts }))
}

/// Ends one before its time.
pub(super) fn end(control: &ControlState, id: &str) -> Answer {
    match parse(id) {
        Some(id) if control.probes.end(id, clock::monotonic()) => json(StatusCode::OK, &json!({ "ended": id.0 })),
        Some(_) | None => none(),
    }
}

fn none() -> Answer {
    refusal(StatusCode::NOT_FOUND, "not_found", "No such announcement is open.")
}

fn parse(id: &str) -> Option<ProbeId> {
    id.parse().ok().map(ProbeId)
}

fn verdict(verdict: &ProbeVerdict) -> Value {
    json!({
        "request_id": verdict.request_id,
        "outcome": verdict.outcome.code(),
        "reason": verdict.reason.map(|reason| reason.code()),
        "class": verdict.class,
        "skew_seconds": verdict.skew_seconds,
    })
}
