//! `countersign status`: how does the running sidecar stand?

use super::control::SidecarArgs;
use super::output::{Answer, CliError, Output};
use super::override_grants;
use clap::Args as ClapArgs;
use hyper::Method;
use serde_json::Value;
use std::fmt::Write as _;

/// Shows what is in force, since when, by whom and why; listeners, upstreams, keys and records.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 it is ready, 1 it runs and is not ready, 3 it cannot be reached.")]
pub struct Args {
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Asks and prints.
///
/// # Errors
/// When the sidecar cannot be reached.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let status = args.sidecar.find()?.done(&Method::GET, "/v1/status", None)?;
    if output.is_json() {
        output.json(&status)?;
    } else {
        output.text(text(&status).trim_end())?;
    }
    Ok(if status["ready"] == true { Answer::Done } else { Answer::No })
}

fn text(status: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    line(
        "sidecar",
        format!("countersign {}, process {}, up {}", word(&status["version"]), status["process"], up(status)),
    );
    if let Some(service) = status["service"].as_str() {
        line("service", service.to_owned());
    }
    line("ready", if status["ready"] == true { "yes".to_owned() } else { "NO".to_owned() });
    for reason in list(&status["reasons"]) {
        line("", word(reason));
    }
    enforcement(&status["enforcement"], &mut line);
    for grant in list(&status["override_grants"]["grants"]) {
        line("OVERRIDE", override_grants::summary(grant));
    }
    let configuration = &status["configuration"];
    line("configuration", format!("generation {}, {} rules", configuration["generation"], configuration["rules"]));
    if configuration["last_reload_refused"] == true {
        line("", "the last reload was refused; the log says why".to_owned());
    }
    for listener in list(&status["listeners"]) {
        let to: Vec<String> = list(&listener["upstreams"]).iter().map(word).collect();
        line(&word(&listener["direction"]), format!("{} -> {}", word(&listener["listen"]), to.join(", ")));
    }
    for upstream in list(&status["upstreams"]) {
        let why = upstream["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        line("upstream", format!("{} is {}{why}", word(&upstream["upstream"]), word(&upstream["state"])));
    }
    let services: Vec<String> = list(&status["keys"]["services"]).iter().map(word).collect();
    line("keys", if services.is_empty() { "none".to_owned() } else { services.join(", ") });
    let audit = &status["audit"];
    line(
        "records",
        format!(
            "{} written, {} queued, {} dropped, {} lost",
            audit["written"], audit["queued"], audit["dropped"], audit["lost"]
        ),
    );
    out
}

/// What is in force, as every command that changes it shows it too.
pub(super) fn enforcement(state: &Value, line: &mut impl FnMut(&str, String)) {
    let what = match (state["mode"].as_str(), &state["percentage"]) {
        (Some("log"), percentage) => format!("log: nothing is refused (percentage {percentage} for later)"),
        (_, percentage) => format!("enforce at {percentage} %"),
    };
    line("enforcement", what);
    let (since, by, why) = (word(&state["since"]), word(&state["by"]), word(&state["reason"]));
    line("", format!("since {since}, by {by}: {why}"));
    for (name, rule) in state["rules"].as_object().into_iter().flatten() {
        let held = if rule["held"] == true { ", held by a rollback" } else { "" };
        line("", format!("rule \"{name}\" at {} %{held}", rule["percentage"]));
    }
    if let Some(hold) = state["hold"].as_object() {
        line(
            "HELD",
            format!(
                "by a rollback ({}) since {}, by {}: {}; lift it with `countersign rollback --lift --reason \"...\"`",
                word(&hold["kind"]),
                word(&hold["since"]),
                word(&hold["by"]),
                word(&hold["reason"])
            ),
        );
    }
    if let Some(trouble) = state["trouble"].as_str() {
        line("NOT DURABLE", format!("{trouble}; it would not survive the process"));
    }
}

/// What was in force and what is, after a change.
pub(super) fn moved(told: &Value) -> String {
    let mut out = String::new();
    enforcement(told, &mut |name, value| {
        let _ = writeln!(out, "{name:<14}{value}");
    });
    let before = &told["before"];
    let _ = write!(out, "{:<14}{} at {} %", "before", word(&before["mode"]), before["percentage"]);
    out
}

fn up(status: &Value) -> String {
    let seconds = status["uptime_seconds"].as_u64().unwrap_or_default();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
