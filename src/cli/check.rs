//! `check`: every problem of a configuration at once, or what it comes to.
//!
//! Runs the very code that `run` loads with, environment and secrets included, so that what passes here starts there. What is
//! missing because nothing is set up on the machine (a key directory, a secret whose directory is missing too, certificates, the right to
//! make the audit file) is a warning here and an error there: configurations are also checked where they are written. Redis is not
//! asked.

use super::args::ConfigArgs;
use super::output::{Answer, CliError, Output};
use crate::config::check::{self, Loaded, Overrides};
use crate::config::diagnostic::Diagnostics;
use crate::config::env::Environment;
use crate::config::{
    AuditSink, Config, Destination, Inbound, KeySourceKind, Outbound, Redis, RedisServers, ServerTls, Upstream,
};
use crate::keys::KeyTable;
use crate::policy::enforcement::Mode;
use crate::rules::classify::{Access, DefaultAccess};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
The environment counts as it does for `run` (SERVICE_AUTH_ENFORCEMENT_MODE and the like).

Exit codes: 0 the configuration is good (perhaps with warnings), 2 it is not.";

/// `countersign check`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// The same as --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
}

/// Answers the verb.
///
/// # Errors
/// When the configuration is not good, or the answer cannot be printed.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let path = args.file.as_deref().unwrap_or(args.config.path());
    let environment = Environment::of_process();
    match check::examine(Some(path), &environment, &Overrides::default()) {
        Ok(loaded) => {
            if output.is_json() {
                output.json(&summary_json(&loaded, &environment))?;
            } else {
                complain(&loaded.warnings, output);
                output.text(summary(&loaded, &environment))?;
            }
            Ok(Answer::Done)
        }
        Err(problems) => {
            if output.is_json() {
                output.json(&json!({ "ok": false, "problems": problems.to_json() }))?;
            } else {
                complain(&problems, output);
            }
            Ok(Answer::Misconfigured)
        }
    }
}

/// Problems and warnings on standard error, with their number: one can scroll away.
fn complain(problems: &Diagnostics, output: &Output) {
    if problems.is_empty() {
        return;
    }
    let colour = output.is_colourful() && std::io::stderr().is_terminal();
    let (errors, warnings) = problems.count();
    let mut total = String::new();
    for (count, what) in [(errors, "problem"), (warnings, "warning")] {
        if count > 0 {
            let and = if total.is_empty() { "" } else { ", " };
            let _ = write!(total, "{and}{count} {what}{}", if count == 1 { "" } else { "s" });
        }
    }
    // Nowhere to report that standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{}\n\n{total}", problems.render(colour));
}

/// Rules and their paths of one access.
fn rule_counts(config: &Config, access: Access) -> (usize, usize) {
    let of_access = || config.rules.rules().iter().filter(|rule| rule.access == access);
    (of_access().count(), of_access().map(|rule| rule.patterns.len()).sum())
}

fn paths(count: usize) -> String {
    format!("{count} {}", if count == 1 { "path" } else { "paths" })
}

fn summary(loaded: &Loaded, environment: &Environment) -> String {
    let config = &loaded.config;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "\n  {name:<10} {value}");
    };
    if !config.inbound.is_empty() {
        line("mode", mode(config));
    }
    for inbound in &config.inbound {
        line("inbound", guarded(inbound));
    }
    if let Some(service) = config.service.as_ref().filter(|_| !config.outbound.is_empty()) {
        line("signs as", service.id.to_string());
    }
    for outbound in &config.outbound {
        line("outbound", format!("{} -> {}", outbound.listen, towards(outbound)));
    }
    let ((service, guarded), (exempt, free)) =
        (rule_counts(config, Access::Service), rule_counts(config, Access::Exempt));
    let rest = match config.rules.default_access() {
        DefaultAccess::Open => "open",
        DefaultAccess::Service => "service",
    };
    if !config.inbound.is_empty() {
        let (guarded, free) = (paths(guarded), paths(free));
        line(
            "rules",
            format!("{service} service ({guarded}), {exempt} exempt ({free}); what no rule covers: {rest}"),
        );
    }
    let asks_redis = config.keys.sources.contains(&KeySourceKind::Redis);
    line(
        "services",
        match &loaded.keys {
            Some(_) if asks_redis => format!("{} named; Redis was not asked for their keys", config.services.len()),
            Some(keys) => format!("{} named, {} with a key", config.services.len(), keys.len()),
            None => format!("{} named; keys could not be looked at here", config.services.len()),
        },
    );
    line("keys", key_sources(config).join(", then "));
    line("state", config.state_dir.display().to_string());
    line("audit", audit(config));
    line("admin", config.admin.listen.map_or("off".into(), |address| address.to_string()));
    let said = environment.said();
    if !said.is_empty() {
        line("variables", said.join(" "));
    }
    let files: Vec<String> = config.files.iter().map(|file| file.path.display().to_string()).collect();
    format!("{}: good{text}", files.join(", "))
}

