use super::*;
use crate::rollout::health::{HealthSample, UpstreamState};

/// Feeds the same counts each second, and judges.
struct Case {
    health: Health,
    sums: Vec<(Arc<str>, Counts)>,
    upstream: UpstreamState,
    now: Instant,
    baseline: Option<Baseline>,
    when: RollbackWhen,
}

impl Case {
    fn new() -> Case {
        let mut case = Case {
            health: Health::default(),
            sums: Vec::new(),
            upstream: UpstreamState::Up,
            now: Instant::now(),
            baseline: None,
            when: RollbackWhen::default(),
        };
        case.seconds(1, &[]);
        case
    }

    /// So many seconds of these calls: authenticated, errors, failing.
    fn seconds(&mut self, seconds: u64, each: &[(&str, [u64; 3])]) -> &mut Case {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            for (id, [authenticated, errors, failing]) in each {
                let added = Counts { authenticated: *authenticated, errors: *errors, failing: *failing };
                match self.sums.iter_mut().find(|(other, _)| **other == **id) {
                    Some((_, sum)) => *sum += added,
                    None => self.sums.push(((*id).into(), added)),
                }
            }
            let upstreams = vec![("0.0.0.0:8001".into(), self.upstream)];
            let failing = self.sums.iter().map(|(id, sum)| (Arc::clone(id), "a rule".into(), sum.failing)).collect();
            self.health.take(&HealthSample { services: self.sums.clone(), failing, upstreams }, self.now);
        }
        self
    }

    fn judge(&self) -> Judgement {
        judge(&self.health, self.baseline.as_ref(), &self.when, self.now)
    }

    fn over(&self) -> Option<(Signal, Priority)> {
        self.judge().over.map(|evidence| (evidence.signal, evidence.priority))
    }
}

#[test]
fn steady_traffic_is_over_nothing_and_worries_nobody() {
    let mut case = Case::new();
    case.seconds(1_000, &[("a", [5, 0, 0]), ("b", [1, 0, 0])]);
    assert_eq!(case.judge(), Judgement::default());
}

#[test]
fn one_service_over_its_rate_is_named_with_window_samples_and_limit() {
    let mut case = Case::new();
    case.seconds(30, &[("a", [50, 0, 0]), ("b", [1, 0, 1])]);
    let evidence = case.judge().over.unwrap();
    assert_eq!((evidence.signal, evidence.priority), (Signal::ServiceFailing, Priority::Limit));
    assert_eq!((evidence.samples, evidence.failed, evidence.window_seconds), (60, 30, 30));
    assert_eq!((evidence.rate, evidence.limit), (Some(BasisPoints(5_000)), Some(BasisPoints(500))));
    assert_eq!((&evidence.services[..], &evidence.rules[..]), (&["b".to_owned()][..], &["a rule".to_owned()][..]));
    let said = "30 of 60 calls of b failed their checks in 30 s (50 %, limit 5 %)";
    assert_eq!(evidence.to_string(), said, "the noise of a busy neighbour hides nobody");
}

#[test]
fn at_the_limit_is_not_over_it_and_too_few_samples_judge_nobody() {
    let mut case = Case::new();
    case.seconds(19, &[("a", [1, 0, 0])]).seconds(1, &[("a", [0, 0, 1])]);
    assert_eq!(case.over(), None, "1 of 20 is 5 %");
    case.seconds(1, &[("a", [0, 0, 1])]);
    assert_eq!(case.over(), Some((Signal::ServiceFailing, Priority::Limit)), "2 of 21 is more");
    let mut case = Case::new();
    case.seconds(1, &[("a", [0, 0, 19])]);
    assert_eq!(case.over(), None, "19 are too few");
    assert_eq!(case.judge().worries.len(), 1, "but they worry");
    case.seconds(1, &[("a", [0, 0, 1])]);
    assert_eq!(case.over(), Some((Signal::ServiceFailing, Priority::Limit)));
}

#[test]
fn a_quiet_service_is_judged_over_a_longer_window() {
    let mut case = Case::new();
    for _ in 0..20 {
        case.seconds(1, &[("heartbeat", [0, 0, 1])]).seconds(29, &[("busy", [10, 0, 0])]);
    }
    let evidence = case.judge().over.unwrap();
    assert_eq!((evidence.services[0].as_str(), evidence.window_seconds), ("heartbeat", 600));
    let mut case = Case::new();
    for _ in 0..20 {
        case.seconds(1, &[("hourly", [0, 0, 1])]).seconds(119, &[("busy", [1, 0, 0])]);
    }
    let evidence = case.judge().over.unwrap();
    assert_eq!(
        (evidence.services[0].as_str(), evidence.window_seconds > 2_000),
        ("hourly", true),
        "by its whole stage"
    );
}

