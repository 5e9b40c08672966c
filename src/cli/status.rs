//! `countersign status`: how does the running sidecar stand?

use super::control::SidecarArgs;
use super::output::{Answer, CliError, Output};
use super::override_grants;
use crate::clock;
use clap::Args as ClapArgs;
use hyper::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Shows what is in force, since when, by whom and why; listeners, upstreams, keys and records.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 it is ready, 1 it runs and is not ready, 3 it cannot be reached.")]
pub struct Args {
    /// The sidecars that share its state: is the same in force everywhere? Exit code 1 where it is not
    #[arg(long)]
    fleet: bool,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Asks and prints.
///
/// # Errors
/// When the sidecar cannot be reached.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let sidecar = args.sidecar.find()?;
    let mut status = sidecar.done(&Method::GET, "/v1/status", None)?;
    if args.fleet {
        // What the others say of themselves is up to a second old.
        let until = clock::monotonic() + A_MOMENT;
        while status["fleet"]["shared"] == true && !is_whole(&status["fleet"]) && clock::monotonic() < until {
            std::thread::sleep(AGAIN);
            status = sidecar.done(&Method::GET, "/v1/status", None)?;
        }
        return of_fleet(&status, output);
    }
    if output.is_json() {
        output.json(&status)?;
    } else {
        output.text(text(&status).trim_end())?;
    }
    Ok(if status["ready"] == true { Answer::Done } else { Answer::No })
}

/// Is the same in force everywhere?
fn of_fleet(status: &Value, output: &Output) -> Result<Answer, CliError> {
    let shared = &status["fleet"];
    if shared["shared"] != true {
        return Err(CliError::Failed(
            "this sidecar shares its state with nobody: `shared = true` under [enforcement] would".to_owned(),
        ));
    }
    if output.is_json() {
        output.json(&json!({ "enforcement": status["enforcement"], "fleet": shared }))?;
    } else {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<14}{value}");
        };
        line("this sidecar", word(&shared["name"]));
        enforcement(&status["enforcement"], &mut line);
        fleet(shared, &mut line);
        output.text(out.trim_end())?;
    }
    Ok(if is_whole(shared) { Answer::Done } else { Answer::No })
}

fn is_whole(fleet: &Value) -> bool {
    list(&fleet["not_reached"]).is_empty() && fleet["published"] == true && fleet["trouble"].is_null()
}

/// How long `--fleet` waits for the others to say the same.
const A_MOMENT: Duration = Duration::from_millis(1500);
const AGAIN: Duration = Duration::from_millis(100);

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
    if status["fleet"]["shared"] == true {
        fleet(&status["fleet"], &mut line);
    }
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
    for (service, caller) in status["callers"].as_object().into_iter().flatten() {
        line("caller", format!("{service}, its clock is {} s off", caller["skew_seconds"]));
    }
    line(
        "monitoring",
        match status["monitoring"]["scraped_seconds_ago"].as_u64() {
            Some(ago) => format!("/metrics was read {ago} s ago"),
            None => "nobody has read /metrics since the start".to_owned(),
        },
    );
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

/// Those that share the state, one line each.
pub(super) fn fleet(fleet: &Value, line: &mut impl FnMut(&str, String)) {
    let others = list(&fleet["sidecars"]);
    for sidecar in others {
        let (mode, percentage) = (word(&sidecar["mode"]), &sidecar["percentage"]);
        let held = if sidecar["held"] == true { ", held" } else { "" };
        let heard = format!("heard {} s ago", sidecar["heard_seconds_ago"]);
        let (title, what) = match sidecar["state"].as_str() {
            Some("reached") => ("reached", "the same is in force there".to_owned()),
            Some("behind") => ("NOT REACHED", format!("there: {mode} at {percentage} %{held}; {heard}")),
            _ => ("NOT REACHED", format!("it is silent: {heard}, with {mode} at {percentage} %{held}")),
        };
        let listens: Vec<String> = list(&sidecar["listens"]).iter().map(word).collect();
        line(title, format!("{} ({}): {what}", word(&sidecar["name"]), listens.join(", ")));
    }
    if fleet["drives_ramp"] == true {
        line("ramp", "this sidecar drives it".to_owned());
    }
    if let Some(driver) = fleet["ramp_driver"].as_str() {
        line("ramp", format!("{driver} drives it: nothing advances from here"));
    }
    if others.is_empty() {
        line("fleet", "no other sidecar shares this state".to_owned());
    }
    if fleet["published"] == false {
        line("NOT PUBLISHED", "redis does not hold what is in force here yet: the others do not know it".to_owned());
    }
    if let Some(trouble) = fleet["trouble"].as_str() {
        line("TROUBLE", trouble.to_owned());
    }
    if let Some(times) = fleet["rejected"].as_u64().filter(|times| *times > 0) {
        line("REJECTED", format!("{times} times something in redis was not written with this fleet key"));
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
