//! The answer's way down: its head checked and written anew, its body streamed, what came before it dropped.
//!
//! Attacks and faults answered here: an answer cut two ways (502), an unasked 101 (502), a thousand 1xx (dropped, counted,
//! and bounded by the first-byte timer), half an answer (cut, never a clean end), extra bytes (the connection is dropped).

use super::downstream::Spare;
use super::evidence::Evidence;
use super::forward::{Exchange, Progress};
use super::respond;
use super::rewrite;
use crate::clock;
use crate::request::fields::HeadRoom;
use crate::request::head::Version;
use crate::telemetry::metrics::UpstreamFault;
use crate::tls::handshake::tls_error;
use crate::upstream::answer::{AnswerHead, MAX_ANSWER_HEAD, head_end};
use crate::wire::body::{BodyLength, Transfer, TransferFault, WrittenAs};
use crate::wire::buffer::{Buffer, LARGE};
use crate::wire::socket::{Socket, WriteFault};
use crate::wire::splice::{Conduit, Spliced};
use std::time::Duration;
use tokio::time::timeout_at;

/// One answer on its way.
pub(super) struct Relay<'r> {
    pub(super) exchange: &'r Exchange<'r>,
    pub(super) progress: &'r Progress,
    pub(super) client: &'r Socket,
    pub(super) upstream: &'r Socket,
}

/// How an answer ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was delivered whole.
    Whole {
        /// The upstream keeps its connection.
        reusable: bool,
        /// The client was told that it may send another request.
        keep: bool,
        /// Head and body leave in the first flight of any connection.
        is_short: bool,
    },
    /// A 101 was delivered: bytes now go both ways.
    Switched,
    /// The connection ended before any answer byte.
    Stale,
    /// No acceptable answer; the client has got nothing yet.
    Fault(UpstreamFault),
    /// It broke off after it had begun, or the client stopped taking it.
    Cut,
}

/// What fits in the ten segments that any connection may send at once (RFC 6928), with some room.
const SHORT: u64 = 12 * 1024;
/// How long the client's body waits for the upstream's 100 before we send our own.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

