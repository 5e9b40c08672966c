//! The single steps from a raw path to its readings, their order, and the making of every combination.
//!
//! A step that changes nothing makes no new reading, so the readings of a common path are few. The texts of all steps
//! are found by doubling: each operation is tried on everything made so far.

use super::{Case, Reading};
use crate::request::decode::percent_decoded;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

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

    /// The text after this step; `None` when it changes nothing.
    fn apply(self, text: &str) -> Option<String> {
        match self {
            Step::DotsFirst | Step::DotsBetween | Step::Dots => dots_resolved(text),
            Step::Decode | Step::DecodeAgain => match percent_decoded(text) {
                Cow::Borrowed(_) => None,
                Cow::Owned(decoded) => (decoded != text).then_some(decoded),
            },
            Step::Controls => text.contains(char::is_control).then(|| text.replace(char::is_control, "")),
            Step::Backslashes => text.contains('\\').then(|| text.replace('\\', "/")),
            Step::Parameters => text.contains(';').then(|| {
                by_segment(text, |segment| match segment.split_once(';') {
                    Some((name, _)) => name,
                    None => segment,
                })
            }),
            Step::Slashes => text.contains("//").then(|| slashes_merged(text)),
            Step::Trailing => ends_trimmed(text),
            Step::Lower => lowered(text),
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
pub(super) fn readings(raw: &str) -> Vec<Reading<'_>> {
    let mut made = Made::default();
    made.add(Cow::Borrowed(raw), Steps::default(), Case::Kept);
    for (dots, decode) in [(Step::DotsFirst, Step::Decode), (Step::DotsBetween, Step::DecodeAgain)] {
        for place in 0..made.readings.len() {
            let Reading { text, steps, .. } = &made.readings[place];
            let steps = *steps;
            // What the first decoding left as it is, a second leaves too.
            if decode == Step::DecodeAgain && !steps.has(Step::Decode) {
                continue;
            }
            let resolved = dots.apply(text);
            if let Some(decoded) = decode.apply(text) {
                made.add(Cow::Owned(decoded), steps.with(decode), Case::Kept);
            }
            if let Some(resolved) = resolved {
                let (text, steps) = match decode.apply(&resolved) {
                    Some(decoded) => (decoded, steps.with(dots).with(decode)),
                    None => (resolved, steps.with(dots)),
                };
                made.add(Cow::Owned(text), steps, Case::Kept);
            }
        }
    }
    for operation in OPERATIONS {
        for place in 0..made.readings.len() {
            let Reading { text, steps, .. } = &made.readings[place];
            if let Some(changed) = operation.apply(text) {
                let steps = steps.with(operation);
                made.add(Cow::Owned(changed), steps, Case::Kept);
            }
        }
    }
    for place in 0..made.readings.len() {
        let Reading { text, steps, .. } = &made.readings[place];
        match Step::Lower.apply(text) {
            None => made.readings[place].case = Case::Either,
            Some(lowered) => {
                let steps = steps.with(Step::Lower);
                made.add(Cow::Owned(lowered), steps, Case::Lowered);
            }
        }
    }
    made.readings
}

/// Decoded twice and every operation made: one pass each, so it may be long.
pub(super) fn cleaned(raw: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(raw);
    for step in [Step::Decode, Step::DecodeAgain].iter().chain(&OPERATIONS).chain(&[Step::Lower]) {
        if let Some(changed) = step.apply(&text) {
            text = Cow::Owned(changed);
        }
    }
    text
}

/// The readings so far, and where the text with a given hash is: hundreds of long texts are compared with each other.
#[derive(Default)]
struct Made<'a> {
    readings: Vec<Reading<'a>>,
    places: HashMap<u64, usize, BuildHasherDefault<DefaultHasher>>,
}

impl<'a> Made<'a> {
    fn add(&mut self, text: Cow<'a, str>, steps: Steps, case: Case) {
        let next = self.readings.len();
        let place = *self.places.entry(hash(text.as_bytes())).or_insert(next);
        match self.readings.get_mut(place) {
            // Lower-casing comes last: a text that stood there before was made without it.
            Some(there) if there.text == text => {
                if there.case != case {
                    there.case = Case::Either;
                }
            }
            Some(_) | None => self.readings.push(Reading { text, steps, case }),
        }
    }
}

/// Fast, and not secret: texts are compared as well, so who finds two that collide only has one of them judged twice.
fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

fn dots_resolved(text: &str) -> Option<String> {
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if !segments(text).any(is_dots) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut last = "";
    for segment in segments(text.strip_prefix('/').unwrap_or(text)) {
        last = segment;
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if is_dots(last) {
        out.push('/');
    }
    Some(out)
}

fn slashes_merged(text: &str) -> String {
    let mut last = None;
    text.chars().filter(|char| last.replace(*char) != Some('/') || *char != '/').collect()
}

fn ends_trimmed(text: &str) -> Option<String> {
    let is_loose = |segment: &str| matches!(segment.as_bytes(), [.., b'.' | b' ']);
    if !text.ends_with('/') && !segments(text).any(is_loose) {
        return None;
    }
    let mut out = by_segment(text, |segment| segment.trim_end_matches(['.', ' ']));
    out.truncate(out.trim_end_matches('/').len().max(1));
    (out != text).then_some(out)
}

fn lowered(text: &str) -> Option<String> {
    // Without an early end, so that many bytes are looked at at once.
    let plain = text.bytes().fold(true, |plain, byte| plain & byte.is_ascii() & !byte.is_ascii_uppercase());
    if plain {
        return None;
    }
    let out = lower_case(text);
    (out != text).then_some(out)
}

/// Lower case, letter by letter: without regard to its place in a word, so that a part of a path reads as the whole does.
pub(crate) fn lower_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(|char: char| !char.is_ascii()) {
        let other = part.chars().next_back().filter(|char| !char.is_ascii());
        let ascii = &part[..part.len() - other.map_or(0, char::len_utf8)];
        out.extend(ascii.chars().map(|char| char.to_ascii_lowercase()));
        out.extend(other.into_iter().flat_map(char::to_lowercase));
    }
    out
}

fn by_segment(text: &str, change: impl Fn(&str) -> &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (place, segment) in segments(text).enumerate() {
        if place > 0 {
            out.push('/');
        }
        out.push_str(change(segment));
    }
    out
}

/// As `text.split('/')`, which is made for long parts and takes several times as long on these short ones.
fn segments(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.bytes().position(|byte| byte == b'/') else { return rest.take() };
        rest = Some(&text[end + 1..]);
        Some(&text[..end])
    })
}
