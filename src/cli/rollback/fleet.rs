//! Whom a rollback reached, in words. Loud where it did not reach somebody.

use super::super::enforce;
use super::super::output::{Answer, CliError, Output};
use super::super::status;
use serde_json::Value;
use std::fmt::Write as _;

/// Prints what came of a rollback. `whole`: the whole fleet was meant; then it is no success where somebody was not reached.
pub(super) fn show(told: &Value, whole: bool, output: &Output) -> Result<Answer, CliError> {
    let missed = told["fleet"]["not_reached"].as_array().is_some_and(|names| !names.is_empty());
    let alone = whole && told["fleet"]["shared"] != true;
    let unpublished = told["fleet"]["published"] == false;
    if output.is_json() {
        enforce::show(told, output)?;
    } else {
        let reach = text(&told["fleet"], whole);
        output.text(format!("{}\n{reach}", status::moved(told)).trim_end())?;
    }
    let good = told["durable"] == true && !(whole && (missed || alone || unpublished));
    Ok(if good { Answer::Done } else { Answer::No })
}

/// The lines about others; `whole`: also where there are none, or nothing is shared.
pub(super) fn text(fleet: &Value, whole: bool) -> String {
    let mut out = String::new();
    let names: Vec<&str> = fleet["not_reached"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    if fleet["shared"] != true {
        if !names.is_empty() {
            line("NOT REACHED", names.join(", "));
        }
        if whole || !names.is_empty() {
            line("", "this sidecar alone was rolled back: its state is not shared ([enforcement].shared)".to_owned());
        }
        return out;
    }
    status::fleet(fleet, &mut line);
    out
}
