//! [`Pattern`] and [`Specificity`]: which paths does a rule name, and which of two rules names a path more closely?
//!
//! - A pattern is made of whole segments: `/api/chat` covers `/api/chat` and `/api/chat/...`, never `/api/chatter`.
//!   `*` stands for any one segment; a leading `=` makes it that path alone; `/` covers everything.
//! - It is written decoded, as a person reads a path: `%` and `;` are refused, and so is whatever could only be a slip:
//!   a pattern with a query, an empty segment, a space or dot at the end of one, or a framework's `{id}` would guard nothing, silently.
//! - A final slash says nothing and is left out: every path is read with and without its own.
//! - More literal segments win, then exact before prefix, then fewer `*`, then bound to a method before any method.
//!
//! Not here: what a `service` prefix pattern guards beyond whole segments (`classify`), and case (the index keeps
//! patterns as written and lowered). Whole segments answer the fleet's lesson: by `startswith`, `/api/chat` exempts
//! `/api/chatter`, and the order of two lists decides who is let in.

use crate::request::readings::lower_case;
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// A path form as written in a rule: `/api/chat`, `/api/*/x`, `=/api/x`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    exact: bool,
    segments: Box<[Segment]>,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text.
    Literal(Box<str>),
    /// `*`: any one segment, an empty one too.
    Any,
}

/// How closely a rule names a path; the greater one wins. Of two that are equal and cover a common path, both have the
/// same number of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity {
    literals: usize,
    exact: bool,
    wildcards: Reverse<usize>,
    method: bool,
}

impl Pattern {
    /// Only that path, not what lies below it?
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The segments; none for `/`.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Does it cover this one reading by whole segments? Without what a `service` rule guards beyond them.
    pub fn covers(&self, reading: &str) -> bool {
        let below = reading.strip_prefix('/').unwrap_or(reading);
        let mut rest = (!below.is_empty()).then_some(below);
        for segment in &self.segments {
            let Some(text) = rest else { return false };
            let (first, below) = text.split_once('/').map_or((text, None), |(first, below)| (first, Some(below)));
            match segment {
                Segment::Literal(literal) if **literal != *first => return false,
                Segment::Literal(_) | Segment::Any => rest = below,
            }
        }
        !self.exact || rest.is_none()
    }

    /// The same pattern in lower case, for readings that were made so.
    pub fn lowered(&self) -> Pattern {
        let lower = |segment: &Segment| match segment {
            Segment::Literal(text) => Segment::Literal(lower_case(text).into()),
            Segment::Any => Segment::Any,
        };
        Pattern { exact: self.exact, segments: self.segments.iter().map(lower).collect() }
    }

    /// How closely a rule with this pattern names a path; `method`: is the rule bound to methods?
    pub fn specificity(&self, method: bool) -> Specificity {
        let literals = self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
        Specificity { literals, exact: self.exact, wildcards: Reverse(self.segments.len() - literals), method }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let (exact, path) = match text.strip_prefix('=') {
            Some(path) => (true, path),
            None => (false, text),
        };
        if let Some(control) = path.chars().find(|char| char.is_control()) {
            return Err(PatternError::Control { code: u32::from(control) });
        }
        let Some(inner) = path.strip_prefix('/') else {
            return Err(PatternError::NoLeadingSlash { found: path.into() });
        };
        for found in path.chars() {
            let instead = match found {
                '%' => "write the path decoded: `/a b`, not `/a%20b`",
                ';' => "paths are read with and without `;` parameters: leave them out",
                '?' => "the query never counts: leave it out",
                '#' => "a fragment never reaches a server: leave it out",
                '\\' => "paths are read with `\\` as `/`: write `/`",
                '{' | '}' => "write `*` for one segment",
                _ => continue,
            };
            return Err(PatternError::Character { found, instead });
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return match path {
                "/" => Ok(Pattern { exact, segments: Box::default() }),
                _ => Err(PatternError::EmptySegment),
            };
        }
        let segments = inner.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(Pattern { exact, segments })
    }
}

fn segment(text: &str) -> Result<Segment, PatternError> {
    match text {
        "" => Err(PatternError::EmptySegment),
        "*" => Ok(Segment::Any),
        "." | ".." => Err(PatternError::DotSegment { found: text.into() }),
        _ if text.contains('*') => Err(PatternError::MixedWildcard { found: text.into() }),
        _ if text.trim() != text || text.ends_with('.') => Err(PatternError::LooseEnd { found: text.into() }),
        _ => Ok(Segment::Literal(text.into())),
    }
}

impl fmt::Display for Pattern {
    /// As it can be written again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exact {
            f.write_str("=")?;
        }
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Any => f.write_str("/*")?,
            }
        }
        Ok(())
    }
}

/// Why a text is not a pattern: what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing at all.
    #[error("an empty path pattern: expected one like `/api/internal`, or `/` for everything")]
    Empty,
    /// A character that cannot be seen in the file.
    #[error("a path pattern cannot hold a control character (U+{code:04X})")]
    Control {
        /// Its code point.
        code: u32,
    },
    /// It has to begin where paths begin.
    #[error("a path pattern starts with `/` (or `=/` for that path alone), found `{found}`")]
    NoLeadingSlash {
        /// The pattern without its `=`.
        found: Box<str>,
    },
    /// A character that no reading of a path is compared by.
    #[error("a path pattern cannot hold `{found}`: {instead}")]
    Character {
        /// Which.
        found: char,
        /// What to write.
        instead: &'static str,
    },
    /// `//`
    #[error("a path pattern cannot hold `//`: repeated slashes are read as one")]
    EmptySegment,
    /// `.` or `..`
    #[error("a path pattern cannot hold the segment `{found}`: write the path it leads to")]
    DotSegment {
        /// Which.
        found: Box<str>,
    },
    /// `*` beside other text, `**`
    #[error(
        "in a path pattern `*` is one whole segment, found `{found}`; what lies below a path is covered without it"
    )]
    MixedWildcard {
        /// The segment.
        found: Box<str>,
    },
    /// A space around a segment, a dot at its end.
    #[error("a segment of a path pattern cannot start with a space, or end with one or with a dot, found `{found}`")]
    LooseEnd {
        /// The segment.
        found: Box<str>,
    },
}

#[cfg(test)]
mod tests;
