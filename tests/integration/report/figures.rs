//! Both reports over real traffic: verdicts, and every figure computed again.

use super::{
    AI, AI_TOO, AS_AI, AS_NPU, ELSEWHERE, NPU, STRANGER, guard, json, run, service, signed, text, unsigned, written,
};
use crate::support::recorder::{Recorder, Then};
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::{KEY_A, KEY_B, python, raw, sign};
use serde_json::{Value, json as value};

/// Ends some requests badly: `/fail` in the path answers 503, `/silent` nothing.
fn upstream() -> Recorder {
    Recorder::with(|exchange| {
        if exchange.request.target.contains("/fail") {
            return exchange.reply(503, "no");
        }
        if exchange.request.target.contains("/silent") {
            return Then::Close;
        }
        match exchange.body() {
            Ok(body) if body.complete => exchange.reply(200, "ok"),
            Ok(_) | Err(_) => Then::Close,
        }
    })
}

/// Everything that can come of a request; how many there were.
fn traffic(sidecar: &Sidecar) -> usize {
    let mut count = 0;
    let mut sent = |_: u16| count += 1;
    for n in 0..5 {
        sent(signed(sidecar, NPU, AS_NPU, &format!("/api/npu/results/{n}")));
        sent(signed(sidecar, AI, AS_AI, "/api/internal/x"));
        sent(unsigned(sidecar, STRANGER, "/health"));
        sent(unsigned(sidecar, STRANGER, "/elsewhere"));
        // Exempt traffic of a service is no failure of its own.
        sent(unsigned(sidecar, NPU, "/api/chat/x"));
    }
    for _ in 0..3 {
        // Before it proves itself there, so that the order cannot matter.
        sent(unsigned(sidecar, ELSEWHERE, "/api/internal"));
        sent(unsigned(sidecar, STRANGER, "/api/internal"));
    }
    sent(unsigned(sidecar, AI_TOO, "/api/internal"));
    sent(raw::get_from(AI_TOO, sidecar.address, "/api/internal", "X-Service-ID: npu-worker\r\n").status);
    // Overheard, and sent again from where its service never was.
    let overheard = sign::headers_at(KEY_A, "npu-worker", "GET", "/api/internal/heard", sign::now() - 11);
    for from in [NPU, STRANGER, STRANGER, ELSEWHERE] {
        sent(raw::get_from(from, sidecar.address, "/api/internal/heard", &overheard).status);
    }
    sent(unsigned(sidecar, STRANGER, "/api/internal/after"));
    sent(signed(sidecar, ELSEWHERE, AS_AI, "/api/internal/x"));
    sent(signed(sidecar, AI, AS_AI, "/api/npu/results/1"));
    sent(unsigned(sidecar, AI, "/api/npu/heartbeat"));
    sent(signed(sidecar, STRANGER, ("npu-worker", KEY_B), "/api/internal/forged"));
    sent(signed(sidecar, AI, ("ai_stack", KEY_B), "/api/internal/misspelt"));
    sent(raw::get_from(AI, sidecar.address, "/api/internal", "X-Service-ID: a\r\n").status);
    for (id, key, from) in [("npu-worker", KEY_A, NPU), ("ai-stack", KEY_B, AI)] {
        for back in [7, 30, 120] {
            let headers = sign::headers_at(key, id, "GET", "/api/internal/old", sign::now() - back);
            sent(raw::get_from(from, sidecar.address, "/api/internal/old", &headers).status);
        }
    }
    let headers = sign::headers_at(KEY_B, "ai-stack", "GET", "/api/internal/old", sign::now() - 4_000);
    sent(raw::get_from(AI, sidecar.address, "/api/internal/old", &headers).status);
    sent(signed(sidecar, NPU, AS_NPU, "/api/internal/fail"));
    sent(signed(sidecar, NPU, AS_NPU, "/api/internal/silent"));
    sent(raw::get_from(NPU, sidecar.address, "/x#y", "").status);
    sent(raw::get_from(STRANGER, sidecar.address, "/x#y", "").status);
    count
}

fn start(builder: Builder) -> (Sidecar, Recorder) {
    let upstream = upstream();
    let sidecar = guard(builder_for(builder, &upstream)).start();
    (sidecar, upstream)
}

fn builder_for(builder: Builder, upstream: &Recorder) -> Builder {
    builder.set("inbound", "upstream", format!("\"http://{}\"", upstream.address))
}

fn somewhere() -> Builder {
    Builder::guarding("127.0.0.1:1".parse().unwrap())
}

fn refusing_replays() -> Builder {
    somewhere().set("signature", "replay", "\"refuse\"")
}

