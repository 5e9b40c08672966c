//! Whatever the rules and the way there, nothing that is sent could do something.

use super::super::support::pki::{Authority, Files};
use super::super::support::raw::get;
use super::announced::{socket, with_socket};
use super::*;

/// A backend whose every POST below `/api` does something, as a catch-all route would.
const POSTS: &str = r#"
[[rule]]
name = "posts"
paths = ["/api/npu/results", "=/api/npu/heartbeat"]
methods = ["POST"]
access = "service"
callers = ["npu-worker"]
[[rule]]
name = "reads"
paths = ["=/api/one", "/api/two/*/three"]
methods = ["GET"]
access = "service"
"#;

#[test]
fn a_rule_for_post_alone_is_asked_without_a_body_where_nothing_is_or_not_at_all() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend).log_mode().rules(POSTS));
    let said = validate(sidecar.address, &sidecar.config_path(), &[]);
    said.all_passed();
    let left_out = said.with("unknown");
    assert!(
        left_out.iter().any(|(_, about, why)| about == "=/api/npu/heartbeat" && why.contains("no method without"))
    );
    let posts: Vec<_> = backend.requests().into_iter().filter(|request| request.method == "POST").collect();
    assert!(!posts.is_empty());
    for request in &posts {
        assert!(request.target.starts_with("/api/npu/results/countersign-validate-"), "{request:?}");
        assert!(request.target.ends_with("/none") && request.body.bytes.is_empty(), "{request:?}");
        assert_eq!(request.fields.one("content-length"), Some("0"), "{request:?}");
    }
    assert!(backend.requests().iter().all(|request| request.target != "/api/npu/heartbeat"));

    let before = backend.requests().len();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--safe-only"]);
    assert_eq!(said.code, Some(0), "{}", said.json);
    let after = backend.requests().split_off(before);
    assert!(after.iter().all(|request| ["GET", "HEAD", "OPTIONS"].contains(&&*request.method)), "{after:?}");
}

#[test]
fn over_tls_it_believes_whom_it_is_told_to_and_shows_what_it_is_asked_for() {
    let backend = backend();
    let (authority, files) = (Authority::new("the tests' own"), Files::new());
    let (cert, key) = files.pair("server", &authority.server());
    let (client_cert, client_key) = files.pair("client", &authority.client("npu-worker"));
    let ca = files.write("ca.pem", authority.pem());
    let tls = format!("{{ cert = {cert:?}, key = {key:?}, client_ca = {ca:?} }}");
    let sidecar = with_socket(guarding(&backend).set("inbound", "tls", tls));
    let url = format!("https://localhost:{}", sidecar.address.port());
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (ca, client_cert, client_key) = (text(&ca), text(&client_cert), text(&client_key));
    let shown = ["--ca", &ca, "--client-cert", &client_cert, "--client-key", &client_key];
    validate_url(&url, &sidecar.config_path(), &shown).all_passed();
    assert_harmless(&backend.requests());
    for arguments in [&["--ca", &*ca][..], &["--client-cert", &client_cert, "--client-key", &client_key]] {
        let said = validate_url(&url, &sidecar.config_path(), arguments);
        assert_eq!(said.code, Some(3), "{arguments:?}: {} {}", said.json, said.stderr);
    }
    // Plain text to a port of TLS: a sidecar answers, and says so.
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off"]);
    assert_ne!(said.code, Some(0), "{}", said.json);
}

#[test]
fn spread_out_everything_is_sent_and_the_limit_is_never_reached() {
    let backend = backend();
    let builder = guarding(&backend).set("enforcement", "rate_limit", "{ failures = 6, window = \"1s\" }");
    let sidecar = builder.start();
    let said = validate(sidecar.address, &sidecar.config_path(), &["--socket", "off", "--spread"]);
    said.all_passed();
    assert!(said.with("unknown").iter().all(|(check, ..)| check == "clock"), "{}", said.json);
    assert_eq!(sidecar.metric("countersign_refusals_total", &["rate_limited"]), 0.0);
    assert_eq!(get(sidecar.address, "/api/internal/x").status, 401);
}

#[test]
fn a_percentage_of_a_rule_is_what_the_sidecar_says_it_is() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend));
    let mut enforce = countersign();
    let set = enforce.args(["enforce", "--rule", "npu", "0%", "--socket"]).arg(socket(&sidecar)).output().unwrap();
    assert!(set.status.success(), "{set:?}");
    let said = validate(sidecar.address, &sidecar.config_path(), &[]);
    said.all_passed();
    for row in said.of("unsigned") {
        let word = if row["about"] == "/api/internal" { "refused" } else { "enforced at 0%: passes, recorded" };
        assert!(row["detail"].as_str().unwrap().starts_with(word), "{row}");
    }
    let strict = validate(sidecar.address, &sidecar.config_path(), &["--expect-enforced"]);
    assert_eq!(strict.code, Some(1), "{}", strict.json);
}

#[test]
fn where_a_second_sight_of_a_signature_is_refused_everything_passes_too() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend).set("signature", "replay", "\"refuse\""));
    for _ in 0..3 {
        validate(sidecar.address, &sidecar.config_path(), &[]).all_passed();
    }
}
