//! Bytes both ways after an upgrade or a `CONNECT`, until both sides have ended or nothing moves for too long.

use super::downstream::Client;
use super::worker::Worker;
use crate::config::Timeouts;
use crate::upstream::pool::Connection;
use crate::wire::buffer::{Buffer, BufferPool};
use crate::wire::socket::{Socket, WriteFault};
use std::time::Duration;

/// Carries bytes between a client and its upstream until the end of both connections.
pub(super) async fn between(client: &mut Client, mut upstream: Connection, worker: &Worker, timeouts: &Timeouts) {
    client.socket.keep_alive();
    worker.metrics.tunnels(1);
    let a = End { socket: &client.socket, buffer: &mut client.buffer };
    let b = End { socket: &upstream.socket, buffer: &mut upstream.buffer };
    let ended = carry(a, b, &worker.buffers, timeouts.tunnel_idle, timeouts.write_idle).await;
    worker.metrics.tunnels(-1);
    if ended == Ended::Idle {
        worker.metrics.timed_out("tunnel_idle");
    }
}

/// One end of a tunnel: its socket, and what was read from it before the tunnel began.
struct End<'e> {
    socket: &'e Socket,
    buffer: &'e mut Buffer,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Both sides said so, or one is gone.
    Closed,
    /// No byte in either direction for too long.
    Idle,
}

/// Carries bytes both ways. A side that ends is told to the other; the tunnel ends when both have. `idle`: no byte either way
/// for this long ends it too. `write_idle` bounds how long a side may take nothing.
async fn carry(a: End<'_>, b: End<'_>, buffers: &BufferPool, idle: Option<Duration>, write_idle: Duration) -> Ended {
    let moved = std::cell::Cell::new(crate::clock::monotonic());
    let one_way = async |from: End<'_>, to: &Socket| -> Result<(), ()> {
        loop {
            if !from.buffer.is_empty() {
                match to.write_all(from.buffer.filled(), write_idle).await {
                    Ok(()) => from.buffer.consume(from.buffer.filled().len()),
                    Err(WriteFault::Idle | WriteFault::Io(_)) => return Err(()),
                }
                moved.set(crate::clock::monotonic());
            }
            // While nothing comes, no memory is held.
            from.buffer.release(buffers);
            from.socket.readable().await.map_err(|_| ())?;
            match from.socket.read_now(from.buffer, buffers, crate::wire::buffer::LARGE).await {
                None => {}
                Some(Ok(0)) => return to.shutdown().await.map_err(|_| ()),
                Some(Ok(_)) => moved.set(crate::clock::monotonic()),
                Some(Err(_)) => return Err(()),
            }
        }
    };
    let (a_socket, b_socket) = (a.socket, b.socket);
    let both = async {
        // An error on one way ends both: `try_join` drops the other.
        let _ = tokio::try_join!(one_way(a, b_socket), one_way(b, a_socket));
    };
    tokio::select! {
        () = both => Ended::Closed,
        () = nothing_moves(&moved, idle) => Ended::Idle,
    }
}

async fn nothing_moves(moved: &std::cell::Cell<std::time::Instant>, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    loop {
        let until = moved.get() + idle;
        if crate::clock::monotonic() >= until {
            return;
        }
        tokio::time::sleep_until(until.into()).await;
    }
}
