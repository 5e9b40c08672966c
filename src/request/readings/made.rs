//! [`Made`]: the readings made so far, each text once, all of them in one piece of memory.
//!
//! A path full of tricks has hundreds of readings, and hundreds of allocations would cost more than the texts. Here is
//! also where the work is bounded: the bytes of every text count as it is made, whether it is new or not. The one that would go
//! beyond [`Readings::MOST_BYTES`], and any that comes when there are [`Readings::MOST`], ends the making.

use super::{Case, Reading, Readings, Steps};
use crate::request::hash::{FastHasher, hash};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// The readings so far.
#[derive(Debug, Default)]
pub(super) struct Made {
    texts: String,
    entries: Vec<Entry>,
    /// Where the text with a given hash is. Texts are compared as well, so who finds two that collide only has one of
    /// them judged twice.
    places: HashMap<u64, usize, BuildHasherDefault<FastHasher>>,
    /// Bytes of every text that was made.
    bytes: usize,
}

/// One reading; its text lies in [`Made::texts`].
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    end: usize,
    steps: Steps,
    case: Case,
}

/// More readings than are made, or more text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Made {
    /// None yet; with room for the few readings that most paths have.
    pub(super) fn for_texts_of(bytes: usize) -> Made {
        Made { texts: String::with_capacity(4 * bytes), ..Made::default() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn reading(&self, place: usize) -> Reading<'_> {
        let Entry { start, end, steps, case, .. } = self.entries[place];
        Reading { text: &self.texts[start..end], steps, case }
    }

    /// No letter case changes this one.
    pub(super) fn holds_in_either_case(&mut self, place: usize) {
        self.entries[place].case = Case::Either;
    }

    /// One more, unless its text is there.
    pub(super) fn add(&mut self, text: &str, steps: Steps, case: Case) -> Result<(), TooMuch> {
        self.bytes += text.len();
        let next = self.entries.len();
        if self.bytes > Readings::MOST_BYTES || next == Readings::MOST {
            return Err(TooMuch);
        }
        let place = *self.places.entry(hash(text.as_bytes())).or_insert(next);
        match self.entries.get_mut(place) {
            // Lower-casing comes last: a text that stood there before was made without it.
            Some(there) if self.texts[there.start..there.end] == *text => {
                if there.case != case {
                    there.case = Case::Either;
                }
            }
            Some(_) | None => {
                let start = self.texts.len();
                self.texts.push_str(text);
                let end = self.texts.len();
                self.entries.push(Entry { start, end, steps, case });
            }
        }
        Ok(())
    }
}