fn mode(config: &Config) -> String {
    match config.enforcement.mode {
        Mode::Log => "log: every request passes, what would be refused is recorded".into(),
        Mode::Enforce => format!("enforce, {} of what fails its checks is refused", config.enforcement.percentage),
    }
}

fn urls(upstreams: &[Upstream]) -> Vec<String> {
    upstreams.iter().map(|upstream| format!("{}://{upstream}", upstream.scheme())).collect()
}

fn guarded(inbound: &Inbound) -> String {
    let spoken = match &inbound.tls {
        None => "",
        Some(ServerTls { client_ca: None, .. }) => " over TLS",
        Some(ServerTls { client_required: true, .. }) => " over TLS, with client certificates",
        Some(ServerTls { client_required: false, .. }) => " over TLS, with or without client certificates",
    };
    format!("{}{spoken} -> {}", inbound.listen, urls(inbound.upstreams.all()).join(", "))
}

fn towards(outbound: &Outbound) -> String {
    match &outbound.destination {
        Destination::Upstreams(upstreams) => urls(upstreams.all()).join(", "),
        Destination::ForwardProxy { allow, connect } => {
            let mut text = format!("forward proxy for {}", urls(allow).join(", "));
            if !connect.is_empty() {
                let hosts: Vec<String> = connect.iter().map(ToString::to_string).collect();
                let _ = write!(text, "; tunnels, unsigned, to {}", hosts.join(", "));
            }
            text
        }
    }
}

fn summary_json(loaded: &Loaded, environment: &Environment) -> serde_json::Value {
    let config = &loaded.config;
    let counts = |access| {
        let (rules, paths) = rule_counts(config, access);
        json!({ "rules": rules, "paths": paths })
    };
    let inbound: Vec<_> = config
        .inbound
        .iter()
        .map(|inbound| json!({ "listen": inbound.listen.to_string(), "upstreams": urls(inbound.upstreams.all()) }))
        .collect();
    let outbound: Vec<_> = config.outbound.iter().map(|outbound| outbound_json(outbound)).collect();
    json!({
        "ok": true,
        "files": config.files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>(),
        "mode": match config.enforcement.mode { Mode::Log => "log", Mode::Enforce => "enforce" },
        "percentage": config.enforcement.percentage.value(),
        "inbound": inbound,
        "outbound": outbound,
        "service": config.service.as_ref().map(|service| service.id.as_str()),
        "rules": { "service": counts(Access::Service), "exempt": counts(Access::Exempt) },
        "default_access": match config.rules.default_access() {
            DefaultAccess::Open => "open",
            DefaultAccess::Service => "service",
        },
        "services": config.services.keys().map(|id| id.as_str()).collect::<Vec<_>>(),
        "services_with_keys": loaded.keys.as_ref().map(KeyTable::len),
        "key_sources": key_sources(config),
        "keys_dir": config.keys.dir.display().to_string(),
        "state_dir": config.state_dir.display().to_string(),
        "audit": audit(config),
        "admin": config.admin.listen.map(|address| address.to_string()),
        "variables": environment.said(),
        "warnings": loaded.warnings.to_json(),
    })
}

/// Who is asked for keys, in order.
fn key_sources(config: &Config) -> Vec<String> {
    let keys = &config.keys;
    let one = |source: &KeySourceKind| match (source, &keys.redis) {
        (KeySourceKind::Files, _) => keys.dir.display().to_string(),
        (KeySourceKind::Redis, None) => "redis".to_owned(),
        (KeySourceKind::Redis, Some(redis)) => in_words(redis),
    };
    keys.sources.iter().map(one).collect()
}

fn in_words(redis: &Redis) -> String {
    let list = |servers: &[(String, u16)]| {
        servers.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
    };
    let mut text = match &redis.servers {
        RedisServers::Single((host, port)) => format!("redis {host}:{port}/{}", redis.database),
        RedisServers::Sentinel { master, sentinels } => {
            format!("redis {master}/{} behind the sentinels {}", redis.database, list(sentinels))
        }
        RedisServers::Cluster(nodes) => format!("redis cluster {}", list(nodes)),
    };
    if redis.tls.is_some() {
        text.push_str(" over TLS");
    }
    if let Some(user) = &redis.user {
        let _ = write!(text, " as {user}");
    }
    if redis.password.is_some() {
        text.push_str(" with a password");
    }
    text
}

fn outbound_json(outbound: &Outbound) -> serde_json::Value {
    let listen = outbound.listen.to_string();
    match &outbound.destination {
        Destination::Upstreams(upstreams) => json!({ "listen": listen, "upstreams": urls(upstreams.all()) }),
        Destination::ForwardProxy { allow, connect } => {
            let connect: Vec<String> = connect.iter().map(ToString::to_string).collect();
            json!({ "listen": listen, "forward_proxy": true, "allow": urls(allow), "connect": connect })
        }
    }
}

fn audit(config: &Config) -> String {
    match &config.audit.sink {
        AuditSink::File(path) => path.display().to_string(),
        AuditSink::Stdout => "stdout".into(),
        AuditSink::Journald => "journald".into(),
        AuditSink::None => "nowhere".into(),
    }
}
