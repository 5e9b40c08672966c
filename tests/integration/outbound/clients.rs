//! Programs that know nothing of signatures, through a signing sidecar and a guarding one, to a FastAPI under uvicorn.

use super::super::support::python::{Parser, Uvicorn, client, client_in};
use super::super::support::sidecar::{Builder, Sidecar};
use super::super::support::{eventually, missing};
use super::{Signing, signing};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

/// A backend, its guard, and a sidecar that signs for the guarded address.
struct Way {
    backend: SocketAddr,
    guard: Sidecar,
    signing: Signing,
}

fn way(parser: Parser) -> Option<Way> {
    let backend = Uvicorn::shared(parser)?;
    let guard = Builder::guarding(backend).unlimited().start();
    let signing = signing(guard.address, &[]);
    Some(Way { backend, guard, signing })
}

/// Everything a program got is as if it had signed by itself, and both sides have it on record.
#[track_caller]
fn assert_all_good(way: &Way, got: &Value, base: &str, what: &str) {
    for name in ["get", "query", "encoded", "umlaut", "post"] {
        assert_eq!(got[name]["status"], 200, "{what}: {name}: {got}");
        assert_eq!(got[name]["body"], json!({ "handler": "internal", "service": "npu-worker" }), "{what}: {name}");
        let id = got[name]["id"].as_str().unwrap();
        let (left, came) = (way.signing.sidecar.record(id), way.guard.record(id));
        assert_eq!((&left["direction"], &left["outcome"]), (&json!("outbound"), &json!("allow")), "{left}");
        assert_eq!((&left["service"], &left["status"]), (&json!("npu-worker"), &json!(200)), "{left}");
        assert_eq!(left["upstream"], way.guard.address.to_string());
        assert_eq!((&came["direction"], &came["outcome"]), (&json!("inbound"), &json!("authenticated")), "{came}");
        assert_eq!((&came["service"], &came["path"]), (&json!("npu-worker"), &left["path"]), "{came}");
    }
    let events = got["events"]["body"].as_str().unwrap_or_default();
    assert!(events.contains("event 0") && events.contains("event 2"), "{what}: {got}");
    assert_eq!(got["form"]["body"], json!({ "shot": got["size"], "a": "b" }), "{what}");
    // Followed by the client, by the way it came.
    assert_eq!(got["redirect"]["status"], 200, "{what}: {}", got["redirect"]);
    assert_eq!(got["redirect"]["url"], format!("{base}/health"), "{what}");
    assert_eq!(
        (&got["direct"]["status"], &got["direct"]["body"]["status"]),
        (&json!(200), &json!("healthy")),
        "{what}"
    );
}

#[test]
fn python_programs_with_another_base_url_are_authenticated() {
    for (parser, library) in [(Parser::H11, "requests"), (Parser::Httptools, "httpx"), (Parser::Httptools, "aiohttp")]
    {
        let Some(way) = way(parser) else { return };
        let base = format!("http://{}", way.signing.sidecar.address);
        let direct = format!("http://{}/health", way.backend);
        let Some(got) = client("leaving", &[library, &base, &direct]) else { return };
        assert_all_good(&way, &got, &base, library);
        if library == "aiohttp" {
            assert_eq!(got["socket"], json!({ "text": "echo hello", "same": true }));
        }
    }
}

