//! Structured logs: constant messages, facts as fields.

use crate::config::{Log, LogLevel};

/// Changes the level at run time.
#[derive(Debug, Clone)]
pub struct LogHandle {}

/// Sets up logs to stderr for the whole process.
///
/// # Errors
/// When a subscriber is already installed.
pub fn init(_config: Log) -> Result<LogHandle, tracing::subscriber::SetGlobalDefaultError> {
    unimplemented!()
}

impl LogHandle {
    /// From now on.
    pub fn set_level(&self, _level: LogLevel) {
        unimplemented!()
    }
}
