//! [`Readiness`]: may traffic be sent here?
//!
//! Ready is who serves (listeners open, not draining) and has, for every inbound listener, an upstream that answered its last
//! check: where there are several, one is enough, and the answer mentions the others. Where an outbound listener leads is
//! mentioned only: that a service elsewhere is down must not take this one, which calls it, out of service as well. A
//! reload that was refused is no reason: the configuration before it serves on, whole. The answer mentions it, without what
//! was wrong, which may quote the configuration. Nor is a Redis that cannot be asked for keys: what needs none is served, and what is
//! cached.

use crate::config::Side;
use crate::keys::status::KeyStatus;
use crate::state::standing::Standing;
use crate::upstream::health::{HealthState, UpstreamHealth};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

/// What readiness depends on; set by the wiring, read by `/readyz` and `status`.
#[derive(Debug)]
pub struct Readiness {
    stage: AtomicU8,
    /// By listener.
    upstreams: Vec<(Side, Vec<Arc<UpstreamHealth>>)>,
    reload_refused: AtomicBool,
    keys: OnceLock<Arc<KeyStatus>>,
    standing: OnceLock<Arc<Standing>>,
}

impl Readiness {
    /// Not ready: starting. `upstreams`: those of each listener.
    pub fn new(upstreams: Vec<(Side, Vec<Arc<UpstreamHealth>>)>) -> Readiness {
        Readiness {
            stage: AtomicU8::new(STARTING),
            upstreams,
            reload_refused: AtomicBool::new(false),
            keys: OnceLock::new(),
            standing: OnceLock::new(),
        }
    }

    /// Keys come from Redis, and this is how it stands with them.
    pub fn watch_keys(&self, status: Arc<KeyStatus>) {
        // set once, at the start
        let _ = self.keys.set(status);
    }

    /// What is in force, and whether that is known.
    pub fn watch_standing(&self, standing: Arc<Standing>) {
        // set once, at the start
        let _ = self.standing.set(standing);
    }

    /// Was the last reload refused?
    pub fn is_reload_refused(&self) -> bool {
        self.reload_refused.load(Ordering::Relaxed)
    }

    /// Every upstream whose health is asked.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<UpstreamHealth>> {
        self.upstreams.iter().flat_map(|(_, of_listener)| of_listener)
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

    /// A reload's end. A refused one keeps serving by the old configuration: still ready, and the answer says so.
    pub fn reloaded(&self, took_effect: bool) {
        self.reload_refused.store(!took_effect, Ordering::Relaxed);
    }

    /// What stands against it, for people.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.stage.load(Ordering::Relaxed) {
            STARTING => reasons.push("starting: listeners are not open yet".to_owned()),
            DRAINING => reasons.push("draining: the process is about to end".to_owned()),
            _ => {}
        }
        reasons.extend(self.troubles(true));
        if self.standing.get().is_some_and(|standing| standing.is_unknown()) {
            reasons.push(UNKNOWN_STATE.to_owned());
        }
        reasons
    }

    /// What is worth knowing and stands against nothing, for people.
    fn notes(&self) -> Vec<String> {
        let refused = self.reload_refused.load(Ordering::Relaxed).then(|| RELOAD_NOTE.to_owned());
        let keys = self.keys.get().filter(|keys| keys.read().unheard_since.is_some()).map(|_| KEYS_NOTE.to_owned());
        let standing = self.standing.get().filter(|standing| standing.trouble().is_some());
        let disk = standing.map(|_| DISK_NOTE.to_owned());
        refused.into_iter().chain(keys).chain(disk).chain(self.troubles(false)).collect()
    }

    /// What is wrong with upstreams of the listeners whose case stands against readiness, or of the others.
    fn troubles(&self, stands_against: bool) -> impl Iterator<Item = String> {
        let listeners = self.upstreams.iter().filter(move |(side, all)| is_in_the_way(*side, all) == stands_against);
        listeners.flat_map(|(_, all)| all).filter_map(|upstream| trouble(upstream))
    }

    /// The answer to `/readyz`: whether ready, why not, and what is worth knowing besides.
    pub fn answer(&self) -> (bool, Value) {
        let reasons = self.reasons();
        let upstreams: Vec<Value> = self
            .upstreams
            .iter()
            .flat_map(|(_, of_listener)| of_listener)
            .map(|upstream| json!({ "upstream": upstream.name(), "state": upstream.state().code() }))
            .collect();
        let ready = reasons.is_empty();
        let mut answer = json!({ "ready": ready, "reasons": reasons, "upstreams": upstreams });
        let notes = self.notes();
        if !notes.is_empty() {
            answer["notes"] = json!(notes);
        }
        (ready, answer)
    }
}

