//! [`Ramp`]: stay, advance, finish or roll back? Asked once a second with the figures of now.
//!
//! In this order:
//!
//! 1. A row of [`trigger`] is over its limit: roll back. Also while paused: what is in force stays in force, and may break.
//! 2. Maintenance suspends judgement, and the stage's time stands still. When it ends, windows begin empty.
//! 3. Paused: stay.
//! 4. Something worries: the stage's time begins anew. It advances only when it was healthy *for its whole time*.
//! 5. The time is not served, or there is too little evidence: stay, and say what is missing. Of each service that is expected (by the
//!    baseline) a stage wants `min_requests` calls, or as many as it made in the whole baseline where that is less; without a
//!    baseline, `min_requests` calls of anybody. No evidence is no health: a quiet night holds a ramp, and a person who knows better says
//!    `ramp advance --reason`.
//! 6. Else advance; after the last stage, finish.
//!
//! Time served is counted in steps of the monotonic clock, at most [`LONGEST_STEP`] each: no step of the wall clock, no suspended machine and
//! no hanging process makes a stage shorter. It is what survives a crash ([`Progress`]): a ramp goes on in the middle of its stage, with
//! empty windows, and wants its evidence again.

use super::baseline::Baseline;
use super::evidence::Evidence;
use super::health::{Counts, Health, Span};
use super::stage::{By, Stage, words};
use super::trigger::{self, RollbackWhen, Worry};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So much is served by one step at most.
pub const LONGEST_STEP: Duration = Duration::from_secs(5);

/// What a ramp goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// At least one.
    pub stages: Vec<Stage>,
    /// When to take it back.
    pub when: RollbackWhen,
}

/// What survives a restart. Times are Unix seconds for people; only `served_ms` is counted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// By which list.
    pub by: By,
    /// In which stage, from 0.
    pub stage: usize,
    /// How long the stage was healthy.
    pub served_ms: u64,
    /// Does it stand still on a person's word?
    pub paused: bool,
    /// Was it started without a baseline?
    pub without_baseline: bool,
    /// When it was started.
    pub started: u64,
    /// When its stage began.
    pub stage_started: u64,
    /// Who started it.
    pub who: String,
}

/// A ramp that runs.
#[derive(Debug, Clone)]
pub struct Ramp {
    plan: Plan,
    progress: Progress,
    last_step: Option<Instant>,
    missing: Vec<Missing>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RampStep {
    /// Nothing, and why.
    Stay {
        /// What is missing before it advances.
        missing: Vec<Missing>,
    },
    /// The next stage has begun: put its target in force.
    Advance,
    /// The last stage is over.
    Finish,
    /// Take it back.
    RollBack(Box<Evidence>),
}

/// What is missing before a stage is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Time.
    Time(Duration),
    /// A person's word.
    Resume,
    /// The end of maintenance.
    Maintenance,
    /// Health.
    Health(Worry),
    /// Calls of a service; `None`: of anybody.
    Calls {
        /// Whose.
        service: Option<Arc<str>>,
        /// Authenticated in this stage.
        seen: u64,
        /// How many are needed.
        needed: u64,
    },
}

impl Missing {
    /// The word in answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Missing::Time(_) => "time",
            Missing::Resume => "resume",
            Missing::Maintenance => "maintenance",
            Missing::Health(_) => "health",
            Missing::Calls { .. } => "calls",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Time(left) => {
                // Whole seconds, and never none as long as some are left.
                let seconds = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
                write!(f, "{} more of health", words(seconds))
            }
            Missing::Resume => f.write_str("`ramp resume`: it is paused"),
            Missing::Maintenance => f.write_str("the end of maintenance"),
            Missing::Health(worry) => write!(f, "health: {worry}"),
            Missing::Calls { service: Some(service), seen, needed } => {
                write!(f, "calls of {service}: {seen} of {needed} seen in this stage")
            }
            Missing::Calls { service: None, seen, needed } => {
                write!(f, "authenticated calls: {seen} of {needed} seen in this stage")
            }
        }
    }
}

/// What a step is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Figures<'f> {
    /// The counts.
    pub health: &'f Health,
    /// What was usual, where it was measured.
    pub baseline: Option<&'f Baseline>,
    /// Is judgement suspended?
    pub maintenance: bool,
}

/// Why an order to a ramp is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RampRefused {
    /// It already stands still.
    #[error("the ramp is paused already")]
    Paused,
    /// It does not stand still.
    #[error("the ramp is not paused")]
    NotPaused,
}

