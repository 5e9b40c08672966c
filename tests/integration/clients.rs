//! Real clients against a real backend: curl, requests, httpx, aiohttp, websockets; uvicorn with both parsers, nginx.

use super::support::nginx::Nginx;
use super::support::python::{Parser, Uvicorn, client};
use super::support::raw::get;
use super::support::sidecar::{Builder, Sidecar, countersign};
use super::support::{KEY_A, missing, sign};
use serde_json::{Value, json};
use std::process::Command;

fn guarding(parser: Parser) -> Option<(std::net::SocketAddr, Sidecar)> {
    let backend = Uvicorn::shared(parser)?;
    Some((backend, Builder::guarding(backend).unlimited().start()))
}

#[test]
fn python_clients_sign_and_everything_they_do_works_through_the_sidecar() {
    for (parser, library) in [
        (Parser::H11, "requests"),
        (Parser::Httptools, "httpx"),
        (Parser::H11, "aiohttp"),
        (Parser::Httptools, "aiohttp"),
    ] {
        let Some((_, sidecar)) = guarding(parser) else { return };
        let base = format!("http://{}", sidecar.address);
        let Some(got) = client("calls", &[library, &base, KEY_A]) else { return };
        let status = |name: &str| got[name]["status"].as_u64();
        for name in [
            "health",
            "signed",
            "signed query",
            "signed space",
            "signed umlaut",
            "signed post",
            "signed again",
            "head",
        ] {
            assert_eq!(status(name), Some(200), "{library}: {name}: {got}");
        }
        for name in ["unsigned", "unsigned post"] {
            assert_eq!(
                (status(name), &got[name]["body"]["reason"]),
                (Some(401), &json!("missing_signature")),
                "{library}"
            );
            assert_eq!(got[name]["body"]["request_id"], got[name]["request_id"], "{library}");
        }
        for name in ["signed", "signed space", "signed umlaut"] {
            assert_eq!(got[name]["body"]["service"], "npu-worker", "{library}: {name}");
        }
        for name in ["open upload", "chunked upload"] {
            assert_eq!(got[name]["body"], got["expected"], "{library}: {name}");
        }
        assert_eq!(got["form"]["body"], json!({"shot": got["expected"]["size"], "a": "b"}), "{library}");
        let events = got["events"]["body"].as_str().unwrap_or_default();
        assert!(events.contains("event 0") && events.contains("event 2"), "{library}: {got}");
        assert_eq!(got["health"]["body"], json!({"status": "healthy"}));
    }
}

#[test]
fn websockets_pass_where_they_may() {
    for parser in Parser::BOTH {
        let Some((_, sidecar)) = guarding(parser) else { return };
        let Some(got) = client("sockets", &[&format!("http://{}", sidecar.address), KEY_A]) else { return };
        let talked = json!({"text": "echo hello", "same": true, "closed": [4001, "as asked"]});
        assert_eq!((&got["exempt"], &got["signed"]), (&talked, &talked), "{parser:?}: {got}");
        assert_eq!(
            (&got["unsigned"]["status"], &got["unsigned"]["body"]["reason"]),
            (&json!(401), &json!("missing_signature"))
        );
    }
}

#[test]
fn the_backend_sees_the_identity_and_the_true_client_and_its_own_redirects_stay_on_the_guarded_port() {
    for parser in Parser::BOTH {
        let Some((backend, sidecar)) = guarding(parser) else { return };
        let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/who");
        let mark = format!("who-{parser:?}");
        let lines =
            format!("X-Mark: {mark}\r\nX-Authenticated-Service: ai-stack\r\nX-Forwarded-For: 6.6.6.6\r\n{signed}");
        let answer = super::support::raw::get_with(sidecar.address, "/api/internal/who", &lines);
        assert_eq!(answer.json()["service"], "npu-worker");
        let seen = get(backend, &format!("/__seen?mark={mark}")).json();
        assert_eq!(seen[0]["client"], "127.0.0.1", "uvicorn believes X-Forwarded-For from loopback");
        // Both kinds of redirect a FastAPI makes: its own, and of a slash.
        for target in ["/api/redirect", "/mounted/slash"] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", sidecar.address);
            let to = super::support::raw::exchange(sidecar.address, request);
            let to = to.fields.one("location").unwrap().to_owned();
            assert!(to.starts_with(&format!("http://{}/", sidecar.address)), "{target} led to {to}");
        }
    }
}

