//! [`ClientCertificate`]: what did the connection prove of its client, before any request came?
//!
//! Only names of a certificate that was verified against the listener's `client_ca` get here. A certificate says who is
//! connected, never who signed: it binds a service to its machine, and is no signature.

/// The client certificate of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCertificate<'a> {
    /// The listener asks for none: nothing can be said.
    #[default]
    NotAsked,
    /// The listener asks; these names were proved, none where no certificate came.
    Names(&'a [CertificateName]),
}

/// One name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateName {
    /// A DNS name among its subject's alternative names; compared without case.
    Dns(Box<str>),
    /// A URI among them (`spiffe://…`); compared as it is.
    Uri(Box<str>),
    /// The common name of its subject, where it has neither of the others; compared as it is.
    Common(Box<str>),
}

impl CertificateName {
    /// Is this the name that was meant? A wildcard in a certificate stands for itself: it names no single service.
    pub fn is(&self, name: &str) -> bool {
        match self {
            CertificateName::Dns(dns) => dns.eq_ignore_ascii_case(name),
            CertificateName::Uri(text) | CertificateName::Common(text) => **text == *name,
        }
    }
}
