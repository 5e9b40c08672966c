use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ALL: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3650 * 86_400);

#[test]
fn a_duration_has_a_unit() {
    for (text, seconds) in [
        ("300s", 300),
        ("5m", 300),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("90d", 7_776_000),
        ("1w", 604_800),
        ("10 minutes", 600),
        ("PT5M", 300),
        ("0s", 0),
        ("1d 1s", 86_401),
    ] {
        assert_eq!(duration(text, &ALL), Ok(seconds * SECOND), "{text}");
    }
    assert_eq!(duration("250ms", &ALL), Ok(Duration::from_millis(250)));
    for bad in
        ["", "5", "-5s", "5m ago", "s", "1mo", "1y", "300S", " 5m ", "5m,", "∞", "1e9s", "99999999999999999999h"]
    {
        assert!(duration(bad, &ALL).is_err(), "{bad:?} was taken");
    }
}

#[test]
fn a_bare_number_is_told_to_say_its_unit() {
    let error = duration("30", &ALL).unwrap_err();
    assert_eq!(error.fix.as_deref(), Some("say the unit: \"30s\" or \"30ms\""));
}

#[test]
fn a_duration_stays_in_its_range() {
    let range = SECOND..=60 * SECOND;
    assert!(duration("1s", &range).is_ok() && duration("1m", &range).is_ok());
    for bad in ["999ms", "61s", "0s"] {
        let error = duration(bad, &range).unwrap_err();
        assert_eq!(error.what, "a duration from 1s to 1m, such as \"30s\" or \"1h 30m\"");
    }
}

#[test]
fn a_size_is_bytes_or_has_a_unit() {
    let all = 0..=u64::MAX;
    for (text, bytes) in [
        ("64KiB", 65_536),
        ("100MB", 100_000_000),
        ("1GiB", 1 << 30),
        ("512", 512),
        ("512B", 512),
        ("1kB", 1000),
        ("1KB", 1000),
        ("2 MiB", 2 << 20),
        ("0", 0),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(size(text, &all), Ok(bytes), "{text}");
    }
    for bad in
        ["", "KiB", "64kib", "100mb", "64K", "1.5MiB", "-1", "+1", "1 2", "18446744073709551616", "99999999999GiB"]
    {
        assert!(size(bad, &all).is_err(), "{bad:?} was taken");
    }
    assert!(size("1KiB", &(1..=1000)).is_err());
}

#[test]
fn what_is_shown_can_be_read_again() {
    for seconds in [0, 1, 59, 60, 61, 300, 3600, 86_399, 86_400, 7_776_000, 90_061] {
        let value = seconds * SECOND + Duration::from_millis(u64::from(seconds) % 3);
        assert_eq!(duration(&show_duration(value), &ALL), Ok(value), "{}", show_duration(value));
    }
    for bytes in [1000, 1024, 65_536, 100_000_000, 1 << 30, 1 << 40] {
        assert_eq!(size(&show_size(bytes), &(0..=u64::MAX)), Ok(bytes), "{}", show_size(bytes));
    }
}

#[test]
fn a_percentage_is_a_whole_number_to_100() {
    for (text, value) in [("0", 0), ("10", 10), ("10%", 10), ("100", 100), ("100 %", 100)] {
        assert_eq!(percentage(text).map(Percentage::value), Ok(value), "{text}");
    }
    for bad in ["", "%", "101", "-1", "+1", "10.5", "1e1", "ten", "10%%", "0x10", " 10", "1000", "١٠"] {
        assert!(percentage(bad).is_err(), "{bad:?} was taken");
    }
}

#[test]
fn a_mistyped_word_finds_the_one_that_was_meant() {
    let keys = ["percentage", "mode", "sampling", "override_token_file", "rate_limit"];
    for (text, meant) in [
        ("precentage", Some("percentage")),
        ("Mode", Some("mode")),
        ("moed", Some("mode")),
        ("rate-limit", Some("rate_limit")),
        ("override_token", Some("override_token_file")),
        ("x", None),
        ("colour", None),
        ("", None),
    ] {
        assert_eq!(nearest(text, keys), meant, "{text}");
    }
    assert_eq!(nearest(&"a".repeat(1 << 20), keys), None);
}

#[test]
fn only_the_listed_words_are_words() {
    let words = [("log", 1), ("enforce", 2)];
    assert_eq!(word("enforce", &words), Ok(2));
    for bad in ["Enforce", "enforce ", "", "true"] {
        assert_eq!(word(bad, &words).unwrap_err().what, "\"log\" or \"enforce\"");
    }
    assert_eq!(word("enfroce", &words).unwrap_err().fix.as_deref(), Some("did you mean \"enforce\"?"));
    assert_eq!(expected_word(&[("a", ()), ("b", ()), ("c", ())]).what, "\"a\", \"b\" or \"c\"");
    assert_eq!(expected_word(&[("a", ())]).what, "\"a\"");
}
