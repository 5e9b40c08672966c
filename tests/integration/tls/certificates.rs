//! Client certificates: who may connect, and whose calls a service's certificate is asked for.

use super::super::support::pki::{Authority, Leaf};
use super::super::support::raw::exchange;
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::{Builder, RULES, Sidecar};
use super::super::support::tls::{Connector, Version};
use super::super::support::{KEY_A, KEY_B, eventually, free_address, sign};
use super::{Guarded, guarding, run, stdout};

const REQUIRED: &str = ", client_ca = CA";
const OPTIONAL: &str = ", client_ca = CA, client = \"optional\"";
const PATH: &str = "/api/internal/x";

/// The status of a call signed as `npu-worker`, or 0 where there is no connection.
fn signed(connector: &Connector, sidecar: &Sidecar) -> u16 {
    let headers = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    connector.get(sidecar.address, PATH, &headers).unwrap_or(0)
}

fn failed(sidecar: &Sidecar, reason: &str, times: f64) {
    let label = format!("reason=\"{reason}\"");
    eventually(&format!("{times} handshakes failed by {reason}"), || {
        (sidecar.metric("countersign_tls_handshake_failures_total", &[&label]) == times).then_some(())
    });
}

#[test]
fn where_one_is_required_nobody_comes_without_a_good_one() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, REQUIRED);
    let sidecar = tls.builder.start();
    let good = tls.authority.client("npu.internal");
    let foreign = Authority::new("another").client("npu.internal");
    let ended = tls.authority.issue(Leaf { dns: &["npu.internal"], ended: true, ..Leaf::default() });
    let for_servers = tls.authority.issue(Leaf { dns: &["npu.internal"], server_only: true, ..Leaf::default() });
    for version in Version::BOTH {
        let status = |own| Connector::new(&tls.authority, own, &[version]).get(sidecar.address, "/files/x", "").ok();
        assert_eq!(status(Some(&good)), Some(200), "{version:?}");
        assert_eq!(status(None), None, "{version:?}");
        for bad in [&foreign, &ended, &for_servers] {
            assert_eq!(status(Some(bad)), None, "{version:?}");
        }
    }
    failed(&sidecar, "certificate_missing", 2.0);
    failed(&sidecar, "certificate_invalid", 6.0);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn curl_shows_its_certificate() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, REQUIRED);
    let (cert, key) = tls.files.pair("client", &tls.authority.client("npu.internal"));
    let (sidecar, ca) = (tls.builder.start(), tls.files.path("ca.pem"));
    let url = format!("https://localhost:{}/files/x", sidecar.address.port());
    let base = ["-sS", "--cacert", ca.to_str().unwrap(), "-w", " %{http_code}", &url];
    let with = [&base[..], &["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]].concat();
    assert_eq!(stdout(&run("curl", &with)), "ok 200");
    for _ in 0..5 {
        let said = super::both(&run("curl", &base));
        assert!(said.contains("certificate required"), "the client can read why: {said}");
    }
}

#[test]
fn where_one_is_optional_none_is_good_and_a_bad_one_is_not() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, OPTIONAL);
    let sidecar = tls.builder.start();
    let (good, foreign) = (tls.authority.client("npu.internal"), Authority::new("another").client("npu.internal"));
    for (own, expected) in [(None, Some(200)), (Some(&good), Some(200)), (Some(&foreign), None)] {
        let connector = Connector::new(&tls.authority, own, &Version::BOTH);
        assert_eq!(connector.get(sidecar.address, "/files/x", "").ok(), expected);
    }
}

fn bound(more: &str, upstream: &Recorder) -> Guarded {
    let tls = guarding(upstream.address, more);
    Guarded { builder: tls.builder.set("services.npu-worker", "certificate", "\"npu.internal\""), ..tls }
}

#[test]
fn a_service_bound_to_a_certificate_comes_with_it_or_not_at_all() {
    let upstream = Recorder::plain();
    let tls = bound(OPTIONAL, &upstream);
    let sidecar = tls.builder.unlimited().start();
    let names: [(Leaf<'_>, u16); 7] = [
        (Leaf { dns: &["npu.internal"], ..Leaf::default() }, 200),
        (Leaf { dns: &["other.internal", "NPU.internal"], ..Leaf::default() }, 200),
        (Leaf { common: "npu.internal", ..Leaf::default() }, 200),
        (Leaf { common: "npu.internal", dns: &["other.internal"], ..Leaf::default() }, 403),
        (Leaf { dns: &["ai.internal"], ..Leaf::default() }, 403),
        (Leaf { dns: &["*.internal"], ..Leaf::default() }, 403),
        (Leaf { uris: &["spiffe://npu.internal"], ..Leaf::default() }, 403),
    ];
    for (place, (leaf, expected)) in names.into_iter().enumerate() {
        let pair = tls.authority.issue(leaf);
        for version in Version::BOTH {
            let connector = Connector::new(&tls.authority, Some(&pair), &[version]);
            assert_eq!(signed(&connector, &sidecar), expected, "{place} {version:?}");
        }
    }
    let without = Connector::trusting(&tls.authority);
    let mut client = without.connect(sidecar.address);
    let headers = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    client.send(format!("GET {PATH} HTTP/1.1\r\nHost: b\r\nX-Request-ID: without\r\n{headers}\r\n"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.reason().as_str()), (403, "caller_not_allowed"));
    let record = sidecar.record("without");
    assert_eq!(
        (record["reason"].as_str(), record["service"].as_str()),
        (Some("caller_not_allowed"), Some("npu-worker"))
    );
    // A certificate is no signature, and another service needs none.
    assert_eq!(without.get(sidecar.address, PATH, "").unwrap(), 401);
    let other = sign::headers(KEY_B, "ai-stack", "GET", PATH);
    assert_eq!(without.get(sidecar.address, PATH, &other).unwrap(), 200);
}

#[test]
fn a_uri_may_be_the_name_and_a_resumed_session_still_bears_it() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, OPTIONAL);
    let builder = tls.builder.set("services.npu-worker", "certificate", "\"spiffe://fleet/npu\"");
    let sidecar = builder.start();
    let pair = tls.authority.issue(Leaf { uris: &["spiffe://fleet/npu"], ..Leaf::default() });
    for version in Version::BOTH {
        let connector = Connector::new(&tls.authority, Some(&pair), &[version]);
        for _ in 0..3 {
            assert_eq!(signed(&connector, &sidecar), 200, "{version:?}");
        }
    }
    assert_eq!(sidecar.metric("countersign_tls_handshakes_total", &["kind=\"resumed\""]), 4.0);
}

