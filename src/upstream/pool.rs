//! [`Pool`]: one worker's connections to one upstream: kept while fresh, made when needed.
//!
//! uvicorn closes idle connections after 5 s; one used just then dies under a request that may not be sent twice. So idle
//! ones are dropped after 3 s, and one whose end has already come is never
//! handed out.

use crate::clock;
use crate::config::Upstream;
use crate::telemetry::metrics::UpstreamFault;
use crate::wire::buffer::{Buffer, BufferPool};
use crate::wire::socket::{Plain, Socket, Stream};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How long a connection may be idle and still be used.
const FRESH: Duration = Duration::from_secs(3);
/// Idle connections kept at most.
const KEPT: usize = 512;
/// How long a resolved name is believed.
const RESOLVED_FOR: Duration = Duration::from_secs(5);

/// A connection to the upstream, and what was read from it beyond the last answer (nothing, while it is in the pool).
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: Socket,
    /// What was read and not yet taken.
    pub buffer: Buffer,
}

/// One worker's connections to one upstream.
#[derive(Debug)]
pub struct Pool {
    upstream: Upstream,
    idle: RefCell<Vec<(Instant, Connection)>>,
    resolved: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    sweeping: Cell<bool>,
}

impl Pool {
    /// An empty pool.
    pub fn new(upstream: Upstream) -> Rc<Pool> {
        Rc::new(Pool { upstream, idle: RefCell::default(), resolved: RefCell::default(), sweeping: Cell::new(false) })
    }

    /// The freshest idle connection that still lives, if there is one. Anything to read on it is an end, or an answer
    /// nobody asked for: it is closed, and its bytes reach no client.
    pub fn reuse(&self, now: Instant) -> Option<Connection> {
        loop {
            let (since, connection) = self.idle.borrow_mut().pop()?;
            if now.saturating_duration_since(since) < FRESH && connection.socket.is_quiet() {
                return Some(connection);
            }
            connection.socket.farewell();
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`UpstreamFault::Unreachable`] or [`UpstreamFault::ConnectTimeout`].
    pub async fn connect(&self, within: Duration) -> Result<Connection, UpstreamFault> {
        let stream = tokio::time::timeout(within, self.try_addresses())
            .await
            .map_err(|_| UpstreamFault::ConnectTimeout)?
            .map_err(|error| {
                tracing::debug!(upstream = %self.upstream.host, port = self.upstream.port, %error, "upstream unreachable");
                UpstreamFault::Unreachable
            })?;
        Ok(Connection { socket: Socket::new(Stream::Plain(Plain::Tcp(stream))), buffer: Buffer::default() })
    }

    async fn try_addresses(&self) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
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
        if !connection.buffer.is_empty() {
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
