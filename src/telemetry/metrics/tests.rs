mod probes;

use super::*;
use crate::config::Upstream;
use crate::policy::certificates::CertificateBindings;
use crate::policy::decide::{Moment, Policy, ReplayPolicy, judge};
use crate::policy::decision::{Decision, Outcome, Refusal};
use crate::policy::enforcement::{Mode, Percentage, Sampling};
use crate::policy::failure_limit::FailureLimit;
use crate::policy::grants::GrantTable;
use crate::policy::outbound::OutboundRefusal;
use crate::policy::override_token::OverrideToken;
use crate::policy::replay::ReplayTable;
use crate::request::certificate::ClientCertificate;
use crate::request::client::LimitKey;
use crate::request::facts::{Claims, Presence, RequestFacts};
use crate::rules::classify::{Class, DefaultAccess, RuleSet};
use crate::signature::hmac_v1;
use crate::signature::key::{ServiceId, ServiceKey, ServiceKeys};
use crate::signature::verify::KeyLookup;
use crate::upstream::balance::Outstanding;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const NOW: u64 = 1_763_812_800;
const LOG: Enforcement = Enforcement { mode: Mode::Log, percentage: Percentage::FULL, sampling: Sampling::Call };
const ENFORCE: Enforcement = Enforcement { mode: Mode::Enforce, ..LOG };

