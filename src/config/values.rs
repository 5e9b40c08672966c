//! What does a text of the configuration say? One pure function per kind of value: durations, sizes, percentages,
//! words (`addresses` and `headers` have the rest). The same functions read the file, the environment and the flags, so that a value is right
//! or wrong alike wherever it stands.
//!
//! A function answers with the value, or with what was [`Expected`]; who calls it says where, and what was found.

use crate::rules::percentage::Percentage;
use jiff::{Span, SpanRelativeTo};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What would have been right, and perhaps how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    /// `expected …`
    pub(super) what: String,
    /// Why what was found is not it, where that is not plain to see.
    pub(super) why: Option<String>,
    /// `help: …`
    pub(super) fix: Option<String>,
}

impl Expected {
    pub(super) fn new(what: impl Into<String>) -> Expected {
        Expected { what: what.into(), why: None, fix: None }
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Expected {
        self.why = Some(why.into());
        self
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Expected {
        self.fix = Some(fix.into());
        self
    }
}

pub(super) type Reading<T> = Result<T, Expected>;

/// `300s`, `5m`, `1h 30m`, `90d`: never a bare number, because nobody knows whether it is seconds or milliseconds.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Reading<Duration> {
    let expected = || expected_duration(range);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(expected().fix(format!("say the unit: \"{text}s\" or \"{text}ms\"")));
    }
    // A `Span` reads days and weeks, which an absolute duration does not; they are 24 hours and 7 days here.
    let span: Span = text.parse().map_err(|_| expected())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    let duration = Duration::try_from(duration).map_err(|_| expected())?;
    if range.contains(&duration) { Ok(duration) } else { Err(expected()) }
}

/// A duration of the command line, as in the file: from none to ten years.
///
/// # Errors
/// What would have been right.
pub fn duration_argument(text: &str) -> Result<Duration, String> {
    let expected = |expected: Expected| match expected.fix {
        Some(fix) => format!("expected {}; {fix}", expected.what),
        None => format!("expected {}", expected.what),
    };
    duration(text, &(Duration::ZERO..=TEN_YEARS)).map_err(expected)
}

const TEN_YEARS: Duration = Duration::from_secs(3650 * 86_400);

pub(super) fn expected_duration(range: &RangeInclusive<Duration>) -> Expected {
    let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
    Expected::new(format!("a duration from {from} to {to}, such as \"30s\" or \"1h 30m\""))
}

/// As a person writes it: `5m`, `1d`, `1h 30m`.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut parts = Vec::new();
    for (millis, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
        if rest >= millis {
            parts.push(format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// `64KiB`, `100MB`, `512`: a bare number is bytes.
pub(super) fn size(text: &str, range: &RangeInclusive<u64>) -> Reading<u64> {
    let expected = || expected_size(range);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start_matches(' ') {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.filter(|bytes| range.contains(bytes)).ok_or_else(expected)
}

pub(super) fn expected_size(range: &RangeInclusive<u64>) -> Expected {
    let (from, to) = (show_size(*range.start()), show_size(*range.end()));
    Expected::new(format!("a size from {from} to {to}, such as \"64KiB\" or \"100MB\""))
}

/// As a person writes it: `64KiB`, `100MB`, `1000`.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1000, "kB"),
    ];
    match units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

/// A whole number in a range.
pub(super) fn count(text: &str, range: &RangeInclusive<u64>) -> Reading<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse::<u64>().ok() } else { None };
    number.filter(|number| range.contains(number)).ok_or_else(|| expected_count(range))
}

pub(super) fn expected_count(range: &RangeInclusive<u64>) -> Expected {
    Expected::new(format!("a whole number from {} to {}", range.start(), range.end()))
}

/// `0` to `100`, perhaps with `%`; for flags and variables. In the file it is a bare number.
pub(super) fn percentage(text: &str) -> Reading<Percentage> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let digits = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let value = if digits { number.parse::<u8>().ok() } else { None };
    value.and_then(Percentage::new).ok_or_else(expected_percentage)
}

pub(super) fn expected_percentage() -> Expected {
    Expected::new("a whole number from 0 to 100")
}

/// One word of a list.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Reading<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    Err(match nearest(text, words.iter().map(|(word, _)| *word)) {
        Some(word) => expected_word(words).fix(format!("did you mean \"{word}\"?")),
        None => expected_word(words),
    })
}

pub(super) fn expected_word<T>(words: &[(&str, T)]) -> Expected {
    let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    Expected::new(match all.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        words => words.concat(),
    })
}

/// The candidate that a typing mistake may have turned into `text`: at most a third of it is wrong.
pub(super) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // A text of this length is no mistyped key, and the work grows with its square.
    if text.len() > 64 {
        return None;
    }
    let written = text.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests;
