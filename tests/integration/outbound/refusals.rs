//! What does not leave: web pages, other hosts, other spellings of listed ones. Nothing of it reaches anybody.

use super::super::support::eventually;
use super::super::support::raw::{Client, exchange};
use super::super::support::recorder::Recorder;
use super::super::support::refusal::assert_refused;
use super::signing;

#[test]
fn a_web_page_gets_nothing_signed() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[upstream.address]);
    let listener = signing.sidecar.address;
    for (what, line) in [
        ("an origin", "Origin: http://evil.example\r\n"),
        ("its own origin", &format!("Origin: http://{listener}\r\n")),
        ("an origin it hides", "Origin: null\r\n"),
        ("a form", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"),
        ("an image", "sec-fetch-site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n"),
        ("a sibling", "Sec-Fetch-Site: same-site\r\n"),
        ("a preflight", "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n"),
        ("a websocket", "Origin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
    ] {
        for (address, target, host) in [
            (listener, "/api/internal".to_owned(), listener.to_string()),
            (listener, "/api/internal".to_owned(), upstream.address.to_string()),
            (signing.proxy, format!("http://{}/api/internal", upstream.address), upstream.address.to_string()),
        ] {
            for method in ["GET", "POST", "OPTIONS"] {
                let answer = exchange(address, format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{line}\r\n"));
                assert_refused(&answer, 403, "cross_origin");
                assert!(!answer.fields.0.iter().any(|(name, _)| name.to_lowercase().starts_with("access-control")));
            }
        }
        assert!(upstream.requests().is_empty(), "{what} got through");
    }
    for line in ["Sec-Fetch-Site: none\r\n", "Sec-Fetch-Site: same-origin\r\n", "Referer: http://x/\r\n"] {
        let answer = exchange(listener, format!("GET / HTTP/1.1\r\nHost: {listener}\r\n{line}\r\n"));
        assert_eq!(answer.status, 200, "{line}");
    }
}

#[test]
fn a_name_made_to_lead_here_gets_nothing_signed() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    let (listener, port) = (signing.sidecar.address, signing.sidecar.address.port());
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1:{}", port.wrapping_add(1)),
        "127.0.0.1".to_owned(),
        format!("127.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("localhost.:{port}"),
        format!("0.0.0.0:{port}"),
    ] {
        let answer = exchange(listener, format!("GET /api/internal HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let id = assert_refused(&answer, 403, "host_not_allowed");
        let record = signing.sidecar.record(&id);
        assert_eq!(record["direction"], "outbound", "{record}");
        assert_eq!(
            (&record["outcome"], &record["reason"]),
            (&"refuse".into(), &"host_not_allowed".into()),
            "{record}"
        );
        assert_eq!(record["status"], 403);
        for absent in ["service", "scheme", "upstream"] {
            assert!(record.get(absent).is_none(), "{record}");
        }
    }
    assert!(upstream.requests().is_empty());
    for host in [format!("localhost:{port}"), format!("[::1]:{port}"), format!("LOCALHOST:{port}")] {
        assert_eq!(exchange(listener, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200, "{host}");
    }
}

#[test]
fn a_forward_proxy_is_not_open() {
    let (upstream, other) = (Recorder::plain(), Recorder::plain());
    let signing = signing(upstream.address, &[]);
    let port = upstream.address.port();
    let mut refused = 0;
    for url in [
        format!("http://{}/", other.address),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fe80::1]/".to_owned(),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://0x7f.0.0.1:{port}/"),
        format!("http://0177.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1.:{port}/"),
        format!("http://127.0.0.1:0{port}/"),
        "http://127.0.0.1/".to_owned(),
        format!("http://127.0.0.1:{port}@{}/", other.address),
        format!("http://user@127.0.0.1:{port}/"),
        format!("http://user:secret@127.0.0.1:{port}/"),
        format!("http://{}\\@127.0.0.1:{port}/", other.address),
        format!("http://127.0.0.1:{port}%2f@{}/", other.address),
        format!("https://127.0.0.1:{port}/"),
        format!("http://{}/", signing.proxy),
        format!("http://{}/", signing.sidecar.address),
        format!("http://{}/", signing.sidecar.admin),
    ] {
        for host in [upstream.address.to_string(), signing.proxy.to_string()] {
            let answer = exchange(signing.proxy, format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_refused(&answer, 403, "host_not_allowed");
            refused += 1;
        }
    }
    // A path alone says nothing of where to, unless Host names what is listed.
    for host in [signing.proxy, signing.sidecar.address, other.address] {
        let answer = exchange(signing.proxy, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_refused(&answer, 403, "host_not_allowed");
        refused += 1;
    }
    // And beside a URL it may not say something else.
    let two = format!("GET http://{}/ HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.address, other.address);
    assert_refused(&exchange(signing.proxy, two), 403, "host_not_allowed");
    for target in [upstream.address, other.address] {
        for address in [signing.proxy, signing.sidecar.address] {
            let answer = exchange(address, format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
            assert_refused(&answer, 403, "connect_not_allowed");
        }
    }
    assert!(upstream.requests().is_empty() && other.requests().is_empty());
    let total = |reason: &str| {
        signing.sidecar.metric("countersign_outbound_refusals_total", &[&format!("reason=\"{reason}\"")])
    };
    assert_eq!(total("host_not_allowed"), f64::from(refused + 1));
    assert_eq!(total("connect_not_allowed"), 4.0);
    assert_eq!(signing.sidecar.metric("countersign_outbound_requests_total", &["refuse"]), f64::from(refused + 5));
    // Nobody is counted, so nobody is locked out.
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", upstream.address);
    assert_eq!(exchange(signing.proxy, request).status, 200);
}

#[test]
fn what_cannot_be_read_one_way_is_refused_here_too() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    let listener = signing.sidecar.address;
    for request in [
        format!(
            "POST / HTTP/1.1\r\nHost: {listener}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\nHost: {listener}\r\nHost: {listener}\r\n\r\n"),
        format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nHost: a\r\n\r\n", upstream.address),
        format!("GET http://{}/ HTTP/1.1\r\n\r\n", upstream.address),
        format!("GET http://{0}/#a HTTP/1.1\r\nHost: {0}\r\n\r\n", upstream.address),
        format!("GET ftp://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", upstream.address),
        format!("GET http:///a HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.address),
        format!("GET / HTTP/1.1\nHost: {listener}\n\n"),
        format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nContent-Length: 5\r\n\r\nhello", upstream.address),
    ] {
        for address in [listener, signing.proxy] {
            let id = assert_refused(&exchange(address, &request), 400, "malformed_request");
            let record = signing.sidecar.record(&id);
            assert_eq!(
                (&record["direction"], &record["outcome"]),
                (&"outbound".into(), &"refuse".into()),
                "{record}"
            );
            assert!(record["fault"].is_string(), "{record}");
        }
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_refused_request_leaves_its_connection_and_nothing_of_its_body_is_a_request() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    let listener = signing.sidecar.address;
    let mut client = Client::connect(listener);
    let inner = format!("GET /smuggled HTTP/1.1\r\nHost: {listener}\r\n\r\n");
    client.send(format!(
        "POST /a HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {}\r\n\r\n{inner}GET /b HTTP/1.1\r\nHost: {listener}\r\n\r\n",
        inner.len()
    ));
    assert_refused(&client.answer(), 403, "host_not_allowed");
    assert_eq!(client.answer().status, 200);
    let seen = eventually("the second request", || Some(upstream.requests()).filter(|seen| !seen.is_empty()));
    assert_eq!(seen.iter().map(|request| request.target.as_str()).collect::<Vec<_>>(), ["/b"]);
    let head = exchange(listener, "HEAD / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!((head.status, head.body.bytes.len()), (403, 0));
    eventually("two records", || {
        let refused = signing.sidecar.audit().into_iter().filter(|record| record["outcome"] == "refuse").count();
        (refused == 2).then_some(())
    });
}

#[test]
fn a_body_that_cannot_be_read_leaves_nothing_upstream_and_no_signature_on_record() {
    let upstream = Recorder::plain();
    let signing = signing(upstream.address, &[]);
    let request = format!(
        "POST /a HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        signing.sidecar.address
    );
    let id = assert_refused(&exchange(signing.sidecar.address, request), 400, "malformed_request");
    let record = signing.sidecar.record(&id);
    assert_eq!((&record["fault"], &record["direction"]), (&"chunk".into(), &"outbound".into()), "{record}");
    assert!(record.get("service").is_none() && record.get("upstream").is_none(), "{record}");
    assert!(upstream.requests().is_empty());
}