#[test]
fn several_failing_services_are_one_signal_of_their_own_each_counted_once() {
    let mut case = Case::new();
    case.seconds(30, &[("a", [0, 0, 1]), ("b", [0, 0, 100]), ("c", [1_000, 0, 0])]);
    let judgement = case.judge();
    let evidence = judgement.over.unwrap();
    assert_eq!((evidence.signal, evidence.priority), (Signal::MostCallsFailing, Priority::P0));
    assert_eq!((evidence.services, judgement.signals), (vec!["a".to_owned(), "b".to_owned()], 2));
    assert_eq!((evidence.rate, evidence.also), (Some(BasisPoints(6_666)), vec![Signal::ServiceFailing]));
    let mut one_floods = Case::new();
    one_floods.seconds(30, &[("a", [0, 0, 100_000]), ("b", [1, 0, 0]), ("c", [1, 0, 0])]);
    assert_eq!(one_floods.over(), Some((Signal::ServiceFailing, Priority::Limit)), "however often it calls");
}

#[test]
fn errors_are_over_twice_the_usual_rate_and_more_than_chance() {
    let usual = |errors: u64| {
        let mut baseline = Baseline::default();
        baseline.note(1, [("a", Counts { authenticated: 10_000, errors, failing: 0 })], 1);
        baseline
    };
    // (errors in the baseline, calls, errors, over?)
    for (usual_errors, calls, errors, over) in [
        (0, 20, 1, false),
        (0, 20, 4, false),
        (0, 20, 5, true),
        (0, 19, 19, false),
        (0, 1_000, 10, false),
        (0, 1_000, 20, false),
        (0, 1_000, 21, true),
        (0, 100_000, 1_001, true),
        (0, 100_000, 1_000, false),
        (500, 1_000, 100, false),
        (500, 1_000, 101, true),
        (500, 100, 12, false),
        (500, 20, 20, true),
    ] {
        let mut case = Case::new();
        case.baseline = Some(usual(usual_errors));
        case.seconds(1, &[("a", [calls, errors, 0])]);
        let expected = over.then_some((Signal::ErrorRate, Priority::Limit));
        assert_eq!(case.over(), expected, "{usual_errors} in the baseline, {errors} of {calls}");
    }
    let mut without = Case::new();
    without.seconds(1, &[("a", [20, 5, 0])]);
    let evidence = without.judge().over.unwrap();
    assert_eq!(
        (evidence.limit, evidence.usual),
        (Some(BasisPoints(100)), Some(FLOOR)),
        "without a baseline, the floor"
    );
}

#[test]
fn an_upstream_that_was_up_may_be_down_for_its_minute_and_one_never_seen_up_does_not_count() {
    let mut case = Case::new();
    case.upstream = UpstreamState::Down;
    case.seconds(60, &[]);
    assert_eq!((case.over(), case.judge().worries.len()), (None, 1));
    case.seconds(1, &[]);
    assert_eq!(case.over(), Some((Signal::UpstreamDown, Priority::P0)));
    let said = "the backend of 0.0.0.0:8001 has failed its health check for 60 s (limit 60 s)";
    assert_eq!(case.judge().over.unwrap().to_string(), said);
    case.upstream = UpstreamState::Up;
    case.seconds(1, &[]);
    assert_eq!(case.judge(), Judgement::default());
    let mut never = Case::new();
    never.health = Health::default();
    never.upstream = UpstreamState::Down;
    never.seconds(200, &[]);
    assert_eq!((never.over(), never.judge().worries.len()), (None, 1));
}

#[test]
fn the_rows_of_ten_minutes_hold_where_the_limits_are_wider() {
    let mut case = Case::new();
    case.when.service_failure_rate = Percentage::new(60).unwrap();
    case.when.error_rate_factor = Factor(2_000);
    case.seconds(598, &[("a", [3, 0, 1])]);
    assert_eq!(case.over(), None, "not whole ten minutes yet");
    case.seconds(3, &[("a", [3, 0, 1])]);
    assert_eq!(case.over(), Some((Signal::ServiceFailing, Priority::P1)));
    let mut case = Case::new();
    case.when.error_rate_factor = Factor(2_000);
    case.seconds(598, &[("a", [25, 1, 0])]);
    assert_eq!(case.over(), None);
    case.seconds(3, &[("a", [25, 1, 0])]);
    assert_eq!(case.over(), Some((Signal::ErrorRate, Priority::P1)));
}

