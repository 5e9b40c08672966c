//! Tables of figures and verdicts.

use super::figures::{Around, Asked, Baseline, EnvFiles, Key, Lasts, Offset, Standing, Suite, UpstreamIs};
use super::phase::{Hour, Phase, Service, Times};
use super::*;
use crate::rollout::recorded::peers::Peers;
use std::collections::BTreeSet;

const DAY: i64 = 86_400;

/// A phase in which nothing is wrong.
fn good_phase() -> Phase {
    let mut worker = Service { id: "npu-worker".into(), authenticated: 100, ..Service::default() };
    worker.drift.add(-2);
    let quiet = Service { id: "frontend".into(), may_be_silent: true, ..Service::default() };
    let mut phase = Phase::of(0, 86_400_000_000, &Peers::default());
    phase.services = vec![worker, quiet];
    phase.hours = vec![Hour { authenticated: 100, answered: 200, ..Hour::default() }];
    phase.own.add(300);
    phase.whole.add(20_000);
    (phase.exempt, phase.unsigned) = (50, 1);
    phase
}

/// Figures that are a go at every gate.
fn good() -> Figures {
    Figures {
        keys: Ok(vec![Key { service: "npu-worker".into(), lasts: Lasts::For(89 * DAY) }]),
        env_files: Ok(EnvFiles { with_secrets: 2, open: Vec::new() }),
        redis_clock: Ok(Some(Offset { milliseconds: -12, uncertain: 1 })),
        around: Ok(Around { tried: vec!["172.16.168.20:18001".into()], ..Around::default() }),
        standing: Ok(Standing {
            upstreams: vec![("127.0.0.1:18001".into(), UpstreamIs::Up)],
            scraped: Some(15),
            baseline: Baseline { calls: 100, seconds: 86_400, is_enough: true },
            enforces: true,
            percentage: 75,
            ..Standing::default()
        }),
        elapsed: Ok(90_000),
        phase: Ok(good_phase()),
        drilled: Ok(Some(3_600)),
        last_stage: 75,
        suite: Ok(Suite::Asked {
            exempt: Asked { good: 3, ..Asked::default() },
            unsigned: Asked { good: 2, ..Asked::default() },
        }),
    }
}

fn judged(gate: Gate, figures: &Figures) -> Vec<Finding> {
    judge(gate, figures, &Limits::default())
}

/// Those that do not hold, with the figure.
fn wrong(gate: Gate, figures: &Figures) -> Vec<(&'static str, Verdict, String)> {
    let findings = judged(gate, figures);
    assert_eq!(is_go(&findings), findings.iter().all(|finding| finding.verdict == Verdict::Pass));
    let not = findings.into_iter().filter(|finding| finding.verdict != Verdict::Pass);
    not.map(|finding| {
        assert!(finding.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()), "{finding:?}");
        (finding.criterion.code(), finding.verdict, finding.measured)
    })
    .collect()
}

#[test]
fn good_figures_are_a_go_at_every_gate_and_say_what_they_are() {
    for gate in Gate::ALL {
        assert_eq!(wrong(gate, &good()), [], "{gate:?}");
        for finding in judged(gate, &good()) {
            assert!(!finding.measured.is_empty() && !finding.limit.is_empty(), "{finding:?}");
        }
    }
}

#[test]
fn every_criterion_has_a_code_of_its_own_and_a_gate() {
    let codes: BTreeSet<&str> = Criterion::ALL.into_iter().map(Criterion::code).collect();
    assert_eq!(codes.len(), Criterion::ALL.len());
    for criterion in Criterion::ALL {
        assert_eq!(Criterion::parse(criterion.code()), Some(criterion));
        assert!(criterion.gates().contains(&Gate::Full), "{criterion:?}: the last gate has all of them");
    }
    let count = |gate| judged(gate, &good()).len();
    assert_eq!((count(Gate::Start), count(Gate::Soft), count(Gate::Ramp), count(Gate::Full)), (10, 35, 35, 36));
    assert_eq!(Criterion::parse("nonsense"), None);
}

#[test]
fn what_is_not_known_is_no_go() {
    let none = || Err("nobody knows".to_owned());
    let figures = Figures {
        keys: none().map(|()| Vec::new()),
        env_files: none().map(|()| EnvFiles::default()),
        redis_clock: none().map(|()| None),
        around: none().map(|()| Around::default()),
        standing: none().map(|()| Standing::default()),
        elapsed: none().map(|()| 0),
        phase: none().map(|()| good_phase()),
        drilled: none().map(|()| None),
        last_stage: 75,
        suite: none().map(|()| Suite::NotAsked),
    };
    for gate in Gate::ALL {
        let findings = judged(gate, &figures);
        assert!(!is_go(&findings));
        for finding in findings {
            assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
            assert!(finding.measured.contains("nobody knows"), "{finding:?}");
        }
    }
}

