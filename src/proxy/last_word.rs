//! The last that a connection hears of us, said so that the client can read it.
//!
//! A close that finds bytes unread is a reset, and a reset can overtake the answer: so the client is told that nothing more will
//! be sent, and is read from for a while. Only a plain connection whose client asked for the end, got an upstream's whole answer,
//! and has sent nothing behind its request, is closed at once: over TLS the last word has to be written, and may have to wait. And only
//! after a short answer, all of which is on its way: bytes that the client sends later all the same find it arrived.

use super::downstream::Client;
use super::respond::{self, Wrapping};
use super::worker::Worker;
use crate::clock;
use crate::request::client::Peer;
use crate::wire::buffer::LARGE;
use crate::wire::socket::{Plain, Socket, Stream};
use std::time::Duration;
use tokio::time::timeout;

/// How long, and how many bytes, a client that is being answered may go on sending.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_IDLE: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// No request will be read from it; but the client shall be able to read our answer, or why TLS did not come about.
pub(super) async fn end_unread(
    worker: &Worker,
    plain: Plain,
    own: Option<&respond::OwnAnswer>,
    peer: Peer,
    listener: usize,
) {
    let mut client = Client::new(Socket::new(Stream::Plain(plain)), None, peer, listener);
    if let Some(own) = own {
        client.answer_unread(worker, own).await;
    }
    client.linger(worker).await;
}

impl Client {
    /// Is a close no reset to a client that has been answered?
    pub(super) fn may_be_closed_at_once(&self) -> bool {
        self.buffer.is_empty() && self.socket.may_just_close()
    }

    /// Our own last answer where no request was read.
    pub(super) async fn answer_unread(&mut self, worker: &Worker, own: &respond::OwnAnswer) {
        let snapshot = worker.snapshot();
        let mut out = Vec::new();
        let mut made = [0; clock::REQUEST_ID];
        let wrapping = Wrapping {
            request_id: clock::request_id(clock::unix_micros(), &mut made),
            headers: &snapshot.config.refusal_headers,
            head_only: false,
            keep: false,
            announce_keep: false,
        };
        own.write(&mut out, &wrapping);
        // The client may be gone; there is nothing else to tell it.
        let _ = self.socket.write_all(&out, snapshot.config.timeouts.write_idle).await;
    }

    /// Says that nothing more will be sent, and reads on for a while: a close with unread bytes would be a reset, and a
    /// reset can overtake the answer.
    pub(super) async fn linger(&mut self, worker: &Worker) {
        let discard = async {
            let mut left = LINGER_BYTES;
            loop {
                let held = self.buffer.filled().len();
                self.buffer.consume(held);
                let read = self.socket.read(&mut self.buffer, &worker.buffers, LARGE);
                match timeout(LINGER_IDLE, read).await {
                    Ok(Ok(count)) if count > 0 && count <= left => left -= count,
                    _ => return,
                }
            }
        };
        if self.socket.shutdown().await.is_ok() {
            // The bound is the point; whether it was reached does not matter.
            let _ = timeout(LINGER, discard).await;
        }
    }
}
