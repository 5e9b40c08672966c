//! TLS to Redis: who may vouch for the server, and what we show of ourselves.
//!
//! Read anew for each connection, so that renewed certificates are taken up by themselves.

use super::StoreError;
use crate::config::ClientTls;
use crate::keys::secret_file::SecretReader;
use redis::{ClientTlsConfig, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

/// The handshake over a connection to `host`.
pub(super) async fn connect(
    tls: &ClientTls,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, TlsFault> {
    let name = tls.name.as_deref().unwrap_or(host).to_owned();
    let server = ServerName::try_from(name.clone()).map_err(|_| {
        TlsFault::Settings(StoreError::Settings(format!("{name} is no name that a certificate can bear")))
    })?;
    let config = config(tls).map_err(TlsFault::Settings)?;
    TlsConnector::from(Arc::new(config)).connect(server, stream).await.map_err(TlsFault::Handshake)
}

/// Why there is no TLS.
pub(super) enum TlsFault {
    /// Our own files.
    Settings(StoreError),
    /// The other side, or the way there.
    Handshake(std::io::Error),
}

/// The same for the cluster's own manager, which makes its connections itself.
pub(super) fn certificates(tls: &ClientTls) -> Result<TlsCertificates, StoreError> {
    if tls.name.is_some() {
        return Err(StoreError::Settings(
            "redis_tls.name is not taken with a cluster: the certificate of each node must name the address it announces"
                .to_owned(),
        ));
    }
    let root_cert = tls.ca.as_deref().map(read).transpose()?.map(|text| text.as_bytes().to_vec());
    let client_tls = match &tls.identity {
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?.as_bytes().to_vec(),
            client_key: secret(key)?.as_bytes().to_vec(),
        }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

fn config(tls: &ClientTls) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificate_list(path)? {
                roots.add(certificate).map_err(|error| unusable(path, &error))?;
            }
        }
        None => {
            // Some of a system's certificates may be odd; the good ones count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match &tls.identity {
        Some((cert, key)) => {
            let private =
                PrivateKeyDer::from_pem_slice(secret(key)?.as_bytes()).map_err(|error| unusable(key, &error))?;
            builder.with_client_auth_cert(certificate_list(cert)?, private).map_err(|error| unusable(key, &error))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn certificate_list(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let text = read(path)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let list = list.map_err(|error| unusable(path, &error))?;
    if list.is_empty() { Err(unusable(path, &"it holds no certificate in PEM")) } else { Ok(list) }
}

fn read(path: &Path) -> Result<String, StoreError> {
    std::fs::read_to_string(path).map_err(|error| unusable(path, &error))
}

fn secret(path: &Path) -> Result<Zeroizing<String>, StoreError> {
    SecretReader::of_process().read(path).map_err(|fault| unusable(path, &fault))
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Settings(format!("{} (redis_tls): {why}", path.display()))
}
