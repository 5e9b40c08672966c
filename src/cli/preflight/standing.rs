//! What does the running sidecar say? `GET /v1/status` → [`Standing`], and what the other figures need of it.

use crate::cli::control::{Sidecar, SidecarArgs};
use crate::config::{Config, Side};
use crate::policy::enforcement::Mode;
use crate::rollout::gates::figures::{Baseline, Fact, Standing, UpstreamIs};
use crate::telemetry::time::parse_rfc3339;
use hyper::Method;
use serde_json::Value;
use std::path::PathBuf;

/// An answer.
pub(super) struct Asked {
    pub(super) socket: PathBuf,
    pub(super) standing: Standing,
    pub(super) mode: Mode,
    /// When the last move was made, microseconds since the epoch.
    pub(super) moved: Option<u64>,
}

/// Asks; or why there is no answer.
pub(super) fn ask(args: &SidecarArgs, config: &Config) -> Fact<Asked> {
    let socket = args.socket.clone().or_else(|| config.admin.socket.path().map(ToOwned::to_owned));
    let Some(socket) = socket else {
        return Err("the sidecar has no control API: `socket = \"off\"` under [admin]".to_owned());
    };
    let sidecar = Sidecar { socket: socket.clone(), state_dir: config.state_dir.clone() };
    let status =
        sidecar.done(&Method::GET, "/v1/status", None).map_err(|error| error.to_string().replace('\n', "; "))?;
    understood(&status, config, socket).ok_or_else(|| "the sidecar answers in words of another version".to_owned())
}

fn understood(status: &Value, config: &Config, socket: PathBuf) -> Option<Asked> {
    let (enforcement, audit) = (&status["enforcement"], &status["audit"]);
    let mode = [Mode::Log, Mode::Enforce].into_iter().find(|mode| enforcement["mode"] == mode.code())?;
    let percentage = |value: &Value| u8::try_from(value.as_u64()?).ok();
    let hold = &enforcement["hold"];
    let held = match (hold.as_object(), enforcement["held"].as_bool()?) {
        (Some(_), _) => {
            Some(format!("since {}, by {}: {}", word(&hold["since"]), word(&hold["by"]), word(&hold["reason"])))
        }
        (None, true) => Some("rules are held by one".to_owned()),
        (None, false) => None,
    };
    let rules = enforcement["rules"].as_object()?;
    let below = rules.iter().filter_map(|(name, rule)| Some((name.clone(), percentage(&rule["percentage"])?)));
    let configured = config.rules.rules().iter().filter(|rule| !rules.contains_key(&*rule.name));
    let configured = configured.filter_map(|rule| Some((rule.name.to_string(), rule.enforce?.value())));
    let mut below: Vec<(String, u8)> = below.chain(configured).filter(|(_, percentage)| *percentage < 100).collect();
    below.sort();
    below.dedup();
    let baseline = &status["ramp"]["baseline"];
    let is_ready = status["ready"].as_bool()?;
    let reasons = || status["reasons"].as_array().into_iter().flatten().map(word).collect::<Vec<_>>();
    let standing = Standing {
        not_ready: match (is_ready, reasons()) {
            (true, _) => Vec::new(),
            (false, none) if none.is_empty() => vec!["it is not, and does not say why".to_owned()],
            (false, reasons) => reasons,
        },
        upstreams: upstreams(status, config)?,
        reload_refused: status["configuration"]["last_reload_refused"].as_bool()?,
        not_durable: enforcement["trouble"].as_str().map(str::to_owned),
        records_lost: audit["dropped"].as_u64()? + audit["lost"].as_u64()?,
        held,
        scraped: status["monitoring"]["scraped_seconds_ago"].as_u64(),
        alerts: status["ramp"]["alerts"].as_array()?.iter().map(word).collect(),
        baseline: Baseline {
            calls: baseline["calls"].as_u64()?,
            seconds: baseline["measured_seconds"].as_u64()?,
            is_enough: baseline["is_enough"].as_bool()?,
        },
        enforces: mode == Mode::Enforce,
        percentage: percentage(&enforcement["percentage"])?,
        below,
    };
    let moved = enforcement["since"].as_str().and_then(parse_rfc3339);
    Some(Asked { socket, standing, mode, moved })
}

/// Those of inbound listeners, by the sidecar's list of all.
fn upstreams(status: &Value, config: &Config) -> Option<Vec<(String, UpstreamIs)>> {
    let said = status["upstreams"].as_array()?;
    let inbound = config.sides().filter(|side| matches!(side, Side::Inbound(_)));
    let names = inbound.flat_map(|side| config.upstreams(side)).map(ToString::to_string);
    let state = |name: String| {
        let found = said.iter().find(|upstream| upstream["upstream"] == name.as_str());
        let state = match found.and_then(|upstream| upstream["state"].as_str()) {
            Some("up") => UpstreamIs::Up,
            Some("down") => UpstreamIs::Down(found.map(|upstream| word(&upstream["why"])).unwrap_or_default()),
            Some(_) | None => UpstreamIs::Unknown,
        };
        (name, state)
    };
    Some(names.map(state).collect())
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
