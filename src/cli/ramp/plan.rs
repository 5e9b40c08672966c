//! `countersign ramp plan`: which stage when, and who would be refused at each.
//!
//! Who is refused at a percentage is no guess: sampling is stable, so that the draw of every refusal in the audit log can be made again, with
//! the salt of this sidecar. At a stage a call is refused if its draw falls below it. Where `sampling = "random"`, it is a share of them.
//! Only what was judged by the same rules counts: what an edit has mended is still in the log, so look at the time it was last seen.

use super::ahead::{self, Ahead};
use crate::cli::control::SidecarArgs;
use crate::cli::output::{Answer, CliError, Output};
use crate::rollout::stage::words;
use clap::Args as ClapArgs;
use hyper::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// One group of rules after the other (`[ramp].groups`), instead of percentages
    #[arg(long)]
    groups: bool,
    /// Begin at the first stage, also where more is in force
    #[arg(long)]
    restart: bool,
    /// How much of the audit log is looked at
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = crate::config::duration_argument)]
    since: Duration,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

pub(super) fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let mut path = "/v1/ramp/plan?".to_owned();
    for (said, word) in [(args.groups, "groups"), (args.restart, "restart")] {
        if said {
            path.push_str(word);
            path.push('&');
        }
    }
    let sidecar = args.sidecar.find()?;
    let mut plan = sidecar.done(&Method::GET, path.trim_end_matches(['?', '&']), None)?;
    let ahead = ahead::read(&args.sidecar.config, &sidecar.state_dir, args.since, &plan);
    match &ahead {
        Ok(ahead) => add(&mut plan, ahead),
        Err(why) => plan["refusals_unknown"] = json!(why),
    }
    if output.is_json() {
        output.json(&plan)?;
    } else {
        output.text(text(&plan).trim_end())?;
    }
    Ok(if plan["starts_at"].is_null() { Answer::No } else { Answer::Done })
}

/// Of each stage: whom it would refuse, and how often.
fn add(plan: &mut Value, ahead: &[Ahead]) {
    let mut reached: Vec<String> = Vec::new();
    for stage in plan["stages"].as_array_mut().into_iter().flatten() {
        let percentage = stage["percentage"].as_u64().and_then(|percentage| u8::try_from(percentage).ok());
        if percentage.is_none() {
            reached.push(stage["target"].as_str().unwrap_or_default().to_owned());
        }
        let refused = ahead.iter().filter_map(|ahead| {
            let count = match percentage {
                Some(percentage) => ahead.refused_at(percentage),
                None if reached.contains(&ahead.rule) => ahead.refused_at(100),
                None => 0,
            };
            (count > 0).then(|| {
                json!({
                    "caller": ahead.caller, "rule": ahead.rule, "reason": ahead.reason, "refused": count,
                    "of": ahead.count(), "last_seen": ahead.last_seen,
                })
            })
        });
        stage["refused"] = refused.collect();
    }
}

fn text(plan: &Value) -> String {
    let mut out = String::new();
    let _ = match plan["starts_at"].as_u64() {
        Some(_) => writeln!(out, "{:<12}{:<10}{:<10}would be refused, by the audit log", "after", "stage", "lasts"),
        None => writeln!(out, "no stage is above what is in force (--restart begins at the first one)"),
    };
    for stage in plan["stages"].as_array().into_iter().flatten() {
        let duration = |name: &str| stage[name].as_u64().map(|seconds| words(Duration::from_secs(seconds)));
        let after = match stage["left_out"] == true {
            true => "in force".to_owned(),
            false => duration("begins_after_seconds").unwrap_or_default(),
        };
        let target = stage["target"].as_str().unwrap_or_default();
        let lasts = duration("lasts_seconds").unwrap_or_else(|| "-".to_owned());
        let refused = stage["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
        let first = if plan["refusals_unknown"].is_string() {
            "?".to_owned()
        } else if refused.is_empty() {
            "nobody".to_owned()
        } else {
            String::new()
        };
        let mut begin = format!("{after:<12}{target:<10}{lasts:<10}");
        if !first.is_empty() {
            let _ = writeln!(out, "{begin}{first}");
        }
        for who in refused.iter().take(SHOWN) {
            let word = |name: &str| who[name].as_str().unwrap_or_default().to_owned();
            let (refused, of) = (&who["refused"], &who["of"]);
            let _ = writeln!(
                out,
                "{begin}{}: {refused} of {of} under {} ({})",
                word("caller"),
                word("rule"),
                word("reason")
            );
            begin = " ".repeat(32);
        }
        if refused.len() > SHOWN {
            let _ = writeln!(out, "{begin}and {} more (--json shows all)", refused.len() - SHOWN);
        }
    }
    if let Some(why) = plan["refusals_unknown"].as_str() {
        let _ = writeln!(out, "who would be refused is not known: {why}");
    }
    let baseline = &plan["baseline"];
    if baseline["is_enough"] != true {
        let _ =
            writeln!(out, "too little was measured in log mode to start: {} authenticated calls", baseline["calls"]);
    }
    out
}

/// Lines for a stage.
const SHOWN: usize = 10;
