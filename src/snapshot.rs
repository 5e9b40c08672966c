//! [`Snapshot`]: everything one request is judged by, taken once. No request sees half-old, half-new rules.

use crate::config::Config;
use crate::keys::KeyTable;
use crate::policy::enforcement::{Enforcement, Percentage};
use crate::policy::grants::GrantTable;
use crate::signature::signer::Signer;
use crate::tls::TlsMaterials;
use std::sync::Arc;

/// One generation of configuration, keys and enforcement. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// The keys.
    pub keys: Arc<KeyTable>,
    /// What leaves this VM is signed by it; `None` where nothing does.
    pub signer: Option<Arc<Signer>>,
    /// What listeners and upstreams present and trust.
    pub tls: Arc<TlsMaterials>,
    /// What is in force; at first the configuration's word, later the last writer's.
    pub enforcement: Enforcement,
    /// The overrides that operators granted.
    pub grants: Arc<GrantTable>,
    /// Percentages set for rules of this configuration while running, in their order; empty where none is.
    pub rule_percentages: Arc<[Option<Percentage>]>,
    /// Counts up by one with every configuration that took effect, from 1.
    pub generation: u64,
}

/// Where the current snapshot is read and replaced. Readers never wait.
pub type SnapshotCell = arc_swap::ArcSwap<Snapshot>;
