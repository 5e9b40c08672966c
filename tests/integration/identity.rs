//! Identity: only the proxy says who called. What the outside claims is dropped before our own is set, on every kind of
//! request, in heads and in trailers; nothing a client sends can remove what we set.

use super::support::raw::{Answer, Client, exchange, get_with};
use super::support::recorder::{Recorded, Recorder};
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, sign};

/// Names that some server takes for `X-Authenticated-Service`.
const FORGED: &[&str] = &[
    "X-Authenticated-Service",
    "x-authenticated-service",
    "X-AUTHENTICATED-SERVICE",
    "X_Authenticated_Service",
    "x_authenticated_service",
    "X-Authenticated_Service",
    "X_Authenticated-Service",
    "X.Authenticated.Service",
    "X-Authenticated.Service",
    "x.authenticated_service",
];

/// Names that some server takes for a credential header, and that are not one.
const LOOK_ALIKES: &[&str] = &[
    "X_Service_ID",
    "X-Service_ID",
    "X.Service.ID",
    "x_service-id",
    "X_Service_Timestamp",
    "X-Service.Timestamp",
    "X.Service_Signature",
    "x_service_signature",
    "X_Override_Token",
    "X.Override-Token",
];

fn spoofed() -> String {
    let lines = FORGED.iter().map(|name| format!("{name}: ai-stack\r\n"));
    lines.chain(LOOK_ALIKES.iter().map(|name| format!("{name}: spoof\r\n"))).collect()
}

/// `_` and `.` read as `-`, lower case: how a server that confuses names sees this one.
fn confused(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Nothing but the exact credential names may be left, and the identity only as we set it.
#[track_caller]
fn assert_clean(request: &Recorded, service: Option<&str>) {
    let credentials = ["x-service-id", "x-service-timestamp", "x-service-signature"];
    let fields = request.fields.0.iter().chain(&request.body.trailers.0);
    for (name, value) in fields {
        let seen = confused(name);
        let exact = name.eq_ignore_ascii_case(&seen);
        assert!(seen != "x-override-token", "{name}: {value}");
        assert!(!credentials.contains(&seen.as_str()) || exact, "{name}: {value}");
        assert!(seen != "x-authenticated-service" || exact && Some(value.as_str()) == service, "{name}: {value}");
    }
    assert_eq!(request.fields.one("x-authenticated-service"), service);
    assert!(!request.body.trailers.has("x-authenticated-service"));
}

/// One sidecar per way in which a request gets through, and what to send to get through that way.
fn ways_through(upstream: &Recorder) -> Vec<(&'static str, Sidecar, &'static str, String, Option<&'static str>)> {
    let token = "an-override-token-for-tests";
    let builder = || Builder::guarding(upstream.address).override_token(token).unlimited();
    let signed = sign::headers(KEY_A, "npu-worker", "POST", "/api/internal/x");
    vec![
        ("exempt", builder().start(), "/api/chat/x", String::new(), None),
        ("open", builder().start(), "/open/x", String::new(), None),
        ("log mode", builder().log_mode().start(), "/api/internal/x", String::new(), None),
        (
            "unsampled",
            builder().set("enforcement", "percentage", "0").start(),
            "/api/internal/x",
            String::new(),
            None,
        ),
        ("overridden", builder().start(), "/api/internal/x", format!("X-Override-Token: {token}\r\n"), None),
        ("authenticated", builder().start(), "/api/internal/x", signed.clone(), Some("npu-worker")),
        ("exempt, signed", builder().start(), "/api/chat/x", signed, None),
    ]
}

#[test]
fn no_claim_or_look_alike_from_outside_reaches_the_upstream_on_any_kind_of_request() {
    let upstream = Recorder::plain();
    for (way, sidecar, target, lines, service) in ways_through(&upstream) {
        for (place, spoof) in [("before", spoofed() + &lines), ("behind", lines.clone() + &spoofed())] {
            let mark = format!("{}-{place}", way.replace([' ', ','], ""));
            let trailers = spoofed();
            let request = format!(
                "POST {target} HTTP/1.1\r\nHost: b\r\nX-Mark: {mark}\r\n{spoof}TE: trailers\r\n\
                 Trailer: X-Authenticated-Service, X-Checksum, X-Service-ID, X_Service_ID\r\n\
                 Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Checksum: 1\r\nX-Service-ID: late\r\n{trailers}\r\n"
            );
            let answer = exchange(sidecar.address, request);
            assert_eq!(answer.status, 200, "{way}: {answer:?}");
            let seen = upstream.the(&mark);
            assert_clean(&seen, service);
            assert!(!seen.body.trailers.has("x-service-id"), "{way}: {:?}", seen.body.trailers);
            let announced = seen.fields.all("trailer").join(",").to_ascii_lowercase();
            assert!(!announced.contains("service"), "{way}: Trailer: {announced}");
        }
    }
}

#[test]
fn an_honest_trailer_passes_and_is_announced() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    exchange(
        sidecar.address,
        "POST /trailer HTTP/1.1\r\nHost: b\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Checksum: 1\r\n\r\n",
    );
    let seen = upstream.the("/trailer");
    assert_eq!(seen.body.trailers.one("x-checksum"), Some("1"));
    assert_eq!(seen.fields.one("trailer").map(str::to_ascii_lowercase).as_deref(), Some("x-checksum"));
}

