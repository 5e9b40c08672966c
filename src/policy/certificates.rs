//! [`CertificateBindings`]: must a service come over a connection that bears a certain name, and did it?
//!
//! Rules, in order: a service without a binding is not asked; on a listener that asks for no certificates nothing can be
//! known, and nothing is asked; else one of the proved names must be the bound one. Attack answered: a service key that was
//! copied to another machine is worth nothing without that machine's certificate, and another machine's certificate, however valid,
//! is not enough either.

use crate::request::certificate::ClientCertificate;
use crate::signature::key::ServiceId;
use std::collections::BTreeMap;

/// Which service must come with which name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateBindings(BTreeMap<ServiceId, Box<str>>);

impl CertificateBindings {
    /// May this service call over a connection that proved this?
    pub fn allow(&self, service: &ServiceId, proved: ClientCertificate<'_>) -> bool {
        match proved {
            ClientCertificate::NotAsked => true,
            ClientCertificate::Names(names) => {
                self.0.get(service).is_none_or(|bound| names.iter().any(|name| name.is(bound)))
            }
        }
    }

    /// Is no service bound?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'s> FromIterator<(&'s ServiceId, &'s str)> for CertificateBindings {
    fn from_iter<I: IntoIterator<Item = (&'s ServiceId, &'s str)>>(bound: I) -> CertificateBindings {
        CertificateBindings(bound.into_iter().map(|(service, name)| (service.clone(), name.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::certificate::CertificateName::{Common, Dns, Uri};

    fn bindings() -> (CertificateBindings, ServiceId, ServiceId) {
        let (bound, free) = (ServiceId::parse("npu-worker").unwrap(), ServiceId::parse("ai-stack").unwrap());
        ([(&bound, "npu.fleet.internal")].into_iter().collect(), bound, free)
    }

    #[test]
    fn a_bound_service_comes_with_its_name_and_with_no_other() {
        let (bindings, bound, _) = bindings();
        let allows = |names: &[_]| bindings.allow(&bound, ClientCertificate::Names(names));
        assert!(allows(&[Dns("npu.fleet.internal".into())]));
        assert!(allows(&[Dns("other".into()), Dns("NPU.fleet.Internal".into())]), "DNS names know no case");
        assert!(allows(&[Common("npu.fleet.internal".into())]));
        assert!(!allows(&[]), "no certificate came");
        assert!(!allows(&[Dns("ai.fleet.internal".into())]));
        assert!(!allows(&[Dns("*.fleet.internal".into())]), "a wildcard names nobody");
        assert!(!allows(&[Common("NPU.fleet.internal".into())]), "a common name is no DNS name");
        assert!(!allows(&[Uri("spiffe://npu.fleet.internal".into())]));
    }

    #[test]
    fn a_service_that_is_not_bound_comes_as_it_likes() {
        let (bindings, _, free) = bindings();
        assert!(bindings.allow(&free, ClientCertificate::Names(&[])));
        assert!(bindings.allow(&free, ClientCertificate::Names(&[Dns("npu.fleet.internal".into())])));
    }

    #[test]
    fn where_nobody_asks_nothing_is_known_and_nothing_refused() {
        let (bindings, bound, _) = bindings();
        assert!(bindings.allow(&bound, ClientCertificate::NotAsked));
    }
}
