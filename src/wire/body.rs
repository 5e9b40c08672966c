//! [`Transfer`]: a body on its way from one socket's buffer to the other socket, its framing written anew.
//!
//! What is read is checked before anything of the same reading is written: a bad chunk behind good ones in one buffer
//! sends nothing of them.

use super::buffer::Buffer;
use super::socket::{Socket, WriteFault};
use crate::request::framing::{ChunkReader, ChunkStep, Framing, trailer_fields};
use crate::request::head::HeadFault;
use std::io::{IoSlice, Write};
use std::time::Duration;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// This many bytes.
    Exactly(u64),
    /// In chunks.
    Chunked,
    /// Until the connection ends (answers only).
    UntilEnd,
}

impl From<Framing> for BodyLength {
    fn from(framing: Framing) -> BodyLength {
        match framing {
            Framing::None => BodyLength::None,
            Framing::Length(length) => BodyLength::Exactly(length),
            Framing::Chunked => BodyLength::Chunked,
        }
    }
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenAs {
    /// As it is: its length was announced, or the connection's end tells.
    Plain,
    /// In chunks of our own.
    Chunked,
}

/// Which trailer lines pass.
pub type TrailerFilter = fn(&[u8]) -> bool;

/// One body in transit.
#[derive(Debug)]
pub struct Transfer {
    from: Source,
    to: WrittenAs,
    passes: TrailerFilter,
}

#[derive(Debug)]
enum Source {
    Exactly(u64),
    Chunked(ChunkReader),
    UntilEnd,
    Done,
}

/// Why a transfer ended early.
#[derive(Debug)]
pub enum TransferFault {
    /// The body is not of the exact form.
    Source(HeadFault),
    /// It could not be written.
    Sink(WriteFault),
}

/// Plain bodies up to this size are copied behind their head, so that both leave in one write.
const COPIED: usize = 4 * 1024;

impl Transfer {
    /// A body of `length`, to be written as `to`.
    pub fn new(length: BodyLength, to: WrittenAs, passes: TrailerFilter) -> Transfer {
        let from = match length {
            BodyLength::None | BodyLength::Exactly(0) => Source::Done,
            BodyLength::Exactly(count) => Source::Exactly(count),
            BodyLength::Chunked => Source::Chunked(ChunkReader::default()),
            BodyLength::UntilEnd => Source::UntilEnd,
        };
        Transfer { from, to, passes }
    }

    /// Has the whole body been taken?
    pub fn is_done(&self) -> bool {
        matches!(self.from, Source::Done)
    }

    /// Is there more to come than a small buffer holds?
    pub fn is_large(&self) -> bool {
        match self.from {
            Source::Exactly(left) => left > super::buffer::SMALL as u64,
            Source::Chunked(_) | Source::UntilEnd => true,
            Source::Done => false,
        }
    }

    /// How much is to come whose bytes pass as they are, so that nobody needs to see them.
    pub fn unseen(&self) -> u64 {
        match (&self.from, self.to) {
            (Source::Exactly(left), WrittenAs::Plain) => *left,
            _ => 0,
        }
    }

    /// So many of its bytes have been taken from their source.
    pub fn taken(&mut self, count: usize) {
        if let Source::Exactly(left) = &mut self.from {
            debug_assert!(count as u64 <= *left);
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                self.from = Source::Done;
            }
        }
    }

    /// Takes what the buffer holds of the body and appends it to `out` as it is to be written.
    ///
    /// # Errors
    /// The fault of a chunk or trailer; `out` then holds nothing that may be sent.
    pub fn gather(&mut self, buffer: &mut Buffer, out: &mut Vec<u8>) -> Result<(), HeadFault> {
        loop {
            match &mut self.from {
                Source::Done => return Ok(()),
                Source::Exactly(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.filled().len());
                    if count == 0 {
                        return Ok(());
                    }
                    *left -= count as u64;
                    let is_last = *left == 0;
                    self.put(&buffer.filled()[..count], out);
                    buffer.consume(count);
                    if is_last {
                        self.finish(&[], out)?;
                    }
                }
                Source::UntilEnd => {
                    if buffer.is_empty() {
                        return Ok(());
                    }
                    let count = buffer.filled().len();
                    self.put(buffer.filled(), out);
                    buffer.consume(count);
                }
                Source::Chunked(reader) => match reader.step(buffer.filled())? {
                    ChunkStep::NeedMore => return Ok(()),
                    ChunkStep::Framing(count) => buffer.consume(count),
                    ChunkStep::Data(count) => {
                        self.put(&buffer.filled()[..count], out);
                        buffer.consume(count);
                    }
                    ChunkStep::End(count) => {
                        self.finish(&buffer.filled()[..count], out)?;
                        buffer.consume(count);
                    }
                },
            }
        }
    }

    /// Writes `head` (which may be empty) and what the buffer holds of the body. Plain bytes go from the buffer to the
    /// socket uncopied.
    ///
    /// # Errors
    /// See [`TransferFault`].
    pub async fn pass(
        &mut self,
        head: &mut Vec<u8>,
        buffer: &mut Buffer,
        sink: &Socket,
        idle: Duration,
    ) -> Result<(), TransferFault> {
        let plain = match (&self.from, self.to) {
            (Source::Exactly(left), WrittenAs::Plain) => {
                usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.filled().len())
            }
            (Source::UntilEnd, WrittenAs::Plain) => buffer.filled().len(),
            _ => 0,
        };
        if plain > COPIED {
            let mut slices = [IoSlice::new(head), IoSlice::new(&buffer.filled()[..plain])];
            sink.write_all_of(&mut slices, idle).await.map_err(TransferFault::Sink)?;
            head.clear();
            buffer.consume(plain);
            self.taken(plain);
            return Ok(());
        }
        self.gather(buffer, head).map_err(TransferFault::Source)?;
        sink.write_all(head, idle).await.map_err(TransferFault::Sink)?;
        head.clear();
        Ok(())
    }

    /// The source has ended: is the body whole? Appends what ends it as it is written.
    pub fn source_ended(&mut self, out: &mut Vec<u8>) -> bool {
        match self.from {
            Source::UntilEnd => self.finish(&[], out).is_ok(),
            Source::Done => true,
            Source::Exactly(_) | Source::Chunked(_) => false,
        }
    }

    fn put(&self, data: &[u8], out: &mut Vec<u8>) {
        match self.to {
            WrittenAs::Plain => out.extend_from_slice(data),
            WrittenAs::Chunked => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{:x}\r\n", data.len());
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn finish(&mut self, trailers: &[u8], out: &mut Vec<u8>) -> Result<(), HeadFault> {
        self.from = Source::Done;
        if self.to == WrittenAs::Plain {
            return Ok(());
        }
        out.extend_from_slice(b"0\r\n");
        if !trailers.is_empty() {
            for (name, value) in trailer_fields(trailers)?.iter(trailers).filter(|(name, _)| (self.passes)(name)) {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}
