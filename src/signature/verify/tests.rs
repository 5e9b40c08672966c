//! Who is believed, who is not, and that both cost the same.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use crate::request::certificate::ClientCertificate;
use crate::request::client::LimitKey;
use crate::request::facts::Claims;
use crate::signature::headers::SignatureHeaders;
use crate::signature::hmac_v1::sign;

const NOW: u64 = 1_759_742_876;
const WINDOW: u64 = 300;

fn key(letter: &str) -> ServiceKey {
    ServiceKey::from_text(&letter.repeat(64)).unwrap()
}

fn id(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

/// `npu-worker` with key `a`, `rotating` with key `a` after key `o`.
fn lookup<'k>(keys: &'k [(ServiceId, ServiceKeys)]) -> impl Fn(&str) -> KeyLookup<'k> {
    move |claimed| match keys.iter().find(|(id, _)| id.as_str() == claimed) {
        Some((id, keys)) => KeyLookup::Known(id, keys),
        None => KeyLookup::Unknown,
    }
}

fn keys() -> [(ServiceId, ServiceKeys); 2] {
    let rotating = ServiceKeys { previous: Some(key("o").into()), ..ServiceKeys::single(key("a")) };
    [(id("npu-worker"), ServiceKeys::single(key("a"))), (id("rotating"), rotating)]
}

fn check(
    headers: &SignatureHeaders,
    method: &str,
    path: &str,
    now: u64,
) -> Result<AuthenticatedService, VerifyFailure> {
    check_with(headers, method, path, now, WINDOW)
}

fn check_with(
    headers: &SignatureHeaders,
    method: &str,
    path: &str,
    now: u64,
    window: u64,
) -> Result<AuthenticatedService, VerifyFailure> {
    let mut claims = Claims::default();
    for (name, value) in headers.iter() {
        claims.note(name.as_bytes(), value.as_bytes());
    }
    let presented = PresentedSignature::parse(&claims).unwrap();
    let facts = RequestFacts {
        method,
        path,
        query: None,
        claims,
        certificate: ClientCertificate::NotAsked,
        limit_key: LimitKey::Unix(0),
        is_probe: false,
    };
    verify(&presented, &facts, lookup(&keys()), window, now)
}

#[test]
fn a_signature_made_with_the_services_key_proves_who_called() {
    let headers = sign(&key("a"), &id("npu-worker"), "POST", "/api/npu/results", NOW - 7);
    let service = check(&headers, "POST", "/api/npu/results", NOW).unwrap();
    assert_eq!((service.id().as_str(), service.skew_seconds()), ("npu-worker", -7));
    assert_eq!(service.key(), key("a").fingerprint());
}

#[test]
fn the_window_holds_300_seconds_both_ways_and_not_301() {
    for (skew, accepted) in [(0, true), (-1, true), (1, true), (-300, true), (300, true), (-301, false), (301, false)]
    {
        let headers = sign(&key("a"), &id("npu-worker"), "GET", "/x", NOW.checked_add_signed(skew).unwrap());
        let found = check(&headers, "GET", "/x", NOW);
        if accepted {
            assert_eq!(found.unwrap().skew_seconds(), skew);
        } else {
            assert_eq!(found.unwrap_err(), VerifyFailure::TimestampOutsideWindow { skew_seconds: skew });
        }
    }
}

#[test]
fn clocks_at_their_ends_neither_panic_nor_open() {
    let headers = sign(&key("a"), &id("npu-worker"), "GET", "/x", 999_999_999_999);
    for now in [0, 1, NOW, u64::MAX] {
        assert!(matches!(check(&headers, "GET", "/x", now), Err(VerifyFailure::TimestampOutsideWindow { .. })));
    }
    // a window as wide as can be written takes it
    assert!(check_with(&headers, "GET", "/x", 0, u64::MAX).is_ok());
    assert!(check_with(&headers, "GET", "/x", 999_999_999_999, 0).is_ok());
    assert!(check_with(&headers, "GET", "/x", 999_999_999_998, 0).is_err());
}

#[test]
fn every_part_of_the_signed_text_is_covered() {
    let headers = sign(&key("a"), &id("npu-worker"), "POST", "/api/npu/results", NOW);
    assert!(check(&headers, "POST", "/api/npu/results", NOW).is_ok());
    for (method, path) in [
        ("PUT", "/api/npu/results"),
        ("post", "/api/npu/results"),
        ("POST", "/api/npu/result"),
        ("POST", "/api/npu/results/"),
        ("POST", "/api/npu/Results"),
        ("POST", "/api/npu//results"),
        ("POST", "/api/npu/./results"),
    ] {
        assert_eq!(
            check(&headers, method, path, NOW).unwrap_err(),
            VerifyFailure::InvalidSignature,
            "{method} {path}"
        );
    }
    let other_time = SignatureHeaders { timestamp: (NOW + 1).to_string(), ..headers.clone() };
    assert_eq!(check(&other_time, "POST", "/api/npu/results", NOW).unwrap_err(), VerifyFailure::InvalidSignature);
    let other_id = SignatureHeaders { service_id: "rotating".into(), ..headers.clone() };
    assert_eq!(check(&other_id, "POST", "/api/npu/results", NOW).unwrap_err(), VerifyFailure::InvalidSignature);
    for bit in 0..256 {
        let mut mac = data_encoding::HEXLOWER.decode(headers.signature.as_bytes()).unwrap();
        mac[bit / 8] ^= 1 << (bit % 8);
        let flipped = SignatureHeaders { signature: data_encoding::HEXLOWER.encode(&mac), ..headers.clone() };
        assert_eq!(check(&flipped, "POST", "/api/npu/results", NOW).unwrap_err(), VerifyFailure::InvalidSignature);
    }
}

