use super::*;

fn counts(authenticated: u64, errors: u64, failing: u64) -> Counts {
    Counts { authenticated, errors, failing }
}

fn sample(services: &[(&str, Counts)]) -> HealthSample {
    HealthSample {
        services: services.iter().map(|(id, counts)| ((*id).into(), *counts)).collect(),
        ..Default::default()
    }
}

/// Takes a sample of one service, and says what was counted of it then.
struct Watch {
    health: Health,
    start: Instant,
}

impl Watch {
    fn new() -> Watch {
        Watch { health: Health::default(), start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn take(&mut self, second: u64, of_a: Counts) -> Vec<(Arc<str>, Counts)> {
        let now = self.at(second);
        self.health.take(&sample(&[("a", of_a)]), now)
    }

    fn counts(&self, span: Span, second: u64) -> Counts {
        self.health.counts("a", span, self.at(second))
    }
}

#[test]
fn a_window_holds_exactly_the_samples_taken_in_it() {
    let mut watch = Watch::new();
    for second in 0..=700 {
        watch.take(second, counts(second * 3, second, second / 10));
    }
    // The sample of second 640 is just out of the last minute.
    assert_eq!(watch.counts(Span::Minutes(1), 700), counts(180, 60, 6));
    assert_eq!(watch.counts(Span::Minutes(5), 700), counts(900, 300, 30));
    assert_eq!(watch.counts(Span::Minutes(10), 700), counts(1_800, 600, 60));
    assert_eq!(watch.counts(Span::Stage, 700), counts(2_100, 700, 70));
    assert_eq!(watch.health.length(Span::Minutes(10), watch.at(700)), Duration::from_secs(600));
}

#[test]
fn windows_agree_with_adding_up_by_hand() {
    let mut watch = Watch::new();
    let (mut last, mut added, mut state) = (counts(7, 7, 7), Vec::new(), 0x9e37_79b9_u64);
    watch.take(0, last);
    let mut second = 0;
    for _ in 0..900 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        second += 1 + (state >> 60) % 3;
        let more = counts((state >> 33) % 4, (state >> 40) % 2, u64::from((state >> 50).is_multiple_of(5)));
        last += more;
        watch.take(second, last);
        added.push((second, more));
        for minutes in [1, 5, 10] {
            let mut by_hand = Counts::default();
            let recent = added.iter().filter(|(at, _)| second - at < u64::from(minutes) * 60);
            recent.for_each(|(_, more)| by_hand += *more);
            assert_eq!(watch.counts(Span::Minutes(minutes), second), by_hand);
        }
    }
}

#[test]
fn what_was_before_the_first_sample_judges_nobody() {
    let mut watch = Watch::new();
    assert_eq!(watch.take(5, counts(1_000, 500, 400)), []);
    assert_eq!(watch.counts(Span::Stage, 5), Counts::default());
    assert!(!watch.health.has_failed("a") && !watch.health.has_errors());
    assert_eq!(watch.take(6, counts(1_001, 500, 400)), [("a".into(), counts(1, 0, 0))]);
}

#[test]
fn a_service_that_appears_later_begins_at_zero_and_a_counter_that_went_back_begins_anew() {
    let mut watch = Watch::new();
    watch.take(0, counts(0, 0, 0));
    let (one, two) = (watch.at(1), watch.at(2));
    watch.health.take(&sample(&[("b", counts(4, 0, 2))]), one);
    assert_eq!(watch.health.counts("b", Span::Minutes(1), one), counts(4, 0, 2));
    watch.health.take(&sample(&[("b", counts(1, 0, 2))]), two);
    assert_eq!(watch.health.counts("b", Span::Minutes(1), two), counts(5, 0, 2));
    assert_eq!(watch.health.total(Span::Minutes(1), two), counts(5, 0, 2));
}

#[test]
fn forgetting_empties_every_window_and_a_new_stage_only_its_own() {
    let mut watch = Watch::new();
    watch.take(0, counts(0, 0, 0));
    watch.take(1, counts(5, 1, 2));
    let now = watch.at(2);
    watch.health.begin_stage(now);
    assert_eq!((watch.counts(Span::Stage, 2), watch.counts(Span::Minutes(1), 2)), (counts(0, 0, 0), counts(5, 1, 2)));
    assert_eq!(watch.health.length(Span::Stage, watch.at(5)), Duration::from_secs(3));
    watch.health.forget(now);
    for span in Span::ALL {
        assert_eq!(watch.counts(span, 2), Counts::default());
    }
    watch.take(3, counts(6, 1, 2));
    assert_eq!(watch.counts(Span::Minutes(1), 3), counts(1, 0, 0), "counters go on from where they were");
    assert_eq!(watch.health.length(Span::Minutes(1), watch.at(3)), Duration::from_secs(1));
}

#[test]
fn an_outage_is_told_with_whether_it_was_up_before() {
    let (mut watch, of) =
        (Watch::new(), |state| HealthSample { upstreams: vec![("x".into(), state)], ..Default::default() });
    let down = |watch: &Watch, second| -> Vec<(u64, bool)> {
        watch.health.down(watch.at(second)).map(|(_, down, was_up)| (down.as_secs(), was_up)).collect()
    };
    for (second, state) in [(0, UpstreamState::Unknown), (1, UpstreamState::Down), (3, UpstreamState::Down)] {
        let now = watch.at(second);
        watch.health.take(&of(state), now);
    }
    assert_eq!(down(&watch, 4), [(3, false)], "never seen up");
    for (second, state) in [(5, UpstreamState::Up), (6, UpstreamState::Down), (16, UpstreamState::Down)] {
        let now = watch.at(second);
        watch.health.take(&of(state), now);
    }
    assert_eq!(down(&watch, 16), [(10, true)]);
    let now = watch.at(17);
    watch.health.forget(now);
    assert_eq!(down(&watch, 20), [(3, true)], "an outage counts from where judgement begins");
    let now = watch.at(21);
    watch.health.take(&of(UpstreamState::Up), now);
    assert_eq!(down(&watch, 21), []);
}

#[test]
fn the_rules_under_which_a_service_failed_are_told_by_how_often() {
    let mut watch = Watch::new();
    let of = |x, y| HealthSample {
        failing: vec![("a".into(), "x".into(), x), ("a".into(), "y".into(), y)],
        ..Default::default()
    };
    for (second, sample) in [(0, of(9, 0)), (1, of(10, 4))] {
        let now = watch.at(second);
        watch.health.take(&sample, now);
    }
    assert_eq!(watch.health.failing_rules("a").iter().map(|rule| &**rule).collect::<Vec<_>>(), ["y", "x"]);
    assert!(watch.health.failing_rules("b").is_empty());
    let now = watch.at(2);
    watch.health.begin_stage(now);
    assert!(watch.health.failing_rules("a").is_empty());
}

#[test]
fn services_are_bounded() {
    let mut health = Health::default();
    let (now, ids) = (Instant::now(), (0..SERVICES + 5).map(|n| (format!("s{n}").into(), Counts::default())));
    health.take(&HealthSample { services: ids.collect(), ..Default::default() }, now);
    assert_eq!(health.services().count(), SERVICES);
}

#[test]
fn silence_counts_from_the_last_call_or_from_when_we_began_to_watch() {
    let mut watch = Watch::new();
    watch.take(10, counts(0, 0, 0));
    let silent =
        |watch: &Watch, id, second| watch.health.silent_for(id, watch.at(second)).map(|silent| silent.as_secs());
    assert_eq!((silent(&watch, "a", 40), silent(&watch, "never", 40)), (Some(30), Some(30)));
    watch.take(41, counts(1, 0, 0));
    assert_eq!(silent(&watch, "a", 45), Some(4));
    assert_eq!(Health::default().silent_for("a", watch.at(1)), None);
}
