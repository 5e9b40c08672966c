//! The read-only listener of the running program: who is answered, who is not, and what readiness says.

use super::support::recorder::Recorder;
use super::support::sidecar::Builder;
use super::support::{KEY_A, count, eventually, free_address, raw, sign};
use std::collections::BTreeSet;
use std::time::Duration;

fn ask(address: std::net::SocketAddr, path: &str, headers: &str) -> raw::Answer {
    raw::exchange(address, format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"))
}

#[test]
fn loopback_names_are_answered_and_foreign_ones_are_not() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for host in ["localhost", "127.0.0.1:9180", "[::1]:1"] {
        assert_eq!(ask(sidecar.admin, "/metrics", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for (headers, status) in [
        ("", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: evil.example\r\n", 403),
        ("Host: 127.0.0.1.evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: same-site\r\n", 403),
    ] {
        for path in ["/metrics", "/readyz", "/healthz", "/"] {
            let answer = ask(sidecar.admin, path, headers);
            assert_eq!(answer.status, status, "{path} {headers:?}");
            assert!(!answer.text().contains("service_auth"), "{}", answer.text());
        }
    }
}

#[test]
fn it_is_read_only_and_serves_only_its_paths() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let request = format!(
            "{method} /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let answer = raw::exchange(sidecar.admin, request);
        assert_eq!((answer.status, answer.fields.one("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    for path in ["/v1/status", "/metrics/", "//metrics", "/%6detrics", "/healthz/..", "/../etc/passwd"] {
        assert_eq!(ask(sidecar.admin, path, "Host: localhost\r\n").status, 404, "{path}");
    }
    assert_eq!(raw::get(sidecar.address, "/metrics").status, 200, "on the inbound port that is the upstream's path");
    assert_eq!(upstream.requests().iter().filter(|request| request.target == "/metrics").count(), 1);
}

#[test]
fn readiness_follows_the_upstream_and_says_why() {
    let address = free_address();
    let sidecar = Builder::guarding(address).start_alive();
    let ready = || ask(sidecar.admin, "/readyz", "Host: localhost\r\n");
    eventually("the upstream is found down", || ready().text().contains("is down").then_some(()));
    let answer = ready();
    assert_eq!(answer.status, 503);
    let body = answer.json();
    assert_eq!(body["ready"], false);
    assert!(body["reasons"][0].as_str().unwrap().contains(&address.to_string()), "{body}");
    assert_eq!(sidecar.metric("countersign_upstream_up", &[&address.to_string()]), 0.0);
    let listener = std::net::TcpListener::bind(address).unwrap();
    eventually("ready once it listens", || (ready().status == 200).then_some(()));
    assert_eq!(sidecar.metric("countersign_upstream_up", &[]), 1.0);
    drop(listener);
    eventually("not ready once it is gone", || (ready().status == 503).then_some(()));
    assert_eq!(ask(sidecar.admin, "/healthz", "Host: localhost\r\n").status, 200, "the process is well");
}

#[test]
fn the_configured_check_decides_what_healthy_means() {
    let upstream = Recorder::with(|exchange| match exchange.request.target.as_str() {
        "/api/health" => exchange.reply(200, "{\"status\":\"starting\"}"),
        _ => exchange.reply(200, ""),
    });
    let check = "{ path = \"/api/health\", interval = \"100ms\", json = { status = \"healthy\" } }";
    let sidecar = Builder::guarding(upstream.address).set("inbound", "health", check).start_alive();
    eventually("down", || {
        let answer = ask(sidecar.admin, "/readyz", "Host: localhost\r\n");
        answer.text().contains("the member \\\"status\\\" of the body is not \\\"healthy\\\"").then_some(())
    });
    assert_eq!(raw::get(sidecar.address, "/health").status, 200, "requests are forwarded all the same");
}

#[test]
fn a_failed_reload_is_mentioned_and_service_goes_on() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    std::fs::write(sidecar.config_path(), "secret_line = \"hunter2\"\n").unwrap();
    sidecar.process.signal("HUP");
    eventually("it shows", || {
        (sidecar.metric("countersign_config_reloads_total", &["result=\"failed\""]) >= 1.0).then_some(())
    });
    assert_eq!(sidecar.metric("countersign_config_last_reload_ok", &[]), 0.0);
    let answer = ask(sidecar.admin, "/readyz", "Host: localhost\r\n");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("reload was refused") && !answer.text().contains("hunter2"), "{}", answer.text());
    assert_eq!(raw::get(sidecar.address, "/health").status, 200);
}

#[test]
fn strangers_make_no_new_series() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let series = || -> BTreeSet<String> {
        let text = sidecar.metrics();
        text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal");
    assert_eq!(
        raw::exchange(sidecar.address, format!("GET /api/internal HTTP/1.1\r\nHost: a\r\n{signed}\r\n")).status,
        200
    );
    let before = series();
    let mut client = raw::Client::connect(sidecar.address);
    for n in 0..count(500, 50_000) {
        let forged = sign::headers(KEY_A, &format!("id-{n}"), "GET", "/api/internal");
        client.send(format!("M{n} /api/internal/{n} HTTP/1.1\r\nHost: h{n}\r\nContent-Length: 0\r\n{forged}\r\n"));
        assert_eq!(client.answer().status, 401);
    }
    assert_eq!(series(), before);
    assert!(sidecar.metric("service_auth_attempts_total", &["service_id=\"unknown\"", "result=\"failed\""]) >= 500.0);
}

#[test]
fn a_slow_head_does_not_keep_others_out() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let mut slow: Vec<raw::Client> = (0..40).map(|_| raw::Client::connect(sidecar.admin)).collect();
    for client in &mut slow {
        client.send("GET /metrics HT");
    }
    assert_eq!(ask(sidecar.admin, "/healthz", "Host: localhost\r\n").status, 200);
    assert!(slow[0].silent_for(Duration::from_millis(50)), "it is still waited for");
}

#[test]
fn draining_is_not_ready_and_alive_to_the_end() {
    let (begun, wait) = std::sync::mpsc::channel();
    let (go, release) = std::sync::mpsc::channel::<()>();
    let release = std::sync::Mutex::new(release);
    let begun = std::sync::Mutex::new(begun);
    let upstream = Recorder::with(move |exchange| {
        let _ = begun.lock().unwrap().send(());
        let _ = release.lock().unwrap().recv();
        exchange.reply(200, "done")
    });
    let mut sidecar = Builder::guarding(upstream.address).start();
    let mut client = raw::Client::connect(sidecar.address);
    client.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    wait.recv().unwrap();
    sidecar.process.signal("TERM");
    eventually("not ready", || (ask(sidecar.admin, "/readyz", "Host: localhost\r\n").status == 503).then_some(()));
    assert!(ask(sidecar.admin, "/readyz", "Host: localhost\r\n").text().contains("draining"));
    assert_eq!(ask(sidecar.admin, "/healthz", "Host: localhost\r\n").status, 200);
    go.send(()).unwrap();
    assert_eq!(client.answer().status, 200);
    assert!(sidecar.process.wait().success());
}
