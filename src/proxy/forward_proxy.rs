//! What a forward proxy has beyond a listener of one destination: tunnels.
//!
//! `CONNECT` opens a connection and carries bytes, which are the client's and the destination's own affair: mostly TLS, so
//! that nothing in them can be signed. Hence the list of their own (`connect`); a place that is only signed for (`allow`)
//! has none. Nothing is answered before the connection is there.

use super::downstream::{After, Client};
use super::evidence::Evidence;
use super::headers::put;
use super::inbound;
use super::respond;
use super::tunnel;
use crate::config::{Config, Upstream};
use crate::request::head::RequestHead;
use crate::telemetry::metrics::UpstreamFault;
use crate::upstream::pool::Pool;

/// Opens a tunnel and carries it to its end.
pub(super) async fn tunnel(
    client: &mut Client,
    head: &RequestHead,
    config: &Config,
    to: &Upstream,
    evidence: &mut Evidence<'_>,
) -> After {
    let connected = {
        let Some(_in_flight) = evidence.worker.enter(config.limits.upstream_requests) else {
            return fail(client, head, config, evidence, UpstreamFault::Busy).await;
        };
        evidence.ready();
        Pool::new(to.clone()).connect(&evidence.snapshot.tls, config.timeouts.connect).await
    };
    let connection = match connected {
        Ok(connection) => connection,
        Err(fault) => return fail(client, head, config, evidence, fault).await,
    };
    let mut out = b"HTTP/1.1 200 Connection Established\r\n".to_vec();
    put(&mut out, b"X-Request-ID", evidence.request_id.as_bytes());
    out.extend_from_slice(b"\r\n");
    evidence.record(Some(respond::TUNNEL_OPEN));
    if client.socket.write_all(&out, config.timeouts.write_idle).await.is_ok() {
        tunnel::between(client, connection, evidence.worker, &config.timeouts).await;
    }
    After::Close
}

async fn fail(
    client: &mut Client,
    head: &RequestHead,
    config: &Config,
    evidence: &mut Evidence<'_>,
    fault: UpstreamFault,
) -> After {
    evidence.worker.metrics.upstream_fault(fault);
    inbound::answer(client, head, config, respond::to_upstream_fault(fault), evidence).await
}
