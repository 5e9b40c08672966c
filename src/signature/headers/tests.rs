//! One spelling for each value; everything else is missing or malformed.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use proptest::prelude::*;

const ID: &str = "npu-worker";
const TIME: &str = "1759742876";
const MAC: &str = "de80db4cb5149e8db2bc61c3bdf7a8ea2b58be7aeca6bf7e988804046fa13403";

fn claims<'a>(fields: &[(&str, &'a str)]) -> Claims<'a> {
    let mut claims = Claims::default();
    for (name, value) in fields {
        claims.note(name.as_bytes(), value.as_bytes());
    }
    claims
}

fn parse<'a>(id: &'a str, time: &'a str, mac: &'a str) -> Result<PresentedSignature<'a>, PresentedFault> {
    PresentedSignature::parse(&claims(&[(SERVICE_ID, id), (TIMESTAMP, time), (SIGNATURE, mac)]))
}

#[test]
fn three_exact_headers_are_a_presented_signature() {
    let presented = parse(ID, TIME, MAC).unwrap();
    assert_eq!((presented.service_id, presented.timestamp), (ID, TIME));
    assert_eq!(presented.unix_seconds, 1_759_742_876);
    assert_eq!(HEXLOWER.encode(&presented.mac), MAC);
    // names without case, values without the spaces around them
    let odd =
        claims(&[("x-service-id", " npu-worker\t"), ("X-SERVICE-TIMESTAMP", TIME), ("X-Service-signature", MAC)]);
    assert_eq!(PresentedSignature::parse(&odd).unwrap(), presented);
}

#[test]
fn none_or_only_some_of_the_headers_is_missing() {
    let all = [(SERVICE_ID, ID), (TIMESTAMP, TIME), (SIGNATURE, MAC)];
    for chosen in 0..7 {
        let some: Vec<_> =
            all.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, field)| *field).collect();
        assert_eq!(PresentedSignature::parse(&claims(&some)), Err(PresentedFault::Missing), "{some:?}");
    }
    // also where what is there is malformed or repeated
    let odd = claims(&[(SERVICE_ID, "a:b"), (SERVICE_ID, ID), (SIGNATURE, "")]);
    assert_eq!(PresentedSignature::parse(&odd), Err(PresentedFault::Missing));
}

#[test]
fn a_repeated_header_is_malformed_even_when_both_are_alike() {
    for (name, value) in [(SERVICE_ID, ID), (TIMESTAMP, TIME), (SIGNATURE, MAC)] {
        let twice = claims(&[(SERVICE_ID, ID), (name, value), (TIMESTAMP, TIME), (SIGNATURE, MAC)]);
        assert_eq!(PresentedSignature::parse(&twice), Err(PresentedFault::Malformed(name)));
    }
}

#[test]
fn timestamps_have_1_to_12_digits_and_one_spelling() {
    for (text, seconds) in [("1", 1), ("9", 9), ("10", 10), ("999999999999", 999_999_999_999)] {
        assert_eq!(parse(ID, text, MAC).unwrap().unix_seconds, seconds);
    }
    for text in [
        "",
        "0",
        "00",
        "01",
        "+1",
        "-1",
        "1.0",
        "1e9",
        "0x10",
        "1 2",
        "1_000",
        "1000000000000",
        "18446744073709551617",
        "\u{0661}",
        "1\u{0}",
        "now",
        "1759742876Z",
        "1759742876,1759742876",
    ] {
        assert_eq!(parse(ID, text, MAC), Err(PresentedFault::Malformed(TIMESTAMP)), "{text:?}");
    }
}

#[test]
fn signatures_are_64_lowercase_hex_digits() {
    let upper = MAC.to_uppercase();
    let longer = format!("{MAC}00");
    let spaced = format!("{} {}", &MAC[..32], &MAC[33..]);
    let odd = format!("{}g", &MAC[..63]);
    let wide = "\u{ff10}".repeat(64);
    for text in [
        "",
        "00",
        &MAC[..62],
        &MAC[..63],
        &upper,
        &longer,
        &spaced,
        &odd,
        &wide,
        "3oDbTLUUno2yvGHDvfeo6itYvnrspr9+mIgEBG+hNAM=",
    ] {
        assert_eq!(parse(ID, TIME, text), Err(PresentedFault::Malformed(SIGNATURE)), "{text:?}");
    }
}

#[test]
fn every_shorter_prefix_of_a_signature_is_refused() {
    for end in 0..MAC.len() {
        assert!(parse(ID, TIME, &MAC[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_malformed_id_is_told_first() {
    assert_eq!(parse("a:b", "x", "y"), Err(PresentedFault::Malformed(SERVICE_ID)));
    assert_eq!(parse(ID, "x", "y"), Err(PresentedFault::Malformed(TIMESTAMP)));
}

#[test]
fn a_claimed_id_is_known_as_soon_as_it_is_well_formed_and_single() {
    assert_eq!(claimed_service(&claims(&[(SERVICE_ID, ID)])), Some(ID));
    for fields in [&[][..], &[(SERVICE_ID, "a b")], &[(SERVICE_ID, "")], &[(SERVICE_ID, ID), (SERVICE_ID, ID)]] {
        assert_eq!(claimed_service(&claims(fields)), None, "{fields:?}");
    }
}

#[test]
fn the_skew_never_overflows() {
    let presented = parse(ID, "999999999999", MAC).unwrap();
    assert_eq!(presented.skew_seconds(u64::MAX), i64::MIN);
    assert_eq!(presented.skew_seconds(0), 999_999_999_999);
    assert_eq!(parse(ID, "10", MAC).unwrap().skew_seconds(15), -5);
}

#[test]
fn printed_headers_read_back() {
    let headers = SignatureHeaders { service_id: ID.into(), timestamp: TIME.into(), signature: MAC.into() };
    let text = headers.to_string();
    let fields: Vec<_> = text.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(PresentedSignature::parse(&claims(&fields)), parse(ID, TIME, MAC));
    assert_eq!(fields, headers.iter().collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn every_well_formed_signature_reads_back(
        id in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", time in "[1-9][0-9]{0,11}", mac in prop::array::uniform32(any::<u8>())
    ) {
        let hex = HEXLOWER.encode(&mac);
        let presented = parse(&id, &time, &hex).unwrap();
        prop_assert_eq!((presented.service_id, presented.timestamp, presented.mac), (&*id, &*time, mac));
    }

    #[test]
    fn no_bytes_panic_and_none_read_back_otherwise_than_they_came(
        fields in prop::collection::vec((0usize..3, prop::collection::vec(any::<u8>(), 0..70)), 0..5)
    ) {
        let mut claims = Claims::default();
        for (at, value) in &fields {
            claims.note([SERVICE_ID, TIMESTAMP, SIGNATURE][*at].as_bytes(), value);
        }
        if let Ok(presented) = PresentedSignature::parse(&claims) {
            let printed = [presented.service_id.to_owned(), presented.timestamp.to_owned(), HEXLOWER.encode(&presented.mac)];
            for (at, value) in &fields {
                prop_assert_eq!(value.trim_ascii(), printed[*at].as_bytes());
            }
        }
    }
}
