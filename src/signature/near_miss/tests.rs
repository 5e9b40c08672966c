//! Each mistake is found by its name, and nothing is found where nothing is.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;

const TIME: &str = "1759742876";

struct Signer {
    text: &'static str,
    id: &'static str,
    method: &'static str,
    path: &'static str,
    time: &'static str,
}

/// Signs as `npu-worker` would for `POST /api/npu/results/a%20b%3Fc/?x=1%202`.
const RIGHT: Signer =
    Signer { text: "aa", id: "npu-worker", method: "POST", path: "/api/npu/Results/a b%3Fc/", time: TIME };

fn ids() -> [ServiceId; 2] {
    ["npu-worker", "ai-stack"].map(|id| ServiceId::parse(id).unwrap())
}

impl Signer {
    fn key(&self) -> Vec<u8> {
        self.text.repeat(32).into_bytes()
    }

    fn mac_with(&self, key: &[u8]) -> [u8; 32] {
        mac_of_text(&ServiceKey::from_bytes(key), &signed_text(self.id, self.method, self.path, self.time))
    }
}

fn explain(signature: &str, timestamp: &str) -> Option<NearMiss> {
    let ids = ids();
    let (own, other) = ("aa".repeat(32), "bb".repeat(32));
    let keys = [KnownKey { id: &ids[0], text: &own }, KnownKey { id: &ids[1], text: &other }];
    let attempt = Attempt {
        service_id: "npu-worker",
        timestamp,
        signature,
        method: "POST",
        path: "/api/npu/Results/a%20b%3Fc/",
        query: Some("x=1%202"),
    };
    near_miss(&attempt, &keys)
}

fn slips(signer: &Signer) -> Vec<Slip> {
    explain(&HEXLOWER.encode(&signer.mac_with(&signer.key())), TIME).unwrap().slips
}

#[test]
fn what_is_right_has_no_slips() {
    assert_eq!(slips(&RIGHT), []);
    assert_eq!(slips(&Signer { path: "/api/npu/Results/a%20b%3Fc/", ..RIGHT }), []);
    let found = explain(&HEXLOWER.encode(&RIGHT.mac_with(&RIGHT.key())), TIME).unwrap();
    assert_eq!(found.signed_text, "npu-worker:POST:/api/npu/Results/a b%3Fc/:1759742876");
    assert_eq!(found.key, ServiceKey::from_bytes(&RIGHT.key()).fingerprint());
}

#[test]
fn each_mistake_is_found_alone() {
    for (path, slip) in [
        ("/api/npu/Results/a%20b%3Fc/?x=1%202", Slip::QuerySigned),
        ("/api/npu/Results/a b%3Fc/?x=1%202", Slip::QuerySigned),
        ("/api/npu/Results/a b%3Fc/?x=1 2", Slip::QuerySigned),
        ("/api/npu/Results/a b%3Fc", Slip::SlashDropped),
        ("/api/npu/Results/a%20b%3Fc", Slip::SlashDropped),
        ("api/npu/Results/a b%3Fc/", Slip::LeadingSlashDropped),
        ("/api/npu/Results/a b?c/", Slip::DecodedWholly),
        ("/api/npu/results/a%20b%3fc/", Slip::PathLowered),
    ] {
        assert_eq!(slips(&Signer { path, ..RIGHT }), [slip], "{path}");
    }
    for method in ["GET", "PUT", "post", "get", "HEAD"] {
        assert_eq!(slips(&Signer { method, ..RIGHT }), [Slip::Method(method.into())]);
    }
    assert_eq!(slips(&Signer { text: "bb", ..RIGHT }), [Slip::KeyOf(ids()[1].clone())]);
}

#[test]
fn mistakes_with_the_key_are_found() {
    for (key, slip) in
        [(vec![0xaa; 32], Slip::KeyDecoded), ([&RIGHT.key()[..], b"\n"].concat(), Slip::KeyWithNewline)]
    {
        let found = explain(&HEXLOWER.encode(&RIGHT.mac_with(&key)), TIME).unwrap();
        assert_eq!(found.slips, [slip]);
    }
}

#[test]
fn mistakes_in_the_headers_are_found() {
    let mac = RIGHT.mac_with(&RIGHT.key());
    for (signature, slip) in [
        (data_encoding::HEXUPPER.encode(&mac), Slip::UpperCaseHex),
        (BASE64.encode(&mac), Slip::Base64),
        (data_encoding::BASE64URL.encode(&mac), Slip::Base64),
        (BASE64URL_NOPAD.encode(&mac), Slip::Base64),
    ] {
        assert_eq!(explain(&signature, TIME).unwrap().slips, [slip], "{signature}");
    }
    let milliseconds = Signer { time: "1759742876123", ..RIGHT };
    let signature = HEXLOWER.encode(&milliseconds.mac_with(&RIGHT.key()));
    assert_eq!(explain(&signature, "1759742876123").unwrap().slips, [Slip::Milliseconds]);
    assert_eq!(explain(&HEXLOWER.encode(&mac), "1759742876123").unwrap().slips, [Slip::SentMilliseconds]);
}

#[test]
fn several_mistakes_are_found_together_and_the_fewest_are_told() {
    let path = "/api/npu/Results/a%20b%3Fc/?x=1%202";
    let two = Signer { path, method: "post", ..RIGHT };
    assert_eq!(slips(&two), [Slip::QuerySigned, Slip::Method("post".into())]);
    let other = ids()[1].clone();
    let as_other = Signer { text: "bb", id: "ai-stack", ..RIGHT };
    assert_eq!(slips(&as_other), [Slip::KeyOf(other.clone()), Slip::Id(other)]);
}

#[test]
fn what_no_mistake_explains_stays_unexplained() {
    for signature in ["", "00", "x", &"0".repeat(64), &"ab".repeat(32), "\u{e9}", &BASE64.encode(&[0; 32])] {
        assert_eq!(explain(signature, TIME), None, "{signature}");
    }
    let unknown = RIGHT.mac_with(&[b'z'; 64]);
    assert_eq!(explain(&HEXLOWER.encode(&unknown), TIME), None);
    for timestamp in ["", "x", "1759742877", "17597428760", "\u{661}"] {
        assert_eq!(explain(&HEXLOWER.encode(&RIGHT.mac_with(&RIGHT.key())), timestamp), None, "{timestamp}");
    }
}

#[test]
fn every_slip_has_a_word_and_a_sentence_of_its_own() {
    let id = &ids()[0];
    let all = [
        Slip::QuerySigned,
        Slip::SlashAdded,
        Slip::SlashDropped,
        Slip::LeadingSlashDropped,
        Slip::DecodedWholly,
        Slip::DecodedTwice,
        Slip::PathLowered,
        Slip::Method("get".into()),
        Slip::Id(id.clone()),
        Slip::KeyOf(id.clone()),
        Slip::KeyDecoded,
        Slip::KeyWithNewline,
        Slip::Milliseconds,
        Slip::SentMilliseconds,
        Slip::UpperCaseHex,
        Slip::Base64,
    ];
    let words: std::collections::BTreeSet<_> = all.iter().map(Slip::code).collect();
    let sentences: std::collections::BTreeSet<_> = all.iter().map(Slip::to_string).collect();
    assert_eq!((words.len(), sentences.len()), (all.len(), all.len()));
}
