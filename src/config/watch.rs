//! When did something change that the configuration depends on?
//!
//! A thread of its own waits for the kernel's word about the directories (not the files: editors replace those), waits
//! until nothing has stirred for 200 ms, and compares contents. Every few seconds it compares anyway: network file systems
//! and swapped parent directories send no word. What was found by comparing is compared once more 200 ms later, so that
//! nobody reads a file that is still being written. Somebody who never stops writing is not waited for longer than 2 s:
//! the reload refuses half a file by itself.
//!
//! The comparison starts from what the load itself saw, so an edit between the load and the start of the watch is not lost.

use super::watched::{Fingerprints, Places, Watched, changed};
use crate::clock;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::AccessKind, event::AccessMode};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Something on which the configuration depends changed, and then was quiet for 200 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What.
    pub paths: Vec<PathBuf>,
}

/// Watches what a configuration depends on. Dropped, it stops.
#[derive(Debug)]
pub struct Watcher {
    signals: mpsc::Sender<Signal>,
}

#[derive(Debug)]
enum Signal {
    /// The kernel saw something happen to these.
    Stirred(Vec<PathBuf>),
    /// Watch these from now on.
    Watch(Watched),
    Stop,
}

const QUIET: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_secs(3);

impl Watcher {
    /// Starts to watch, on a thread of its own. Changes that come faster than they are taken become one.
    ///
    /// # Errors
    /// When the thread cannot be started. A missing kernel interface is no error: the files are then only polled.
    pub fn start(watched: Watched) -> std::io::Result<(Watcher, tokio::sync::mpsc::Receiver<Changed>)> {
        let (signals, received) = mpsc::channel();
        let (changes, taken) = tokio::sync::mpsc::channel(1);
        let stirred = signals.clone();
        let kernel = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if is_change(event.kind) {
                // The thread has ended: nobody wants to know any more.
                let _ = stirred.send(Signal::Stirred(event.paths));
            }
        });
        let kernel = match kernel {
            Ok(kernel) => Some(kernel),
            Err(error) => {
                tracing::warn!(%error, "no file notices from the kernel, files are looked at every {POLL:?}");
                None
            }
        };
        let seen = watched.seen().clone();
        let places = Places::default();
        let mut watch = Watch { kernel, followed: Vec::new(), places, seen, watched, received, changes };
        std::thread::Builder::new().name("config-watch".into()).spawn(move || watch.run())?;
        Ok((Watcher { signals }, taken))
    }

    /// Watches these from now on (after a reload).
    pub fn watch(&self, watched: Watched) {
        // The thread ends only with the receiver of its changes.
        let _ = self.signals.send(Signal::Watch(watched));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
    }
}

/// Our own reading makes notices too; only writing counts.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => {
            true
        }
    }
}

struct Watch {
    kernel: Option<RecommendedWatcher>,
    /// The directories that the kernel watches.
    followed: Vec<PathBuf>,
    watched: Watched,
    places: Places,
    seen: Fingerprints,
    received: mpsc::Receiver<Signal>,
    changes: tokio::sync::mpsc::Sender<Changed>,
}

/// What ended a wait.
enum Woken {
    Stirred,
    Nothing,
    Stop,
}

impl Watch {
    fn run(&mut self) {
        self.follow_directories();
        // The first look: something may have changed between the load and now.
        while self.look() && !self.changes.is_closed() {
            let quiet = match self.wait(POLL) {
                Woken::Stop => false,
                Woken::Nothing => true,
                Woken::Stirred => self.wait_until_quiet(),
            };
            if !quiet {
                return;
            }
        }
    }

    /// Waits for a notice that concerns us.
    fn wait(&mut self, longest: Duration) -> Woken {
        let start = clock::monotonic();
        loop {
            let left = longest.saturating_sub(start.elapsed());
            match self.received.recv_timeout(left) {
                Ok(Signal::Stirred(paths)) if self.concerns_us(&paths) => return Woken::Stirred,
                Ok(Signal::Stirred(_)) => {}
                Ok(Signal::Watch(watched)) => {
                    self.seen = watched.seen().clone();
                    self.watched = watched;
                    self.follow_directories();
                    return Woken::Nothing;
                }
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Woken::Stop,
                Err(RecvTimeoutError::Timeout) => return Woken::Nothing,
            }
        }
    }

    /// `false` when it is time to stop.
    fn wait_until_quiet(&mut self) -> bool {
        let start = clock::monotonic();
        loop {
            match self.wait(QUIET) {
                Woken::Stop => return false,
                Woken::Stirred if start.elapsed() < LONGEST_WAIT => {}
                Woken::Stirred | Woken::Nothing => return true,
            }
        }
    }

    /// Compares, and tells. `false` when it is time to stop.
    fn look(&mut self) -> bool {
        let start = clock::monotonic();
        let mut now = self.watched.fingerprints();
        if now == self.seen {
            return true;
        }
        loop {
            if !self.wait_until_quiet() {
                return false;
            }
            let later = self.watched.fingerprints();
            if later == now || start.elapsed() >= LONGEST_WAIT {
                now = later;
                break;
            }
            now = later;
        }
        let paths = changed(&self.seen, &now);
        self.seen = now;
        // A directory may have been swapped: the kernel would go on watching the old one.
        self.follow_directories();
        if paths.is_empty() {
            return true;
        }
        tracing::debug!(paths = ?paths, "files of the configuration changed");
        match self.changes.try_send(Changed { paths }) {
            Ok(()) | Err(tokio::sync::mpsc::error::TrySendError::Full(_)) => true,
            Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// The kernel tells of everything in a directory; an audit file beside the configuration is not our business.
    fn concerns_us(&self, paths: &[PathBuf]) -> bool {
        let ours = |path: &PathBuf| {
            self.places.names.contains(path) || path.parent().is_some_and(|parent| self.places.whole.contains(parent))
        };
        paths.is_empty() || paths.iter().any(ours)
    }

    fn follow_directories(&mut self) {
        self.places = self.watched.places();
        let Some(kernel) = &mut self.kernel else { return };
        for directory in self.followed.drain(..) {
            // It may be gone.
            let _ = kernel.unwatch(&directory);
        }
        for directory in &self.places.directories {
            // One that is not there yet is found by comparing.
            if kernel.watch(directory, RecursiveMode::NonRecursive).is_ok() {
                self.followed.push(directory.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
