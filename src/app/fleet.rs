//! The state of enforcement that a fleet shares, in a running sidecar: how what is found in Redis takes effect, and how what
//! moves here gets there.
//!
//! The control loop alone moves enforcement ([`App::change`]): what the follower ([`FleetFollower`]) finds is one more reason to. A move
//! made here is in force here before anybody else hears of it, whatever Redis does. Rollbacks and lifts of others make and
//! remove the marker here too: they are as durable as our own.

use super::process::host_name;
use super::start::{App, StartError};
use super::steering::Steering;
use crate::clock;
use crate::config::Config;
use crate::keys::secret_file::SecretReader;
use crate::rollout::shared::FleetState;
use crate::rollout::shared::sealed::{FleetKey, Presence};
use crate::rollout::state::{EnforcementState, RollbackKind};
use crate::state::file::replace;
use crate::state::fleet::{FleetFollower, Found, Meant, What, last_shared};
use crate::state::fleet_board::{FleetBoard, Mine};
use crate::state::writer::Marker;
use crate::telemetry::audit::record::Event;
use data_encoding::HEXLOWER;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Who moves enforcement when a ramp advances.
const RAMP: &str = "ramp";

/// This sidecar as one of a fleet.
pub(super) struct Fleet {
    key: Arc<FleetKey>,
    host: Box<str>,
    /// `None`: the fleet's was not found yet.
    state: Option<FleetState>,
    /// Is `state` our own word, which nobody has heard yet?
    founding: bool,
    /// What was known before the step of the ramp that is not written yet.
    before_step: Option<FleetState>,
    meant: watch::Sender<Meant>,
    found: mpsc::Receiver<Found>,
    task: JoinHandle<()>,
    pub(super) board: Arc<FleetBoard>,
}

impl Fleet {
    /// Begins where the state is shared. What was shared last counts over what `steering` read, but for moves after it. With the salt of
    /// the draws: the fleet's in place of our own.
    pub(super) fn begin(
        config: &Config,
        steering: &mut Steering,
        salt: [u8; 32],
    ) -> Result<(Option<Fleet>, [u8; 32]), StartError> {
        let (Some(path), Some(redis)) = (&config.shared_key, &config.keys.redis) else { return Ok((None, salt)) };
        let unusable = |why: String| StartError::Keys(vec![format!("the fleet key {}: {why}", path.display())]);
        let text = SecretReader::of_process().read(path).map_err(|fault| unusable(fault.to_string()))?;
        let key = FleetKey::from_text(&text).ok_or_else(|| unusable("it is no 64 hex digits".to_owned()))?;
        let host: Box<str> = host_name().unwrap_or_default().into();
        let part = |error| StartError::Part { part: "the name among the fleet", error };
        let name = fleet_name(&config.state_dir, &host).map_err(part)?;
        let kept = last_shared(&config.state_dir, &key);
        let state = kept.as_ref().map(|kept| taken_up(kept, steering, config, &name));
        let listens = config.sides().map(|side| config.listen(side).to_string()).collect();
        let board = Arc::new(FleetBoard::new(name.clone(), Arc::clone(&steering.lease)));
        let presence = Presence {
            name,
            at: 0,
            host: host.clone(),
            listens,
            digest: "".into(),
            revision: 0,
            mode: "".into(),
            percentage: 0,
            held: false,
            drives: false,
            program: env!("CARGO_PKG_VERSION").into(),
        };
        let redis = Arc::new(redis.clone());
        let (meant, receiver) = watch::channel(Meant { state: None, driver: None, presence, redis });
        let (sender, found) = mpsc::channel(1);
        let key = Arc::new(key);
        steering.standing.share(Arc::clone(&board));
        let view = Arc::clone(&board);
        let follower = FleetFollower::new(Arc::clone(&key), receiver, sender, view, &config.state_dir, kept);
        let task = tokio::spawn(follower.run());
        let fleet = Fleet { key, host, state, founding: false, before_step: None, meant, found, task, board };
        fleet.mean(&steering.state(), None);
        let salt = fleet.key.salt();
        Ok((Some(fleet), salt))
    }

    /// What was found next; never anything without a fleet.
    pub(super) async fn found(fleet: &mut Option<Fleet>) -> Found {
        let found = match fleet {
            Some(fleet) => fleet.found.recv().await,
            None => None,
        };
        match found {
            Some(found) => found,
            // Its end is seen by the looks.
            None => std::future::pending().await,
        }
    }

