//! Is the upstream well? By the health check that the configuration names, through the sidecar; else by the sidecar's own word.

use super::client::{Client, Request};
use super::judge::{Judgement, Row, Said};
use super::probing::Probing;
use crate::config::{Health, Inbound, Listen, Upstream};
use crate::request::readings::Readings;
use crate::rules::classify::Class;
use crate::tls::TlsMaterials;
use serde_json::Value;
use std::net::SocketAddr;

const CHECK: &str = "upstream health";

/// One row about it.
pub(super) async fn health(probing: &mut Probing<'_>, announced: bool) -> Row {
    let wishes = probing.wishes();
    let config = &wishes.config;
    let is_service = |health: &&Health| {
        let path = health.path.split('?').next().unwrap_or_default();
        config.rules.classify("GET", &Readings::of(path)).class() == Class::Service
    };
    let check = listener(&config.inbound, wishes.upstream.port).and_then(|inbound| inbound.health.as_ref());
    // A guarded health path is asked by the sidecar itself, behind the guard.
    let Some(check) = check.filter(|health| !is_service(health)) else {
        return match config.admin.listen {
            Some(admin) => readiness(admin, wishes.args.timeout).await,
            None => Row::plain(CHECK, "no check is configured", Judgement::Unknown, "and there is no admin listener"),
        };
    };
    let (_, answer) = probing.send("GET", &check.path, Vec::new(), announced).await;
    let row = |result, status, detail: String| Row {
        status,
        request: Some(format!("GET {}", check.path)),
        ..Row::plain(CHECK, &check.path, result, detail)
    };
    match answer {
        Err(fault) => row(Judgement::Failed, None, fault.to_string()),
        Ok(answer) => match Said::of(&answer) {
            Said::Refusal { status, code } if status >= 500 => {
                row(Judgement::Failed, Some(status), format!("the upstream does not answer ({code})"))
            }
            Said::Refusal { status, code } => {
                row(Judgement::Failed, Some(status), format!("refused with {status} {code}: the path is guarded"))
            }
            Said::Through { status } if status != check.expect => {
                row(Judgement::Failed, Some(status), format!("answered {status}, expected {}", check.expect))
            }
            Said::Through { status } => match missing_member(&answer.body, check) {
                Some(name) => row(
                    Judgement::Failed,
                    Some(status),
                    format!("the member {name:?} of its answer is not as expected"),
                ),
                None => row(Judgement::Passed, Some(status), "as it should be".to_owned()),
            },
        },
    }
}

/// The listener behind this port, or the only one.
fn listener(inbound: &[std::sync::Arc<Inbound>], port: u16) -> Option<&Inbound> {
    let at_port = |inbound: &&std::sync::Arc<Inbound>| match inbound.listen {
        Listen::Tcp(address) => address.port() == port,
        Listen::Systemd(_) | Listen::Unix(_) => false,
    };
    match inbound {
        [one] => Some(one),
        several => several.iter().find(at_port).map(|inbound| &**inbound),
    }
}

fn missing_member(body: &[u8], check: &Health) -> Option<String> {
    let found: Value = serde_json::from_slice(body).unwrap_or_default();
    check.json.iter().find(|(name, value)| found.get(name) != Some(*value)).map(|(name, _)| name.clone())
}

/// What the read-only admin listener says, where it is within reach.
async fn readiness(admin: SocketAddr, patience: std::time::Duration) -> Row {
    let subject = format!("http://{admin}/readyz");
    let client = Client::new(Upstream::http(host(admin), admin.port()), TlsMaterials::default(), patience);
    let request = Request { method: "GET".to_owned(), target: "/readyz".to_owned(), headers: Vec::new() };
    let unknown = |why: String| Row::plain(CHECK, &subject, Judgement::Unknown, why);
    let answer = match client.send(&request).await {
        Ok(answer) => answer,
        Err(fault) => return unknown(format!("no health check is configured, and {fault}")),
    };
    let (result, detail) = match answer.status {
        200 => (Judgement::Passed, "the sidecar says that it is ready".to_owned()),
        503 => (Judgement::Failed, format!("the sidecar is not ready: {}", reasons(&answer.body))),
        status => return unknown(format!("no health check is configured, and the admin listener answers {status}")),
    };
    Row { status: Some(answer.status), ..Row::plain(CHECK, &subject, result, detail) }
}

fn reasons(body: &[u8]) -> String {
    let found: Value = serde_json::from_slice(body).unwrap_or_default();
    let reasons = found.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
    let words = reasons.iter().map(|reason| reason.as_str().map_or_else(|| reason.to_string(), str::to_owned));
    words.collect::<Vec<_>>().join("; ")
}

/// The host of an address that is listened on, as one reaches it from here.
fn host(admin: SocketAddr) -> String {
    match admin {
        SocketAddr::V4(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}
