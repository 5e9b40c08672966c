//! [`TlsMaterials`]: what do a configuration's listeners and upstreams present and trust?
//!
//! One value per `tls` of the configuration, made from the files when it is loaded. All problems are found, none is fatal by
//! itself: the caller says where each stands. An own certificate that has ended is served all the same: whether a client
//! still takes it is the client's affair, and a refused start would be an outage of everybody.

use super::certificate::Certificate;
use super::expiry::Remark;
use super::files::{self, FileFault, TlsFault, TlsKey};
use crate::clock;
use crate::config::{ClientTls, Config, ServerTls};
use crate::keys::secret_file::SecretReader;
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{InconsistentKeys, RootCertStore};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The one provider of cryptography.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// What `curl --http1.0` offers, and nothing else.
const HTTP10: &[u8] = b"http/1.0";

/// The TLS of one generation of the configuration.
#[derive(Debug, Default)]
pub struct TlsMaterials {
    servers: HashMap<ServerTls, Arc<ServerMaterial>>,
    clients: HashMap<ClientTls, Arc<ClientMaterial>>,
    own: Vec<OwnCertificate>,
}

/// What a listener presents and asks for.
#[derive(Debug)]
pub struct ServerMaterial {
    pub(super) config: Arc<ServerConfig>,
    /// Are clients asked for a certificate?
    pub(super) asks: bool,
}

/// What we trust and present to an upstream.
#[derive(Debug)]
pub struct ClientMaterial {
    pub(super) http1: Arc<ClientConfig>,
    pub(super) http2: Arc<ClientConfig>,
    /// What the certificate must name, where that is not the host.
    pub(super) name: Option<String>,
}

/// A certificate that we present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// Its file, as the configuration names it.
    pub path: PathBuf,
    /// What it says.
    pub certificate: Certificate,
}

/// Makes materials, and notes what is wrong and what a person should look at.
#[derive(Debug)]
pub struct Loader {
    secrets: SecretReader,
    now: u64,
    system: Option<Arc<RootCertStore>>,
    materials: TlsMaterials,
}

/// What came of one `tls`: nothing to say, or what is wrong; and remarks on its certificate.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each refuses the configuration.
    pub faults: Vec<TlsFault>,
    /// What a person should look at.
    pub remarks: Vec<Remark>,
}

impl TlsMaterials {
    /// What a listener with this `tls` presents. Always there for a configuration that these were loaded with.
    pub fn server(&self, tls: &ServerTls) -> Option<&Arc<ServerMaterial>> {
        self.servers.get(tls)
    }

    /// What we present to an upstream with this `upstream_tls`.
    pub fn client(&self, tls: &ClientTls) -> Option<&Arc<ClientMaterial>> {
        self.clients.get(tls)
    }

    /// Takes over from `running` what `config` still needs and these do not have: listeners and upstreams whose change waits for a
    /// restart go on as they are.
    pub fn keep(&mut self, running: &TlsMaterials, config: &Config) {
        let mut kept = Vec::new();
        for tls in config.inbound.iter().filter_map(|inbound| inbound.tls.as_ref()) {
            if let (None, Some(material)) = (self.servers.get(tls), running.servers.get(tls)) {
                self.servers.insert(tls.clone(), Arc::clone(material));
                kept.push(&tls.cert);
            }
        }
        let upstreams = config.sides().flat_map(|side| config.upstreams(side));
        for tls in upstreams.filter_map(|upstream| upstream.tls.as_deref()) {
            if let (None, Some(material)) = (self.clients.get(tls), running.clients.get(tls)) {
                self.clients.insert(tls.clone(), Arc::clone(material));
                kept.extend(tls.identity.as_ref().map(|(cert, _)| cert));
            }
        }
        for own in running.own.iter().filter(|own| kept.contains(&&own.path)) {
            if !self.own.iter().any(|other| other.path == own.path) {
                self.own.push(own.clone());
            }
        }
    }

    /// The certificates that we present ourselves, each file once.
    pub fn own(&self) -> &[OwnCertificate] {
        &self.own
    }
}

impl Loader {
    /// Nothing loaded yet. `now`: unix seconds.
    pub fn new(secrets: SecretReader, now: u64) -> Loader {
        Loader { secrets, now, system: None, materials: TlsMaterials::default() }
    }

    /// What was loaded; to be used only if nothing was wrong.
    pub fn materials(self) -> TlsMaterials {
        self.materials
    }

    /// Reads what a listener names.
    pub fn server(&mut self, tls: &ServerTls) -> Findings {
        let mut findings = Findings::default();
        if self.materials.servers.contains_key(tls) {
            return findings;
        }
        let own = self.own_pair(&tls.cert, &tls.key, &mut findings);
        let roots = tls.client_ca.as_deref().map(|path| roots(TlsKey::ClientCa, path));
        let roots = match roots.transpose() {
            Ok(roots) => roots,
            Err(fault) => {
                findings.faults.push(fault);
                return findings;
            }
        };
        let Some(own) = own else { return findings };
        match server_config(own, roots, tls.client_required) {
            Ok(config) => {
                let material = ServerMaterial { config: Arc::new(config), asks: tls.client_ca.is_some() };
                self.materials.servers.insert(tls.clone(), Arc::new(material));
            }
            Err(error) => findings.faults.push(TlsFault {
                key: TlsKey::Cert,
                path: tls.cert.clone(),
                what: FileFault::Tls(error),
            }),
        }
        findings
    }

