//! One client connection: wait for a head, serve the request, again. The timers before a request are here.
//!
//! An idle connection holds its socket and nothing else: no buffer, no parser, no exchange. (hyper holds 12 KiB.)
//! Attacks: silent sockets (first byte: `head` on a fresh connection, `idle` afterwards), slow heads (`head` is a total),
//! heads that never end (`[limits].head`), a close that overtakes our answer (lingering).

use super::h2::{self, Begins, Template};
use super::inbound;
use super::outbound;
use super::respond::{self, Wrapping};
use super::secure::{self, Established, Secured};
use super::worker::Worker;
use crate::clock;
use crate::config::{Config, Side};
use crate::request::certificate::ClientCertificate;
use crate::request::client::{ClientAddress, Peer};
use crate::request::head::{self, HeadFault, HeadLimits, RequestHead, TargetForms};
use crate::tls::handshake::Protocol;
use crate::wire::buffer::Buffer;
use crate::wire::socket::{Plain, Socket, Stream};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{timeout, timeout_at};

/// One client connection.
pub(super) struct Client {
    pub(super) socket: Socket,
    pub(super) buffer: Buffer,
    pub(super) peer: Peer,
    /// The peer as a client address, and its text: the same for every request that no trusted proxy brings.
    pub(super) direct: (ClientAddress, Rc<str>),
    /// Which listener took it.
    pub(super) listener: usize,
    /// What TLS says of it; `None` over a plain connection.
    pub(super) secured: Option<Rc<Secured>>,
    /// It is one stream of an HTTP/2 connection, whose framing was checked below.
    pub(super) is_stream: bool,
    /// Our own address on that connection.
    local: Option<SocketAddr>,
}

/// What follows a request on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The next request.
    Keep,
    /// Nothing.
    Close,
    /// Nothing; but the client may still be sending, and shall be able to read its answer.
    Linger,
}

/// How a wait for the first byte ended.
enum Woken {
    Bytes,
    Closed,
    TimedOut,
}

/// How long a fresh connection may still bring its first request once a drain has begun.
pub(super) const LAST_REQUEST: Duration = Duration::from_secs(1);
/// How long, and how many bytes, a client that is being answered may go on sending.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_IDLE: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// Serves one connection to its end. Until the next request comes, this is what it holds, so what is rare is boxed, here and
/// below, and there is one [`Client`] that everybody borrows.
pub(super) async fn serve(worker: &Rc<Worker>, plain: Plain, peer: Peer, listener: usize) {
    worker.metrics.connections(1);
    let _open = Open(worker);
    let (stream, secured) = match secure::establish(worker, plain, listener).await {
        Established::Ready(stream, secured) => (stream, secured),
        Established::PlainHttp(plain) => {
            return Box::pin(turn_away(worker, plain, Some(&respond::NOT_TLS), peer, listener)).await;
        }
        Established::Refused(plain) => return Box::pin(turn_away(worker, plain, None, peer, listener)).await,
        Established::Ended => return,
    };
    let chosen = secured.as_ref().map(|secured| secured.protocol);
    let mut client = Client::new(Socket::new(stream), secured.map(Rc::new), peer, listener);
    let protocol = match chosen {
        Some(protocol) => protocol,
        None if client.takes_h2c(worker) => match Box::pin(client.what_comes(worker)).await {
            Some(protocol) => protocol,
            None => return,
        },
        None => Protocol::Http1,
    };
    match protocol {
        Protocol::Http1 => client.serve(worker).await,
        Protocol::Http2 => Box::pin(h2::serve(worker, client)).await,
    }
}

/// No request will be read from it; but the client shall be able to read our answer, or why TLS did not come about.
async fn turn_away(worker: &Worker, plain: Plain, own: Option<&respond::OwnAnswer>, peer: Peer, listener: usize) {
    let mut client = Client::new(Socket::new(Stream::Plain(plain)), None, peer, listener);
    if let Some(own) = own {
        client.answer_unread(worker, own).await;
    }
    client.linger(worker).await;
}

impl Client {
    pub(super) fn new(socket: Socket, secured: Option<Rc<Secured>>, peer: Peer, listener: usize) -> Client {
        let direct = ClientAddress::of(peer, &[], []);
        let direct = (direct, direct.to_string().into());
        Client { socket, buffer: Buffer::default(), peer, direct, listener, secured, is_stream: false, local: None }
    }

