//! `/v1/override/grants`: overrides are granted, listed and revoked.
//!
//! A token is made here and leaves with the answer to the one who asked: the control loop, the log, the record and
//! the file only ever see its hash.

use super::ControlState;
use super::answer::{Answer, json, refusal};
use super::enforcement::{bad, reason, refused, who};
use super::whole::{optional_whole, whole};
use crate::admin::orders::{Done, GrantWish, Wish};
use crate::clock;
use crate::policy::grants::{Grant, GrantId, GrantScope, GrantTerms, GrantToken, Standing};
use crate::telemetry::time::rfc3339_seconds;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The body of `POST /v1/override/grants`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantBody {
    path: String,
    method: Option<String>,
    #[serde(deserialize_with = "whole")]
    seconds: u64,
    #[serde(default, deserialize_with = "optional_whole")]
    uses: Option<u64>,
    reason: String,
    #[serde(default)]
    fleet: bool,
    sudo_user: Option<String>,
}

/// The body of `DELETE /v1/override/grants/ID`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    reason: Option<String>,
    sudo_user: Option<String>,
}

pub(super) async fn grant(state: &ControlState, uid: u32, body: GrantBody) -> Answer {
    let by = who(uid, body.sudo_user.as_deref());
    let (token, wish) = match wish(&body, &by) {
        Ok(made) => made,
        Err(problem) => return bad(&problem),
    };
    match state.order(by, Wish::Grants(wish)).await {
        Some(Ok(Done::Grants { grant, durable, shared })) => {
            let told = json!({
                "token": token.reveal(),
                "grant": shown(&grant),
                "durable": durable.is_ok(),
                "trouble": durable.err(),
                "fleet": told_to_fleet(shared.as_ref()),
            });
            json(StatusCode::CREATED, &told)
        }
        other => refused(other),
    }
}

/// A new token, and what is to be granted to whoever has it.
fn wish(body: &GrantBody, by: &str) -> Result<(GrantToken, GrantWish), String> {
    let why = reason(&body.reason)?;
    let scope = GrantScope::new(&body.path, body.method.as_deref()).map_err(|error| error.to_string())?;
    let lifetime = Duration::from_secs(body.seconds);
    let terms = GrantTerms::new(scope, lifetime, body.uses, &why, by, clock::unix_seconds());
    let terms = GrantTerms { fleet: body.fleet, ..terms.map_err(|error| error.to_string())? };
    let no_chance = |error| format!("the kernel gives no random bytes: {error}");
    let token = GrantToken::from_random(&clock::random_bytes().map_err(no_chance)?);
    let id = GrantId::from_random(clock::random_bytes().map_err(no_chance)?);
    let hash = token.hash();
    Ok((token, GrantWish::Grant { id, hash, terms }))
}

pub(super) async fn revoke(state: &ControlState, uid: u32, id: &str, body: RevokeBody) -> Answer {
    let Some(id) = GrantId::parse(id) else { return no_such_grant() };
    let why = match reason(body.reason.as_deref().unwrap_or("an operator's word")) {
        Ok(why) => why,
        Err(problem) => return bad(problem),
    };
    let wish = Wish::Grants(GrantWish::Revoke { id, why });
    match state.order(who(uid, body.sudo_user.as_deref()), wish).await {
        Some(Ok(Done::Grants { grant, durable, shared })) => {
            let mut told = shown(&grant);
            told["state"] = "revoked".into();
            let trouble = durable.as_ref().err();
            let fleet = told_to_fleet(shared.as_ref());
            json(
                StatusCode::OK,
                &json!({ "grant": told, "durable": durable.is_ok(), "trouble": trouble, "fleet": fleet }),
            )
        }
        other => refused(other),
    }
}

/// Was the fleet told? `null` where it does not concern the fleet.
fn told_to_fleet(shared: Option<&Result<(), String>>) -> Value {
    shared.map_or(Value::Null, |told| json!({ "told": told.is_ok(), "trouble": told.as_ref().err() }))
}

fn no_such_grant() -> Answer {
    refusal(StatusCode::NOT_FOUND, "no_such_grant", "There is no override grant of this id.")
}

/// What is granted, for a list of its own and in the status.
pub(super) fn list(state: &ControlState) -> Value {
    let table = std::sync::Arc::clone(&state.snapshot.load().grants);
    let trouble = state.grants.fault();
    json!({
        "open": table.open(clock::unix_seconds(), clock::monotonic()),
        "grants": table.iter().map(|grant| shown(grant)).collect::<Vec<_>>(),
        "durable": trouble.is_none(),
        "trouble": trouble.as_deref(),
        "fleet_trouble": state.grants.fleet_trouble().as_deref(),
    })
}

/// One grant; never its token or its hash.
fn shown(grant: &Grant) -> Value {
    let (terms, now) = (grant.terms(), clock::unix_seconds());
    let state = match grant.standing(now, clock::monotonic()) {
        Standing::Open => "open",
        Standing::Expired => "expired",
        Standing::UsedUp => "used_up",
    };
    json!({
        "id": grant.id().to_string(),
        "path": terms.scope.path().to_string(),
        "method": terms.scope.method(),
        "state": state,
        "created": rfc3339_seconds(terms.created),
        "expires": rfc3339_seconds(terms.expires),
        "seconds_left": terms.expires.saturating_sub(now),
        "uses": terms.uses,
        "used": grant.used(),
        "uses_left": grant.uses_left(),
        "reason": terms.reason,
        "by": terms.by,
        "fleet": terms.fleet,
    })
}