#[test]
fn python_programs_with_http_proxy_are_authenticated_and_no_proxy_goes_around() {
    for (parser, library) in [(Parser::Httptools, "requests"), (Parser::H11, "httpx"), (Parser::H11, "aiohttp")] {
        let Some(way) = way(parser) else { return };
        // The program's own URL, as it always was.
        let base = format!("http://{}", way.guard.address);
        let direct = format!("http://localhost:{}/health", way.backend.port());
        let proxy = format!("http://{}", way.signing.proxy);
        let environment = [
            ("HTTP_PROXY", proxy.as_str()),
            ("http_proxy", &proxy),
            ("NO_PROXY", "localhost"),
            ("no_proxy", "localhost"),
        ];
        let Some(got) = client_in("leaving", &[library, &base, &direct], &environment) else { return };
        assert_all_good(&way, &got, &base, library);
        if library == "aiohttp" {
            assert_eq!(got["socket"], json!({ "text": "echo hello", "same": true }));
        }
        let refused = way.signing.sidecar.metric("countersign_outbound_requests_total", &["refuse"]);
        assert_eq!(refused, 0.0, "{library} sent something else to the proxy");
    }
}

#[test]
fn a_websocket_library_needs_no_more_than_another_base_url() {
    for parser in Parser::BOTH {
        let Some(way) = way(parser) else { return };
        let base = format!("http://{}", way.signing.sidecar.address);
        // It signs with a key that nobody has: what a service says of itself is replaced.
        let Some(got) = client("sockets", &[&base, &"f".repeat(64)]) else { return };
        let talked = json!({"text": "echo hello", "same": true, "closed": [4001, "as asked"]});
        assert_eq!((&got["exempt"], &got["signed"]), (&talked, &talked), "{parser:?}: {got}");
        assert_eq!(got["unsigned"]["status"], 101, "signed for it, so it is let in");
        eventually("the records of both tunnels", || {
            let records = way.guard.audit();
            let tunnels: Vec<_> = records.iter().filter(|record| record["path"] == "/api/internal/ws").collect();
            assert!(tunnels.iter().all(|record| record["outcome"] == "authenticated" && record["status"] == 101));
            (tunnels.len() == 2).then_some(())
        });
    }
}

/// curl, with these variables in its environment; its answer's status and body.
fn curl(arguments: &[&str], environment: &[(&str, &str)]) -> Option<(u64, String)> {
    let mut command = Command::new("curl");
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "no_proxy"] {
        command.env_remove(proxy);
    }
    command
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .envs(environment.iter().copied());
    let Ok(output) = command.output() else {
        missing("curl");
        return None;
    };
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    Some((status.parse().unwrap(), body.to_owned()))
}

#[test]
fn curl_is_authenticated_by_every_way_in() {
    let Some(way) = way(Parser::H11) else { return };
    let proxy = format!("http://{}", way.signing.proxy);
    let (listener, destination) = (way.signing.sidecar.address, way.guard.address);
    let file = way.guard.directory.join("upload");
    std::fs::write(&file, vec![b'u'; 3_000_000]).unwrap();
    let upload = format!("@{}", file.display());
    for (base, environment) in [
        (format!("http://{listener}"), vec![]),
        (format!("http://localhost:{}", listener.port()), vec![]),
        (format!("http://{destination}"), vec![("http_proxy", proxy.as_str())]),
    ] {
        let Some((status, body)) = curl(&[&format!("{base}/api/internal/a%2Fb?x=1")], &environment) else { return };
        assert_eq!((status, body.contains("\"npu-worker\"")), (200, true), "{base}: {body}");
        for extra in ["Expect: 100-continue", "Transfer-Encoding: chunked", "Expect:"] {
            let url = format!("{base}/api/internal-upload");
            let (status, body) = curl(&["-H", extra, "--data-binary", &upload, &url], &environment).unwrap();
            assert_eq!((status, body.contains("3000000")), (200, true), "{base} {extra}: {body}");
        }
    }
    // As a redirected port would deliver it: the destination's name at the listener's address.
    let to = format!("{destination}:{listener}");
    let url = format!("http://{destination}/api/internal/x");
    let (status, body) = curl(&["--connect-to", &to, &url], &[]).unwrap();
    assert_eq!((status, body.contains("\"npu-worker\"")), (200, true), "{body}");
    // And without a sidecar it would have been refused.
    assert_eq!(curl(&[&url], &[]).unwrap().0, 401);
}
