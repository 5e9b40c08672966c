//! The signing direction, stage by stage: who asks and where to, evidence, signature and forward.
//!
//! What differs from guarding: nobody is verified, since the peer is a program of this machine; so no mode, no percentage and
//! no failure limit applies, and each refusal is carried out. What leaves is signed as this machine's service or does not
//! leave. The exchange itself is the same ([`forward`]): bodies stream, the signature is made when the head is sent.

use super::downstream::{After, Client};
use super::evidence::{Evidence, Judged};
use super::forward::{self, Exchange};
use super::forward_proxy;
use super::inbound;
use super::respond;
use super::rewrite::{self, Known, Reached, Says};
use super::worker::Worker;
use crate::clock;
use crate::config::{Destination, Outbound, Upstream};
use crate::policy::outbound::{Listener, OutboundRefusal, Passage, Place, Way, judge};
use crate::request::head::{RequestHead, Target};
use std::rc::Rc;
use std::time::Duration;

/// Serves one request whose head could be read.
pub(super) async fn serve(client: &mut Client, worker: &Worker, head: &RequestHead, place: usize) -> After {
    let received = clock::monotonic();
    let snapshot = worker.snapshot();
    let (config, signer) = (&*snapshot.config, snapshot.signer.as_deref());
    // Listeners do not change while running: a reload keeps those that are there.
    let outbound = &*config.outbound[place];
    let route = &worker.routes[client.listener];
    let connect = tunnels(outbound, head);
    let connect_places: Vec<Place> = connect.iter().map(Upstream::place).collect();
    let listener = Listener {
        address: client.local_address(),
        allow_uids: outbound.allow_uids.as_deref(),
        way: match outbound.destination {
            Destination::Upstreams(_) => Way::Upstreams(&route.places),
            Destination::ForwardProxy { .. } => Way::ForwardProxy { allow: &route.places, connect: &connect_places },
        },
    };
    let judged = judge(head, client.peer, &listener, signer.is_some());

    let slot = inbound::reserve(worker, config, judged.is_ok()).await;
    let judged = if slot.is_ok() { judged } else { judged.and(Err(OutboundRefusal::AuditUnavailable)) };
    let unix_micros = clock::unix_micros();
    let mut made = [0; clock::REQUEST_ID];
    let request_id = rewrite::given_request_id(head).unwrap_or_else(|| clock::request_id(unix_micros, &mut made));
    let client_text = Rc::clone(&client.direct.1);
    let (signed_as, tunnel_to) = match judged {
        Ok(Passage::Upstream | Passage::Allowed(_)) => (signer.map(|signer| signer.id.as_str()), None),
        Ok(Passage::Tunnel(at)) => (None, Some(connect[at].to_string())),
        Err(_) => (None, None),
    };
    let mut evidence = Evidence {
        worker,
        snapshot: &snapshot,
        way: Judged::Outbound { refusal: judged.err(), signed_as },
        fault: None,
        request_id,
        method: Some(head.method()),
        path: match head.target() {
            Target::Path | Target::Url { .. } => Some(head.path()),
            Target::Tunnel(_) => None,
        },
        client: &client_text,
        upstream: tunnel_to.as_deref(),
        slot: slot.unwrap_or_default(),
        is_foreign: false,
        counted: false,
        unix_micros,
        received,
        before: Duration::ZERO,
        sent: None,
        answered: None,
    };
    let (choice, signer) = match (judged, signer) {
        (Ok(Passage::Tunnel(at)), _) => {
            return forward_proxy::tunnel(client, head, config, &connect[at], &mut evidence).await;
        }
        (Ok(Passage::Upstream), Some(signer)) => (route.choose(), signer),
        (Ok(Passage::Allowed(at)), Some(signer)) => (route.named(at), signer),
        (Err(refusal), _) => {
            tracing::debug!(host = head.host(), target = ?head.target(), reason = refusal.code(), "does not leave");
            return inbound::answer(client, head, config, respond::of_outbound_refusal(refusal), &mut evidence).await;
        }
        // Judged with the knowledge that there is none.
        (Ok(Passage::Upstream | Passage::Allowed(_)), None) => return After::Close,
    };
    let reached = match (judged, head.target()) {
        // Asked for by its own name: its redirects name what the client knows.
        (Ok(Passage::Allowed(_)), _) => None,
        (_, Target::Url { authority, .. }) => Some(Reached { scheme: "http", authority: Some(authority) }),
        (_, Target::Path | Target::Tunnel(_)) => Some(Reached { scheme: "http", authority: head.host() }),
    };
    let known = Known { request_id, upstream: &choice.target().upstream, reached, says: Says::Ourselves(signer) };
    let exchange = Exchange { worker, config, head, known, choice, first_byte: outbound.first_byte };
    forward::forward(client, exchange, &mut evidence).await
}

/// Where tunnels may be opened, if this request asks for one.
fn tunnels<'o>(outbound: &'o Outbound, head: &RequestHead) -> &'o [Upstream] {
    match (&outbound.destination, head.target()) {
        (Destination::ForwardProxy { connect, .. }, Target::Tunnel(_)) => connect,
        (Destination::ForwardProxy { .. } | Destination::Upstreams(_), _) => &[],
    }
}