/// What one request presents.
#[derive(Clone, Copy)]
enum Presents<'p> {
    Nothing,
    Signature(&'p str),
    Claims(&'p str),
    Override(&'p str),
    BadId,
}

/// The decision about a request where all paths ask for a signature and only `known` has a key.
fn service(enforcement: Enforcement, presents: Presents<'_>) -> Decision {
    decide(DefaultAccess::Service, enforcement, presents, ReplayPolicy::Off)
}

fn decide(
    access: DefaultAccess,
    enforcement: Enforcement,
    presents: Presents<'_>,
    replay: ReplayPolicy<'_>,
) -> Decision {
    let rules = RuleSet::build(Vec::new(), access).unwrap();
    let key = ServiceKey::from_text(&"a".repeat(64)).unwrap();
    let known = ServiceId::parse("known").unwrap();
    let (timestamp, forged) = (NOW.to_string(), "0".repeat(64));
    let signed = match presents {
        Presents::Signature(id) => Some(hmac_v1::sign(&key, &ServiceId::parse(id).unwrap(), "POST", "/x", NOW)),
        _ => None,
    };
    let mut claims = Claims::default();
    for (name, value) in signed.iter().flat_map(|signed| signed.iter()) {
        claims.note(name.as_bytes(), value.as_bytes());
    }
    match presents {
        Presents::Nothing | Presents::Signature(_) => {}
        Presents::Claims(id) => {
            claims.service_id = Presence::Once(id.as_bytes());
            claims.timestamp = Presence::Once(timestamp.as_bytes());
            claims.signature = Presence::Once(forged.as_bytes());
        }
        Presents::Override(token) => claims.override_token = Presence::Once(token.as_bytes()),
        Presents::BadId => {
            claims.service_id = Presence::Once(b"bad id!");
            claims.timestamp = Presence::Once(timestamp.as_bytes());
            claims.signature = Presence::Once(forged.as_bytes());
        }
    }
    let keys = ServiceKeys::single(ServiceKey::from_text(&"a".repeat(64)).unwrap());
    let token = OverrideToken::from_text("an-override-token-of-32-bytes-or-more").unwrap();
    let policy = Policy {
        rules: &rules,
        enforcement,
        rule_percentages: &[],
        override_token: Some(&token),
        grants: &GrantTable::default(),
        window_seconds: 300,
        replay,
        failure_limit: &FailureLimit::new(10, Duration::from_secs(300), 10),
        lockout: false,
        certificates: &CertificateBindings::default(),
        salt: &[0; 32],
    };
    let facts = RequestFacts {
        method: "POST",
        path: "/x",
        query: None,
        claims,
        certificate: ClientCertificate::NotAsked,
        limit_key: LimitKey::Unix(1000),
        is_probe: false,
    };
    let moment = Moment { unix_seconds: NOW, monotonic: Instant::now(), random: 0 };
    judge(
        &policy,
        &facts,
        |id| if id == "known" { KeyLookup::Known(&known, &keys) } else { KeyLookup::Unknown },
        moment,
    )
}

/// Every series with its value.
fn series(metrics: &Metrics) -> BTreeMap<String, f64> {
    series_at(metrics, Instant::now())
}

fn series_at(metrics: &Metrics, now: Instant) -> BTreeMap<String, f64> {
    let text = metrics.openmetrics(now);
    assert!(text.ends_with("# EOF\n"));
    let samples: Vec<(String, f64)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect();
    let series: BTreeMap<_, _> = samples.iter().cloned().collect();
    assert_eq!(series.len(), samples.len(), "a series is there twice");
    series
}

fn attempts(metrics: &Metrics) -> BTreeMap<String, f64> {
    let name = "service_auth_attempts_total";
    series(metrics).into_iter().filter(|(series, value)| series.starts_with(name) && *value > 0.0).collect()
}

fn attempt(id: &str, result: &str) -> String {
    format!("service_auth_attempts_total{{service_id=\"{id}\",result=\"{result}\"}}")
}

#[test]
fn attempts_are_counted_by_who_was_proved_or_claimed() {
    let metrics = Metrics::new(2, ["known"]);
    let now = Instant::now();
    let token = "an-override-token-of-32-bytes-or-more";
    let cases = [
        (Presents::Signature("known"), Some("known"), attempt("known", "success")),
        (Presents::Claims("known"), Some("known"), attempt("known", "failed")),
        (Presents::Claims("stranger"), Some("stranger"), attempt("unknown", "failed")),
        (Presents::BadId, None, attempt("unknown", "failed")),
        (Presents::Nothing, None, attempt("none", "failed")),
        (Presents::Override(token), None, attempt("none", "override")),
    ];
    let mut expected = BTreeMap::new();
    for (index, (presents, claimed, counted)) in cases.into_iter().enumerate() {
        metrics.worker(index).decided(&service(ENFORCE, presents), claimed, 1, now);
        *expected.entry(counted).or_insert(0.0) += 1.0;
        assert_eq!(attempts(&metrics), expected);
    }
}

#[test]
fn log_mode_counts_the_same_failures_as_enforcement() {
    for enforcement in [LOG, ENFORCE] {
        let metrics = Metrics::new(1, ["known"]);
        let decision = service(enforcement, Presents::Nothing);
        metrics.worker(0).decided(&decision, None, 1, Instant::now());
        metrics.worker(0).recorded(Some(Class::Service), decision.outcome, decision.reason);
        assert_eq!(attempts(&metrics), [(attempt("none", "failed"), 1.0)].into());
        let carried_out = if enforcement.mode == Mode::Log { "no" } else { "yes" };
        let series = series(&metrics);
        let refusals = |answer| {
            series[&format!("countersign_refusals_total{{reason=\"missing_signature\",carried_out=\"{answer}\"}}")]
        };
        assert_eq!(refusals(carried_out), 1.0);
        assert_eq!(refusals("no") + refusals("yes"), 1.0);
    }
}

#[test]
fn exempt_and_open_requests_are_no_attempts() {
    let metrics = Metrics::new(1, ["known"]);
    let decision = decide(DefaultAccess::Open, ENFORCE, Presents::Claims("known"), ReplayPolicy::Off);
    metrics.worker(0).decided(&decision, Some("known"), 1, Instant::now());
    metrics.worker(0).recorded(Some(Class::Open), decision.outcome, decision.reason);
    assert!(attempts(&metrics).is_empty());
    let series = series(&metrics);
    assert_eq!(series["service_auth_duration_seconds_count"], 0.0);
    assert_eq!(series["countersign_requests_total{class=\"open\",outcome=\"allow\"}"], 1.0);
}

#[test]
fn replays_overrides_and_wrong_tokens_are_counted() {
    let metrics = Metrics::new(1, ["known"]);
    let (worker, now) = (metrics.worker(0), Instant::now());
    let seen = ReplayTable::new(10);
    for _ in 0..2 {
        let replay = ReplayPolicy::Report(&seen);
        worker.decided(
            &decide(DefaultAccess::Service, LOG, Presents::Signature("known"), replay),
            Some("known"),
            1,
            now,
        );
    }
    worker.decided(&service(LOG, Presents::Override("wrong")), None, 1, now);
    worker.decided(&service(LOG, Presents::Override("an-override-token-of-32-bytes-or-more")), None, 1, now);
    let series = series(&metrics);
    assert_eq!(series["countersign_replayed_signatures_total"], 1.0);
    assert_eq!(series["countersign_wrong_override_tokens_total"], 1.0);
    assert_eq!(series["countersign_overrides_total"], 1.0);
    assert_eq!(series[&attempt("known", "success")], 2.0, "a reported replay is a success");
}

#[test]
fn no_request_makes_a_new_series() {
    let metrics = Metrics::new(2, ["known"]);
    metrics.set_in_force(ENFORCE, 1);
    metrics.worker(0).decided(&service(ENFORCE, Presents::Nothing), None, 1, Instant::now());
    let names = |metrics: &Metrics| series(metrics).into_keys().collect::<BTreeSet<_>>();
    let before = names(&metrics);
    let decision = service(ENFORCE, Presents::Claims("stranger"));
    for n in 0..50_000_u32 {
        let worker = metrics.worker(n as usize);
        worker.decided(&decision, Some(&format!("id-{n}")), n.into(), Instant::now());
        worker.recorded(Some(Class::Service), decision.outcome, decision.reason);
        worker.answered(Some(Class::Service), 100 + (n % 900) as u16, n, (n % 2 == 0).then_some(n));
    }
    for fault in names::FAULTS {
        metrics.worker(0).malformed(fault);
    }
    for outcome in [Outcome::Allow, Outcome::Refuse, Outcome::WouldRefuse, Outcome::Authenticated, Outcome::Override]
    {
        for reason in Refusal::ALL {
            metrics.worker(0).recorded(None, outcome, Some(reason));
        }
    }
    for fault in UpstreamFault::ALL {
        metrics.worker(0).upstream_fault(fault);
    }
    for refusal in OutboundRefusal::ALL.map(Some).into_iter().chain([None]) {
        metrics.worker(0).recorded_outbound(refusal);
        metrics.worker(0).answered_outbound(999, 1, refusal.map(|_| 1));
    }
    assert_eq!(names(&metrics), before);
}

#[test]
fn answers_are_told_apart_by_who_gave_them() {
    let metrics = Metrics::new(1, []);
    let worker = metrics.worker(0);
    worker.answered(Some(Class::Exempt), 401, 10, Some(2_000));
    worker.answered(Some(Class::Service), 401, 10, None);
    worker.answered(Some(Class::Open), 200, 10, Some(40_000));
    worker.answered(None, 400, 10, None);
    worker.answered(None, 418, 10, None);
    let series = series(&metrics);
    assert_eq!(series["countersign_exempt_unauthorized_total"], 1.0);
    assert_eq!(series["countersign_upstream_answers_total{class=\"exempt\",status_class=\"4xx\"}"], 1.0);
    assert_eq!(series["countersign_upstream_answers_total{class=\"service\",status_class=\"4xx\"}"], 0.0);
    assert_eq!(series["countersign_own_answers_total{status=\"401\"}"], 1.0);
    assert_eq!(series["countersign_own_answers_total{status=\"400\"}"], 1.0);
    assert_eq!(series["countersign_own_answers_total{status=\"other\"}"], 1.0);
    assert_eq!(series["countersign_upstream_duration_seconds_count"], 2.0);
    assert_eq!(series["countersign_upstream_duration_seconds_bucket{le=\"0.0025\"}"], 1.0);
    assert_eq!(series["countersign_request_duration_seconds_count"], 5.0);
    assert_eq!(series["countersign_own_duration_seconds_bucket{le=\"0.00001\"}"], 5.0);
}

#[test]
fn the_buckets_of_the_auth_duration_hold_the_targets_of_the_operators() {
    let metrics = Metrics::new(1, []);
    let decision = service(LOG, Presents::Nothing);
    for nanos in [900, 3_000, 900_000, 9_000_000, 2_000_000_000] {
        metrics.worker(0).decided(&decision, None, nanos, Instant::now());
    }
    let series = series(&metrics);
    let bucket = |le: &str| series[&format!("service_auth_duration_seconds_bucket{{le=\"{le}\"}}")];
    let counts = ["0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "+Inf"].map(bucket);
    assert_eq!(counts, [3.0, 3.0, 4.0, 4.0, 4.0, 4.0, 5.0]);
    assert!((series["service_auth_duration_seconds_sum"] - 2.009_903_9).abs() < 1e-9);
}

#[test]
fn what_the_replay_table_had_to_forget_is_shown() {
    let metrics = Metrics::new(1, []);
    let name = "countersign_replay_forgotten_total";
    assert_eq!(series(&metrics)[name], 0.0);
    let table = Arc::new(ReplayTable::new(1));
    metrics.watch_replay(Arc::clone(&table));
    for first_byte in 0..3 {
        let mut mac = [0; 32];
        mac[0] = first_byte;
        assert!(!table.seen(&mac, NOW + 300, NOW));
    }
    assert_eq!(series(&metrics)[name], 2.0);
}

#[test]
fn what_is_now_is_shown_as_it_is_now() {
    let metrics = Metrics::new(2, ["known"]);
    let now = Instant::now();
    assert!(!series(&metrics).contains_key("countersign_enforcement_target_percentage"), "nothing is in force yet");
    metrics.set_in_force(Enforcement { percentage: Percentage::new(25).unwrap(), ..ENFORCE }, 3);
    metrics.worker(0).connections(1);
    metrics.worker(0).connections(1);
    metrics.worker(1).connections(-1);
    metrics.worker(1).in_flight(1);
    metrics.worker(1).tunnels(1);
    metrics.worker(1).tunnels(-1);
    metrics.worker(0).limit_hit("connections");
    metrics.worker(0).timed_out("head");
    metrics.reloaded(true, NOW);
    metrics.reloaded(false, NOW + 1);
    let up = UpstreamHealth::new(Upstream::http("127.0.0.1", 8001));
    let at_upstream = Outstanding::at(&up);
    metrics.worker(1).upstream_passed_over();
    metrics.watch_upstreams(vec![Arc::clone(&up), UpstreamHealth::new(Upstream::http("127.0.0.1", 8001))]);
    metrics.worker(1).decided(&service(ENFORCE, Presents::Signature("known")), Some("known"), 1, now);
    metrics.worker(1).decided(&service(LOG, Presents::Nothing), None, 1, now);
    let series = series(&metrics);
    for (name, value) in [
        ("countersign_connections", 1.0),
        ("countersign_connections_opened_total", 2.0),
        ("countersign_requests_in_flight", 1.0),
        ("countersign_tunnels", 0.0),
        ("countersign_tunnels_opened_total", 1.0),
        ("countersign_limits_hit_total{limit=\"connections\"}", 1.0),
        ("countersign_timeouts_total{timer=\"head\"}", 1.0),
        ("countersign_config_reloads_total{result=\"ok\"}", 1.0),
        ("countersign_config_reloads_total{result=\"failed\"}", 1.0),
        ("countersign_config_last_reload_ok", 0.0),
        ("countersign_config_last_reload_success_timestamp_seconds", NOW as f64),
        ("countersign_config_generation", 3.0),
        ("countersign_enforcement_mode{mode=\"enforce\"}", 1.0),
        ("countersign_enforcement_mode{mode=\"log\"}", 0.0),
        ("countersign_enforcement_target_percentage", 25.0),
        ("countersign_enforcement_actual_percentage", 50.0),
        ("countersign_enforcement_draws_total{drawn=\"in\"}", 1.0),
        ("service_auth_active_services", 1.0),
        ("countersign_audit_queue_records", 0.0),
        ("countersign_upstream_passed_over_total", 1.0),
        ("countersign_upstream_outstanding_requests{upstream=\"127.0.0.1:8001\"}", 1.0),
    ] {
        assert_eq!(series[name], value, "{name}");
    }
    drop(at_upstream);
    assert_eq!(
        series_at(&metrics, now)["countersign_upstream_outstanding_requests{upstream=\"127.0.0.1:8001\"}"],
        0.0
    );
    assert!(!series.keys().any(|name| name.starts_with("countersign_upstream_up")), "not asked yet");
    let later = series_at(&metrics, now + Duration::from_secs(16 * 60));
    assert_eq!(later["service_auth_active_services"], 0.0);
}

#[test]
fn a_family_without_samples_is_announced() {
    let text = Metrics::new(1, []).openmetrics(Instant::now());
    assert!(text.contains("# TYPE service_key_ttl_days gauge\n"), "{text}");
    assert!(!text.contains("\nservice_key_ttl_days"));
}

#[test]
fn every_family_has_help_and_no_sample_stands_without_one() {
    let text = Metrics::new(1, ["known"]).openmetrics(Instant::now());
    let mut family = String::new();
    for line in text.lines().take_while(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.split_once(' ').is_some_and(|(_, help)| help.len() > 10), "{line}");
            family = rest.split(' ').next().unwrap().to_owned();
        } else {
            assert!(line.trim_start_matches("# TYPE ").starts_with(&family), "{line} under {family}");
        }
    }
}

/// The scraper's own judge of both formats, where it is installed.
#[test]
fn promtool_finds_nothing_to_say() {
    let metrics = Metrics::new(1, ["known"]);
    metrics.set_in_force(ENFORCE, 1);
    metrics.worker(0).decided(&service(ENFORCE, Presents::Nothing), None, 1, Instant::now());
    let text = plain_text(&metrics.openmetrics(Instant::now()));
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed; tests/run installs it");
        eprintln!("promtool is not installed: not checked");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
