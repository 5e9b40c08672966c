//! [`Metered`]: the bytes of an HTTP/2 connection on their way to the frame layer, with a count of the frames that cost the
//! sender nothing.
//!
//! h2 itself stops rapid resets, floods of header blocks and of empty DATA (`ENHANCE_YOUR_CALM`). It answers or reads PING,
//! SETTINGS, PRIORITY and WINDOW_UPDATE for as long as they come (CVE-2019-9512, -9513, -9515 and their like), and lets a
//! header block that was begun wait for ever. So the nine bytes before each frame are read here too:
//!
//! 1. each kind has an allowance for ten seconds; honest peers stay far below it;
//! 2. what honest peers send in answer to what they get (WINDOW_UPDATE, and PING to measure) is allowed more of, in proportion
//!    to what was written to them lately: a flood must pay with its own reading;
//! 3. beyond it nothing more is read, and the connection is told `ENHANCE_YOUR_CALM`;
//! 4. it is noted since when a header block is incomplete.
//!
//! Left out: what h2 counts itself, and DATA and HEADERS, whose cost is the request's.

use crate::clock;
use crate::wire::buffer::Buffer;
use crate::wire::stream::Stream;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the connection's task may know of its bytes.
#[derive(Debug, Default)]
pub(super) struct Meter {
    flood: Cell<Option<Kind>>,
    block_since: Cell<Option<Instant>>,
    written: Cell<u64>,
}

/// Frames that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ping,
    Settings,
    /// PRIORITY, and PRIORITY_UPDATE of RFC 9218.
    Priority,
    WindowUpdate,
    Reset,
    /// Kinds nobody knows.
    Unknown,
}

/// A connection below the frame layer.
#[derive(Debug)]
pub(super) struct Metered {
    stream: Stream,
    /// What was read before the protocol was known.
    ahead: Buffer,
    frames: Frames,
    meter: Rc<Meter>,
}

impl Meter {
    /// The kind of frame there were too many of.
    pub(super) fn flood(&self) -> Option<Kind> {
        self.flood.get()
    }

    /// Since when a header block is incomplete.
    pub(super) fn block_since(&self) -> Option<Instant> {
        self.block_since.get()
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Ping, Kind::Settings, Kind::Priority, Kind::WindowUpdate, Kind::Reset, Kind::Unknown];

    /// The word in the metric.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Kind::Ping => "ping",
            Kind::Settings => "settings",
            Kind::Priority => "priority",
            Kind::WindowUpdate => "window_update",
            Kind::Reset => "reset",
            Kind::Unknown => "unknown",
        }
    }

    const fn of(frame: u8) -> Option<Kind> {
        match frame {
            DATA | HEADERS | CONTINUATION => None,
            0x2 | 0x10 => Some(Kind::Priority),
            0x3 => Some(Kind::Reset),
            0x4 => Some(Kind::Settings),
            0x6 => Some(Kind::Ping),
            // One ends the connection.
            0x7 => None,
            0x8 => Some(Kind::WindowUpdate),
            _ => Some(Kind::Unknown),
        }
    }

    /// How many in ten seconds, and how many bytes written to the peer allow one more.
    const fn allowance(self) -> (u64, Option<u64>) {
        match self {
            Kind::Ping => (500, Some(16 * 1024)),
            Kind::Settings => (100, None),
            Kind::Priority | Kind::Reset | Kind::Unknown => (1000, None),
            // Two for each small message.
            Kind::WindowUpdate => (2000, Some(16)),
        }
    }
}

/// The frames of one direction, header by header.
#[derive(Debug)]
struct Frames {
    at: At,
    counts: [u64; Kind::ALL.len()],
    /// When the counts began, and what had been written by then and one turn before.
    since: Instant,
    written: [u64; 2],
}

#[derive(Debug, Clone, Copy)]
enum At {
    Preface(usize),
    Header([u8; 9], usize),
    Payload { left: usize, ends_block: bool },
}

impl Frames {
    fn new(now: Instant) -> Frames {
        Frames { at: At::Preface(PREFACE), counts: Default::default(), since: now, written: [0; 2] }
    }

    /// Looks at what was read.
    fn look(&mut self, mut bytes: &[u8], meter: &Meter, now: Instant) {
        while !bytes.is_empty() {
            match &mut self.at {
                At::Preface(left) => {
                    let taken = bytes.len().min(*left);
                    bytes = &bytes[taken..];
                    *left -= taken;
                    if *left == 0 {
                        self.at = At::Header([0; 9], 0);
                    }
                }
                At::Header(header, held) => {
                    let taken = bytes.len().min(9 - *held);
                    header[*held..*held + taken].copy_from_slice(&bytes[..taken]);
                    *held += taken;
                    bytes = &bytes[taken..];
                    if *held == 9 {
                        let header = *header;
                        self.frame(header, meter, now);
                    }
                }
                At::Payload { left, ends_block } => {
                    let taken = bytes.len().min(*left);
                    bytes = &bytes[taken..];
                    *left -= taken;
                    if *left == 0 {
                        if *ends_block {
                            meter.block_since.set(None);
                        }
                        self.at = At::Header([0; 9], 0);
                    }
                }
            }
        }
    }

    fn frame(&mut self, header: [u8; 9], meter: &Meter, now: Instant) {
        let [a, b, c, kind, flags, ..] = header;
        let left = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind == HEADERS && meter.block_since.get().is_none() {
            meter.block_since.set(Some(now));
        }
        let ends_block = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0;
        self.at = if left == 0 { At::Header([0; 9], 0) } else { At::Payload { left, ends_block } };
        if left == 0 && ends_block {
            meter.block_since.set(None);
        }
        if let Some(kind) = Kind::of(kind)
            && self.is_too_much(kind, meter.written.get(), now)
            && meter.flood.get().is_none()
        {
            meter.flood.set(Some(kind));
        }
    }

    fn is_too_much(&mut self, kind: Kind, written: u64, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= TURN {
            self.since = now;
            self.counts = Default::default();
            self.written = [self.written[1], written];
        }
        let (allowed, per_bytes) = kind.allowance();
        let earned = per_bytes.map_or(0, |bytes| (written - self.written[0]) / bytes);
        let count = &mut self.counts[kind as usize];
        *count += 1;
        *count > allowed + earned
    }
}

impl Metered {
    /// `ahead`: what was read of the connection already.
    pub(super) fn new(stream: Stream, ahead: Buffer, meter: Rc<Meter>) -> Metered {
        Metered { stream, ahead, frames: Frames::new(clock::monotonic()), meter }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.flood.get().is_some() {
            // The task sees it in this same turn.
            return Poll::Pending;
        }
        let before = into.filled().len();
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
        } else {
            let count = this.ahead.filled().len().min(into.remaining());
            into.put_slice(&this.ahead.filled()[..count]);
            this.ahead.consume(count);
            if this.ahead.is_empty() {
                this.ahead = Buffer::default();
            }
        }
        this.frames.look(&into.filled()[before..], &this.meter, clock::monotonic());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        this.meter.written.set(this.meter.written.get() + written as u64);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Bytes of the client's preface.
const PREFACE: usize = 24;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
/// How long a count goes on.
const TURN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
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
}