#[test]
fn the_decoded_and_the_raw_path_are_taken_and_no_third_form() {
    let raw = "/api/browser/a%20b%3Fc";
    let text_signed = |path: &str| {
        let mac = hmac_v1::mac(&key("a"), "npu-worker", "GET", path, &NOW.to_string());
        SignatureHeaders {
            service_id: "npu-worker".into(),
            timestamp: NOW.to_string(),
            signature: data_encoding::HEXLOWER.encode(&mac),
        }
    };
    for signed in ["/api/browser/a b%3Fc", raw] {
        assert!(check(&text_signed(signed), "GET", raw, NOW).is_ok(), "{signed}");
    }
    for signed in ["/api/browser/a b?c", "/api/browser/a%20b?c", "/api/browser/a b", "/api/browser/a+b%3Fc"] {
        assert_eq!(
            check(&text_signed(signed), "GET", raw, NOW).unwrap_err(),
            VerifyFailure::InvalidSignature,
            "{signed}"
        );
    }
}

#[test]
fn during_a_rotation_both_keys_verify_and_it_is_known_which_did() {
    for letter in ["a", "o"] {
        let headers = sign(&key(letter), &id("rotating"), "GET", "/x", NOW);
        assert_eq!(check(&headers, "GET", "/x", NOW).unwrap().key(), key(letter).fingerprint());
    }
    // the old key of one service is not that of another
    let headers = sign(&key("o"), &id("npu-worker"), "GET", "/x", NOW);
    assert_eq!(check(&headers, "GET", "/x", NOW).unwrap_err(), VerifyFailure::InvalidSignature);
}

#[test]
fn an_unknown_id_is_not_believed_with_any_key_and_least_with_the_decoys() {
    for key in [key("a"), ServiceKey::from_bytes(&[b'0'; 64])] {
        let headers = sign(&key, &id("nobody"), "GET", "/x", NOW);
        assert_eq!(check(&headers, "GET", "/x", NOW).unwrap_err(), VerifyFailure::UnknownService);
    }
    assert_eq!(DECOY.fingerprint(), ServiceKey::from_bytes(&[b'0'; 64]).fingerprint());
    // a known id signed with the decoy's key is no better
    let headers = sign(&ServiceKey::from_bytes(&[b'0'; 64]), &id("npu-worker"), "GET", "/x", NOW);
    assert_eq!(check(&headers, "GET", "/x", NOW).unwrap_err(), VerifyFailure::InvalidSignature);
}

#[test]
fn without_keys_nothing_is_believed_or_disbelieved() {
    let headers = sign(&key("a"), &id("npu-worker"), "GET", "/x", NOW);
    let mut claims = Claims::default();
    for (name, value) in headers.iter() {
        claims.note(name.as_bytes(), value.as_bytes());
    }
    let presented = PresentedSignature::parse(&claims).unwrap();
    let facts = RequestFacts {
        method: "GET",
        path: "/x",
        query: None,
        claims,
        certificate: ClientCertificate::NotAsked,
        limit_key: LimitKey::Unix(0),
        is_probe: false,
    };
    let found = verify(&presented, &facts, |_| KeyLookup::Unavailable, WINDOW, NOW);
    assert_eq!(found.unwrap_err(), VerifyFailure::KeysUnavailable);
    // what is too old is refused for that, and no key is asked for
    let found = verify(&presented, &facts, |_| panic!("asked for a key"), WINDOW, NOW + 301);
    assert!(matches!(found, Err(VerifyFailure::TimestampOutsideWindow { skew_seconds: -301 })));
}

/// Enumeration: whatever is wrong, and whoever is claimed, a failed check makes the same number of MACs.
#[test]
fn a_failed_check_costs_the_same_for_known_rotating_and_unknown_ids() {
    LazyLock::force(&DECOY);
    for (path, expected) in [("/x", 2), ("/a%20b", 4), ("/a%2541", 4)] {
        for claimed in ["npu-worker", "rotating", "nobody"] {
            for signer in [key("z"), ServiceKey::from_bytes(&[b'0'; 64])] {
                let headers = sign(&signer, &id(claimed), "GET", path, NOW);
                let before = MACS.get();
                assert!(check(&headers, "GET", path, NOW).is_err());
                // `keys` prepares its keys without counting: a fingerprint is no MAC of a request
                assert_eq!(MACS.get() - before, expected, "{claimed} {path}");
            }
        }
    }
}

#[test]
fn a_clean_path_signed_with_the_current_key_costs_one_mac() {
    let headers = sign(&key("a"), &id("npu-worker"), "GET", "/x", NOW);
    let before = MACS.get();
    assert!(check(&headers, "GET", "/x", NOW).is_ok());
    assert_eq!(MACS.get() - before, 1);
}
