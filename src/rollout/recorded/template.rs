//! [`of_path`]: which path pattern stands for this path? Ids become `*`, so that a thousand tasks make one pattern.
//!
//! A segment becomes `*` when it is, without an extension such as `.png`,
//!
//! 1. digits, or digits with `-`, `_`, `:` between them (42, 2026-11-22), or ends in such a separator and digits (`task-17`);
//! 2. a UUID, or hex of 8 characters or more with a digit in it, or of 16 or more without;
//! 3. long and random: 20 characters or more with letters and digits, or more than 40 of any kind;
//! 4. not writable in a pattern: it holds anything but letters, digits and `-._~@+,=!:$`, or ends with a dot.
//!
//! And where more than [`MOST_SIBLINGS`] patterns differ in one segment alone, that segment becomes `*` too ([`merge`]): ids of a kind
//! that the rules above do not know.
//!
//! No pattern stands for a path that servers may read differently (an empty segment, `.` and `..`), for one of more than
//! [`MOST_SEGMENTS`] segments, or for one that consists of ids alone: it would cover everything of its length.

use crate::rules::pattern::{Pattern, Segment};
use std::collections::BTreeMap;

/// Different segments in one place that stay as they are.
pub const MOST_SIBLINGS: usize = 20;
/// Segments of a path that is looked at.
pub const MOST_SEGMENTS: usize = 12;

/// The pattern, exact, for a path as it came; `None` when none stands for it.
pub fn of_path(path: &str) -> Option<Pattern> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let segments: Vec<&str> = inner.split('/').collect();
    if segments.len() > MOST_SEGMENTS || segments.iter().any(|segment| ["", ".", ".."].contains(segment)) {
        return None;
    }
    let general: Vec<&str> = segments.into_iter().map(|segment| if is_id(segment) { "*" } else { segment }).collect();
    if general.iter().all(|segment| *segment == "*") {
        return None;
    }
    format!("=/{}", general.join("/")).parse().ok()
}

/// Merges patterns that differ in one segment alone, where there are too many of them: which becomes which.
pub fn merge(patterns: impl IntoIterator<Item = Pattern>) -> BTreeMap<String, Pattern> {
    let mut becomes: BTreeMap<String, Pattern> =
        patterns.into_iter().map(|pattern| (pattern.to_string(), pattern)).collect();
    for place in (0..MOST_SEGMENTS).rev() {
        let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, pattern) in &becomes {
            if let Some(general) = with_any(pattern, place) {
                families.entry(general.to_string()).or_default().push(name.clone());
            }
        }
        for members in families.into_values() {
            let mut different: Vec<String> =
                members.iter().filter_map(|name| becomes.get(name)).map(ToString::to_string).collect();
            different.sort_unstable();
            different.dedup();
            if different.len() <= MOST_SIBLINGS {
                continue;
            }
            for name in members {
                let general = becomes.get(&name).and_then(|pattern| with_any(pattern, place));
                if let Some(general) = general {
                    becomes.insert(name, general);
                }
            }
        }
    }
    becomes
}

/// The pattern with `*` in this place; `None` when it has no such place, or would be left without a literal.
fn with_any(pattern: &Pattern, place: usize) -> Option<Pattern> {
    let mut segments: Vec<&str> = pattern
        .segments()
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => &**text,
            Segment::Any => "*",
        })
        .collect();
    *segments.get_mut(place)? = "*";
    if segments.iter().all(|segment| *segment == "*") {
        return None;
    }
    format!("=/{}", segments.join("/")).parse().ok()
}

/// Does this segment name one of many?
fn is_id(segment: &str) -> bool {
    let writable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@+,=!:$".contains(&byte);
    if !segment.bytes().all(writable) || segment.ends_with('.') {
        return true;
    }
    let stem = match segment.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && is_extension(extension) => stem,
        _ => segment,
    };
    let (digits, letters) = (any(stem, |b| b.is_ascii_digit()), any(stem, |b| b.is_ascii_alphabetic()));
    is_number(stem) || is_hex(stem) || (stem.len() >= 20 && digits && letters) || stem.len() > 40
}

