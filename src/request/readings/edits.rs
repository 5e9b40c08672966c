//! What each step does to a text: the changed one is written into an empty buffer that is used again and again.

use super::steps::Step;
use crate::request::decode::percent_decoded;
use std::borrow::Cow;

/// Writes the text after a step; `false` when the step changes nothing, whatever was written then.
pub(super) fn write(step: Step, text: &str, out: &mut String) -> bool {
    out.clear();
    let is_touched = match step {
        Step::DotsFirst | Step::DotsBetween | Step::Dots => dots_resolved(text, out),
        Step::Decode | Step::DecodeAgain => decoded(text, out),
        Step::Controls => controls_dropped(text, out),
        Step::Backslashes => backslashes_turned(text, out),
        Step::Parameters => parameters_cut(text, out),
        Step::Slashes => slashes_merged(text, out),
        Step::Trailing => ends_trimmed(text, out),
        Step::Lower => lowered(text, out),
    };
    is_touched && out != text
}

/// Lower case, letter by letter: without regard to its place in a word, so that a part of a path reads as the whole does.
pub(crate) fn lower_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    lower(text, &mut out);
    out
}

fn lowered(text: &str, out: &mut String) -> bool {
    // Without an early end, so that many bytes are looked at at once.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & byte.is_ascii() & !byte.is_ascii_uppercase());
    if !is_plain {
        lower(text, out);
    }
    !is_plain
}

fn lower(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str(text);
        return out.make_ascii_lowercase();
    }
    for part in text.split_inclusive(|char: char| !char.is_ascii()) {
        let other = part.chars().next_back().filter(|char| !char.is_ascii());
        let start = out.len();
        out.push_str(&part[..part.len() - other.map_or(0, char::len_utf8)]);
        out[start..].make_ascii_lowercase();
        out.extend(other.into_iter().flat_map(char::to_lowercase));
    }
}

fn dots_resolved(text: &str, out: &mut String) -> bool {
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if !segments(text).any(is_dots) {
        return false;
    }
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
    true
}

fn decoded(text: &str, out: &mut String) -> bool {
    match percent_decoded(text) {
        Cow::Borrowed(_) => return false,
        Cow::Owned(decoded) => *out = decoded,
    }
    true
}

fn controls_dropped(text: &str, out: &mut String) -> bool {
    // A byte beyond ASCII may be part of one. Without an early end, as above.
    let may_have = text.bytes().fold(false, |may, byte| may | !(0x20..0x7f).contains(&byte));
    if may_have {
        out.extend(text.split(char::is_control));
    }
    may_have
}

fn backslashes_turned(text: &str, out: &mut String) -> bool {
    let mut parts = text.split('\\');
    out.extend(parts.next());
    for part in parts {
        out.push('/');
        out.push_str(part);
    }
    true
}

fn parameters_cut(text: &str, out: &mut String) -> bool {
    let has_any = text.contains(';');
    if has_any {
        by_segment(text, out, |segment| match segment.split_once(';') {
            Some((name, _)) => name,
            None => segment,
        });
    }
    has_any
}

fn slashes_merged(text: &str, out: &mut String) -> bool {
    let has_any = text.contains("//");
    if has_any {
        for part in text.split_inclusive('/') {
            if part != "/" || !out.ends_with('/') {
                out.push_str(part);
            }
        }
    }
    has_any
}

fn ends_trimmed(text: &str, out: &mut String) -> bool {
    let is_loose = |segment: &str| matches!(segment.as_bytes(), [.., b'.' | b' ']);
    if !text.ends_with('/') && !segments(text).any(is_loose) {
        return false;
    }
    by_segment(text, out, |segment| segment.trim_end_matches(['.', ' ']));
    out.truncate(out.trim_end_matches('/').len().max(1));
    true
}

fn by_segment(text: &str, out: &mut String, change: impl Fn(&str) -> &str) {
    for (place, segment) in segments(text).enumerate() {
        if place > 0 {
            out.push('/');
        }
        out.push_str(change(segment));
    }
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
