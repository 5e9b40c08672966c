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
//! 4. it is noted since when a header block is incomplete, and which streams have a `#` in their path ([`Blocks`]).
//!
//! Left out: what h2 counts itself, and DATA and HEADERS, whose cost is the request's.

use super::blocks::Blocks;
use crate::clock;
use crate::wire::buffer::Buffer;
use crate::wire::stream::Stream;
use std::cell::{Cell, RefCell};
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
    /// Streams with a fragment in their path that were not asked for yet.
    fragments: RefCell<Vec<u32>>,
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

    /// Was there a `#` in the path of this stream? Asked of each in turn.
    pub(super) fn had_fragment(&self, stream: u32) -> bool {
        let mut fragments = self.fragments.borrow_mut();
        let had = fragments.contains(&stream);
        fragments.retain(|other| *other > stream);
        had
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
    blocks: Blocks,
    counts: [u64; Kind::ALL.len()],
    /// When the counts began, and what had been written by then and one turn before.
    since: Instant,
    written: [u64; 2],
}

#[derive(Debug, Clone, Copy)]
enum At {
    Preface(usize),
    Header([u8; 9], usize),
    Payload { left: usize, of_block: Option<Part> },
}

/// A frame of a header block.
#[derive(Debug, Clone, Copy)]
struct Part {
    stream: u32,
    flags: u8,
    is_first: bool,
}

impl Frames {
    fn new(now: Instant) -> Frames {
        Frames {
            at: At::Preface(PREFACE),
            blocks: Blocks::default(),
            counts: Default::default(),
            since: now,
            written: [0; 2],
        }
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
                At::Payload { left, of_block } => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(*left));
                    bytes = rest;
                    *left -= taken.len();
                    if of_block.is_some() {
                        self.blocks.take(taken);
                    }
                    if *left == 0 {
                        if let Some(part) = *of_block {
                            self.part_ends(part, meter);
                        }
                        self.at = At::Header([0; 9], 0);
                    }
                }
            }
        }
    }

    fn frame(&mut self, header: [u8; 9], meter: &Meter, now: Instant) {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let left = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind == HEADERS && meter.block_since.get().is_none() {
            meter.block_since.set(Some(now));
        }
        let of_block = matches!(kind, HEADERS | CONTINUATION).then(|| {
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            Part { stream, flags, is_first: kind == HEADERS }
        });
        if let Some(part) = of_block {
            self.blocks.begin(part.is_first);
        }
        self.at = if left == 0 { At::Header([0; 9], 0) } else { At::Payload { left, of_block } };
        if let (0, Some(part)) = (left, of_block) {
            self.part_ends(part, meter);
        }
        if let Some(kind) = Kind::of(kind)
            && self.is_too_much(kind, meter.written.get(), now)
            && meter.flood.get().is_none()
        {
            meter.flood.set(Some(kind));
        }
    }

    fn part_ends(&mut self, part: Part, meter: &Meter) {
        if part.is_first {
            self.blocks.trim(part.flags);
        }
        if part.flags & END_HEADERS != 0 {
            meter.block_since.set(None);
            if self.blocks.end() {
                meter.fragments.borrow_mut().push(part.stream);
            }
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
mod tests;
