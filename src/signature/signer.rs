//! [`Signer`]: who this VM is, and what it signs with.

use super::headers::SignatureHeaders;
use super::hmac_v1;
use super::key::{ServiceId, ServiceKey};
use std::sync::Arc;

/// An identity with its key.
#[derive(Debug)]
pub struct Signer {
    /// Who.
    pub id: ServiceId,
    /// With what.
    pub key: Arc<ServiceKey>,
}

impl Signer {
    /// Signs a request. `method` and `path` as they go on the wire, the path without its query.
    pub fn sign(&self, method: &str, path: &str, unix_seconds: u64) -> SignatureHeaders {
        hmac_v1::sign(&self.key, &self.id, method, path, unix_seconds)
    }
}
