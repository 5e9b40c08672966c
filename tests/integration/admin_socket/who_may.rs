//! Who may ask on the admin socket, what is refused, and what is on record of those who asked for a change.

use crate::support::control::{change, connect, exchange, get, socket};
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar, countersign};
use crate::support::{count, eventually, missing, raw};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn sidecar() -> (Recorder, Sidecar) {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    (upstream, sidecar)
}

#[test]
fn the_socket_is_0600_in_a_directory_that_is_made_0700() {
    let upstream = Recorder::plain();
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("made/deep/admin.sock");
    let mut sidecar = Builder::guarding(upstream.address).set("admin", "socket", format!("{socket:?}")).start();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
    assert_eq!(mode(socket.parent().unwrap().parent().unwrap()), 0o700);
    sidecar.process.signal("TERM");
    assert!(sidecar.process.wait().success());
    assert!(!socket.exists(), "it goes with the sidecar");
}

#[test]
fn a_crash_leaves_a_file_that_the_next_start_replaces_and_a_second_sidecar_does_not() {
    let (_upstream, mut sidecar) = sidecar();
    let second = countersign().args(["run", "--config"]).arg(sidecar.config_path()).output().unwrap();
    assert_ne!(second.status.code(), Some(0));
    assert_eq!(get(&sidecar, "/v1/status").status, 200, "the first one still answers");
    sidecar.process.signal("KILL");
    sidecar.process.wait();
    assert!(socket(&sidecar).exists());
    let mut command = countersign();
    command.args(["run", "--config"]).arg(sidecar.config_path());
    sidecar.process = crate::support::process::Process::start(&command);
    eventually("the next one answers", || crate::support::control::try_connect(&socket(&sidecar)));
    assert_eq!(get(&sidecar, "/v1/status").status, 200);
}

#[test]
fn somebody_else_is_refused_even_where_the_files_would_let_them() {
    if !rustix::process::geteuid().is_root() {
        return missing("root, to become somebody else,");
    }
    let upstream = Recorder::plain();
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("admin.sock");
    let sidecar = Builder::guarding(upstream.address).set("admin", "socket", format!("{socket:?}")).start();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(place.path(), 0o755);
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sS", "-i", "--max-time", "10"]);
        command.arg("--unix-socket").arg(&socket).args(arguments).output().unwrap()
    };
    let closed = nobody(&["http://localhost/v1/status"]);
    assert!(!closed.status.success() && closed.stdout.is_empty(), "0600 lets nobody in: {closed:?}");
    open(&socket, 0o666);
    let body = "{\"reason\":\"because I can\"}";
    for arguments in [
        &["http://localhost/v1/status"][..],
        &["http://localhost/v1/openapi.json"][..],
        &["http://localhost/v1/events"][..],
        &["http://localhost/v1/rollback", "-H", "Content-Type: application/json", "-d", body][..],
    ] {
        let refused = nobody(arguments);
        let text = String::from_utf8_lossy(&refused.stdout);
        assert!(text.starts_with("HTTP/1.1 403") && text.contains("not_permitted"), "{arguments:?}: {refused:?}");
        assert!(!text.contains("enforce"), "{text}");
    }
    let stderr = || sidecar.process.stderr.text();
    eventually("it is logged with the uid", || stderr().contains("uid=65534").then_some(()));
    assert!(sidecar.audit().iter().all(|record| record["event"] != "rollback"));
    let status = countersign().args(["status", "--json", "--socket"]).arg(&socket).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"mode\": \"enforce\""), "{status:?}");
}