/// The second program's figures.
fn computed(sidecar: &Sidecar) -> Option<Value> {
    let services = format!("{{\"npu-worker\": [\"{NPU}/32\"], \"ai-stack\": [\"{AI}/32\", \"{AI_TOO}/32\"]}}");
    let audit = sidecar.directory.join("audit.jsonl");
    python::client("figures", &[audit.to_str().unwrap(), &services])
}

#[track_caller]
fn agree(sidecar: &Sidecar) {
    let Some(computed) = computed(sidecar) else { return };
    let readiness = json(&run(sidecar, &["report", "--readiness", "--json", "--top", "1000"]));
    let daily = json(&run(sidecar, &["report", "--json"]));
    assert_eq!(readiness["evidence"]["lost"], computed["lost"]);
    assert_eq!(readiness["evidence"]["torn_lines"], computed["torn"]);
    assert_eq!(readiness["services"].as_array().unwrap().len(), computed["services"].as_object().unwrap().len());
    for (id, expected) in computed["services"].as_object().unwrap() {
        let said = service(&readiness, id);
        let mut refusals: Vec<Value> = said["refusals"].as_array().unwrap().iter().map(row).collect();
        refusals.sort_by_key(ToString::to_string);
        let mut wanted = expected["refusals"].as_array().unwrap().clone();
        wanted.sort_by_key(ToString::to_string);
        assert_eq!(refusals, wanted, "{id}");
        assert_eq!(said["verdict"], expected["verdict"], "{id}");
        assert_eq!(said["authenticated"]["count"], expected["authenticated"], "{id}");
        assert_eq!(said["authenticated"]["last"], expected["last"], "{id}");
        assert_eq!(said["overrides"]["count"], expected["overrides"], "{id}");
        let said = service(&daily, id);
        for name in ["authenticated", "refused", "would_refuse", "overrides"] {
            assert_eq!(said[name], expected[name], "{name} of {id}");
        }
        let drift = &said["clock_drift_seconds"];
        match expected["drift"].as_array() {
            None => assert!(drift.is_null(), "{id}: {drift}"),
            Some(list) => {
                assert_eq!([&drift["min"], &drift["median"], &drift["max"]], [&list[0], &list[1], &list[2]])
            }
        }
    }
    let nobody = &readiness["nobody"];
    assert_eq!(nobody["refused"]["count"], computed["nobody"]);
    let mut by_rule: Vec<Value> = nobody["by_rule"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| value!([row["rule"].as_str().unwrap_or("None"), row["reason"], row["count"]]))
        .collect();
    by_rule.sort_by_key(ToString::to_string);
    assert_eq!(Value::from(by_rule), computed["nobody_by_rule"]);
    for address in nobody["addresses"].as_array().unwrap() {
        assert_eq!(address["count"], computed["nobody_addresses"][address["address"].as_str().unwrap()]);
    }
    for name in ["exempt", "open"] {
        assert_eq!(readiness[name], computed[name], "{name}");
        assert_eq!(daily[name], computed[name], "{name}");
    }
    for name in ["requests", "successes", "rate_limited", "malformed"] {
        assert_eq!(daily[name], computed[name], "{name}");
    }
    assert_eq!(daily["failures"]["count"], computed["failures"]);
    assert_eq!(daily["overrides"]["count"], computed["overrides"]);
    let reasons = daily["failures"]["reasons"].as_array().unwrap().iter();
    let reasons: Vec<Value> = reasons.map(|row| value!([row["reason"], row["refused"]])).collect();
    assert_eq!(Value::from(reasons), computed["reasons"]);
    for name in ["answered", "answered_5xx", "not_answered"] {
        assert_eq!(daily["upstream"][name], computed[name], "{name}");
    }
    assert_eq!(daily["changes"]["counts"], computed["events"]);
}

/// As the second program writes it.
fn row(said: &Value) -> Value {
    let text = |name: &str| said[name].as_str().unwrap_or("None").to_owned();
    value!([text("rule"), text("reason"), text("cause"), said["count"], said["refused"]])
}

