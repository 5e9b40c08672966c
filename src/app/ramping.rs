//! How is the rollout watched? Once a second, on the control thread: counters are sampled, the ramp makes its step, and what is over its
//! limit is taken back or told.
//!
//! 1. A sample goes into the windows; in log mode, where no rollback holds, what it added goes into the baseline. Where judgement begins
//!    anew ([`Ground`]), by whomever, the windows are emptied.
//! 2. A ramp that runs makes one step ([`Ramp::step`]). To advance takes effect and is written down at once, in two files; to roll back takes
//!    effect before anything else.
//! 3. Without one, the same rows are judged, and who should look is told (`alerts`).
//!
//! A ramp ends when somebody else changes what it put in force: an operator's word is the last one. After a crash it goes on where it was,
//! if what is in force is its stage still, or the next or the one before: it may have died between the two writes, whichever was first
//! ([`stage::taken_up`]).

use super::start::App;
use crate::admin::ramp_shown::RampShown;
use crate::clock;
use crate::config::{Config, Side};
use crate::policy::enforcement::Mode;
use crate::rollout::baseline::Baseline;
use crate::rollout::evidence::{Evidence, Signal};
use crate::rollout::ground::Ground;
use crate::rollout::health::Health;
use crate::rollout::ramp::{Figures, Plan, Ramp, RampStep};
use crate::rollout::stage;
use crate::rollout::state::{EnforcementState, RollbackKind};
use crate::rollout::trigger::Scope;
use crate::state::ramp::{Ended, Kept, Maintenance, RampFiles};
use crate::state::writer::Marker;
use crate::telemetry::audit::record::{Event, Fact};
use crate::telemetry::notify::Notifier;
use crate::upstream::health::UpstreamHealth;
use arc_swap::ArcSwap;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often all of it happens.
pub(super) const WATCH: Duration = Duration::from_secs(1);
/// How often what goes on is written down, besides every move.
const SAVE_RAMP: Duration = Duration::from_secs(5);
const SAVE_BASELINE: Duration = Duration::from_secs(60);
/// An alert that was gone for so long is told anew.
const GONE: Duration = Duration::from_secs(300);

/// What is known of the rollout, and remembered.
pub(super) struct Ramping {
    pub(super) files: RampFiles,
    pub(super) health: Health,
    pub(super) baseline: Baseline,
    pub(super) ramp: Option<Ramp>,
    pub(super) ended: Option<Ended>,
    /// Judgement is suspended until then.
    pub(super) maintenance: Option<Instant>,
    pub(super) shown: Arc<ArcSwap<RampShown>>,
    pub(super) alerts: BTreeMap<String, Alert>,
    pub(super) notifier: Notifier,
    pub(super) listeners: Vec<(Arc<str>, Vec<Arc<UpstreamHealth>>)>,
    last: Option<Instant>,
    /// What the figures so far were gathered under.
    ground: Option<Ground>,
    /// Of the baseline, less than a second.
    rest: Duration,
    saved: (Instant, Instant),
    /// What was found wrong at the start.
    problems: Vec<String>,
}

/// Something that an operator should look at.
pub(super) struct Alert {
    pub(super) text: String,
    pub(super) seen: Instant,
}

impl Ramping {
    /// Reads what is remembered. `upstreams`: of each listener.
    pub(super) fn begin<'u>(
        directory: &Path,
        config: &Config,
        upstreams: impl Iterator<Item = (Side, &'u [Arc<UpstreamHealth>])>,
        state: &EnforcementState,
    ) -> io::Result<Ramping> {
        let files = RampFiles::start(directory)?;
        let (kept, broken_ramp) = files.ramp();
        let (baseline, broken_baseline) = files.baseline();
        let guarded = upstreams.filter(|(side, _)| matches!(side, Side::Inbound(_)));
        let listeners = guarded.map(|(side, all)| (config.listen(side).to_string().into(), all.to_vec())).collect();
        let now = clock::monotonic();
        let mut ramping = Ramping {
            files,
            health: Health::default(),
            baseline,
            ramp: None,
            ended: kept.ended,
            maintenance: kept.maintenance.and_then(|kept| kept.left(clock::unix_seconds())).map(|left| now + left),
            shown: Arc::default(),
            alerts: BTreeMap::new(),
            notifier: Notifier::default(),
            listeners,
            last: None,
            ground: None,
            rest: Duration::ZERO,
            saved: (now, now),
            problems: broken_ramp.into_iter().chain(broken_baseline).collect(),
        };
        if let Some((mut progress, stages)) = kept.running {
            match stage::taken_up(&stages, progress.stage, state, &config.rules) {
                Some(stage) if stage == progress.stage => {}
                Some(stage) => (progress.stage, progress.served_ms) = (stage, 0),
                None => {
                    let why = "what is in force was changed while the sidecar did not run";
                    ramping.ended = Some(ended("overtaken", &state.last.by, why, None));
                    return Ok(ramping);
                }
            }
            ramping.ramp = Some(Ramp::start(Plan { stages, when: config.ramp.when }, progress));
        }
        Ok(ramping)
    }

