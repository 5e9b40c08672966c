//! TLS to Redis: who may vouch for the server, and what we show of ourselves.
//!
//! Read anew for each connection, so that renewed certificates are taken up by themselves.

use super::StoreError;
use crate::config::ClientTls;
use crate::keys::secret_file::SecretReader;
use crate::tls::files;
use crate::tls::handshake::server_name;
use redis::{ClientTlsConfig, TlsCertificates};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The handshake over a connection to `host`.
pub(super) async fn connect(
    tls: &ClientTls,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, TlsFault> {
    let name = tls.name.as_deref().unwrap_or(host);
    let server = server_name(name).map_err(|_| {
        TlsFault::Settings(StoreError::Settings(format!("{name} is no name that a certificate can bear (redis_tls)")))
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

/// The same for the cluster's own manager, which makes its connections itself, with the provider of the process.
pub(super) fn certificates(tls: &ClientTls) -> Result<TlsCertificates, StoreError> {
    if tls.name.is_some() {
        return Err(StoreError::Settings(
            "redis_tls.name is not taken with a cluster: the certificate of each node must name the address it announces"
                .to_owned(),
        ));
    }
    // An error means that there is one already, and it is the same: no other is in the program.
    let _ = aws_lc_rs::default_provider().install_default();
    let read = |path: &Path| std::fs::read(path).map_err(|error| unusable(path, &error));
    let root_cert = tls.ca.as_deref().map(read).transpose()?;
    let client_tls = match &tls.identity {
        Some((cert, key)) => {
            let secret = SecretReader::of_process().read(key).map_err(|fault| unusable(key, &fault))?;
            Some(ClientTlsConfig { client_cert: read(cert)?, client_key: secret.as_bytes().to_vec() })
        }
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

fn config(tls: &ClientTls) -> Result<ClientConfig, StoreError> {
    let roots = match &tls.ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in files::certificates(path).map_err(|fault| unusable(path, &fault))? {
                roots.add(certificate).map_err(|error| unusable(path, &error))?;
            }
            Arc::new(roots)
        }
        None => Arc::clone(&SYSTEM),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Settings(format!("no version of TLS can be spoken: {error}")))?
        .with_root_certificates(roots);
    match &tls.identity {
        Some((cert, key)) => {
            let secret =
                files::private_key(key, &SecretReader::of_process()).map_err(|fault| unusable(key, &fault))?;
            let certificates = files::certificates(cert).map_err(|fault| unusable(cert, &fault))?;
            builder.with_client_auth_cert(certificates, secret).map_err(|error| unusable(key, &error))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Whom the system trusts; some of its certificates may be odd, the good ones count.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Settings(format!("{} (redis_tls): {why}", path.display()))
}