#[test]
fn what_a_web_page_could_have_caused_is_refused() {
    let (_upstream, sidecar) = sidecar();
    for (headers, status, reason) in [
        ("", 400, "host_unclear"),
        ("Host: localhost\r\nHost: localhost\r\n", 400, "host_unclear"),
        ("Host: evil.example\r\n", 403, "foreign_host"),
        ("Host: 127.0.0.1.evil.example\r\n", 403, "foreign_host"),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403, "foreign_origin"),
        ("Host: localhost\r\nOrigin: null\r\n", 403, "foreign_origin"),
        ("Host: localhost\r\nOrigin: http://localhost:3000\r\n", 403, "foreign_origin"),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403, "foreign_origin"),
        ("Host: localhost\r\nSec-Fetch-Site: same-site\r\n", 403, "foreign_origin"),
    ] {
        for (method, path) in [("GET", "/v1/status"), ("GET", "/v1/events"), ("POST", "/v1/rollback")] {
            let body = "{\"reason\":\"x\"}";
            let request = format!(
                "{method} {path} HTTP/1.1\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = exchange(&sidecar, request);
            assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{method} {path} {headers:?}");
        }
    }
    assert_eq!(exchange(&sidecar, "GET http://localhost/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 400);
    assert_eq!(get(&sidecar, "/v1/enforcement").json()["mode"], "enforce", "nothing was rolled back");
}

#[test]
fn a_body_is_json_says_so_and_is_not_endless() {
    let (_upstream, sidecar) = sidecar();
    let put = |headers: &str, body: &str| {
        let length = body.len();
        exchange(
            &sidecar,
            format!(
                "PUT /v1/enforcement HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            ),
        )
    };
    let good = "{\"mode\":\"log\"}";
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let answer = put(kind, good);
        assert_eq!((answer.status, answer.reason().as_str()), (415, "not_json"), "{kind}");
    }
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    for bad in [
        "",
        "{",
        "[]",
        "null",
        "[\"log\", 50, null, false, null, null]",
        "\"log\"",
        "{\"mode\":\"log\"}{}",
        "{\"mode\":\"log\",\"mode\":\"enforce\"}",
        "{\"mode\":\"log\",\"force\":true}",
        "{\"mode\":\"LOG\"}",
        "{\"mode\":1}",
        "{\"percentage\":101}",
        "{\"percentage\":-1}",
        "{\"percentage\":1.5}",
        "{\"percentage\":\"50\"}",
        "{}",
        "{\"reason\":\"nothing else\"}",
        "{\"rule\":\"internals\"}",
        "{\"rule\":\"internals\",\"mode\":\"log\"}",
        "{\"mode\":\"log\",\"reason\":\"  \"}",
    ] {
        let answer = put(json, bad);
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{bad}: {answer:?}");
    }
    let giant = format!("{{\"mode\":\"log\",\"reason\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(put(json, &giant).status, 413);
    let mut client = connect(&sidecar);
    client
        .send(format!("PUT /v1/enforcement HTTP/1.1\r\nHost: localhost\r\n{json}Transfer-Encoding: chunked\r\n\r\n"));
    for _ in 0..100 {
        client.send(format!("400\r\n{}\r\n", "x".repeat(1024)));
    }
    assert_eq!(client.answer().status, 413, "without a length, too");
    assert_eq!(get(&sidecar, "/v1/enforcement").json()["mode"], "enforce", "nothing was done");
    assert_eq!(put(json, good).status, 200);
}

#[test]
fn a_path_is_there_in_one_spelling_and_with_its_own_methods() {
    let (_upstream, sidecar) = sidecar();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/status",
        "/v1/status/",
        "//v1/status",
        "/v1//status",
        "/v1/./status",
        "/v1/x/../status",
        "/v1/%73tatus",
        "/v1%2fstatus",
        "/V1/status",
        "/v1/status;x",
        "/metrics",
        "/healthz",
    ] {
        let answer = get(&sidecar, path);
        assert_eq!((answer.status, answer.reason().as_str()), (404, "not_found"), "{path}");
    }
    for (method, path, allowed) in [
        ("OPTIONS", "/v1/status", "GET, HEAD"),
        ("POST", "/v1/status", "GET, HEAD"),
        ("DELETE", "/v1/enforcement", "GET, HEAD, PUT"),
        ("GET", "/v1/rollback", "POST"),
        ("HEAD", "/v1/rollback", "POST"),
        ("PATCH", "/v1/reload", "POST"),
    ] {
        let mut client = connect(&sidecar);
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = client.answer_to(method);
        assert_eq!((answer.status, answer.fields.one("allow")), (405, Some(allowed)), "{method} {path}");
    }
    let mut client = connect(&sidecar);
    client.send("HEAD /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = client.answer_to("HEAD");
    assert_eq!((answer.status, answer.fields.one("content-type")), (200, Some("application/json")));
    client.send("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().json()["ready"], true, "no body came before it");
}

#[test]
fn no_other_port_serves_it() {
    let (upstream, sidecar) = sidecar();
    for path in ["/v1/status", "/v1/enforcement", "/v1/explain?method=GET&path=/", "/v1/events", "/v1/openapi.json"] {
        let read_only = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(raw::exchange(sidecar.admin, read_only).status, 404, "{path} on the read-only listener");
        assert_eq!(raw::get(sidecar.address, path).status, 200, "{path} on the guarded port is the upstream's");
    }
    let body = "{\"reason\":\"x\"}";
    let post = format!(
        "POST /v1/rollback HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(raw::exchange(sidecar.admin, &post).status, 405);
    assert_eq!(raw::exchange(sidecar.address, &post).status, 200);
    assert_eq!(upstream.requests().iter().filter(|request| request.target.starts_with("/v1/")).count(), 6);
    assert_eq!(get(&sidecar, "/v1/enforcement").json()["mode"], "enforce");
}

#[test]
fn every_change_is_recorded_with_the_uid_and_with_who_used_sudo() {
    let (_upstream, sidecar) = sidecar();
    let uid = rustix::process::geteuid().as_raw();
    let verb = |verb: &[&str], sudo: Option<&str>| {
        let mut command = countersign();
        command.args(verb).arg("--config").arg(sidecar.config_path()).env_remove("SUDO_USER");
        command.envs(sudo.map(|user| ("SUDO_USER", user)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{verb:?}: {output:?}");
    };
    verb(&["enforce", "25%", "--reason", "one"], Some("alice"));
    verb(&["enforce", "--rule", "internals", "10%", "--reason", "two"], Some("bob; rm -rf /"));
    verb(&["rollback", "--reason", "three"], Some("alice"));
    verb(&["rollback", "--lift", "--reason", "four"], None);
    verb(&["reload"], Some("alice"));
    let change = change(&sidecar, "PUT", "/v1/enforcement", &json!({ "mode": "log", "reason": "five\n\u{1b}[2J" }));
    assert_eq!(change.status, 200);
    let find = |event: &str, why: &str| {
        let records = sidecar.audit();
        let found = records
            .into_iter()
            .find(|record| record["event"] == event && record["why"].as_str().is_some_and(|text| text.contains(why)));
        found.map(|record| record["who"].as_str().unwrap_or_default().to_owned())
    };
    for (event, why, who) in [
        ("mode", "one", format!("uid:{uid} sudo:alice")),
        ("mode", "two", format!("uid:{uid}")),
        ("rollback", "three", format!("uid:{uid} sudo:alice")),
        ("rollback", "four", format!("uid:{uid}")),
        ("reload", "", format!("uid:{uid} sudo:alice")),
        ("mode", "five  [2J", format!("uid:{uid}")),
    ] {
        let recorded = eventually(&format!("{event} {why:?}"), || find(event, why));
        assert_eq!(recorded, who, "{event} {why:?}");
    }
}

#[test]
fn of_changes_at_the_same_time_none_is_lost_and_each_has_its_own_number() {
    let (_upstream, sidecar) = sidecar();
    let first = get(&sidecar, "/v1/enforcement").json()["revision"].as_u64().unwrap();
    let each = count(15, 100) as u64;
    let revisions: Vec<u64> = std::thread::scope(|scope| {
        let operators: Vec<_> = (0..4)
            .map(|operator| {
                let sidecar = &sidecar;
                scope.spawn(move || -> Vec<u64> {
                    (0..each)
                        .map(|n| {
                            let percentage = (operator * 25 + n) % 101;
                            let body = json!({ "percentage": percentage, "reason": format!("{operator} {n}") });
                            let answer = change(sidecar, "PUT", "/v1/enforcement", &body);
                            assert_eq!(answer.status, 200, "{answer:?}");
                            let told: Value = answer.json();
                            assert_eq!(told["durable"], true);
                            told["revision"].as_u64().unwrap()
                        })
                        .collect()
                })
            })
            .collect();
        operators.into_iter().flat_map(|operator| operator.join().unwrap()).collect()
    });
    let all = 4 * each;
    let last = get(&sidecar, "/v1/enforcement").json();
    assert_eq!(last["revision"], first + all);
    assert_eq!(revisions.iter().max(), Some(&(first + all)));
    let moves = || {
        let records = sidecar.audit().into_iter().filter(|record| record["event"] == "mode");
        records.filter_map(|record| record["revision"].as_u64()).collect::<Vec<u64>>()
    };
    let recorded = eventually("a record of each", || Some(moves()).filter(|moves| moves.len() as u64 >= all));
    let expected: Vec<u64> = (first + 1..=first + all).collect();
    assert_eq!(recorded, expected, "in order, each once");
    let stored = std::fs::read_to_string(sidecar.directory.join("state/enforcement.json")).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["revision"], last["revision"], "what is on disk is the last one: {stored}");
}
