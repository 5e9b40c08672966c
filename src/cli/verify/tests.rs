//! Each failing check is named, with the words that mend it.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::config::check::{Overrides, Purpose, load};
use crate::config::env::Environment;
use crate::keys::key_file::KeyFile;
use crate::policy::decision::Refusal;
use crate::signature::hmac_v1::sign;
use crate::signature::key::{ServiceId, ServiceKey};
use std::collections::BTreeMap;

const NOW: u64 = 1_759_742_876;

fn keys() -> Vec<Known> {
    [("npu-worker", "a"), ("ai-stack", "b")]
        .map(|(id, letter)| {
            let file = KeyFile::of_key(&letter.repeat(64)).unwrap();
            Known::new(ServiceId::parse(id).unwrap(), file)
        })
        .into()
}

/// The headers of a signature, each as a name and a value.
fn signed(id: &str, letter: &str, method: &str, path: &str, time: u64) -> Vec<(String, String)> {
    let key = ServiceKey::from_text(&letter.repeat(64)).unwrap();
    let headers = sign(&key, &ServiceId::parse(id).unwrap(), method, path, time);
    headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn ask(headers: &[(String, String)], path: &str, query: Option<&str>, config: Option<&Config>) -> Report {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let question = Question { method: "POST", path, query, headers: &headers, window: 300, now: NOW };
    Report::of(&question, &keys(), config)
}

fn failed(report: &Report) -> Vec<(&'static str, String)> {
    let failed = report.checks.iter().filter(|check| check.passed == Some(false));
    failed.map(|check| (check.name, check.detail.clone())).collect()
}

#[test]
fn what_is_right_is_verified_with_what_was_signed() {
    let report = ask(&signed("npu-worker", "a", "POST", "/a%20b", NOW - 7), "/a%20b", None, None);
    assert!(report.verified());
    let text = report.to_text();
    for expected in [
        "verified\n",
        "headers    ok     npu-worker at 1759742869",
        "the caller's clock is 7 s behind ours; 300 s are allowed",
        "key        ok     of npu-worker, fingerprint ",
        "signed            npu-worker:POST:/a b:1759742869  (this form)",
        "signed            npu-worker:POST:/a%20b:1759742869",
    ] {
        assert!(text.contains(expected), "{expected:?} not in:\n{text}");
    }
    let json = report.to_json(&[]);
    assert_eq!((&json["verified"], &json["service"]), (&true.into(), &"npu-worker".into()));
    assert_eq!((&json["skew_seconds"], &json["reason"]), (&(-7).into(), &serde_json::Value::Null));
}

#[test]
fn headers_that_are_missing_repeated_or_malformed_are_named_with_what_was_expected() {
    let whole = signed("npu-worker", "a", "POST", "/x", NOW);
    let with = |name: &str, value: &str| {
        let mut headers = whole.clone();
        headers.iter_mut().filter(|(n, _)| n == name).for_each(|(_, v)| *v = value.to_owned());
        headers
    };
    let renamed: Vec<_> = whole.iter().map(|(name, value)| (name.replace('-', "_"), value.clone())).collect();
    let upper = whole[2].1.to_uppercase();
    for (headers, reason, expected) in [
        (Vec::new(), Refusal::MissingSignature, "X-Service-ID is missing; X-Service-Timestamp is missing; X-"),
        (renamed, Refusal::MissingSignature, "X_Service_ID is not X-Service-ID, which is missing"),
        ([&whole[..], &whole[..1]].concat(), Refusal::MalformedSignature, "X-Service-ID came more than once"),
        (with("X-Service-ID", "a:b"), Refusal::MalformedSignature, "X-Service-ID is \"a:b\", expected 1 to 64"),
        (with("X-Service-Timestamp", "1759742876000"), Refusal::MalformedSignature, "which is milliseconds"),
        (with("X-Service-Timestamp", "01"), Refusal::MalformedSignature, "expected no leading zero"),
        (with("X-Service-Timestamp", "now"), Refusal::MalformedSignature, "\"now\", expected 1 to 12 digits"),
        (with("X-Service-Signature", &upper), Refusal::MalformedSignature, "in upper-case hex, expected lower case"),
        (with("X-Service-Signature", "00"), Refusal::MalformedSignature, "2 characters, expected 64"),
    ] {
        let report = ask(&headers, "/x", None, None);
        assert_eq!(report.reason, Some(reason));
        let [(name, detail)] = &failed(&report)[..] else { panic!("{:?}", failed(&report)) };
        assert_eq!(*name, "headers");
        assert!(detail.contains(expected), "{detail}");
        assert!(!report.verified());
    }
    let upper = ask(&with("X-Service-Signature", &upper), "/x", None, None).to_text();
    assert!(upper.contains("the signature is in upper-case hex; send it in lower case"), "{upper}");
}

#[test]
fn a_clock_that_is_off_is_told_apart_from_a_wrong_signature() {
    let report = ask(&signed("npu-worker", "a", "POST", "/x", NOW - 4000), "/x", None, None);
    assert_eq!(report.reason, Some(Refusal::TimestampOutsideWindow));
    assert_eq!(
        failed(&report),
        [("window", "the caller's clock is 4000 s behind ours; 300 s are allowed".to_owned())]
    );
    assert!(report.near_miss.is_none());
    let report = ask(&signed("npu-worker", "b", "POST", "/x", NOW + 301), "/x", None, None);
    let names: Vec<_> = failed(&report).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["window", "signature"]);
    assert!(report.to_text().contains("301 s ahead of ours"));
}

