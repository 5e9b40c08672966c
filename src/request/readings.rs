//! [`Readings`]: the raw path and every reading an upstream could make of it.
//!
//! An upstream decodes and cleans a path in ways that a proxy cannot see: Starlette routes `/api/%69nternal` and
//! `/api/internal%0a` to `/api/internal`, a file server resolves `..`, a servlet container cuts `;params`. Guessing one
//! reading leaves the others as ways around the rules, and refusing odd paths would cut off honest ones
//! (`/api/files/a%2Fb`). So all are made, and the rules take the strictest. In order:
//!
//! 1. decoded 0, 1 or 2 times, before each time with dots resolved or not;
//! 2. then every subset of the operations of [`Step`], in their order.
//!
//! Any order would give thousands; this gives at most [`Readings::MOST`], and equal ones are kept once. A clean path has
//! one reading (two with a final slash) and allocates nothing. A path over [`Readings::LONGEST`] bytes that is not
//! clean is not read at all; the rules call it `service`. So the work is bounded by 896 texts of 2 KiB, whatever comes:
//! measured, the worst path found (832 readings) costs about a millisecond, a common trick a microsecond.
//!
//! Left out: Unicode normalization (no server known decodes `%EF%BC%8F` to a slash), and cutting at a NUL byte, which
//! stretched prefix patterns guard.

mod steps;

pub(crate) use steps::lower_case;
pub use steps::{Step, Steps};

use std::borrow::Cow;

/// Every reading of one raw path (without query).
#[derive(Debug)]
pub struct Readings<'a> {
    raw: &'a str,
    extent: Extent<'a>,
}

/// One reading, and how it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<'a> {
    text: Cow<'a, str>,
    steps: Steps,
    case: Case,
}

/// Was lower-casing part of how a reading was made?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// No: it is compared with patterns as they are written.
    Kept,
    /// Yes: it is compared with lower-cased patterns.
    Lowered,
    /// With or without it the text is the same, so both hold.
    Either,
}

#[derive(Debug)]
enum Extent<'a> {
    /// The path, and the same without its final slash; how many of the two count.
    Clean([Reading<'a>; 2], usize),
    Many(Vec<Reading<'a>>),
    Overlong,
}

impl<'a> Readings<'a> {
    /// No path has more readings: seven ways to decode, seven operations that can each be made or not.
    pub const MOST: usize = 7 << 7;

    /// A path that is not clean is read up to this length, in bytes.
    pub const LONGEST: usize = 2048;

    /// Makes the readings. A clean path allocates nothing.
    pub fn of(raw: &'a str) -> Readings<'a> {
        let extent = match surface(raw) {
            Surface::Clean { dots } if !dots || raw.len() <= Self::LONGEST => Extent::clean(raw),
            _ if raw.len() > Self::LONGEST => Extent::Overlong,
            _ => Extent::Many(steps::readings(raw)),
        };
        Readings { raw, extent }
    }

    /// The path as it came.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Every reading once, the raw path first; none of a path that is [overlong](Self::is_overlong).
    pub fn all(&self) -> &[Reading<'a>] {
        match &self.extent {
            Extent::Clean(readings, count) => &readings[..*count],
            Extent::Many(readings) => readings,
            Extent::Overlong => &[],
        }
    }

    /// Too long to be read in every way: it must be treated as if it could be any path.
    pub fn is_overlong(&self) -> bool {
        matches!(self.extent, Extent::Overlong)
    }

    /// The fully cleaned lower-case reading: what draws are made by, so that respelling a path does not redraw.
    pub fn cleaned(&self) -> Cow<'_, str> {
        match &self.extent {
            Extent::Clean(readings, count) => Cow::Borrowed(readings[*count - 1].text()),
            Extent::Many(_) | Extent::Overlong => steps::cleaned(self.raw),
        }
    }
}

impl Reading<'_> {
    /// The path as it reads so.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What was done to the raw path; of several ways to the same text, the first. Steps that change nothing are left out.
    pub fn steps(&self) -> Steps {
        self.steps
    }

    /// How it is compared with patterns.
    pub fn case(&self) -> Case {
        self.case
    }
}

impl<'a> Extent<'a> {
    fn clean(raw: &'a str) -> Extent<'a> {
        let reading = |text, steps| Reading { text: Cow::Borrowed(text), steps, case: Case::Either };
        let (short, count) = match raw.strip_suffix('/') {
            None | Some("") => (raw, 1),
            Some(short) => (short, 2),
        };
        let trailing = Steps::default().with(Step::Trailing);
        Extent::Clean([reading(raw, Steps::default()), reading(short, trailing)], count)
    }
}

/// What a look at each byte tells.
enum Surface {
    /// No operation but the cut of a final slash changes anything.
    Clean {
        /// Are there dots, all of them inside a segment?
        dots: bool,
    },
    Unclean,
}

fn surface(raw: &str) -> Surface {
    let bytes = raw.as_bytes();
    let mut dots = false;
    for (place, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'/' => {
                if bytes.get(place + 1) == Some(&b'/') {
                    return Surface::Unclean;
                }
            }
            b'.' => {
                dots = true;
                if matches!(bytes.get(place + 1), None | Some(b'/' | b'.')) {
                    return Surface::Unclean;
                }
            }
            b'%' | b';' | b'\\' | b'A'..=b'Z' => return Surface::Unclean,
            0x21..=0x7e => {}
            _ => return Surface::Unclean,
        }
    }
    Surface::Clean { dots }
}

#[cfg(test)]
pub(crate) mod tests;