    /// Reads what an upstream names.
    pub fn client(&mut self, tls: &ClientTls) -> Findings {
        let mut findings = Findings::default();
        if self.materials.clients.contains_key(tls) {
            return findings;
        }
        let own = match &tls.identity {
            Some((cert, key)) => self.own_pair(cert, key, &mut findings).map(Some),
            None => Some(None),
        };
        let roots = match &tls.ca {
            Some(path) => roots(TlsKey::Ca, path),
            None => self.system_roots(),
        };
        let roots = roots.map_err(|fault| findings.faults.push(fault)).ok();
        let (Some(own), Some(roots)) = (own, roots) else { return findings };
        let path = tls.identity.as_ref().map(|(cert, _)| cert.clone()).unwrap_or_default();
        match client_configs(own, &roots) {
            Ok([http1, http2]) => {
                let material = ClientMaterial { http1, http2, name: tls.name.clone() };
                self.materials.clients.insert(tls.clone(), Arc::new(material));
            }
            Err(error) => {
                findings.faults.push(TlsFault { key: TlsKey::Cert, path, what: FileFault::Tls(error) });
            }
        }
        findings
    }

    /// A certificate with its key. Both are looked at, whatever is wrong with the first.
    fn own_pair(&mut self, cert: &Path, key: &Path, findings: &mut Findings) -> Option<CertifiedKey> {
        let fault = |key, path: &Path, what| TlsFault { key, path: path.to_owned(), what };
        let chain = files::certificates(cert).map_err(|what| fault(TlsKey::Cert, cert, what));
        let private = files::private_key(key, &self.secrets).map_err(|what| fault(TlsKey::Key, key, what));
        let (chain, private) = match (chain, private) {
            (Ok(chain), Ok(private)) => (chain, private),
            (chain, private) => {
                findings.faults.extend(chain.err().into_iter().chain(private.err()));
                return None;
            }
        };
        self.note_own(cert, &chain, findings);
        let certified = CertifiedKey::from_der(chain, private, &PROVIDER);
        certified
            .map_err(|error| {
                findings.faults.push(match error {
                    rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        fault(TlsKey::Key, key, FileFault::KeyMismatch { cert: cert.to_owned() })
                    }
                    rustls::Error::InvalidCertificate(_) => fault(TlsKey::Cert, cert, FileFault::Tls(error)),
                    error => fault(TlsKey::Key, key, FileFault::UnusableKey(error)),
                });
            })
            .ok()
    }

    fn note_own(&mut self, path: &Path, chain: &[CertificateDer<'_>], findings: &mut Findings) {
        let Some(certificate) = chain.first().and_then(|der| Certificate::parse(der)) else { return };
        findings.remarks.extend(Remark::of(path, &certificate, self.now));
        if !self.materials.own.iter().any(|own| own.path == path) {
            self.materials.own.push(OwnCertificate { path: path.to_owned(), certificate });
        }
    }

    /// Whom the system trusts; asked once.
    fn system_roots(&mut self) -> Result<Arc<RootCertStore>, TlsFault> {
        if let Some(known) = &self.system {
            return Ok(Arc::clone(known));
        }
        let mut store = RootCertStore::empty();
        // Systems ship some that are not understood: those are passed over, as everywhere.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(TlsFault {
                key: TlsKey::Ca,
                path: PathBuf::from("of the system"),
                what: FileFault::NoSystemCa,
            });
        }
        Ok(Arc::clone(self.system.insert(Arc::new(store))))
    }
}

/// Those who may vouch, from a file: every one of them must be good.
fn roots(key: TlsKey, path: &Path) -> Result<Arc<RootCertStore>, TlsFault> {
    let fault = |what| TlsFault { key, path: path.to_owned(), what };
    let mut store = RootCertStore::empty();
    for (place, der) in files::certificates(path).map_err(fault)?.into_iter().enumerate() {
        let number = place + 1;
        store.add(der).map_err(|error| fault(FileFault::NotACa { number, error: error.to_string() }))?;
    }
    Ok(Arc::new(store))
}

fn server_config(
    own: CertifiedKey,
    client_roots: Option<Arc<RootCertStore>>,
    required: bool,
) -> Result<ServerConfig, rustls::Error> {
    let general = |error: &dyn std::fmt::Display| rustls::Error::General(error.to_string());
    let builder = ServerConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(WallClock))
        .with_safe_default_protocol_versions()?;
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER));
            let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| general(&error))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)));
    // Sessions live in the clients' tickets, whose keys are of this value alone: memory is bounded, and what a reload
    // takes away no ticket brings back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.alpn_protocols = vec![HTTP2.into(), HTTP1.into(), HTTP10.into()];
    Ok(config)
}

/// For HTTP/1.1 alone, and with HTTP/2 first. Each has its own sessions: one that was agreed for the other protocol must not resume.
fn client_configs(
    own: Option<CertifiedKey>,
    roots: &Arc<RootCertStore>,
) -> Result<[Arc<ClientConfig>; 2], rustls::Error> {
    let builder = ClientConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(WallClock))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(roots));
    let http1 = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own))),
    };
    let mut http2 = http1.clone();
    http2.resumption = Resumption::default();
    http2.alpn_protocols = vec![HTTP2.into(), HTTP1.into()];
    let mut http1 = http1;
    http1.alpn_protocols = vec![HTTP1.into()];
    Ok([Arc::new(http1), Arc::new(http2)])
}

/// The wall clock, for what certificates say.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(clock::unix_seconds())))
    }
}
