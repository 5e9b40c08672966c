//! What an operator may ask of the ramp, and how it stands: start, pause, resume, advance, abort, maintenance.

use super::ramping::Ramping;
use super::start::App;
use super::steering::Report;
use crate::admin::orders::{Done, OrderRefused, RampRefusal, RampWish, StartRamp};
use crate::admin::ramp_shown::{BaselineShown, CallsShown, MissingShown, RampShown, Running, StageShown};
use crate::clock;
use crate::policy::enforcement::Mode;
use crate::rollout::health::{Counts, Span};
use crate::rollout::ramp::{Plan, Progress, Ramp};
use crate::rollout::stage::{self, By};
use crate::rollout::state::MoveRefused;
use crate::telemetry::audit::record::Event;
use crate::telemetry::time::rfc3339_seconds;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

impl App {
    /// Carries it out, and answers when it is durable.
    pub(super) fn obey_ramp(
        &mut self,
        by: &str,
        wish: RampWish,
        answer: oneshot::Sender<Result<Done, OrderRefused>>,
    ) {
        let done = match wish {
            RampWish::Start(start) => self.start_ramp(by, start),
            RampWish::Pause { why } => self.change_ramp(by, &why, "paused", Ramp::pause),
            RampWish::Resume { why } => self.change_ramp(by, &why, "resumed", Ramp::resume),
            RampWish::Advance { why } => self.advance_ramp(by, &why),
            RampWish::Abort { why } => self.abort_ramp(by, &why),
            RampWish::Maintenance { lasts, why } => Ok(self.suspend(by, lasts, &why)),
        };
        let kept = self.ramping.files.write_ramp(&self.ramping.kept());
        self.show_ramp(clock::monotonic());
        let shown = self.ramping.shown.load_full();
        tokio::spawn(async move {
            let answered = match done {
                Ok(report) => {
                    let gone = || Err("the sidecar is stopping".to_owned());
                    let moved = match report {
                        Some(report) => report.await.unwrap_or_else(|_| gone()),
                        None => Ok(()),
                    };
                    let written = tokio::time::timeout(super::steering::DISK, kept).await;
                    let written = written.map_or_else(
                        |_| Err("the disk did not take it".to_owned()),
                        |done| done.unwrap_or_else(|_| gone()),
                    );
                    Ok(Done::Ramp { shown, durable: moved.and(written) })
                }
                Err(refused) => Err(refused),
            };
            // Who asked may have gone.
            let _ = answer.send(answered);
        });
    }

    fn start_ramp(&mut self, by: &str, start: StartRamp) -> Result<Option<Report>, OrderRefused> {
        let StartRamp { by: list, restart, lift, without_baseline, why } = start;
        // Who has just changed what is in force may start anew at once.
        self.end_if_overtaken();
        if let Some(ramp) = &self.ramping.ramp {
            return Err(RampRefusal::Running(ramp.stage().to_string()).into());
        }
        if self.is_ramped_elsewhere(clock::monotonic()) {
            return Err(RampRefusal::RunningElsewhere.into());
        }
        let config = Arc::clone(&self.shared.snapshot.load().config);
        let state = self.steering.state();
        if let (Some(hold), false) = (&state.hold, lift) {
            return Err(OrderRefused::Move(hold.refusal()));
        }
        let stages = match list {
            By::Percentage => config.ramp.stages.clone(),
            By::Group => config.ramp.groups.clone(),
        };
        if stages.is_empty() {
            return Err(RampRefusal::NoGroups.into());
        }
        let when = config.ramp.when;
        if let (Some(missing), false) = (self.ramping.baseline.missing(when.min_requests), without_baseline) {
            return Err(RampRefusal::NoBaseline(missing).into());
        }
        let stage = stage::first(&stages, &state, &config.rules, restart).ok_or(RampRefusal::NothingAbove)?;
        let now = clock::unix_seconds();
        let progress = Progress {
            by: list,
            stage,
            served_ms: 0,
            paused: false,
            without_baseline,
            started: now,
            stage_started: now,
            who: by.to_owned(),
        };
        let ramp = Ramp::start(Plan { stages, when }, progress);
        self.ramping.ended = None;
        let begins = clock::monotonic();
        self.sample(begins, now);
        self.ramping.health.forget(begins);
        // What the ramp is judged by must be there after a crash, too.
        self.keep_baseline();
        let why = format!("ramp started at {}: {why}", ramp.stage());
        self.put_in_force(ramp, by, &why, lift).map(Some).map_err(OrderRefused::Move)
    }

    fn change_ramp(
        &mut self,
        by: &str,
        why: &str,
        what: &'static str,
        change: impl FnOnce(&mut Ramp) -> Result<(), crate::rollout::ramp::RampRefused>,
    ) -> Result<Option<Report>, OrderRefused> {
        let ramp = self.ramping.ramp.as_mut().ok_or(RampRefusal::NoRamp)?;
        change(ramp).map_err(RampRefusal::Ramp)?;
        tracing::warn!(by, why, what, stage = %ramp.stage(), "the ramp");
        let mut facts = self.ramp_facts();
        facts.push(("ramp", what.into()));
        self.record(Event::Ramp, by, why.to_owned(), facts);
        Ok(None)
    }

