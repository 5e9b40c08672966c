//! [`Pattern`] and `Specificity`: whole segments, order, ties refused.

use std::str::FromStr;

/// A path form as written in a rule: `/api/chat`, `/api/*/x`, `=/api/x`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {}

/// Why a text is not a pattern. Lower case, says what was found and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a pattern")]
pub struct PatternError {}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(_text: &str) -> Result<Pattern, PatternError> {
        unimplemented!()
    }
}
