//! A raw client over TLS, and an upstream that speaks it: rustls on the tests' side, so that each record can be told apart.

use super::DEADLINE;
use super::message::Buffered;
use super::pki::{Authority, Pair};
use super::raw::Client;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// A connection over TLS.
pub(crate) type TlsClient<S = TcpStream> = Client<StreamOwned<ClientConnection, S>>;

/// Which versions a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub(crate) const BOTH: [Version; 2] = [Version::Tls12, Version::Tls13];
}

/// Who a client trusts, and what it shows.
#[derive(Clone)]
pub(crate) struct Connector(Arc<ClientConfig>);

impl Connector {
    pub(crate) fn trusting(authority: &Authority) -> Connector {
        Connector::new(authority, None, &Version::BOTH)
    }

    pub(crate) fn new(authority: &Authority, own: Option<&Pair>, versions: &[Version]) -> Connector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let versions: Vec<_> = versions
            .iter()
            .map(|version| match version {
                Version::Tls12 => &rustls::version::TLS12,
                Version::Tls13 => &rustls::version::TLS13,
            })
            .collect();
        let builder = ClientConfig::builder_with_protocol_versions(&versions).with_root_certificates(roots);
        let mut config = match own {
            Some(pair) => builder.with_client_auth_cert(chain(pair), key(pair)).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(8);
        Connector(Arc::new(config))
    }

    /// Connects and shakes hands.
    pub(crate) fn try_connect(&self, address: SocketAddr) -> io::Result<TlsClient> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        self.over(stream)
    }

    /// Shakes hands over a connection that is there.
    pub(crate) fn over<S: Read + Write>(&self, mut stream: S) -> io::Result<TlsClient<S>> {
        let mut session =
            ClientConnection::new(Arc::clone(&self.0), "localhost".try_into().unwrap()).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Client { stream: Buffered::new(StreamOwned::new(session, stream)) })
    }

    #[track_caller]
    pub(crate) fn connect(&self, address: SocketAddr) -> TlsClient {
        self.try_connect(address).unwrap_or_else(|error| panic!("no TLS with {address}: {error}"))
    }

    /// GET on a connection of its own: the status, or why there is none. (In TLS 1.3 a client learns only with its first read that the
    /// server does not want it.)
    pub(crate) fn get(&self, address: SocketAddr, target: &str, lines: &str) -> io::Result<u16> {
        let mut client = self.try_connect(address)?;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n"));
        client.try_answer("GET").map(|answer| answer.status)
    }
}

fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()
}

/// One connection of a client to an upstream over TLS.
pub(crate) type Served = StreamOwned<ServerConnection, TcpStream>;

/// An upstream over TLS that serves each connection by a script; its thread ends with the process.
pub(crate) fn upstream(pair: &Pair, script: impl Fn(Served) + Send + Sync + 'static) -> SocketAddr {
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain(pair), key(pair)).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (config, script) = (Arc::new(config), Arc::new(script));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, script) = (Arc::clone(&config), Arc::clone(&script));
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                // What is written has left, also behind bytes whose receipt was not told yet.
                stream.set_nodelay(true).unwrap();
                script(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
            });
        }
    });
    address
}

/// Reads until the end of a head; `false` when there is none.
pub(crate) fn read_head(stream: &mut Served) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}
