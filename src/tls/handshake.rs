//! [`accept`], [`connect`]: who is at the other end, or why did it not come about?
//!
//! Neither waits with a limit of its own: the caller knows how long a handshake may take. What a stranger can bring about is a
//! [`HandshakeFault`], a word for the counters and nothing more.

use super::certificate::Certificate;
use super::material::{ClientMaterial, ServerMaterial};
use crate::clock;
use crate::config::Upstream;
use crate::request::certificate::CertificateName;
use crate::wire::stream::Plain;
use crate::wire::tls::{Counted, TlsStream};
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, InvalidMessage};
use std::io;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a finished handshake of a client of ours says.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Box<TlsStream>,
    /// Which protocol both agreed on.
    pub protocol: Protocol,
    /// The names of the verified certificate, none where none came; `None` where none was asked for.
    pub names: Option<Vec<CertificateName>>,
    /// Was an earlier session resumed?
    pub resumed: bool,
}

/// What is spoken inside (ALPN); a client that does not say speaks HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/1.1`, `http/1.0`, or nothing.
    Http1,
    /// `h2`
    Http2,
}

/// Why a handshake with a client did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// What came is no TLS.
    NotTls,
    /// It took too long.
    TimedOut,
    /// The other side ended the connection.
    Closed,
    /// No version or suite that both know.
    Incompatible,
    /// No protocol (ALPN) that both speak.
    NoProtocol,
    /// A client certificate is required, and none came.
    CertificateMissing,
    /// The client certificate is not to be believed: another CA, ended, not for clients.
    CertificateInvalid,
    /// The other side did not want ours, and said so.
    Rejected,
    /// Not what TLS says.
    Protocol,
}

impl HandshakeFault {
    /// Every fault, in the order of its number.
    pub const ALL: [HandshakeFault; 9] = [
        HandshakeFault::NotTls,
        HandshakeFault::TimedOut,
        HandshakeFault::Closed,
        HandshakeFault::Incompatible,
        HandshakeFault::NoProtocol,
        HandshakeFault::CertificateMissing,
        HandshakeFault::CertificateInvalid,
        HandshakeFault::Rejected,
        HandshakeFault::Protocol,
    ];

    /// The word in metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            HandshakeFault::NotTls => "not_tls",
            HandshakeFault::TimedOut => "timed_out",
            HandshakeFault::Closed => "closed",
            HandshakeFault::Incompatible => "incompatible",
            HandshakeFault::NoProtocol => "no_protocol",
            HandshakeFault::CertificateMissing => "certificate_missing",
            HandshakeFault::CertificateInvalid => "certificate_invalid",
            HandshakeFault::Rejected => "rejected",
            HandshakeFault::Protocol => "protocol",
        }
    }

    fn of(error: &io::Error) -> HandshakeFault {
        match tls_error(error) {
            None => HandshakeFault::Closed,
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => HandshakeFault::NotTls,
            Some(rustls::Error::PeerIncompatible(_)) => HandshakeFault::Incompatible,
            Some(rustls::Error::NoApplicationProtocol) => HandshakeFault::NoProtocol,
            Some(rustls::Error::NoCertificatesPresented) => HandshakeFault::CertificateMissing,
            Some(rustls::Error::InvalidCertificate(_)) => HandshakeFault::CertificateInvalid,
            Some(rustls::Error::AlertReceived(_)) => HandshakeFault::Rejected,
            // Of another's enum: whatever it learns to say is a breach of the protocol to us.
            Some(_) => HandshakeFault::Protocol,
        }
    }
}

/// A handshake with a client that did not come about.
#[derive(Debug)]
pub struct Failed {
    /// Its word.
    pub fault: HandshakeFault,
    /// What is to be logged.
    pub error: io::Error,
    /// The connection, while the client may still have to read why: a close at once could overtake the alert.
    pub plain: Option<Plain>,
}

/// What TLS itself has against a connection, if it is TLS that broke it: a certificate that is not believed, an alert. Read and write
/// errors carry it.
pub fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The handshake with a client.
///
/// # Errors
/// [`Failed`]
pub async fn accept(material: &ServerMaterial, plain: Plain) -> Result<Accepted, Failed> {
    let acceptor = TlsAcceptor::from(std::sync::Arc::clone(&material.config));
    let accepted = acceptor.accept(Counted::new(plain)).into_fallible().await;
    let stream = accepted.map_err(|(error, io)| {
        let fault = HandshakeFault::of(&error);
        Failed { fault, error, plain: Some(io.into_plain()) }
    })?;
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|der| Certificate::parse(der));
    let names = match certificate {
        None => Vec::new(),
        // A session that is resumed brings the certificate of its first handshake, and that may have ended since.
        Some(Some(certificate)) if certificate.counts_at(clock::unix_seconds()) => certificate.names,
        Some(_) => {
            let error = io::Error::new(io::ErrorKind::PermissionDenied, "the client certificate has ended");
            return Err(Failed { fault: HandshakeFault::CertificateInvalid, error, plain: None });
        }
    };
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(_) | None => Protocol::Http1,
    };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok(Accepted { protocol, names: material.asks.then_some(names), resumed, stream: Box::new(stream.into()) })
}

/// The handshake with an upstream; what was agreed on is HTTP/2 only where `upstream_http2` asks for it.
///
/// # Errors
/// When its certificate is not believed, or anything else ends the handshake; the text says what.
pub async fn connect(
    material: &ClientMaterial,
    upstream: &Upstream,
    plain: Plain,
) -> io::Result<(TlsStream, Protocol)> {
    let name = server_name(material.name.as_deref().unwrap_or(upstream.lookup_host()))?;
    let config = if upstream.http2 { &material.http2 } else { &material.http1 };
    let connector = TlsConnector::from(std::sync::Arc::clone(config));
    let stream = connector.connect(name, Counted::new(plain)).await?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(_) | None => Protocol::Http1,
    };
    Ok((stream.into(), protocol))
}

/// A name that a certificate can be asked for: a DNS name or an address.
///
/// # Errors
/// When it is neither.
pub fn server_name(name: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