    /// Parts with the socket and what was read from it; what is known of the client goes to each stream.
    pub(super) fn split(self) -> (Template, Socket, Buffer) {
        let local = self.local_address();
        let Client { socket, buffer, peer, direct, listener, secured, is_stream: _, local: _ } = self;
        let of_stream = move |socket| Client {
            socket,
            buffer: Buffer::default(),
            peer,
            direct: (direct.0, Rc::clone(&direct.1)),
            listener,
            secured: secured.clone(),
            is_stream: true,
            local,
        };
        (Template::new(of_stream), socket, buffer)
    }

    /// How the client reached us.
    pub(super) fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// What its connection proved of it.
    pub(super) fn certificate(&self) -> ClientCertificate<'_> {
        self.secured.as_ref().map_or(ClientCertificate::NotAsked, |secured| secured.certificate())
    }
}

struct Open<'w>(&'w Worker);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections(-1);
    }
}

impl Client {
    /// Serves requests one after the other.
    async fn serve(&mut self, worker: &Worker) {
        let mut is_fresh = true;
        loop {
            if self.buffer.is_empty() {
                match self.first_byte(worker, is_fresh).await {
                    Woken::Bytes => {}
                    Woken::Closed => return self.socket.farewell(),
                    Woken::TimedOut => {
                        self.socket.farewell();
                        return worker.metrics.timed_out(if is_fresh { "first_byte" } else { "idle" });
                    }
                }
            }
            is_fresh = false;
            // Boxed, so that an idle connection does not hold the room of a busy one.
            match Box::pin(self.next(worker)).await {
                // One that sends many requests at once takes its turns among the others.
                After::Keep if !self.buffer.is_empty() => tokio::task::yield_now().await,
                After::Keep => {}
                After::Close => return,
                After::Linger => return Box::pin(self.linger(worker)).await,
            }
        }
    }

    async fn next(&mut self, worker: &Worker) -> After {
        let head = self.head(worker).await;
        self.request(worker, head).await
    }

    async fn first_byte(&mut self, worker: &Worker, is_fresh: bool) -> Woken {
        let wait = {
            let timeouts = &worker.shared.snapshot.load().config.timeouts;
            if is_fresh { timeouts.head } else { timeouts.idle }
        };
        let mut until = clock::monotonic() + wait;
        loop {
            self.buffer.release(&worker.buffers);
            let drain = worker.drain.notified();
            if worker.draining.get() {
                if !is_fresh {
                    return Woken::Closed;
                }
                until = until.min(clock::monotonic() + LAST_REQUEST);
            }
            tokio::select! {
                biased;
                ready = self.socket.readable() => if ready.is_err() {
                    return Woken::Closed;
                },
                () = drain, if !worker.draining.get() => continue,
                () = tokio::time::sleep_until(until.into()) => return Woken::TimedOut,
            }
            match self.socket.read_now(&mut self.buffer, &worker.buffers, usize::MAX).await {
                None => {}
                Some(Ok(0) | Err(_)) => return Woken::Closed,
                Some(Ok(_)) => return Woken::Bytes,
            }
        }
    }

    /// Is HTTP/2 with prior knowledge spoken here? Asked of plain connections.
    fn takes_h2c(&self, worker: &Worker) -> bool {
        match worker.routes[self.listener].side {
            Side::Inbound(place) => {
                self.secured.is_none() && inbound::inbound_of(&worker.shared.snapshot.load().config, place).h2c
            }
            Side::Outbound(place) => {
                let outbound = &worker.shared.snapshot.load().config.outbound;
                outbound.get(place).is_some_and(|outbound| outbound.h2c)
            }
        }
    }

