//! [`Baseline`]: what was usual while nothing was refused? Measured in log mode, kept in the state directory.
//!
//! 1. Each second in log mode adds what was counted in it: calls and errors of authenticated requests, by service. In any other mode
//!    nothing is added: what a ramp breaks must not become what is usual.
//! 2. The usual error rate is errors by calls, and never below [`FLOOR`]: with a backend that never errs, twice nothing would be
//!    nothing, and one 5xx would take authentication off.
//! 3. A service is *expected* when it called within a week, of measuring, of the last call that was measured. Of it a stage wants evidence, and its silence is told.
//! 4. Nothing ages out by itself: a baseline is cumulative, and begins anew where its file was removed while the sidecar did not run.
//!
//! Bounded: at most [`super::health::SERVICES`] services, no matter for how long. Times are Unix seconds for people; what is computed with
//! is counts and seconds watched, so that a clock that steps changes no rate.

use super::health::{Counts, SERVICES};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// No usual error rate counts as lower: 0.5 %, in units of 0.01 %.
pub const FLOOR: BasisPoints = BasisPoints(50);

/// A service that has not called for so long is not expected to call.
const EXPECTED_WITHIN: u64 = 7 * 86_400;

/// A share in hundredths of a percent. An integer, rounded down, for people; comparisons are made with the counts themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BasisPoints(pub u64);

impl BasisPoints {
    /// `part` of `whole`; of nothing, nothing.
    pub fn of(part: u64, whole: u64) -> BasisPoints {
        BasisPoints(part.saturating_mul(10_000).checked_div(whole).unwrap_or(0))
    }
}

impl std::fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, parts) = (self.0 / 100, self.0 % 100);
        if parts == 0 { write!(f, "{whole} %") } else { write!(f, "{whole}.{parts:02} %") }
    }
}

/// What was usual.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Seconds in log mode that were watched.
    pub measured_seconds: u64,
    /// By service.
    pub services: BTreeMap<String, Usual>,
}

/// What was usual of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usual {
    /// Authenticated calls.
    pub calls: u64,
    /// Of those, answered 5xx.
    pub errors: u64,
    /// Failing checks.
    pub failing: u64,
    /// When it first called, in Unix seconds.
    pub first_seen: u64,
    /// When it last did.
    pub last_seen: u64,
    /// The same, in seconds measured until then. Files of before have none: such a service counts as having called just before the next
    /// measurement.
    #[serde(default)]
    pub last_measured: Option<u64>,
}

impl Baseline {
    /// One turn of the watch in log mode: what was added within `seconds`.
    pub fn note<'s>(&mut self, seconds: u64, added: impl IntoIterator<Item = (&'s str, Counts)>, unix_seconds: u64) {
        let before = self.measured_seconds;
        self.services.values_mut().for_each(|usual| _ = usual.last_measured.get_or_insert(before));
        self.measured_seconds = before.saturating_add(seconds);
        for (id, counts) in added {
            if counts == Counts::default() {
                continue;
            }
            if !self.services.contains_key(id) && self.services.len() >= SERVICES {
                continue;
            }
            let new = || Usual { first_seen: unix_seconds, ..Usual::default() };
            let usual = self.services.entry(id.to_owned()).or_insert_with(new);
            usual.calls = usual.calls.saturating_add(counts.authenticated);
            usual.errors = usual.errors.saturating_add(counts.errors);
            usual.failing = usual.failing.saturating_add(counts.failing);
            usual.last_seen = unix_seconds;
            usual.last_measured = Some(self.measured_seconds);
        }
    }

    /// Authenticated calls and errors of all.
    pub fn total(&self) -> (u64, u64) {
        self.services.values().fold((0, 0), |(calls, errors), usual| (calls + usual.calls, errors + usual.errors))
    }

    /// The usual error rate, with the floor.
    pub fn error_rate(&self) -> BasisPoints {
        let (calls, errors) = self.total();
        BasisPoints::of(errors, calls).max(FLOOR)
    }

    /// The services that are expected to call.
    pub fn expected(&self) -> impl Iterator<Item = (&str, &Usual)> {
        let last = self.services.values().filter_map(|usual| usual.last_measured).max().unwrap_or(0);
        let is_recent =
            move |usual: &Usual| usual.last_measured.is_none_or(|at| at.saturating_add(EXPECTED_WITHIN) >= last);
        let recent = move |usual: &Usual| usual.calls > 0 && is_recent(usual);
        self.services.iter().filter(move |(_, usual)| recent(usual)).map(|(id, usual)| (id.as_str(), usual))
    }

    /// What is missing before a ramp can be judged by it; `None`: nothing.
    pub fn missing(&self, min_requests: u64) -> Option<MissingBaseline> {
        let (calls, _) = self.total();
        (calls < min_requests.max(1)).then_some(MissingBaseline {
            calls,
            needed: min_requests.max(1),
            seconds: self.measured_seconds,
        })
    }
}

