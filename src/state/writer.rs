//! [`StateWriter`]: writes every move of enforcement down, in order, on a thread of its own.
//!
//! A move takes effect in memory first and is then written: a disk that hangs must not delay a rollback, nor the loop that
//! kicks the watchdog. Whoever reports a move waits for its [`Durable`]. A write that fails is tried again with the next
//! move, and until then the sidecar says that what is in force would not survive it.

use super::file::StateFiles;
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// One move to be written down.
#[derive(Debug)]
pub struct Write {
    /// The state's text.
    pub state: String,
    /// What becomes of the marker.
    pub marker: Marker,
}

/// What becomes of the marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// Made before the state is written, with this text.
    Make(String),
    /// Removed after the state is written.
    Remove,
    /// As it is.
    Keep,
}

/// Resolves when a move is on disk, or cannot be brought there.
pub type Durable = oneshot::Receiver<Result<(), String>>;

/// Who waits for it.
type Done = oneshot::Sender<Result<(), String>>;

/// The thread that writes. Dropping it lets it finish what it has.
#[derive(Debug)]
pub struct StateWriter {
    writes: Option<mpsc::Sender<(Write, Done)>>,
    thread: Option<JoinHandle<()>>,
    /// Nothing is ever sent: it ends with the thread.
    ended: mpsc::Receiver<()>,
}

/// How long an end waits for a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

impl StateWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(files: StateFiles) -> io::Result<StateWriter> {
        let (writes, received) = mpsc::channel::<(Write, Done)>();
        let (ending, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("state".to_owned()).spawn(move || {
            let _ending: mpsc::Sender<()> = ending;
            for (write, done) in received {
                // Nobody may be waiting for it.
                let _ = done.send(carry_out(&files, &write));
            }
        })?;
        Ok(StateWriter { writes: Some(writes), thread: Some(thread), ended })
    }

    /// Writes this after all that was given before.
    pub fn write(&self, write: Write) -> Durable {
        let (done, durable) = oneshot::channel();
        if let Some(writes) = &self.writes {
            // Where the thread is gone, `done` is dropped, and who waits learns that nothing was written.
            let _ = writes.send((write, done));
        }
        durable
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.writes = None;
        let hangs = self.ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if let (Some(thread), false) = (self.thread.take(), hangs) {
            // It ends with its channel; a panic in it has been told of.
            let _ = thread.join();
        }
    }
}

fn carry_out(files: &StateFiles, write: &Write) -> Result<(), String> {
    let told = |what: &str, error: io::Error| format!("cannot {what} in {}: {error}", files.directory().display());
    // Each is tried, whatever came of the other: either alone says `log` at the next start.
    let marked = match &write.marker {
        Marker::Make(why) => files.mark(why).map_err(|error| told("make the marker of the rollback", error)),
        Marker::Remove | Marker::Keep => Ok(()),
    };
    let written = files.write(&write.state).map_err(|error| told("write the state of enforcement", error));
    marked.and(written)?;
    match write.marker {
        Marker::Remove => files.unmark().map_err(|error| told("remove the marker of the rollback", error)),
        Marker::Make(_) | Marker::Keep => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::file::STATE_FILE;

    fn write(state: &str, marker: Marker) -> Write {
        Write { state: state.to_owned(), marker }
    }

    #[test]
    fn moves_are_written_in_their_order_and_each_is_told_when_it_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let files = StateFiles::of(directory.path());
        let writer = StateWriter::start(files.clone()).unwrap();
        let all: Vec<Durable> = (0..20).map(|n| writer.write(write(&n.to_string(), Marker::Keep))).collect();
        for durable in all {
            assert_eq!(durable.blocking_recv().unwrap(), Ok(()));
        }
        assert_eq!(std::fs::read_to_string(directory.path().join(STATE_FILE)).unwrap(), "19");
        let durable = writer.write(write("rolled back", Marker::Make("why".into())));
        assert_eq!(durable.blocking_recv().unwrap(), Ok(()));
        assert_eq!(files.marker().as_deref(), Some("why"));
        writer.write(write("lifted", Marker::Remove));
        drop(writer);
        assert_eq!(files.marker(), None, "what was given is finished");
    }

    #[test]
    fn what_cannot_be_written_is_told_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone");
        let writer = StateWriter::start(StateFiles::of(&gone)).unwrap();
        let told = writer.write(write("x", Marker::Make("why".into()))).blocking_recv().unwrap().unwrap_err();
        assert!(told.contains(gone.to_str().unwrap()) && told.contains("marker"), "{told}");
        std::fs::create_dir(&gone).unwrap();
        assert_eq!(writer.write(write("x", Marker::Keep)).blocking_recv().unwrap(), Ok(()), "the next is tried anew");
    }

    #[test]
    fn a_state_that_cannot_be_written_keeps_the_marker_of_a_rollback() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(STATE_FILE)).unwrap();
        let files = StateFiles::of(directory.path());
        files.mark("before").unwrap();
        let writer = StateWriter::start(files.clone()).unwrap();
        let lifted = writer.write(write("lifted", Marker::Remove)).blocking_recv().unwrap();
        assert!(lifted.is_err() && files.marker().is_some(), "half a lift is none");
    }
}
