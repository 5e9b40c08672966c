//! What is in this PEM file, or what is wrong with it and what to do?
//!
//! Strict, because what is read here replaces what works: a file that is being written (a section without its end) or that holds
//! something else is refused whole. Private keys go through [`SecretReader`], like every secret. Certificates are public:
//! only that it is a regular file of limited size is asked, so that a FIFO hangs nothing.

use crate::keys::secret_file::{SecretFileFault, SecretReader};
use rustix::fs::OFlags;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file of TLS that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("the {} {}: {what}", key.noun(), path.display())]
pub struct TlsFault {
    /// Which key of the configuration names it.
    pub key: TlsKey,
    /// The file; for a name, empty.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: FileFault,
}

/// A key under `tls`, `upstream_tls` or `redis_tls` that names a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsKey {
    /// `cert`
    Cert,
    /// `key`
    Key,
    /// `client_ca`
    ClientCa,
    /// `ca`; also where there is none and the system is asked.
    Ca,
}

/// What is wrong with a file. As text: what was found, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// Nothing there.
    #[error("there is no such file")]
    Missing,
    /// The system does not let us.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// A directory, a FIFO, a device.
    #[error("is not a regular file")]
    NotRegular,
    /// Another file was meant.
    #[error("is larger than {LARGEST} bytes, which no certificate file is")]
    TooLarge,
    /// A private key that should not be trusted.
    #[error("{0}")]
    Secret(SecretFileFault),
    /// Half-written, or edited by hand.
    #[error("is not whole: {0}; wait until it has been written, or write it anew")]
    Broken(String),
    /// Another file was meant, or it is empty.
    #[error("holds no certificate; expected PEM: -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// PEM, but not of a certificate.
    #[error("certificate {0} in it cannot be read")]
    NotACertificate(usize),
    /// Another file was meant, or it has a passphrase.
    #[error(
        "holds no private key that can be used; expected PEM: -----BEGIN PRIVATE KEY-----, without a passphrase (openssl pkey -in OLD -out NEW takes it away)"
    )]
    NoKey,
    /// A kind of key that cannot sign here.
    #[error(
        "its private key cannot be used ({0}); expected RSA of 2048 bits or more, ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    UnusableKey(rustls::Error),
    /// Key and certificate were not made together.
    #[error("is not the key of the first certificate in {}; both must be renewed together", cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
    },
    /// Not something to trust.
    #[error("certificate {number} in it cannot be a CA ({error})")]
    NotACa {
        /// Which, from 1.
        number: usize,
        /// Why.
        error: String,
    },
    /// The system trusts nobody.
    #[error("the system has no CA certificates; install ca-certificates, or name the CA's file: `ca = \"…\"`")]
    NoSystemCa,
    /// Something else, told by rustls.
    #[error("cannot be used: {0}")]
    Tls(rustls::Error),
}

/// Bytes of a file of CAs; the system's own have a quarter of a megabyte.
const LARGEST: u64 = 4 << 20;

impl TlsKey {
    /// The key's name.
    pub const fn name(self) -> &'static str {
        match self {
            TlsKey::Cert => "cert",
            TlsKey::Key => "key",
            TlsKey::ClientCa => "client_ca",
            TlsKey::Ca => "ca",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            TlsKey::Cert => "certificate",
            TlsKey::Key => "private key",
            TlsKey::ClientCa | TlsKey::Ca => "CA file",
        }
    }
}

/// The certificates of a file, at least one.
///
/// # Errors
/// What is wrong with it.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let text = public(path)?;
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| broken(&error))?;
    if certificates.is_empty() {
        return Err(FileFault::NoCertificate);
    }
    match certificates.iter().position(|der| super::certificate::Certificate::parse(der).is_none()) {
        Some(place) => Err(FileFault::NotACertificate(place + 1)),
        None => Ok(certificates),
    }
}

/// The private key of a file.
///
/// # Errors
/// What is wrong with it; never any of its content.
pub fn private_key(path: &Path, secrets: &SecretReader) -> Result<PrivateKeyDer<'static>, FileFault> {
    let text = secrets.read(path).map_err(|fault| match fault {
        SecretFileFault::Missing => FileFault::Missing,
        SecretFileFault::Io(error) => FileFault::Io(error),
        SecretFileFault::NotText => FileFault::NoKey,
        other => FileFault::Secret(other),
    })?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => FileFault::NoKey,
        // Its text could show a part of the key.
        pem::Error::Base64Decode(_) => FileFault::Broken("what it holds is not base64".to_owned()),
        other => broken(&other),
    })
}

fn broken(error: &pem::Error) -> FileFault {
    FileFault::Broken(match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no -----END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "a certificate in it is not base64".to_owned(),
        other => other.to_string(),
    })
}

fn public(path: &Path) -> Result<Vec<u8>, FileFault> {
    let io_fault = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FileFault::Missing,
        _ => FileFault::Io(error),
    };
    // Asked before opening as well: opening a FIFO or a device may do something.
    if !std::fs::metadata(path).map_err(io_fault)?.is_file() {
        return Err(FileFault::NotRegular);
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io_fault)?;
    if !file.metadata().map_err(io_fault)?.is_file() {
        return Err(FileFault::NotRegular);
    }
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(io_fault)?;
    if text.len() as u64 > LARGEST { Err(FileFault::TooLarge) } else { Ok(text) }
}
