//! Records for the tests of everything that carries them.

use super::*;

/// Every field is there.
pub(crate) fn full() -> AuditRecord<'static> {
    AuditRecord {
        unix_micros: 1_763_778_660_123_456,
        request_id: "r1",
        direction: Direction::Inbound,
        outcome: Outcome::WouldRefuse,
        reason: Some("rate_limited"),
        cause: Some("invalid_signature"),
        fault: Some("bare_lf"),
        class: Some(Class::Service),
        rule: Some("npu internals"),
        service: Some("npu-worker"),
        claimed_service: Some("ai-stack"),
        scheme: Some("hmac-v1"),
        grant: GrantId::parse("0123456789ab"),
        skew_seconds: Some(-3),
        method: Some("POST"),
        path: Some(b"/api/npu/results/1"),
        client: "172.16.168.22",
        upstream: None,
        mode: Some(Mode::Enforce),
        percentage: Some(25),
        status: Some(200),
        own_us: 41,
        upstream_us: Some(1_250),
        generation: 7,
        probe: true,
    }
}

/// Only what must be there.
pub(crate) fn bare() -> AuditRecord<'static> {
    AuditRecord {
        unix_micros: 1_763_778_660_123_457,
        request_id: "r2",
        direction: Direction::Inbound,
        outcome: Outcome::Allow,
        reason: None,
        cause: None,
        fault: None,
        class: None,
        rule: None,
        service: None,
        claimed_service: None,
        scheme: None,
        grant: None,
        skew_seconds: None,
        method: None,
        path: None,
        client: "::1",
        upstream: None,
        mode: Some(Mode::Log),
        percentage: Some(100),
        status: None,
        own_us: 0,
        upstream_us: None,
        generation: 1,
        probe: false,
    }
}

/// A request that left, signed.
pub(crate) fn outbound() -> AuditRecord<'static> {
    AuditRecord {
        request_id: "r3",
        direction: Direction::Outbound,
        service: Some("npu-worker"),
        scheme: Some("hmac-v1"),
        method: Some("POST"),
        path: Some(b"/api/npu/results/1"),
        client: "unix:1000",
        upstream: Some("172.16.168.20:8001"),
        mode: None,
        percentage: None,
        status: Some(200),
        own_us: 30,
        upstream_us: Some(1_250),
        ..bare()
    }
}

/// A change of state.
pub(crate) fn change() -> StateChange {
    StateChange {
        unix_micros: 1_763_778_660_000_000,
        event: Event::Reload,
        who: "signal".to_owned(),
        why: "SIGHUP".to_owned(),
        generation: 8,
        detail: vec![("file", "/etc/countersign/countersign.toml".into()), ("rules", 17.into())],
    }
}