    pub(super) fn notified(&self) -> Arc<crate::telemetry::notify::Notified> {
        self.notifier.notified()
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.maintenance.is_some()
    }

    /// What is to be remembered now.
    pub(super) fn kept(&self) -> Kept {
        let running = self.ramp.as_ref().map(|ramp| (ramp.progress().clone(), ramp.plan().stages.clone()));
        let left = self.maintenance.map(|until| until.saturating_duration_since(clock::monotonic()));
        let maintenance = left.map(|left| Maintenance::lasting(left, clock::unix_seconds()));
        Kept { running, ended: self.ended.clone(), maintenance }
    }

    fn end(&mut self, how: &str, by: &str, why: &str, evidence: Option<Evidence>) {
        self.ramp = None;
        self.ended = Some(ended(how, by, why, evidence));
        drop(self.files.write_ramp(&self.kept()));
    }

    pub(super) fn usable_baseline(&self, without: bool, min_requests: u64) -> Option<&Baseline> {
        (!without && self.baseline.missing(min_requests).is_none()).then_some(&self.baseline)
    }
}

pub(super) fn ended(how: &str, by: &str, why: &str, evidence: Option<Evidence>) -> Ended {
    Ended { how: how.to_owned(), at: clock::unix_seconds(), by: by.to_owned(), why: why.to_owned(), evidence }
}

impl App {
    /// Says what was found at the start.
    pub(super) fn take_up_ramp(&mut self) {
        for problem in std::mem::take(&mut self.ramping.problems) {
            tracing::error!(problem, "what the rollout remembered is lost; what is in force stays in force");
        }
        if let Some(ramp) = &self.ramping.ramp {
            let (stage, served) = (ramp.stage().to_string(), ramp.progress().served_ms / 1_000);
            tracing::warn!(stage, served_seconds = served, "a ramp goes on in the middle of its stage");
            self.record(Event::Ramp, "process", "goes on after a start".to_owned(), self.ramp_facts());
        }
        self.show_ramp(clock::monotonic());
    }

    /// One look; see the module.
    pub(super) fn watch_rollout(&mut self) {
        let (now, unix) = (clock::monotonic(), clock::unix_seconds());
        let config = Arc::clone(&self.shared.snapshot.load().config);
        self.sample(now, unix);
        let ramping = &mut self.ramping;
        if ramping.maintenance.is_some_and(|until| now >= until) {
            ramping.maintenance = None;
            ramping.health.forget(now);
            drop(ramping.files.write_ramp(&ramping.kept()));
            self.record(Event::Ramp, "process", "maintenance is over".to_owned(), Vec::new());
        }
        let state = self.steering.state();
        let ground = Ground::of(&state, self.is_ramped_elsewhere(now));
        if self.ramping.ground.replace(ground).is_some_and(|before| ground.begins_anew_after(before)) {
            self.ramping.health.forget(now);
        }
        self.end_if_overtaken();
        match self.ramping.ramp.take() {
            Some(ramp) => self.step(ramp, &config, now),
            None => self.judge_at_rest(&config, now),
        }
        self.steering.lease.want(self.ramping.ramp.is_some());
        self.tell_of_silence(&config, now);
        self.ramping.alerts.retain(|_, alert| now.saturating_duration_since(alert.seen) < GONE);
        self.save(now);
        self.show_ramp(now);
    }