    /// Did the follower end although nobody stopped it?
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        let Fleet { meant, found, mut task, .. } = self;
        drop((meant, found));
        if tokio::time::timeout(END, &mut task).await.is_err() {
            task.abort();
        }
    }

    /// Says what is meant from now on. `local`: what is in force here.
    fn mean(&self, local: &EnforcementState, driver: Option<u64>) {
        let digest = self.state.as_ref().map(|state| self.key.digest(state)).unwrap_or_default();
        self.board.moved(Mine { digest: digest.clone(), revision: local.revision });
        self.meant.send_modify(|meant| {
            meant.state.clone_from(&self.state);
            meant.driver = driver;
            meant.presence.digest = digest;
            meant.presence.revision = local.revision;
            meant.presence.mode = local.in_force.mode.code().into();
            meant.presence.percentage = local.in_force.percentage.value();
            meant.presence.held = local.is_held();
        });
    }

    fn driver(&self) -> Option<u64> {
        self.meant.borrow().driver
    }
}

/// How long an end waits for the follower.
const END: Duration = Duration::from_secs(1);

/// What becomes of the marker. It stands for a rollback of the whole that somebody meant: a rule that is held beside it keeps none.
fn marker_after(local: &EnforcementState, next: &EnforcementState) -> Marker {
    match (&local.hold, &next.hold) {
        (_, Some(hold)) if hold.kind == RollbackKind::Unknown => Marker::Keep,
        (_, Some(hold)) => Marker::Make(format!("{} ({})", hold.by.why, hold.by.by)),
        (Some(_), None) => Marker::Remove,
        (None, None) => Marker::Keep,
    }
}

/// What was shared when this sidecar ended, and what moved here since: edits, a marker, a move that was not heard of any more.
fn taken_up(kept: &FleetState, steering: &mut Steering, config: &Config, name: &str) -> FleetState {
    let local = steering.state();
    let then = kept.in_force_at(&local, &config.rules);
    let is_rolled_back =
        |state: &EnforcementState| state.hold.as_ref().is_some_and(|hold| hold.kind != RollbackKind::Unknown);
    let is_unknown = local.hold.as_ref().is_some_and(|hold| hold.kind == RollbackKind::Unknown);
    let moved = (local.revision > then.revision && !is_unknown) || (is_rolled_back(&local) && !is_rolled_back(&then));
    let state = if moved { kept.moved(&then, &local, name, None) } else { kept.clone() };
    steering.take(state.in_force_at(&local, &config.rules));
    state
}

/// The name of this sidecar: the same after each start, and another one where the state directory was copied to another machine.
fn fleet_name(state_dir: &Path, host: &str) -> io::Result<Box<str>> {
    const FILE: &str = "fleet-name";
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    let host: String = host.chars().filter(is_plain).take(64).collect();
    let made_for = format!("{host}-");
    if let Ok(text) = std::fs::read_to_string(state_dir.join(FILE))
        && let Some(rest) = text.trim_ascii_end().strip_prefix(&made_for)
        && rest.len() == 16
        && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(text.trim_ascii_end().into());
    }
    let random = clock::random_bytes::<8>().map_err(io::Error::other)?;
    let name = format!("{made_for}{}", HEXLOWER.encode(&random));
    replace(state_dir, FILE, &format!("{name}\n"))?;
    Ok(name.into())
}

impl App {
    /// A move that is made here becomes the fleet's.
    pub(super) fn share(&mut self, before: &EnforcementState, next: &mut EnforcementState) {
        let Some(fleet) = &mut self.fleet else { return };
        if let Some(state) = &fleet.state {
            let driver = (*next.last.by == *RAMP).then(|| self.steering.lease.number().unwrap_or(1));
            let mut told = next.clone();
            // Elsewhere nobody knows which machine is meant.
            let at_host = |by: &str| format!("{by} at {}", fleet.host).into();
            told.last.by = at_host(&told.last.by);
            if told.hold != before.hold {
                told.hold.iter_mut().for_each(|hold| hold.by.by = at_host(&hold.by.by));
            }
            let shared = state.moved(before, &told, &fleet.board.name, driver);
            fleet.before_step = match (driver, fleet.driver()) {
                (Some(_), None) => Some(state.clone()),
                (Some(_), Some(_)) => fleet.before_step.take(),
                // Somebody's word, and not the ramp's: that is refused to nobody.
                (None, _) => None,
            };
            next.revision = shared.revision;
            fleet.state = Some(shared);
            fleet.mean(next, driver);
        } else {
            fleet.mean(next, None);
        }
    }

