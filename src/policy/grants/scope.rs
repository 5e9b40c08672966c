//! [`GrantScope`]: which requests may a grant let pass?
//!
//! A path pattern with the same whole segments as a rule's (`/api/npu`, `=/api/npu/results`, `/api/*/results`, `/` for
//! everything), and a method or any.
//!
//! **Every reading counts.** A request is within the scope when each reading of its path that a rule guards is covered by the
//! pattern. So `/api/npu/..%2finternal` does not widen a grant for `/api/npu`: one of its readings is `/api/internal`. A reading
//! that is exempt or open needs nobody's leave and is not looked at. A path too long to be read is within no scope but `/`.
//!
//! Unlike a `service` rule, a scope never stretches: `/api/npu` does not cover `/api/npu.json`. Methods are compared as they
//! are written, since an upstream that folds `post` to `POST` is one more reading that nobody granted; GET covers HEAD, as in rules.

use crate::request::readings::{Case, Reading, Readings};
use crate::rules::classify::RuleSet;
use crate::rules::pattern::{Pattern, PatternError};
use std::fmt;

/// A path pattern, and a method or any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantScope {
    written: Pattern,
    lowered: Pattern,
    method: Option<Box<str>>,
}

/// Why a scope is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The path is no pattern.
    #[error("{0}")]
    Pattern(#[from] PatternError),
    /// Longer than any path that is guarded.
    #[error("the path pattern has {0} bytes; expected at most {LONGEST_PATH}")]
    PathTooLong(usize),
    /// Not a method's name, or not as it is sent.
    #[error("a method is written in capital letters, like POST, and has at most {LONGEST_METHOD}; found `{found}`")]
    Method {
        /// What stands in its place.
        found: String,
    },
}

const LONGEST_PATH: usize = 256;
const LONGEST_METHOD: usize = 32;

impl GrantScope {
    /// A pattern as rules write them, and a method; `None`: any.
    ///
    /// # Errors
    /// When either is not of its form.
    pub fn new(path: &str, method: Option<&str>) -> Result<GrantScope, ScopeError> {
        if path.len() > LONGEST_PATH {
            return Err(ScopeError::PathTooLong(path.len()));
        }
        let written: Pattern = path.parse()?;
        if let Some(found) = method.filter(|method| !is_method(method)) {
            return Err(ScopeError::Method { found: found.chars().take(LONGEST_METHOD).collect() });
        }
        Ok(GrantScope { lowered: written.lowered(), written, method: method.map(Into::into) })
    }

    /// The pattern.
    pub fn path(&self) -> &Pattern {
        &self.written
    }

    /// The method; `None`: any.
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// Is a request with these readings within it? Allocates nothing where classifying does not.
    pub fn covers(&self, rules: &RuleSet, method: &str, readings: &Readings<'_>) -> bool {
        let method_fits = self.method().is_none_or(|own| own == method || (own == "GET" && method == "HEAD"));
        method_fits
            && (self.covers_everything()
                || rules.every_service_reading(method, readings, |reading| self.covers_reading(reading)))
    }

    fn covers_everything(&self) -> bool {
        self.written.segments().is_empty() && !self.written.is_exact()
    }

    fn covers_reading(&self, reading: Reading<'_>) -> bool {
        match reading.case() {
            Case::Lowered => self.lowered.covers(reading.text()),
            Case::Kept | Case::Either => self.written.covers(reading.text()),
        }
    }
}

/// As an operator reads it: `POST /api/npu`, `any method /api/npu`.
impl fmt::Display for GrantScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method().unwrap_or("any method"), self.written)
    }
}

fn is_method(text: &str) -> bool {
    (1..=LONGEST_METHOD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}