#[test]
fn trailers_cannot_change_framing_routing_or_the_connection() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let names =
        ["Content-Length", "Transfer-Encoding", "Host", "Connection", "X-Forwarded-For", "X-Request-ID", "Trailer"];
    let trailers: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let answer = exchange(
        sidecar.address,
        format!(
            "POST /trailers HTTP/1.1\r\nHost: b\r\nTrailer: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n",
            names.join(", ")
        ),
    );
    if answer.status == 200 {
        assert_eq!(upstream.the("/trailers").body.trailers.0, []);
    } else {
        assert_eq!(answer.status, 400);
    }
}

#[test]
fn connection_nominates_other_headers_away_but_never_identity_credentials_or_ours() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let lines = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/x");
    let nominated = "x-service-id, X-Service-Signature, x-service-timestamp, x-authenticated-service, X-Forwarded-For, \
                     x-forwarded-proto, X-Forwarded-Host, x-request-id, host, X-Private, x-other";
    let answer = get_with(
        sidecar.address,
        "/api/internal/x?nominated",
        &format!(
            "{lines}Connection: {nominated}\r\nConnection: x-second-line, keep-alive\r\nX-Private: 1\r\nX-Other: 2\r\n\
             X-Second-Line: 3\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-Stays: 4\r\n"
        ),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.the("nominated");
    for gone in ["x-private", "x-other", "x-second-line", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert!(!seen.fields.has(gone), "{gone}: {:?}", seen.fields);
    }
    for stays in ["x-service-id", "x-service-signature", "x-service-timestamp", "x-authenticated-service", "x-stays"]
    {
        assert!(seen.fields.one(stays).is_some(), "{stays}: {:?}", seen.fields);
    }
    for ours in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "host"] {
        assert!(seen.fields.one(ours).is_some(), "{ours}: {:?}", seen.fields);
    }
    let connection = seen.fields.all("connection").join(",").to_ascii_lowercase();
    assert!(!connection.contains("x-"), "Connection: {connection}");
}

#[test]
fn a_credential_header_that_came_twice_is_refused_never_first_or_last() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let good = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/x");
    for name in
        ["X-Service-ID: npu-worker", "x-service-id: ai-stack", "X-Service-Timestamp: 1", "X-SERVICE-SIGNATURE: 00"]
    {
        for lines in [format!("{good}{name}\r\n"), format!("{name}\r\n{good}")] {
            let answer = get_with(sidecar.address, "/api/internal/x", &lines);
            super::support::refusal::assert_refused(&answer, 401, "malformed_signature");
        }
    }
    assert!(upstream.marked("/api/internal").is_empty());
}

#[test]
fn the_three_claims_pass_on_unchanged_wherever_they_are_not_judged() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    get_with(
        sidecar.address,
        "/api/chat/claims",
        "X-Service-ID: who ever\r\nX-Service-Timestamp: 1\r\nX-Service-Signature: no\r\n",
    );
    let seen = upstream.the("claims");
    assert_eq!(seen.fields.one("x-service-id"), Some("who ever"));
    assert_eq!(seen.fields.one("x-service-timestamp"), Some("1"));
    assert_eq!(seen.fields.one("x-service-signature"), Some("no"));
    assert_eq!(seen.fields.one("x-authenticated-service"), None);
}