    fn advance_ramp(&mut self, by: &str, why: &str) -> Result<Option<Report>, OrderRefused> {
        let mut ramp = self.ramping.ramp.take().ok_or(RampRefusal::NoRamp)?;
        let left = ramp.stage().to_string();
        if !ramp.advance(clock::unix_seconds()) {
            self.end_ramp(&ramp, "finished", by, why, None);
            return Ok(None);
        }
        let why = format!("advanced from {left} to {} by hand: {why}", ramp.stage());
        self.put_in_force(ramp, by, &why, false).map(Some).map_err(OrderRefused::Move)
    }

    fn abort_ramp(&mut self, by: &str, why: &str) -> Result<Option<Report>, OrderRefused> {
        let ramp = self.ramping.ramp.take().ok_or(RampRefusal::NoRamp)?;
        self.end_ramp(&ramp, "aborted", by, why, None);
        Ok(None)
    }

    /// Judgement is suspended for so long; none ends it.
    fn suspend(&mut self, by: &str, lasts: Duration, why: &str) -> Option<Report> {
        let now = clock::monotonic();
        let was = self.ramping.maintenance.take().is_some();
        if lasts > Duration::ZERO {
            self.ramping.maintenance = Some(now + lasts);
        } else if was {
            self.ramping.health.forget(now);
        }
        self.ramping.alerts.clear();
        tracing::warn!(by, why, seconds = lasts.as_secs(), "maintenance: judgement is suspended");
        let what = if lasts > Duration::ZERO { "maintenance" } else { "maintenance_over" };
        let facts = vec![("ramp", what.into()), ("seconds", lasts.as_secs().into())];
        self.record(Event::Ramp, by, why.to_owned(), facts);
        None
    }

    /// Publishes how it stands.
    pub(super) fn show_ramp(&self, now: Instant) {
        let config = Arc::clone(&self.shared.snapshot.load().config);
        let armed = config.ramp.when.always || self.is_ramped_elsewhere(now);
        let always = armed && self.steering.state().in_force.mode == Mode::Enforce;
        let shown = shown(&self.ramping, config.ramp.when.min_requests, always, now);
        let stage = shown.ramp.as_ref().map_or(0, |ramp| ramp.stage as u64);
        let alerts = self.ramping.alerts.len() as u64;
        self.shared.metrics.set_ramp(stage, alerts, shown.maintenance_seconds.is_some());
        self.ramping.shown.store(Arc::new(shown));
    }
}

fn shown(ramping: &Ramping, min_requests: u64, always: bool, now: Instant) -> RampShown {
    let (calls, errors) = ramping.baseline.total();
    let running = ramping.ramp.as_ref().map(running);
    let state = match &ramping.ramp {
        None => "none",
        Some(ramp) if ramp.progress().paused => "paused",
        Some(_) => "running",
    };
    let services = ramping.health.services().map(|id| {
        let Counts { authenticated, errors, failing } = ramping.health.counts(id, Span::Stage, now);
        (id.to_string(), CallsShown { authenticated, errors, failing })
    });
    RampShown {
        state,
        armed: (running.is_some() || always) && !ramping.is_suspended(),
        ramp: running,
        ended: ramping.ended.clone(),
        maintenance_seconds: ramping.maintenance.map(|until| until.saturating_duration_since(now).as_secs()),
        alerts: ramping.alerts.values().map(|alert| alert.text.clone()).collect(),
        baseline: BaselineShown {
            measured_seconds: ramping.baseline.measured_seconds,
            calls,
            errors,
            error_rate_basis_points: ramping.baseline.error_rate().0,
            is_enough: ramping.baseline.missing(min_requests).is_none(),
            expected: ramping.baseline.expected().map(|(id, _)| id.to_owned()).collect(),
        },
        services: services.collect(),
    }
}

fn running(ramp: &Ramp) -> Running {
    let progress = ramp.progress();
    let stages = ramp.plan().stages.iter().enumerate().map(|(index, stage)| StageShown {
        target: stage.target.to_string(),
        lasts_seconds: stage.lasts.map(|lasts| lasts.as_secs()),
        state: match index.cmp(&progress.stage) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal => "current",
            std::cmp::Ordering::Greater => "next",
        },
    });
    let missing =
        ramp.missing().iter().map(|missing| MissingShown { what: missing.code(), text: missing.to_string() });
    Running {
        by: progress.by,
        stage: progress.stage + 1,
        stages: stages.collect(),
        served_seconds: progress.served_ms / 1_000,
        missing: missing.collect(),
        started: rfc3339_seconds(progress.started),
        started_by: progress.who.clone(),
        without_baseline: progress.without_baseline,
    }
}

impl From<RampRefusal> for OrderRefused {
    fn from(refusal: RampRefusal) -> OrderRefused {
        OrderRefused::Ramp(refusal)
    }
}

impl From<MoveRefused> for OrderRefused {
    fn from(refused: MoveRefused) -> OrderRefused {
        OrderRefused::Move(refused)
    }
}
