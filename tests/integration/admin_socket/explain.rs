//! `explain --live` and `GET /v1/explain`: the running sidecar tells what it would do now, and does that.

use crate::support::control::{change, get};
use crate::support::recorder::Recorder;
use crate::support::sidecar::{Builder, Sidecar, countersign};
use crate::support::{KEY_A, eventually, raw, sign};
use serde_json::{Value, json};
use std::process::Output;

fn run(sidecar: &Sidecar, arguments: &[&str]) -> Output {
    countersign().args(["explain", "--config"]).arg(sidecar.config_path()).args(arguments).output().unwrap()
}

#[track_caller]
fn live(sidecar: &Sidecar, arguments: &[&str]) -> Value {
    let output = run(sidecar, &[&["--live", "--json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn it_tells_what_is_in_force_now_and_not_what_the_file_says() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    assert_eq!(live(&sidecar, &["GET", "/api/internal"])["unsigned"]["status"], 401);
    assert_eq!(raw::get(sidecar.address, "/api/internal").status, 401);

    let body = json!({ "percentage": 0, "rule": "internals", "reason": "a drill" });
    assert_eq!(change(&sidecar, "PUT", "/v1/enforcement", &body).status, 200);
    let told = live(&sidecar, &["GET", "/api/internal"]);
    assert_eq!((&told["unsigned"]["outcome"], &told["percentage"]), (&"would_refuse".into(), &0.into()));
    assert_eq!((&told["rules"][0]["set"], &told["global_percentage"]), (&0.into(), &100.into()));
    assert_eq!(raw::get(sidecar.address, "/api/internal").status, 200);
    assert_eq!(live(&sidecar, &["GET", "/api/npu/results"])["unsigned"]["status"], 401, "the other rule");

    let body = json!({ "reason": "the backend is down" });
    assert_eq!(change(&sidecar, "POST", "/v1/rollback", &body).status, 200);
    let told = live(&sidecar, &["GET", "/api/npu/results"]);
    assert_eq!((&told["mode"], &told["unsigned"]["outcome"]), (&"log".into(), &"would_refuse".into()));
    assert_eq!(told["live"]["hold"]["reason"], "the backend is down");
    assert_eq!(raw::get(sidecar.address, "/api/npu/results").status, 200);
    let text = String::from_utf8(run(&sidecar, &["--live", "GET", "/api/npu/results"]).stdout).unwrap();
    for part in
        ["by         the running sidecar", "held       by a rollback (emergency)", "the backend is down", "log, 100%"]
    {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let offline = run(&sidecar, &["--json", "GET", "/api/npu/results"]);
    let offline: Value = serde_json::from_slice(&offline.stdout).unwrap();
    assert_eq!((&offline["mode"], &offline["live"]), (&"enforce".into(), &Value::Null), "the file's word");
}

#[test]
fn it_goes_by_the_configuration_that_is_loaded_even_when_the_file_is_broken() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let before = live(&sidecar, &["GET", "/api/chat"]);
    assert_eq!((&before["class"], &before["live"]["generation"]), (&"exempt".into(), &1.into()));
    let config = sidecar.config().replace("\"/api/chat\", ", "");
    std::fs::write(sidecar.config_path(), config).unwrap();
    eventually("the new rules are loaded", || {
        let told = get(&sidecar, "/v1/explain?method=GET&path=/api/chat").json();
        (told["class"] == "open").then(|| assert_eq!(told["live"]["generation"], 2))
    });
    std::fs::write(sidecar.config_path(), "nonsense = 1\n").unwrap();
    let socket = sidecar.directory.join("state/admin.sock");
    let output =
        countersign().args(["explain", "--live", "--socket"]).arg(socket).args(["GET", "/api/chat"]).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("generation 2"), "{output:?}");
}

#[test]
fn whether_a_service_may_call_is_the_exit_code() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for (caller, path, code) in
        [("npu-worker", "/api/npu/results", 0), ("ai-stack", "/api/npu/results", 1), ("ai-stack", "/api/internal", 0)]
    {
        let output = run(&sidecar, &["--live", "--as", caller, "POST", path]);
        assert_eq!(output.status.code(), Some(code), "{caller} {path}: {output:?}");
    }
    let signed = sign::headers(KEY_A, "npu-worker", "POST", "/api/npu/results");
    let request = format!("POST /api/npu/results HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{signed}\r\n");
    assert_eq!(raw::exchange(sidecar.address, request).status, 200);
    let output = run(&sidecar, &["--live", "--as", "npu-worker", "GET", "/a b"]);
    assert_eq!(output.status.code(), Some(1), "a request that cannot be read: {output:?}");
}

#[test]
fn every_path_arrives_as_it_was_asked() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let long = format!("/api/{}", "a%2F".repeat(3000));
    for path in ["/api/chat/..%2finternal/x", "/a&b=c+d?e=%20", "/api/internal%0a", "/caf\u{e9}", "", "/a#b", &long] {
        let offline = run(&sidecar, &["--json", "GET", path]);
        let mut offline: Value = serde_json::from_slice(&offline.stdout).unwrap();
        let mut running = live(&sidecar, &["GET", path]);
        offline["live"].take();
        running["live"].take();
        assert_eq!(offline, running, "{path}");
    }
}

#[test]
fn a_question_that_cannot_be_answered_says_why() {
    let upstream = Recorder::plain();
    let mut sidecar = Builder::guarding(upstream.address).start();
    for (query, told) in [
        ("", "Say `method` and `path`"),
        ("?method=GET", "Say `method` and `path`"),
        ("?method=GET&path=/a&path=/b", "`path` is said twice"),
        ("?method=GET&path=/a&verbose=1", "`verbose` is no question here"),
        ("?method=GET&path=/a&as=a%20b", "`as` is no service id"),
        ("?method=GET&path=%zz", "not percent-encoded"),
    ] {
        let answer = get(&sidecar, &format!("/v1/explain{query}"));
        assert_eq!((answer.status, answer.reason()), (400, "bad_request".to_owned()), "{query}");
        assert!(answer.text().contains(told), "{query}: {answer:?}");
    }
    let split = get(&sidecar, "/v1/explain?method=GET&path=/api/chat%20HTTP/1.1%0d%0aX:%20/api/internal").json();
    assert_eq!(split["malformed"]["fault"], "request_line", "{split}");
    let output = run(&sidecar, &["--socket", "/nowhere", "GET", "/a"]);
    assert_eq!(output.status.code(), Some(2), "a socket without --live: {output:?}");
    let path = format!("/{}", "a".repeat(70_000));
    assert_eq!(run(&sidecar, &["--live", "GET", &path]).status.code(), Some(2));
    sidecar.process.signal("TERM");
    sidecar.process.wait();
    assert_eq!(run(&sidecar, &["--live", "GET", "/a"]).status.code(), Some(3));
}
