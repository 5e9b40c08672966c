//! The forward proxy's own: tunnels where they are listed, and everything else by its whole URL.

use super::super::support::free_address;
use super::super::support::raw::{Client, exchange};
use super::super::support::recorder::{Recorder, Then};
use super::super::support::refusal::assert_own_failure;
use super::super::support::sidecar::Builder;
use super::{assert_signed, signing};

#[test]
fn a_listed_tunnel_carries_bytes_as_they_are() {
    let upstream = Recorder::plain();
    let signing = signing(free_address(), &[upstream.address]);
    let mut client = Client::connect(signing.proxy);
    let target = upstream.address;
    // What comes right behind is the tunnel's first word.
    client.send(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nX-Request-ID: tunnel-1\r\nX-Service-ID: forged\r\n\r\n\
         GET /in HTTP/1.1\r\nHost: inner\r\nX-Mark: inside\r\n\r\n"
    ));
    let (status, _, fields) = client.try_head().unwrap();
    assert_eq!((status, fields.one("x-request-id")), (200, Some("tunnel-1")));
    assert!(!fields.has("content-length") && !fields.has("transfer-encoding"));
    assert_eq!(client.answer().text(), "ok");
    let seen = upstream.the("inside");
    assert_eq!(seen.head, b"GET /in HTTP/1.1\r\nHost: inner\r\nX-Mark: inside\r\n\r\n", "nothing in it is signed");
    let record = signing.sidecar.record("tunnel-1");
    assert_eq!((&record["method"], &record["status"]), (&"CONNECT".into(), &200.into()), "{record}");
    assert_eq!(record["upstream"], target.to_string());
    for absent in ["path", "service", "scheme", "reason"] {
        assert!(record.get(absent).is_none(), "{record}");
    }
    client.send("GET /again HTTP/1.1\r\nHost: inner\r\nX-Mark: again\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert_eq!(signing.sidecar.metric("countersign_tunnels", &[]), 1.0);
}

#[test]
fn a_tunnel_that_cannot_be_opened_is_answered_as_such() {
    let gone = free_address();
    let signing = signing(free_address(), &[gone]);
    let answer = exchange(signing.proxy, format!("CONNECT {gone} HTTP/1.1\r\nHost: {gone}\r\n\r\n"));
    assert_eq!(assert_own_failure(&answer, 502), "upstream_unreachable");
}

#[test]
fn each_listed_host_gets_its_own_requests_on_one_connection() {
    let upstreams = [Recorder::plain(), Recorder::plain()];
    let proxy = free_address();
    let allow: Vec<String> = upstreams.iter().map(|upstream| upstream.address.to_string()).collect();
    let sidecar = Builder::signing(&format!("http://{}", upstreams[0].address))
        .rules(&format!("[[outbound]]\nlisten = \"{proxy}\"\nforward_proxy = true\nallow = {allow:?}\n"));
    let _sidecar = sidecar.start();
    let mut client = Client::connect(proxy);
    for round in 0..6 {
        let host = upstreams[round % 2].address;
        client
            .send(format!("POST http://{host}/r%20{round} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nab"));
        assert_eq!(client.answer().status, 200);
    }
    for (place, upstream) in upstreams.iter().enumerate() {
        let seen = upstream.requests();
        assert_eq!(seen.len(), 3);
        for request in &seen {
            let round: usize = request.target.trim_start_matches("/r%20").parse().unwrap();
            assert_eq!(round % 2, place);
            assert_signed(request, &format!("/r {round}"));
        }
    }
}

#[test]
fn an_upgrade_asked_for_by_url_is_signed_and_switches() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let _ = exchange.stream.fill();
        let heard = std::mem::take(&mut exchange.stream.ahead);
        exchange.send(heard);
        Then::Close
    });
    let signing = signing(upstream.address, &[]);
    let mut client = Client::connect(signing.proxy);
    client.send(format!(
        "GET http://{0}/ws HTTP/1.1\r\nHost: {0}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        upstream.address
    ));
    assert_eq!(client.try_head().unwrap().0, 101);
    client.send("frames");
    while client.stream.ahead != b"frames" {
        assert!(client.stream.fill().unwrap(), "the tunnel ended");
    }
    assert_signed(&upstream.requests()[0], "/ws");
}
