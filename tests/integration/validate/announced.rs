//! Announced probes leave no trace but their own; and no announcement hides what was not announced.

use super::super::support::raw::{get, get_with};
use super::super::support::{eventually, sign};
use super::*;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;

/// Where the sidecar of a [`Builder`] has its socket.
pub(super) fn socket(sidecar: &Sidecar) -> PathBuf {
    sidecar.directory.join("admin.sock")
}

/// Asks the control API as curl does.
fn control(sidecar: &Sidecar, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "-X", method, "-w", "\n%{http_code}", "--unix-socket"]).arg(socket(sidecar));
    if let Some(body) = body {
        curl.args(["-H", "Content-Type: application/json", "-d", body]);
    }
    let output = curl.arg(format!("http://localhost{path}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.trim_end().rsplit_once('\n').unwrap_or_else(|| panic!("no answer: {text:?}"));
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

/// A secret for so many probes, and its announcement's id.
fn announce(sidecar: &Sidecar, uses: u32) -> (String, u64) {
    let (status, body) = control(sidecar, "POST", "/v1/probes", Some(&format!("{{\"uses\": {uses}}}")));
    assert_eq!(status, 201, "{body}");
    (body["token"].as_str().unwrap().to_owned(), body["id"].as_u64().unwrap())
}

pub(super) fn with_socket(builder: Builder) -> Sidecar {
    let sidecar = builder.set("admin", "socket", "\"admin.sock\"");
    sidecar.start()
}

/// The series that a run must leave as they were: all of them, but those of time, memory, connections and of the listener's own
/// doings.
fn figures(sidecar: &Sidecar) -> BTreeMap<String, f64> {
    let counted = |line: &&str| {
        [
            "service_auth_",
            "countersign_requests",
            "countersign_refusals",
            "countersign_wrong_",
            "countersign_overrides",
            "countersign_replayed",
            "countersign_upstream_answers",
            "countersign_own_answers",
            "countersign_exempt",
            "countersign_rollout",
            "countersign_health",
        ]
        .iter()
        .any(|begin| line.starts_with(begin))
    };
    let text = sidecar.metrics();
    let lines = text.lines().filter(counted);
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn announced_probes_are_all_sent_counted_nowhere_and_recorded_as_what_they_are() {
    let backend = backend();
    // The usual failure limit: ten.
    let sidecar = with_socket(guarding(&backend));
    let before = figures(&sidecar);
    assert!(before.len() > 30, "{before:?}");
    for run in 1..=3 {
        let said = validate(sidecar.address, &sidecar.config_path(), &[]);
        said.all_passed();
        assert_eq!(said.json["announced"], true, "{}", said.json);
        assert_eq!(said.json["mode_said_by"], "the sidecar's admin socket");
        assert_eq!(said.with("unknown"), [], "run {run}");
        assert_eq!(said.of("clock")[0]["about"], "against the sidecar", "{}", said.json);
    }
    let changed: Vec<_> =
        figures(&sidecar).into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect();
    let malformed =
        |name: &str| name.contains("unreadable") || name.contains("malformed") || name.contains("status=\"400\"");
    // A head that cannot be read announces nothing: one each run.
    assert!(changed.iter().all(|(name, value)| malformed(name) && *value == 3.0), "{changed:?}");
    assert_eq!(sidecar.metric("countersign_probes_total", &[]), 3.0 * 20.0);

    let probes = |audit: Vec<Value>| audit.into_iter().filter(|record| record["probe"] == true).collect::<Vec<_>>();
    let sent = sidecar.metric("countersign_probes_total", &[]) as usize;
    let records =
        eventually("a record of each", || Some(probes(sidecar.audit())).filter(|records| records.len() == sent));
    let reasons: std::collections::BTreeSet<_> =
        records.iter().filter_map(|record| record["reason"].as_str().map(ToOwned::to_owned)).collect();
    let expected = ["caller_not_allowed", "invalid_signature", "missing_signature", "timestamp_outside_window"];
    assert_eq!(reasons, expected.map(ToOwned::to_owned).into(), "the true ones");
    let announcements: Vec<Value> = sidecar.audit().into_iter().filter(|record| record["event"] == "probe").collect();
    assert_eq!(announcements.len(), 3);
    assert!(announcements[0]["who"].as_str().unwrap().starts_with("uid:"), "{announcements:?}");
    assert_harmless(&backend.requests());

    // The address has all of its ten failures left.
    for place in 0..11 {
        let expected = if place < 10 { 401 } else { 429 };
        assert_eq!(get(sidecar.address, "/api/internal/x").status, expected, "{place}");
    }
    // And where it has none left, what is announced is refused as everything is, and that is no failure.
    validate(sidecar.address, &sidecar.config_path(), &[]).all_passed();
}

#[test]
fn in_log_mode_the_sidecar_says_what_it_would_have_done() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend).log_mode());
    let said = validate(sidecar.address, &sidecar.config_path(), &[]);
    said.all_passed();
    assert_eq!(said.with("unknown"), []);
    assert_eq!(said.of("unsigned")[0]["detail"], "log mode: passes, recorded as would_refuse (missing_signature)");
    assert!(said.of("signed")[0]["detail"].as_str().unwrap().starts_with("let in"));
    assert_harmless(&backend.requests());
    // What the file says is not what is in force any more.
    let switched = countersign().args(["enforce", "100%", "--socket"]).arg(socket(&sidecar)).output().unwrap();
    assert!(switched.status.success(), "{switched:?}");
    let said = validate(sidecar.address, &sidecar.config_path(), &["--expect-enforced"]);
    said.all_passed();
    assert_eq!(said.of("unsigned")[0]["detail"], "refused: missing_signature");
}

