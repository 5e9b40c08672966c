//! [`Pool`]: one worker's connections to one upstream: kept while fresh, made when needed.
//!
//! uvicorn closes idle connections after 5 s; one used just then dies under a request that may not be sent twice. So idle
//! ones are dropped after 3 s, and one whose end has already come is never handed out.
//!
//! Over TLS a connection is as good as what it was verified with: after a reload none made with the old CA or the old client
//! certificate is used again.

use super::h2::Sessions;
use crate::clock;
use crate::config::Upstream;
use crate::telemetry::metrics::UpstreamFault;
use crate::tls::handshake::{self, Protocol};
use crate::tls::{ClientMaterial, TlsMaterials};
use crate::wire::buffer::{Buffer, BufferPool};
use crate::wire::socket::{Plain, Socket, Stream};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How long a connection may be idle, or carry no stream, and still be used.
pub(super) const FRESH: Duration = Duration::from_secs(3);
/// Idle connections kept at most.
const KEPT: usize = 512;
/// The least time between two warnings that no TLS comes about.
const TLS_WARNINGS: Duration = Duration::from_secs(10);
/// How long a resolved name is believed.
const RESOLVED_FOR: Duration = Duration::from_secs(5);

/// A connection to the upstream, and what was read from it beyond the last answer (nothing, while it is in the pool).
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: Socket,
    /// What was read and not yet taken.
    pub buffer: Buffer,
    /// What its server was verified with; `None` without TLS.
    verified_with: Option<Arc<ClientMaterial>>,
    /// It is one stream of a connection: over when its exchange is.
    is_stream: bool,
}

/// One worker's connections to one upstream.
#[derive(Debug)]
pub struct Pool {
    upstream: Upstream,
    idle: RefCell<Vec<(Instant, Connection)>>,
    resolved: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    sweeping: Cell<bool>,
    /// Connections of HTTP/2, where the upstream is to speak it.
    sessions: Rc<Sessions>,
    /// Asked for HTTP/2, it chose HTTP/1.1 for its last connection.
    chose_http1: Cell<bool>,
    warned: Cell<Option<Instant>>,
}

impl Connection {
    fn new(stream: Stream, verified_with: Option<Arc<ClientMaterial>>) -> Connection {
        Connection { socket: Socket::new(stream), buffer: Buffer::default(), verified_with, is_stream: false }
    }

    fn stream(socket: Socket) -> Connection {
        Connection { socket, buffer: Buffer::default(), verified_with: None, is_stream: true }
    }
}

