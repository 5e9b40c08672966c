//! `GET /v1/status`: how it stands, put together from what others keep; nothing is counted here.

use super::{ControlState, fleet, grants};
use crate::clock;
use crate::config::{Config, Side};
use crate::rollout::state::EnforcementState;
use crate::telemetry::time::rfc3339_seconds;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The whole answer.
pub(super) fn status(control: &ControlState) -> Value {
    let snapshot = control.snapshot.load_full();
    let config = &snapshot.config;
    let trouble = control.standing.trouble();
    let audit = control.audit.counts();
    let now = clock::monotonic();
    let skew = |(id, seconds): (Arc<str>, i32)| (id.to_string(), json!({ "skew_seconds": seconds }));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "uptime_seconds": now.duration_since(control.started).as_secs(),
        "service": config.service.as_ref().map(|service| service.id.as_str()),
        "ready": control.readiness.reasons().is_empty(),
        "reasons": control.readiness.reasons(),
        "enforcement": enforcement(&control.standing.state(), trouble.as_deref().map(String::as_str)),
        "fleet": fleet::shown(control),
        "override_grants": grants::list(control),
        "ramp": *control.ramp.load_full(),
        "configuration": {
            "generation": snapshot.generation,
            "rules": config.rules.rules().len(),
            "last_reload_refused": control.readiness.is_reload_refused(),
            "state_dir": config.state_dir,
            "files": config.files.iter().map(|file| &file.path).collect::<Vec<_>>(),
        },
        "keys": { "services": snapshot.keys.ids().map(|id| id.as_str()).collect::<Vec<_>>(),
                  "unavailable": snapshot.keys.is_unavailable() },
        "listeners": config.sides().map(|side| listener(config, side)).collect::<Vec<_>>(),
        "upstreams": upstreams(control),
        "callers": control.metrics.caller_skews(now).into_iter().map(skew).collect::<Map<_, _>>(),
        "monitoring": { "scraped_seconds_ago": control.metrics.since_scrape(now).map(|ago| ago.as_secs()) },
        "audit": { "queued": audit.queued, "written": audit.written, "dropped": audit.dropped, "lost": audit.lost },
    })
}

/// Enforcement as `status` and every change tell it. `trouble`: why it would not survive the process.
pub(super) fn enforcement(state: &EnforcementState, trouble: Option<&str>) -> Value {
    let rules: Map<String, Value> = state
        .rules
        .iter()
        .map(|(name, rule)| (name.to_string(), json!({ "percentage": rule.percentage.value(), "held": rule.held })))
        .collect();
    let hold = state.hold.as_ref().map(|hold| {
        json!({
            "kind": hold.kind.code(),
            "since": rfc3339_seconds(hold.by.at),
            "by": hold.by.by,
            "reason": hold.by.why,
            "before": { "mode": hold.before.mode.code(), "percentage": hold.before.percentage.value() },
        })
    });
    json!({
        "mode": state.in_force.mode.code(),
        "percentage": state.in_force.percentage.value(),
        "sampling": state.in_force.sampling.code(),
        "rules": rules,
        "since": rfc3339_seconds(state.last.at),
        "by": state.last.by,
        "reason": state.last.why,
        "revision": state.revision,
        "held": state.is_held(),
        "hold": hold,
        "durable": trouble.is_none(),
        "trouble": trouble,
    })
}

fn listener(config: &Config, side: Side) -> Value {
    let upstreams: Vec<String> = config.upstreams(side).iter().map(ToString::to_string).collect();
    let direction = match side {
        Side::Inbound(_) => "inbound",
        Side::Outbound(_) => "outbound",
    };
    json!({ "direction": direction, "listen": config.listen(side).to_string(), "upstreams": upstreams })
}

fn upstreams(control: &ControlState) -> Vec<Value> {
    control
        .readiness
        .upstreams()
        .map(|upstream| {
            let why = upstream.down().map(|down| down.why.clone());
            json!({ "upstream": upstream.name(), "state": upstream.state().code(), "why": why })
        })
        .collect()
}
