//! [`Readiness`]: may traffic be sent here?
//!
//! Ready is who serves (listeners open, not draining), whose upstreams all answered their last check, and against whom
//! nothing else stands. A reload that failed is no reason: the configuration before it serves on, whole. The answer
//! mentions it, without its text, which may quote the configuration.

use crate::upstream::health::{HealthState, UpstreamHealth};
use arc_swap::ArcSwapOption;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What readiness depends on; set by the wiring, read by `/readyz` and `status`.
#[derive(Debug)]
pub struct Readiness {
    stage: AtomicU8,
    upstreams: Vec<Arc<UpstreamHealth>>,
    reload_problem: ArcSwapOption<String>,
    problems: Mutex<BTreeMap<&'static str, String>>,
}

impl Readiness {
    /// Not ready: starting.
    pub fn new(upstreams: Vec<Arc<UpstreamHealth>>) -> Readiness {
        Readiness {
            stage: AtomicU8::new(STARTING),
            upstreams,
            reload_problem: ArcSwapOption::empty(),
            problems: Mutex::default(),
        }
    }

    /// Listeners are open and workers run.
    pub fn serving(&self) {
        // the end, once begun, is not taken back
        let _ = self.stage.compare_exchange(STARTING, SERVING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The end has begun: not ready from now on, for good.
    pub fn draining(&self) {
        self.stage.store(DRAINING, Ordering::Relaxed);
    }

    /// A reload's end: `None` when it took effect, else what is wrong. A failed one keeps serving by the old
    /// configuration: still ready, and the answer says so.
    pub fn reloaded(&self, problem: Option<String>) {
        self.reload_problem.store(problem.map(Arc::new));
    }

    /// What was wrong with the last reload, for those who may see it.
    pub fn reload_problem(&self) -> Option<Arc<String>> {
        self.reload_problem.load_full()
    }

    /// Something else that stands against being ready (`"keys"`, `"state"`), or no longer does. The text is shown to
    /// whoever asks: no secrets.
    pub fn set_problem(&self, what: &'static str, problem: Option<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => problems.insert(what, problem),
            None => problems.remove(what),
        };
    }

    /// Nothing stands against sending traffic here.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    /// What stands against it, for people.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.stage.load(Ordering::Relaxed) {
            STARTING => reasons.push("starting: listeners are not open yet".to_owned()),
            DRAINING => reasons.push("draining: the process is about to end".to_owned()),
            _ => {}
        }
        for upstream in &self.upstreams {
            match upstream.state() {
                HealthState::Up => {}
                HealthState::Unknown => reasons.push(format!("upstream {} is not checked yet", upstream.name())),
                HealthState::Down => {
                    let why = upstream.down().map(|down| down.why.clone()).unwrap_or_default();
                    reasons.push(format!("upstream {} is down: {why}", upstream.name()));
                }
            }
        }
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.extend(problems.iter().map(|(what, problem)| format!("{what}: {problem}")));
        reasons
    }

    /// The answer to `/readyz`: whether ready, why not, and what is worth knowing besides.
    pub fn answer(&self) -> (bool, Value) {
        let reasons = self.reasons();
        let upstreams: Vec<Value> = self
            .upstreams
            .iter()
            .map(|upstream| json!({ "upstream": upstream.name(), "state": upstream.state().code() }))
            .collect();
        let ready = reasons.is_empty();
        let mut answer = json!({ "ready": ready, "reasons": reasons, "upstreams": upstreams });
        if self.reload_problem.load().is_some() {
            answer["notes"] = json!([RELOAD_NOTE]);
        }
        (ready, answer)
    }
}

const RELOAD_NOTE: &str = "the last reload was refused and the configuration before it serves on; the log says why";
const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;

    fn upstream(state: HealthState) -> Arc<UpstreamHealth> {
        let health = UpstreamHealth::new(Upstream { host: "127.0.0.1".to_owned(), port: 8001 });
        health.pretend(state);
        health
    }

    #[test]
    fn ready_is_who_serves_and_whose_upstreams_answer() {
        let readiness = Readiness::new(vec![upstream(HealthState::Up), upstream(HealthState::Up)]);
        assert!(!readiness.is_ready());
        readiness.serving();
        assert_eq!(readiness.reasons(), [""; 0]);
        assert!(readiness.is_ready());
    }

    #[test]
    fn the_end_is_not_taken_back() {
        let readiness = Readiness::new(vec![]);
        readiness.serving();
        readiness.draining();
        assert!(!readiness.is_ready());
        readiness.serving();
        assert!(readiness.reasons()[0].starts_with("draining"));
    }

    #[test]
    fn one_upstream_that_does_not_answer_is_enough() {
        for (state, why) in [
            (HealthState::Down, "is down: the answer is malformed (refused)"),
            (HealthState::Unknown, "is not checked yet"),
        ] {
            let readiness = Readiness::new(vec![upstream(HealthState::Up), upstream(state)]);
            readiness.serving();
            let (ready, answer) = readiness.answer();
            assert!(!ready);
            assert_eq!(answer["ready"], false);
            assert_eq!(answer["reasons"][0], format!("upstream 127.0.0.1:8001 {why}"));
            assert_eq!(answer["upstreams"][1]["state"], state.code());
        }
    }

    #[test]
    fn a_failed_reload_is_mentioned_and_no_reason() {
        let readiness = Readiness::new(vec![]);
        readiness.serving();
        readiness.reloaded(Some("line 3: secret = 'abc'".to_owned()));
        let (ready, answer) = readiness.answer();
        assert!(ready && answer["notes"][0].as_str().unwrap().contains("reload was refused"));
        assert!(!answer.to_string().contains("secret"), "the text may quote the configuration");
        readiness.reloaded(None);
        assert_eq!(readiness.answer().1.get("notes"), None);
    }

    #[test]
    fn other_problems_come_and_go() {
        let readiness = Readiness::new(vec![]);
        readiness.serving();
        readiness.set_problem("keys", Some("no key could be read".to_owned()));
        assert_eq!(readiness.reasons(), ["keys: no key could be read"]);
        readiness.set_problem("keys", None);
        assert!(readiness.is_ready());
    }
}
