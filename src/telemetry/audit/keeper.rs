//! [`Keeper`]: the thread that compresses and removes rotated files, so that the writer never waits for it.
//!
//! It parks for good between rotations. It also runs once at the start: to finish what an earlier process left.

use super::keep::{Retention, tend};
use crate::clock;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// The handle of that thread. Dropping it ends the thread between two blocks of what it is doing.
#[derive(Debug)]
pub(super) struct Keeper {
    wake: Option<mpsc::SyncSender<()>>,
    retention: Arc<Mutex<Retention>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it for the rotated files of `current`.
    pub(super) fn start(current: &Path, retention: Retention) -> io::Result<Keeper> {
        // one waiting request is enough: a run looks at all files
        let (wake, requests) = mpsc::sync_channel::<()>(1);
        let stop = Arc::new(AtomicBool::new(false));
        let retention = Arc::new(Mutex::new(retention));
        let thread = std::thread::Builder::new().name("audit-files".to_owned()).spawn({
            let (current, stop, retention) = (current.to_owned(), Arc::clone(&stop), Arc::clone(&retention));
            move || {
                while requests.recv().is_ok() && !stop.load(Ordering::Relaxed) {
                    let retention = *retention.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Err(error) = tend(&current, retention, clock::unix_seconds(), &stop) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        tracing::error!(file = %current.display(), %error, "rotated audit files cannot be tended; kept as they are");
                    }
                }
            }
        })?;
        let keeper = Keeper { wake: Some(wake), retention, stop, thread: Some(thread) };
        keeper.tend();
        Ok(keeper)
    }

    /// Asks for a run.
    pub(super) fn tend(&self) {
        if let Some(wake) = &self.wake {
            // full: a run is asked for already
            let _ = wake.try_send(());
        }
    }

    /// Takes another retention from the next run on.
    pub(super) fn set_retention(&self, retention: Retention) {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
        self.tend();
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // a panic there was printed by the panic hook; the files are as they were
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}
