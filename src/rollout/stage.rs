//! [`Stage`]: what does a ramp switch on, in which order, for how long each? Stages are data, from the configuration.
//!
//! Two ways up, never mixed in one ramp: by percentage of everything (`[ramp].stages`), or one group of rules after the other
//! (`[ramp].groups`), each from 0 to 100 %. A stage without a time is over as soon as it is reached; only the last one may be that.

use crate::rules::percentage::Percentage;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What is in force from its beginning.
    pub target: Target,
    /// How long it must have been healthy; `None`: it is over at once.
    pub lasts: Option<Duration>,
}

/// What a stage puts in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// So much of everything.
    Percentage(Percentage),
    /// Besides what stages before it activated: the service rules of this name, whole.
    Group(Box<str>),
}

/// By which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// `[ramp].stages`
    Percentage,
    /// `[ramp].groups`
    Group,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Percentage(percentage) => write!(f, "{percentage}"),
            Target::Group(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lasts {
            Some(lasts) => write!(f, "{} {}", self.target, words(lasts)),
            None => write!(f, "{}", self.target),
        }
    }
}

/// `1h`, `1h 30m`, `2s`, `500ms`: as the configuration writes it.
pub fn words(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut parts = Vec::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= millis {
            parts.push(format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// 10 % 1 h, 25 % 1 h, 50 % 2 h, 75 % 2 h, 100 %.
pub fn default_stages() -> Vec<Stage> {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let stages = [(10, hours(1)), (25, hours(1)), (50, hours(2)), (75, hours(2)), (100, None)];
    let stage = |(percent, lasts)| Some(Stage { target: Target::Percentage(Percentage::new(percent)?), lasts });
    stages.into_iter().filter_map(stage).collect()
}

/// Where a ramp over these stages begins: above what is in force, so that starting never takes anything back; `None`: nothing is above.
/// `in_force`: nothing in `log`.
pub fn first_above(stages: &[Stage], in_force: Percentage) -> Option<usize> {
    stages.iter().position(|stage| match &stage.target {
        Target::Percentage(percentage) => *percentage > in_force,
        Target::Group(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_fleets_plan() {
        let stages = default_stages();
        let shown: Vec<String> = stages.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10% 1h", "25% 1h", "50% 2h", "75% 2h", "100%"]);
    }

    #[test]
    fn a_ramp_begins_above_what_is_in_force() {
        let stages = default_stages();
        let above = |percent| first_above(&stages, Percentage::new(percent).unwrap());
        assert_eq!(
            [0, 9, 10, 30, 75, 99, 100].map(above),
            [Some(0), Some(0), Some(1), Some(2), Some(4), Some(4), None]
        );
    }

    #[test]
    fn a_duration_is_written_as_the_configuration_reads_it() {
        let shown = [0, 500, 2_000, 5_400_000, 86_400_000, 90_061_001].map(|n| words(Duration::from_millis(n)));
        assert_eq!(shown, ["0s", "500ms", "2s", "1h 30m", "1d", "1d 1h 1m 1s 1ms"]);
    }
}
