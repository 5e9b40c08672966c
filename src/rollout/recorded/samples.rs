//! Records for the tests of this module: short to write, each with only what matters.

use super::Seen;
use super::peers::Peers;
use crate::policy::decision::Outcome;
use crate::rules::classify::Class;

/// An authenticated call of `npu-worker` from its address, at microsecond 1.
pub(crate) const GOOD: Seen<'static> = Seen {
    unix_micros: 1,
    outcome: Outcome::Authenticated,
    reason: None,
    cause: None,
    class: Some(Class::Service),
    rule: Some("npu"),
    service: Some("npu-worker"),
    claimed: Some("npu-worker"),
    grant: None,
    skew_seconds: Some(0),
    method: Some("POST"),
    path: Some("/api/npu/results"),
    client: "10.0.0.22",
    status: Some(200),
    upstream_answered: true,
};

/// An unsigned call that log mode let pass, from there.
pub(crate) fn unsigned(client: &'static str) -> Seen<'static> {
    Seen {
        outcome: Outcome::WouldRefuse,
        reason: Some("missing_signature"),
        service: None,
        claimed: None,
        skew_seconds: None,
        client,
        ..GOOD
    }
}

/// `npu-worker` at 10.0.0.22, `ai-stack` in 10.0.24.0/24 and `frontend` nowhere; and what these calls prove.
pub(crate) fn peers<'s>(calls: impl IntoIterator<Item = &'s Seen<'s>>) -> Peers {
    let mut peers = Peers::default();
    peers.configure("npu-worker", &["10.0.0.22/32".parse().unwrap()]);
    peers.configure("ai-stack", &["10.0.24.0/24".parse().unwrap()]);
    peers.configure("frontend", &[]);
    calls.into_iter().for_each(|seen| peers.learn(seen));
    peers
}
