//! [`KernelPipes`]: bodies that nobody here looks at, moved from socket to socket without passing through our memory.
//!
//! What a socket has received is hung into a pipe, and from there into the other socket's queue (`splice(2)`): two system calls
//! as for a copy, without the copy. Only bytes whose end was announced go this way, so that what follows them stays in the
//! socket; chunks have to be read. Only the kernel's own connections can: TLS has to see what it encrypts. A body holds a
//! pipe only while bytes are in it, and there are few: where none is to be had, and where the system does not allow it, bodies are
//! copied.

use super::body::Transfer;
use super::buffer::{Buffer, BufferPool};
use super::socket::{Socket, WriteFault};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The pipes of one worker.
#[derive(Debug, Default)]
pub struct KernelPipes {
    idle: RefCell<Vec<KernelPipe>>,
    lent: Cell<usize>,
    /// The system has refused: it would again.
    refused: Cell<bool>,
}

/// From where to where bodies go.
#[derive(Debug, Clone, Copy)]
pub struct Conduit<'p> {
    /// Through one of these.
    pub pipes: &'p KernelPipes,
    /// Where it is read.
    pub from: &'p Socket,
    /// Where it is written.
    pub to: &'p Socket,
    /// How long each wait for room may take.
    pub idle: Duration,
}

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spliced {
    /// All of it has passed.
    Whole,
    /// There is nothing to read now.
    Rests,
    /// Its source has ended, or is gone, in the middle.
    Broken,
    /// What is left has to be copied.
    Copy,
}

/// A pipe; empty while nobody holds it.
#[derive(Debug)]
struct KernelPipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// A lent pipe with bytes in it. One that is dropped before it is empty takes them along.
#[derive(Debug)]
struct InTransit<'p> {
    pipes: &'p KernelPipes,
    pipe: Option<KernelPipe>,
    count: usize,
}

/// Where less is left than this, a copy is as cheap.
const WORTH_IT: u64 = 16 * 1024;
/// Pipes that one worker uses at a time, at most.
const LENT: usize = 32;
/// Of those, kept for the next body.
const KEPT: usize = 8;
/// Descriptors that the pipes of one worker need, at most.
pub const DESCRIPTORS: usize = 2 * LENT;
/// How much is moved at a time, and held for a reader that is slow. The kernel gives an ordinary user 64 MiB of pipes.
const AT_A_TIME: usize = 256 * 1024;
/// How much of a body is moved before other connections have their turn.
const A_TURN: usize = 1024 * 1024;

impl Conduit<'_> {
    /// Moves what has come of `body`, until nothing is there; then no memory of `buffer` is held. `moved` is called whenever
    /// something has. What the buffer holds of the body goes before: as long as it holds any, this moves nothing.
    ///
    /// # Errors
    /// When `to` takes no more; what was taken from `from` is lost then.
    pub async fn pass(
        &self,
        body: &mut Transfer,
        buffer: &mut Buffer,
        pool: &BufferPool,
        moved: impl Fn(),
    ) -> Result<Spliced, WriteFault> {
        let Conduit { pipes, from, to, idle } = *self;
        let is_worth_it = body.unseen() >= WORTH_IT && buffer.is_empty();
        if !is_worth_it || pipes.refused.get() || !from.is_plain() || !to.is_plain() {
            return Ok(Spliced::Copy);
        }
        buffer.release(pool);
        let mut in_this_turn = 0;
        while !body.is_done() {
            let Some(mut transit) = pipes.lend() else { return Ok(Spliced::Copy) };
            match from.read_with(|socket| transit.fill(socket, body.unseen())) {
                Ok(0) => return Ok(Spliced::Broken),
                Ok(count) => body.taken(count),
                Err(error) => return Ok(pipes.without_bytes(&error)),
            }
            in_this_turn += transit.count;
            while transit.count > 0 {
                match to.write_with(idle, |socket| transit.empty(socket)).await {
                    Ok(_) => {}
                    Err(WriteFault::Io(error)) if is_refusal(&error) => {
                        pipes.refuse(&error);
                        to.write_all(&transit.read_out().map_err(WriteFault::Io)?, idle).await?;
                    }
                    Err(fault) => return Err(fault),
                }
                moved();
            }
            drop(transit);
            if in_this_turn >= A_TURN {
                tokio::task::yield_now().await;
                in_this_turn = 0;
            }
        }
        Ok(Spliced::Whole)
    }
}

impl KernelPipes {
    fn lend(&self) -> Option<InTransit<'_>> {
        if self.lent.get() >= LENT {
            return None;
        }
        let pipe = self.idle.borrow_mut().pop().or_else(|| KernelPipe::new().ok())?;
        self.lent.set(self.lent.get() + 1);
        Some(InTransit { pipes: self, pipe: Some(pipe), count: 0 })
    }

    /// What it means that nothing could be taken.
    fn without_bytes(&self, error: &io::Error) -> Spliced {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Spliced::Rests,
            io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => Spliced::Broken,
            _ => {
                if is_refusal(error) {
                    self.refuse(error);
                }
                // If it is about the connection after all, reading it will tell.
                Spliced::Copy
            }
        }
    }

    fn refuse(&self, error: &io::Error) {
        tracing::debug!(%error, "bodies are copied: the system does not splice");
        self.refused.set(true);
    }
}

/// A sandbox that does not know the call, or forbids it.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
}

impl KernelPipe {
    fn new() -> io::Result<KernelPipe> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where it is not allowed, smaller ones do.
        let _ = fcntl_setpipe_size(&into, AT_A_TIME);
        Ok(KernelPipe { out, into })
    }
}

impl InTransit<'_> {
    fn fill(&mut self, from: impl AsFd, most: u64) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(AT_A_TIME);
        self.count = splice(from, None, &pipe.into, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        Ok(self.count)
    }

    fn empty(&mut self, to: impl AsFd) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let moved = splice(&pipe.out, None, to, None, self.count, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.count -= moved;
        Ok(moved)
    }

    /// Takes what is on its way into memory.
    fn read_out(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.count];
        let mut read = 0;
        while let (Some(pipe), true) = (&self.pipe, self.count > 0) {
            let count = rustix::io::read(&pipe.out, &mut bytes[read..])?;
            read += count;
            self.count -= count;
        }
        Ok(bytes)
    }
}

impl Drop for InTransit<'_> {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        let mut idle = self.pipes.idle.borrow_mut();
        if self.count == 0 && idle.len() < KEPT {
            idle.extend(self.pipe.take());
        }
    }
}

#[cfg(test)]
mod tests;
