//! The invariants that `src/lib.rs` states, kept by reading the sources.
//!
//! Code under `#[cfg(test)]` and in files named `tests.rs` is looked at only for its length: tests may do what the code
//! may not. Comments are taken out before anything is searched, so that a doc may name what it forbids.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The pure modules in the order of import: each may import only those before it. `rules` stands behind `signature`,
/// unlike in the flow, because a rule names its callers by service id.
const PURE: [&str; 5] = ["request", "signature", "rules", "policy", "rollout"];

/// What no pure module may name: clocks, files, sockets, the environment, chance, tasks.
const IMPURE: [&str; 15] = [
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os",
    "tokio",
    "getrandom",
    "uuid",
    "tracing",
];

/// What only `clock.rs` may do.
const CLOCKS: [&str; 5] = ["Instant::now", "SystemTime::now", "Timestamp::now", "getrandom::", "now_v7"];

/// Statuses that we answer by ourselves. 400 and 500 are left out: as plain numbers they are too common to search for.
const OWN_STATUSES: [&str; 9] = ["401", "403", "408", "414", "429", "431", "502", "503", "504"];

const LONGEST: usize = 400;

struct Source {
    /// Below the root of the project, with `/`.
    path: String,
    text: String,
    /// Without comments and without test code.
    code: String,
}

impl Source {
    /// `request` for `src/request/head.rs`.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        below.split(['/', '.']).next().unwrap_or_default()
    }

    fn is_pure(&self) -> bool {
        PURE.contains(&self.module())
    }
}

#[test]
fn a_pure_module_imports_only_what_stands_before_it_and_never_an_edge() {
    let mut wrong = String::new();
    for source in sources("src").iter().filter(|source| source.is_pure()) {
        let place = PURE.iter().position(|name| *name == source.module()).unwrap();
        for name in imported(source) {
            if !PURE[..=place].contains(&name.as_str()) {
                let _ = writeln!(wrong, "{} imports {name}", source.path);
            }
        }
    }
    assert!(wrong.is_empty(), "allowed, each with those before it: {PURE:?}\n{wrong}");
}

#[test]
fn a_pure_module_touches_no_clock_file_socket_environment_or_chance() {
    let mut wrong = String::new();
    for source in sources("src").iter().filter(|source| source.is_pure()) {
        for word in IMPURE {
            if let Some(line) = line_with(&source.code, word) {
                let _ = writeln!(wrong, "{}: {word}: {line}", source.path);
            }
        }
    }
    assert!(wrong.is_empty(), "time and chance are arguments; the rest belongs to an edge\n{wrong}");
}

#[test]
fn only_the_clock_reads_time_and_chance() {
    let mut wrong = String::new();
    for source in sources("src").iter().filter(|source| source.path != "src/clock.rs") {
        for word in CLOCKS {
            if let Some(line) = line_with(&source.code, word) {
                let _ = writeln!(wrong, "{}: {word}: {line}", source.path);
            }
        }
    }
    assert!(wrong.is_empty(), "src/clock.rs is the only reader of time and chance\n{wrong}");
}

#[test]
fn statuses_of_our_own_stand_in_one_file() {
    let mut wrong = String::new();
    for source in sources("src/proxy").iter().chain(&sources("src/policy")).chain(&sources("src/upstream")) {
        if source.path == "src/proxy/respond.rs" {
            continue;
        }
        for status in OWN_STATUSES {
            if let Some(line) = line_with(&source.code, status) {
                let _ = writeln!(wrong, "{}: {status}: {line}", source.path);
            }
        }
    }
    assert!(wrong.is_empty(), "src/proxy/respond.rs is the only file that turns a refusal into a status\n{wrong}");
}

#[test]
fn every_module_says_in_a_sentence_which_question_it_answers() {
    let silent: Vec<String> = sources("src")
        .into_iter()
        .filter(|source| !source.path.ends_with("/tests.rs") && !source.path.contains("/tests/"))
        .chain(sources("tests/integration"))
        .chain(sources("benches"))
        .filter(|source| !says_something(&source.text))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "no module doc, or none with a whole sentence: {silent:?}");
}

/// Does the file begin with a doc of more than a few words, a paragraph of which ends as a sentence does?
fn says_something(text: &str) -> bool {
    let doc: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let words = doc.iter().flat_map(|line| line.split_whitespace()).count();
    let ends = |paragraph: &[&str]| paragraph.last().is_some_and(|line| line.ends_with(['.', '?', '!']));
    words > 5 && doc.split(|line| line.is_empty()).any(ends)
}

