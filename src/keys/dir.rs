//! Keys in a directory of `*.env` files: permissions are checked on the opened descriptor.

use super::KeyTable;
use crate::config::{Keys, ServiceIdentity};
use crate::signature::key::ServiceKey;
use std::path::PathBuf;
use std::sync::Arc;

/// What is wrong with a key file or directory, and what to do. As text: path, problem, fix; never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct KeyProblem {
    /// Which file or directory.
    pub path: PathBuf,
    /// What was found and what to do.
    pub problem: String,
}

/// Loads every key of `[keys].dir`, and this service's own key where the directory has none for it.
///
/// # Errors
/// Every problem of every file at once; the table in use stays.
pub fn load(_keys: &Keys, _service: Option<&ServiceIdentity>) -> Result<KeyTable, Vec<KeyProblem>> {
    unimplemented!()
}

/// This service's own key: what it signs with.
///
/// # Errors
/// When it cannot be read or is none.
pub fn own_key(_keys: &Keys, _service: &ServiceIdentity) -> Result<Arc<ServiceKey>, KeyProblem> {
    unimplemented!()
}
