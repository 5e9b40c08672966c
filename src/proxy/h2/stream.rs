//! One HTTP/2 stream: its body goes into a pipe as HTTP/1.1 would carry it, and the answer that comes out is sent as frames.
//!
//! The other end of the pipe is served like any connection. Rules:
//!
//! 1. flow control is given back for what the pipe took, and no more is taken from it than the client's window has room for:
//!    a slow side holds back the other;
//! 2. a stream that the client resets, or that breaks off, aborts the pipe: the upstream never sees a clean end;
//! 3. an answer that ends early resets the stream: nor does the client;
//! 4. an answer may end before the request has: the client gets a moment to read it and to stop by itself, then h2 tells it to,
//!    with `NO_ERROR`. A reset on the heels of the answer makes some fail that have not read it yet (curl 7.88 is one);
//! 5. fields that speak about a connection have no place in the answer; trailers come behind its body.

use super::super::respond;
use super::super::worker::Worker;
use crate::request::framing::Framing;
use crate::upstream::answer::{AnswerHead, MAX_ANSWER_HEAD, head_end};
use crate::wire::body::BodyLength;
use crate::wire::buffer::Buffer;
use crate::wire::h2::{self, Drawn, Sender};
use crate::wire::socket::Socket;
use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use http::{Response, StatusCode};
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::time::Duration;

/// How long a client whose answer is whole may take to stop sending.
const LINGER: Duration = Duration::from_secs(1);

/// Carries one exchange. `framing`: how the head said that the body would be written; `None` for a head that is refused, whose
/// body nobody reads.
pub(super) async fn carry(
    respond: SendResponse<Bytes>,
    mut body: RecvStream,
    framing: Option<Framing>,
    to_head: bool,
    pipe: Socket,
    worker: &Worker,
) {
    let upload = async {
        let Some(framing) = framing else { return pending().await };
        match h2::pour(&mut body, framing, &pipe, &Cell::new(false)).await {
            // It may have answered before it stopped reading: the answer decides.
            Ok(()) | Err(h2::PourFault::Pipe) => pending().await,
            Err(h2::PourFault::Stream) => {}
        }
    };
    let mut answer = Answer { respond, pipe: &pipe, buffer: Buffer::default(), worker };
    let is_whole = tokio::select! {
        biased;
        is_whole = answer.carry(to_head) => is_whole,
        () = upload => {
            pipe.reset_on_close();
            false
        }
    };
    answer.buffer.release(&worker.buffers);
    if is_whole && !body.is_end_stream() {
        // What it sent is dropped with the body; until then no window opens for more.
        drop(pipe);
        let stopped = async { while let Some(Ok(_)) = body.data().await {} };
        // Who goes on is told to stop.
        let _ = tokio::time::timeout(LINGER, stopped).await;
    }
}

/// The way down.
struct Answer<'a> {
    respond: SendResponse<Bytes>,
    pipe: &'a Socket,
    buffer: Buffer,
    worker: &'a Worker,
}

impl Answer<'_> {
    /// Is the answer with the client, to its end?
    async fn carry(&mut self, to_head: bool) -> bool {
        let head = loop {
            let Some(head) = self.head(to_head).await else { return self.broken() };
            if !head.is_informational() {
                break head;
            }
            if head.status() == respond::CONTINUE {
                let mut interim = Response::new(());
                *interim.status_mut() = StatusCode::CONTINUE;
                // Fails only when the stream is gone, which shows next.
                let _ = self.respond.send_informational(interim);
            }
        };
        let is_whole = matches!(head.length(), BodyLength::None | BodyLength::Exactly(0));
        let Some(response) = response(&head) else { return self.broken() };
        let Ok(stream) = self.respond.send_response(response, is_whole) else { return false };
        if is_whole {
            return true;
        }
        let mut sender = Sender::new(stream);
        let write_idle = self.worker.shared.snapshot.load().config.timeouts.write_idle;
        let buffers = &self.worker.buffers;
        match h2::draw(self.pipe, &mut self.buffer, buffers, head.length(), &mut sender, write_idle).await {
            Drawn::Whole => return true,
            Drawn::Cut => sender.reset(Reason::INTERNAL_ERROR),
            Drawn::Gone => self.pipe.reset_on_close(),
            Drawn::Idle => {
                self.worker.metrics.timed_out("write_idle");
                self.pipe.reset_on_close();
                sender.reset(Reason::CANCEL);
            }
        }
        false
    }

    fn broken(&mut self) -> bool {
        self.respond.send_reset(Reason::INTERNAL_ERROR);
        false
    }

    /// The next head; `None` when none comes, or the client is gone.
    async fn head(&mut self, to_head: bool) -> Option<AnswerHead> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = head_end(self.buffer.filled(), looked_at) {
                let head = AnswerHead::parse(&self.buffer.filled()[..end], to_head).ok()?;
                self.buffer.consume(end);
                return Some(head);
            }
            looked_at = self.buffer.filled().len();
            // Our own text, bounded where it came from; what we add to it is small.
            let read = self.pipe.read(&mut self.buffer, &self.worker.buffers, 2 * MAX_ANSWER_HEAD);
            let gone = poll_fn(|cx| self.respond.poll_reset(cx));
            tokio::select! {
                biased;
                _ = gone => {
                    self.pipe.reset_on_close();
                    return None;
                }
                read = read => if !read.is_ok_and(|count| count > 0) {
                    return None;
                },
            }
        }
    }
}

fn response(head: &AnswerHead) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).ok()?;
    // That nothing follows, the stream says itself; in gRPC it would be taken for metadata.
    let is_empty = head.length() == BodyLength::Exactly(0);
    let fields = head.fields().filter(|(name, _)| !is_empty || !name.eq_ignore_ascii_case(b"content-length"));
    h2::copy_fields(fields, response.headers_mut())?;
    Some(response)
}
