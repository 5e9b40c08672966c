//! HTTP/2 from clients: one connection, many streams, each served as a connection of its own.
//!
//! The frame layer is the `h2` crate's. The head of each stream is read by the same strict reader as every other
//! ([`request`]), the stream becomes a pipe ([`stream`]), and what serves a socket serves the pipe: judgement, evidence,
//! forwarding and answers are the same code, and so the same promises, as in HTTP/1.1. The task of the connection holds what
//! belongs to it alone:
//!
//! 1. no stream yet: one must come within `head`; none open: another must come within `idle`;
//! 2. a header block that was begun must end within `head`;
//! 3. floods that h2 does not stop are counted ([`meter`]) and end the connection with `ENHANCE_YOUR_CALM`;
//! 4. a drain sends GOAWAY: streams in flight finish, and those that were on their way are served;
//! 5. the end of a connection ends its streams, like the client's going.
//!
//! HTTP/2 comes by ALPN over TLS, or by prior knowledge where a listener has `h2c`: told by the preface, for which a
//! connection that begins like one has `head` (the attack: `PRI * HTTP/2.0`, and then nothing). `Upgrade: h2c` is not honoured,
//! extended CONNECT (RFC 8441) is not offered, nothing is pushed.

mod blocks;
mod meter;
mod request;
mod stream;

use self::meter::{Meter, Metered};
use super::downstream::{Client, LAST_REQUEST};
use super::worker::{Worker, note_panic};
use crate::clock;
use crate::config::Timeouts;
use crate::request::framing::Framing;
use crate::request::head::{HeadFault, HeadLimits};
use crate::wire::h2::{CONNECTION_WINDOW, PIPE, SEND_BUFFER, STREAM_WINDOW, told};
use crate::wire::pipe::pipe;
use crate::wire::socket::{Socket, Stream};
use ::h2::server::{Builder, Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use http::Request;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// What a client that speaks HTTP/2 from the start begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of one connection at the same time.
const CONCURRENT: u32 = 128;
/// How long the last frames may take to leave.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How what has come compares with the preface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// It is there.
    Whole,
    /// As far as it goes, it is the same.
    Perhaps,
    /// It is something else.
    No,
}

/// Does a connection begin with the preface?
pub(super) fn begins(begun: &[u8]) -> Begins {
    if begun.starts_with(PREFACE) {
        Begins::Whole
    } else if PREFACE.starts_with(begun) {
        Begins::Perhaps
    } else {
        Begins::No
    }
}

/// Serves one connection to its end. `client`: what is known of it, and what was read of it already.
pub(super) async fn serve(worker: &Rc<Worker>, client: Client) {
    let (limits, timeouts) = {
        let config = &worker.shared.snapshot.load().config;
        (
            HeadLimits { head: config.limits.head, target: config.limits.target, fields: config.limits.headers },
            config.timeouts,
        )
    };
    let (template, socket, ahead) = client.split();
    let meter = Rc::new(Meter::default());
    let io = Metered::new(socket.into_stream(), ahead, Rc::clone(&meter));
    // Made first, so that the connection ends before it, and the streams with the connection.
    let mut session = Session {
        worker,
        template,
        meter,
        timeouts,
        limits,
        streams: JoinSet::new(),
        is_fresh: true,
        is_draining: false,
    };
    // Its beginning is boxed, and so is its end below.
    let begun = Box::pin(begin(worker, io, &session.limits, timeouts.head)).await;
    let Some(mut connection) = begun else { return };
    session.serve(&mut connection).await;
}

/// The first frames of both sides. Boxed: h2's state is 1.5 KiB, and each hand it passes through by value would keep room for it.
async fn begin(worker: &Worker, io: Metered, limits: &HeadLimits, within: Duration) -> Option<Box<Frames>> {
    // Our own 431 comes first: h2's has no body. It counts 32 bytes for each field.
    let list = limits.head + 64 * limits.fields;
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CONCURRENT)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(io);
    match tokio::time::timeout(within, handshake).await {
        Ok(Ok(connection)) => return Some(Box::new(connection)),
        Ok(Err(error)) => tracing::debug!(error = told(&error), "no HTTP/2 with a client"),
        Err(_) => worker.metrics.timed_out("first_byte"),
    }
    None
}

/// What every stream of a connection is served with.
pub(super) struct Template {
    make: Box<dyn Fn(Socket) -> Client>,
}

impl Template {
    pub(super) fn new(make: impl Fn(Socket) -> Client + 'static) -> Template {
        Template { make: Box::new(make) }
    }
}

struct Session<'w> {
    worker: &'w Rc<Worker>,
    template: Template,
    meter: Rc<Meter>,
    timeouts: Timeouts,
    limits: HeadLimits,
    streams: JoinSet<()>,
    /// No stream has come yet.
    is_fresh: bool,
    is_draining: bool,
}

