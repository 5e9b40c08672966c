//! [`establish`]: from an accepted connection to one that requests can be read from, through TLS where the listener has it.
//!
//! The handshake is a part of the connection's own task, so that one that stands still keeps nobody waiting, and lasts at most
//! `[timeouts].head`. Whoever speaks plain HTTP to a port of TLS is told so in plain HTTP. What strangers bring about here is
//! counted and logged at debug.

use super::downstream::LAST_REQUEST;
use super::worker::Worker;
use crate::clock;
use crate::config::{Side, Timeouts};
use crate::request::certificate::{CertificateName, ClientCertificate};
use crate::tls::ServerMaterial;
use crate::tls::handshake::{self, Failed, HandshakeFault, Protocol};
use crate::wire::stream::{Plain, Stream};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// What TLS says of a connection.
#[derive(Debug)]
pub(super) struct Secured {
    /// What is spoken inside.
    pub(super) protocol: Protocol,
    /// The names of the verified client certificate; `None` where none was asked for.
    names: Option<Box<[CertificateName]>>,
}

impl Secured {
    pub(super) fn certificate(&self) -> ClientCertificate<'_> {
        match &self.names {
            None => ClientCertificate::NotAsked,
            Some(names) => ClientCertificate::Names(names),
        }
    }
}

/// What became of an accepted connection.
pub(super) enum Established {
    /// Requests can come.
    Ready(Stream, Option<Secured>),
    /// Somebody speaks plain HTTP where TLS is spoken.
    PlainHttp(Plain),
    /// Nothing can come of it any more, but the client shall be able to read why.
    Refused(Plain),
    /// It is gone.
    Ended,
}

/// The first byte of a TLS connection: a record of a handshake.
const HANDSHAKE_RECORD: u8 = 22;

/// Makes TLS of it where the listener says so.
pub(super) async fn establish(worker: &Worker, plain: Plain, listener: usize) -> Established {
    let (material, within) = {
        let snapshot = worker.shared.snapshot.load();
        let Timeouts { head, .. } = snapshot.config.timeouts;
        match worker.routes[listener].side {
            Side::Outbound(_) => return Established::Ready(Stream::Plain(plain), None),
            Side::Inbound(place) => match &super::inbound::inbound_of(&snapshot.config, place).tls {
                None => return Established::Ready(Stream::Plain(plain), None),
                Some(tls) => (snapshot.tls.server(tls).cloned(), head),
            },
        }
    };
    let Some(material) = material else {
        // A configuration is loaded with its certificates or not at all; if that ever breaks, nothing is spoken in the clear.
        tracing::error!(listener, "a listener has no certificate loaded, its connections are closed");
        return Established::Ended;
    };
    let begun = clock::monotonic();
    // Boxed, so that a connection does not keep the room of its handshake.
    let ended = tokio::select! {
        biased;
        ended = Box::pin(shake_hands(&material, plain)) => ended,
        () = deadline(worker, begun + within) => Err(failed(HandshakeFault::TimedOut, io::ErrorKind::TimedOut)),
    };
    match ended {
        Ok(Shaken::Http(plain)) => {
            worker.metrics.handshake_failed(HandshakeFault::NotTls);
            Established::PlainHttp(plain)
        }
        Ok(Shaken::Hands(accepted)) => {
            worker.metrics.handshake(accepted.resumed);
            let names = accepted.names.map(Vec::into_boxed_slice);
            let secured = Secured { protocol: accepted.protocol, names };
            Established::Ready(Stream::Tls(accepted.stream), Some(secured))
        }
        Err(Failed { fault, error, plain }) => {
            tracing::debug!(reason = fault.code(), %error, "no TLS with a client");
            worker.metrics.handshake_failed(fault);
            match (fault, plain) {
                (HandshakeFault::Closed, _) | (_, None) => Established::Ended,
                (_, Some(plain)) => Established::Refused(plain),
            }
        }
    }
}

enum Shaken {
    Hands(handshake::Accepted),
    Http(Plain),
}

fn failed(fault: HandshakeFault, kind: io::ErrorKind) -> Failed {
    Failed { fault, error: kind.into(), plain: None }
}

async fn shake_hands(material: &Arc<ServerMaterial>, plain: Plain) -> Result<Shaken, Failed> {
    let closed = |error| Failed { fault: HandshakeFault::Closed, error, plain: None };
    match plain.first_byte().await.map_err(closed)? {
        Some(HANDSHAKE_RECORD) => Ok(Shaken::Hands(handshake::accept(material, plain).await?)),
        Some(byte) if byte.is_ascii_uppercase() => Ok(Shaken::Http(plain)),
        Some(_) => Err(failed(HandshakeFault::NotTls, io::ErrorKind::InvalidData)),
        None => Err(closed(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// When a handshake must be over; soon, once a drain has begun.
async fn deadline(worker: &Worker, until: Instant) {
    let drain = worker.drain.notified();
    if !worker.draining.get() {
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => return,
            () = drain => {}
        }
    }
    tokio::time::sleep_until(until.min(clock::monotonic() + LAST_REQUEST).into()).await;
}
