//! [`GrantKeeper`]: writes the grants down, a use before its request goes on.
//!
//! **What a crash gives back.** A worker that took one of a bounded number of uses waits until the use is on disk, and only then
//! lets its request go on: so `kill -9` gives back no use that let anything pass. Many that wait at once wait for one
//! writing. Two exceptions, both said loudly: where the disk does not take it, or not within [`PATIENCE`], the request goes on, since an
//! emergency must not fail with the disk; what was used since the last good writing is then given back by a crash (and by nothing else:
//! within the process the count stays exact). A grant without a number of uses has nothing to give back, and its count is written
//! every other second.
//!
//! One task writes, always the table that is in force when it begins, so that of two changes the later one stays.

use super::grants::{GrantFile, to_text};
use crate::policy::grants::GrantTable;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long a request waits for its use to be on disk.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What asks for the grants to be written, and waits.
#[derive(Debug)]
pub struct GrantKeeper {
    /// The number of the last question.
    asked: AtomicU64,
    wake: Notify,
    written: watch::Sender<Written>,
    /// Why the fleet is not heard.
    fleet: ArcSwapOption<String>,
}

/// How it stands with the file.
#[derive(Debug, Clone, Default)]
struct Written {
    /// Every question up to this number is answered.
    upto: u64,
    /// Why what is in force is not in the file.
    fault: Option<Arc<str>>,
}

/// To wait by.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(u64);

impl GrantKeeper {
    /// Nothing is asked yet.
    #[expect(clippy::new_without_default, reason = "one is made, in one place, with a task beside it")]
    pub fn new() -> GrantKeeper {
        GrantKeeper {
            asked: AtomicU64::new(0),
            wake: Notify::new(),
            written: watch::Sender::default(),
            fleet: ArcSwapOption::empty(),
        }
    }

    /// Asks for what is in force now to be written.
    pub fn ask(&self) -> Ticket {
        // After the change, before the look: the writer that sees this number sees the change too.
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        Ticket(ticket)
    }

    /// Waits until what was asked for is written.
    ///
    /// # Errors
    /// Why it could not be.
    pub async fn written(&self, Ticket(ticket): Ticket) -> Result<(), Arc<str>> {
        let mut written = self.written.subscribe();
        match written.wait_for(|written| written.upto >= ticket).await {
            Ok(written) => written.fault.clone().map_or(Ok(()), Err),
            // We hold the sender.
            Err(_) => Ok(()),
        }
    }

    /// Waits until a use that was just taken is on disk, as long as there is hope.
    pub async fn use_written(&self) {
        // Whoever writes says what went wrong; a request goes on.
        let _ = tokio::time::timeout(PATIENCE, self.written(self.ask())).await;
    }

    /// Why the file does not hold what is in force; `None`: it does, or nothing was asked.
    pub fn fault(&self) -> Option<Arc<str>> {
        self.written.borrow().fault.clone()
    }

    /// Why grants of the fleet are not heard, and ours not told; `None`: they are, or nothing is shared.
    pub fn fleet_trouble(&self) -> Option<Arc<String>> {
        self.fleet.load_full()
    }

    pub(crate) fn fleet_is(&self, trouble: Option<&str>) {
        self.fleet.store(trouble.map(|trouble| Arc::new(trouble.to_owned())));
    }

    /// Writes whenever it is asked, for ever. `in_force`: the table at this moment; `known`: what the file holds already.
    pub async fn run(&self, file: GrantFile, in_force: impl Fn() -> Arc<GrantTable>, mut known: Option<String>) {
        loop {
            self.wake.notified().await;
            let upto = self.asked.load(Ordering::SeqCst);
            let text = to_text(&in_force());
            if known.as_ref() == Some(&text) {
                self.written.send_replace(Written { upto, fault: None });
                continue;
            }
            let (file, to_write) = (file.clone(), text.clone());
            let path = file.path();
            let done = tokio::task::spawn_blocking(move || file.write(&to_write)).await;
            let fault = match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            let before = self.fault();
            match &fault {
                None if before.is_some() => {
                    tracing::info!(file = %path.display(), "override grants can be written again")
                }
                Some(error) if before.as_deref() != Some(error) => tracing::error!(
                    file = %path.display(), error, "override grants cannot be written: they hold, and a restart would not \
                     know what was granted, revoked or used since"
                ),
                None | Some(_) => {}
            }
            known = fault.is_none().then_some(text);
            self.written.send_replace(Written { upto, fault: fault.map(Arc::from) });
        }
    }
}
