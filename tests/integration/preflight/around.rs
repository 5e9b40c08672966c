//! Whoever reaches the upstream around the sidecar needs no signature.

use super::{Recorder, guarding, make_ready, preflight};
use crate::support::{eventually, missing};
use std::net::{IpAddr, TcpListener, UdpSocket};

/// An address of this machine by which others reach it; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn an_upstream_that_others_reach_directly_is_no_go_until_it_is_closed() {
    let Some(own) = own_address() else { return missing("an address that is not loopback") };
    // A backend on 0.0.0.0 would listen on this address too.
    let (upstream, around) = eventually("a port that is free on both addresses", || {
        let upstream = Recorder::plain();
        let around = TcpListener::bind((own, upstream.address.port())).ok()?;
        Some((upstream, around))
    });
    let sidecar = guarding(upstream.address).start();
    sidecar.metrics();
    let start = || preflight(&sidecar, &["--gate", "start"]);
    let place = format!("{own}:{} takes connections, past the sidecar", upstream.address.port());
    start().is_no_go_for(&[("upstream_around", "fail", &place)]);
    let said = preflight(&sidecar, &["--gate", "start", "--waive", "upstream_around=firewalled"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    drop(around);
    start().is_go();
    assert!(start().of("upstream_around")["measured"].as_str().unwrap().contains(&own.to_string()));
}

#[test]
fn the_start_asks_for_no_phase() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address).start();
    let said = preflight(&sidecar, &["--gate", "start"]);
    said.is_no_go_for(&[("monitoring", "fail", "never since")]);
    make_ready(&sidecar);
    let said = preflight(&sidecar, &["--gate", "start"]);
    said.is_go();
    assert_eq!(said.json["pass"], 10, "{}", said.text);
    drop(upstream);
    let down = eventually("the upstream is known to be down", || {
        let said = preflight(&sidecar, &["--gate", "start"]);
        (said.of("upstream")["verdict"] == "fail").then_some(said)
    });
    assert_eq!(down.of("ready")["verdict"], "fail", "{}", down.text);
    assert!(down.of("upstream")["measured"].as_str().unwrap().contains("is down"), "{}", down.text);
}
