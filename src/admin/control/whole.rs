//! [`whole`]: which numbers of a body are whole ones? To JSON Schema `42.0` is an integer, and some programs write all their numbers so.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;

/// Reads one that is not negative and that `T` can hold.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    held(Whole::deserialize(deserializer)?)
}

/// The same where it may be left out, or `null`.
pub(super) fn optional_whole<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    Option::<Whole>::deserialize(deserializer)?.map(held).transpose()
}

fn held<T: TryFrom<u64>, E: Error>(Whole(number): Whole) -> Result<T, E> {
    T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &"a smaller number"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        deserializer.deserialize_any(Digits)
    }
}

struct Digits;

impl Visitor<'_> for Digits {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not negative")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
        Ok(Whole(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Whole, E> {
        if value.fract() == 0.0 && (0.0..TOO_LARGE).contains(&value) {
            // Whole and in range: nothing is cut.
            return Ok(Whole(value as u64));
        }
        Err(E::invalid_value(Unexpected::Float(value), &self))
    }
}

/// The first that no `u64` holds.
const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_taken_however_they_are_written() {
        for (text, value) in [("0", 0), ("42", 42), ("42.0", 42), ("4.2e1", 42), ("18446744073709551615", u64::MAX)] {
            assert_eq!(serde_json::from_str::<Whole>(text).unwrap(), Whole(value), "{text}");
        }
        for other in ["-1", "-1.0", "1.5", "\"1\"", "true", "null", "[1]", "1e20", "18446744073709551616"] {
            assert!(serde_json::from_str::<Whole>(other).is_err(), "{other}");
        }
        let mut large = serde_json::Deserializer::from_str("4294967296");
        assert!(whole::<_, u32>(&mut large).is_err());
    }
}
