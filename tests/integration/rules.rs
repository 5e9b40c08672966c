//! Rules as an operator writes them: configuration text, request, verdict.

use super::support::raw::{exchange, get, get_with};
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, KEY_B, sign};

fn under(upstream: &Recorder, rules: &str) -> Sidecar {
    Builder::guarding(upstream.address).unlimited().rules(rules).start()
}

#[track_caller]
fn assert_verdicts(sidecar: &Sidecar, verdicts: &[(&str, &str, u16)]) {
    for (method, target, status) in verdicts {
        let mut client = super::support::raw::Client::connect(sidecar.address);
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.answer_to(method).status, *status, "{method} {target}");
    }
}

#[test]
fn the_most_specific_rule_wins_whatever_the_order() {
    let upstream = Recorder::plain();
    let narrow = "[[rule]]\npaths = [\"/api/npu/workers\", \"/api/npu/load-balancing\"]\naccess = \"exempt\"\n";
    let broad = "[[rule]]\npaths = [\"/api/npu\"]\naccess = \"service\"\n";
    for rules in [format!("{narrow}{broad}"), format!("{broad}{narrow}")] {
        assert_verdicts(
            &under(&upstream, &rules),
            &[
                ("GET", "/api/npu", 401),
                ("GET", "/api/npu/results/1", 401),
                ("GET", "/api/npu/workers", 200),
                ("GET", "/api/npu/workers/3/log", 200),
                ("GET", "/api/npu/load-balancing", 200),
                ("GET", "/api/npu/workersx", 401),
                ("GET", "/api/npux", 401),
                ("GET", "/api", 200),
            ],
        );
    }
}

#[test]
fn patterns_are_whole_segments_stars_and_exact_paths() {
    let upstream = Recorder::plain();
    let rules = r#"
[[rule]]
paths = ["/tasks/*/results", "=/exact"]
access = "service"
[[rule]]
paths = ["/tasks/public/results"]
access = "exempt"
[[rule]]
paths = ["/chat"]
access = "exempt"
[[rule]]
paths = ["/chat/admin"]
access = "service"
[[rule]]
paths = ["=/chat/admin/health"]
access = "exempt"
"#;
    assert_verdicts(
        &under(&upstream, rules),
        &[
            ("GET", "/tasks/7/results", 401),
            ("GET", "/tasks/7/results/deep", 401),
            ("GET", "/tasks/7/resultsx", 401),
            ("GET", "/tasks/7/8/results", 200),
            ("GET", "/tasks/results", 200),
            ("GET", "/tasks/public/results", 200),
            ("GET", "/exact", 401),
            ("GET", "/exact/below", 200),
            ("GET", "/exactly", 200),
            ("GET", "/chat/admin", 401),
            // Another rule covers this one by whole segments, so it is not stretched to.
            ("GET", "/chat/admin.json", 200),
            ("GET", "/chat/admin/health", 200),
            ("GET", "/chat/admin/health/x", 401),
            ("GET", "/chat/admin/healthy", 401),
            ("GET", "/chat/other", 200),
        ],
    );
}

#[test]
fn a_rule_bound_to_methods_holds_for_those_and_get_covers_head() {
    let upstream = Recorder::plain();
    let rules = r#"
[[rule]]
paths = ["/written"]
methods = ["POST", "PUT"]
access = "service"
[[rule]]
paths = ["/read"]
methods = ["GET"]
access = "service"
[[rule]]
paths = ["/both"]
access = "service"
[[rule]]
paths = ["/both"]
methods = ["GET"]
access = "exempt"
"#;
    assert_verdicts(
        &under(&upstream, rules),
        &[
            ("GET", "/written", 200),
            ("POST", "/written", 401),
            ("PUT", "/written/x", 401),
            ("PATCH", "/written", 200),
            ("GET", "/read", 401),
            ("HEAD", "/read", 401),
            ("POST", "/read", 200),
            ("GET", "/both", 200),
            ("HEAD", "/both", 200),
            ("POST", "/both", 401),
            ("OPTIONS", "/both", 401),
        ],
    );
}