/// One thing is wrong: exactly these criteria say so, with this in the figure.
type Break = (&'static str, fn(&mut Figures), &'static [(&'static str, Verdict, &'static str)]);

fn check(gate: Gate, breaks: &[Break]) {
    for (name, break_it, expected) in breaks {
        let mut figures = good();
        break_it(&mut figures);
        let found = wrong(gate, &figures);
        let found_codes: Vec<_> = found.iter().map(|(code, verdict, _)| (*code, *verdict)).collect();
        let codes: Vec<_> = expected.iter().map(|(code, verdict, _)| (*code, *verdict)).collect();
        assert_eq!(found_codes, codes, "{name}: {found:?}");
        for ((_, _, measured), (_, _, part)) in found.iter().zip(*expected) {
            assert!(measured.contains(part), "{name}: {measured:?} does not say {part:?}");
        }
    }
}

fn standing(figures: &mut Figures) -> &mut Standing {
    figures.standing.as_mut().unwrap()
}

fn phase(figures: &mut Figures) -> &mut Phase {
    figures.phase.as_mut().unwrap()
}

fn worker(figures: &mut Figures) -> &mut Service {
    &mut phase(figures).services[0]
}

fn hour(figures: &mut Figures) -> &mut Hour {
    &mut phase(figures).hours[0]
}

fn lasts(figures: &mut Figures, lasts: Lasts) {
    figures.keys = Ok(vec![Key { service: "npu-worker".into(), lasts }]);
}

use Verdict::{Fail, Unknown};

#[test]
fn what_stands_ready_is_judged_by_its_own_figure_alone() {
    check(
        Gate::Start,
        &[
            ("85 days are not more", |f| lasts(f, Lasts::For(85 * DAY)), &[("keys", Fail, "npu-worker: 85 d left")]),
            ("a second more is", |f| lasts(f, Lasts::For(85 * DAY + 1)), &[]),
            ("without end", |f| lasts(f, Lasts::Forever), &[]),
            ("no age", |f| lasts(f, Lasts::Unknown), &[("keys", Unknown, "age is not known")]),
            ("missing", |f| lasts(f, Lasts::Missing("it has no key".into())), &[("keys", Fail, "has no key")]),
            ("nobody", |f| f.keys = Ok(Vec::new()), &[("keys", Unknown, "no service")]),
            (
                "an open file",
                |f| f.env_files.as_mut().unwrap().open.push("/etc/a.env has mode 0644".into()),
                &[("env_files", Fail, "/etc/a.env has mode 0644")],
            ),
            ("no redis", |f| f.redis_clock = Ok(None), &[]),
            (
                "100 s",
                |f| f.redis_clock = Ok(Some(Offset { milliseconds: -100_000, uncertain: 0 })),
                &[("redis_clock", Fail, "-100000 ms")],
            ),
            (
                "perhaps 100 s",
                |f| f.redis_clock = Ok(Some(Offset { milliseconds: 99_999, uncertain: 1 })),
                &[("redis_clock", Unknown, "round trip")],
            ),
            (
                "open around",
                |f| f.around.as_mut().unwrap().open.push("10.0.0.5:80".into()),
                &[("upstream_around", Fail, "10.0.0.5:80 takes connections")],
            ),
            (
                "elsewhere",
                |f| f.around.as_mut().unwrap().elsewhere.push("10.0.0.9:80".into()),
                &[("upstream_around", Unknown, "another machine")],
            ),
            ("not ready", |f| standing(f).not_ready.push("draining".into()), &[("ready", Fail, "draining")]),
            (
                "down",
                |f| standing(f).upstreams[0].1 = UpstreamIs::Down("refused".into()),
                &[("upstream", Fail, "refused")],
            ),
            ("not asked", |f| standing(f).upstreams[0].1 = UpstreamIs::Unknown, &[("upstream", Unknown, "not been")]),
            ("reload", |f| standing(f).reload_refused = true, &[("configuration", Fail, "refused")]),
            ("disk", |f| standing(f).not_durable = Some("disk full".into()), &[("state_durable", Fail, "disk full")]),
            ("records", |f| standing(f).records_lost = 1, &[("state_durable", Fail, "1 audit record lost")]),
            ("held", |f| standing(f).held = Some("by health".into()), &[("no_hold", Fail, "by health")]),
            ("scraped", |f| standing(f).scraped = Some(301), &[("monitoring", Fail, "5 min ago")]),
            ("never scraped", |f| standing(f).scraped = None, &[("monitoring", Fail, "never")]),
        ],
    );
    check(
        Gate::Soft,
        &[
            ("30 days later", |f| lasts(f, Lasts::For(30 * DAY)), &[("keys", Fail, "30 d left")]),
            ("31 days", |f| lasts(f, Lasts::For(31 * DAY)), &[]),
            ("over", |f| lasts(f, Lasts::For(-1)), &[("keys", Fail, "over its time")]),
            ("log mode is no matter here", |f| standing(f).enforces = false, &[]),
            (
                "no baseline",
                |f| standing(f).baseline = Baseline { calls: 1, seconds: 9, is_enough: false },
                &[("baseline", Fail, "1 authenticated call in 9 s")],
            ),
            (
                "an alert",
                |f| standing(f).alerts.push("npu-worker has not called for 900 s".into()),
                &[("no_critical", Fail, "has not called for 900 s")],
            ),
            ("short", |f| f.elapsed = Ok(86_399), &[("elapsed", Fail, "23 h")]),
            ("long enough", |f| f.elapsed = Ok(86_400), &[]),
            ("never drilled", |f| f.drilled = Ok(None), &[("drilled", Fail, "never")]),
            ("long ago", |f| f.drilled = Ok(Some(31 * 86_400)), &[("drilled", Fail, "31 d ago")]),
        ],
    );
    check(
        Gate::Full,
        &[
            ("log mode", |f| standing(f).enforces = false, &[("in_force", Fail, "log mode")]),
            ("too early", |f| standing(f).percentage = 50, &[("in_force", Fail, "enforce at 50 %")]),
            (
                "a rule",
                |f| standing(f).below.push(("npu".into(), 10)),
                &[("in_force", Fail, "the rule \"npu\" at 10 %")],
            ),
            ("as far as the rest", |f| standing(f).below.push(("npu".into(), 75)), &[]),
        ],
    );
}

