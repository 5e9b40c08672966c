//! `countersign override grant|list|revoke`: a way past the checks for an emergency: narrow, short, counted, and on record.

use super::control::{SidecarArgs, sudo_user};
use super::enforce::add;
use super::output::{Answer, CliError, Output, complain};
use crate::config::duration_argument;
use clap::{Args as ClapArgs, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Grants overrides: tokens that let requests pass without a valid signature.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Issue a token for one path, for a while; it is printed once and kept nowhere
    Grant(Grant),
    /// Show which grants are open, by whom and why
    List(List),
    /// End grants at once
    Revoke(Revoke),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  Ten uploads of results, within half an hour:
    countersign override grant --for 30m --path /api/npu/results --method POST --uses 10 --reason \"key lost on VM 22\"
  How it is used:
    curl -H \"X-Override-Token: $TOKEN\" ...

A path is written as in a rule: whole segments, `*` for one of them, `=/path` for that path alone. The token opens a request
only if every way an upstream could read its path is within. The record of each request that passes so names the grant.")]
struct Grant {
    /// How long it lasts, such as 30m; at most 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration_argument)]
    lifetime: Duration,
    /// What it opens: a path as in a rule, and what lies below it
    #[arg(long, value_name = "PATH")]
    path: String,
    /// Only requests of this method [default: any]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// For so many requests [default: as many as are sent]
    #[arg(long, value_name = "N")]
    uses: Option<u64>,
    /// At every sidecar that shares its enforcement with this one; each counts uses for itself
    #[arg(long)]
    fleet: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

#[derive(Debug, ClapArgs)]
struct List {
    #[command(flatten)]
    sidecar: SidecarArgs,
}

#[derive(Debug, ClapArgs)]
struct Revoke {
    /// Which, as `override list` shows them
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,
    /// Every one there is
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Asks the running sidecar.
///
/// # Errors
/// When it refuses, or cannot be reached.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    match args.what {
        What::Grant(args) => grant(args, output),
        What::List(args) => list(&args, output),
        What::Revoke(args) => revoke(&args, output),
    }
}

const GRANTS: &str = "/v1/override/grants";

fn grant(args: Grant, output: &Output) -> Result<Answer, CliError> {
    if args.lifetime.subsec_nanos() != 0 {
        return Err(CliError::Usage("a grant lasts whole seconds".to_owned()));
    }
    let mut body =
        json!({ "path": args.path, "seconds": args.lifetime.as_secs(), "reason": args.reason, "fleet": args.fleet });
    add(&mut body, "method", args.method);
    add(&mut body, "sudo_user", sudo_user());
    if let Some(uses) = args.uses {
        body["uses"] = json!(uses);
    }
    let told = args.sidecar.find()?.done(&Method::POST, GRANTS, Some(&body))?;
    if output.is_json() {
        output.json(&told)?;
    } else {
        output.text(granted(&told))?;
    }
    Ok(durable(&told))
}

fn list(args: &List, output: &Output) -> Result<Answer, CliError> {
    let told = args.sidecar.find()?.done(&Method::GET, GRANTS, None)?;
    if output.is_json() {
        output.json(&told)?;
    } else {
        output.text(listed(&told).trim_end())?;
    }
    Ok(Answer::Done)
}

fn revoke(args: &Revoke, output: &Output) -> Result<Answer, CliError> {
    let sidecar = args.sidecar.find()?;
    let ids = if args.all {
        let told = sidecar.done(&Method::GET, GRANTS, None)?;
        grants(&told).iter().map(|grant| word(&grant["id"])).collect()
    } else {
        args.ids.clone()
    };
    let mut body = json!({});
    add(&mut body, "reason", args.reason.clone());
    add(&mut body, "sudo_user", sudo_user());
    let (mut revoked, mut answer) = (Vec::new(), Answer::Done);
    for id in ids {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(CliError::Usage(format!("`{}` is no id of a grant", id.escape_debug())));
        }
        let answered = sidecar.ask(&Method::DELETE, &format!("{GRANTS}/{id}"), Some(&body))?;
        match answered.status {
            200 => {
                if let Some(trouble) = untold(&answered.body) {
                    complain(&format!("{id} is revoked here, and the rest of the fleet was not told yet: {trouble}"));
                    answer = Answer::No;
                }
                if answered.body["durable"] != true {
                    complain(&format!("{id} is revoked in memory, and not in the file: {}", trouble(&answered.body)));
                    answer = Answer::No;
                }
                revoked.push(answered.body["grant"].clone());
            }
            503 => return Err(CliError::Unreachable(word(&answered.body["detail"]))),
            _ => {
                complain(&format!("{id}: {}", word(&answered.body["detail"])));
                answer = Answer::No;
            }
        }
    }
    if output.is_json() {
        output.json(&json!({ "revoked": revoked }))?;
    } else {
        let lines: Vec<String> = revoked.iter().map(|grant| format!("revoked {}", summary(grant))).collect();
        output.text(if lines.is_empty() { "nothing was revoked".to_owned() } else { lines.join("\n") })?;
    }
    Ok(answer)
}

