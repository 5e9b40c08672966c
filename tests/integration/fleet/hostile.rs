//! A stranger on the same wire, who knows every address, every service id and this source, and no key.

use super::super::support::netns::Host;
use super::super::support::raw::Client;
use super::super::support::sidecar::countersign;
use super::super::support::{KEY_B, sign};
use super::cast::{Fleet, REDIS_PASSWORD, STRANGER, VMS, at, ip, request};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// What a stranger would like to reach, and who may: VM, method, path, service.
pub(super) const GUARDED: &[(u8, &str, &str, &str)] = &[
    (20, "POST", "/api/npu/results/1", "npu-worker"),
    (20, "POST", "/api/npu/heartbeat", "npu-worker"),
    (20, "POST", "/api/ai-stack/status", "ai-stack"),
    (20, "POST", "/api/browser/screenshots", "browser-service"),
    (20, "GET", "/api/internal/config", "npu-worker"),
    (20, "DELETE", "/api/audit/internal/1", "ai-stack"),
    (22, "POST", "/api/inference", "main-backend"),
    (24, "POST", "/api/process", "main-backend"),
    (25, "POST", "/api/screenshot", "main-backend"),
    (25, "GET", "/api/whatever-there-is", "main-backend"),
    (22, "GET", "/whatever-there-is", "main-backend"),
    (24, "GET", "/", "main-backend"),
    (25, "POST", "/anything/else", "main-backend"),
];

/// Spellings that a backend may take for a guarded path.
const DISGUISED: &[&str] = &[
    "/api/%69nternal/config",
    "/api/%2569nternal/config",
    "/API/Internal/config",
    "//api//internal/config",
    "/api/internal%0a",
    "/api/internal;a=b/config",
    "/api/internal/./config",
    "/api/chat/../internal/config",
    "/api/chat/..%2finternal/config",
    "/api/chat/%2e%2e/internal/config",
    "/api/chat\\..\\internal",
    "/api/internal.json",
];

/// Everything a stranger tries; nothing may come of it, and what is exempt still works for everybody.
#[track_caller]
pub(super) fn gets_nothing(fleet: &Fleet) {
    let stranger = fleet.host(STRANGER);
    let captured =
        sign::headers(&fleet.redis(&["GET", "service:key:npu-worker"]), "npu-worker", "POST", "/api/npu/heartbeat");
    stranger.inside(|| {
        for (last, method, path, service) in GUARDED {
            knocks(*last, method, path, service);
        }
        for path in DISGUISED {
            refused(20, "GET", path, "", "");
        }
        replays(&captured);
        smuggles();
        finds_every_other_door_closed();
        for last in [20, 22, 24, 25] {
            exempt_paths_work(last);
        }
    });
    finds_redis_locked(stranger);
    for vm in fleet.vms {
        let reached: Vec<_> = fleet.seen(vm).into_iter().filter(|call| call["mark"] == "stranger").collect();
        assert!(reached.is_empty(), "the stranger reached .{}: {reached:?}", vm.last);
        let records = fleet.audit(vm.last, &ip(STRANGER).to_string());
        let own = || records.iter().filter(|record| record["client"] == ip(STRANGER).to_string());
        assert!(own().count() > 5, ".{} has no record of the stranger", vm.last);
        let let_in: Vec<_> = own().filter(|r| r["class"] == "service" && r["outcome"] != "refuse").collect();
        assert!(let_in.is_empty(), ".{} let the stranger in: {let_in:?}", vm.last);
    }
}

fn port(last: u8) -> u16 {
    VMS.iter().find(|vm| vm.last == last).unwrap().port
}

/// One attempt: refused, whatever the reason that is given.
#[track_caller]
fn refused(last: u8, method: &str, path: &str, fields: &str, body: &str) {
    let fields = format!("X-Mark: stranger\r\n{fields}");
    let answer = request(at(last, port(last)), &format!("{method} {path}"), &fields, body)
        .unwrap_or_else(|| panic!(".{last} does not answer {method} {path} {fields}"));
    assert!(matches!(answer.status, 400 | 401 | 403 | 429), "{method} {path} {fields}: {answer:?}");
    assert!(answer.json()["reason"].is_string(), "{answer:?}");
}

