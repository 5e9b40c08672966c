//! Who is told what of the rollout? Alerts while nothing is taken back, and every rollback, of the whole or of a rule, whoever made it. In
//! a fleet that sidecar tells it where it was made.
//!
//! - Without a ramp the rows are judged all the same: with `rollback_when.always`, or while another sidecar that shares the state drives a
//!   ramp, they roll back, else they alert. In log mode failing
//!   checks are what is being measured, so that only an outage of the upstream is told.
//! - A service that is expected and has not called for twenty of its usual pauses, and five minutes at least, is silent.
//! - An alert is told when it begins, and again only after it was gone for a while.

use super::ramping::{Alert, Ramping};
use super::start::App;
use crate::clock;
use crate::config::Config;
use crate::policy::enforcement::Mode;
use crate::rollout::baseline::Usual;
use crate::rollout::evidence::{Evidence, Signal};
use crate::rollout::health::Span;
use crate::rollout::state::{EnforcementState, RollbackKind};
use crate::rollout::trigger;
use crate::telemetry::time::rfc3339_seconds;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// At rest, "the whole stage" begins anew so often.
const REST: Duration = Duration::from_secs(3600);
/// A service is silent after so many of its usual pauses, and after this at least.
const PAUSES: u32 = 20;
const SILENT: Duration = Duration::from_secs(300);

/// What a rollback took back.
#[derive(Debug, PartialEq, Eq)]
enum Taken<'s> {
    All,
    Rules(Vec<&'s str>),
}

/// What a move took back; `None`: it was no rollback.
fn taken_back<'s>(before: &EnforcementState, after: &'s EnforcementState) -> Option<Taken<'s>> {
    if after.hold.is_some() && after.hold != before.hold {
        return Some(Taken::All);
    }
    let was_held = |name: &str| before.rules.get(name).is_some_and(|rule| rule.held);
    let held = after.rules.iter().filter(|(name, rule)| rule.held && !was_held(name));
    let held: Vec<&str> = held.map(|(name, _)| &**name).collect();
    (!held.is_empty()).then_some(Taken::Rules(held))
}

impl Ramping {
    /// Services that are expected and silent, with for how long.
    fn silent(&self, now: Instant) -> Vec<(String, Duration)> {
        let calls_of = |usual: &Usual| u32::try_from(usual.calls).unwrap_or(u32::MAX);
        let measured = Duration::from_secs(self.baseline.measured_seconds);
        let expected = self.baseline.expected().filter_map(|(id, usual)| {
            let pause = (measured / calls_of(usual).max(1)).saturating_mul(PAUSES).max(SILENT);
            let silent = self.health.silent_for(id, now).filter(|silent| *silent > pause)?;
            Some((id.to_owned(), silent))
        });
        expected.collect()
    }
}

impl App {
    pub(super) fn judge_at_rest(&mut self, config: &Config, now: Instant) {
        if self.ramping.is_suspended() {
            return;
        }
        let ramping = &mut self.ramping;
        if ramping.health.length(Span::Stage, now) >= REST {
            ramping.health.begin_stage(now);
        }
        let when = &config.ramp.when;
        let judgement = trigger::judge(&ramping.health, ramping.usable_baseline(false, when.min_requests), when, now);
        let Some(evidence) = judgement.over else { return };
        let enforces = self.steering.state().in_force.mode == Mode::Enforce;
        if enforces && (when.always || self.is_ramped_elsewhere(now)) {
            return self.roll_back_by_itself(None, evidence, config);
        }
        // In log mode failing checks are what is being measured.
        if enforces || evidence.signal == Signal::UpstreamDown {
            self.alert(evidence.signal.code(), evidence.to_string(), Some(&evidence), config, now);
        }
        if enforces && judgement.signals > 1 {
            let all: Vec<&str> = [evidence.signal].iter().chain(&evidence.also).map(|signal| signal.code()).collect();
            let text = format!("several signals are over their limits at once: {}", all.join(", "));
            self.alert("several", text, Some(&evidence), config, now);
        }
    }

    pub(super) fn tell_of_silence(&mut self, config: &Config, now: Instant) {
        if self.ramping.is_suspended() {
            return;
        }
        for (service, silent) in self.ramping.silent(now) {
            let text = format!("{service} has not called for {} s, and used to", silent.as_secs());
            self.alert(&format!("silence:{service}"), text, None, config, now);
        }
    }

