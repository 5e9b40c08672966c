//! Sampling: a verdict is stable. Retrying, reconnecting, other headers and other spellings do not flip it; what is in
//! at p % stays in as p grows.

use super::support::raw::{get, get_from, get_with};
use super::support::recorder::Recorder;
use super::support::sidecar::{Builder, Sidecar, countersign};
use super::support::{KEY_B, count, eventually, sign};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

fn at(upstream: &Recorder, percentage: u8, sampling: &str) -> Sidecar {
    Builder::guarding(upstream.address)
        .unlimited()
        .set("enforcement", "percentage", percentage.to_string())
        .set("enforcement", "sampling", format!("{sampling:?}"))
        .start()
}

fn path(n: usize) -> String {
    format!("/api/internal/task/{n}")
}

/// Sets the percentage in the file and waits until requests are judged by it.
fn set_percentage(sidecar: &Sidecar, from: u8, to: u8) {
    let text = sidecar.config().replace(&format!("percentage = {from}\n"), &format!("percentage = {to}\n"));
    std::fs::write(sidecar.config_path(), text).unwrap();
    eventually("the percentage to be in force", || {
        let answer = get(sidecar.address, "/api/internal/probe");
        let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
        (record["percentage"] == to).then_some(())
    });
}

#[test]
fn a_verdict_does_not_change_with_retries_connections_headers_or_spelling() {
    let upstream = Recorder::plain();
    let sidecar = at(&upstream, 50, "call");
    let mut refused = 0;
    for n in 0..40 {
        let first = get(sidecar.address, &path(n)).status;
        refused += usize::from(first == 401);
        for round in 0..6 {
            let lines = [
                String::new(),
                format!("X-Forwarded-For: 10.0.0.{n}\r\n"),
                format!("X-Request-ID: {n}-{round}\r\n"),
                "User-Agent: other\r\nCookie: a=b\r\nHost-Not: x\r\n".to_owned(),
                sign::headers(KEY_B, "npu-worker", "GET", &path(n)),
                sign::headers(KEY_B, "nobody", "GET", &path(n)),
            ];
            assert_eq!(get_with(sidecar.address, &path(n), &lines[round]).status, first, "{n} {round}");
        }
        let spellings = [
            format!("/api/%69nternal/task/{n}"),
            format!("/api//internal/task/{n}"),
            format!("/API/internal/task/{n}"),
            format!("/api/internal/x/../task/{n}"),
            format!("/api/internal/task/{n}?query=1"),
            format!("/api/internal/task/{n}/"),
        ];
        for spelling in spellings {
            assert_eq!(get(sidecar.address, &spelling).status, first, "{spelling}");
        }
    }
    assert!((6..=34).contains(&refused), "{refused} of 40 at 50 %");
}

#[test]
fn what_is_in_at_a_percentage_stays_in_as_it_grows() {
    let upstream = Recorder::plain();
    let paths = count(150, 5_000);
    let sidecar = at(&upstream, 0, "call");
    let (mut before, mut last) = (BTreeSet::new(), 0);
    for percentage in [0, 10, 25, 50, 75, 100] {
        if percentage > 0 {
            set_percentage(&sidecar, last, percentage);
        }
        let refused: BTreeSet<usize> = (0..paths).filter(|n| get(sidecar.address, &path(*n)).status == 401).collect();
        assert!(refused.is_superset(&before), "at {percentage} % some got out again");
        let expected = paths * usize::from(percentage) / 100;
        assert!(refused.len().abs_diff(expected) <= paths / 6, "{} of {paths} at {percentage} %", refused.len());
        (before, last) = (refused, percentage);
    }
    assert_eq!(before.len(), paths);
}

#[test]
fn by_caller_one_address_is_either_in_or_out() {
    let upstream = Recorder::plain();
    let sidecar = at(&upstream, 50, "caller");
    let mut refused = 0;
    for last in 1..=40 {
        let source = Ipv4Addr::new(127, 0, 1, last);
        let verdicts: BTreeSet<u16> =
            (0..5).map(|n| get_from(source, sidecar.address, &path(n), "").status).collect();
        assert_eq!(verdicts.len(), 1, "{source}: {verdicts:?}");
        refused += usize::from(verdicts.contains(&401));
    }
    assert!((6..=34).contains(&refused), "{refused} of 40 addresses at 50 %");
}

