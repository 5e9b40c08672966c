//! [`AuditLog`]: the running log: one queue, one writer thread, one sink, and the handle to all three.

use super::queue::{AuditQueue, DEFAULT_CAPACITY};
use super::sink::Sink;
use super::writer::{Command, Writer};
use crate::clock;
use crate::config::Audit;
use data_encoding::HEXLOWER;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The running audit log. Dropping it without [`AuditLog::close`] leaves the thread to write what was filled as long as
/// the process lives.
#[derive(Debug)]
pub struct AuditLog {
    queue: AuditQueue,
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
    boot: Box<str>,
}

impl AuditLog {
    /// Opens the sink and starts the writer thread. `workers`: how many buffers to keep.
    ///
    /// # Errors
    /// When the sink cannot be opened: the text names the path and what to do.
    pub fn start(config: &Audit, workers: usize) -> io::Result<AuditLog> {
        AuditLog::with_capacity(config, workers, DEFAULT_CAPACITY)
    }

    /// The same with another bound: `capacity` records, and as many KiB of text.
    ///
    /// # Errors
    /// As [`AuditLog::start`].
    pub fn with_capacity(config: &Audit, workers: usize, capacity: usize) -> io::Result<AuditLog> {
        let sink = Sink::open(config, clock::unix_micros())?;
        let boot = HEXLOWER.encode(&clock::random_bytes::<8>().map_err(io::Error::other)?).into_boxed_str();
        let queue = AuditQueue::new(workers, capacity);
        let (commands, inbox) = mpsc::channel();
        let writer = Writer::new(queue.drain(), sink, config.clone(), &boot, inbox);
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(AuditLog { queue, commands, thread, boot })
    }

    /// Where records go in.
    pub fn queue(&self) -> &AuditQueue {
        &self.queue
    }

    /// What every line of this start carries.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Is the writer at work? It ends only when closed; if it ended otherwise, nothing is recorded any more.
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Opens the file anew by its name (SIGUSR1, after an outside rotation). Nothing is lost: what could not be written
    /// to the old one goes to the new one.
    ///
    /// # Errors
    /// When it cannot be opened (the old one is written on), or when the sink hangs.
    pub fn reopen(&self) -> io::Result<()> {
        let (done, wait) = mpsc::channel();
        self.send(Command::Reopen(done));
        answer(&wait)
    }

    /// Takes other settings; another sink is opened first, and on failure all stays as it was.
    ///
    /// # Errors
    /// When the new sink cannot be opened, or when the old one hangs.
    pub fn reconfigure(&self, config: &Audit) -> io::Result<()> {
        let (done, wait) = mpsc::channel();
        self.send(Command::Reconfigure(Box::new(config.clone()), done));
        answer(&wait)
    }

    /// Writes what was filled, waits for it until the deadline, and ends the thread. Returns how many records of this
    /// start were not written: lost now or dropped before. What is filled from now on is dropped and counted.
    pub fn close(&self, deadline: Duration) -> u64 {
        let (done, wait) = mpsc::channel();
        self.send(Command::Close(clock::monotonic() + deadline, done));
        // a sink that hangs in the kernel cannot be hurried: then the thread is left behind
        let _ = wait.recv_timeout(deadline + HANG);
        let counts = self.queue.counts();
        counts.dropped + counts.lost + counts.queued
    }

    fn send(&self, command: Command) {
        // fails only after the end, when there is nobody left to ask
        if self.commands.send(command).is_ok() {
            self.thread.thread().unpark();
        }
    }
}

/// What the writer says of a command. After the end there is nothing to do, and that is no failure.
fn answer(wait: &mpsc::Receiver<io::Result<()>>) -> io::Result<()> {
    match wait.recv_timeout(ANSWER) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Ok(()),
        Err(RecvTimeoutError::Timeout) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the audit sink hangs: the system does not return from a write",
        )),
    }
}

/// How long the writer may take to answer, before whoever asks goes on without.
const ANSWER: Duration = Duration::from_secs(5);
/// How much longer than its deadline the writer may take to notice it.
const HANG: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