#[test]
fn what_no_rule_covers_follows_the_default() {
    let upstream = Recorder::plain();
    let rules = "[[rule]]\npaths = [\"/health\"]\naccess = \"exempt\"\n";
    let closed =
        Builder::guarding(upstream.address).unlimited().rules(rules).set("", "default_access", "\"service\"").start();
    assert_verdicts(
        &closed,
        &[("GET", "/health", 200), ("GET", "/", 401), ("GET", "/anything", 401), ("OPTIONS", "*", 401)],
    );
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/anything");
    assert_eq!(get_with(closed.address, "/anything", &signed).status, 200);
    let open = under(&upstream, rules);
    assert_verdicts(&open, &[("GET", "/health", 200), ("GET", "/", 200), ("GET", "/anything", 200)]);
}

#[test]
fn where_readings_fall_under_several_rules_the_caller_must_be_allowed_by_each() {
    let upstream = Recorder::plain();
    let rules = r#"
[[rule]]
name = "npu"
paths = ["/api/npu"]
access = "service"
callers = ["npu-worker"]
[[rule]]
name = "ai"
paths = ["/api/ai"]
access = "service"
callers = ["ai-stack"]
[[rule]]
name = "either"
paths = ["/api/shared"]
access = "service"
callers = ["npu-worker", "ai-stack"]
"#;
    let sidecar = under(&upstream, rules);
    let called = |key, id, target: &str, signed: &str| {
        get_with(sidecar.address, target, &sign::headers(key, id, "GET", signed)).status
    };
    for (target, signed, npu, ai) in [
        ("/api/npu/x", "/api/npu/x", 200, 403),
        ("/api/ai/x", "/api/ai/x", 403, 200),
        ("/api/shared/x", "/api/shared/x", 200, 200),
        // Read plainly the one, read with its dots resolved the other.
        ("/api/npu/../ai/x", "/api/npu/../ai/x", 403, 403),
        ("/api/shared/../ai/x", "/api/shared/../ai/x", 403, 200),
        ("/api/npu/..%2fshared/x", "/api/npu/../shared/x", 200, 403),
    ] {
        assert_eq!(called(KEY_A, "npu-worker", target, signed), npu, "npu-worker {target}");
        assert_eq!(called(KEY_B, "ai-stack", target, signed), ai, "ai-stack {target}");
    }
}

#[test]
fn the_largest_percentage_of_several_rules_holds() {
    let upstream = Recorder::plain();
    let rules = "[[rule]]\npaths = [\"/none\"]\naccess = \"service\"\nenforce = 0\n\
                 [[rule]]\npaths = [\"/all\"]\naccess = \"service\"\nenforce = 100\n";
    let sidecar = under(&upstream, rules);
    assert_eq!(get(sidecar.address, "/none/x").status, 200);
    assert_eq!(get(sidecar.address, "/none/../all/x").status, 401);
    assert_eq!(get(sidecar.address, "/all/..%2fnone/x").status, 401);
}

#[test]
fn a_long_path_passes_when_it_is_clean_and_is_guarded_when_it_cannot_be_read_in_every_way() {
    let upstream = Recorder::plain();
    let sidecar = under(&upstream, "[[rule]]\npaths = [\"/api/internal\"]\naccess = \"service\"\n");
    let long = "a".repeat(3000);
    assert_verdicts(
        &sidecar,
        &[
            ("GET", &format!("/{long}"), 200),
            ("GET", &format!("/{long}%2f"), 401),
            ("GET", &format!("/x?{long}%2f"), 200),
            ("GET", &format!("/api/internal/{long}"), 401),
        ],
    );
    let target = format!("/{long}%20b");
    let signed = sign::headers(KEY_A, "npu-worker", "GET", &format!("/{long} b"));
    assert_eq!(get_with(sidecar.address, &target, &signed).status, 200);
}

