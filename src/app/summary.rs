//! What the sidecar says of itself: at start in the log, to the service manager in one line, and on record with every
//! change of state.

use crate::config::diagnostic::Diagnostics;
use crate::config::{Config, Destination, Inbound, Outbound, Side, Upstream};
use crate::policy::enforcement::{Mode, Sampling};
use crate::rules::classify::Access;
use crate::snapshot::Snapshot;
use crate::telemetry::audit::Fact;
use crate::wire::splice;
use std::net::SocketAddr;

/// The line that `systemctl status` shows.
pub fn status(snapshot: &Snapshot) -> String {
    let enforcement = snapshot.enforcement;
    let config = &snapshot.config;
    let doing = match enforcement.mode {
        // Mode and percentage are about guarding.
        _ if config.inbound.is_empty() => "signing".to_owned(),
        Mode::Log => "mode log: nothing is refused".to_owned(),
        Mode::Enforce => format!("mode enforce at {}", enforcement.percentage),
    };
    let guarded = config.inbound.iter().map(|inbound| guards(inbound));
    let all: Vec<String> = guarded.chain(config.outbound.iter().map(|outbound| signs(outbound))).collect();
    let granted = match snapshot.grants.iter().len() {
        0 => String::new(),
        1 => "; 1 override grant is open".to_owned(),
        some => format!("; {some} override grants are open"),
    };
    format!("{doing}; {}; generation {}{granted}", all.join(", "), snapshot.generation)
}

/// Facts of a snapshot for the record of a change of state.
pub fn facts(snapshot: &Snapshot) -> Vec<(&'static str, Fact)> {
    vec![
        ("in_force_mode", mode(snapshot.enforcement.mode).into()),
        ("in_force_percentage", u64::from(snapshot.enforcement.percentage.value()).into()),
        ("rules", (snapshot.config.rules.rules().len() as u64).into()),
        ("services_with_keys", (snapshot.keys.len() as u64).into()),
    ]
}

/// Says at start what is guarded, by what, and how strictly. `bound`: the TCP addresses that are listened on.
pub fn log_start(snapshot: &Snapshot, bound: &[(Side, SocketAddr)], descriptors: Option<u64>) {
    let (config, enforcement) = (&snapshot.config, snapshot.enforcement);
    for (place, inbound) in config.inbound.iter().enumerate() {
        tracing::info!(
            listen = listen(config, Side::Inbound(place), bound),
            upstream = upstream(inbound),
            "guarding"
        );
    }
    if let Some(signer) = &snapshot.signer {
        for (place, outbound) in config.outbound.iter().enumerate() {
            tracing::info!(
                listen = listen(config, Side::Outbound(place), bound),
                upstream = destination(outbound),
                service = signer.id.as_str(),
                fingerprint = %signer.key.fingerprint(),
                "signing"
            );
        }
    }
    let rules = config.rules.rules();
    let service = rules.iter().filter(|rule| rule.access == Access::Service).count();
    let guards = !config.inbound.is_empty();
    tracing::info!(
        mode = guards.then_some(mode(enforcement.mode)),
        percentage = guards.then_some(enforcement.percentage.value()),
        sampling = guards.then_some(sampling(enforcement.sampling)),
        service_rules = service,
        exempt_rules = rules.len() - service,
        services_with_keys = snapshot.keys.ids().count(),
        override_token = config.override_token.is_some(),
        window_seconds = config.signature.window_seconds,
        workers = config.workers,
        generation = snapshot.generation,
        "in force"
    );
    match enforcement.mode {
        _ if config.inbound.is_empty() => {}
        Mode::Log => tracing::info!("mode log: every request passes, what would be refused is recorded"),
        Mode::Enforce if enforcement.percentage.value() == 0 => {
            tracing::warn!("mode enforce at 0%: every request passes, what would be refused is recorded");
        }
        Mode::Enforce => {}
    }
    for rule in rules {
        for caller in rule.callers.iter().flatten() {
            // While their source is out of reach nobody knows who has one.
            if !snapshot.keys.is_unavailable() && snapshot.keys.ids().all(|id| id != caller) {
                tracing::warn!(rule = &*rule.name, caller = caller.as_str(), "a rule names a caller that has no key");
            }
        }
    }
    if let Some(descriptors) = descriptors {
        // One per connection, one upstream for each request in flight; some are for files, workers, the log.
        let each = config.limits.connections + config.limits.upstream_requests;
        let needed = (each + config.workers * splice::DESCRIPTORS) as u64 + 128;
        if descriptors < needed {
            tracing::warn!(
                descriptors,
                needed,
                "the limit of open descriptors is lower than [limits].connections may need: raise LimitNOFILE, or lower it"
            );
        }
    }
}

/// Where a listener is reached: what was bound, for port 0 and sockets of the service manager too.
fn listen(config: &Config, side: Side, bound: &[(Side, SocketAddr)]) -> String {
    let addresses: Vec<String> =
        bound.iter().filter(|(other, _)| *other == side).map(|(_, address)| address.to_string()).collect();
    if addresses.is_empty() { config.listen(side).to_string() } else { addresses.join(" ") }
}

/// Says what a person should look at.
pub fn log_warnings(warnings: &Diagnostics) {
    for warning in warnings.iter() {
        let fix = warning.fix.as_deref().unwrap_or_default();
        tracing::warn!(place = %warning.place, problem = warning.message, fix, "in the configuration");
    }
}

/// The word for a mode, as in the configuration.
pub const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Log => "log",
        Mode::Enforce => "enforce",
    }
}

const fn sampling(sampling: Sampling) -> &'static str {
    match sampling {
        Sampling::Call => "call",
        Sampling::Caller => "caller",
        Sampling::Random => "random",
    }
}

fn guards(inbound: &Inbound) -> String {
    format!("{} guards {}", inbound.listen, upstream(inbound))
}

fn signs(outbound: &Outbound) -> String {
    format!("{} signs for {}", outbound.listen, destination(outbound))
}

fn upstream(inbound: &Inbound) -> String {
    urls(inbound.upstreams.all())
}

fn destination(outbound: &Outbound) -> String {
    match &outbound.destination {
        Destination::Upstreams(upstreams) => urls(upstreams.all()),
        Destination::ForwardProxy { allow, .. } => urls(allow),
    }
}

fn urls(upstreams: &[Upstream]) -> String {
    upstreams.iter().map(|one| format!("{}://{one}", one.scheme())).collect::<Vec<_>>().join(", ")
}
