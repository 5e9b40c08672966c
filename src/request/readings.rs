//! [`Readings`]: the raw path and every reading a backend could make of it.

use std::borrow::Cow;

/// Every reading of one raw path (without query).
#[derive(Debug)]
pub struct Readings<'a> {
    raw: &'a str,
}

impl<'a> Readings<'a> {
    /// Makes the readings. A clean path has one and allocates nothing.
    pub fn of(raw: &'a str) -> Readings<'a> {
        Readings { raw }
    }

    /// The path as it came.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The path percent-decoded once, exactly as the fleet's Python verifier sees it. Borrowed when nothing is escaped.
    pub fn decoded(&self) -> Cow<'a, str> {
        super::decode::percent_decoded(self.raw)
    }

    /// The fully cleaned lower-case reading: what draws are made by, so that respelling a path does not redraw.
    pub fn cleaned(&self) -> Cow<'_, str> {
        unimplemented!()
    }
}
