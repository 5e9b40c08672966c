//! How a request's head comes off its connection, and why one does not come.
//!
//! What can be said of a head before it is whole is said at once, so that HTTP/0.9 and a TLS hello are answered and not waited
//! for. The whole head has `timeouts.head`, from its first byte.

use super::downstream::Client;
use super::worker::Worker;
use crate::clock;
use crate::config::{Config, Side};
use crate::request::head::{self, HeadFault, HeadLimits, RequestHead, TargetForms};
use crate::wire::buffer::SMALL;
use std::time::Instant;

/// Why no head was read.
pub(super) enum HeadEnd {
    /// It is not acceptable.
    Fault(HeadFault),
    /// It did not come whole in time.
    TimedOut,
    /// The client is gone.
    Gone,
}

impl From<HeadFault> for HeadEnd {
    fn from(fault: HeadFault) -> HeadEnd {
        HeadEnd::Fault(fault)
    }
}

impl Client {
    /// Reads one whole head; what comes behind it stays in the buffer.
    pub(super) async fn read_head(&mut self, worker: &Worker) -> Result<RequestHead, HeadEnd> {
        let (limits, within) = {
            let Config { limits, timeouts, .. } = &*worker.shared.snapshot.load().config;
            (HeadLimits { head: limits.head, target: limits.target, fields: limits.headers }, timeouts.head)
        };
        let forms = match worker.routes[self.listener].side {
            Side::Inbound(_) => TargetForms::Path,
            Side::Outbound(_) => TargetForms::Any,
        };
        let mut until = None;
        let mut looked_at = 0;
        let mut line_is_good = false;
        loop {
            let begun = self.buffer.filled();
            let end = head::find_end(begun, looked_at);
            // Of a head that is not whole, what can be said already is said.
            if !line_is_good && !matches!(end, Ok(Some(_))) {
                head::early_fault(begun, &limits, forms)?;
                line_is_good = begun.contains(&b'\n');
            }
            if let Some(end) = end? {
                let room = &mut self.spare.get_or_insert_default().request;
                let head = RequestHead::parse_in(room, &begun[..end], &limits, forms)?;
                self.buffer.consume(end);
                return Ok(head);
            }
            looked_at = begun.len();
            if begun.len() >= limits.head {
                return Err(HeadEnd::Fault(HeadFault::HeadTooLong));
            }
            let until = *until.get_or_insert_with(|| clock::monotonic() + within);
            self.more(worker, until, limits.head + 1).await?;
        }
    }

    /// Reads once more, until then at most.
    pub(super) async fn more(&mut self, worker: &Worker, until: Instant, limit: usize) -> Result<(), HeadEnd> {
        // A small block at least: `limit` bounds only what grows beyond it.
        let limit = limit.max(SMALL);
        match tokio::time::timeout_at(until.into(), self.socket.read(&mut self.buffer, &worker.buffers, limit)).await
        {
            Err(_) => Err(HeadEnd::TimedOut),
            Ok(Ok(0) | Err(_)) => Err(HeadEnd::Gone),
            Ok(Ok(_)) => Ok(()),
        }
    }
}
