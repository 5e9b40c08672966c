//! One client connection: wait for a head, serve the request, again. The timers before a request are here.
//!
//! A connection that has been idle for a second holds its socket and nothing else: no buffer, no parser, no exchange. (hyper holds
//! 12 KiB.) Until then it keeps what served its last request, unless too many do.
//! Attacks: silent sockets (first byte: `head` on a fresh connection, `idle` afterwards), slow heads (`head` is a total),
//! heads that never end (`[limits].head`), a close that overtakes our answer (lingering).

use super::h2::{self, Begins, Template};
use super::inbound;
use super::last_word::end_unread;
use super::outbound;
use super::read_head::HeadEnd;
use super::respond;
use super::secure::{self, Established, Secured};
use super::worker::Worker;
use crate::clock;
use crate::config::Side;
use crate::request::certificate::ClientCertificate;
use crate::request::client::{ClientAddress, Peer};
use crate::request::fields::HeadRoom;
use crate::request::head::{HeadFault, RequestHead};
use crate::tls::handshake::Protocol;
use crate::wire::buffer::{Buffer, SMALL};
use crate::wire::socket::{Plain, Socket};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

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
    /// What one request left for the next; in a box of its own, because a connection that rests has none.
    pub(super) spare: Option<Box<Spare>>,
}

/// Memory that a busy connection uses again for each request. One that rests holds none of it.
#[derive(Default)]
pub(super) struct Spare {
    pub(super) request: HeadRoom,
    pub(super) answer: HeadRoom,
    /// What goes upstream first: the head, and what of the body came with it.
    pub(super) up: Vec<u8>,
    /// What goes to the client first.
    pub(super) down: Vec<u8>,
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

impl Spare {
    /// Gives back what only a large message needed.
    fn trim(&mut self) {
        for text in [&mut self.up, &mut self.down] {
            if text.capacity() > SMALL {
                *text = Vec::new();
            }
        }
        self.request.trim(SMALL);
        self.answer.trim(SMALL);
    }
}

/// Which wait for the first byte of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// On a fresh connection.
    First,
    /// Right behind a request, with all at hand that served it.
    Next,
    /// On a connection that rests, and has waited so long before.
    Longer { than: Duration },
}

/// How a busy connection ceased to be one.
enum Busy {
    /// It waits for its next request, and has waited so long already.
    Rests { for_now: Duration },
    /// It is over.
    Ends,
    /// It is over, but for [`After::Linger`].
    Lingers,
}

/// How a wait for the first byte ended.
enum Woken {
    Bytes,
    Closed,
    TimedOut,
}

/// How long a fresh connection may still bring its first request once a drain has begun.
pub(super) const LAST_REQUEST: Duration = Duration::from_secs(1);
/// How long behind a request the next is waited for before the connection gives up what serves requests.
const REST: Duration = Duration::from_secs(1);

