//! `countersign enforce log|N%`: how much of what fails is refused, from now on.

use super::control::{SidecarArgs, sudo_user};
use super::output::{Answer, CliError, Output};
use super::status;
use clap::Args as ClapArgs;
use hyper::Method;
use serde_json::{Value, json};

/// Switches between log mode and enforcement at a percentage, at once and without a restart.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  Refuse a quarter of what fails its checks:
    countersign enforce 25% --reason \"second stage\"
  Refuse nothing, and go on recording:
    countersign enforce log
  Only one group of rules:
    countersign enforce --rule \"npu internals\" 10%

While a rollback holds, switching on is refused until it is lifted (--lift).")]
pub struct Args {
    /// `log`, or a percentage from 0% to 100%
    #[arg(value_name = "log|N%")]
    target: String,
    /// Only the rules of this name: their percentage; the effective one is the smaller of this and the whole's
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also where a rollback holds: lifts it
    #[arg(long)]
    lift: bool,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Asks for the change and prints what is in force.
///
/// # Errors
/// When the target is none, the sidecar refuses, or cannot be reached.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let mut body = json!({ "lift": args.lift });
    match (args.target.as_str(), &args.rule) {
        ("log", Some(_)) => {
            return Err(CliError::Usage("a rule has no mode of its own; `0%` refuses nothing of it".to_owned()));
        }
        ("log", None) => body["mode"] = json!("log"),
        (target, rule) => {
            body["percentage"] = json!(percentage(target)?);
            if rule.is_none() {
                body["mode"] = json!("enforce");
            }
        }
    }
    add(&mut body, "rule", args.rule);
    add(&mut body, "reason", args.reason);
    add(&mut body, "sudo_user", sudo_user());
    let told = args.sidecar.find()?.done(&Method::PUT, "/v1/enforcement", Some(&body))?;
    show(&told, output)
}

/// `25%` or `25`.
pub(super) fn percentage(text: &str) -> Result<u8, CliError> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u8>().ok().filter(|value| is_plain && *value <= 100).ok_or_else(|| {
        CliError::Usage(format!("`{}` is neither `log` nor a percentage from 0% to 100%", text.escape_debug()))
    })
}

/// Prints what came of a change. What would not survive the process is no success.
pub(super) fn show(told: &Value, output: &Output) -> Result<Answer, CliError> {
    if output.is_json() {
        output.json(told)?;
    } else {
        output.text(status::moved(told))?;
    }
    Ok(if told["durable"] == true { Answer::Done } else { Answer::No })
}

/// Adds what was said.
pub(super) fn add(body: &mut Value, name: &str, value: Option<String>) {
    if let Some(value) = value {
        body[name] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_a_whole_number_up_to_100() {
        assert_eq!(percentage("0%").unwrap(), 0);
        assert_eq!(percentage("25").unwrap(), 25);
        assert_eq!(percentage("100%").unwrap(), 100);
        for wrong in ["", "%", "101%", "-1", "+1", "1.5%", "10%%", "all", "Log", "256", " 10%"] {
            assert!(percentage(wrong).is_err(), "{wrong:?}");
        }
    }
}
