//! The ramp: what a request's body says → an order → how it stands then; and the plan, which changes nothing.

use super::ControlState;
use super::answer::{Answer, json};
use super::enforcement::{bad, reason, refused, who};
use super::query::Query;
use super::whole::whole;
use crate::admin::orders::{Done, RampWish, StartRamp, Wish};
use crate::rollout::stage::{self, By};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The body of `POST /v1/ramp/start`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StartBody {
    groups: bool,
    restart: bool,
    lift: bool,
    without_baseline: bool,
    reason: Option<String>,
    sudo_user: Option<String>,
}

/// The body of `POST /v1/ramp/pause`, `resume`, `advance`, `abort`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SteerBody {
    reason: Option<String>,
    sudo_user: Option<String>,
}

/// The body of `POST /v1/maintenance`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaintenanceBody {
    #[serde(deserialize_with = "whole")]
    seconds: u64,
    reason: Option<String>,
    sudo_user: Option<String>,
}

/// Longer is no maintenance: judgement was switched off and forgotten.
pub(crate) const LONGEST_MAINTENANCE: u64 = 86_400;

const NO_REASON: &str = "an operator's word";

pub(super) async fn start(control: &ControlState, uid: u32, body: StartBody) -> Answer {
    let why = match reason(body.reason.as_deref().unwrap_or(NO_REASON)) {
        Ok(why) => why,
        Err(problem) => return bad(problem),
    };
    let start = StartRamp {
        by: if body.groups { By::Group } else { By::Percentage },
        restart: body.restart,
        lift: body.lift,
        without_baseline: body.without_baseline,
        why,
    };
    order(control, who(uid, body.sudo_user.as_deref()), RampWish::Start(start)).await
}

/// What a ramp that runs can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steer {
    Pause,
    Resume,
    Advance,
    Abort,
}

pub(super) async fn steer(control: &ControlState, uid: u32, steer: Steer, body: SteerBody) -> Answer {
    if steer == Steer::Advance && body.reason.is_none() {
        return bad("Say why, in `reason`: a stage that has not shown itself healthy is left on somebody's word.");
    }
    let why = match reason(body.reason.as_deref().unwrap_or(NO_REASON)) {
        Ok(why) => why,
        Err(problem) => return bad(problem),
    };
    let wish = match steer {
        Steer::Pause => RampWish::Pause { why },
        Steer::Resume => RampWish::Resume { why },
        Steer::Advance => RampWish::Advance { why },
        Steer::Abort => RampWish::Abort { why },
    };
    order(control, who(uid, body.sudo_user.as_deref()), wish).await
}

pub(super) async fn maintenance(control: &ControlState, uid: u32, body: MaintenanceBody) -> Answer {
    if body.seconds > LONGEST_MAINTENANCE {
        return bad("`seconds` is at most 86400, a day; 0 ends maintenance.");
    }
    let why = match reason(body.reason.as_deref().unwrap_or(NO_REASON)) {
        Ok(why) => why,
        Err(problem) => return bad(problem),
    };
    let wish = RampWish::Maintenance { lasts: Duration::from_secs(body.seconds), why };
    order(control, who(uid, body.sudo_user.as_deref()), wish).await
}

async fn order(control: &ControlState, by: Box<str>, wish: RampWish) -> Answer {
    match control.order(by, Wish::Ramp(wish)).await {
        Some(Ok(Done::Ramp { shown, durable })) => {
            let state = control.standing.state();
            let mut told = serde_json::to_value(&*shown).unwrap_or_default();
            told["enforcement"] = super::status::enforcement(&state, durable.as_ref().err().map(String::as_str));
            told["durable"] = durable.is_ok().into();
            json(StatusCode::OK, &told)
        }
        other => refused(other),
    }
}

/// What a ramp that starts now would do, and when. `query`: `groups`, `restart`.
pub(super) fn plan(control: &ControlState, query: Option<&str>) -> Answer {
    let said = Query::read(query, &["groups", "restart"])
        .and_then(|query| Ok((query.is_said("groups")?, query.is_said("restart")?)));
    let (by, restart) = match said {
        Ok((groups, restart)) => (if groups { By::Group } else { By::Percentage }, restart),
        Err(problem) => return bad(&problem),
    };
    let snapshot = control.snapshot.load_full();
    let config = &snapshot.config;
    let stages = match by {
        By::Percentage => &config.ramp.stages,
        By::Group => &config.ramp.groups,
    };
    let state = control.standing.state();
    let first = stage::first(stages, &state, &config.rules, restart);
    let mut after = Some(0_u64);
    let planned: Vec<Value> = stages
        .iter()
        .enumerate()
        .map(|(index, stage)| {
            let is_left_out = first.is_none_or(|first| index < first);
            let begins = if is_left_out { None } else { after };
            if !is_left_out {
                after = after.and_then(|after| Some(after + stage.lasts?.as_secs()));
            }
            let percentage = match &stage.target {
                stage::Target::Percentage(percentage) => Some(percentage.value()),
                stage::Target::Group(_) => None,
            };
            json!({
                "target": stage.target.to_string(), "percentage": percentage,
                "lasts_seconds": stage.lasts.map(|lasts| lasts.as_secs()),
                "left_out": is_left_out, "begins_after_seconds": begins,
            })
        })
        .collect();
    let when = &config.ramp.when;
    json(
        StatusCode::OK,
        &json!({
            "by": by, "stages": planned, "starts_at": first.map(|first| first + 1),
            "enforcement": super::status::enforcement(&state, None),
            "rollback_when": {
                "service_failure_rate": when.service_failure_rate.value(),
                "error_rate_factor": f64::from(when.error_rate_factor.0) / 100.0,
                "upstream_down_seconds": when.upstream_down.as_secs(),
                "min_requests": when.min_requests, "always": when.always, "scope": when.scope.code(),
            },
            "baseline": control.ramp.load().baseline,
        }),
    )
}
