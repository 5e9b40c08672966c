//! [`Certificate`]: whose certificate is this, and from when until when?
//!
//! Only what a person is told and a service is bound to is read here; whether a certificate is to be believed is rustls's affair.

use crate::request::certificate::CertificateName;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// DNS names and URIs of its subject; the common names only where there are none of those.
    pub names: Vec<CertificateName>,
    /// Unix seconds from which it counts.
    pub not_before: i64,
    /// Unix seconds until which it counts.
    pub not_after: i64,
}

impl Certificate {
    /// Reads one from DER; `None` if it is none.
    pub fn parse(der: &[u8]) -> Option<Certificate> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let alternative = certificate.subject_alternative_name().ok()?;
        let mut names: Vec<_> = alternative
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(dns) => Some(CertificateName::Dns((*dns).into())),
                GeneralName::URI(uri) => Some(CertificateName::Uri((*uri).into())),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            names.extend(common.map(|name| CertificateName::Common(name.into())));
        }
        let validity = certificate.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Certificate { names, not_before, not_after })
    }

    /// Does it count at this time?
    pub fn counts_at(&self, unix_seconds: u64) -> bool {
        let now = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whole days left at this time, rounded down; negative once it has ended.
    pub fn days_left(&self, unix_seconds: u64) -> i64 {
        let now = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
        self.not_after.saturating_sub(now).div_euclid(24 * 60 * 60)
    }
}