#[test]
fn in_log_mode_what_is_broken_is_found_before_it_hurts() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend).log_mode());
    let broken = sidecar
        .config()
        .replace("\"/api/internal\"", "\"/api/chat\"")
        .replace("\"/api/chat\", \"/api/files\"", "\"/api/files\", \"/api/internal\"");
    let config = sidecar.directory.join("wished.toml");
    std::fs::write(&config, broken).unwrap();
    let said = validate(sidecar.address, &config, &[]);
    assert_eq!(said.code, Some(1), "{}", said.json);
    let failed = said.with("failed");
    let has = |check: &str, about: &str, words: &str| {
        failed.iter().any(|(name, of, detail)| name == check && of == about && detail.contains(words))
    };
    assert!(has("exempt path", "/api/internal", "passes by the mode alone: it is guarded"), "{failed:?}");
    assert!(has("unsigned", "/api/chat", "OPEN: reaches the upstream; the running rules say exempt"), "{failed:?}");
}

#[test]
fn a_forged_announcement_hides_nothing() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend));
    let (spent, id) = announce(&sidecar, 1);
    let (ended, other) = announce(&sidecar, 100);
    assert_eq!(
        get_with(sidecar.address, "/api/internal/x", &format!("X-Countersign-Probe: {spent}\r\n")).status,
        401
    );
    assert_eq!(control(&sidecar, "DELETE", &format!("/v1/probes/{other}"), None).0, 200);
    let (open, _) = announce(&sidecar, 100);
    let forged = [
        format!("X-Countersign-Probe: {spent}\r\n"),
        format!("X-Countersign-Probe: {ended}\r\n"),
        format!("X-Countersign-Probe: {open}\r\nX-Countersign-Probe: {open}\r\n"),
        format!("X-Countersign-Probe: {}\r\n", open.to_uppercase()),
        format!("X_Countersign_Probe: {open}\r\n"),
        format!("X-Countersign-Probe: {}\r\n", "0".repeat(64)),
        "X-Countersign-Probe: \r\n".to_owned(),
        format!("X-Countersign-Probe: {id}\r\n"),
        "X-Countersign-Probe: true\r\n".to_owned(),
        format!("X-Override-Token: {open}\r\n"),
    ];
    for headers in &forged {
        assert_eq!(get_with(sidecar.address, "/api/internal/x", headers).status, 401, "{headers}");
    }
    let failed = sidecar.metric("service_auth_attempts_total", &["result=\"failed\""]);
    assert_eq!(failed, forged.len() as f64, "each of them counts");
    assert_eq!(get(sidecar.address, "/api/internal/x").status, 429, "and against the address");
    let honest = sign::headers(KEY_A, "npu-worker", "GET", "/api/npu/results/1");
    let passing = get_with(
        sidecar.address,
        "/api/npu/results/1",
        &format!("{honest}X_Countersign_Probe: {open}\r\nX-Countersign-Probe: {open}\r\n"),
    );
    assert_eq!(passing.status, 404, "judged as any, and let in");
    for request in backend.requests() {
        let head = String::from_utf8_lossy(&request.head).to_ascii_lowercase();
        assert!(!head.contains("probe") && !head.contains(&open), "{head}");
    }
    let (status, report) = control(&sidecar, "GET", &format!("/v1/probes/{id}"), None);
    assert_eq!((status, &report["left"], report["verdicts"].as_array().unwrap().len()), (200, &0.into(), 1));
}