/// What was made; the token stands here and nowhere else.
fn granted(told: &Value) -> String {
    let grant = &told["grant"];
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10}{value}");
    };
    line("token", word(&told["token"]));
    line("grant", word(&grant["id"]));
    line("opens", opens(grant));
    line("until", format!("{} ({})", word(&grant["expires"]), uses(grant)));
    line("send it", "as the header X-Override-Token; it is shown this once and kept nowhere".to_owned());
    line("end it", format!("countersign override revoke {}", word(&grant["id"])));
    if let Some(trouble) = untold(told) {
        line("NOT TOLD", format!("the rest of the fleet does not know of it yet: {trouble}"));
    }
    if told["durable"] != true {
        line("NOT KEPT", format!("{}; a restart would not know of it", trouble(told)));
    }
    out.trim_end().to_owned()
}

fn listed(told: &Value) -> String {
    let grants = grants(told);
    if grants.is_empty() {
        return "no override is granted".to_owned();
    }
    let mut out = String::new();
    for grant in grants {
        let _ = writeln!(out, "{}", summary(grant));
        let _ = writeln!(out, "    by {}: {}", word(&grant["by"]), word(&grant["reason"]));
    }
    if told["durable"] != true {
        let _ = writeln!(out, "NOT DURABLE: {}; a restart would not know the last changes", trouble(told));
    }
    out
}

/// `0123456789ab  POST /api/npu  until 2026-11-22T16:00:00Z  3 of 10 uses`
pub(super) fn summary(grant: &Value) -> String {
    let state = match grant["state"].as_str() {
        None | Some("open") => String::new(),
        Some(over) => format!("  {}", over.replace('_', " ")),
    };
    let (id, expires) = (word(&grant["id"]), word(&grant["expires"]));
    format!("{id}  {}  until {expires}  {}{state}", opens(grant), uses(grant))
}

fn opens(grant: &Value) -> String {
    format!("{} {}", grant["method"].as_str().unwrap_or("any method"), word(&grant["path"]))
}

fn uses(grant: &Value) -> String {
    let here = if grant["fleet"] == true { "; each sidecar counts for itself" } else { "" };
    match grant["uses"].as_u64() {
        Some(uses) => format!("{} of {uses} uses{here}", grant["used"]),
        None => format!("{} uses, any number{here}", grant["used"]),
    }
}

fn grants(told: &Value) -> &[Value] {
    told["grants"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What would not survive, or did not reach those it is meant for, is no success.
fn durable(told: &Value) -> Answer {
    if told["durable"] == true && untold(told).is_none() { Answer::Done } else { Answer::No }
}

/// Why the rest of the fleet was not told.
fn untold(told: &Value) -> Option<String> {
    let fleet = told["fleet"].as_object()?;
    (fleet["told"] != true).then(|| word(&fleet["trouble"]))
}

fn trouble(told: &Value) -> String {
    told["trouble"].as_str().unwrap_or("it is not known why").to_owned()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