fn any(text: &str, is: impl Fn(u8) -> bool) -> bool {
    text.bytes().any(is)
}

fn is_extension(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && any(text, |b| b.is_ascii_alphabetic())
}

const SEPARATORS: [char; 3] = ['-', '_', ':'];

fn is_number(stem: &str) -> bool {
    let last = stem.rsplit(SEPARATORS).next().unwrap_or_default();
    !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
}

fn is_hex(stem: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let groups: Vec<&str> = stem.split('-').collect();
    let grouped =
        groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(|group| is_hex(group));
    let long_enough = if any(stem, |b| b.is_ascii_digit()) { 8 } else { 16 };
    grouped || (stem.len() >= long_enough && is_hex(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_any_segment_and_words_stay() {
        for (path, expected) in [
            ("/api/npu/results/42", "=/api/npu/results/*"),
            ("/api/npu/results/42/", "=/api/npu/results/*"),
            ("/api/tasks/task-17/log", "=/api/tasks/*/log"),
            ("/api/tasks/0192f3ac-77aa-7c01-9d5e-0242ac120002", "=/api/tasks/*"),
            ("/api/tasks/DEADBEEF01", "=/api/tasks/*"),
            ("/api/tasks/facade", "=/api/tasks/facade"),
            ("/api/tasks/deadbeef", "=/api/tasks/deadbeef"),
            ("/api/tasks/deadbeefdeadbeef", "=/api/tasks/*"),
            ("/api/days/2026-11-22", "=/api/days/*"),
            ("/api/shots/shot_0001.png", "=/api/shots/*"),
            ("/api/shots/logo.png", "=/api/shots/logo.png"),
            ("/api/v1/models", "=/api/v1/models"),
            ("/api/1.5/models", "=/api/1.5/models"),
            ("/t/eyJhbGciOiJIUzI1NiIsInR5cCI6", "=/t/*"),
            ("/t/a-long-name-of-several-words", "=/t/a-long-name-of-several-words"),
            ("/t/a-name-that-is-longer-than-forty-characters", "=/t/*"),
            ("/api/a%20b/x", "=/api/*/x"),
            ("/api/a;b/x", "=/api/*/x"),
            ("/api/*/x", "=/api/*/x"),
            ("/api/{id}", "=/api/*"),
            ("/api/caf\u{e9}", "=/api/*"),
        ] {
            assert_eq!(of_path(path).unwrap().to_string(), expected, "{path}");
        }
    }

    #[test]
    fn what_servers_read_differently_or_would_cover_everything_has_no_pattern() {
        for path in
            ["", "x", "/", "//", "/a//b", "/a/./b", "/a/../b", "/..", "/42", "/1/2", "/a/b/c/d/e/f/g/h/i/j/k/l/m"]
        {
            assert_eq!(of_path(path), None, "{path}");
        }
    }

    #[test]
    fn many_siblings_become_one_and_few_stay() {
        let of = |count: usize| merge((0..count).filter_map(|n| of_path(&format!("/api/u/name{}x/z", letters(n)))));
        assert_eq!(of(MOST_SIBLINGS).values().filter(|pattern| pattern.to_string().contains('*')).count(), 0);
        let merged = of(MOST_SIBLINGS + 1);
        assert_eq!(merged.len(), MOST_SIBLINGS + 1);
        assert!(merged.values().all(|pattern| pattern.to_string() == "=/api/u/*/z"));
        let everything = merge((0..100).filter_map(|n| of_path(&format!("/{}", letters(n)))));
        assert!(everything.values().all(|pattern| !pattern.to_string().contains('*')), "a pattern keeps a literal");
    }

    fn letters(n: usize) -> String {
        char::from_u32(u32::from('a') + u32::try_from(n % 26).unwrap()).unwrap().to_string().repeat(n / 26 + 1)
    }
}
