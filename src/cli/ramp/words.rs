//! How the ramp stands, in words.

use crate::cli::status::enforcement as enforce_words;
use crate::rollout::baseline::BasisPoints;
use crate::rollout::stage::words;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// `GET /v1/ramp`, or what an order to the ramp answered.
pub(super) fn status(told: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    match told["ramp"].as_object() {
        Some(_) => running(&told["ramp"], told["state"] == "paused", &mut line),
        None => line("ramp", "none runs".to_owned()),
    }
    if let (Some(ended), true) = (told["ended"].as_object(), told["ramp"].is_null()) {
        let word = |name: &str| ended.get(name).and_then(Value::as_str).unwrap_or_default().replace('_', " ");
        line(
            "",
            format!("the last one: {}, by {}: {}", word("how"), word("by"), ended["why"].as_str().unwrap_or("")),
        );
    }
    if told["enforcement"].is_object() {
        enforce_words(&told["enforcement"], &mut line);
    }
    if let Some(seconds) = told["maintenance_seconds"].as_u64() {
        line(
            "MAINTENANCE",
            format!("nothing is judged at this sidecar for another {}", words(Duration::from_secs(seconds))),
        );
    }
    let armed =
        if told["armed"] == true { "rolls back by itself" } else { "alerts only; nothing rolls back by itself" };
    line("triggers", armed.to_owned());
    let baseline = &told["baseline"];
    let seconds = Duration::from_secs(baseline["measured_seconds"].as_u64().unwrap_or(0));
    let rate = BasisPoints(baseline["error_rate_basis_points"].as_u64().unwrap_or(0));
    let enough = if baseline["is_enough"] == true { "" } else { "; TOO LITTLE to start a ramp" };
    line(
        "baseline",
        format!("{} authenticated calls in {} of log mode, {rate} errors{enough}", baseline["calls"], words(seconds)),
    );
    for alert in told["alerts"].as_array().into_iter().flatten() {
        line("ALERT", alert.as_str().unwrap_or_default().to_owned());
    }
    let mut name = "calls";
    for (service, calls) in told["services"].as_object().into_iter().flatten() {
        let count = |what: &str| calls[what].as_u64().unwrap_or(0);
        if count("authenticated") + count("failing") == 0 {
            continue;
        }
        let figures = format!(
            "{service}: {} authenticated, {} failed their checks, {} answered 5xx",
            count("authenticated"),
            count("failing"),
            count("errors")
        );
        line(name, figures);
        name = "";
    }
    out
}

fn running(ramp: &Value, is_paused: bool, line: &mut impl FnMut(&str, String)) {
    let stages = ramp["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<String> = stages.iter().map(stage).collect();
    let how = if is_paused { "PAUSED" } else { "running" };
    line("ramp", format!("{how}, stage {} of {}: {}", ramp["stage"], stages.len(), shown.join("  ")));
    let text = |name: &str| ramp[name].as_str().unwrap_or_default().to_owned();
    let without = if ramp["without_baseline"] == true { ", without a baseline" } else { "" };
    line("", format!("started {} by {}{without}", text("started"), text("started_by")));
    let served = Duration::from_secs(ramp["served_seconds"].as_u64().unwrap_or(0));
    line("healthy for", words(served));
    let mut name = "missing";
    for missing in ramp["missing"].as_array().into_iter().flatten() {
        line(name, missing["text"].as_str().unwrap_or_default().to_owned());
        name = "";
    }
}

fn stage(stage: &Value) -> String {
    let target = stage["target"].as_str().unwrap_or_default();
    match stage["state"].as_str() {
        Some("current") => format!("[{target}]"),
        Some("done") => format!("({target})"),
        _ => target.to_owned(),
    }
}