const FORWARDED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7, 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6\r\nX-Original-URL: /api/internal\r\n\
    X-Rewrite-URL: /api/internal\r\nX-Forwarded-Uri: /api/internal\r\nX-Forwarded-Prefix: /x\r\n";

#[test]
fn what_a_stranger_says_of_its_way_here_is_overwritten() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let answer = get_with(sidecar.address, "/stranger", FORWARDED);
    let seen = upstream.the("/stranger");
    assert_eq!(seen.fields.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.fields.one("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.fields.one("x-forwarded-host"), Some("backend.test"));
    for gone in ["forwarded", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-prefix"] {
        assert!(!seen.fields.has(gone), "{gone}");
    }
    assert_eq!(sidecar.record(request_id(&answer))["client"], "127.0.0.1");
}

#[test]
fn a_trusted_proxy_names_the_client_and_only_the_nearest_stranger_in_its_chain_counts() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address)
        .set("inbound", "trusted_proxies", "[\"127.0.0.1/32\", \"10.0.0.0/8\"]")
        .start();
    let answer = get_with(sidecar.address, "/trusted", "X-Forwarded-For: 6.6.6.6, 9.9.9.9, 10.1.2.3\r\n");
    assert_eq!(sidecar.record(request_id(&answer))["client"], "9.9.9.9");
    let chain = upstream.the("/trusted").fields.one("x-forwarded-for").unwrap().to_owned();
    assert!(chain.contains("9.9.9.9"), "{chain}");
    // From an address that is no trusted proxy the same header says nothing.
    let answer = super::support::raw::get_from(
        [127, 0, 0, 2].into(),
        sidecar.address,
        "/untrusted",
        "X-Forwarded-For: 9.9.9.9\r\n",
    );
    assert_eq!(sidecar.record(request_id(&answer))["client"], "127.0.0.2");
    assert_eq!(upstream.the("/untrusted").fields.one("x-forwarded-for"), Some("127.0.0.2"));
    // Rubbish in the chain of a trusted proxy names nobody further out.
    let answer = get_with(sidecar.address, "/rubbish", "X-Forwarded-For: 6.6.6.6, rubbish\r\n");
    assert_ne!(sidecar.record(request_id(&answer))["client"], "6.6.6.6");
}

fn request_id(answer: &Answer) -> &str {
    answer.fields.one("x-request-id").unwrap()
}

#[test]
fn a_sane_request_id_is_kept_both_ways_and_any_other_is_replaced() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).start();
    let longest = "a".repeat(128);
    for (number, sane) in
        ["a", "0196f3c2-7e1d-7b3a-9f00-0123456789ab", "A.b_c-1", longest.as_str()].iter().enumerate()
    {
        let target = format!("/sane-{number}");
        let answer = get_with(sidecar.address, &target, &format!("x-request-id: {sane}\r\n"));
        assert_eq!(request_id(&answer), *sane);
        assert_eq!(upstream.the(&target).fields.one("x-request-id"), Some(*sane));
    }
    let long = "a".repeat(129);
    let insane =
        ["", "a b", "a\"b", "a,b", "caf\u{e9}", "a:b", "../x", "\u{2028}", long.as_str(), "a\r\nX-Request-ID: b"];
    for (number, insane) in insane.iter().enumerate() {
        let target = format!("/insane-{number}");
        let answer = get_with(sidecar.address, &target, &format!("X-Request-ID: {insane}\r\n"));
        let ours = request_id(&answer).to_owned();
        assert!(uuid::Uuid::parse_str(&ours).is_ok_and(|id| id.get_version_num() == 7), "{insane:?} became {ours}");
        assert_eq!(upstream.the(&target).fields.one("x-request-id"), Some(ours.as_str()));
        assert_eq!(sidecar.record(&ours)["path"], target.as_str());
    }
}

#[test]
fn every_request_of_a_kept_connection_is_judged_by_its_own_headers() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let mut client = Client::connect(sidecar.address);
    for round in 0..20 {
        let target = format!("/api/internal/kept-{round}");
        let lines = if round % 2 == 0 { sign::headers(KEY_A, "npu-worker", "GET", &target) } else { String::new() };
        client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\n{lines}\r\n"));
        assert_eq!(client.answer().status, if round % 2 == 0 { 200 } else { 401 }, "round {round}");
    }
    let seen = upstream.marked("/kept-");
    assert_eq!(seen.len(), 10);
    seen.iter().for_each(|request| assert_clean(request, Some("npu-worker")));
}