/// Unsigned, forged, borrowed and replayed: at the front door.
fn knocks(last: u8, method: &str, path: &str, service: &str) {
    let now = sign::now();
    let right = |timestamp| sign::headers_at(KEY_B, service, method, path, timestamp);
    for fields in [
        String::new(),
        format!("X-Authenticated-Service: {service}\r\n"),
        format!("X_Authenticated_Service: {service}\r\nX-Authenticated.Service: {service}\r\n"),
        format!("X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: {}\r\nForwarded: for=127.0.0.1\r\n", ip(20)),
        format!("X-Original-URL: {path}\r\nX-Rewrite-URL: /api/health\r\n"),
        format!("X-Service-ID: {service}\r\n"),
        right(now),
        right(now - 301),
        right(now + 301),
        sign::headers_at("", service, method, path, now),
        sign::headers_at(service, service, method, path, now),
        format!("{}{}", right(now), right(now)),
        right(now).replace(service, "nobody-we-know"),
        right(now).replace("X-Service-ID", "X_Service_ID"),
        "X-Override-Token: guess\r\n".to_owned(),
        "X-Override-Token: \r\n".to_owned(),
        format!("Connection: close, X-Service-ID, X-Authenticated-Service\r\n{}", right(now)),
    ] {
        refused(last, method, path, &fields, "{}");
    }
}

/// A signature that was captured on the way is worth nothing for another path, method, service or second. (The very same request
/// within its window is reported, not refused, unless `replay = "refuse"`: that is the scheme's limit, tested elsewhere.)
fn replays(captured: &str) {
    let timestamp = captured.lines().find_map(|line| line.strip_prefix("X-Service-Timestamp: ")).unwrap();
    let later = (timestamp.parse::<u64>().unwrap() + 1).to_string();
    for (last, method, path, fields) in [
        (20, "POST", "/api/npu/status", captured.to_owned()),
        (20, "POST", "/api/npu/heartbeat/x", captured.to_owned()),
        (20, "PUT", "/api/npu/heartbeat", captured.to_owned()),
        (20, "POST", "/api/npu/heartbeat", captured.replace("npu-worker", "ai-stack")),
        (20, "POST", "/api/npu/heartbeat", captured.replace(timestamp, &later)),
        (22, "POST", "/api/npu/heartbeat", captured.to_owned()),
    ] {
        refused(last, method, path, &fields, "{}");
    }
}

/// A second request within the first, and one that two servers cut differently.
fn smuggles() {
    let inner = "GET /api/internal/config HTTP/1.1\r\nHost: b\r\nX-Mark: stranger\r\n\r\n";
    for outer in [
        format!(
            "POST /api/health HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
            5 + inner.len()
        ),
        format!(
            "POST /api/health HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}"
        ),
        format!(
            "GET /api/health HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{inner}",
            inner.len()
        ),
        format!("GET http://b/api/internal/config HTTP/1.1\r\nHost: b\r\nX-Mark: stranger\r\n\r\n{inner}"),
        "CONNECT 127.0.0.1:18001 HTTP/1.1\r\nHost: 127.0.0.1:18001\r\n\r\n".to_owned(),
    ] {
        let mut client = Client::connect(at(20, 8001));
        client.send(&outer);
        assert_eq!(client.answer().status, 400, "{outer}");
    }
    // Two on one connection: the second is a request of its own, and judged.
    let mut client = Client::connect(at(20, 8001));
    client.send(format!("GET /api/health HTTP/1.1\r\nHost: b\r\n\r\n{inner}"));
    assert_eq!(client.answer().status, 200);
    assert!(matches!(client.answer().status, 401 | 429));
}

/// Backends, signers, forward proxies and the admin listeners are reachable on their own VM alone.
fn finds_every_other_door_closed() {
    for vm in &VMS {
        for port in [vm.behind, 9000, 9001, 9022, 9024, 9025, 9180] {
            let open = TcpStream::connect_timeout(&at(vm.last, port), Duration::from_secs(5));
            assert!(open.is_err(), ".{} lets strangers connect to port {port}", vm.last);
        }
    }
}

#[track_caller]
fn exempt_paths_work(last: u8) {
    let path = if last == 20 { "/api/health" } else { "/health" };
    let answer = request(at(last, port(last)), &format!("GET {path}"), "X-Authenticated-Service: npu-worker\r\n", "");
    let answer = answer.unwrap();
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"healthy".into()), "{answer:?}");
}

/// Redis wants its password from everybody.
fn finds_redis_locked(stranger: &Host) {
    for (password, commands) in [
        ("", vec!["PING", "GET service:key:npu-worker", "KEYS *", "CONFIG GET requirepass", "FLUSHALL"]),
        ("guess", vec!["PING", "GET service:key:npu-worker"]),
    ] {
        for text in commands {
            let mut command = Command::new("/usr/bin/redis-cli");
            command.args(["-h", &ip(23).to_string()]).args(text.split(' '));
            if !password.is_empty() {
                command.env("REDISCLI_AUTH", password);
            }
            let said = String::from_utf8_lossy(&stranger.output(&command).stdout).into_owned();
            assert!(said.contains("NOAUTH") || said.contains("WRONGPASS"), "{text}: {said}");
        }
    }
    // Our own program, pointed at the fleet's Redis, learns nothing either.
    let mut list = countersign();
    list.env("REDIS_HOST", ip(23).to_string()).args(["keys", "list"]);
    let output = stranger.output(&list);
    assert!(!output.status.success(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains(REDIS_PASSWORD));
}
