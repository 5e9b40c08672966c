use super::*;
use crate::admin::Readiness;
use crate::telemetry::metrics::Metrics;
use http_body_util::BodyExt;
use hyper::Request;
use std::sync::Arc;

fn state() -> AdminState {
    AdminState {
        metrics: Arc::new(Metrics::new(1, ["npu-worker"])),
        readiness: Arc::new(Readiness::new(vec![])),
        allowed_hosts: Arc::new(arc_swap::ArcSwap::from_pointee(vec!["backend.internal:9180".to_owned()])),
    }
}

/// Status, headers and body of the answer to a request.
fn ask(state: &AdminState, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let (head, body) = answer(state, &head).into_parts();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(body.collect()).unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn get(target: &str) -> (u16, HeaderMap, String) {
    ask(&state(), "GET", target, &[("host", "localhost")])
}

#[test]
fn the_paths_that_are_there_answer() {
    for (path, content_type, text) in [
        ("/metrics", OPENMETRICS, "service_auth_attempts_total{service_id=\"npu-worker\",result=\"success\"} 0\n"),
        ("/metrics?x=1", OPENMETRICS, "# EOF\n"),
        ("/healthz", TEXT, "ok\n"),
        ("/livez", TEXT, "ok\n"),
        ("/", TEXT, "/readyz"),
    ] {
        let (status, headers, body) = get(path);
        assert_eq!((status, headers[CONTENT_TYPE].to_str().unwrap()), (200, content_type), "{path}");
        assert!(body.contains(text), "{path}: {body}");
    }
}

#[test]
fn everything_else_is_not_there() {
    for path in [
        "/metrics/",
        "//metrics",
        "/Metrics",
        "/%6detrics",
        "/metrics/..",
        "/healthz/../metrics",
        "/admin",
        "/v1/status",
        "/debug/pprof",
        "/metrics;a",
        "/.",
        "/etc/passwd",
    ] {
        let (status, headers, body) = get(path);
        assert_eq!((status, headers[CONNECTION].to_str().unwrap()), (404, "close"), "{path}");
        assert!(body.contains("\"reason\":\"not_found\"") && !body.contains("passwd"), "{path}: {body}");
    }
}

#[test]
fn who_may_not_ask_is_told_nothing() {
    let state = state();
    for (method, headers, status, reason) in [
        ("GET", &[][..], 400, "host_unclear"),
        ("GET", &[("host", "a"), ("host", "a")], 400, "host_unclear"),
        ("GET", &[("host", "127.0.0.1.evil.example")], 403, "foreign_host"),
        ("GET", &[("host", "localhost"), ("origin", "http://evil.example")], 403, "foreign_origin"),
        ("GET", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], 403, "foreign_origin"),
        ("POST", &[("host", "localhost"), ("content-type", "text/plain")], 405, "method_not_allowed"),
        ("POST", &[("host", "evil.example")], 403, "foreign_host"),
    ] {
        for path in ["/metrics", "/readyz", "/healthz", "/", "/nothing"] {
            let (found, answered, body) = ask(&state, method, path, headers);
            assert_eq!(found, status, "{method} {path} {headers:?}");
            assert!(body.contains(&format!("\"reason\":\"{reason}\"")), "{body}");
            assert!(!body.contains("service_auth") && !body.contains("upstream"), "{body}");
            assert_eq!(answered.get(ALLOW).is_some(), status == 405);
        }
    }
}

#[test]
fn an_allowed_host_is_answered_and_a_reload_can_take_it_back() {
    let state = state();
    let headers = [("host", "backend.internal:9180")];
    assert_eq!(ask(&state, "GET", "/metrics", &headers).0, 200);
    state.allowed_hosts.store(Arc::new(vec![]));
    assert_eq!(ask(&state, "GET", "/metrics", &headers).0, 403);
}

#[test]
fn ready_says_yes_or_why_not() {
    let state = state();
    let ask_ready = || ask(&state, "GET", "/readyz", &[("host", "[::1]:9180")]);
    let (status, headers, body) = ask_ready();
    assert_eq!((status, headers[CONTENT_TYPE].to_str().unwrap()), (503, JSON));
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(body["reasons"][0].as_str().unwrap().starts_with("starting"), "{body}");
    state.readiness.serving();
    let (status, _, body) = ask_ready();
    assert_eq!((status, body.as_str()), (200, "{\"ready\":true,\"reasons\":[],\"upstreams\":[]}\n"));
    state.readiness.draining();
    assert_eq!(ask_ready().0, 503);
    assert_eq!(ask(&state, "GET", "/healthz", &[("host", "localhost")]).0, 200, "alive until the end");
}

#[test]
fn every_answer_tells_browsers_to_keep_their_hands_off() {
    for path in ["/metrics", "/readyz", "/healthz", "/", "/nothing"] {
        let (_, headers, _) = get(path);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value, "{path} {name}");
        }
        assert!(headers.get("access-control-allow-origin").is_none());
    }
}

#[test]
fn a_scraper_gets_the_format_it_reads() {
    let state = state();
    for (accept, content_type) in [
        ("*/*", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", OPENMETRICS),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", PLAIN_METRICS),
        ("text/html,application/xhtml+xml,*/*;q=0.8", PLAIN_METRICS),
    ] {
        let (_, headers, body) = ask(&state, "GET", "/metrics", &[("host", "localhost"), ("accept", accept)]);
        assert_eq!(headers[CONTENT_TYPE].to_str().unwrap(), content_type, "{accept}");
        let plain = content_type == PLAIN_METRICS;
        assert_eq!(body.contains("# TYPE service_auth_attempts_total counter\n"), plain);
        assert_eq!(body.ends_with("# EOF\n"), !plain);
    }
}
