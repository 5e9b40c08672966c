//! `override grant|list|revoke` against a running sidecar: what is granted holds at once, and so does its end; who and why are on record; no
//! token shows anywhere but to whoever asked for it.

use super::support::message::find;
use super::support::raw::{get, get_with};
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, Sidecar, countersign};
use super::support::{eventually, sign};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Output;

const PATH: &str = "/api/internal/x";

fn guarding(upstream: &Recorder) -> Builder {
    Builder::guarding(upstream.address)
}

/// `countersign override ...` about this sidecar.
fn command(sidecar: &Sidecar, arguments: &[&str]) -> Output {
    let mut command = countersign();
    command.arg("override").args(arguments).arg("--config").arg(sidecar.config_path()).env_remove("SUDO_USER");
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The answer in JSON of a command that does what it is asked.
#[track_caller]
fn answer(sidecar: &Sidecar, arguments: &[&str]) -> Value {
    let output = command(sidecar, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A new grant: its token and its id.
#[track_caller]
fn grant(sidecar: &Sidecar, arguments: &[&str]) -> (String, String) {
    let told = answer(sidecar, &[&["grant", "--reason", "the key is lost"], arguments].concat());
    (told["token"].as_str().unwrap().to_owned(), told["grant"]["id"].as_str().unwrap().to_owned())
}

fn status(sidecar: &Sidecar, target: &str, token: &str) -> u16 {
    get_with(sidecar.address, target, &format!("X-Override-Token: {token}\r\n")).status
}

fn events(sidecar: &Sidecar, change: &str) -> Vec<Value> {
    let of_grants = |record: &Value| record["event"] == "grant" && record["change"] == change;
    sidecar.audit().into_iter().filter(of_grants).collect()
}

/// One request on the admin socket; the status and the body.
fn ask(sidecar: &Sidecar, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut socket = UnixStream::connect(sidecar.directory.join("state/admin.sock")).unwrap();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn what_is_granted_opens_at_once_and_who_and_why_are_on_record() {
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream).start();
    assert_eq!(get(sidecar.address, PATH).status, 401);
    let (token, id) =
        grant(&sidecar, &["--for", "30m", "--path", "/api/internal", "--method", "GET", "--uses", "10"]);
    assert!(token.starts_with("cso_") && token.len() == 68, "{}", token.len());
    let passed = get_with(sidecar.address, PATH, &format!("X-Override-Token: {token}\r\n"));
    assert_eq!(passed.status, 200);
    let record = sidecar.record(passed.fields.one("x-request-id").unwrap());
    assert_eq!((&record["outcome"], &record["grant"]), (&"override".into(), &id.clone().into()), "{record}");
    let event = eventually("a record", || events(&sidecar, "granted").pop());
    let uid = format!("uid:{}", rustix::process::getuid().as_raw());
    assert_eq!((&event["who"], &event["why"]), (&uid.clone().into(), &"the key is lost".into()), "{event}");
    assert_eq!((&event["grant_id"], &event["scope"]), (&id.clone().into(), &"GET /api/internal".into()));

    let listed = answer(&sidecar, &["list"]);
    let shown = &listed["grants"][0];
    assert_eq!((&listed["open"], &shown["id"], &shown["state"]), (&1.into(), &id.clone().into(), &"open".into()));
    assert_eq!((&shown["uses"], &shown["used"], &shown["uses_left"]), (&10.into(), &1.into(), &9.into()));
    assert_eq!((&shown["by"], &shown["reason"]), (&uid.into(), &"the key is lost".into()));
    let (_, told) = ask(&sidecar, "GET", "/v1/status", "");
    assert_eq!(told["override_grants"]["grants"][0]["id"], id);
    assert_eq!(sidecar.metric("countersign_override_grants_open", &[]), 1.0);
    let people = text(&command(&sidecar, &["list"]));
    assert!(
        people.contains(&id) && people.contains("GET /api/internal") && people.contains("1 of 10 uses"),
        "{people}"
    );
}

#[test]
fn a_revoked_grant_ends_with_the_answer_to_its_revocation() {
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream).unlimited().start();
    let (first, id) = grant(&sidecar, &["--for", "1h", "--path", "/api"]);
    let (second, _) = grant(&sidecar, &["--for", "1h", "--path", "/api"]);
    assert_eq!((status(&sidecar, PATH, &first), status(&sidecar, PATH, &second)), (200, 200));
    let told = answer(&sidecar, &["revoke", &id, "--reason", "found it"]);
    assert_eq!((&told["revoked"][0]["id"], &told["revoked"][0]["state"]), (&id.clone().into(), &"revoked".into()));
    assert_eq!((status(&sidecar, PATH, &first), status(&sidecar, PATH, &second)), (401, 200));
    let event = eventually("a record", || events(&sidecar, "revoked").pop());
    assert_eq!(
        (&event["grant_id"], &event["why"], &event["used"]),
        (&id.clone().into(), &"found it".into(), &1.into())
    );
    let again = command(&sidecar, &["revoke", &id]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert_eq!(answer(&sidecar, &["revoke", "--all"])["revoked"].as_array().unwrap().len(), 1);
    assert_eq!((status(&sidecar, PATH, &second), &answer(&sidecar, &["list"])["grants"]), (401, &json!([])));
    eventually("none open", || (sidecar.metric("countersign_override_grants_open", &[]) == 0.0).then_some(()));
}

#[test]
fn a_grant_outlives_its_sidecar_and_a_revoked_one_does_not_come_back() {
    let (upstream, state) = (Recorder::plain(), tempfile::tempdir().unwrap());
    let start = || guarding(&upstream).set("", "state_dir", format!("{:?}", state.path())).unlimited().start();
    let sidecar = start();
    let (kept, _) = grant(&sidecar, &["--for", "1h", "--path", "/api/internal", "--uses", "3"]);
    let (revoked, id) = grant(&sidecar, &["--for", "1h", "--path", "/api/internal"]);
    assert_eq!(status(&sidecar, PATH, &kept), 200);
    answer(&sidecar, &["revoke", &id]);
    // Killed.
    drop(sidecar);
    let sidecar = start();
    assert_eq!(status(&sidecar, PATH, &revoked), 401);
    let statuses: Vec<u16> = (0..3).map(|_| status(&sidecar, PATH, &kept)).collect();
    assert_eq!(statuses, [200, 200, 401], "one of three uses was before the crash");
}

#[test]
fn what_cannot_be_granted_is_told_and_nothing_is_granted() {
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream).start();
    for wrong in [
        &["--for", "30m", "--path", "api/internal", "--reason", "r"][..],
        &["--for", "30m", "--path", "/api/%69nternal", "--reason", "r"],
        &["--for", "0s", "--path", "/api", "--reason", "r"],
        &["--for", "8d", "--path", "/api", "--reason", "r"],
        &["--for", "1500ms", "--path", "/api", "--reason", "r"],
        &["--for", "30", "--path", "/api", "--reason", "r"],
        &["--for", "30m", "--path", "/api", "--reason", " "],
        &["--for", "30m", "--path", "/api", "--reason", "r", "--uses", "0"],
        &["--for", "30m", "--path", "/api", "--reason", "r", "--uses", "-1"],
        &["--for", "30m", "--path", "/api", "--reason", "r", "--method", "post"],
        &["--for", "30m", "--path", "/api"],
        &["--for", "30m", "--reason", "r"],
        &["--path", "/api", "--reason", "r"],
    ] {
        let output = command(&sidecar, &[&["grant"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output));
        assert!(!text(&output).contains("cso_"));
    }
    for (body, found) in [
        ("{}", 400),
        ("[]", 400),
        (r#"{"path":"/x","seconds":60,"reason":"r","token":"mine"}"#, 400),
        (r#"{"path":"/x","seconds":-1,"reason":"r"}"#, 400),
        (r#"{"path":"/x","seconds":99999999999999,"reason":"r"}"#, 400),
    ] {
        assert_eq!(ask(&sidecar, "POST", "/v1/override/grants", body).0, found, "{body}");
    }
    for (method, path, found) in [
        ("PUT", "/v1/override/grants", 405),
        ("GET", "/v1/override/grants/0123456789ab", 405),
        ("DELETE", "/v1/override/grants/0123456789ab", 404),
        ("DELETE", "/v1/override/grants/..%2fgrants", 404),
        ("DELETE", "/v1/override/grants/", 404),
    ] {
        assert_eq!(ask(&sidecar, method, path, "{}").0, found, "{method} {path}");
    }
    assert_eq!(answer(&sidecar, &["list"])["grants"], json!([]));
    assert!(events(&sidecar, "granted").is_empty());
}

#[test]
fn there_are_64_grants_at_most_and_a_revoked_one_makes_room() {
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream).start();
    let body = r#"{"path":"/api","seconds":600,"reason":"one of many"}"#;
    let told: Vec<Value> = (0..64).map(|_| ask(&sidecar, "POST", "/v1/override/grants", body).1).collect();
    let (status_of, refused) = ask(&sidecar, "POST", "/v1/override/grants", body);
    assert_eq!((status_of, &refused["reason"]), (409, &"too_many_grants".into()), "{refused}");
    assert_eq!(status(&sidecar, PATH, told[63]["token"].as_str().unwrap()), 200);
    let id = told[7]["grant"]["id"].as_str().unwrap();
    assert_eq!(ask(&sidecar, "DELETE", &format!("/v1/override/grants/{id}"), "{}").0, 200);
    assert_eq!(ask(&sidecar, "POST", "/v1/override/grants", body).0, 201);
}

#[test]
fn nobody_answering_is_told_as_such() {
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream).set("admin", "socket", "\"off\"").start();
    assert_eq!(command(&sidecar, &["list"]).status.code(), Some(2));
    let nowhere = command(&sidecar, &["list", "--socket", "/nonexistent/admin.sock"]);
    assert_eq!(nowhere.status.code(), Some(3), "{}", text(&nowhere));
}

#[test]
fn a_token_shows_to_whoever_asked_for_it_and_nowhere_else() {
    let upstream = Recorder::plain();
    let sidecar = guarding(&upstream).set("log", "level", "\"trace\"").unlimited().start();
    let printed = command(&sidecar, &["grant", "--for", "1h", "--path", "/api", "--uses", "4", "--reason", "r"]);
    let printed = text(&printed);
    let token = printed.split_whitespace().find(|word| word.starts_with("cso_")).unwrap();
    assert_eq!(printed.matches("cso_").count(), 1, "{printed}");
    let id = answer(&sidecar, &["list"])["grants"][0]["id"].as_str().unwrap().to_owned();
    let signed = sign::headers(super::support::KEY_A, "npu-worker", "GET", PATH);
    let mut seen = Vec::new();
    for (target, lines) in [(PATH, String::new()), ("/open", String::new()), ("/api/npu/results", signed)] {
        let answer = get_with(sidecar.address, target, &format!("{lines}X-Override-Token: {token}\r\n"));
        seen.extend([answer.head, answer.body.bytes].concat());
    }
    seen.extend(ask(&sidecar, "GET", "/v1/override/grants", "").1.to_string().into_bytes());
    seen.extend(ask(&sidecar, "GET", "/v1/status", "").1.to_string().into_bytes());
    seen.extend(text(&command(&sidecar, &["list"])).into_bytes());
    seen.extend(text(&command(&sidecar, &["revoke", &id])).into_bytes());
    eventually("the end of it", || events(&sidecar, "revoked").pop());
    seen.extend(sidecar.process.stderr.text().into_bytes());
    seen.extend(sidecar.process.stdout.text().into_bytes());
    seen.extend(std::fs::read(sidecar.directory.join("audit.jsonl")).unwrap());
    seen.extend(std::fs::read(sidecar.directory.join("state/grants.json")).unwrap());
    seen.extend(sidecar.metrics().into_bytes());
    for request in upstream.requests() {
        seen.extend(request.head);
    }
    assert!(find(&seen, &token.as_bytes()[4..]).is_none());
}
