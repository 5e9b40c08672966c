//! Frames that cost their sender nothing: a flood of any kind ends its connection, is counted, and harms nobody else.

use super::super::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, Frames, HEADERS, PING, PRIORITY, RESET,
    SETTINGS, WINDOW_UPDATE, block, frame, pseudo,
};
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::Sidecar;
use super::guarding;

/// Sends until the other side hangs up, or has been sent far more than any honest client sends; the end must follow.
#[track_caller]
fn is_ended(sidecar: &Sidecar, name: &str, kind: &str, mut flood: impl FnMut(&mut Frames) -> bool) {
    let before = sidecar.metric("countersign_http2_floods_total", &[&format!("kind=\"{kind}\"")]);
    let mut client = Frames::connect(sidecar.address);
    let mut bystander = Frames::connect(sidecar.address);
    assert_eq!(bystander.get("/before", &[]).status, 200, "{name}");
    for _ in 0..400 {
        if !flood(&mut client) {
            break;
        }
    }
    match client.end() {
        End::GoAway(code) => assert_eq!(code, ENHANCE_YOUR_CALM, "{name}"),
        // The word was overtaken by the reset of a connection whose bytes nobody read.
        End::Silent => {}
    }
    let counted = || sidecar.metric("countersign_http2_floods_total", &[&format!("kind=\"{kind}\"")]) > before;
    super::super::support::eventually(&format!("{name} counted as {kind}:\n{}", sidecar.metrics()), || {
        counted().then_some(())
    });
    assert_eq!(bystander.get("/behind", &[]).status, 200, "{name}");
}

#[test]
fn floods_that_the_frame_layer_bears_are_counted_and_ended() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let window = 1_u32.to_be_bytes();
    for (name, kind, one) in [
        ("PING", "ping", frame(PING, 0, 0, &[7; 8])),
        ("answers to PINGs nobody sent", "ping", frame(PING, 1, 0, &[7; 8])),
        ("SETTINGS", "settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("empty SETTINGS", "settings", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", "priority", frame(PRIORITY, 0, 101, &[0, 0, 0, 0, 16])),
        ("PRIORITY_UPDATE", "priority", frame(0x10, 0, 0, &[0, 0, 0, 1, b'u'])),
        ("WINDOW_UPDATE", "window_update", frame(WINDOW_UPDATE, 0, 0, &window)),
        ("a kind nobody knows", "unknown", frame(0xfa, 0, 0, b"grease")),
        ("an empty one of a kind nobody knows", "unknown", frame(0xfa, 0, 0, b"")),
    ] {
        let many = one.repeat(100);
        is_ended(&sidecar, name, kind, |client| client.send(&many));
    }
}

#[test]
fn a_flood_within_one_open_stream_is_ended_too() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut stream = None;
    let window = 1_u32.to_be_bytes();
    is_ended(&sidecar, "WINDOW_UPDATE of a stream", "window_update", |client| {
        let stream = *stream.get_or_insert_with(|| client.request(&pseudo("POST", "/open"), false));
        client.send(frame(WINDOW_UPDATE, 0, stream, &window).repeat(100))
    });
}

#[test]
fn rapid_resets_are_ended() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let head = block(&pseudo("GET", "/reset"));
    let cancel = 8_u32.to_be_bytes();
    is_ended(&sidecar, "requests that are reset at once", "stopped_by_h2", |client| {
        let mut wire = Vec::new();
        for _ in 0..100 {
            let stream = client.open();
            wire.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
            wire.extend(frame(RESET, 0, stream, &cancel));
        }
        client.send(wire)
    });
    // One at a time, so that each is under way when it is reset.
    is_ended(&sidecar, "requests that are reset when they are under way", "reset", |client| {
        let stream = client.open();
        client.send(frame(HEADERS, END_HEADERS, stream, &head));
        client.send(frame(PING, 0, 0, &[1; 8]));
        while client.pongs == 0 && matches!(client.turn(), Ok(true)) {}
        client.pongs = 0;
        client.send([frame(RESET, 0, stream, &cancel), frame(RESET, 0, stream, &cancel).repeat(9)].concat())
    });
}

#[test]
fn streams_that_we_are_made_to_reset_are_ended() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let head = block(&pseudo("POST", "/made"));
    // MadeYouReset: a frame that is wrong on an open stream, which the server must reset itself.
    is_ended(&sidecar, "windows that overflow", "stopped_by_h2", |client| {
        let mut wire = Vec::new();
        for _ in 0..100 {
            let stream = client.open();
            wire.extend(frame(HEADERS, END_HEADERS, stream, &head));
            wire.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
        }
        client.send(wire)
    });
}

#[test]
fn header_blocks_without_end_and_empty_data_are_ended() {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut begun = false;
    is_ended(&sidecar, "CONTINUATION", "stopped_by_h2", |client| {
        if !begun {
            begun = true;
            let stream = client.open();
            client.send(frame(HEADERS, 0, stream, &block(&pseudo("GET", "/endless"))));
        }
        client.send(frame(CONTINUATION, 0, 1, &block(&[("x", "y")])).repeat(20))
    });
    let mut begun = false;
    is_ended(&sidecar, "empty DATA", "stopped_by_h2", |client| {
        if !begun {
            begun = true;
            client.request(&pseudo("POST", "/empty"), false);
        }
        client.send(frame(DATA, 0, 1, b"").repeat(500))
    });
}

#[test]
fn what_honest_clients_send_is_no_flood() {
    let upstream = Recorder::with(|exchange| {
        let body = "x".repeat(3_000_000);
        exchange.reply(200, body)
    });
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    for _ in 0..20 {
        // Two updates of windows for each frame, as eager clients send them, and a few pings.
        client.send(frame(PING, 0, 0, &[0; 8]).repeat(5));
        assert_eq!(client.get("/big", &[]).body.len(), 3_000_000);
    }
    assert_eq!(sidecar.metric("countersign_http2_floods_total", &[]), 0.0);
}
