//! What our entries in Redis are called. Every name is made here, from a [`ServiceId`] or [`VerifierName`] and constants:
//! nothing that a request claims, and nothing that was not checked, becomes part of a command.
//!
//! | entry | holds |
//! |---|---|
//! | `service:key:ID` | the key's text; its time to live is the key's. All that other verifiers of the fleet read |
//! | `{service:key:ID}:countersign` | hash: what a rotation and a revocation need to be known ([`Companion`](super::Companion)) |
//! | `{service:key:ID}:seen` | hash: verifier → fingerprint of the key-to-be that it has loaded |
//! | `{service:key:ID}:used` | hash: fingerprint → when, by whom, and before which verifier the key was last used |
//! | `{service:key:ID}:lease` | who works on this key |
//! | `countersign:database` | a random text, written once: while it is the same, the data is what it was |
//! | `countersign:verifier:NAME` | that verifier runs; lives 30 s |
//! | `countersign:{enforcement}` | the shared state of enforcement, authenticated with the fleet key |
//! | `countersign:{enforcement}:sidecars` | hash: sidecar → when it was heard of, and what it said, authenticated |
//! | `countersign:{enforcement}:driver` | who drives a ramp, and under which number; lives seconds |
//! | `countersign:{enforcement}:number` | the last number that was given |
//! | `countersign:{grants}` | hash: override grant → what the fleet says of it, authenticated |
//! | channel `countersign:enforcement` | the record was replaced |
//! | channel `countersign:keys` | an id whose key changed: a hint to look, never the key |
//!
//! The braces put what belongs to one key into its cluster slot, so that it changes in one step.

use crate::signature::key::ServiceId;
use std::fmt;

/// The prefix of keys, as the fleet writes them.
pub(super) const KEYS: &str = "service:key:";
/// The prefix of running verifiers.
pub(super) const VERIFIERS: &str = "countersign:verifier:";
/// Where changed ids are published.
pub(super) const CHANNEL: &str = "countersign:keys";

/// The shared state of enforcement.
pub(super) const RECORD: &str = "countersign:{enforcement}";
/// Who shares it.
pub(super) const SIDECARS: &str = "countersign:{enforcement}:sidecars";
/// Who drives a ramp.
pub(super) const LEASE: &str = "countersign:{enforcement}:driver";
/// The last number of a driver.
pub(super) const FENCE: &str = "countersign:{enforcement}:number";
/// Override grants of the fleet.
pub(super) const GRANTS: &str = "countersign:{grants}";
/// Where a new record is told of.
pub(super) const STATES: &str = "countersign:enforcement";

/// One entry of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The key itself.
    Key(ServiceId),
    /// What goes with it.
    Companion(ServiceId),
    /// Who has loaded the key-to-be.
    Seen(ServiceId),
    /// Who used which key last.
    Used(ServiceId),
    /// Who works on it.
    Lease(ServiceId),
    /// A running verifier.
    Verifier(VerifierName),
    /// Which life of the database this is.
    Database,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Key(id) => write!(f, "{KEYS}{id}"),
            Entry::Companion(id) => write!(f, "{{{KEYS}{id}}}:countersign"),
            Entry::Seen(id) => write!(f, "{{{KEYS}{id}}}:seen"),
            Entry::Used(id) => write!(f, "{{{KEYS}{id}}}:used"),
            Entry::Lease(id) => write!(f, "{{{KEYS}{id}}}:lease"),
            Entry::Database => f.write_str("countersign:database"),
            Entry::Verifier(name) => write!(f, "{VERIFIERS}{name}"),
        }
    }
}

/// The service whose key has this name; `None` for another's entry that merely begins so.
pub(super) fn service_of(name: &[u8]) -> Option<ServiceId> {
    ServiceId::parse(std::str::from_utf8(name).ok()?.strip_prefix(KEYS)?)
}

/// The verifier whose presence has this name.
pub(super) fn verifier_of(name: &[u8]) -> Option<VerifierName> {
    VerifierName::parse(std::str::from_utf8(name).ok()?.strip_prefix(VERIFIERS)?)
}

/// A running sidecar among those that share a Redis: `[A-Za-z0-9._-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifierName(String);

impl VerifierName {
    /// `None` when the text is no such name.
    pub fn parse(text: &str) -> Option<VerifierName> {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        fits.then(|| VerifierName(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VerifierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_key_shares_its_cluster_slot() {
        let id = ServiceId::parse("npu-worker").unwrap();
        let entries = [
            Entry::Companion(id.clone()),
            Entry::Seen(id.clone()),
            Entry::Used(id.clone()),
            Entry::Lease(id.clone()),
        ];
        let key = Entry::Key(id).to_string();
        for entry in entries {
            assert!(entry.to_string().starts_with(&format!("{{{key}}}:")), "{entry}");
        }
    }

    #[test]
    fn only_names_of_services_are_keys() {
        assert_eq!(service_of(b"service:key:a.b-1").unwrap().as_str(), "a.b-1");
        for other in [
            &b"service:key:"[..],
            b"service:key:a:b",
            b"service:key:a b",
            b"service:keys:a",
            b"service:key:\xff",
            b"",
        ] {
            assert_eq!(service_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_plain_names_are_verifiers() {
        assert_eq!(verifier_of(b"countersign:verifier:vm20.0a1b").unwrap().as_str(), "vm20.0a1b");
        for other in ["", "a b", "a:b", "\n", &"a".repeat(129)] {
            assert_eq!(VerifierName::parse(other), None, "{other:?}");
        }
    }
}
