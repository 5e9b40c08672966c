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
//! Any order would give thousands of readings; this gives 896 at most, and equal ones are kept once. A clean path has one
//! (two with a final slash) and allocates nothing.
//!
//! **The bound.** Who writes a path decides how much it costs to read, so what may be made of one is bounded twice:
//! [`Readings::MOST`] readings, and [`Readings::MOST_BYTES`] bytes of text, counting every text as it is made, whether it is
//! new or not. Each reading is looked at by ten steps at most, so no path costs more than 0.7 million instructions to
//! classify, the worst that search found (`benches/instructions`); before there was a bound it was ten times that. A path
//! that would go beyond either is *overlong*, as is one of more than [`Readings::LONGEST`] bytes that is not clean: it is
//! not read at all, and the rules take it for any path, so it needs a signature that every rule allows. So nothing
//! gets through by being too much. What honest clients send stays far below: it takes seven kinds of tricks in one path
//! to have 192 readings, and three of them in two kilobytes of path to make 16 KiB of text.
//!
//! Left out: Unicode normalization (no server known decodes `%EF%BC%8F` to a slash), and cutting at a NUL byte, which
//! stretched prefix patterns guard.

mod edits;
mod made;
mod steps;

pub(crate) use edits::lower_case;
pub use steps::{Step, Steps};

use made::Made;
use std::borrow::Cow;

/// Every reading of one raw path (without query).
#[derive(Debug)]
pub struct Readings<'a> {
    raw: &'a str,
    extent: Extent,
}

/// One reading, and how it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading<'r> {
    text: &'r str,
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
enum Extent {
    /// The path alone, or also the same without its final slash.
    Clean {
        slash: bool,
    },
    Many(Made),
    Overlong,
}

impl<'a> Readings<'a> {
    /// No path has more readings, or it is overlong: three numbers of decodings, seven operations that can each be made or not.
    /// Only dots resolved before decoding could make more.
    pub const MOST: usize = 3 << 7;

    /// So many bytes of text are made of one path at most, or it is overlong: eight times the longest path.
    pub const MOST_BYTES: usize = 1 << 14;

    /// A path that is not clean is read up to this length, in bytes.
    pub const LONGEST: usize = 2048;

    /// Makes the readings. A clean path allocates nothing.
    pub fn of(raw: &'a str) -> Readings<'a> {
        let extent = match surface(raw) {
            Surface::Clean { dots } if !dots || raw.len() <= Self::LONGEST => {
                Extent::Clean { slash: raw.len() > 1 && raw.ends_with('/') }
            }
            _ if raw.len() > Self::LONGEST => Extent::Overlong,
            _ => steps::readings(raw).map_or(Extent::Overlong, Extent::Many),
        };
        Readings { raw, extent }
    }

    /// The path as it came.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Every reading once, the raw path first; none of a path that is [overlong](Self::is_overlong).
    pub fn all(&self) -> impl ExactSizeIterator<Item = Reading<'_>> {
        let count = match &self.extent {
            Extent::Clean { slash } => 1 + usize::from(*slash),
            Extent::Many(made) => made.len(),
            Extent::Overlong => 0,
        };
        (0..count).map(|place| match &self.extent {
            Extent::Many(made) => made.reading(place),
            Extent::Clean { .. } | Extent::Overlong if place == 0 => {
                Reading { text: self.raw, steps: Steps::default(), case: Case::Either }
            }
            Extent::Clean { .. } | Extent::Overlong => {
                let steps = Steps::default().with(Step::Trailing);
                Reading { text: self.without_slash(), steps, case: Case::Either }
            }
        })
    }

    /// Too long to be read in every way, or it would have too many readings: it must be treated as if it could be any
    /// path.
    pub fn is_overlong(&self) -> bool {
        matches!(self.extent, Extent::Overlong)
    }

    /// The fully cleaned lower-case reading: what draws are made by, so that respelling a path does not redraw.
    pub fn cleaned(&self) -> Cow<'_, str> {
        match &self.extent {
            Extent::Clean { slash: false } => Cow::Borrowed(self.raw),
            Extent::Clean { slash: true } => Cow::Borrowed(self.without_slash()),
            Extent::Many(_) | Extent::Overlong => steps::cleaned(self.raw),
        }
    }

    fn without_slash(&self) -> &'a str {
        self.raw.strip_suffix('/').unwrap_or(self.raw)
    }
}

impl<'r> Reading<'r> {
    /// The path as it reads so.
    pub fn text(&self) -> &'r str {
        self.text
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