#[test]
fn no_source_file_is_longer_than_its_limit() {
    let long: Vec<String> = sources("src")
        .into_iter()
        .chain(sources("tests"))
        .chain(sources("benches"))
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split what has more than {LONGEST} lines: {long:?}");
}

#[test]
fn main_does_nothing_but_call_the_library() {
    let main = sources("src").into_iter().find(|source| source.path == "src/main.rs").unwrap();
    assert!(main.code.lines().filter(|line| !line.trim().is_empty()).count() <= 12, "{}", main.code);
}

#[test]
fn every_shipped_configuration_passes_the_shipped_check() {
    let shipped: Vec<PathBuf> =
        ["config", "deploy"].iter().flat_map(|below| files(&root().join(below), "toml")).collect();
    let whole = |path: &&PathBuf| !path.components().any(|part| part.as_os_str() == "rules.d");
    // The reference, and one for each VM.
    assert!(shipped.iter().filter(whole).count() >= 5, "{shipped:?}");
    for path in shipped.iter().filter(whole) {
        let output = super::support::sidecar::countersign().arg("check").arg("--config").arg(path).output().unwrap();
        assert!(
            output.status.success(),
            "countersign check --config {}: {}\n{}",
            path.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(below: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(below) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources(below: &str) -> Vec<Source> {
    files(&root().join(below), "rs")
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let code = if path.ends_with("/tests.rs") || path.contains("/tests/") {
                String::new()
            } else {
                without_tests_and_comments(&text)
            };
            Source { path, text, code }
        })
        .collect()
}

/// rustfmt puts the end of an item in the column of its beginning: that is where test code ends. Comments end with their
/// line; a `//` after anything but spaces counts only behind a space, so that addresses in strings stay.
fn without_tests_and_comments(text: &str) -> String {
    let mut code = String::new();
    let mut skipping: Option<String> = None;
    for line in text.lines() {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        if let Some(end) = &skipping {
            if line == format!("{end}}}")
                || (line.starts_with(end.as_str()) && line.trim_end().ends_with(';') && indent == *end)
            {
                skipping = None;
            }
            continue;
        }
        let trimmed = line.trim_start();
        if trimmed == "#[cfg(test)]" {
            skipping = Some(indent);
            continue;
        }
        if trimmed.starts_with("//") {
            continue;
        }
        code.push_str(line.split(" //").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// The line that holds this word by itself.
fn line_with<'a>(code: &'a str, word: &str) -> Option<&'a str> {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    code.lines().find(|line| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back().is_some_and(part_of_a_word);
            let after = line[at + word.len()..].chars().next().is_some_and(part_of_a_word);
            let ends_in_colons = word.ends_with("::");
            !before && (ends_in_colons || !after)
        })
    })
}

/// The top-level modules that a file names, by `crate::` or by enough `super::`.
fn imported(source: &Source) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in source.code.match_indices("crate::") {
        names.extend(first_names(&source.code[at + "crate::".len()..]));
    }
    // src/a.rs and src/a/mod.rs are one `super` below the root, src/a/b.rs two.
    let depth = source.path.trim_end_matches("/mod.rs").matches('/').count();
    for (at, _) in source.code.match_indices("super::") {
        if source.code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &source.code[at..];
        let mut ups = 0;
        while let Some(shorter) = rest.strip_prefix("super::") {
            ups += 1;
            rest = shorter;
        }
        if ups >= depth {
            names.extend(first_names(rest));
        }
    }
    names
}

/// `a` of `a::b`; `a` and `b` of `{a::x, b::{y, z}}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let code =
        "use crate::{request::facts, proxy::{a, b}};\nuse super::super::keys::X;\nlet a = crate::clock::now();\n";
    let source = Source { path: "src/policy/x.rs".into(), text: String::new(), code: code.into() };
    assert_eq!(imported(&source), ["request", "proxy", "clock", "keys"]);
    let text = "a();\n#[cfg(test)]\nmod tests {\n    b();\n}\nc(); // d\n#[cfg(test)]\nmod tests;\ne();\n// f\n";
    assert_eq!(without_tests_and_comments(text), "a();\nc();\ne();\n");
    assert!(line_with("x = 1401", "401").is_none() && line_with("x = 401;", "401").is_some());
    assert!(says_something("//! [`X`]: which of two answers is the\n//! right one?\n\nuse a;"));
    for silent in ["", "use a;", "//! Words.", "//! Everything that has to do with words", "//!\n//! | a | b. |"] {
        assert!(!says_something(silent), "{silent:?}");
    }
    assert!(line_with("getrandom::fill", "getrandom::").is_some());
}
