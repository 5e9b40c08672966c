//! What is a token, and what never matches one.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;

const TOKEN: &str = "fake-override-token-for-tests";

fn present(configured: Option<&OverrideToken>, presented: Presence<'_>) -> OverrideClaim {
    OverrideToken::check(configured, &PresentedToken::of(presented))
}

fn check(value: &[u8]) -> OverrideClaim {
    let token = OverrideToken::from_text(TOKEN).unwrap();
    present(Some(&token), Presence::Once(value))
}

#[test]
fn the_token_itself_is_valid_and_the_newline_of_its_file_is_no_part_of_it() {
    assert_eq!(check(TOKEN.as_bytes()), OverrideClaim::Valid);
    for text in
        ["fake-override-token-for-tests\n", "fake-override-token-for-tests\r\n", "  fake-override-token-for-tests "]
    {
        assert_eq!(OverrideToken::from_text(text).unwrap(), OverrideToken::from_text(TOKEN).unwrap());
    }
}

#[test]
fn what_is_not_exactly_the_token_is_wrong() {
    for value in [
        &b""[..],
        b"x",
        b"fake-override-token-for-test",
        b"fake-override-token-for-testss",
        b"Fake-override-token-for-tests",
        b"fake-override-token-for-tests ",
        b"fake-override-token-for-tests\0",
        b"\xff\xfe",
        &[0; 32],
        &[b'a'; 1024],
        &[b'a'; 1025],
        &[b'a'; 60_000],
    ] {
        assert_eq!(check(value), OverrideClaim::Wrong, "{value:?}");
    }
}

#[test]
fn every_shorter_prefix_of_the_token_is_wrong() {
    for end in 0..TOKEN.len() {
        assert_eq!(check(&TOKEN.as_bytes()[..end]), OverrideClaim::Wrong, "{end}");
    }
}

#[test]
fn a_repeated_header_is_wrong_and_an_absent_one_is_absent() {
    let token = OverrideToken::from_text(TOKEN).unwrap();
    assert_eq!(present(Some(&token), Presence::Repeated), OverrideClaim::Wrong);
    assert_eq!(present(Some(&token), Presence::Absent), OverrideClaim::Absent);
    assert_eq!(present(None, Presence::Absent), OverrideClaim::Absent);
}

#[test]
fn where_none_is_configured_every_value_is_as_wrong_as_a_wrong_one() {
    let zero = [0; 32];
    for value in [TOKEN.as_bytes(), b"", b"x", &zero] {
        assert_eq!(present(None, Presence::Once(value)), OverrideClaim::Wrong);
    }
    assert_eq!(present(None, Presence::Repeated), OverrideClaim::Wrong);
}

#[test]
fn what_is_empty_or_could_not_be_sent_is_no_token() {
    for (text, error) in [
        (String::new(), OverrideTokenError::Empty),
        (" \n\t ".into(), OverrideTokenError::Empty),
        ("a".repeat(1025), OverrideTokenError::TooLong(1025)),
        (format!("{}\nsecond line", "a".repeat(16)), OverrideTokenError::NotPrintable(17)),
        (format!("{}\u{e9}", "a".repeat(16)), OverrideTokenError::NotPrintable(17)),
        (format!("\0{}", "a".repeat(16)), OverrideTokenError::NotPrintable(1)),
    ] {
        let found = OverrideToken::from_text(&text).unwrap_err();
        assert_eq!(found, error, "{text:?}");
        assert!(!found.to_string().contains("aaa"));
    }
    for text in ["a".into(), "a".repeat(16), "a".repeat(1024), "four words are fine".into()] {
        assert!(OverrideToken::from_text(&text).is_ok(), "{text}");
    }
}

#[test]
fn a_short_token_matches_and_is_called_easy_to_guess() {
    let token = OverrideToken::from_text("x\n").unwrap();
    assert_eq!(present(Some(&token), Presence::Once(b"x")), OverrideClaim::Valid);
    for (value, claim) in
        [(&b""[..], OverrideClaim::Wrong), (b"y", OverrideClaim::Wrong), (b"xx", OverrideClaim::Wrong)]
    {
        assert_eq!(present(Some(&token), Presence::Once(value)), claim);
    }
    assert!(OverrideToken::is_easy_to_guess("x") && OverrideToken::is_easy_to_guess("               \n"));
    assert!(OverrideToken::is_easy_to_guess(&"a".repeat(15)) && !OverrideToken::is_easy_to_guess(&"a".repeat(16)));
}

#[test]
fn a_hash_is_read_as_it_was_written_and_nothing_else_is_one() {
    let hash = TokenHash::of(TOKEN.as_bytes());
    let text = hash.to_hex();
    assert_eq!(TokenHash::parse(&text), Some(hash));
    for wrong in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &"g".repeat(64)] {
        assert_eq!(TokenHash::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_token_does_not_show() {
    assert_eq!(format!("{:?}", OverrideToken::from_text(TOKEN).unwrap()), "OverrideToken(..)");
}

#[test]
fn a_hash_does_not_show() {
    let hash = TokenHash::of(TOKEN.as_bytes());
    assert_eq!(format!("{hash:?}"), "TokenHash(..)");
}
