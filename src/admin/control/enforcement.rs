//! Changes of enforcement: what a request's body says → an order → what came of it.

use super::ControlState;
use super::answer::{Answer, json, refusal};
use super::whole::optional_whole;
use super::{fleet, status};
use crate::admin::orders::{Done, OrderRefused, RampRefusal, Wish};
use crate::policy::enforcement::{Mode, Percentage};
use crate::rollout::state::{MoveRefused, RollbackKind};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// The body of `PUT /v1/enforcement`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnforcementBody {
    mode: Option<String>,
    #[serde(default, deserialize_with = "optional_whole")]
    percentage: Option<u64>,
    rule: Option<Box<str>>,
    #[serde(default)]
    lift: bool,
    reason: Option<String>,
    sudo_user: Option<String>,
}

/// The body of `POST /v1/rollback`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackBody {
    reason: String,
    kind: Option<String>,
    rule: Option<Box<str>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    fleet: bool,
    sudo_user: Option<String>,
}

/// The body of `POST /v1/rollback/lift`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiftBody {
    reason: String,
    sudo_user: Option<String>,
}

/// The body of `POST /v1/reload`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadBody {
    sudo_user: Option<String>,
}

/// Characters of a reason; more tells nobody anything.
const LONGEST_REASON: usize = 500;

pub(super) async fn put(state: &ControlState, uid: u32, body: EnforcementBody) -> Answer {
    let mode = match body.mode.as_deref() {
        None => None,
        Some("log") => Some(Mode::Log),
        Some("enforce") => Some(Mode::Enforce),
        Some(other) => return bad(&format!("`mode` is \"{}\"; it is \"log\" or \"enforce\".", other.escape_debug())),
    };
    let percentage = match body.percentage {
        None => None,
        Some(value) => match u8::try_from(value).ok().and_then(Percentage::new) {
            Some(percentage) => Some(percentage),
            None => return bad(&format!("`percentage` is {value}; it is a whole number from 0 to 100.")),
        },
    };
    if mode.is_none() && percentage.is_none() {
        return bad("Say `mode`, `percentage`, or both.");
    }
    if body.rule.is_some() && mode.is_some() {
        return bad("A rule has a percentage and no mode of its own: leave `mode` out, or `rule`.");
    }
    let why = match reason(body.reason.as_deref().unwrap_or("an operator's word")) {
        Ok(why) => why,
        Err(problem) => return bad(problem),
    };
    let wish = Wish::Enforce { mode, percentage, rule: body.rule, lift: body.lift, why };
    moved(state, who(uid, body.sudo_user.as_deref()), wish).await
}

pub(super) async fn rollback(state: &ControlState, uid: u32, body: RollbackBody) -> Answer {
    let kind = match body.kind.as_deref() {
        None | Some("emergency") => RollbackKind::Emergency,
        Some("standard") => RollbackKind::Standard,
        Some(other) => {
            let other = other.escape_debug();
            return bad(&format!("`kind` is \"{other}\"; it is \"emergency\" or \"standard\"."));
        }
    };
    let why = match reason(&body.reason) {
        Ok(why) => why,
        Err(problem) => return bad(problem),
    };
    let by = who(uid, body.sudo_user.as_deref());
    if body.dry_run {
        return moved(state, by, Wish::Drill { why }).await;
    }
    match change(state, by, Wish::RollBack { kind, rule: body.rule, why }).await {
        Ok(mut told) => {
            told["fleet"] = fleet::reached(state, body.fleet).await;
            json(StatusCode::OK, &told)
        }
        Err(refused) => refused,
    }
}

pub(super) async fn lift(state: &ControlState, uid: u32, body: LiftBody) -> Answer {
    let why = match reason(&body.reason) {
        Ok(why) => why,
        Err(problem) => return bad(problem),
    };
    moved(state, who(uid, body.sudo_user.as_deref()), Wish::Lift { why }).await
}

pub(super) async fn reload(state: &ControlState, uid: u32, body: ReloadBody) -> Answer {
    match state.order(who(uid, body.sudo_user.as_deref()), Wish::Reload).await {
        Some(Ok(Done::Reloaded(reloaded))) => {
            let told = json!({ "generation": reloaded.generation, "needs_restart": reloaded.needs_restart });
            json(StatusCode::OK, &told)
        }
        other => refused(other),
    }
}

/// Asks for a move of enforcement, and tells what came of it.
async fn moved(control: &ControlState, by: Box<str>, wish: Wish) -> Answer {
    match change(control, by, wish).await {
        Ok(told) => json(StatusCode::OK, &told),
        Err(refused) => refused,
    }
}

