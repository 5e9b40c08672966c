//! Which TOML type does a value have to be, before its text is looked at? One function per kind of key; each answers
//! for [`Table::value`](super::table::Table::value).

use super::problems::Setting;
use super::table::Table;
use super::values::{
    self, Expected, Reading, expected_count, expected_duration, expected_percentage, expected_size, expected_word,
};
use crate::rules::percentage::Percentage;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::{DeInteger, DeValue};

/// A text.
pub(super) fn text<'v>(value: &'v DeValue<'_>, expected: &str) -> Reading<&'v str> {
    value.as_str().ok_or_else(|| {
        let error = Expected::new(expected);
        match value {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => error.fix("write it in quotes"),
            DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => error,
        }
    })
}

/// One of some words.
pub(super) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Reading<T> {
    match value.as_str() {
        Some(text) => values::word(text, words),
        None => Err(expected_word(words)),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Reading<bool> {
    value.as_bool().ok_or_else(|| {
        let error = Expected::new("true or false");
        match value.as_str() {
            Some("true" | "false") => error.fix("write it without quotes"),
            Some(_) | None => error,
        }
    })
}

/// A whole number in a range.
pub(super) fn count(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Reading<u64> {
    match value {
        DeValue::Integer(number) => {
            integer(number).filter(|n| range.contains(n)).ok_or_else(|| expected_count(range))
        }
        DeValue::String(text) => Err(match values::count(text, range) {
            Ok(_) => expected_count(range).fix("write it without quotes"),
            Err(error) => error,
        }),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(expected_count(range))
        }
    }
}

/// A percentage: a bare whole number, so that `percentage = "10"` is not a second way to write it.
pub(super) fn percentage(value: &DeValue<'_>) -> Reading<Percentage> {
    let number = match value {
        DeValue::Integer(number) => {
            integer(number).and_then(|number| u8::try_from(number).ok()).and_then(Percentage::new)
        }
        DeValue::String(text) => {
            let fix = values::percentage(text).ok().map(|percentage| format!("write {}", percentage.value()));
            return Err(Expected { fix, ..expected_percentage() });
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            None
        }
    };
    number.ok_or_else(expected_percentage)
}

/// A duration with its unit.
pub(super) fn duration(value: &DeValue<'_>, range: &RangeInclusive<Duration>) -> Reading<Duration> {
    match value {
        DeValue::String(text) => values::duration(text, range),
        DeValue::Integer(number) => {
            let number = number.as_str();
            Err(expected_duration(range).fix(format!("say the unit: \"{number}s\" or \"{number}ms\"")))
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(expected_duration(range))
        }
    }
}

/// A size; a bare number is bytes.
pub(super) fn size(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Reading<u64> {
    match value {
        DeValue::String(text) => values::size(text, range),
        DeValue::Integer(number) => {
            integer(number).filter(|bytes| range.contains(bytes)).ok_or_else(|| expected_size(range))
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(expected_size(range))
        }
    }
}

fn integer(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The same by key, for the keys that need no more than their type and range.
impl Table<'_> {
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<Duration>,
    ) -> Option<Setting<Duration>> {
        self.value(key, |value| duration(value, range))
    }

    pub(super) fn count(&mut self, key: &'static str, range: &RangeInclusive<u64>) -> Option<Setting<usize>> {
        // The ranges stay far below what a `usize` holds here.
        self.value(key, |value| count(value, range).map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
    }

    pub(super) fn size(&mut self, key: &'static str, range: &RangeInclusive<u64>) -> Option<Setting<u64>> {
        self.value(key, |value| size(value, range))
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<Setting<bool>> {
        self.value(key, boolean)
    }

    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Setting<T>> {
        self.value(key, |value| word(value, words))
    }

    pub(super) fn path(&mut self, key: &'static str) -> Option<Setting<PathBuf>> {
        let reader = self.reader();
        self.value(key, |value| reader.path(text(value, "the path of a file or directory")?))
    }
}