    fn alert(&mut self, key: &str, text: String, evidence: Option<&Evidence>, config: &Config, now: Instant) {
        if let Some(alert) = self.ramping.alerts.get_mut(key) {
            (alert.seen, alert.text) = (now, text);
            return;
        }
        tracing::error!(alert = key, text, "nothing is taken back by itself; somebody should look");
        let message = json!({
            "event": "alert", "alert": key, "text": text, "evidence": evidence,
            "time": rfc3339_seconds(clock::unix_seconds()), "sidecar": self.name(),
        });
        self.ramping.notifier.tell(&config.ramp.notify, &message);
        self.ramping.alerts.insert(key.to_owned(), Alert { text, seen: now });
    }

    /// A move that was made here: was it a rollback, and somebody's order? The sidecar's own are announced with their evidence.
    pub(super) fn announce_a_rollback(&self, before: &EnforcementState, after: &EnforcementState) {
        let Some(taken) = taken_back(before, after).filter(|_| &*after.last.by != "health") else { return };
        let (kind, before) = match &after.hold {
            Some(hold) => (hold.kind, EnforcementState { in_force: hold.before, ..after.clone() }),
            None => (RollbackKind::Emergency, before.clone()),
        };
        let mut message = self.rollback_message(&before, after, kind.code(), &after.last.by, &after.last.why);
        if let Taken::Rules(rules) = taken {
            (message["scope"], message["rules"]) = (json!("rule"), json!(rules));
        }
        self.ramping.notifier.tell(&self.shared.snapshot.load().config.ramp.notify, &message);
    }

    pub(super) fn rollback_message(
        &self,
        before: &EnforcementState,
        after: &EnforcementState,
        kind: &str,
        by: &str,
        why: &str,
    ) -> Value {
        let told = |state: &EnforcementState| json!({ "mode": state.in_force.mode.code(), "percentage": state.in_force.percentage.value() });
        json!({
            "event": "rollback", "kind": kind, "by": by, "reason": why, "scope": "all",
            "time": rfc3339_seconds(clock::unix_seconds()), "sidecar": self.name(),
            "before": told(before), "after": told(after),
        })
    }

    /// Which sidecar this is, for those who hear of several.
    fn name(&self) -> String {
        let snapshot = self.shared.snapshot.load();
        let service = snapshot.config.service.as_ref().map(|service| service.id.to_string());
        service
            .unwrap_or_else(|| self.ramping.listeners.first().map(|(name, _)| name.to_string()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::enforcement::{Enforcement, Percentage, Sampling};
    use crate::rollout::state::Move;
    use crate::rules::classify::{Access, DefaultAccess, Rule, RuleSet};

    #[test]
    fn a_rollback_of_the_whole_or_of_a_rule_is_told_once_and_nothing_else_is() {
        let rule = Rule {
            name: "npu".into(),
            access: Access::Service,
            patterns: vec!["/npu".parse().unwrap()],
            methods: None,
            callers: None,
            enforce: None,
            first_byte: None,
        };
        let rules = RuleSet::build(vec![rule], DefaultAccess::Open).unwrap();
        let by = |at| Move { at, by: "uid:0".into(), why: "x".into() };
        let configured = Enforcement { mode: Mode::Enforce, percentage: Percentage::FULL, sampling: Sampling::Call };
        let first = EnforcementState::first(configured, by(1));
        let without = first.roll_back_rule("npu", &rules, by(2)).unwrap();
        assert_eq!(taken_back(&first, &without), Some(Taken::Rules(vec!["npu"])));
        let held = without.roll_back(RollbackKind::Emergency, by(3));
        assert_eq!(taken_back(&without, &held), Some(Taken::All));
        let again = held.roll_back(RollbackKind::Standard, by(4));
        assert_eq!(taken_back(&held, &again), Some(Taken::All), "each is one");
        let lifted = again.lift(by(5)).unwrap();
        let less = without.set(None, Percentage::new(10), by(6)).unwrap();
        for (before, after) in [(&again, &lifted), (&without, &less), (&held, &held), (&first, &first)] {
            assert_eq!(taken_back(before, after), None, "{after:?}");
        }
    }
}