#[test]
fn the_most_urgent_signal_wins_and_names_the_others() {
    let mut case = Case::new();
    case.seconds(2, &[("a", [50, 50, 20])]);
    case.upstream = UpstreamState::Down;
    case.seconds(61, &[("a", [50, 50, 20])]);
    let judgement = case.judge();
    let evidence = judgement.over.unwrap();
    assert_eq!((evidence.signal, judgement.signals), (Signal::UpstreamDown, 3));
    assert_eq!(evidence.also, [Signal::ServiceFailing, Signal::ErrorRate]);
}

#[test]
fn a_service_that_wavers_about_the_limit_worries_from_half_of_it_on() {
    let mut case = Case::new();
    case.seconds(60, &[("a", [33, 0, 1])]);
    let judgement = case.judge();
    assert_eq!(judgement.over, None);
    assert_eq!(judgement.worries[0].to_string(), "60 of 2040 calls of a failed their checks in the last 1 min");
    case.seconds(400, &[("a", [33, 0, 0])]);
    assert_eq!(case.judge(), Judgement::default(), "five quiet minutes later it does no more");
}

#[test]
fn the_chance_that_errors_come_by_chance_is_never_set_too_low() {
    // Against the binomial tail itself, added up term by term.
    for (n, p) in [(20_u64, 0.005_f64), (100, 0.005), (1_000, 0.005), (300, 0.03)] {
        for k in 1..n.min(60) {
            let (mut term, mut below) = ((1.0 - p).powf(n as f64), 0.0);
            for i in 0..k {
                below += term;
                term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
            }
            let tail = 1.0 - below;
            if is_more_than_chance(k, n, BasisPoints((p * 10_000.0).round() as u64)) {
                assert!(tail < 1.1e-6, "{k} of {n} at {p}: {tail}");
            }
        }
    }
    assert!(!is_more_than_chance(0, 0, FLOOR) && !is_more_than_chance(0, 50, FLOOR));
}

#[test]
fn the_rules_of_every_service_over_its_limit_are_named_and_none_where_one_of_them_has_none() {
    let counts = |failing| Counts { failing, ..Counts::default() };
    let judged = |rules: &[(&str, &str, u64)], seconds: u64| {
        let (mut health, begun) = (Health::default(), Instant::now());
        health.take(&HealthSample::default(), begun);
        for second in 1..=seconds {
            let services = [("a", 20), ("b", 1), ("c", 0)].map(|(id, failing)| {
                let ok = Counts { authenticated: if id == "b" { 9 } else { 1 }, ..counts(failing) };
                let times = |n: u64| n * second;
                (id.into(), Counts { authenticated: times(ok.authenticated), failing: times(ok.failing), errors: 0 })
            });
            let failing =
                rules.iter().map(|(id, rule, each)| ((*id).into(), (*rule).into(), each * second)).collect();
            health.take(
                &HealthSample { services: services.into(), failing, upstreams: Vec::new() },
                begun + Duration::from_secs(second),
            );
        }
        let when = RollbackWhen { scope: Scope::Rule, ..RollbackWhen::default() };
        judge(&health, None, &when, begun + Duration::from_secs(seconds)).over.unwrap()
    };
    let both = [("a", "npu", 20), ("b", "chat", 1), ("a", "shared", 1), ("b", "shared", 1)];
    // In whole ten minutes, `b` is below the row's 20 % and above the limit's 5 %.
    for (seconds, priority) in [(30, Priority::Limit), (700, Priority::P1)] {
        let evidence = judged(&both, seconds);
        assert_eq!((evidence.signal, evidence.priority), (Signal::ServiceFailing, priority));
        assert_eq!(evidence.services, ["a", "b"]);
        assert_eq!(evidence.rules, ["npu", "shared", "chat"]);
        let unknown = judged(&both[..1], seconds);
        assert_eq!((unknown.services.len(), unknown.rules), (2, Vec::new()), "no rules would be enough");
    }
}