/// Is what a server was verified with still what it would be verified with?
pub(super) fn is_same(then: Option<&Arc<ClientMaterial>>, now: Option<&Arc<ClientMaterial>>) -> bool {
    match (then, now) {
        (None, None) => true,
        (Some(then), Some(now)) => Arc::ptr_eq(then, now),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(upstream: Upstream) -> Rc<Pool> {
        Rc::new(Pool {
            upstream,
            idle: RefCell::default(),
            resolved: RefCell::default(),
            sweeping: Cell::new(false),
            sessions: Rc::default(),
            chose_http1: Cell::new(false),
            warned: Cell::default(),
        })
    }

    /// The freshest idle connection that still lives, if there is one. One with an end to read, or an answer
    /// nobody asked for, is closed, and its bytes reach no client; what TLS says for itself (tickets) is no answer.
    pub fn reuse(&self, tls: &TlsMaterials, now: Instant) -> Option<Connection> {
        if let Some(stream) = self.stream(self.material(tls)) {
            return Some(stream);
        }
        loop {
            let (since, connection) = self.idle.borrow_mut().pop()?;
            if now.saturating_duration_since(since) < FRESH
                && is_same(connection.verified_with.as_ref(), self.material(tls))
                && connection.socket.is_quiet()
            {
                return Some(connection);
            }
            connection.socket.farewell();
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`UpstreamFault::Unreachable`], [`UpstreamFault::ConnectTimeout`] or [`UpstreamFault::Tls`].
    pub async fn connect(&self, tls: &TlsMaterials, within: Duration) -> Result<Connection, UpstreamFault> {
        tokio::time::timeout(within, self.connection(self.material(tls)))
            .await
            .map_err(|_| UpstreamFault::ConnectTimeout)?
    }

    async fn connection(&self, material: Option<&Arc<ClientMaterial>>) -> Result<Connection, UpstreamFault> {
        if !self.upstream.http2 {
            let (stream, _) = self.open(material).await?;
            return Ok(Connection::new(stream, material.cloned()));
        }
        // Many requests at once open one connection, and share it; unless the server last chose what cannot be shared.
        let _turn = if self.chose_http1.get() { None } else { Some(self.sessions.turn.lock().await) };
        if let Some(stream) = self.stream(material) {
            return Ok(stream);
        }
        let (stream, protocol) = self.open(material).await?;
        self.chose_http1.set(protocol == Protocol::Http1);
        match (stream, protocol) {
            (stream, Protocol::Http2) => self
                .sessions
                .begin(stream, material.cloned(), self.upstream.scheme())
                .await
                .map(Connection::stream)
                .map_err(|error| {
                    tracing::debug!(upstream = %self.upstream, %error, "no HTTP/2 with the upstream");
                    UpstreamFault::Closed
                }),
            // Asked by ALPN, it chose what it can.
            (stream, Protocol::Http1) => Ok(Connection::new(stream, material.cloned())),
        }
    }

    /// A new stream on an HTTP/2 connection that is open.
    fn stream(&self, material: Option<&Arc<ClientMaterial>>) -> Option<Connection> {
        if !self.upstream.http2 {
            return None;
        }
        self.sessions.stream(material, self.upstream.scheme()).map(Connection::stream)
    }

    /// What this upstream is verified with; `None` without TLS.
    fn material<'t>(&self, tls: &'t TlsMaterials) -> Option<&'t Arc<ClientMaterial>> {
        self.upstream.tls.as_deref().and_then(|how| tls.client(how))
    }

    /// The stream, and what is to be spoken on it.
    async fn open(&self, material: Option<&Arc<ClientMaterial>>) -> Result<(Stream, Protocol), UpstreamFault> {
        let tcp = self.try_addresses().await.map_err(|error| {
            tracing::debug!(upstream = %self.upstream.host, port = self.upstream.port, %error, "upstream unreachable");
            UpstreamFault::Unreachable
        })?;
        let plain = Plain::Tcp(tcp);
        match (&self.upstream.tls, material) {
            (None, _) => {
                let protocol = if self.upstream.http2 { Protocol::Http2 } else { Protocol::Http1 };
                Ok((Stream::Plain(plain), protocol))
            }
            (Some(_), Some(material)) => match handshake::connect(material, &self.upstream, plain).await {
                Ok((stream, protocol)) => Ok((Stream::Tls(Box::new(stream)), protocol)),
                Err(error) => Err(self.not_secure(&error)),
            },
            // A configuration is loaded with what its upstreams are verified with; if that ever breaks, nothing goes unverified.
            (Some(_), None) => Err(self.not_secure(&std::io::Error::other("nothing to verify it with was loaded"))),
        }
    }

    /// An upstream whose certificate is wrong is the operator's affair, but each request would say so.
    pub fn not_secure(&self, error: &std::io::Error) -> UpstreamFault {
        let now = clock::monotonic();
        if self.warned.get().is_none_or(|last| now.saturating_duration_since(last) >= TLS_WARNINGS) {
            self.warned.set(Some(now));
            tracing::warn!(upstream = %self.upstream, %error, "no TLS with the upstream");
        }
        UpstreamFault::Tls
    }

    async fn try_addresses(&self) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Small writes leave at once; without it the connection still works.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let (host, port) = (self.upstream.lookup_host(), self.upstream.port);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let now = clock::monotonic();
        if let Some((since, addresses)) = &*self.resolved.borrow()
            && now.duration_since(*since) < RESOLVED_FOR
        {
            return Ok(addresses.clone());
        }
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        *self.resolved.borrow_mut() = Some((now, addresses.clone()));
        Ok(addresses)
    }

    /// Takes a connection back after a whole exchange. Bytes beyond the answer belong to nobody: such a connection is
    /// closed, and they reach no client.
    pub fn give_back(self: &Rc<Self>, mut connection: Connection, buffers: &BufferPool) {
        if !connection.buffer.is_empty() || connection.is_stream {
            return;
        }
        connection.buffer.release(buffers);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT {
            idle.push((clock::monotonic(), connection));
        }
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).sweep());
        }
    }

    /// Closes what is no longer fresh; ends when nothing is left, so that a quiet worker sleeps.
    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(FRESH / 3).await;
            let now = clock::monotonic();
            let mut idle = self.idle.borrow_mut();
            idle.retain(|(since, connection)| {
                let is_fresh = now.duration_since(*since) < FRESH;
                if !is_fresh {
                    connection.socket.farewell();
                }
                is_fresh
            });
            if idle.is_empty() {
                self.sweeping.set(false);
                return;
            }
        }
    }
}