async fn change(control: &ControlState, by: Box<str>, wish: Wish) -> Result<Value, Answer> {
    match control.order(by, wish).await {
        Some(Ok(Done::Moved { state, before, durable })) => {
            let mut told = status::enforcement(&state, durable.as_ref().err().map(String::as_str));
            told["before"] = json!({
                "mode": before.mode.code(),
                "percentage": before.percentage.value(),
            });
            Ok(told)
        }
        other => Err(refused(other)),
    }
}

/// What was not done, and why.
pub(super) fn refused(answered: Option<Result<Done, OrderRefused>>) -> Answer {
    let refused = match answered {
        None => return refusal(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The sidecar is stopping."),
        Some(Ok(_)) => {
            let detail = "The sidecar did something else than was asked: this is a fault of the program.";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail);
        }
        Some(Err(refused)) => refused,
    };
    let (status, reason) = match &refused {
        OrderRefused::Move(MoveRefused::Held { .. } | MoveRefused::RuleHeld(_)) => (StatusCode::CONFLICT, "held"),
        OrderRefused::Move(MoveRefused::NothingHeld) => (StatusCode::CONFLICT, "nothing_held"),
        OrderRefused::Move(MoveRefused::NoSuchRule(_)) => (StatusCode::NOT_FOUND, "no_such_rule"),
        OrderRefused::RuleWithoutPercentage => (StatusCode::BAD_REQUEST, "bad_request"),
        OrderRefused::Grants(_) => (StatusCode::CONFLICT, "too_many_grants"),
        OrderRefused::NotShared => (StatusCode::CONFLICT, "not_shared"),
        OrderRefused::NoSuchGrant(_) => (StatusCode::NOT_FOUND, "no_such_grant"),
        OrderRefused::Ramp(refused) => match refused {
            RampRefusal::Running(_) | RampRefusal::RunningElsewhere => (StatusCode::CONFLICT, "ramp_running"),
            RampRefusal::NoRamp => (StatusCode::CONFLICT, "no_ramp"),
            RampRefusal::NothingAbove => (StatusCode::CONFLICT, "nothing_above"),
            RampRefusal::NoBaseline(_) => (StatusCode::CONFLICT, "no_baseline"),
            RampRefusal::NoGroups => (StatusCode::BAD_REQUEST, "no_groups"),
            RampRefusal::Ramp(_) => (StatusCode::CONFLICT, "ramp_state"),
        },
        OrderRefused::Reload(_) => (StatusCode::UNPROCESSABLE_ENTITY, "configuration_refused"),
    };
    refusal(status, reason, &refused.to_string())
}

/// Who asks, for the record: what the kernel says, and through whose `sudo`, as far as its environment said.
pub(super) fn who(uid: u32, sudo_user: Option<&str>) -> Box<str> {
    let plain = |user: &&str| {
        (1..=32).contains(&user.len())
            && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match sudo_user.filter(plain) {
        Some(user) => format!("uid:{uid} sudo:{user}").into(),
        None => format!("uid:{uid}").into(),
    }
}

/// A reason that can stand on record: not empty, one line, not endless.
///
/// # Errors
/// What is wrong with it.
pub(super) fn reason(text: &str) -> Result<Box<str>, &'static str> {
    let one_line = text.replace(char::is_control, " ");
    let one_line = one_line.trim();
    if one_line.is_empty() {
        return Err("`reason` is empty: say why, for those who read the record later.");
    }
    Ok(one_line.chars().take(LONGEST_REASON).collect::<String>().into())
}

pub(super) fn bad(detail: &str) -> Answer {
    refusal(StatusCode::BAD_REQUEST, "bad_request", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_what_the_kernel_says_and_a_plain_sudo_user() {
        assert_eq!(&*who(0, Some("alice")), "uid:0 sudo:alice");
        assert_eq!(&*who(1000, None), "uid:1000");
        for odd in ["", "a b", "a\nb", "\"", &"x".repeat(33)] {
            assert_eq!(&*who(0, Some(odd)), "uid:0", "{odd:?}");
        }
    }

    #[test]
    fn a_reason_is_one_line_and_not_empty() {
        assert_eq!(&*reason(" backend\ndown ").unwrap(), "backend down");
        assert_eq!(reason(&"x".repeat(10_000)).unwrap().len(), LONGEST_REASON);
        for empty in ["", "  ", "\n\t", " \u{1b}\0 "] {
            assert!(reason(empty).is_err(), "{empty:?}");
        }
    }
}