/// Should nothing be sent to this listener, because it has nowhere to go with it?
fn is_in_the_way(side: Side, upstreams: &[Arc<UpstreamHealth>]) -> bool {
    match side {
        Side::Inbound(_) => upstreams.iter().all(|upstream| upstream.state() != HealthState::Up),
        Side::Outbound(_) => false,
    }
}

fn trouble(upstream: &UpstreamHealth) -> Option<String> {
    match upstream.state() {
        HealthState::Up => None,
        HealthState::Unknown => Some(format!("upstream {} is not checked yet", upstream.name())),
        HealthState::Down => {
            let why = upstream.down().map(|down| down.why.clone()).unwrap_or_default();
            Some(format!("upstream {} is down: {why}", upstream.name()))
        }
    }
}

const RELOAD_NOTE: &str = "the last reload was refused and the configuration before it serves on; the log says why";
const KEYS_NOTE: &str = "redis cannot be asked for keys: cached ones serve on; the log says why";
const DISK_NOTE: &str = "what is in force is in memory only: the state directory does not take it; the log says why";
const UNKNOWN_STATE: &str = "it is not known what was in force: the state was missing or not readable at the start, the \
     configuration's word counts and is held; look, then lift it: countersign rollback --lift --reason \"...\"";
const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;

    fn upstream(state: HealthState) -> Arc<UpstreamHealth> {
        let health = UpstreamHealth::new(Upstream::http("127.0.0.1", 8001));
        health.pretend(state);
        health
    }

    fn inbound<const N: usize>(upstreams: [Vec<Arc<UpstreamHealth>>; N]) -> Readiness {
        Readiness::new(upstreams.into_iter().enumerate().map(|(place, all)| (Side::Inbound(place), all)).collect())
    }

    #[test]
    fn ready_is_who_serves_and_whose_upstreams_answer() {
        let readiness = inbound([vec![upstream(HealthState::Up)], vec![upstream(HealthState::Up)]]);
        assert!(!readiness.answer().0);
        readiness.serving();
        assert_eq!(readiness.reasons(), [""; 0]);
        assert!(readiness.answer().0);
    }

    #[test]
    fn the_end_is_not_taken_back() {
        let readiness = Readiness::new(vec![]);
        readiness.serving();
        readiness.draining();
        assert!(!readiness.answer().0);
        readiness.serving();
        assert!(readiness.reasons()[0].starts_with("draining"));
    }

    #[test]
    fn one_listener_without_an_upstream_that_answers_is_enough() {
        for (state, why) in [
            (HealthState::Down, "is down: the answer is malformed (refused)"),
            (HealthState::Unknown, "is not checked yet"),
        ] {
            let readiness = inbound([vec![upstream(HealthState::Up)], vec![upstream(state)]]);
            readiness.serving();
            let (ready, answer) = readiness.answer();
            assert!(!ready);
            assert_eq!(answer["ready"], false);
            assert_eq!(answer["reasons"][0], format!("upstream 127.0.0.1:8001 {why}"));
            assert_eq!(answer["upstreams"][1]["state"], state.code());
        }
    }

    #[test]
    fn of_several_upstreams_one_that_answers_is_enough_and_the_others_are_told_of() {
        let several = vec![upstream(HealthState::Down), upstream(HealthState::Up), upstream(HealthState::Unknown)];
        let readiness = inbound([several.clone()]);
        readiness.serving();
        let (ready, answer) = readiness.answer();
        assert!(ready && answer["notes"][0].as_str().unwrap().contains("is down"), "{answer}");
        assert!(answer["notes"][1].as_str().unwrap().contains("not checked yet"), "{answer}");
        assert_eq!(answer["upstreams"].as_array().unwrap().len(), 3);
        several[1].pretend(HealthState::Down);
        let (ready, answer) = readiness.answer();
        assert!(!ready && answer["reasons"].as_array().unwrap().len() == 3, "{answer}");
        assert_eq!(answer.get("notes"), None);
    }

    #[test]
    fn where_an_outbound_listener_leads_is_told_of_and_no_reason() {
        let up = (Side::Inbound(0), vec![upstream(HealthState::Up)]);
        let readiness = Readiness::new(vec![up, (Side::Outbound(0), vec![upstream(HealthState::Down)])]);
        readiness.serving();
        let (ready, answer) = readiness.answer();
        assert!(ready && answer["notes"][0].as_str().unwrap().contains("is down"), "{answer}");
    }

    #[test]
    fn a_failed_reload_is_mentioned_and_no_reason() {
        let readiness = Readiness::new(vec![]);
        readiness.serving();
        readiness.reloaded(false);
        let (ready, answer) = readiness.answer();
        assert!(ready && answer["notes"][0].as_str().unwrap().contains("reload was refused"));
        readiness.reloaded(true);
        assert_eq!(readiness.answer().1.get("notes"), None);
    }
}
