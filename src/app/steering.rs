//! How does enforcement change while it runs?
//!
//! One way for everybody: [`App::change`], on the control thread, so that no two moves cross. In this order:
//!
//! 1. In memory: the next request is judged by it.
//! 2. To the thread that writes it down ([`crate::state::writer`]); whoever reports the move waits for that.
//! 3. Log, audit record, metrics, the service manager's line.
//!
//! Who may ask for one: an operator through the admin socket ([`Order`]), an edited configuration, SIGUSR2, the marker file, the
//! ramp. Nothing here awaits: a disk or a Redis that hangs delays no rollback.

use super::start::App;
use super::summary;
use crate::clock;
use crate::config::Config;
use crate::policy::enforcement::{Enforcement, Mode, Percentage};
use crate::rollout::state::{Edit, EnforcementState, Move, RollbackKind};
use crate::rollout::stored;
use crate::snapshot::Snapshot;
use crate::state::file::{Found, StateFiles};
use crate::state::lease::DriverLease;
use crate::state::standing::Standing;
use crate::state::writer::{Marker, StateWriter, Write};
use crate::systemd;
use crate::telemetry::audit::record::{Event, Fact};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a report of a move waits for the disk. Then it says that the disk did not take it.
pub(super) const DISK: Duration = Duration::from_secs(10);

/// What changes enforcement, and keeps it.
pub(super) struct Steering {
    files: StateFiles,
    writer: StateWriter,
    pub(super) standing: Arc<Standing>,
    /// May this sidecar drive a ramp?
    pub(super) lease: Arc<DriverLease>,
}

/// What was found at the start, for the log and the record.
pub(super) struct Begun {
    pub(super) steering: Steering,
    /// Why it is not known what was in force.
    pub(super) unknown: Option<String>,
    /// What the configuration changed since it was last loaded.
    pub(super) edit: Edit,
    /// Was the marker of a rollback there, and the state did not say so?
    pub(super) by_marker: bool,
}

impl Begun {
    /// Reads what was in force, and lays the configuration's edits over it. `used_before`: was this state directory?
    pub(super) fn read(config: &Config, used_before: bool) -> io::Result<Begun> {
        let files = StateFiles::of(&config.state_dir);
        let by = |by: &str, why: &str| Move { at: clock::unix_seconds(), by: by.into(), why: why.into() };
        let mut unknown = None;
        let (mut state, edit) = match files.read(used_before) {
            Found::State(state) => state.load(config.enforcement, &config.rules, by("file", EDITED)),
            Found::Nothing => {
                let first = "the configuration's word at the first start";
                (EnforcementState::first(config.enforcement, by("process", first)), Edit::default())
            }
            Found::Unknown(why) => {
                let why = why.to_string();
                let state = EnforcementState::unknown(config.enforcement, by("process", &why));
                unknown = Some(why);
                (state, Edit::default())
            }
        };
        let marker = files.marker().filter(|_| !is_rolled_back(&state));
        if let Some(why) = &marker {
            state = state.roll_back(RollbackKind::Emergency, by("marker", marker_reason(why)));
        }
        if unknown.is_some()
            && let Err(error) = files.set_aside()
        {
            tracing::warn!(%error, "the state that cannot be relied on could not be set aside");
        }
        // Before the first request, and by ourselves: who is killed a moment later finds it.
        let written = marker.as_ref().map_or(Ok(()), |_| files.mark(&state.last.why));
        let written = written.and_then(|()| files.write(&stored::to_text(&state)));
        let writer = StateWriter::start(files.clone())?;
        let standing = Arc::new(Standing::new(state));
        if let Err(error) = written {
            let problem =
                format!("cannot write the state of enforcement in {}: {error}", files.directory().display());
            tracing::error!(problem, "what is in force is in memory only: it would not survive this process");
            standing.in_trouble(problem);
        }
        let lease = Arc::new(DriverLease::new(config.shared_key.is_some()));
        let steering = Steering { files, writer, standing, lease };
        Ok(Begun { steering, unknown, edit, by_marker: marker.is_some() })
    }
}

const EDITED: &str = "the configuration was edited";

/// Does a rollback hold it at `log`? Where it is only not known what was in force, nobody rolled back.
fn is_rolled_back(state: &EnforcementState) -> bool {
    let held = state.hold.as_ref().is_some_and(|hold| hold.kind != RollbackKind::Unknown);
    held && state.in_force.mode == Mode::Log
}

fn marker_reason(text: &str) -> &str {
    if text.is_empty() { "the marker file is there" } else { text }
}