#[test]
fn announcements_are_bounded_and_ask_for_sense() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend));
    for body in [
        "{\"uses\": 0}",
        "{\"uses\": 2001}",
        "{\"uses\": 1, \"seconds\": 0}",
        "{\"uses\": 1, \"seconds\": 601}",
        "{}",
        "{\"uses\": 1, \"x\": 1}",
        "x",
    ] {
        assert_eq!(control(&sidecar, "POST", "/v1/probes", Some(body)).0, 400, "{body}");
    }
    for id in ["", "x", "0", "99", "-1"] {
        assert_eq!(control(&sidecar, "GET", &format!("/v1/probes/{id}"), None).0, 404, "{id}");
        assert_eq!(control(&sidecar, "DELETE", &format!("/v1/probes/{id}"), None).0, 404, "{id}");
    }
    assert_eq!(control(&sidecar, "GET", "/v1/probes", None).0, 405);
    let ids: Vec<u64> = (0..8).map(|_| announce(&sidecar, 1).1).collect();
    let (status, body) = control(&sidecar, "POST", "/v1/probes", Some("{\"uses\": 1}"));
    assert_eq!((status, &body["reason"]), (409, &"too_many".into()));
    assert_eq!(control(&sidecar, "DELETE", &format!("/v1/probes/{}", ids[3]), None).0, 200);
    announce(&sidecar, 1);
}

#[test]
fn a_socket_of_another_sidecar_is_noticed_and_gets_nothing_of_it() {
    let backend = backend();
    let (asked, other) = (guarding(&backend).unlimited().start(), with_socket(guarding(&backend).log_mode()));
    let path = socket(&other);
    let said = validate(asked.address, &asked.config_path(), &["--socket", path.to_str().unwrap()]);
    said.all_passed();
    assert_eq!((&said.json["announced"], &said.json["mode"]), (&false.into(), &"enforce".into()), "not the other's");
    let notes = said.json["notes"].to_string();
    assert!(notes.contains("another sidecar"), "{notes}");
    assert_eq!(other.metric("countersign_probes_total", &[]), 0.0);
    let nobody = validate(asked.address, &asked.config_path(), &["--socket", "/nonexistent/admin.sock"]);
    nobody.all_passed();
    assert!(nobody.json["notes"].to_string().contains("cannot reach the sidecar"), "{}", nobody.json);
}

/// Passes each request on to `to`, and sends each announced one once more by itself.
fn eavesdropper(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let exchange = |head: &[u8]| {
                let mut answer = Vec::new();
                let mut sidecar = std::net::TcpStream::connect(to).unwrap();
                sidecar.write_all(head).unwrap();
                let _ = sidecar.read_to_end(&mut answer);
                answer
            };
            let answer = exchange(&head);
            if String::from_utf8_lossy(&head).contains("X-Countersign-Probe") {
                exchange(&head);
            }
            let _ = stream.write_all(&answer);
        }
    });
    address
}

#[test]
fn who_reads_the_secret_on_its_way_and_uses_it_is_seen() {
    let backend = backend();
    let sidecar = with_socket(guarding(&backend));
    let between = eavesdropper(sidecar.address);
    let said = validate(between, &sidecar.config_path(), &[]);
    assert_eq!(said.code, Some(1), "{} {}", said.json, said.stderr);
    let failed = said.with("failed");
    let seen = failed.iter().find(|(check, ..)| check == "announcement");
    assert!(seen.is_some_and(|(.., detail)| detail.contains("somebody reads along")), "{failed:?}");
}