#[test]
fn what_happened_is_judged_by_its_own_figure_alone() {
    check(
        Gate::Soft,
        &[
            ("unsigned", |f| worker(f).unsigned = 1, &[("signed", Fail, "npu-worker: 1 call without")]),
            (
                "silent",
                |f| phase(f).services[1].may_be_silent = false,
                &[("signed", Unknown, "frontend never called")],
            ),
            ("a wrong signature", |f| worker(f).bad_signatures = 1, &[("signatures", Fail, "npu-worker: 1 call")]),
            ("late", |f| worker(f).late = 1, &[("timestamps", Fail, "npu-worker: 1 call outside")]),
            ("not allowed", |f| worker(f).not_allowed = 1, &[("callers", Fail, "not allowed there")]),
            (
                "2 % and more",
                |f| worker(f).late = 3,
                &[("timestamps", Fail, "3 calls"), ("success_rate", Fail, "97.08 %")],
            ),
            ("ten clocks", |f| worker(f).drift.add(-100), &[("caller_clocks", Fail, "npu-worker is off by -100 s")]),
            ("overridden", |f| worker(f).overrides = 1, &[("overrides", Fail, "npu-worker: 1 call passed by it")]),
            ("no keys", |f| worker(f).not_served = 1, &[("availability", Fail, "99 % (100 of 101)")]),
            ("99 s are well", |f| worker(f).drift.add(99), &[]),
            ("an error", |f| worker(f).errors = 1, &[("availability", Fail, "99 %")]),
            ("a 401", |f| hour(f).exempt_unauthorized = 2, &[("exempt_reachable", Fail, "2 answered 401")]),
            ("one 401", |f| hour(f).exempt_unauthorized = 1, &[]),
            ("let in", |f| phase(f).let_in = 1, &[("service_refused", Fail, "1 unproved call let in")]),
            ("upstream errs", |f| hour(f).errors = 2, &[("upstream_errors", Fail, "1 % (2 of 200)")]),
            ("once in 200", |f| hour(f).errors = 1, &[]),
            ("slow", |f| phase(f).own.add(26_000), &[("overhead", Fail, "p95 26")]),
            ("slow upstream", |f| phase(f).whole.add(260_000), &[("request_latency", Fail, "p95 26")]),
            ("limited", |f| hour(f).rate_limited = 6, &[("rate_limited", Fail, "6 in the worst hour")]),
            ("strangers", |f| hour(f).unauthorized = 11, &[("unauthorized", Fail, "11")]),
            ("ten strangers", |f| hour(f).unauthorized = 10, &[]),
            ("forged", |f| hour(f).invalid = 6, &[("invalid_signatures", Fail, "6")]),
            ("old", |f| hour(f).late = 2, &[("late_timestamps", Fail, "2")]),
            ("blocked", |f| hour(f).blocked = 11, &[("blocked", Fail, "11")]),
            (
                "critical",
                |f| hour(f).unauthorized = 51,
                &[("no_critical", Fail, "hour 1: 51"), ("unauthorized", Fail, "51")],
            ),
            ("a bad hour", |f| hour(f).failed = 6, &[("no_critical", Fail, "6 of 106 calls")]),
            ("rolled back", |f| phase(f).rollbacks.push("npu".into()), &[("no_rollback", Fail, "npu")]),
            ("down", |f| phase(f).down = (87_000_000, 1), &[("uptime", Fail, "99.89 %, 1 restart")]),
            ("a short restart", |f| phase(f).down = (2_000_000, 3), &[]),
        ],
    );
}