/// Too little was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no baseline: {calls} authenticated calls were seen in {seconds} s in log mode, and {needed} are needed"
)]
pub struct MissingBaseline {
    /// Authenticated calls seen.
    pub calls: u64,
    /// How many are needed.
    pub needed: u64,
    /// How long was measured.
    pub seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(authenticated: u64, errors: u64) -> Counts {
        Counts { authenticated, errors, failing: 0 }
    }

    #[test]
    fn the_usual_error_rate_is_errors_by_calls_and_never_below_the_floor() {
        let mut baseline = Baseline::default();
        assert_eq!(baseline.error_rate(), FLOOR, "of nothing, too");
        baseline.note(60, [("a", counts(1_000, 0))], 100);
        assert_eq!(baseline.error_rate(), FLOOR);
        baseline.note(60, [("b", counts(1_000, 40))], 160);
        assert_eq!((baseline.error_rate(), baseline.measured_seconds), (BasisPoints(200), 120));
        assert_eq!(
            baseline.services["b"],
            Usual { calls: 1_000, errors: 40, failing: 0, first_seen: 160, last_seen: 160, last_measured: Some(120) }
        );
    }

    #[test]
    fn too_few_calls_are_no_baseline_and_it_says_how_many_are_missing() {
        let mut baseline = Baseline::default();
        baseline.note(5, [("a", counts(19, 0))], 100);
        let missing = baseline.missing(20).unwrap();
        assert_eq!(missing, MissingBaseline { calls: 19, needed: 20, seconds: 5 });
        assert!(missing.to_string().contains("19 authenticated calls were seen in 5 s"), "{missing}");
        baseline.note(1, [("a", counts(1, 1))], 101);
        assert_eq!(baseline.missing(20), None);
        assert!(Baseline::default().missing(0).is_some(), "nothing is never enough");
    }

    #[test]
    fn who_has_not_called_for_a_week_or_never_validly_is_not_expected() {
        let mut baseline = Baseline::default();
        baseline.note(1, [("gone", counts(5, 0)), ("broken", Counts { failing: 9, ..Counts::default() })], 1_000);
        baseline.note(1 + EXPECTED_WITHIN, [("here", counts(5, 0))], 1_001);
        assert_eq!(baseline.expected().map(|(id, _)| id).collect::<Vec<_>>(), ["here"]);
    }

    #[test]
    fn a_clock_that_steps_makes_nobody_less_expected() {
        let mut baseline = Baseline::default();
        baseline.note(1, [("a", counts(5, 0))], 1_000);
        // A year ahead, and back again.
        baseline.note(1, [("b", counts(5, 0))], 1_000 + 365 * 86_400);
        baseline.note(1, [("c", counts(5, 0)), ("b", counts(1, 0))], 1_001);
        assert_eq!(baseline.expected().map(|(id, _)| id).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(baseline.services["b"].last_seen, 1_001, "what people are shown is right again, too");
    }

    #[test]
    fn a_file_of_before_is_readable_and_its_services_are_expected_until_a_week_was_measured_without_them() {
        let text = r#"{"measured_seconds":900000,"services":{
            "a":{"calls":5,"errors":0,"failing":0,"first_seen":1,"last_seen":2},
            "b":{"calls":5,"errors":0,"failing":0,"first_seen":1,"last_seen":9999999}}}"#;
        let mut baseline: Baseline = serde_json::from_str(text).unwrap();
        assert_eq!(baseline.expected().count(), 2);
        baseline.note(EXPECTED_WITHIN, [("b", counts(1, 0))], 3);
        assert_eq!(baseline.expected().count(), 2);
        baseline.note(1, [("b", counts(1, 0))], 4);
        assert_eq!(baseline.expected().map(|(id, _)| id).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn it_comes_back_as_it_was_written_and_is_bounded() {
        let mut baseline = Baseline::default();
        let ids: Vec<String> = (0..SERVICES + 10).map(|n| format!("s{n}")).collect();
        baseline.note(1, ids.iter().map(|id| (id.as_str(), counts(1, 0))), 7);
        assert_eq!(baseline.services.len(), SERVICES);
        let text = serde_json::to_string(&baseline).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&text).unwrap(), baseline);
    }

    #[test]
    fn a_share_is_shown_without_noise() {
        let shown: Vec<String> = [0, 50, 100, 1_234, 10_000].map(|n| BasisPoints(n).to_string()).into();
        assert_eq!(shown, ["0 %", "0.50 %", "1 %", "12.34 %", "100 %"]);
        assert_eq!(BasisPoints::of(1, 0), BasisPoints(0));
    }
}
