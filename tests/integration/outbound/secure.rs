//! Destinations over TLS and HTTP/2: signed alike, and never reached when they are not who they should be.

use super::super::support::free_address;
use super::super::support::pki::{Authority, Files};
use super::super::support::raw::exchange;
use super::super::support::recorder::Recorder;
use super::super::support::refusal::{assert_own_failure, assert_refused};
use super::super::support::sidecar::{Builder, Sidecar};
use std::net::SocketAddr;

/// A guarded backend over TLS, which proves by its record that a signature came; what it is known by.
struct Secure {
    guard: Sidecar,
    files: Files,
    _backend: Recorder,
}

fn secure() -> Secure {
    let (backend, authority, files) = (Recorder::plain(), Authority::new("destinations'"), Files::new());
    let (cert, key) = files.pair("server", &authority.server());
    files.write("ca.pem", authority.pem());
    files.write("other.pem", Authority::new("another").pem());
    let guard = Builder::guarding(backend.address)
        .set("inbound", "tls", format!("{{ cert = {cert:?}, key = {key:?} }}"))
        .start();
    Secure { guard, files, _backend: backend }
}

/// A whole answer to this request through a signing sidecar.
fn ask(listener: SocketAddr, line: &str, host: &str, id: &str) -> u16 {
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nX-Request-ID: {id}\r\n\r\n");
    exchange(listener, request).status
}

#[test]
fn a_destination_over_tls_is_signed_for_by_plain_calls_to_this_machine() {
    let secure = secure();
    let (port, ca) = (secure.guard.address.port(), secure.files.path("ca.pem"));
    let proxy = free_address();
    let upstream = format!("https://localhost:{port}");
    let sidecar = Builder::signing(&upstream)
        .set("[outbound]", "upstream_tls", format!("{{ ca = {ca:?} }}"))
        .rules(&format!(
            "[[outbound]]\nlisten = \"{proxy}\"\nforward_proxy = true\nallow = [\"{upstream}\"]\nupstream_tls = {{ ca = {ca:?} }}\n"
        ))
        .start();
    let (own, listener) = (sidecar.address.to_string(), sidecar.address);
    assert_eq!(ask(listener, "GET /api/internal/a%2Fb", &own, "tls-1"), 200);
    assert_eq!(ask(proxy, &format!("GET {upstream}/api/internal/a%2Fb"), &format!("localhost:{port}"), "tls-2"), 200);
    for id in ["tls-1", "tls-2"] {
        let record = secure.guard.record(id);
        assert_eq!(
            (&record["outcome"], &record["service"]),
            (&"authenticated".into(), &"npu-worker".into()),
            "{record}"
        );
    }
    // What is listed over TLS is not reached without.
    let plain = format!("GET http://localhost:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert_refused(&exchange(proxy, plain), 403, "host_not_allowed");
}

#[test]
fn a_destination_that_is_somebody_else_gets_no_signature() {
    let secure = secure();
    let ca = secure.files.path("other.pem");
    let sidecar = Builder::signing(&format!("https://localhost:{}", secure.guard.address.port()))
        .set("[outbound]", "upstream_tls", format!("{{ ca = {ca:?} }}"))
        .start_alive();
    let request = format!("GET /api/internal HTTP/1.1\r\nHost: {}\r\n\r\n", sidecar.address);
    assert_eq!(assert_own_failure(&exchange(sidecar.address, request), 502), "upstream_tls");
    assert!(secure.guard.audit().iter().all(|record| record.get("path").is_none()));
}

#[test]
fn a_destination_over_http_2_gets_the_same_signature() {
    let backend = Recorder::plain();
    let guard = Builder::guarding(backend.address).set("inbound", "h2c", "true").start();
    let sidecar = Builder::signing(&format!("http://{}", guard.address));
    let sidecar = sidecar.set("[outbound]", "upstream_http2", "true").start();
    let own = sidecar.address.to_string();
    for (place, target) in
        ["/api/internal/x", "/api/internal/a%2Fb?c=d", "/api/internal/caf%C3%A9"].into_iter().enumerate()
    {
        let id = format!("h2-{place}");
        assert_eq!(ask(sidecar.address, &format!("GET {target}"), &own, &id), 200, "{target}");
        let record = guard.record(&id);
        assert_eq!(
            (&record["outcome"], &record["service"]),
            (&"authenticated".into(), &"npu-worker".into()),
            "{record}"
        );
        assert_eq!(backend.the(&id).target, target);
    }
}
