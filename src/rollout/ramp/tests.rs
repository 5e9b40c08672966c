use super::*;
use crate::rollout::evidence::Signal;
use crate::rollout::health::{HealthSample, UpstreamState};
use crate::rollout::stage::default_stages;

/// A ramp in simulated time: one step a second.
struct Story {
    ramp: Ramp,
    health: Health,
    baseline: Option<Baseline>,
    sums: Counts,
    upstream: UpstreamState,
    maintenance: bool,
    now: Instant,
    unix: u64,
}

fn progress() -> Progress {
    Progress {
        by: By::Percentage,
        stage: 0,
        served_ms: 0,
        paused: false,
        without_baseline: false,
        started: 1_000,
        stage_started: 1_000,
        who: "uid:0".into(),
    }
}

fn plan() -> Plan {
    Plan { stages: default_stages(), when: RollbackWhen::default() }
}

impl Story {
    fn new() -> Story {
        let mut baseline = Baseline::default();
        baseline.note(86_400, [("a", Counts { authenticated: 5_000, errors: 1, failing: 0 })], 900);
        let mut story = Story {
            ramp: Ramp::start(plan(), progress()),
            health: Health::default(),
            baseline: Some(baseline),
            sums: Counts::default(),
            upstream: UpstreamState::Up,
            maintenance: false,
            now: Instant::now(),
            unix: 1_000,
        };
        story.health.take(&story.sample(), story.now);
        story
    }

    fn sample(&self) -> HealthSample {
        let upstreams = vec![("x".into(), self.upstream)];
        HealthSample { services: vec![("a".into(), self.sums)], upstreams, ..HealthSample::default() }
    }

    /// A second with these calls.
    fn second(&mut self, authenticated: u64, failing: u64) -> RampStep {
        self.now += Duration::from_secs(1);
        self.unix += 1;
        self.sums += Counts { authenticated, errors: 0, failing };
        self.health.take(&self.sample(), self.now);
        let figures =
            Figures { health: &self.health, baseline: self.baseline.as_ref(), maintenance: self.maintenance };
        let step = self.ramp.step(figures, self.now, self.unix);
        if step == RampStep::Advance {
            self.health.begin_stage(self.now);
        }
        step
    }

    /// Until something happens; after how many seconds, and what.
    fn until(&mut self, limit: u64, authenticated: u64, failing: u64) -> (u64, RampStep) {
        let mut last = self.second(authenticated, failing);
        let mut seconds = 1;
        while matches!(last, RampStep::Stay { .. }) && seconds < limit {
            last = self.second(authenticated, failing);
            seconds += 1;
        }
        (seconds, last)
    }