    /// Takes the counters of now.
    pub(super) fn sample(&mut self, now: Instant, unix_seconds: u64) {
        let state = self.steering.state();
        let ramping = &mut self.ramping;
        let listeners = ramping.listeners.iter().map(|(name, all)| (Arc::clone(name), all.as_slice()));
        let added = ramping.health.take(&self.shared.metrics.health_sample(listeners), now);
        let passed = ramping.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if state.in_force.mode == Mode::Log && state.hold.is_none() && !ramping.is_suspended() {
            ramping.rest += passed;
            let seconds = ramping.rest.as_secs();
            ramping.rest -= Duration::from_secs(seconds);
            ramping.baseline.note(seconds, added.iter().map(|(id, counts)| (&**id, *counts)), unix_seconds);
        }
    }

    /// Before a move takes effect: where judgement begins anew with it, what was counted until now is not held against it.
    pub(super) fn leave_ground(&mut self, next: &EnforcementState) {
        let now = clock::monotonic();
        let elsewhere = self.is_ramped_elsewhere(now);
        let ground = Ground::of(next, elsewhere);
        if ground.begins_anew_after(Ground::of(&self.steering.state(), elsewhere)) {
            self.sample(now, clock::unix_seconds());
            self.ramping.health.forget(now);
            self.ramping.ground = Some(ground);
        }
    }

    /// Did somebody else change what the ramp that runs had put in force? Then it has ended.
    pub(super) fn end_if_overtaken(&mut self) {
        let Some(ramp) = self.ramping.ramp.take() else { return };
        let (config, state) = (Arc::clone(&self.shared.snapshot.load().config), self.steering.state());
        if stage::in_force(&ramp.plan().stages, &state, &config.rules) == Some(ramp.progress().stage) {
            self.ramping.ramp = Some(ramp);
            return;
        }
        let why = format!("what the ramp had put in force was changed: {}", state.last.why);
        self.end_ramp(&ramp, "overtaken", &state.last.by, &why, None);
    }

    fn step(&mut self, mut ramp: Ramp, config: &Config, now: Instant) {
        ramp.judge_by(config.ramp.when);
        let ramping = &self.ramping;
        let progress = ramp.progress();
        let figures = Figures {
            health: &ramping.health,
            baseline: ramping.usable_baseline(progress.without_baseline, config.ramp.when.min_requests),
            maintenance: ramping.is_suspended(),
        };
        let left = ramp.stage().to_string();
        let stays = ramp.clone();
        match ramp.step(figures, now, clock::unix_seconds()) {
            RampStep::Stay { .. } => self.ramping.ramp = Some(ramp),
            // A rollback asks nobody; a step forward is the driver's alone.
            RampStep::Advance if !self.steering.lease.holds(now) => self.ramping.ramp = Some(stays),
            RampStep::Advance => {
                let why = format!("stage {left} was healthy for its whole time, on to {}", ramp.stage());
                if let Err(refused) = self.put_in_force(ramp, "ramp", &why, false) {
                    tracing::error!(%refused, "the ramp cannot advance");
                }
            }
            RampStep::Finish => self.end_ramp(&ramp, "finished", "ramp", "every stage is over", None),
            RampStep::RollBack(evidence) => self.roll_back_by_itself(Some(&ramp), *evidence, config),
        }
    }

    /// Puts the stage a ramp is in in force. Where that cannot be, the ramp has ended.
    pub(super) fn put_in_force(
        &mut self,
        ramp: Ramp,
        by: &str,
        why: &str,
        lifts: bool,
    ) -> Result<super::steering::Report, crate::rollout::state::MoveRefused> {
        let config = Arc::clone(&self.shared.snapshot.load().config);
        let state = self.steering.state();
        let moving = super::steering::moving(by, why);
        let next = match lifts && state.is_held() {
            true => state.lift(moving.clone()),
            false => Ok((*state).clone()),
        };
        let (stages, stage) = (&ramp.plan().stages, ramp.progress().stage);
        let next = next.and_then(|next| stage::put_in_force(stages, stage, &next, &config.rules, &moving));
        match next {
            Ok(next) => {
                let now = clock::monotonic();
                self.ramping.health.begin_stage(now);
                self.ramping.ramp = Some(ramp);
                drop(self.ramping.files.write_ramp(&self.ramping.kept()));
                let marker = if lifts && state.is_held() { Marker::Remove } else { Marker::Keep };
                let report = self.change(next, Event::Ramp, marker);
                self.show_ramp(now);
                Ok(report)
            }
            Err(refused) => {
                self.end_ramp(&ramp, "aborted", by, &refused.to_string(), None);
                Err(refused)
            }
        }
    }

