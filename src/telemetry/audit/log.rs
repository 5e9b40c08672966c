//! [`AuditLog`]: the writer thread and its handle.

use super::queue::AuditQueue;
use crate::config::Audit;
use std::time::Duration;

/// The running audit log. Dropping it closes it like [`AuditLog::close`] with a short deadline.
#[derive(Debug)]
pub struct AuditLog {}

impl AuditLog {
    /// Opens the sink and starts the writer thread. `workers`: how many buffers to keep.
    ///
    /// # Errors
    /// When the sink cannot be opened: the text names the path and what to do.
    pub fn start(_config: &Audit, _workers: usize) -> std::io::Result<AuditLog> {
        unimplemented!()
    }

    /// Where records go in.
    pub fn queue(&self) -> &AuditQueue {
        unimplemented!()
    }

    /// Opens the file anew by its name (SIGUSR1, after an outside rotation). Nothing is lost: what could not be written
    /// to the old one goes to the new one.
    pub fn reopen(&self) {
        unimplemented!()
    }

    /// Takes other settings; another sink is opened first, and on failure all stays as it was.
    ///
    /// # Errors
    /// When the new sink cannot be opened.
    pub fn reconfigure(&self, _config: &Audit) -> std::io::Result<()> {
        unimplemented!()
    }

    /// Writes what was filled, waits for it until the deadline, and ends the thread. Returns how many records were lost.
    pub fn close(&self, _deadline: Duration) -> u64 {
        unimplemented!()
    }
}
