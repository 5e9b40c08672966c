//! One exchange: the request's body up and the answer down, at the same time, in one task.
//!
//! Rules, in order:
//! 1. nothing goes upstream before the first piece of the body has been found well-formed (or 1 s has passed, or the
//!    client waits for `100 Continue`), so that a bad body that comes at once leaves the upstream untouched;
//! 2. a fault in the body later aborts the upstream connection: it never sees a clean end;
//! 3. only an idempotent request whose body (if any) came whole with its head, on a reused connection that died before any
//!    answer byte, is sent again, once;
//! 4. a request for which no connection could be opened, so that nothing of it was sent, goes to the next target at once,
//!    whatever its method, until every target has been tried;
//! 5. an answer that ends early cuts the client's connection: it never sees a clean end either;
//! 6. a connection goes back to the pool only when both messages are whole and nothing is left over.

use super::downstream::{After, Client};
use super::evidence::Evidence;
use super::inbound;
use super::relay::{Ended, Relay};
use super::respond::{self, OwnAnswer};
use super::rewrite::{self, Known, Says};
use super::route::Choice;
use super::tunnel;
use super::upload::{ClientEnd, client_side, first_piece};
use super::worker::{InFlight, Worker};
use crate::clock;
use crate::config::Config;
use crate::request::framing::Framing;
use crate::request::head::RequestHead;
use crate::telemetry::metrics::UpstreamFault;
use crate::upstream::pool::Connection;
use crate::wire::body::{Transfer, WrittenAs};
use crate::wire::socket::WriteFault;
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What one exchange is about.
pub(super) struct Exchange<'x> {
    pub(super) worker: &'x Worker,
    pub(super) config: &'x Config,
    pub(super) head: &'x RequestHead,
    pub(super) known: Known<'x>,
    /// Where it goes; `known.upstream` is the same.
    pub(super) choice: Choice<'x>,
    /// How long the upstream may take to begin its answer.
    pub(super) first_byte: Duration,
}

/// How far both directions are; each looks at the other's.
pub(super) struct Progress {
    /// The request has gone upstream whole.
    pub(super) upload_whole: Cell<bool>,
    /// The last time anything moved.
    pub(super) moved: Cell<Instant>,
    /// The answer's head is on its way to the client: nothing else may be said to it.
    pub(super) begun: Cell<bool>,
    /// The client waits for `100 Continue` and has not got it.
    pub(super) gated: Cell<bool>,
    /// Rung when it has.
    pub(super) gate: Notify,
}

/// Forwards a request that was let through, and its answer.
pub(super) async fn forward<'e>(client: &mut Client, exchange: Exchange<'e>, evidence: &mut Evidence<'e>) -> After {
    let mut first = std::mem::take(&mut client.spare.get_or_insert_default().up);
    let after = forward_in(&mut first, client, exchange, evidence).await;
    client.spare.get_or_insert_default().up = first;
    after
}

/// The same with memory for what goes upstream first.
async fn forward_in<'e>(
    first: &mut Vec<u8>,
    client: &mut Client,
    mut exchange: Exchange<'e>,
    evidence: &mut Evidence<'e>,
) -> After {
    let Exchange { worker, config, head, .. } = exchange;
    let written_as = if head.framing() == Framing::Chunked { WrittenAs::Chunked } else { WrittenAs::Plain };
    let mut upload = Transfer::new(head.framing().into(), written_as, rewrite::REQUEST_TRAILERS);
    first.clear();
    first.reserve(head.size() + 256);
    let mut signature = rewrite::request_head(first, head, &exchange.known);
    let head_size = first.len();
    if !head.expects_continue() {
        match first_piece(client, &exchange, &mut upload, first).await {
            Ok(()) => {}
            Err(end) => return client_ended(client, &exchange, evidence, end, false).await,
        }
    }
    // Who waits for an upstream needs no room for what comes behind its request.
    client.buffer.release(&worker.buffers);
    let body_size = first.len() - head_size;
    let ready = evidence.ready();
    // Not before: a body that does not come must not hold a place.
    let Some(in_flight) = worker.enter(config.limits.upstream_requests) else {
        return fail(client, &exchange, evidence, UpstreamFault::Busy).await;
    };
    let mut in_flight = Some(in_flight);
    let mut was_sent = false;
    loop {
        let target = exchange.choice.target();
        evidence.upstream = Some(target.health.name());
        let reused = if was_sent { None } else { target.pool.reuse(&evidence.snapshot.tls, ready) };
        let (may_retry, connection) = match reused {
            Some(connection) => (is_retriable(head) && upload.is_done(), connection),
            None => match target.pool.connect(&evidence.snapshot.tls, config.timeouts.connect).await {
                Ok(connection) => (false, connection),
                Err(fault) => {
                    target.health.suspect_after(fault);
                    if !exchange.choice.advance() {
                        return fail(client, &exchange, evidence, fault).await;
                    }
                    exchange.known.upstream = &exchange.choice.target().upstream;
                    worker.metrics.upstream_passed_over();
                    // The head names its target where the request has no Host; what of the body came with it stays.
                    let body = first.split_off(first.len() - body_size);
                    first.clear();
                    signature = rewrite::request_head(first, head, &exchange.known);
                    first.extend_from_slice(&body);
                    continue;
                }
            },
        };
        if let Says::Ourselves(signer) = exchange.known.says {
            let begun = clock::monotonic();
            signature.sign(first, head, signer, clock::unix_seconds());
            evidence.took(begun);
        }
        let attempt = Attempt { connection, first, may_retry, in_flight: &mut in_flight };
        match once(client, &exchange, evidence, &mut upload, attempt).await {
            Some(after) => return after,
            None => worker.metrics.upstream_retried(),
        }
        was_sent = true;
    }
}