    /// The ramp is over, however.
    pub(super) fn end_ramp(&mut self, ramp: &Ramp, how: &str, by: &str, why: &str, evidence: Option<Evidence>) {
        let mut facts: Vec<(&'static str, Fact)> =
            vec![("ramp", how.into()), ("stage", ramp.stage().to_string().into())];
        facts.extend(evidence.as_ref().map(evidence_facts).unwrap_or_default());
        tracing::warn!(how, by, why, stage = %ramp.stage(), "the ramp has ended");
        self.ramping.end(how, by, why, evidence);
        self.record(Event::Ramp, by, why.to_owned(), facts);
    }

    /// In memory first, then everything else.
    pub(super) fn roll_back_by_itself(&mut self, ramp: Option<&Ramp>, evidence: Evidence, config: &Config) {
        let why = evidence.to_string();
        let before = self.steering.state();
        let only = match (config.ramp.when.scope, evidence.signal) {
            (Scope::Rule, Signal::ServiceFailing) => self.without_rules(&evidence.rules, config, &why),
            (Scope::Rule | Scope::All, _) => None,
        };
        let scope = if only.is_some() { "rule" } else { "all" };
        match only {
            Some(next) => drop(self.change(next, Event::Rollback, Marker::Keep)),
            None => drop(self.roll_back(RollbackKind::Automatic, "health", &why)),
        }
        let state = self.steering.state();
        tracing::error!(signal = evidence.signal.code(), why, scope, "rolled back by itself");
        match ramp {
            Some(ramp) => self.end_ramp(ramp, "rolled_back", "health", &why, Some(evidence.clone())),
            None => self.record(Event::Ramp, "health", why.clone(), evidence_facts(&evidence)),
        }
        let mut message = self.rollback_message(&before, &state, RollbackKind::Automatic.code(), "health", &why);
        message["scope"] = json!(scope);
        message["evidence"] = json!(evidence);
        self.ramping.notifier.tell(&config.ramp.notify, &message);
    }

    fn without_rules(&self, rules: &[String], config: &Config, why: &str) -> Option<EnforcementState> {
        if rules.is_empty() {
            return None;
        }
        let by = super::steering::moving("health", why);
        let start = (*self.steering.state()).clone();
        let next = rules.iter().try_fold(start, |state, rule| state.roll_back_rule(rule, &config.rules, by.clone()));
        next.ok()
    }

    fn save(&mut self, now: Instant) {
        let (ramp, baseline) = &mut self.ramping.saved;
        let ramp_is_due = now.saturating_duration_since(*ramp) >= SAVE_RAMP;
        let baseline_is_due = now.saturating_duration_since(*baseline) >= SAVE_BASELINE;
        if ramp_is_due {
            *ramp = now;
        }
        if baseline_is_due {
            *baseline = now;
            self.ramping.files.write_baseline(&self.ramping.baseline);
        }
        if ramp_is_due && self.ramping.ramp.is_some() {
            drop(self.ramping.files.write_ramp(&self.ramping.kept()));
        }
    }

    /// Writes down what is usual, before the end.
    pub(super) fn keep_baseline(&self) {
        self.ramping.files.write_baseline(&self.ramping.baseline);
        if self.ramping.ramp.is_some() {
            drop(self.ramping.files.write_ramp(&self.ramping.kept()));
        }
    }

    pub(super) fn ramp_facts(&self) -> Vec<(&'static str, Fact)> {
        let Some(ramp) = &self.ramping.ramp else { return Vec::new() };
        vec![
            ("stage", ramp.stage().to_string().into()),
            ("served_seconds", (ramp.progress().served_ms / 1_000).into()),
        ]
    }
}

fn evidence_facts(evidence: &Evidence) -> Vec<(&'static str, Fact)> {
    let mut facts: Vec<(&'static str, Fact)> = vec![
        ("signal", evidence.signal.code().into()),
        ("window_seconds", evidence.window_seconds.into()),
        ("samples", evidence.samples.into()),
        ("failed", evidence.failed.into()),
    ];
    facts.extend(evidence.rate.map(|rate| ("rate_basis_points", rate.0.into())));
    facts.extend(evidence.limit.map(|limit| ("limit_basis_points", limit.0.into())));
    if !evidence.services.is_empty() {
        facts.push(("services", evidence.services.join(" ").into()));
    }
    if !evidence.rules.is_empty() {
        facts.push(("rules", evidence.rules.join(", ").into()));
    }
    facts
}
