//! Each kind of breakage is found, and called by its name.

use super::super::support::redis::{Redis, name};
use super::*;

/// The configuration of a good system, with one thing changed in the file that `validate` reads.
fn changed(sidecar: &Sidecar, change: impl FnOnce(String) -> String) -> std::path::PathBuf {
    let path = sidecar.directory.join("changed.toml");
    std::fs::write(&path, change(sidecar.config())).unwrap();
    path
}

fn off(to: SocketAddr, config: &Path) -> Said {
    validate(to, config, &["--socket", "off"])
}

#[test]
fn an_exempt_path_that_is_guarded_by_mistake() {
    let backend = backend();
    let sidecar = guarding(&backend)
        .unlimited()
        .rules(
            &RULES
                .replace("\"/api/internal\"", "\"/api/internal\", \"/api/chat\"")
                .replace("\"/api/chat\", \"/api/files\"", "\"/api/files\""),
        )
        .start();
    let config = changed(&sidecar, |text| {
        text.replace("\"/api/internal\", \"/api/chat\"", "\"/api/internal\"")
            .replace("\"/health\", \"/api/files\"", "\"/health\", \"/api/chat\", \"/api/files\"")
    });
    let said = off(sidecar.address, &config);
    said.failed_alone(&["exempt path"], "401 missing_signature: it is guarded");
    assert_eq!(said.with("failed")[0].1, "/api/chat");
}

#[test]
fn a_rule_that_is_missing() {
    let backend = backend();
    let sidecar = guarding(&backend).unlimited().rules(&RULES.replace("\"/api/npu/results\", ", "")).start();
    let config = changed(&sidecar, |text| {
        text.replace("paths = [\"/api/npu/heartbeat\"]", "paths = [\"/api/npu/heartbeat\", \"/api/npu/results\"]")
    });
    let said = off(sidecar.address, &config);
    said.failed_alone(&["unsigned"], "OPEN: reaches the upstream, although it is enforced");
    assert_eq!(said.with("failed").iter().map(|row| &*row.1).collect::<Vec<_>>(), ["/api/npu/results"]);
    assert_harmless(&backend.requests());
}

#[test]
fn a_key_that_is_not_the_sidecars() {
    let backend = backend();
    let sidecar = guarding(&backend).unlimited().start();
    let keys = sidecar.directory.join("other-keys");
    std::fs::create_dir(&keys).unwrap();
    write_private(&keys.join("npu-worker.env"), &format!("SERVICE_ID=npu-worker\nSERVICE_KEY={}\n", "c".repeat(64)));
    write_private(&keys.join("ai-stack.env"), &format!("SERVICE_ID=ai-stack\nSERVICE_KEY={KEY_B}\n"));
    let config = changed(&sidecar, |text| text.replace("/keys\"", "/other-keys\""));
    let said = off(sidecar.address, &config);
    said.failed_alone(&["signed"], "invalid_credentials: the sidecar has another key of npu-worker, or none");
    assert!(said.of("signed").iter().any(|row| row["caller"] == "ai-stack" && row["result"] == "passed"));
    // A file that was named counts before those of the configuration.
    let file = sidecar.directory.join("keys/npu-worker.env");
    validate(sidecar.address, &config, &["--socket", "off", "--key-file", file.to_str().unwrap()]).all_passed();
}

#[test]
fn a_caller_the_running_rules_do_not_name() {
    let backend = backend();
    let sidecar = guarding(&backend).unlimited().rules(&RULES.replace("[\"npu-worker\"]", "[\"ai-stack\"]")).start();
    let config = changed(&sidecar, |text| text.replace("callers = [\"ai-stack\"]", "callers = [\"npu-worker\"]"));
    let said = off(sidecar.address, &config);
    said.failed_alone(&["signed", "wrong caller"], "the running rules do not name npu-worker there");
}