/// Serves one connection to its end. Until the next request comes, this is what it holds, so what is rare is boxed, here and
/// below, and there is one [`Client`] that everybody borrows.
pub(super) async fn serve(worker: &Rc<Worker>, plain: Plain, peer: Peer, listener: usize) {
    worker.metrics.connections(1);
    let _open = Open(worker);
    let (stream, secured) = match secure::establish(worker, plain, listener).await {
        Established::Ready(stream, secured) => (stream, secured),
        Established::PlainHttp(plain) => {
            return Box::pin(end_unread(worker, plain, Some(&respond::NOT_TLS), peer, listener)).await;
        }
        Established::Refused(plain) => return Box::pin(end_unread(worker, plain, None, peer, listener)).await,
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

impl Client {
    pub(super) fn new(socket: Socket, secured: Option<Rc<Secured>>, peer: Peer, listener: usize) -> Client {
        let direct = ClientAddress::of(peer, &[], []);
        let direct = (direct, direct.to_string().into());
        Client {
            socket,
            buffer: Buffer::default(),
            peer,
            direct,
            listener,
            secured,
            is_stream: false,
            local: None,
            spare: None,
        }
    }

    /// Parts with the socket and what was read from it; what is known of the client goes to each stream.
    pub(super) fn split(self) -> (Template, Socket, Buffer) {
        let local = self.local_address();
        let Client { socket, buffer, peer, direct, listener, secured, is_stream: _, local: _, spare: _ } = self;
        let of_stream = move |socket| Client {
            socket,
            buffer: Buffer::default(),
            peer,
            direct: (direct.0, Rc::clone(&direct.1)),
            listener,
            secured: secured.clone(),
            is_stream: true,
            local,
            spare: None,
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
        let mut wait = Wait::First;
        loop {
            if self.buffer.is_empty() {
                match self.first_byte(worker, wait).await {
                    Woken::Bytes => {}
                    Woken::Closed => return self.socket.farewell(),
                    Woken::TimedOut => {
                        self.socket.farewell();
                        return worker.metrics.timed_out(if wait == Wait::First { "first_byte" } else { "idle" });
                    }
                }
            }
            // Boxed, so that an idle connection does not hold the room of a busy one.
            match Box::pin(self.busy(worker)).await {
                Busy::Rests { for_now } => wait = Wait::Longer { than: for_now },
                Busy::Ends => return,
                Busy::Lingers => return Box::pin(self.linger(worker)).await,
            }
        }
    }

    /// Serves requests until the connection rests or ends: what a request needs is not made anew for each.
    async fn busy(&mut self, worker: &Worker) -> Busy {
        self.spare.get_or_insert_with(|| worker.lend());
        let how = loop {
            let after = self.next(worker).await;
            self.spare.get_or_insert_default().trim();
            match after {
                // One that sends many requests at once takes its turns among the others.
                After::Keep if !self.buffer.is_empty() => tokio::task::yield_now().await,
                After::Keep => {
                    let Some(_warm) = worker.keep_warm() else { break Busy::Rests { for_now: Duration::ZERO } };
                    match self.first_byte(worker, Wait::Next).await {
                        Woken::Bytes => {}
                        Woken::Closed => {
                            self.socket.farewell();
                            break Busy::Ends;
                        }
                        Woken::TimedOut => break Busy::Rests { for_now: REST },
                    }
                }
                After::Close => break Busy::Ends,
                After::Linger => break Busy::Lingers,
            }
        };
        if let Some(spare) = self.spare.take() {
            worker.take_back(spare);
        }
        how
    }

    async fn next(&mut self, worker: &Worker) -> After {
        let head = self.read_head(worker).await;
        self.request(worker, head).await
    }

    async fn first_byte(&mut self, worker: &Worker, wait: Wait) -> Woken {
        let mut until = clock::monotonic() + {
            let timeouts = &worker.shared.snapshot.load().config.timeouts;
            match wait {
                Wait::First => timeouts.head,
                Wait::Next => timeouts.idle.min(REST),
                Wait::Longer { than } => timeouts.idle.saturating_sub(than),
            }
        };
        loop {
            self.buffer.release(&worker.buffers);
            let drain = worker.drain.notified();
            if worker.draining.get() {
                if wait != Wait::First {
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
        match self.first_byte(worker, Wait::First).await {
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
            Ok(head) => {
                let after = match worker.routes[self.listener].side {
                    Side::Inbound(place) => inbound::serve(self, worker, &head, place).await,
                    Side::Outbound(place) => outbound::serve(self, worker, &head, place).await,
                };
                head.leave(&mut self.spare.get_or_insert_default().request);
                after
            }
            Err(HeadEnd::Fault(fault)) => inbound::refuse_malformed(self, worker, fault).await,
            Err(HeadEnd::TimedOut) => {
                worker.metrics.timed_out("head");
                self.answer_unread(worker, &respond::REQUEST_TIMEOUT).await;
                After::Linger
            }
            Err(HeadEnd::Gone) => After::Close,
        }
    }
}
