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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

    use super::*;
    use CertificateName::{Common, Dns, Uri};
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    fn der(common: &str, names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.subject_alt_names = names;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn dns_names_and_uris_count_and_the_common_name_only_without_them() {
        let names = |common, names| Certificate::parse(&der(common, names)).unwrap().names;
        let dns = SanType::DnsName("a.internal".try_into().unwrap());
        let uri = SanType::URI("spiffe://fleet/a".try_into().unwrap());
        let address = SanType::IpAddress([127, 0, 0, 1].into());
        let both = [Dns("a.internal".into()), Uri("spiffe://fleet/a".into())];
        assert_eq!(names("common", vec![dns, uri]), both);
        assert_eq!(names("common", vec![address]), [Common("common".into())], "an address names no service");
        assert_eq!(names("common", vec![]), [Common("common".into())]);
    }

    #[test]
    fn its_days_are_counted_to_the_second() {
        let certificate = Certificate::parse(&der("x", vec![])).unwrap();
        let (begin, end) = (1_577_836_800, 1_609_459_200);
        assert_eq!((certificate.not_before, certificate.not_after), (begin, end));
        let at = |second: i64| u64::try_from(second).unwrap();
        assert!(certificate.counts_at(at(begin)) && certificate.counts_at(at(end)));
        assert!(!certificate.counts_at(at(begin - 1)) && !certificate.counts_at(at(end + 1)));
        assert_eq!([end - 86_400, end, end + 1].map(|second| certificate.days_left(at(second))), [1, 0, -1]);
    }

    #[test]
    fn what_is_no_whole_certificate_is_none() {
        let whole = der("x", vec![SanType::DnsName("a.internal".try_into().unwrap())]);
        for length in 0..whole.len() {
            assert_eq!(Certificate::parse(&whole[..length]), None, "{length} of {}", whole.len());
        }
        assert_eq!(Certificate::parse(&[&whole[..], b"x"].concat()), None, "one byte too many");
        for place in 0..whole.len() {
            let mut other = whole.clone();
            other[place] ^= 0xff;
            // Whatever it says, it must not panic.
            let _ = Certificate::parse(&other);
        }
    }
}