    /// Our own address on its connection.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.local.or_else(|| self.socket.local_address())
    }

    /// HTTP/2 if the connection begins with its preface, else HTTP/1.1; `None` when nothing comes. What begins like the preface
    /// has `head` to become it, or something else.
    async fn what_comes(&mut self, worker: &Worker) -> Option<Protocol> {
        match self.first_byte(worker, true).await {
            Woken::Bytes => {}
            Woken::Closed => return None,
            Woken::TimedOut => {
                worker.metrics.timed_out("first_byte");
                return None;
            }
        }
        let until = clock::monotonic() + worker.shared.snapshot.load().config.timeouts.head;
        loop {
            match h2::begins(self.buffer.filled()) {
                Begins::Whole => return Some(Protocol::Http2),
                Begins::No => return Some(Protocol::Http1),
                Begins::Perhaps => match self.more(worker, until, 0).await {
                    Ok(()) => {}
                    Err(HeadEnd::TimedOut) => {
                        worker.metrics.timed_out("head");
                        return None;
                    }
                    Err(HeadEnd::Fault(_) | HeadEnd::Gone) => return None,
                },
            }
        }
    }

    /// Serves the one request of a stream.
    pub(super) async fn serve_one(mut self, worker: &Worker, head: Result<RequestHead, HeadFault>) {
        match self.request(worker, head.map_err(HeadEnd::Fault)).await {
            After::Keep | After::Close => {}
            After::Linger => self.linger(worker).await,
        }
        self.buffer.release(&worker.buffers);
    }

    async fn request(&mut self, worker: &Worker, head: Result<RequestHead, HeadEnd>) -> After {
        match head {
            Ok(head) => match worker.routes[self.listener].side {
                Side::Inbound(place) => inbound::serve(self, worker, &head, place).await,
                Side::Outbound(place) => outbound::serve(self, worker, &head, place).await,
            },
            Err(HeadEnd::Fault(fault)) => inbound::refuse_malformed(self, worker, fault).await,
            Err(HeadEnd::TimedOut) => {
                worker.metrics.timed_out("head");
                self.answer_unread(worker, &respond::REQUEST_TIMEOUT).await;
                After::Linger
            }
            Err(HeadEnd::Gone) => After::Close,
        }
    }

    /// Our own last answer where no request was read.
    async fn answer_unread(&mut self, worker: &Worker, own: &respond::OwnAnswer) {
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

    /// Reads one whole head; what comes behind it stays in the buffer.
    async fn head(&mut self, worker: &Worker) -> Result<RequestHead, HeadEnd> {
        let (limits, within) = {
            let Config { limits, timeouts, .. } = &*worker.shared.snapshot.load().config;
            (HeadLimits { head: limits.head, target: limits.target, fields: limits.headers }, timeouts.head)
        };
        let forms = match worker.routes[self.listener].side {
            Side::Inbound(_) => TargetForms::Path,
            Side::Outbound(_) => TargetForms::Any,
        };
        let mut until = None;
        let mut looked_at = 0;
        let mut line_is_good = false;
        loop {
            let begun = self.buffer.filled();
            let end = head::find_end(begun, looked_at);
            // Of a head that is not whole, what can be said already is said.
            if !line_is_good && !matches!(end, Ok(Some(_))) {
                head::early_fault(begun, &limits, forms)?;
                line_is_good = begun.contains(&b'\n');
            }
            if let Some(end) = end? {
                let head = RequestHead::parse_as(&begun[..end], &limits, forms)?;
                self.buffer.consume(end);
                return Ok(head);
            }
            looked_at = begun.len();
            if begun.len() >= limits.head {
                return Err(HeadEnd::Fault(HeadFault::HeadTooLong));
            }
            let until = *until.get_or_insert_with(|| clock::monotonic() + within);
            self.more(worker, until, limits.head + 1).await?;
        }
    }

    async fn more(&mut self, worker: &Worker, until: Instant, limit: usize) -> Result<(), HeadEnd> {
        // A small block at least: `limit` bounds only what grows beyond it.
        let limit = limit.max(crate::wire::buffer::SMALL);
        match timeout_at(until.into(), self.socket.read(&mut self.buffer, &worker.buffers, limit)).await {
            Err(_) => Err(HeadEnd::TimedOut),
            Ok(Ok(0) | Err(_)) => Err(HeadEnd::Gone),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Says that nothing more will be sent, and reads on for a while: a close with unread bytes would be a reset, and a
    /// reset can overtake the answer.
    async fn linger(&mut self, worker: &Worker) {
        let discard = async {
            let mut left = LINGER_BYTES;
            loop {
                let held = self.buffer.filled().len();
                self.buffer.consume(held);
                let read = self.socket.read(&mut self.buffer, &worker.buffers, crate::wire::buffer::LARGE);
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

enum HeadEnd {
    Fault(HeadFault),
    TimedOut,
    Gone,
}

impl From<HeadFault> for HeadEnd {
    fn from(fault: HeadFault) -> HeadEnd {
        HeadEnd::Fault(fault)
    }
}
