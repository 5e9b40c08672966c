//! The read-only listener: `/metrics`, `/healthz`, `/livez`, `/readyz`.

use crate::telemetry::metrics::Metrics;
use std::future::Future;
use std::sync::Arc;

pub mod readiness;

pub use readiness::Readiness;

/// What the listener shows.
pub struct AdminState {
    /// `/metrics`
    pub metrics: Arc<Metrics>,
    /// `/readyz`
    pub readiness: Arc<Readiness>,
    /// `[admin].allowed_hosts`: `Host` values accepted beyond loopback names; replaced at reload.
    pub allowed_hosts: arc_swap::ArcSwap<Vec<String>>,
}

/// Serves until `shutdown` resolves, then lets answers in flight finish for a moment.
pub async fn serve(_listener: tokio::net::TcpListener, _state: Arc<AdminState>, _shutdown: impl Future<Output = ()>) {
    unimplemented!()
}