impl Relay<'_> {
    pub(super) async fn run(&self, buffer: &mut Buffer, spare: &mut Spare, evidence: &mut Evidence<'_>) -> Ended {
        let mut came_before = false;
        let answer = loop {
            let answer = match self.head(buffer, &mut spare.answer).await {
                Ok(answer) => answer,
                // An end behind a 1xx is an end behind answer bytes: nothing may be sent again.
                Err(Ended::Stale) if came_before => return Ended::Fault(UpstreamFault::Closed),
                Err(ended) => return ended,
            };
            came_before = true;
            if answer.is_informational() && clock::monotonic() >= self.answer_by() {
                return Ended::Fault(UpstreamFault::FirstByteTimeout);
            }
            match answer.status() {
                respond::CONTINUE => {
                    if let Err(ended) = self.open_gate().await {
                        return ended;
                    }
                }
                respond::SWITCHING_PROTOCOLS if rewrite::is_asked_for(&answer, self.exchange.head) => break answer,
                respond::SWITCHING_PROTOCOLS => return Ended::Fault(UpstreamFault::InvalidAnswer),
                _ if answer.is_informational() => self.exchange.worker.metrics.informational_dropped(),
                _ => break answer,
            }
        };
        evidence.head_came();
        spare.down.clear();
        let ended = self.deliver(&answer, buffer, &mut spare.down, evidence).await;
        answer.leave(&mut spare.answer);
        ended
    }

    /// The next head. The first-byte timer begins anew whenever something of the request's body has moved.
    async fn head(&self, buffer: &mut Buffer, room: &mut HeadRoom) -> Result<AnswerHead, Ended> {
        let Exchange { worker, head: request, .. } = self.exchange;
        let mut looked_at = 0;
        let continue_by = self.progress.gated.get().then(|| clock::monotonic() + CONTINUE_WAIT);
        loop {
            if let Some(end) = head_end(buffer.filled(), looked_at) {
                let answer = AnswerHead::parse_in(room, &buffer.filled()[..end], request.method() == "HEAD")
                    .map_err(|fault| {
                        tracing::debug!(fault = fault.0, "upstream answer not acceptable");
                        Ended::Fault(UpstreamFault::InvalidAnswer)
                    })?;
                buffer.consume(end);
                return Ok(answer);
            }
            looked_at = buffer.filled().len();
            if looked_at >= MAX_ANSWER_HEAD {
                return Err(Ended::Fault(UpstreamFault::InvalidAnswer));
            }
            let answer_by = self.answer_by();
            let wake = match continue_by {
                Some(continue_by) if self.progress.gated.get() => answer_by.min(continue_by),
                Some(_) | None => answer_by,
            };
            match timeout_at(wake.into(), self.upstream.read(buffer, &worker.buffers, MAX_ANSWER_HEAD)).await {
                Ok(Ok(count)) if count > 0 => {}
                // Our certificate is not believed, or what came is no TLS: that is no end, and no staleness.
                Ok(Err(error)) if tls_error(&error).is_some() => {
                    return Err(Ended::Fault(self.exchange.choice.target().pool.not_secure(&error)));
                }
                // An end before any byte of an answer: the connection was stale, or the upstream gave up.
                Ok(Ok(_) | Err(_)) if looked_at == 0 => return Err(Ended::Stale),
                Ok(Ok(_) | Err(_)) => return Err(Ended::Fault(UpstreamFault::Closed)),
                Err(_) => {
                    let now = clock::monotonic();
                    if self.progress.gated.get() && continue_by.is_some_and(|by| now >= by) {
                        self.open_gate().await?;
                    } else if now >= self.answer_by() {
                        return Err(Ended::Fault(UpstreamFault::FirstByteTimeout));
                    }
                }
            }
        }
    }

    /// When the answer must have begun.
    fn answer_by(&self) -> std::time::Instant {
        self.progress.moved.get() + self.exchange.first_byte
    }

    /// Tells the client to send its body, if it still waits to be told.
    async fn open_gate(&self) -> Result<(), Ended> {
        if self.progress.gated.replace(false) {
            let write_idle = self.exchange.config.timeouts.write_idle;
            let written = self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", write_idle).await;
            self.progress.gate.notify_one();
            written.map_err(|fault| self.cut(&fault))?;
            self.progress.moved.set(clock::monotonic());
        }
        Ok(())
    }

    async fn deliver(
        &self,
        answer: &AnswerHead,
        buffer: &mut Buffer,
        out: &mut Vec<u8>,
        evidence: &mut Evidence<'_>,
    ) -> Ended {
        let Exchange { worker, config, head: request, known, .. } = self.exchange;
        let is_switch = answer.status() == respond::SWITCHING_PROTOCOLS;
        let written_as = match (answer.length(), request.version()) {
            (BodyLength::Chunked | BodyLength::UntilEnd, Version::Http11) => WrittenAs::Chunked,
            (BodyLength::Chunked | BodyLength::UntilEnd, Version::Http10)
            | (BodyLength::None | BodyLength::Exactly(_), Version::Http10 | Version::Http11) => WrittenAs::Plain,
        };
        let until_close =
            written_as == WrittenAs::Plain && matches!(answer.length(), BodyLength::Chunked | BodyLength::UntilEnd);
        // Where the request's body has not ended, there is no place for another request behind it.
        let body_ended = self.progress.upload_whole.get();
        let keep = request.keep_alive() && !until_close && body_ended && !worker.draining.get();
        rewrite::answer_head(out, answer, request, known, written_as, keep);
        evidence.record(Some(answer.status()));
        self.progress.begun.set(true);
        let write_idle = config.timeouts.write_idle;
        if is_switch {
            return match self.client.write_all(out, write_idle).await {
                Ok(()) => Ended::Switched,
                Err(fault) => self.cut(&fault),
            };
        }
        if until_close {
            // Whatever happens now, also to this process: only the whole ends cleanly.
            self.client.reset_on_close();
        }
        let length = match answer.length() {
            BodyLength::None => Some(0),
            BodyLength::Exactly(length) => Some(length),
            BodyLength::Chunked | BodyLength::UntilEnd => None,
        };
        let is_short = length.is_some_and(|length| length.saturating_add(out.len() as u64) <= SHORT);
        let mut body = Transfer::new(answer.length(), written_as, rewrite::ANSWER_TRAILERS);
        loop {
            match body.pass(out, buffer, self.client, write_idle).await {
                Ok(()) => {}
                Err(TransferFault::Source(_)) => return Ended::Cut,
                Err(TransferFault::Sink(fault)) => return self.cut(&fault),
            }
            if body.is_done() {
                if until_close {
                    self.client.end_on_close();
                }
                return Ended::Whole { reusable: answer.keep_alive(), keep, is_short };
            }
            self.progress.moved.set(clock::monotonic());
            if let Err(ended) = self.splice(&mut body, buffer, write_idle).await {
                return ended;
            }
            if body.is_done() {
                continue;
            }
            if body.is_large() {
                buffer.enlarge(&worker.buffers);
            }
            match self.more(buffer).await {
                Some(count) if count > 0 => {}
                Some(_) if body.source_ended(out) => {
                    return match self.client.write_all(out, write_idle).await {
                        Ok(()) => {
                            self.client.end_on_close();
                            Ended::Whole { reusable: false, keep, is_short }
                        }
                        Err(fault) => self.cut(&fault),
                    };
                }
                Some(_) | None => return Ended::Cut,
            }
        }
    }

    /// Moves what nobody needs to see, where that can be done.
    async fn splice(&self, body: &mut Transfer, buffer: &mut Buffer, idle: Duration) -> Result<(), Ended> {
        let Exchange { worker, .. } = self.exchange;
        let moved = || self.progress.moved.set(clock::monotonic());
        let conduit = Conduit { pipes: &worker.kernel_pipes, from: self.upstream, to: self.client, idle };
        loop {
            let passed = conduit.pass(body, buffer, &worker.buffers, moved).await;
            match passed.map_err(|fault| self.cut(&fault))? {
                Spliced::Whole | Spliced::Copy => return Ok(()),
                Spliced::Broken => return Err(Ended::Cut),
                Spliced::Rests => {
                    self.client.keep_alive();
                    self.upstream.readable().await.map_err(|_| Ended::Cut)?;
                }
            }
        }
    }

    /// More of the body; 0 is the end, `None` a broken connection. While nothing comes (an event stream between two
    /// events), no memory is held.
    async fn more(&self, buffer: &mut Buffer) -> Option<usize> {
        let buffers = &self.exchange.worker.buffers;
        if let Some(read) = self.upstream.read_now(buffer, buffers, LARGE).await {
            return read.ok();
        }
        // A stream that rests may rest for long: if the client vanishes meanwhile, the kernel will tell.
        self.client.keep_alive();
        loop {
            buffer.release(buffers);
            self.upstream.readable().await.ok()?;
            if let Some(read) = self.upstream.read_now(buffer, buffers, LARGE).await {
                return read.ok();
            }
        }
    }

    fn cut(&self, fault: &WriteFault) -> Ended {
        match fault {
            WriteFault::Idle => self.exchange.worker.metrics.timed_out("write_idle"),
            WriteFault::Io(_) => {}
        }
        Ended::Cut
    }
}
