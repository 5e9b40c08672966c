//! Between an HTTP/2 stream and the text of HTTP/1.1: what both sides of the proxy need of it.
//!
//! A body leaves a stream in the framing its head announced, and enters one as DATA and trailers. Memory is bounded by the
//! pipe on one side and by the window on the other. Attack: an empty DATA frame written as a chunk would be the last one.

use super::body::BodyLength;
use super::buffer::{Buffer, BufferPool, LARGE};
use super::socket::Socket;
use crate::request::framing::{ChunkReader, ChunkStep, Framing, trailer_fields};
use crate::signature::headers::{SIGNATURE, TIMESTAMP};
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// Bytes a pipe holds in each direction.
pub const PIPE: usize = 32 * 1024;
/// Bytes of one stream's body that may be on their way to us.
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes of all streams of a connection.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one stream that wait to be written.
pub const SEND_BUFFER: usize = 64 * 1024;
const REQUEST_ID: &str = "X-Request-ID";
/// Nearly no head has more; a map of fields that grows is hashed anew.
const USUAL_FIELDS: usize = 24;
/// Whoever waits at the other end of a pipe has timers of its own.
pub const NO_TIMER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a body did not arrive whole in the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PourFault {
    /// The stream was reset, or was not of the exact form.
    Stream,
    /// Nobody reads the pipe any more.
    Pipe,
}

/// Pours a body, and trailers where chunks can carry them, into a pipe. `is_delivered` is set when all that was announced is
/// in it; the stream's own end may follow.
///
/// # Errors
/// See [`PourFault`].
pub async fn pour(
    body: &mut RecvStream,
    framing: Framing,
    pipe: &Socket,
    is_delivered: &Cell<bool>,
) -> Result<(), PourFault> {
    let mut poured = 0;
    is_delivered.set(matches!(framing, Framing::None | Framing::Length(0)));
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| PourFault::Stream)?;
        match framing {
            _ if data.is_empty() => {}
            Framing::Chunked => {
                // Head and end of a chunk go with it: one turn of the reader takes all three.
                let size = format!("{:x}\r\n", data.len());
                let mut slices = [size.as_bytes(), &data, b"\r\n"].map(std::io::IoSlice::new);
                pipe.write_all_of(&mut slices, NO_TIMER).await.map_err(|_| PourFault::Pipe)?;
            }
            Framing::Length(_) | Framing::None => {
                pipe.write_all(&data, NO_TIMER).await.map_err(|_| PourFault::Pipe)?;
                poured += data.len() as u64;
                is_delivered.set(framing == Framing::Length(poured));
            }
        }
        // Fails only when the stream is gone, which shows next.
        let _ = body.flow_control().release_capacity(data.len());
    }
    let trailers = body.trailers().await.map_err(|_| PourFault::Stream)?;
    if framing == Framing::Chunked {
        let mut end = b"0\r\n".to_vec();
        for (name, value) in trailers.iter().flatten() {
            put(&mut end, name.as_str().as_bytes(), value.as_bytes());
        }
        end.extend_from_slice(b"\r\n");
        pipe.write_all(&end, NO_TIMER).await.map_err(|_| PourFault::Pipe)?;
    }
    Ok(())
}

/// What went wrong, for people, without a byte that the peer chose: the text of an error holds the debug data of its GOAWAY.
pub fn told(error: &::h2::Error) -> String {
    match (error.get_io(), error.reason()) {
        (Some(io), _) => format!("the connection broke: {}", io.kind()),
        (None, Some(reason)) => format!("HTTP/2 error {:#x}: {reason}", u32::from(reason)),
        (None, None) => "not of the form of HTTP/2".to_owned(),
    }
}

