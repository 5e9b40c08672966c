//! [`RampShown`]: how the rollout stands, as `GET /v1/ramp`, `status` and every order to the ramp tell it. Made once a second by who steers,
//! read by whoever asks.

use crate::rollout::stage::By;
use crate::state::ramp::Ended;
use serde::Serialize;
use std::collections::BTreeMap;

/// How the rollout stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RampShown {
    /// `none`, `running`, `paused`.
    pub state: &'static str,
    /// Would a signal over its limit take enforcement back now?
    pub armed: bool,
    /// The ramp that runs.
    pub ramp: Option<Running>,
    /// How the last one ended.
    pub ended: Option<Ended>,
    /// Seconds until maintenance ends.
    pub maintenance_seconds: Option<u64>,
    /// What an operator should look at.
    pub alerts: Vec<String>,
    /// What was usual in log mode.
    pub baseline: BaselineShown,
    /// Calls to service paths by service, since the stage began.
    pub services: BTreeMap<String, CallsShown>,
}

/// A ramp that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// By which list.
    pub by: By,
    /// In which stage, from 1.
    pub stage: usize,
    /// All stages.
    pub stages: Vec<StageShown>,
    /// How long the stage was healthy.
    pub served_seconds: u64,
    /// What is missing before it is over.
    pub missing: Vec<MissingShown>,
    /// When it was started, RFC 3339.
    pub started: String,
    /// By whom.
    pub started_by: String,
    /// Was it started without a baseline?
    pub without_baseline: bool,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageShown {
    /// `10%`, or the name of a group.
    pub target: String,
    /// Absent where it is over at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasts_seconds: Option<u64>,
    /// `done`, `current`, `next`.
    pub state: &'static str,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingShown {
    /// `time`, `calls`, `health`, `resume`, `maintenance`.
    pub what: &'static str,
    /// For people.
    pub text: String,
}

/// What was usual.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BaselineShown {
    /// How long was measured.
    pub measured_seconds: u64,
    /// Authenticated calls seen.
    pub calls: u64,
    /// Of those, answered 5xx.
    pub errors: u64,
    /// The usual rate of errors that is compared with, in hundredths of a percent.
    pub error_rate_basis_points: u64,
    /// Is it enough to judge by?
    pub is_enough: bool,
    /// Services that are expected to call.
    pub expected: Vec<String>,
}

/// Calls of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CallsShown {
    /// Authenticated.
    pub authenticated: u64,
    /// Of those, answered 5xx.
    pub errors: u64,
    /// Failing checks, carried out or not.
    pub failing: u64,
}