#[test]
fn every_figure_of_log_mode_is_what_a_second_program_counts() {
    let token = "an-override-token-of-more-than-32-characters";
    let (sidecar, _upstream) = start(refusing_replays().log_mode().override_token(token));
    let sent = traffic(&sidecar);
    let line = format!("X-Override-Token: {token}\r\n");
    assert_eq!(raw::get_from(AI, sidecar.address, "/api/internal", &line).status, 200);
    assert_eq!(raw::get_from(STRANGER, sidecar.address, "/api/internal", &line).status, 200);
    written(&sidecar, sent + 2);
    agree(&sidecar);
    let output = run(&sidecar, &["report", "--readiness", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert_eq!(service(&report, "npu-worker")["verdict"], "safe", "a malformed request is refused in every mode");
    assert_eq!(service(&report, "ai-stack")["verdict"], "would_break");
    assert_eq!((&report["exempt"], &report["open"]), (&value!(10), &value!(5)));
}

#[test]
fn every_figure_of_enforcement_is_what_a_second_program_counts_over_rotated_files_too() {
    let limit = "{ failures = 3 }";
    let upstream = upstream();
    let sidecar = guard(builder_for(refusing_replays(), &upstream))
        .set("enforcement", "rate_limit", limit)
        .set("enforcement", "percentage", "60")
        .set("audit", "rotate", "{ size = \"10KB\", keep = 1000 }")
        .start();
    for _ in 0..4 {
        traffic(&sidecar);
    }
    let mut sidecar = sidecar;
    sidecar.process.signal("TERM");
    assert!(sidecar.process.wait().success());
    assert!(std::fs::read_dir(&sidecar.directory).unwrap().count() > 6, "the log was rotated");
    agree(&sidecar);
    let daily = json(&run(&sidecar, &["report", "--json"]));
    assert!(daily["rate_limited"].as_u64().unwrap() > 0, "{daily}");
}

#[test]
fn services_that_sign_everything_are_safe_whatever_strangers_and_browsers_do() {
    let (sidecar, _upstream) = start(somewhere().log_mode());
    for n in 0..3 {
        assert_eq!(signed(&sidecar, NPU, AS_NPU, &format!("/api/npu/results/{n}")), 200);
        assert_eq!(signed(&sidecar, AI, AS_AI, "/api/internal/x"), 200);
        assert_eq!(unsigned(&sidecar, STRANGER, "/api/internal/x"), 200);
        assert_eq!(signed(&sidecar, STRANGER, ("npu-worker", KEY_B), "/api/npu/results/1"), 200);
        assert_eq!(unsigned(&sidecar, NPU, "/health"), 200);
    }
    written(&sidecar, 15);
    let output = run(&sidecar, &["report", "--readiness", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&output);
    assert_eq!(report["ready"], true);
    assert_eq!(report["nobody"]["refused"]["count"], 6);
    assert_eq!(service(&report, "npu-worker")["claimed_elsewhere"]["count"], 3);
    let output = run(&sidecar, &["report", "--readiness"]);
    let said = text(&output);
    assert!(said.contains("Ready: ") && said.contains("127.0.0.99"), "{said}");
    assert!(!said.contains("/api/npu/results"), "paths are shown by rule: {said}");
}

#[test]
fn a_silent_service_is_not_safe_and_one_marked_unused_is_no_obstacle() {
    let upstream = upstream();
    let rules = "[[rule]]\npaths = [\"/api\"]\naccess = \"service\"\ncallers = [\"npu-worker\", \"ai-stack\"]\n";
    let builder = guard(builder_for(somewhere(), &upstream))
        .log_mode()
        .set("services.frontend", "addresses", "[]")
        .rules(rules);
    let sidecar = builder.start();
    assert_eq!(signed(&sidecar, NPU, AS_NPU, "/api/npu/results/1"), 200);
    assert_eq!(signed(&sidecar, AI, AS_AI, "/api/internal/x"), 200);
    written(&sidecar, 2);
    let output = run(&sidecar, &["report", "--readiness", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(service(&json(&output), "frontend")["verdict"], "silent");
    let said = text(&run(&sidecar, &["report", "--readiness"]));
    assert!(said.contains("frontend: not one call") && said.contains("no rule lets it call"), "{said}");
    let config = sidecar.config().replace("[services.frontend]", "[services.frontend]\nunused = true");
    std::fs::write(sidecar.config_path(), config).unwrap();
    let output = run(&sidecar, &["report", "--readiness", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(service(&json(&output), "frontend")["verdict"], "unused");
}

#[test]
fn the_daily_report_is_a_mail_that_names_keys_changes_and_callers() {
    let (sidecar, _upstream) = start(somewhere());
    assert_eq!(signed(&sidecar, NPU, AS_NPU, "/api/npu/results/1"), 200);
    assert_eq!(unsigned(&sidecar, AI, "/api/internal"), 401);
    written(&sidecar, 2);
    let output = run(&sidecar, &["report"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    for expected in ["successes", "npu-worker", "missing_signature: 1 refused", "LEFT", "start by", "1 answers"] {
        assert!(said.contains(expected), "{expected} in:\n{said}");
    }
    assert!(!said.contains(KEY_A), "{said}");
    let report = json(&run(&sidecar, &["report", "--json"]));
    let keys = report["keys"]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "{report}");
    assert!(keys[0]["ttl_seconds"].as_i64().unwrap() > 7_000_000, "{report}");
}
