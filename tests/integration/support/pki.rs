//! Certificate authorities and certificates of the tests, made anew for each.

use super::sidecar::write_private;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use std::path::{Path, PathBuf};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// What a certificate is to say.
#[derive(Clone, Copy, Default)]
pub(crate) struct Leaf<'l> {
    pub(crate) common: &'l str,
    pub(crate) dns: &'l [&'l str],
    pub(crate) uris: &'l [&'l str],
    /// It ended years ago.
    pub(crate) ended: bool,
    /// It is for servers alone.
    pub(crate) server_only: bool,
}

/// A directory with files of TLS.
pub(crate) struct Files {
    directory: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn issue(&self, leaf: Leaf<'_>) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, if leaf.common.is_empty() { "a test" } else { leaf.common });
        let dns = leaf.dns.iter().map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        });
        let uris = leaf.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names = dns.chain(uris).collect();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = if leaf.ended { date_time_ymd(2021, 1, 1) } else { date_time_ymd(2099, 1, 1) };
        if leaf.server_only {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }

    /// A certificate for this machine.
    pub(crate) fn server(&self) -> Pair {
        self.issue(Leaf { dns: &["localhost", "127.0.0.1"], ..Leaf::default() })
    }

    /// A certificate of a client, with this name.
    pub(crate) fn client(&self, name: &str) -> Pair {
        self.issue(Leaf { dns: &[name], ..Leaf::default() })
    }
}

impl Files {
    pub(crate) fn new() -> Files {
        Files { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        write_private(&path, text);
        path
    }

    /// `NAME.pem` and `NAME.key`.
    pub(crate) fn pair(&self, name: &str, pair: &Pair) -> (PathBuf, PathBuf) {
        (self.write(&format!("{name}.pem"), &pair.cert), self.write(&format!("{name}.key"), &pair.key))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file into the place of another in one step, as tools do that renew certificates.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let new = self.write(&format!("{name}.new"), text);
        std::fs::rename(new, self.path(name)).unwrap();
    }
}