#[test]
fn at_random_each_request_draws_anew() {
    let upstream = Recorder::plain();
    let sidecar = at(&upstream, 50, "random");
    let refused = (0..100).filter(|_| get(sidecar.address, &path(1)).status == 401).count();
    assert!((20..=80).contains(&refused), "{refused} of 100 at 50 %");
}

#[test]
fn draws_survive_a_restart() {
    let upstream = Recorder::plain();
    let verdicts = |sidecar: &Sidecar| (0..60).map(|n| get(sidecar.address, &path(n)).status).collect::<Vec<_>>();
    let first = at(&upstream, 50, "call");
    let before = verdicts(&first);
    let directory = first.directory.join("state");
    let kept = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&directory).arg(kept.path()).status().unwrap();
    assert!(copied.success());
    drop(first);
    let second = Builder::guarding(upstream.address)
        .unlimited()
        .set("", "state_dir", format!("{:?}", kept.path().join("state")))
        .set("enforcement", "percentage", "50")
        .start();
    assert_eq!(verdicts(&second), before);
}

#[test]
fn a_rules_own_percentage_bounds_the_global_one() {
    let upstream = Recorder::plain();
    let rules = "[[rule]]\npaths = [\"/none\"]\naccess = \"service\"\nenforce = 0\n\
                 [[rule]]\npaths = [\"/all\"]\naccess = \"service\"\nenforce = 100\n";
    let sidecar = Builder::guarding(upstream.address).unlimited().rules(rules).start();
    for n in 0..20 {
        let answer = get(sidecar.address, &format!("/none/{n}"));
        assert_eq!(answer.status, 200);
        let record = sidecar.record(answer.fields.one("x-request-id").unwrap());
        assert_eq!((&record["outcome"], &record["percentage"]), (&"would_refuse".into(), &0.into()), "{record}");
        assert_eq!(get(sidecar.address, &format!("/all/{n}")).status, 401);
    }
}

#[test]
fn a_mistyped_mode_or_percentage_refuses_the_configuration_and_never_opens() {
    let directory = tempfile::tempdir().unwrap();
    for enforcement in [
        "mode = \"enforced\"",
        "mode = \"Enforce\"",
        "mode = \"\"",
        "mode = true",
        "mode = \"enforce\"\npercentage = 101",
        "mode = \"enforce\"\npercentage = -1",
        "mode = \"enforce\"\npercentage = \"50\"",
        "mode = \"enforce\"\npercentage = 50.5",
        "mode = \"enforce\"\npercentge = 50",
        "mode = \"enforce\"\nsampling = \"calls\"",
        "mod = \"enforce\"",
    ] {
        let file = directory.path().join("countersign.toml");
        std::fs::write(
            &file,
            format!("[inbound]\nlisten = \"127.0.0.1:1\"\nupstream = \"http://127.0.0.1:2\"\n[enforcement]\n{enforcement}\n"),
        )
        .unwrap();
        for verb in ["check", "run"] {
            let output = countersign().arg(verb).arg("--config").arg(&file).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{verb} with {enforcement}: {output:?}");
        }
    }
    for (name, value) in [
        ("SERVICE_AUTH_ENFORCEMENT_MODE", "ture"),
        ("SERVICE_AUTH_ENFORCEMENT_PERCENTAGE", "1000"),
        ("SERVICE_AUTH_CIRCUIT_BREAKER_PERCENTAGE", "ten"),
    ] {
        let file = directory.path().join("countersign.toml");
        std::fs::write(&file, "[inbound]\nlisten = \"127.0.0.1:1\"\nupstream = \"http://127.0.0.1:2\"\n").unwrap();
        let output = countersign().arg("run").arg("--config").arg(&file).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {output:?}");
    }
}
