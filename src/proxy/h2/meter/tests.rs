//! Floods beside what honest peers send, and what is noted of header blocks.

use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    [&head[..], payload].concat()
}

fn begun(now: Instant) -> (Frames, Meter) {
    let (mut frames, meter) = (Frames::new(now), Meter::default());
    frames.look(&[0; PREFACE], &meter, now);
    (frames, meter)
}

#[test]
fn each_kind_is_a_flood_one_beyond_its_allowance_however_it_is_cut() {
    let now = Instant::now();
    for (kind, byte) in [
        (Kind::Ping, 0x6),
        (Kind::Settings, 0x4),
        (Kind::Priority, 0x2),
        (Kind::Priority, 0x10),
        (Kind::WindowUpdate, 0x8),
        (Kind::Reset, 0x3),
        (Kind::Unknown, 0xfa),
    ] {
        let (mut frames, meter) = begun(now);
        let wire = frame(byte, 0, b"payload").repeat(kind.allowance().0 as usize);
        for part in wire.chunks(5) {
            frames.look(part, &meter, now);
        }
        assert_eq!(meter.flood(), None, "{kind:?}");
        frames.look(&frame(byte, 0, b""), &meter, now);
        assert_eq!(meter.flood(), Some(kind));
    }
}

#[test]
fn requests_and_their_bodies_are_no_flood() {
    let now = Instant::now();
    let (mut frames, meter) = begun(now);
    for _ in 0..100_000 {
        frames.look(&frame(HEADERS, END_HEADERS, b"x"), &meter, now);
        frames.look(&frame(DATA, 1, b""), &meter, now);
    }
    assert_eq!((meter.flood(), meter.block_since()), (None, None));
}

#[test]
fn an_allowance_comes_anew_and_grows_with_what_the_peer_reads() {
    let start = Instant::now();
    let (mut frames, meter) = begun(start);
    let pings = frame(0x6, 0, &[0; 8]).repeat(500);
    for turn in 0..5 {
        frames.look(&pings, &meter, start + TURN * turn);
    }
    assert_eq!(meter.flood(), None);
    meter.written.set(16 * 1024 * 300);
    frames.look(&frame(0x6, 0, &[0; 8]).repeat(300), &meter, start + TURN * 4);
    assert_eq!(meter.flood(), None);
    frames.look(&frame(0x6, 0, &[0; 8]), &meter, start + TURN * 4);
    assert_eq!(meter.flood(), Some(Kind::Ping));
}

#[test]
fn a_fragment_is_noted_for_its_stream_however_the_frames_are_cut() {
    let now = Instant::now();
    let wire = [
        frame(HEADERS, END_HEADERS, b"\x04\x02/a"),
        frame(HEADERS, 0, b"\x04\x04/"),
        frame(CONTINUATION, END_HEADERS, b"a#b"),
        frame(DATA, 1, b"\x04\x04/a#b"),
    ]
    .concat();
    for size in [1, 2, 7, wire.len()] {
        let (mut frames, meter) = begun(now);
        for part in wire.chunks(size) {
            frames.look(part, &meter, now);
        }
        assert_eq!(*meter.fragments.borrow(), [1], "{size}");
        assert!(meter.had_fragment(1) && !meter.had_fragment(1) && !meter.had_fragment(3));
    }
}

#[test]
fn a_header_block_is_incomplete_until_its_last_byte() {
    let start = Instant::now();
    let (mut frames, meter) = begun(start);
    frames.look(&frame(HEADERS, 0, b"begun"), &meter, start);
    let later = start + Duration::from_secs(1);
    let end = frame(CONTINUATION, END_HEADERS, b"end");
    frames.look(&end[..end.len() - 1], &meter, later);
    assert_eq!(meter.block_since(), Some(start));
    frames.look(&end[end.len() - 1..], &meter, later);
    assert_eq!(meter.block_since(), None);
}