#[test]
fn the_mistake_behind_a_wrong_signature_is_told() {
    for (signer, expected) in [
        (signed("npu-worker", "b", "POST", "/x", NOW), "the key of ai-stack was used"),
        (signed("npu-worker", "a", "GET", "/x", NOW), "the method GET was signed"),
        (signed("npu-worker", "a", "POST", "/x/", NOW), "with a slash at its end that the request does not have"),
    ] {
        let report = ask(&signer, "/x", Some("y=1"), None);
        assert_eq!(report.reason, Some(Refusal::InvalidSignature));
        let text = report.to_text();
        assert!(text.contains(expected), "{expected:?} not in:\n{text}");
        assert!(text.contains("not verified: invalid_signature\n"), "{text}");
    }
    let unknown = ask(&signed("nobody", "a", "POST", "/x", NOW), "/x", None, None);
    assert_eq!(unknown.reason, Some(Refusal::UnknownService));
    let text = unknown.to_text();
    assert!(text.contains("there is none of nobody; known are npu-worker, ai-stack"), "{text}");
    assert!(text.contains("the key of npu-worker was used"), "{text}");
}

#[test]
fn nothing_that_is_shown_holds_a_key() {
    for headers in [signed("npu-worker", "a", "POST", "/x", NOW), signed("npu-worker", "b", "POST", "/x", NOW)] {
        let report = ask(&headers, "/x", None, None);
        let shown = format!("{}{}", report.to_text(), report.to_json(&[]));
        assert!(!shown.contains("aaaaaaaa") && !shown.contains("bbbbbbbb"), "{shown}");
    }
}

#[test]
fn with_a_configuration_the_rules_are_asked_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("countersign.toml");
    let text = "state_dir = \"STATE\"\n[inbound]\nlisten = \"127.0.0.1:1\"\nupstream = \"http://127.0.0.1:2\"\n\
        [enforcement]\nmode = \"enforce\"\n[[rule]]\nname = \"npu\"\npaths = [\"/api/npu\"]\naccess = \"service\"\n\
        callers = [\"npu-worker\"]\n";
    std::fs::write(&file, text.replace("STATE", directory.path().to_str().unwrap())).unwrap();
    let environment = Environment { variables: BTreeMap::new(), root: false };
    let loaded = load(Some(&file), &environment, &Overrides::default(), Purpose::Inspect).unwrap();
    let report =
        |id, letter, path: &str| ask(&signed(id, letter, "POST", path, NOW), path, None, Some(&loaded.config));
    let allowed = report("npu-worker", "a", "/api/npu/x");
    assert!(allowed.verified());
    assert!(allowed.to_text().contains("service, by rule \"npu\""), "{}", allowed.to_text());
    assert!(allowed.to_text().contains("enforce: 100% of what fails is refused"), "{}", allowed.to_text());
    let other = report("ai-stack", "b", "/api/npu/x");
    assert_eq!(other.reason, Some(Refusal::CallerNotAllowed));
    assert!(!other.verified());
    assert!(
        other.to_text().contains("ai-stack may not call this: rule \"npu\" names npu-worker"),
        "{}",
        other.to_text()
    );
    assert_eq!(other.to_json(&[])["reason"], "caller_not_allowed");
    let open = report("ai-stack", "b", "/other");
    assert!(open.verified() && open.to_text().contains("class             open"), "{}", open.to_text());
}

#[test]
fn a_header_is_a_name_and_a_value() {
    assert_eq!(header("X-Service-ID: npu-worker").unwrap(), ("X-Service-ID", "npu-worker"));
    assert_eq!(header("x:a:b ").unwrap(), ("x", "a:b"));
    for text in ["", "x", ": a", " :"] {
        assert!(header(text).is_err(), "{text:?}");
    }
}