    /// What was found in Redis takes effect.
    pub(super) fn take_up_fleet(&mut self, found: Found) {
        let config = Arc::clone(&self.shared.snapshot.load().config);
        let local = self.steering.state();
        let Some(fleet) = &mut self.fleet else { return };
        let (me, mut driver) = (fleet.board.name.clone(), fleet.driver());
        let state = match (found.what, fleet.state.take()) {
            (What::Nothing, None) => {
                fleet.founding = true;
                Some(FleetState::first(&local, &me))
            }
            (What::Nothing, Some(state)) => Some(state),
            (What::Fenced(None), None) => None,
            // Others were there first: our own word was only ours.
            (What::Record(record) | What::Fenced(Some(record)), Some(_)) if fleet.founding => {
                fleet.founding = false;
                Some(record.joined_by(&local, &me))
            }
            (What::Record(record) | What::Fenced(Some(record)), None) => Some(record.joined_by(&local, &me)),
            (What::Fenced(found), Some(state)) => {
                driver = None;
                Some(match fleet.before_step.take() {
                    Some(before) => {
                        tracing::warn!("another sidecar drives the ramp: the step that was made here is taken back");
                        state.conceding_to(&before, found.as_ref().unwrap_or(&before))
                    }
                    // Somebody's word came after it.
                    None => found.map_or_else(|| state.clone(), |found| state.merge(&found)),
                })
            }
            (What::Record(record), Some(state)) => {
                fleet.before_step = fleet.before_step.take().map(|before| before.merge(&record));
                Some(state.merge(&record))
            }
            (What::Written, state) => {
                (fleet.founding, fleet.before_step) = (false, None);
                driver = None;
                state
            }
        };
        fleet.state = state;
        self.follow_fleet(&config, driver);
        // Who waits may be gone.
        let _ = found.done.send(());
    }

    /// Makes what the fleet says what is in force here, if it is not.
    pub(super) fn follow_fleet(&mut self, config: &Config, driver: Option<u64>) {
        let local = self.steering.state();
        let Some(fleet) = &self.fleet else { return };
        let next = match &fleet.state {
            Some(state) => state.in_force_at(&local, &config.rules),
            None => (*local).clone(),
        };
        fleet.mean(&next, driver);
        if next == *local {
            return;
        }
        let holds = |state: &EnforcementState, name: &str| state.rules.get(name).is_some_and(|rule| rule.held);
        let comes = (local.hold.is_none() && next.hold.is_some())
            || next.rules.keys().any(|name| holds(&next, name) && !holds(&local, name));
        let ends = local.is_held() && !next.is_held();
        let same =
            (next.in_force, &next.rules, next.hold.is_some()) == (local.in_force, &local.rules, local.hold.is_some());
        // In other words only: who said it, and how often.
        if same {
            drop(self.steering.write(&next, Marker::Keep));
            return;
        }
        let marker = marker_after(&local, &next);
        let event = if comes || ends { Event::Rollback } else { Event::Mode };
        drop(self.take_effect(next, event, marker));
    }

    /// Does another sidecar of the fleet drive a ramp? Then what is seen here takes it back, too.
    pub(super) fn is_ramped_elsewhere(&self, now: Instant) -> bool {
        self.steering.standing.fleet().is_some_and(|board| board.is_ramped_elsewhere(now))
    }

    /// After a reload: Redis may be elsewhere, and rules may have come that the fleet has a word on.
    pub(super) fn reload_fleet(&mut self, config: &Config) {
        let Some(fleet) = &self.fleet else { return };
        if let Some(redis) = &config.keys.redis {
            fleet.meant.send_if_modified(|meant| {
                let differs = *meant.redis != *redis;
                if differs {
                    meant.redis = Arc::new(redis.clone());
                }
                differs
            });
        }
        let driver = fleet.driver();
        self.follow_fleet(config, driver);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::enforcement::{Enforcement, Mode, Percentage, Sampling};
    use crate::rollout::state::{Move, RuleState};

    #[test]
    fn a_lift_of_the_whole_takes_the_marker_with_it_also_where_a_rule_stays_held() {
        let by = || Move { at: 1, by: "uid:0".into(), why: "a test".into() };
        let enforce = Enforcement { mode: Mode::Log, percentage: Percentage::FULL, sampling: Sampling::Call };
        let free = EnforcementState::first(enforce, by());
        let held = free.roll_back(RollbackKind::Emergency, by());
        let with_rule = |state: &EnforcementState| {
            let rule = RuleState { percentage: Percentage::NONE, configured: None, held: true };
            EnforcementState { rules: [("a".into(), rule)].into(), ..state.clone() }
        };
        assert_eq!(marker_after(&with_rule(&held), &with_rule(&free)), Marker::Remove);
        assert_eq!(marker_after(&held, &free), Marker::Remove);
        assert_eq!(marker_after(&with_rule(&free), &free), Marker::Keep, "the whole was not rolled back");
        assert!(matches!(marker_after(&free, &held), Marker::Make(_)));
    }

    #[test]
    fn the_name_stays_with_the_machine_and_its_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let name = fleet_name(directory.path(), "vm20").unwrap();
        assert!(name.starts_with("vm20-") && name.len() == 21, "{name}");
        assert_eq!(fleet_name(directory.path(), "vm20").unwrap(), name);
        let copied = fleet_name(directory.path(), "vm21").unwrap();
        assert!(copied.starts_with("vm21-") && copied[5..] != name[5..]);
        std::fs::write(directory.path().join("fleet-name"), "vm21-../..").unwrap();
        assert_ne!(fleet_name(directory.path(), "vm21").unwrap(), copied);
    }
}
