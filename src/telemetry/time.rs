//! Times as text: RFC 3339 in UTC for lines, a compact form for file names. Pure: the time is an argument.

use jiff::Timestamp;

/// `2026-11-22T02:31:00.123456Z`, always six fractional digits, so that text order is time order.
///
/// The text of the last second is kept: on a busy writer thread only the fraction changes from line to line.
#[derive(Debug, Default)]
pub(crate) struct Rfc3339 {
    second: Option<u64>,
    text: String,
}

impl Rfc3339 {
    /// The text of a point in microseconds since the epoch; what lies beyond the year 9999 reads as its end.
    pub(crate) fn print(&mut self, unix_micros: u64) -> &str {
        let unix_micros = unix_micros.min(LAST_MICROSECOND);
        let second = unix_micros / 1_000_000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = timestamp(second).strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.text.push_str(".000000Z");
        }
        let mut fraction = [b'0'; 6];
        let mut rest = unix_micros % 1_000_000;
        for digit in fraction.iter_mut().rev() {
            // rest % 10 is below 10, so the cast keeps it whole
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        self.text.truncate(PREFIX);
        self.text.extend(fraction.iter().map(|b| char::from(*b)));
        self.text.push('Z');
        &self.text
    }
}

/// A second since the epoch as people and programs read it: `2026-11-22T09:30:00Z`.
pub(crate) fn rfc3339_seconds(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).ok();
    seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).unwrap_or_default().to_string()
}

/// The microseconds since the epoch of an RFC 3339 text; `None` when it is none or lies before the epoch.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let timestamp: Timestamp = text.parse().ok()?;
    u64::try_from(timestamp.as_microsecond()).ok()
}

/// `20261122T023100Z`: for file names.
pub(crate) fn stamp(unix_seconds: u64) -> String {
    timestamp(unix_seconds.min(LAST_MICROSECOND / 1_000_000)).strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The seconds since the epoch that [`stamp`] wrote.
pub(crate) fn parse_stamp(text: &str) -> Option<u64> {
    if text.len() != 16 || !text.is_ascii() {
        return None;
    }
    let digits = |range: std::ops::Range<usize>| text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    if &text[8..9] != "T" || &text[15..16] != "Z" {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).map(|micros| micros / 1_000_000)
}

fn timestamp(unix_seconds: u64) -> Timestamp {
    // the callers stay within jiff's range, so the fallback is never seen
    i64::try_from(unix_seconds).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Length of `2026-11-22T02:31:00.`
const PREFIX: usize = 20;
/// 9999-12-30T22:00:00.999999Z: the end of jiff's range, which leaves room for any time zone.
const LAST_MICROSECOND: u64 = 253_402_207_200_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_six_fractional_digits() {
        let mut time = Rfc3339::default();
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (1_763_778_660_000_000, "2025-11-22T02:31:00.000000Z"),
            (1_763_778_660_123_400, "2025-11-22T02:31:00.123400Z"),
            (1_763_778_660_999_999, "2025-11-22T02:31:00.999999Z"),
            (1_763_778_661_000_000, "2025-11-22T02:31:01.000000Z"),
            (1_709_164_799_000_000, "2024-02-28T23:59:59.000000Z"),
            (1_709_164_800_000_000, "2024-02-29T00:00:00.000000Z"),
        ] {
            assert_eq!(time.print(micros), text);
            assert_eq!(parse_rfc3339(text), Some(micros));
        }
    }

    #[test]
    fn a_time_beyond_all_calendars_is_still_a_line() {
        assert_eq!(Rfc3339::default().print(u64::MAX), "9999-12-30T22:00:00.999999Z");
        assert_eq!(stamp(u64::MAX), "99991230T220000Z");
    }

    #[test]
    fn a_stamp_comes_back_as_it_was_and_nothing_else_is_one() {
        assert_eq!(stamp(1_763_778_660), "20251122T023100Z");
        assert_eq!(parse_stamp("20251122T023100Z"), Some(1_763_778_660));
        for wrong in [
            "",
            "20251122T023100",
            "20251122 023100Z",
            "20251322T023100Z",
            "2025112T0231000Z",
            "+0251122T023100Z",
            "20251122T02310ⅨZ",
        ] {
            assert_eq!(parse_stamp(wrong), None, "{wrong}");
        }
    }
}
