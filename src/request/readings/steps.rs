//! The single steps from a raw path to its readings, their order, and the making of every combination.
//!
//! A step that changes nothing makes no new reading, so the readings of a common path are few. The texts of all steps
//! are found by doubling: each operation is tried on everything made so far.

use super::edits;
use super::made::{Made, TooMuch};
use super::{Case, Reading};
use std::borrow::Cow;

/// What can be done to a path, in the order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// `.` and `..` resolved before the first decoding, as a proxy in between does.
    DotsFirst,
    /// Percent-decoded.
    Decode,
    /// `.` and `..` resolved between two decodings.
    DotsBetween,
    /// Percent-decoded a second time.
    DecodeAgain,
    /// Control characters dropped.
    Controls,
    /// `\` read as `/`.
    Backslashes,
    /// Each segment cut at its first `;`.
    Parameters,
    /// Repeated `/` merged.
    Slashes,
    /// `.` and `..` resolved (RFC 3986, 5.2.4).
    Dots,
    /// Dots and spaces cut from the end of each segment, then slashes from the end of the path.
    Trailing,
    /// Lower case.
    Lower,
}

/// The operations of which every subset is tried; [`Step::Lower`] comes after them, and decoding before.
const OPERATIONS: [Step; 6] =
    [Step::Controls, Step::Backslashes, Step::Parameters, Step::Slashes, Step::Dots, Step::Trailing];

impl Step {
    /// Every step, in order.
    pub const ALL: [Step; 11] = [
        Step::DotsFirst,
        Step::Decode,
        Step::DotsBetween,
        Step::DecodeAgain,
        Step::Controls,
        Step::Backslashes,
        Step::Parameters,
        Step::Slashes,
        Step::Dots,
        Step::Trailing,
        Step::Lower,
    ];

    /// What is done, in the words that `explain` prints.
    pub const fn describe(self) -> &'static str {
        match self {
            Step::DotsFirst | Step::DotsBetween | Step::Dots => "dots resolved",
            Step::Decode => "decoded",
            Step::DecodeAgain => "decoded again",
            Step::Controls => "control characters dropped",
            Step::Backslashes => "`\\` as `/`",
            Step::Parameters => "`;` parameters cut",
            Step::Slashes => "slashes merged",
            Step::Trailing => "ends trimmed",
            Step::Lower => "lower case",
        }
    }
}

/// A set of steps; they are made in the order of [`Step::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Steps(u16);

impl Steps {
    /// Is it one of them?
    pub const fn has(self, step: Step) -> bool {
        self.0 & 1 << step as u16 != 0
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, step: Step) -> Steps {
        Steps(self.0 | 1 << step as u16)
    }

    /// In the order in which they are made; none for the raw path.
    pub fn each(self) -> impl Iterator<Item = Step> {
        Step::ALL.into_iter().filter(move |step| self.has(*step))
    }
}

/// Every reading of a path, each text once, the raw path first.
pub(super) fn readings(raw: &str) -> Result<Made, TooMuch> {
    let (mut made, mut out) = (Made::for_texts_of(raw.len()), String::with_capacity(raw.len()));
    made.add(raw, Steps::default(), Case::Kept)?;
    for (dots, decode) in [(Step::DotsFirst, Step::Decode), (Step::DotsBetween, Step::DecodeAgain)] {
        for place in 0..made.len() {
            // What the first decoding left as it is, a second leaves too.
            if decode == Step::DecodeAgain && !made.reading(place).steps().has(Step::Decode) {
                continue;
            }
            step(&mut made, place, decode, &mut out)?;
            let Reading { text, steps, .. } = made.reading(place);
            if edits::write(dots, text, &mut out) {
                let resolved = std::mem::take(&mut out);
                let is_decoded = edits::write(decode, &resolved, &mut out);
                let steps = steps.with(dots);
                match is_decoded {
                    true => made.add(&out, steps.with(decode), Case::Kept)?,
                    false => made.add(&resolved, steps, Case::Kept)?,
                }
            }
        }
    }
    for operation in OPERATIONS {
        for place in 0..made.len() {
            step(&mut made, place, operation, &mut out)?;
        }
    }
    for place in 0..made.len() {
        if !step(&mut made, place, Step::Lower, &mut out)? {
            made.holds_in_either_case(place);
        }
    }
    Ok(made)
}

/// Adds what one step makes of the reading at this place; `false` when that is the same.
fn step(made: &mut Made, place: usize, step: Step, out: &mut String) -> Result<bool, TooMuch> {
    let Reading { text, steps, .. } = made.reading(place);
    if !edits::write(step, text, out) {
        return Ok(false);
    }
    let case = if step == Step::Lower { Case::Lowered } else { Case::Kept };
    made.add(out, steps.with(step), case)?;
    Ok(true)
}

/// Decoded twice and every operation made: one pass each, so it may be long.
pub(super) fn cleaned(raw: &str) -> Cow<'_, str> {
    let (mut text, mut out) = (Cow::Borrowed(raw), String::new());
    for step in [Step::Decode, Step::DecodeAgain].iter().chain(&OPERATIONS).chain(&[Step::Lower]) {
        if edits::write(*step, &text, &mut out) {
            text = Cow::Owned(std::mem::take(&mut out));
        }
    }
    text
}