#[test]
fn where_records_are_missing_nothing_passes_for_good_and_what_fails_still_fails() {
    let mut figures = good();
    phase(&mut figures).not_whole = Some("3 records are lost".into());
    hour(&mut figures).invalid = 6;
    figures.suite = Ok(Suite::NotAsked);
    let found = wrong(Gate::Soft, &figures);
    assert_eq!(found.len(), 22, "{found:#?}");
    for (code, verdict, measured) in found {
        let expected = if code == "invalid_signatures" { Fail } else { Unknown };
        assert_eq!(verdict, expected, "{code}");
        assert!(verdict == Fail || measured.contains("3 records are lost"), "{code}: {measured}");
    }
}

#[test]
fn a_phase_in_which_nothing_happened_proves_nothing() {
    let mut figures = good();
    figures.phase = Ok(Phase::of(0, 86_400_000_000, &Peers::default()));
    figures.suite = Err("nobody listens".into());
    let found = wrong(Gate::Soft, &figures);
    assert!(found.iter().all(|(_, verdict, _)| *verdict == Unknown), "{found:#?}");
    for code in ["signed", "caller_clocks", "exempt_reachable", "service_refused", "success_rate", "overhead"] {
        assert!(found.iter().any(|(found, _, _)| *found == code), "{code}: {found:#?}");
    }
}

#[test]
fn requests_of_our_own_win_over_records_and_without_them_the_line_says_so() {
    let mut figures = good();
    let bad = Asked { good: 1, bad: vec!["GET /api/chat: refused".into()], unknown: Vec::new() };
    let unknown = Asked { good: 1, bad: Vec::new(), unknown: vec!["POST /x: not sent".into()] };
    figures.suite = Ok(Suite::Asked { exempt: bad, unsigned: unknown });
    let codes: Vec<_> = wrong(Gate::Soft, &figures).into_iter().map(|(code, verdict, _)| (code, verdict)).collect();
    assert_eq!(codes, [("exempt_reachable", Fail), ("service_refused", Unknown)]);
    figures.suite = Ok(Suite::NotAsked);
    let findings = judged(Gate::Soft, &figures);
    let exempt = findings.iter().find(|finding| finding.criterion == Criterion::ExemptReachable).unwrap();
    assert_eq!(exempt.verdict, Verdict::Pass);
    assert!(exempt.measured.contains("from audit records"), "{exempt:?}");
}

#[test]
fn a_waiver_takes_one_criterion_out_and_no_other() {
    let mut figures = good();
    standing(&mut figures).scraped = None;
    let mut findings = judged(Gate::Start, &figures);
    assert!(!is_go(&findings));
    let waive = |findings: &mut Vec<Finding>, criterion| {
        let finding = findings.iter_mut().find(|finding| finding.criterion == criterion).unwrap();
        finding.waived = Some("no Prometheus yet".into());
    };
    waive(&mut findings, Criterion::Keys);
    assert!(!is_go(&findings));
    waive(&mut findings, Criterion::Monitoring);
    assert!(is_go(&findings));
}

#[test]
fn percentiles_are_of_the_sorted_list_and_a_hundredth_above_at_most() {
    let mut times = Times::default();
    assert_eq!(times.percentile(95), None);
    (1..=1_000u64).for_each(|micros| times.add(micros * 100));
    for percent in [1, 50, 95, 99, 100] {
        let (found, truth) = (times.percentile(percent).unwrap(), percent * 1_000);
        assert!(found >= truth && found - truth <= truth / 100, "{percent}: {found}");
    }
    let mut huge = Times::default();
    huge.add(u64::MAX);
    huge.add(0);
    assert_eq!((huge.percentile(50), huge.percentile(100)), (Some(0), Some(u64::MAX)));
}