/// Appends one header line.
pub fn put(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// Appends the values of a field that came in several lines, joined.
pub fn put_joined(text: &mut Vec<u8>, name: &[u8], fields: &HeaderMap, separator: &[u8]) {
    let values: Vec<&[u8]> = fields
        .iter()
        .filter(|(other, _)| other.as_str().as_bytes() == name)
        .map(|(_, value)| value.as_bytes())
        .collect();
    if !values.is_empty() {
        put(text, name, &values.join(separator));
    }
}

/// Does this field speak about one connection of HTTP/1.1?
pub fn is_of_connection(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [b"upgrade", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding"];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Is the value of this field another in each message? Then it gets no place in the table of the other side (RFC 7541): it
/// would push out what comes again, and h2 compares each new value with all that the table holds under the name.
fn is_new_each_time(name: &[u8]) -> bool {
    [REQUEST_ID, TIMESTAMP, SIGNATURE].iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Copies header lines, but for those that speak about a connection. `None`: one cannot be said in HTTP/2.
pub fn copy_fields<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, to: &mut HeaderMap) -> Option<()> {
    to.try_reserve(USUAL_FIELDS).ok()?;
    for (name, value) in fields.filter(|(name, _)| !is_of_connection(name)) {
        let mut value = HeaderValue::from_bytes(value).ok()?;
        value.set_sensitive(is_new_each_time(name));
        to.try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
    }
    Some(())
}

/// How far a body came out of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// To its end, which the stream has been told.
    Whole,
    /// The pipe ended before it, or held something else.
    Cut,
    /// The stream's peer takes no more.
    Gone,
    /// It has made no room for the whole time allowed.
    Idle,
}

/// Draws a body out of a pipe into a stream. `buffer`: what was read of the pipe already; `idle`: how long the stream's peer
/// may leave its window closed.
pub async fn draw(
    pipe: &Socket,
    buffer: &mut Buffer,
    buffers: &BufferPool,
    length: BodyLength,
    sender: &mut Sender,
    idle: Duration,
) -> Drawn {
    let mut left = match length {
        BodyLength::Exactly(left) => left,
        BodyLength::None | BodyLength::Chunked | BodyLength::UntilEnd => 0,
    };
    let mut chunks = ChunkReader::default();
    loop {
        let step = match length {
            BodyLength::Exactly(_) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.filled().len());
                if count == 0 { ChunkStep::NeedMore } else { ChunkStep::Data(count) }
            }
            BodyLength::Chunked => match chunks.step(buffer.filled()) {
                Ok(step) => step,
                Err(_) => return Drawn::Cut,
            },
            // Nothing is ever written so into a pipe.
            BodyLength::None | BodyLength::UntilEnd => return Drawn::Cut,
        };
        match step {
            ChunkStep::Framing(count) => buffer.consume(count),
            ChunkStep::Data(count) => {
                if length != BodyLength::Chunked {
                    left -= count as u64;
                }
                let is_last = length != BodyLength::Chunked && left == 0;
                match sender.data(&buffer.filled()[..count], is_last, idle).await {
                    Ok(()) => {}
                    Err(SendFault::Gone) => return Drawn::Gone,
                    Err(SendFault::Idle) => return Drawn::Idle,
                }
                buffer.consume(count);
                if is_last {
                    return Drawn::Whole;
                }
            }
            ChunkStep::End(count) => {
                let Some(trailers) = trailers(&buffer.filled()[..count]) else { return Drawn::Cut };
                return if sender.finish(trailers).is_ok() { Drawn::Whole } else { Drawn::Gone };
            }
            ChunkStep::NeedMore => {
                if buffer.is_empty() {
                    buffer.release(buffers);
                }
                let ready = async {
                    // A stream that rests holds no buffer.
                    pipe.readable().await?;
                    pipe.read(buffer, buffers, LARGE).await
                };
                tokio::select! {
                    biased;
                    () = sender.gone() => return Drawn::Gone,
                    read = ready => if !read.is_ok_and(|count| count > 0) {
                        return Drawn::Cut;
                    },
                }
            }
        }
    }
}

fn trailers(section: &[u8]) -> Option<Option<HeaderMap>> {
    let fields = trailer_fields(section).ok()?;
    let mut trailers = HeaderMap::new();
    copy_fields(fields.iter(section), &mut trailers)?;
    Some((!trailers.is_empty()).then_some(trailers))
}

/// Why data could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFault {
    /// The stream is gone.
    Gone,
    /// Its peer has made no room for the whole time allowed.
    Idle,
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct Sender {
    stream: SendStream<Bytes>,
}

impl Sender {
    /// Takes the half over; its head has been sent.
    pub fn new(stream: SendStream<Bytes>) -> Sender {
        Sender { stream }
    }

    /// Sends data as the window has room for it; each wait for room takes at most `idle`.
    ///
    /// # Errors
    /// See [`SendFault`].
    pub async fn data(&mut self, mut data: &[u8], is_last: bool, idle: Duration) -> Result<(), SendFault> {
        while !data.is_empty() {
            self.stream.reserve_capacity(data.len());
            let room = match poll_fn(|cx| Poll::Ready(self.stream.poll_capacity(cx))).await {
                Poll::Ready(room) => room,
                // Only a closed window pays for a timer.
                Poll::Pending => tokio::time::timeout(idle, poll_fn(|cx| self.stream.poll_capacity(cx)))
                    .await
                    .map_err(|_| SendFault::Idle)?,
            };
            let Some(Ok(room)) = room else { return Err(SendFault::Gone) };
            let (now, later) = data.split_at(room.min(data.len()));
            let sent = self.stream.send_data(Bytes::copy_from_slice(now), is_last && later.is_empty());
            sent.map_err(|_| SendFault::Gone)?;
            data = later;
        }
        Ok(())
    }

    /// Ends the stream, with trailers if there are any.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ::h2::Error> {
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        }
    }

    /// Breaks the stream off.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Waits until the peer has reset the stream, or its connection is gone.
    pub async fn gone(&mut self) {
        // An error says the same.
        let _ = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_each_time_gets_no_place_in_the_table_of_the_other_side() {
        let names =
            ["X-Request-ID", "x-service-timestamp", "X-Service-Signature", "X-Service-ID", "Date", "Connection"];
        let mut fields = HeaderMap::new();
        copy_fields(names.iter().map(|name| (name.as_bytes(), &b"1"[..])), &mut fields).unwrap();
        let marked =
            |is| fields.iter().filter(move |(_, value)| value.is_sensitive() == is).map(|(name, _)| name.as_str());
        assert_eq!(marked(true).collect::<Vec<_>>(), ["x-request-id", "x-service-timestamp", "x-service-signature"]);
        assert_eq!(marked(false).collect::<Vec<_>>(), ["x-service-id", "date"]);
    }
}