#[test]
fn the_query_never_counts() {
    let upstream = Recorder::plain();
    let sidecar = under(&upstream, super::support::sidecar::RULES);
    assert_verdicts(
        &sidecar,
        &[
            ("GET", "/open?/api/internal", 200),
            ("GET", "/open?path=../api/internal", 200),
            ("GET", "/api/internal?exempt=/api/chat", 401),
            ("GET", "/api/internal?", 401),
        ],
    );
}

#[test]
fn a_listener_on_ipv6_and_a_unix_socket_guard_alike() {
    let upstream = Recorder::plain();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guard.sock");
    let builder =
        Builder::guarding(upstream.address).set("inbound", "listen", format!("\"unix:{}\"", path.display()));
    let sidecar = builder.start();
    let unix = |target: &str, lines: &str| {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(super::support::DEADLINE)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n{lines}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(unix("/api/internal/x", "").starts_with("HTTP/1.1 401 "));
    assert!(unix("/open", "").starts_with("HTTP/1.1 200 "));
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/x");
    assert!(unix("/api/internal/x", &signed).starts_with("HTTP/1.1 200 "));
    let records =
        super::support::eventually("the records", || Some(sidecar.audit()).filter(|records| records.len() >= 3));
    let client = records.iter().filter_map(|record| record["client"].as_str()).next().unwrap();
    assert!(client.starts_with("unix:"), "{client}");

    let address = super::support::free_address();
    let listen = format!("[::]:{}", address.port());
    let dual = Builder::guarding(upstream.address).set("inbound", "listen", format!("{listen:?}")).start();
    let (v6, v4) = ((std::net::Ipv6Addr::LOCALHOST, address.port()).into(), address);
    for n in 0..10 {
        assert_eq!(get(v4, "/api/internal/x").status, 401, "{n}");
    }
    // An IPv4 peer on an IPv6 socket is the IPv4 address.
    let limited = get(v4, "/api/internal/x");
    assert_eq!(limited.status, 429);
    assert_eq!(dual.record(limited.fields.one("x-request-id").unwrap())["client"], "127.0.0.1");
    let other = get(v6, "/api/internal/x");
    assert_eq!(other.status, 401);
    assert_eq!(dual.record(other.fields.one("x-request-id").unwrap())["client"], "::1");
}

#[test]
fn several_backends_are_guarded_by_one_sidecar() {
    let (first, second) = (Recorder::plain(), Recorder::plain());
    let other = super::support::free_address();
    let more = format!(
        "{}\n[[inbound]]\nlisten = \"{other}\"\nupstream = \"http://{}\"\n",
        super::support::sidecar::RULES,
        second.address
    );
    let sidecar = Builder::guarding(first.address).rename("inbound", "[inbound]").rules(&more).start();
    assert_eq!((get(sidecar.address, "/to-first").status, get(other, "/to-second").status), (200, 200));
    assert_eq!((get(sidecar.address, "/api/internal").status, get(other, "/api/internal").status), (401, 401));
    assert_eq!((first.marked("/to-first").len(), first.marked("/to-second").len()), (1, 0));
    assert_eq!((second.marked("/to-first").len(), second.marked("/to-second").len()), (0, 1));
    let head = exchange(other, "HEAD /to-second HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(head.status, 200);
}

#[test]
fn the_guarded_port_serves_nothing_of_our_own() {
    let upstream = Recorder::plain();
    let sidecar = under(&upstream, super::support::sidecar::RULES);
    for path in ["/metrics", "/healthz", "/readyz", "/livez", "/v1/status", "/v1/enforcement"] {
        assert_eq!(get(sidecar.address, path).text(), "ok");
        assert_eq!(upstream.marked(&format!(" {path} ")).len(), 1, "{path}");
    }
}