impl Steering {
    /// Begins with this instead of what was read.
    pub(super) fn take(&mut self, state: EnforcementState) {
        self.standing = Arc::new(Standing::new(state));
    }

    /// What is in force.
    pub(super) fn state(&self) -> Arc<EnforcementState> {
        self.standing.state()
    }

    /// What counts for each rule of this configuration beside its own word.
    pub(super) fn rule_percentages(&self, config: &Config) -> Arc<[Option<Percentage>]> {
        self.state().own_percentages(&config.rules).into()
    }

    pub(super) fn write(&self, state: &EnforcementState, marker: Marker) -> Report {
        self.standing.moved(state.clone());
        let mut durable = self.writer.write(Write { state: stored::to_text(state), marker });
        let standing = Arc::clone(&self.standing);
        let (report, reported) = oneshot::channel();
        tokio::spawn(async move {
            let ended = |_| Err("the thread that writes the state has ended".to_owned());
            let mut report = Some(report);
            let result = match tokio::time::timeout(DISK, &mut durable).await {
                Ok(result) => result.unwrap_or_else(ended),
                Err(_) => {
                    let problem =
                        format!("the disk did not take the state of enforcement within {} s", DISK.as_secs());
                    tracing::error!(problem, "what is in force is in memory only until it does");
                    standing.in_trouble(problem.clone());
                    // Who asked is told now; what the disk says matters all the same.
                    let _ = report.take().map(|report| report.send(Err(problem)));
                    durable.await.unwrap_or_else(ended)
                }
            };
            standing.written(&result);
            if let Err(problem) = &result {
                tracing::error!(problem, "what is in force is in memory only: it would not survive this process");
            }
            // Nobody may be waiting for it.
            let _ = report.map(|report| report.send(result));
        });
        reported
    }
}

/// Resolves when a move is durable, or is known not to be.
pub(super) type Report = oneshot::Receiver<Result<(), String>>;

impl App {
    /// Says what was found at the start.
    pub(super) fn take_up_state(&mut self, unknown: Option<String>, edit: &Edit, by_marker: bool) {
        let state = self.steering.state();
        if let Some(problem) = &unknown {
            tracing::error!(
                problem,
                mode = state.in_force.mode.code(),
                percentage = state.in_force.percentage.value(),
                "it is not known what was in force: the configuration's word counts, and is held until an operator lifts it"
            );
        }
        if edit.held_back {
            warn_held_back();
        }
        if let Some(hold) = &state.hold {
            tracing::warn!(
                kind = hold.kind.code(),
                by = &*hold.by.by,
                why = &*hold.by.why,
                "a rollback holds: nothing is switched on before an operator lifts it"
            );
        }
        if let Some(why) = unknown {
            self.record(Event::Mode, "process", why, summary::facts(&self.shared.snapshot.load()));
        }
        if edit.is_any() {
            let facts = summary::facts(&self.shared.snapshot.load());
            self.record(Event::Mode, "file", EDITED.to_owned(), facts);
        }
        if by_marker {
            self.record_rollback(&state, state.hold.as_ref().map_or(state.in_force, |hold| hold.before));
            self.announce_a_rollback(&EnforcementState { hold: None, ..(*state).clone() }, &state);
        }
    }

    /// Makes `next` what is in force. The one way; see the module.
    pub(super) fn change(&mut self, mut next: EnforcementState, event: Event, marker: Marker) -> Report {
        let before = self.steering.state();
        self.share(&before, &mut next);
        let report = self.take_effect(next, event, marker);
        self.announce_a_rollback(&before, &self.steering.state());
        report
    }

    /// The same, for what the fleet says already.
    pub(super) fn take_effect(&mut self, next: EnforcementState, event: Event, marker: Marker) -> Report {
        self.leave_ground(&next);
        let before = self.steering.state();
        let running = self.shared.snapshot.load_full();
        let snapshot = Arc::new(Snapshot {
            enforcement: next.in_force,
            rule_percentages: next.own_percentages(&running.config.rules).into(),
            ..Snapshot::clone(&running)
        });
        self.shared.snapshot.store(Arc::clone(&snapshot));
        let report = self.steering.write(&next, marker);
        self.shared.metrics.set_in_force(next.in_force, snapshot.generation);
        let Move { by, why, .. } = &next.last;
        tracing::warn!(
            by = &**by,
            why = &**why,
            mode = next.in_force.mode.code(),
            percentage = next.in_force.percentage.value(),
            was_mode = before.in_force.mode.code(),
            was_percentage = before.in_force.percentage.value(),
            held = next.is_held(),
            revision = next.revision,
            "enforcement changed"
        );
        match event {
            Event::Rollback => self.record_rollback(&next, before.in_force),
            _ => self.record(event, by, why.to_string(), moved_facts(&snapshot, before.in_force, &next)),
        }
        systemd::ready(&summary::status(&snapshot));
        report
    }

