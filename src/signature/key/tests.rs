//! What is a service id, what is a key, and what of it may be seen.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;

#[test]
fn service_ids_are_what_the_contract_says() {
    let longest = format!("a{}", "b".repeat(63));
    for id in ["a", "7", "npu-worker", "a.b_c-d", "A", "0-", &longest] {
        assert_eq!(ServiceId::parse(id).unwrap().as_str(), id);
    }
    let too_long = format!("a{}", "b".repeat(64));
    for text in [
        "",
        "-a",
        ".a",
        "_a",
        "a:b",
        "a b",
        " a",
        "a ",
        "a/b",
        "a\n",
        "a\0",
        "caf\u{e9}",
        "..",
        "a%41",
        "*",
        &too_long,
    ] {
        assert_eq!(ServiceId::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_key_is_the_text_and_not_what_its_hex_stands_for() {
    let text = "61".repeat(32);
    let decoded = ServiceKey::from_bytes(&[0x61; 32]);
    assert_ne!(ServiceKey::from_text(&text).unwrap().fingerprint(), decoded.fingerprint());
    assert_eq!(
        ServiceKey::from_text(&text).unwrap().fingerprint(),
        ServiceKey::from_bytes(text.as_bytes()).fingerprint()
    );
}

#[test]
fn a_text_of_32_printable_characters_or_more_is_a_key() {
    for text in ["a".repeat(32), "a".repeat(64), "!~".repeat(40), "f".repeat(1024)] {
        assert!(ServiceKey::from_text(&text).is_ok(), "{} characters", text.len());
    }
}

#[test]
fn what_is_no_key_is_refused_and_not_shown() {
    let long = "k".repeat(40);
    for (text, error) in [
        (String::new(), KeyTextError::Empty),
        ("k".into(), KeyTextError::TooShort(1)),
        ("k".repeat(31), KeyTextError::TooShort(31)),
        ("k".repeat(1025), KeyTextError::TooLong(1025)),
        (format!(" {long}"), KeyTextError::NotPrintableAscii(1)),
        (format!("{long}\n"), KeyTextError::NotPrintableAscii(41)),
        (format!("{long}\r"), KeyTextError::NotPrintableAscii(41)),
        (format!("{long}\t{long}"), KeyTextError::NotPrintableAscii(41)),
        (format!("{long}\0"), KeyTextError::NotPrintableAscii(41)),
        (format!("{long}\u{7f}"), KeyTextError::NotPrintableAscii(41)),
        (format!("{long}\u{e9}"), KeyTextError::NotPrintableAscii(41)),
    ] {
        let found = ServiceKey::from_text(&text).unwrap_err();
        assert_eq!(found, error);
        assert!(!found.to_string().contains("kk"), "{found}");
    }
}

#[test]
fn every_shorter_prefix_of_the_shortest_key_is_refused() {
    let text = "0123456789abcdef0123456789abcdef";
    assert!(ServiceKey::from_text(text).is_ok());
    for end in 0..text.len() {
        assert!(ServiceKey::from_text(&text[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_key_shows_as_8_hex_digits_that_are_the_same_each_time_and_not_part_of_it() {
    let key = ServiceKey::from_text(&"a".repeat(64)).unwrap();
    let shown = key.fingerprint().to_string();
    assert_eq!(shown.len(), 8);
    assert!(shown.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(shown, "2c23fd49");
    assert_eq!(format!("{key:?}"), format!("ServiceKey({shown})"));
    assert_ne!(ServiceKey::from_text(&"b".repeat(64)).unwrap().fingerprint(), key.fingerprint());
}

#[test]
fn a_fingerprint_is_no_signature_of_any_request() {
    // the text it is made from begins with a byte that no service id holds
    assert!(!is_service_id(&FINGERPRINT_TEXT[..1]));
}