/// curl, as a person types it.
fn curl(arguments: &[&str]) -> Option<(u64, String)> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}"]).args(arguments);
    let output = match command.output() {
        Ok(output) => output,
        Err(_) => {
            missing("curl");
            return None;
        }
    };
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    Some((status.parse().unwrap(), body.to_owned()))
}

#[test]
fn curl_works_plain_uploading_waiting_for_100_and_with_the_line_that_sign_prints() {
    let Some((_, sidecar)) = guarding(Parser::H11) else { return };
    let base = format!("http://{}", sidecar.address);
    let Some((status, body)) = curl(&[&format!("{base}/health")]) else { return };
    assert_eq!((status, body.as_str()), (200, "{\"status\":\"healthy\"}"));
    let (status, body) = curl(&[&format!("{base}/api/internal/x")]).unwrap();
    let refused: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &refused["reason"]), (401, &json!("missing_signature")));
    // curl asks for 100 by itself before a large body.
    let file = sidecar.directory.join("upload");
    std::fs::write(&file, vec![b'u'; 3_000_000]).unwrap();
    let upload = format!("@{}", file.display());
    for extra in [
        &["-H", "Expect: 100-continue"][..],
        &["-H", "Transfer-Encoding: chunked"],
        &["-H", "Expect:"],
        &["--http1.0"],
    ] {
        let url = format!("{base}/api/upload");
        let mut arguments = vec!["-X", "POST", "--data-binary", &upload, &url];
        arguments.extend(extra);
        let (status, body) = curl(&arguments).unwrap();
        assert_eq!(status, 200, "{extra:?}: {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["size"], 3_000_000);
    }
    let (status, _) = curl(&["-X", "POST", "--data-binary", &upload, &format!("{base}/api/internal/x")]).unwrap();
    assert_eq!(status, 401);
    let printed = countersign()
        .args(["sign", "--curl", "GET", &format!("{base}/api/internal/a%20b?q=1")])
        .env("SERVICE_ID", "npu-worker")
        .env("SERVICE_KEY", KEY_A)
        .output()
        .unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let line = String::from_utf8(printed.stdout).unwrap();
    let ran = Command::new("sh").arg("-c").arg(format!("{} -sS --noproxy '*'", line.trim())).output().unwrap();
    let answer: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{line}: {ran:?}"));
    assert_eq!(answer["service"], "npu-worker", "{line}");
}

#[test]
fn nginx_as_the_upstream_gets_targets_as_they_came_and_serves_files_whole() {
    let Some(nginx) = Nginx::start("") else { return };
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| n.wrapping_mul(40_503).to_le_bytes()[1]).collect();
    std::fs::write(nginx.root.join("big.bin"), &content).unwrap();
    let sidecar = Builder::guarding(nginx.address).unlimited().start();
    for target in ["/files/a%20b?x=%2F", "/files//x/../y", "/files/%41%2fb", "/files/50%25off"] {
        let answer = get(sidecar.address, target);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.text().lines().next(), Some(format!("GET {target} HTTP/1.1").as_str()));
    }
    let answer = get(sidecar.address, "/static/big.bin");
    assert!(answer.body.bytes == content && answer.body.complete);
    let part = super::support::raw::get_with(sidecar.address, "/static/big.bin", "Range: bytes=100-199\r\n");
    assert_eq!((part.status, part.body.bytes.as_slice()), (206, &content[100..200]));
    let etag = answer.fields.one("etag").unwrap();
    let same =
        super::support::raw::get_with(sidecar.address, "/static/big.bin", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((same.status, same.body.bytes.len()), (304, 0));
    // nginx decodes and cleans paths before it routes: a guarded path stays guarded in every spelling.
    for target in [
        "/api/internal/x",
        "/api//internal",
        "/api/%69nternal",
        "/api/chat/../internal",
        "/api/./internal",
        "/api/chat/%2e%2e/internal",
    ] {
        assert_eq!(get(sidecar.address, target).status, 401, "{target}");
    }
}