#[test]
fn a_key_that_ended_in_redis() {
    let Some(redis) = Redis::start() else { return };
    redis.put("npu-worker", KEY_A);
    redis.put("ai-stack", KEY_B);
    redis.cli(&["EXPIRE", &name("npu-worker"), "7776000"]);
    redis.cli(&["EXPIRE", &name("ai-stack"), "259200"]);
    let backend = backend();
    let sidecar = guarding(&backend)
        .unlimited()
        .set("keys", "redis", format!("{:?}", redis.url()))
        .set("keys", "sources", "[\"redis\"]")
        .set("services.npu-worker", "addresses", "[]")
        .set("services.ai-stack", "addresses", "[]")
        .start();
    let said = off(sidecar.address, &sidecar.config_path());
    said.failed_alone(&["key"], "left, less than 14d");
    redis.delete("ai-stack");
    let said = off(sidecar.address, &sidecar.config_path());
    said.failed_alone(&["key"], "ai-stack has no key");
    assert!(said.of("signed").iter().all(|row| row["caller"] != "ai-stack"), "{}", said.json);
}

#[test]
fn a_clock_that_is_off() {
    let backend = Recorder::with(|exchange| {
        let _ = exchange.body();
        exchange.send("HTTP/1.1 404 X\r\nDate: Sun, 22 Nov 2020 10:00:00 GMT\r\nContent-Length: 0\r\n\r\n");
        super::super::support::recorder::Then::Next
    });
    let sidecar = Builder::guarding(backend.address).unlimited().start();
    let said = off(sidecar.address, &sidecar.config_path());
    said.failed_alone(&["clock"], "must be less than a third of the window (100 s)");
}

#[test]
fn an_upstream_that_is_down() {
    let backend = backend();
    let down = free_address();
    let sidecar =
        guarding(&backend).set("inbound", "upstream", format!("\"http://{down}\"")).unlimited().start_alive();
    let said = off(sidecar.address, &sidecar.config_path());
    said.failed_alone(&["upstream health", "exempt path", "signed"], "the upstream does not answer");
    assert!(said.of("unsigned").iter().all(|row| row["result"] == "passed"), "{}", said.json);
}

#[test]
fn a_sidecar_that_is_down() {
    let backend = backend();
    let sidecar = guarding(&backend).start();
    let nobody = free_address();
    let said = off(nobody, &sidecar.config_path());
    assert_eq!(said.code, Some(3), "{}", said.json);
    assert_eq!(said.json["error"]["kind"], "unreachable");
    assert!(said.stderr.contains(&nobody.to_string()), "{}", said.stderr);
}

#[test]
fn a_backend_without_a_sidecar_is_open_everywhere() {
    let backend = backend();
    let sidecar = guarding(&backend).start();
    let said = off(backend.address, &sidecar.config_path());
    assert_eq!(said.code, Some(1), "{}", said.json);
    for check in ["unsigned", "wrong signature", "old timestamp", "wrong caller", "wrong override"] {
        let rows = said.of(check);
        assert!(!rows.is_empty(), "{check}");
        for row in rows {
            assert_eq!(row["result"], "failed", "{row}");
            assert!(
                row["detail"].as_str().unwrap().starts_with("OPEN: reaches the upstream, and no sidecar"),
                "{row}"
            );
        }
    }
    assert_eq!(said.of("malformed")[0]["result"], "failed");
    assert!(said.of("exempt path").iter().all(|row| row["result"] == "passed"));
    let as_sent = backend.requests();
    assert!(as_sent.iter().all(|request| request.method == "GET" && request.body.bytes.is_empty()), "{as_sent:?}");
}

#[test]
fn a_sidecar_that_holds_no_keys_it_can_read() {
    let backend = backend();
    let sidecar = guarding(&backend)
        .unlimited()
        .set("keys", "redis", format!("\"redis://{}/0\"", free_address()))
        .set("keys", "sources", "[\"redis\"]")
        .start();
    let file = sidecar.directory.join("keys/npu-worker.env");
    let said =
        validate(sidecar.address, &sidecar.config_path(), &["--socket", "off", "--key-file", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{}", said.json);
    assert!(
        said.with("failed").iter().any(|(.., detail)| detail == "the sidecar cannot read its keys"),
        "{}",
        said.json
    );
}
