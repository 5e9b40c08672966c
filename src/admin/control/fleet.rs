//! Whom does a move of enforcement reach? As `status` shows it, and as the answer to a rollback says it.
//!
//! 1. Where the state is shared, every sidecar that was heard of within a day is named: `reached` (what is in force here is in force
//!    there), `behind` (something else is), `silent` (it was not heard of for some seconds).
//! 2. A rollback waits a little for the others (with `fleet` for longer), and never for longer than that. What it reached by then is
//!    told; the rest follows by itself as soon as it can.
//! 3. Where the state is not shared nobody is reached. Who else there is, is known from Redis, where sidecars take keys from there; else
//!    the configured services stand for them.

use super::ControlState;
use crate::clock;
use crate::keys::redis::RedisStore;
use crate::state::fleet_board::{FleetBoard, Reach};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a rollback waits for the others, unless it is told to wait for the fleet.
const A_MOMENT: Duration = Duration::from_secs(1);
/// The same for `rollback --fleet`.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// As `status` shows it.
pub(super) fn shown(control: &ControlState) -> Value {
    match control.standing.fleet() {
        Some(board) => {
            // Whoever asks again sees the others as they are then.
            board.ask();
            let mut told = of(board);
            let (lease, now) = (&board.lease, clock::monotonic());
            told["drives_ramp"] = (lease.is_wanted() && lease.holds(now)).into();
            told["ramp_driver"] = lease.another().map(|name| name.to_string()).into();
            told
        }
        None => json!({ "shared": false }),
    }
}

fn of(board: &FleetBoard) -> Value {
    let now = clock::monotonic();
    let others = board.others(now);
    let one = |(seen, reach): &(crate::state::fleet_board::Seen, Reach)| {
        let presence = &seen.presence;
        json!({
            "name": presence.name,
            "host": presence.host,
            "listens": presence.listens,
            "state": reach.code(),
            "heard_seconds_ago": now.saturating_duration_since(seen.heard).as_secs(),
            "mode": presence.mode,
            "percentage": presence.percentage,
            "held": presence.held,
            "revision": presence.revision,
            "version": presence.program,
        })
    };
    let not_reached: Vec<_> = others
        .iter()
        .filter(|(_, reach)| *reach != Reach::Reached)
        .map(|(seen, _)| seen.presence.name.clone())
        .collect();
    let trouble = board.trouble();
    json!({
        "shared": true,
        "name": board.name,
        "published": board.is_published(),
        "trouble": trouble.map(|trouble| trouble.to_string()),
        "rejected": board.rejected(),
        "sidecars": others.iter().map(one).collect::<Vec<_>>(),
        "not_reached": not_reached,
    })
}

/// After a rollback: whom it reached. `patient`: the whole fleet was meant.
pub(super) async fn reached(control: &ControlState, patient: bool) -> Value {
    let Some(board) = control.standing.fleet() else { return alone(control).await };
    let until = clock::monotonic() + if patient { PATIENCE } else { A_MOMENT };
    loop {
        board.ask();
        let now = clock::monotonic();
        let all = board.is_published() && board.others(now).iter().all(|(_, reach)| *reach == Reach::Reached);
        if all || now >= until {
            let told = of(board);
            if !all {
                tracing::warn!(not_reached = %told["not_reached"], "the rollback has not reached all sidecars yet");
            }
            return told;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Nothing is shared: everybody else is not reached.
async fn alone(control: &ControlState) -> Value {
    let config = std::sync::Arc::clone(&control.snapshot.load().config);
    let mut not_reached = Vec::new();
    if let Some(redis) = &config.keys.redis {
        let me = control.key_status.read().name;
        let verifiers = tokio::time::timeout(A_MOMENT, RedisStore::new(redis).verifiers()).await;
        let others = verifiers.ok().and_then(Result::ok).unwrap_or_default();
        not_reached =
            others.into_iter().filter(|name| Some(name) != me.as_ref()).map(|name| name.to_string()).collect();
    }
    if not_reached.is_empty() {
        let own = config.service.as_ref().map(|service| &service.id);
        let others = config.services.iter().filter(|(id, service)| Some(*id) != own && !service.addresses.is_empty());
        not_reached = others
            .map(|(id, service)| {
                let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
                format!("{id} ({})", addresses.join(", "))
            })
            .collect();
    }
    if !not_reached.is_empty() {
        tracing::warn!(
            ?not_reached,
            "the state is not shared ([enforcement].shared): this rollback is of this sidecar alone"
        );
    }
    json!({ "shared": false, "not_reached": not_reached })
}