#[test]
fn in_log_mode_a_missing_certificate_is_what_would_be_refused() {
    let upstream = Recorder::plain();
    let tls = bound(OPTIONAL, &upstream);
    let sidecar = tls.builder.log_mode().start();
    assert_eq!(signed(&Connector::trusting(&tls.authority), &sidecar), 200);
    let record = eventually("the record", || sidecar.audit().into_iter().find(|record| record["path"] == PATH));
    assert_eq!(
        (record["outcome"].as_str(), record["reason"].as_str()),
        (Some("would_refuse"), Some("caller_not_allowed"))
    );
}

#[test]
fn a_listener_that_asks_for_none_cannot_know_and_check_says_so() {
    let upstream = Recorder::plain();
    let tls = bound("", &upstream);
    let sidecar = tls.builder.start();
    assert_eq!(signed(&Connector::trusting(&tls.authority), &sidecar), 200);
    let said =
        super::both(&run(env!("CARGO_BIN_EXE_countersign"), &["check", sidecar.config_path().to_str().unwrap()]));
    let told = format!("on {} nothing is asked of `services.npu-worker.certificate`", sidecar.address);
    assert!(said.contains(&told), "{said}");
    // Another that asks does not change what this one lets through.
    let (two, other) = (bound("", &upstream), free_address());
    let file = |name: &str| format!("{:?}", two.files.path(name));
    let more = format!(
        "{RULES}\n[[inbound]]\nlisten = \"{other}\"\nupstream = \"http://{}\"\n\
         tls = {{ cert = {}, key = {}, client_ca = {} }}\n",
        upstream.address,
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
    );
    let both = two.builder.rename("inbound", "[inbound]").rules(&more).start();
    let said = super::both(&run(env!("CARGO_BIN_EXE_countersign"), &["check", both.config_path().to_str().unwrap()]));
    assert!(said.contains(&format!("on {} nothing is asked", both.address)), "{said}");
    assert!(!said.contains(&format!("on {other} nothing")), "{said}");
    // The same service over plain HTTP.
    let plain =
        Builder::guarding(upstream.address).set("services.npu-worker", "certificate", "\"npu.internal\"").start();
    let headers = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: b\r\n{headers}\r\n");
    assert_eq!(exchange(plain.address, request).status, 200);
}

#[test]
fn over_http2_each_stream_bears_its_connections_certificate() {
    let upstream = Recorder::plain();
    let tls = bound(OPTIONAL, &upstream);
    let (cert, key) = tls.files.pair("client", &tls.authority.client("npu.internal"));
    let (sidecar, ca) = (tls.builder.start(), tls.files.path("ca.pem"));
    let url = format!("https://localhost:{}{PATH}", sidecar.address.port());
    let headers = sign::headers(KEY_A, "npu-worker", "GET", PATH);
    let headers: Vec<&str> = headers.trim_end().split("\r\n").flat_map(|line| ["-H", line]).collect();
    let base = [
        "-sS",
        "--http2",
        "--cacert",
        ca.to_str().unwrap(),
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{http_version} ",
    ];
    let twice = [&url[..], "-o", "/dev/null", &url[..]];
    let with = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    assert_eq!(stdout(&run("curl", &[&base[..], &headers, &with, &twice].concat())), "200 2 200 2 ");
    assert_eq!(stdout(&run("curl", &[&base[..], &headers, &twice].concat())), "403 2 403 2 ");
    assert_eq!(sidecar.metric("countersign_tls_handshakes_total", &[]), 2.0, "two requests shared each connection");
    assert_eq!(upstream.requests()[0].fields.all("x-forwarded-proto"), ["https"]);
}

#[test]
fn two_sidecars_know_each_other_by_certificate_and_by_signature() {
    let upstream = Recorder::plain();
    let tls = bound(REQUIRED, &upstream);
    let ca = tls.files.path("ca.pem");
    let guard = tls.builder.start();
    let signing = |name: &str| {
        let (cert, key) = tls.files.pair(name, &tls.authority.client(name));
        Builder::signing(&format!("https://localhost:{}", guard.address.port()))
            .set("[outbound]", "upstream_tls", format!("{{ ca = {ca:?}, cert = {cert:?}, key = {key:?} }}"))
            .start()
    };
    let (npu, other) = (signing("npu.internal"), signing("other.internal"));
    let status = |sidecar: &Sidecar| {
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: {}\r\n\r\n", sidecar.address);
        exchange(sidecar.address, request).status
    };
    assert_eq!([status(&npu), status(&other)], [200, 403], "the same key, from another machine");
    assert_eq!(upstream.the(PATH).fields.all("x-authenticated-service"), ["npu-worker"]);
}