    fn missing(&self) -> Vec<String> {
        self.ramp.missing().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_healthy_ramp_goes_through_its_stages_in_their_time() {
    let mut story = Story::new();
    // The first step serves no time: nothing came before it.
    assert_eq!(story.until(9_999, 2, 0), (3_601, RampStep::Advance));
    assert_eq!((story.ramp.stage().to_string(), story.ramp.reached().len()), ("25% 1h".to_owned(), 2));
    assert_eq!(story.until(9_999, 2, 0), (3_600, RampStep::Advance));
    assert_eq!(story.until(9_999, 2, 0), (7_200, RampStep::Advance));
    assert_eq!(story.until(9_999, 2, 0), (7_200, RampStep::Advance));
    assert_eq!(story.ramp.stage().to_string(), "100%");
    assert_eq!(story.until(9_999, 2, 0), (1, RampStep::Finish));
}

#[test]
fn an_idle_night_holds_the_ramp_and_it_says_whose_calls_are_missing() {
    let mut story = Story::new();
    let (_, step) = story.until(20_000, 0, 0);
    assert!(matches!(step, RampStep::Stay { .. }));
    assert_eq!(story.missing(), ["calls of a: 0 of 20 seen in this stage"]);
    (0..19).for_each(|_| drop(story.second(1, 0)));
    assert_eq!(story.missing(), ["calls of a: 19 of 20 seen in this stage"]);
    assert_eq!(story.second(1, 0), RampStep::Advance, "its time was served long ago");
}

#[test]
fn of_a_service_that_hardly_ever_calls_a_stage_wants_no_more_than_it_ever_did() {
    let mut story = Story::new();
    let mut baseline = Baseline::default();
    baseline.note(1, [("a", Counts { authenticated: 2, ..Counts::default() })], 1);
    baseline.note(1, [("b", Counts { authenticated: 1_000, ..Counts::default() })], 1);
    story.baseline = Some(baseline);
    story.until(3_700, 0, 0);
    assert_eq!(story.missing(), ["calls of a: 0 of 2 seen in this stage", "calls of b: 0 of 20 seen in this stage"]);
}

#[test]
fn without_a_baseline_anybodys_calls_are_evidence() {
    let mut story = Story::new();
    story.baseline = None;
    story.until(3_700, 0, 0);
    assert_eq!(story.missing(), ["authenticated calls: 0 of 20 seen in this stage"]);
    assert_eq!(story.second(20, 0), RampStep::Advance);
}

#[test]
fn a_broken_service_takes_it_back_also_while_paused_and_at_every_stage() {
    for paused in [false, true] {
        let mut story = Story::new();
        story.until(60, 1, 0);
        if paused {
            story.ramp.pause().unwrap();
            assert_eq!(story.second(1, 0), RampStep::Stay { missing: vec![Missing::Resume] });
        }
        let (seconds, step) = story.until(100, 0, 1);
        let RampStep::RollBack(evidence) = step else { panic!("{step:?}") };
        assert_eq!((evidence.signal, &evidence.services[..]), (Signal::ServiceFailing, &["a".to_owned()][..]));
        assert!(seconds <= 5, "{seconds}");
    }
}

#[test]
fn a_stage_must_be_healthy_for_its_whole_time() {
    let mut story = Story::new();
    story.until(3_000, 2, 0);
    story.upstream = UpstreamState::Down;
    story.until(30, 2, 0);
    let worry = "health: the backend of x has failed its health check for 29 s";
    assert_eq!(story.missing()[..2], [worry.to_owned(), "1h more of health".to_owned()]);
    story.upstream = UpstreamState::Up;
    assert_eq!(story.until(9_999, 2, 0), (3_600, RampStep::Advance));
}

#[test]
fn maintenance_suspends_judgement_and_stops_the_time() {
    let mut story = Story::new();
    story.until(3_000, 2, 0);
    story.maintenance = true;
    story.upstream = UpstreamState::Down;
    for _ in 0..600 {
        assert_eq!(story.second(0, 3), RampStep::Stay { missing: vec![Missing::Maintenance] });
    }
    story.maintenance = false;
    story.upstream = UpstreamState::Up;
    story.health.forget(story.now);
    assert_eq!(story.until(9_999, 2, 0), (601, RampStep::Advance));
}

#[test]
fn pause_stops_the_time_and_resume_goes_on() {
    let mut story = Story::new();
    story.until(3_000, 2, 0);
    assert_eq!((story.ramp.resume(), story.ramp.pause()), (Err(RampRefused::NotPaused), Ok(())));
    story.until(10_000, 2, 0);
    assert_eq!(
        (story.ramp.pause(), story.missing()),
        (Err(RampRefused::Paused), vec!["`ramp resume`: it is paused".to_owned()])
    );
    story.ramp.resume().unwrap();
    assert_eq!(story.until(9_999, 2, 0), (601, RampStep::Advance));
}

#[test]
fn a_persons_word_advances_without_time_or_evidence_and_at_the_end_finishes() {
    let mut story = Story::new();
    for _ in 0..4 {
        assert!(story.ramp.advance(5));
    }
    assert_eq!((story.ramp.stage().to_string(), story.ramp.advance(6)), ("100%".to_owned(), false));
    assert_eq!(story.ramp.progress().stage_started, 5);
}

#[test]
fn a_killed_process_goes_on_in_the_middle_of_its_stage_whatever_the_clock_says() {
    let mut story = Story::new();
    story.until(1_801, 2, 0);
    let kept = serde_json::to_string(story.ramp.progress()).unwrap();
    for clock in [-600_i64, 0, 600] {
        let mut story = Story::new();
        story.unix = (story.unix + 1_800).saturating_add_signed(clock);
        story.ramp = Ramp::start(plan(), serde_json::from_str(&kept).unwrap());
        assert_eq!(story.until(9_999, 2, 0), (1_801, RampStep::Advance), "{clock}");
    }
    assert!(serde_json::from_str::<Progress>(&kept[..kept.len() - 1]).is_err());
    assert!(serde_json::from_str::<Progress>(&kept.replace("stage\"", "other\"")).is_err());
}

#[test]
fn a_process_that_stood_still_serves_no_time() {
    let mut story = Story::new();
    story.until(100, 2, 0);
    let before = story.ramp.progress().served_ms;
    story.now += Duration::from_secs(36_000);
    assert!(matches!(story.second(2, 0), RampStep::Stay { .. }));
    assert_eq!(story.ramp.progress().served_ms - before, 5_000);
}

#[test]
fn a_stage_that_is_no_more_becomes_the_last_one() {
    let ramp = Ramp::start(plan(), Progress { stage: 17, ..progress() });
    assert_eq!(ramp.stage().to_string(), "100%");
}
