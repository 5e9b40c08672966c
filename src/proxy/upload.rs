//! The request's body on its way up: its first piece, the rest of it, and then a watch over the client that waits for the
//! answer.

use super::downstream::Client;
use super::forward::{Exchange, Progress};
use crate::clock;
use crate::request::framing::Framing;
use crate::request::head::HeadFault;
use crate::wire::body::{Transfer, TransferFault};
use crate::wire::buffer::{Buffer, LARGE, SMALL};
use crate::wire::socket::{Socket, WriteFault};
use crate::wire::splice::{Conduit, Spliced};
use std::time::Duration;
use tokio::time::timeout;

/// Why the client's side ended an exchange.
pub(super) enum ClientEnd {
    /// Its body is not of the exact form.
    Fault(HeadFault),
    /// Its body stopped coming.
    BodyIdle,
    /// It is gone.
    Gone,
}

/// How long the first piece of a body is waited for before the head goes upstream without it. A stream of HTTP/2 that
/// announces no length is not waited for: its framing cannot be at fault, and it may say nothing before it is answered (gRPC).
const FIRST_PIECE: Duration = Duration::from_secs(1);
/// A client that has ended its side may still read; one that reads nothing new for this long is taken for gone.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Waits until something of the body is there and well-formed, and appends it to the head.
pub(super) async fn first_piece(
    client: &mut Client,
    exchange: &Exchange<'_>,
    upload: &mut Transfer,
    first: &mut Vec<u8>,
) -> Result<(), ClientEnd> {
    let is_waited_for = !client.is_stream || exchange.head.framing() != Framing::Chunked;
    let wait = if is_waited_for { FIRST_PIECE } else { Duration::ZERO };
    let mut until = None;
    let head_only = first.len();
    loop {
        upload.gather(&mut client.buffer, first).map_err(ClientEnd::Fault)?;
        if upload.is_done() || first.len() > head_only {
            return Ok(());
        }
        let read = client.socket.read(&mut client.buffer, &exchange.worker.buffers, LARGE);
        let until = *until.get_or_insert_with(|| clock::monotonic() + wait);
        match tokio::time::timeout_at(until.into(), read).await {
            Err(_) => return Ok(()),
            Ok(Ok(0) | Err(_)) => return Err(ClientEnd::Gone),
            Ok(Ok(_)) => {}
        }
    }
}

/// Pumps the request's body, then watches whether the client stays. Ends only when the exchange must.
pub(super) async fn client_side(
    exchange: &Exchange<'_>,
    progress: &Progress,
    client: &Socket,
    buffer: &mut Buffer,
    upstream: &Socket,
    upload: &mut Transfer,
    upstream_takes: bool,
) -> ClientEnd {
    let Exchange { worker, config, .. } = exchange;
    while progress.gated.get() {
        progress.gate.notified().await;
    }
    let mut out = Vec::new();
    let conduit = Conduit { pipes: &worker.kernel_pipes, from: client, to: upstream, idle: exchange.first_byte };
    let moved = || progress.moved.set(clock::monotonic());
    while upstream_takes && !upload.is_done() {
        if !buffer.is_empty() {
            match upload.pass(&mut out, buffer, upstream, exchange.first_byte).await {
                Ok(()) => moved(),
                Err(TransferFault::Source(fault)) => return ClientEnd::Fault(fault),
                // It may have answered before it stopped reading: the answer decides.
                Err(TransferFault::Sink(WriteFault::Idle | WriteFault::Io(_))) => {
                    return std::future::pending().await;
                }
            }
            if upload.is_done() {
                break;
            }
        }
        match conduit.pass(upload, buffer, &worker.buffers, moved).await {
            Ok(Spliced::Whole) => break,
            Ok(Spliced::Copy) => {}
            Ok(Spliced::Rests) => match timeout(config.timeouts.body_idle, client.readable()).await {
                Err(_) => return ClientEnd::BodyIdle,
                Ok(Err(_)) => return ClientEnd::Gone,
                Ok(Ok(())) => continue,
            },
            Ok(Spliced::Broken) => return ClientEnd::Gone,
            // It may have answered before it stopped reading: the answer decides.
            Err(WriteFault::Idle | WriteFault::Io(_)) => return std::future::pending().await,
        }
        if upload.is_large() {
            buffer.enlarge(&worker.buffers);
        }
        match timeout(config.timeouts.body_idle, client.read(buffer, &worker.buffers, LARGE)).await {
            Err(_) => return ClientEnd::BodyIdle,
            Ok(Ok(0) | Err(_)) => return ClientEnd::Gone,
            Ok(Ok(_)) => {}
        }
    }
    if !upstream_takes {
        return std::future::pending().await;
    }
    progress.upload_whole.set(true);
    watch(exchange, progress, client, buffer).await
}

/// Reads ahead a little while the answer is under way, so that a client that has gone is noticed.
async fn watch(exchange: &Exchange<'_>, progress: &Progress, client: &Socket, buffer: &mut Buffer) -> ClientEnd {
    while buffer.filled().len() < SMALL {
        buffer.release(&exchange.worker.buffers);
        if client.readable().await.is_err() {
            return ClientEnd::Gone;
        }
        match client.read_now(buffer, &exchange.worker.buffers, SMALL).await {
            None => {}
            Some(Ok(0)) => loop {
                let until = progress.moved.get() + HALF_CLOSED;
                if clock::monotonic() >= until {
                    return ClientEnd::Gone;
                }
                tokio::time::sleep_until(until.into()).await;
            },
            Some(Ok(_)) => {}
            Some(Err(_)) => return ClientEnd::Gone,
        }
    }
    std::future::pending().await
}