/// One attempt to send a request.
struct Attempt<'a, 'w> {
    connection: Connection,
    /// The head, and what of the body came with it.
    first: &'a [u8],
    /// The connection is a reused one, and what would be sent again is at hand.
    may_retry: bool,
    /// Given up when the request becomes a tunnel.
    in_flight: &'a mut Option<InFlight<'w>>,
}

/// One attempt on one connection. `None`: the connection had died unused, and the request may be sent again.
async fn once(
    client: &mut Client,
    exchange: &Exchange<'_>,
    evidence: &mut Evidence<'_>,
    upload: &mut Transfer,
    attempt: Attempt<'_, '_>,
) -> Option<After> {
    let Attempt { mut connection, first, may_retry, in_flight } = attempt;
    let Exchange { worker, config, head, .. } = exchange;
    let written = connection.socket.write_all(first, exchange.first_byte).await;
    let sent = evidence.sent();
    if matches!(written, Err(WriteFault::Io(_))) && may_retry {
        return None;
    }
    let progress = Progress {
        upload_whole: Cell::new(upload.is_done() && written.is_ok()),
        moved: Cell::new(sent),
        begun: Cell::new(false),
        // A client that has begun to send its body waits for nothing.
        gated: Cell::new(head.expects_continue() && client.buffer.is_empty()),
        gate: Notify::new(),
    };
    let Connection { socket: upstream, buffer: upstream_buffer, .. } = &mut connection;
    let Client { socket, buffer, spare, .. } = client;
    let relay = Relay { exchange, progress: &progress, client: socket, upstream };
    let ended = {
        let answer = relay.run(upstream_buffer, spare.get_or_insert_default(), evidence);
        let client_side = client_side(exchange, &progress, socket, buffer, upstream, upload, written.is_ok());
        tokio::select! {
            biased;
            ended = answer => Ok(ended),
            end = client_side => Err(end),
        }
    };
    let has_begun = progress.begun.get();
    Some(match ended {
        Ok(Ended::Whole { reusable, keep, is_short }) => {
            let is_whole = progress.upload_whole.get();
            if reusable && is_whole {
                exchange.choice.target().pool.give_back(connection, &worker.buffers);
            } else if is_whole {
                connection.socket.farewell();
            }
            match (is_whole, keep) {
                (true, true) => After::Keep,
                (true, false) if is_short && !head.keep_alive() && client.may_be_closed_at_once() => After::Close,
                (true | false, false) | (false, true) => After::Linger,
            }
        }
        Ok(Ended::Switched) => {
            in_flight.take();
            tunnel::between(client, connection, worker, &config.timeouts).await;
            After::Close
        }
        Ok(Ended::Stale) if may_retry => return None,
        Ok(Ended::Stale) => {
            exchange.choice.target().health.suspect_after(UpstreamFault::Closed);
            fail(client, exchange, evidence, UpstreamFault::Closed).await
        }
        Ok(Ended::Fault(fault)) => {
            exchange.choice.target().health.suspect_after(fault);
            drop(connection);
            fail(client, exchange, evidence, fault).await
        }
        Ok(Ended::Cut) => After::Close,
        Err(end) => {
            drop(connection);
            client_ended(client, exchange, evidence, end, has_begun).await
        }
    })
}

async fn client_ended(
    client: &mut Client,
    exchange: &Exchange<'_>,
    evidence: &mut Evidence<'_>,
    end: ClientEnd,
    has_begun: bool,
) -> After {
    let own = match end {
        ClientEnd::Gone => return After::Close,
        ClientEnd::Fault(fault) => {
            evidence.malformed(fault);
            respond::to_head_fault(fault)
        }
        ClientEnd::BodyIdle => {
            exchange.worker.metrics.timed_out("body_idle");
            respond::REQUEST_TIMEOUT
        }
    };
    if has_begun {
        client.socket.reset_on_close();
        return After::Close;
    }
    finally(client, exchange, evidence, own).await
}

async fn fail(
    client: &mut Client,
    exchange: &Exchange<'_>,
    evidence: &mut Evidence<'_>,
    fault: UpstreamFault,
) -> After {
    exchange.worker.metrics.upstream_fault(fault);
    let own = respond::to_upstream_fault(fault);
    if exchange.head.framing() == Framing::None {
        return inbound::answer(client, exchange.head, exchange.config, own, evidence).await;
    }
    finally(client, exchange, evidence, own).await
}

/// Our own last answer on this connection: part of the request's body has been taken, so nothing can follow.
async fn finally(client: &mut Client, exchange: &Exchange<'_>, evidence: &mut Evidence<'_>, own: OwnAnswer) -> After {
    let head = exchange.head;
    let mut out = Vec::new();
    let is_head = head.method() == "HEAD";
    own.write(
        &mut out,
        &inbound::wrapping(exchange.config, exchange.known.request_id, false, head.version(), is_head),
    );
    evidence.record(Some(own.status));
    match client.socket.write_all(&out, exchange.config.timeouts.write_idle).await {
        Ok(()) => After::Linger,
        Err(_) => After::Close,
    }
}

/// Idempotent by RFC 9110 section 9.2.2, and nothing of its body waits to be called for.
fn is_retriable(head: &RequestHead) -> bool {
    matches!(head.method(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE") && !head.expects_continue()
}