/// What a connection has done wrong, or left undone.
enum Verdict {
    Flood(&'static str),
    /// No stream in time.
    Idle,
    /// A header block that does not end.
    SlowHead,
}

type Frames = Connection<Metered, Bytes>;

impl Session<'_> {
    async fn serve(&mut self, connection: &mut Frames) {
        let mut quiet_since = clock::monotonic();
        let mut written = 0;
        // Beyond any connection's life: reset before it is polled.
        let mut timer = pin!(tokio::time::sleep(Duration::from_secs(365 * 24 * 3600)));
        let mut drain = pin!(self.worker.drain.notified());
        loop {
            if self.worker.draining.get() && !self.is_draining {
                self.is_draining = true;
                quiet_since = clock::monotonic();
                connection.graceful_shutdown();
            }
            let quiet_until = self.streams.is_empty().then(|| quiet_since + self.patience());
            tokio::select! {
                biased;
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.open(request, respond),
                    Some(Err(error)) => {
                        if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                            self.worker.metrics.http2_flood("stopped_by_h2");
                        }
                        return tracing::debug!(error = told(&error), "an HTTP/2 connection ended");
                    }
                    None => return,
                },
                verdict = watch(&self.meter, timer.as_mut(), quiet_until, self.timeouts.head) => match verdict {
                    // What was queued is still being taken.
                    Verdict::Idle if connection.has_streams() && self.meter.written() > written => {
                        written = self.meter.written();
                        quiet_since = clock::monotonic();
                    }
                    verdict => return Box::pin(self.close(connection, verdict)).await,
                },
                Some(ended) = self.streams.join_next() => {
                    note_panic(ended);
                    quiet_since = clock::monotonic();
                }
                () = &mut drain, if !self.is_draining => {}
            }
        }
    }

    /// How long none of the streams may be open.
    fn patience(&self) -> Duration {
        match (self.is_draining, self.is_fresh) {
            (true, _) => LAST_REQUEST,
            (false, true) => self.timeouts.head,
            (false, false) => self.timeouts.idle,
        }
    }

    fn open(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.is_fresh = false;
        let (parts, body) = request.into_parts();
        let to_head = parts.method == http::Method::HEAD;
        let head = if self.meter.had_fragment(respond.stream_id().as_u32()) {
            Err(HeadFault::TargetByte)
        } else {
            request::head(parts, !body.is_end_stream(), &self.limits)
        };
        let framing: Option<Framing> = head.as_ref().ok().map(|head| head.framing());
        let (ours, theirs) = pipe(PIPE);
        let client = (self.template.make)(Socket::new(Stream::Pipe(theirs)));
        let worker = Rc::clone(self.worker);
        // Boxed: a set moves what it is given several times, and this is some kilobytes.
        self.streams.spawn_local(Box::pin(async move {
            let pipe = Socket::new(Stream::Pipe(ours));
            tokio::join!(
                stream::carry(respond, body, framing, to_head, pipe, &worker),
                client.serve_one(&worker, head)
            );
        }));
    }

    async fn close(&mut self, connection: &mut Frames, verdict: Verdict) {
        let reason = match verdict {
            Verdict::Flood(kind) => {
                self.worker.metrics.http2_flood(kind);
                Reason::ENHANCE_YOUR_CALM
            }
            Verdict::Idle => {
                if !self.is_draining {
                    self.worker.metrics.timed_out(if self.is_fresh { "first_byte" } else { "idle" });
                }
                Reason::NO_ERROR
            }
            Verdict::SlowHead => {
                self.worker.metrics.timed_out("head");
                Reason::ENHANCE_YOUR_CALM
            }
        };
        self.streams.abort_all();
        connection.abrupt_shutdown(reason);
        // The peer may take nothing any more.
        let _ = tokio::time::timeout(LAST_WORD, poll_fn(|cx| connection.poll_closed(cx))).await;
    }
}

/// Waits until the connection must end. Polled in the turn in which frames were read, it sees what they did.
async fn watch(meter: &Meter, mut timer: Pin<&mut Sleep>, quiet_until: Option<Instant>, head: Duration) -> Verdict {
    let poll = |cx: &mut Context<'_>| {
        if let Some(kind) = meter.flood() {
            return Poll::Ready(Verdict::Flood(kind.code()));
        }
        let block_until = meter.block_since().map(|since| (since + head, Verdict::SlowHead));
        let quiet_until = quiet_until.map(|until| (until, Verdict::Idle));
        let Some((until, verdict)) = [block_until, quiet_until].into_iter().flatten().min_by_key(|(until, _)| *until)
        else {
            return Poll::Pending;
        };
        if timer.deadline() != until.into() {
            timer.as_mut().reset(until.into());
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(verdict)
    };
    poll_fn(poll).await
}