    fn record_rollback(&self, state: &EnforcementState, before: Enforcement) {
        let mut facts = moved_facts(&self.shared.snapshot.load(), before, state);
        let by_itself = &*state.last.by == "health";
        let (kind, word) = match &state.hold {
            Some(hold) => (Some(hold.kind), hold.kind.code()),
            // Only of some rules: they are held, and the whole is not.
            None if state.is_held() && by_itself => (Some(RollbackKind::Automatic), "rule"),
            None if state.is_held() => (Some(RollbackKind::Emergency), "rule"),
            None => (None, "lift"),
        };
        if let Some(kind) = kind {
            self.shared.metrics.rolled_back(kind);
        }
        facts.push(("kind", word.into()));
        self.record(Event::Rollback, &state.last.by, state.last.why.to_string(), facts);
    }

    /// Back to `log`, at once, held.
    pub(super) fn roll_back(&mut self, kind: RollbackKind, by: &str, why: &str) -> Report {
        let by = moving(by, why);
        let marker = Marker::Make(format!("{} ({})", by.why, by.by));
        let next = self.steering.state().roll_back(kind, by);
        self.change(next, Event::Rollback, marker)
    }

    /// A configuration was loaded, and takes effect with the next snapshot: what of it is an edit of enforcement is written down.
    /// Was anything?
    pub(super) fn edit(&mut self, config: &Config, who: &str) -> bool {
        let before = self.steering.state();
        let (mut next, edit) = before.load(config.enforcement, &config.rules, moving(who, EDITED));
        if edit.held_back {
            warn_held_back();
        }
        if edit.is_any() {
            self.share(&before, &mut next);
        }
        if *before != next {
            drop(self.steering.write(&next, Marker::Keep));
        }
        edit.is_any()
    }

    /// What the disk did not take is given to it again, until it does: nobody may be there to make another move.
    pub(super) fn write_again(&mut self) {
        let standing = &self.steering.standing;
        if standing.trouble().is_none() || standing.is_writing() {
            return;
        }
        let state = standing.state();
        let marker = match &state.hold {
            Some(hold) if is_rolled_back(&state) => Marker::Make(format!("{} ({})", hold.by.why, hold.by.by)),
            Some(_) | None => Marker::Keep,
        };
        drop(self.steering.write(&state, marker));
    }

    /// An order by signal: of whoever made the marker file first, or of somebody who says no more.
    pub(super) fn roll_back_by_signal(&mut self) {
        match self.steering.files.marker() {
            Some(why) if !why.is_empty() => drop(self.roll_back(RollbackKind::Emergency, "marker", &why)),
            Some(_) | None => drop(self.roll_back(RollbackKind::Emergency, "signal", "signal USR2")),
        }
    }

    /// Whoever cannot reach us may have made the marker file.
    pub(super) fn look_for_marker(&mut self) {
        let standing = &self.steering.standing;
        let state = standing.state();
        if standing.is_writing() || is_rolled_back(&state) {
            return;
        }
        if let Some(why) = self.steering.files.marker() {
            drop(self.roll_back(RollbackKind::Emergency, "marker", marker_reason(&why)));
        }
    }
}

/// An edit of the configuration that a rollback holds back.
pub(super) fn warn_held_back() {
    tracing::warn!(
        "the configuration was edited to enforce, and a rollback holds: it stays in mode log until an operator lifts the \
         rollback (`countersign rollback --lift --reason \"…\"`) and switches on (`countersign enforce N%`)"
    );
}

pub(super) fn moving(by: &str, why: &str) -> Move {
    Move { at: clock::unix_seconds(), by: by.into(), why: why.into() }
}

pub(super) fn moved_facts(
    snapshot: &Snapshot,
    before: Enforcement,
    state: &EnforcementState,
) -> Vec<(&'static str, Fact)> {
    let mut facts = summary::facts(snapshot);
    facts.push(("before_mode", before.mode.code().into()));
    facts.push(("before_percentage", u64::from(before.percentage.value()).into()));
    facts.push(("held", if state.is_held() { "yes" } else { "no" }.into()));
    facts.push(("revision", state.revision.into()));
    let rules: Vec<String> = state.rules.iter().map(|(name, rule)| format!("{name}={}", rule.percentage)).collect();
    if !rules.is_empty() {
        facts.push(("rule_percentages", rules.join(", ").into()));
    }
    facts
}
