//! The control API: how the running sidecar is asked and steered, as JSON over HTTP on a unix socket.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /v1/status` | what is in force, since when, by whom, why; listeners, upstreams, keys, audit |
//! | `PUT /v1/enforcement` | mode and percentage, of the whole or of a rule |
//! | `POST /v1/rollback` | back to `log`, at once, held; with `dry_run` everything but that |
//! | `POST /v1/rollback/lift` | ends the hold |
//! | `GET /v1/override/grants` | which overrides are granted, by whom, why, how often used |
//! | `POST /v1/override/grants` | grants one; the only answer that ever holds its token |
//! | `DELETE /v1/override/grants/ID` | revokes it |
//! | `GET /v1/events` | what changes and what is refused, as it happens, line by line |
//! | `GET /v1/explain` | what would happen to a request now, and why |
//! | `GET /v1/ramp` | the ramp: stage, what is missing, evidence, baseline, alerts |
//! | `GET /v1/ramp/plan` | its stages as they would come now; `?groups`, `?restart` |
//! | `POST /v1/ramp/start`, `pause`, `resume`, `advance`, `abort` | steers it |
//! | `POST /v1/maintenance` | suspends judgement for so many seconds |
//! | `GET /v1/openapi.json` | all of this, for programs |
//! | `POST /v1/reload` | loads the configuration anew |
//! | `POST /v1/probes` | announces tests: a secret that lets them be counted nowhere |
//! | `GET`, `DELETE /v1/probes/ID` | what those tests were judged; ends the announcement |
//!
//! **Who may.** The socket is 0600, in a directory that is made 0700 where it is missing, and whoever connects is asked for by the kernel:
//! root and our own user are answered, nobody else, whatever happened to the file's mode. Every change is recorded with
//! that uid. Requests that a web page could have caused (a foreign `Host`, any foreign `Origin`, `Sec-Fetch-Site`) are refused, as
//! on the read-only listener: somebody may have put the socket behind a port. A body must be `application/json`.
//!
//! **What it answers.** JSON, always. What was refused has `detail` (a sentence) and `reason` (a word): 400 what cannot be
//! understood, 403 who may not, 404 and 405 what there is not, 409 what the state of enforcement does not allow, 422 a configuration
//! that does not stand, 503 a sidecar that is stopping. A change is answered when it is on disk; `durable` says whether
//! it is.

mod answer;
mod description;
mod enforcement;
mod events;
mod explain;
mod fleet;
mod grants;
mod probes;
mod query;
mod ramp;
mod routes;
mod serve;
mod status;
mod whole;

pub use serve::{ControlSocket, open, serve};

use super::Readiness;
use super::orders::{Done, Order, OrderRefused, Wish};
use super::ramp_shown::RampShown;
use crate::keys::status::KeyStatus;
use crate::policy::probes::ProbeTable;
use crate::snapshot::SnapshotCell;
use crate::state::grant_keeper::GrantKeeper;
use crate::state::standing::Standing;
use crate::telemetry::audit::AuditQueue;
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// What the control API shows, and whom it asks.
pub struct ControlState {
    /// What requests are judged by.
    pub snapshot: Arc<SnapshotCell>,
    /// What is in force, and would it survive?
    pub standing: Arc<Standing>,
    /// Who this sidecar is among those that take keys from Redis.
    pub key_status: Arc<KeyStatus>,
    /// May traffic be sent here?
    pub readiness: Arc<Readiness>,
    /// Who writes override grants down.
    pub grants: Arc<GrantKeeper>,
    /// Tests that are announced.
    pub probes: Arc<ProbeTable>,
    /// Who watches, and whose clock is off.
    pub metrics: Arc<Metrics>,
    /// Counts of records.
    pub audit: AuditQueue,
    /// `[admin].allowed_hosts`, as on the read-only listener.
    pub allowed_hosts: Arc<ArcSwap<Vec<String>>>,
    /// Where changes are asked for.
    pub orders: mpsc::Sender<Order>,
    /// How the ramp stands.
    pub ramp: Arc<ArcSwap<RampShown>>,
    /// When the process began to serve.
    pub started: Instant,
}

impl ControlState {
    /// Asks for a change and waits for what comes of it; `None`: the sidecar is stopping.
    pub(crate) async fn order(&self, by: Box<str>, wish: Wish) -> Option<Result<Done, OrderRefused>> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { by, wish, answer }).await.ok()?;
        answered.await.ok()
    }
}