impl Ramp {
    /// Begins at a stage.
    pub fn start(plan: Plan, progress: Progress) -> Ramp {
        let stage = progress.stage.min(plan.stages.len().saturating_sub(1));
        Ramp { plan, progress: Progress { stage, ..progress }, last_step: None, missing: Vec::new() }
    }

    /// One step. What it answers has happened to the ramp already; to put it in force is the caller's.
    pub fn step(&mut self, figures: Figures<'_>, now: Instant, unix_seconds: u64) -> RampStep {
        let since = self.last_step.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if figures.maintenance {
            return self.stay(vec![Missing::Maintenance]);
        }
        let judgement = trigger::judge(figures.health, figures.baseline, &self.plan.when, now);
        if let Some(evidence) = judgement.over {
            return RampStep::RollBack(Box::new(evidence));
        }
        if self.progress.paused {
            return self.stay(vec![Missing::Resume]);
        }
        if judgement.worries.is_empty() {
            let step = u64::try_from(since.min(LONGEST_STEP).as_millis()).unwrap_or(u64::MAX);
            self.progress.served_ms = self.progress.served_ms.saturating_add(step);
        } else {
            self.progress.served_ms = 0;
        }
        let mut missing: Vec<Missing> = judgement.worries.into_iter().map(Missing::Health).collect();
        if let Some(lasts) = self.stage().lasts {
            let left = lasts.saturating_sub(Duration::from_millis(self.progress.served_ms));
            if left > Duration::ZERO {
                missing.push(Missing::Time(left));
            }
            missing.extend(self.missing_calls(figures, now));
        }
        if !missing.is_empty() {
            return self.stay(missing);
        }
        if self.move_on(unix_seconds) { RampStep::Advance } else { RampStep::Finish }
    }

    /// On to the next stage, on a person's word; `false`: there is none, it is finished.
    pub fn advance(&mut self, unix_seconds: u64) -> bool {
        self.move_on(unix_seconds)
    }

    /// Stands still from now on.
    ///
    /// # Errors
    /// When it does already.
    pub fn pause(&mut self) -> Result<(), RampRefused> {
        if std::mem::replace(&mut self.progress.paused, true) { Err(RampRefused::Paused) } else { Ok(()) }
    }

    /// Goes on.
    ///
    /// # Errors
    /// When it does already.
    pub fn resume(&mut self) -> Result<(), RampRefused> {
        if std::mem::replace(&mut self.progress.paused, false) { Ok(()) } else { Err(RampRefused::NotPaused) }
    }

    /// The stage it is in.
    pub fn stage(&self) -> &Stage {
        &self.plan.stages[self.progress.stage]
    }

    /// The stages of its list up to this one, and this one.
    pub fn reached(&self) -> &[Stage] {
        &self.plan.stages[..=self.progress.stage]
    }

    /// Other limits from now on; the stages stay those it was started with.
    pub fn judge_by(&mut self, when: RollbackWhen) {
        self.plan.when = when;
    }

    /// What it goes by.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What survives.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What was missing at the last step.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    fn stay(&mut self, missing: Vec<Missing>) -> RampStep {
        self.missing.clone_from(&missing);
        RampStep::Stay { missing }
    }

    fn move_on(&mut self, unix_seconds: u64) -> bool {
        self.missing.clear();
        if self.progress.stage + 1 >= self.plan.stages.len() {
            return false;
        }
        self.progress.stage += 1;
        (self.progress.served_ms, self.progress.stage_started) = (0, unix_seconds);
        true
    }

    fn missing_calls(&self, figures: Figures<'_>, now: Instant) -> Vec<Missing> {
        let seen = |counts: Counts| counts.authenticated;
        let Some(baseline) = figures.baseline else {
            let (seen, needed) = (seen(figures.health.total(Span::Stage, now)), self.plan.when.min_requests);
            return if seen < needed { vec![Missing::Calls { service: None, seen, needed }] } else { Vec::new() };
        };
        let expected = baseline.expected().filter_map(|(id, usual)| {
            let needed = self.plan.when.min_requests.min(usual.calls);
            let seen = seen(figures.health.counts(id, Span::Stage, now));
            (seen < needed).then(|| Missing::Calls { service: Some(id.into()), seen, needed })
        });
        expected.collect()
    }
}

#[cfg(test)]
mod tests;
