//! Text → [`FileConfig`]: syntax errors first, then what the values say, without noise.
//!
//! The parser recovers from an error and goes on, so one mistake can echo: an unclosed bracket swallows the rest of the
//! file, a broken `[header]` puts its keys into the table before. Each mistake is reported once: an echo inside the same
//! list or inline table, or on the same line, is dropped, and so is what the walk then says of a region nobody can read.
//! Where there is a syntax error anywhere, nothing is called missing: it may stand in the part that was lost.

use super::diagnostic::{Diagnostic, Place, SourceFile};
use super::file::{self, FileConfig};
use super::problems::{Problems, quoted};
use super::table::Reader;
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Reads one file. `included`: it may hold only rules and services.
pub(super) fn read(file: &Arc<SourceFile>, home: Option<&str>, included: bool, problems: &Problems) -> FileConfig {
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    let poisoned = report(file, document.get_ref(), errors, problems);
    let from = problems.len();
    let read = file::read(Reader { file, problems, home }, &document, included);
    problems.drop_since(from, |problem| match &problem.place {
        Place::File(_, span) => poisoned.iter().any(|range| range.contains(&span.start)),
        Place::Path(_) | Place::Variable(_) | Place::Flag(_) | Place::Nowhere => false,
    });
    if !poisoned.is_empty() {
        problems.lose_a_part();
    }
    read
}

/// Reports the syntax errors, each once, and answers where the text cannot be trusted.
fn report(
    file: &Arc<SourceFile>,
    document: &DeTable<'_>,
    mut errors: Vec<toml::de::Error>,
    problems: &Problems,
) -> Vec<Range<usize>> {
    let text = &file.text;
    let mut poisoned: Vec<Range<usize>> = Vec::new();
    let mut containers = Vec::new();
    inline_containers(text, document, &mut containers);
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    errors.sort_by_key(start);
    // A file of another kind has one in every line; the rest says nothing new.
    let is_cut = errors.len() > MOST;
    errors.truncate(MOST);
    if is_cut {
        poisoned.push(errors.last().map_or(0, start)..text.len() + 1);
    }
    let mut in_container = false;
    for error in &errors {
        let at = start(error);
        let about_container = ["array", "inline table", "comma"].iter().any(|word| error.message().contains(word));
        if poisoned.iter().skip(usize::from(is_cut)).any(|range| range.contains(&at))
            || (in_container && about_container)
        {
            continue;
        }
        let container = containers.iter().find(|range| range.contains(&at) || range.end == at);
        in_container = container.is_some();
        let unclosed = in_container && errors.iter().any(|other| other.message().starts_with("unclosed"));
        let problem = match container {
            Some(container) if unclosed => {
                poisoned.push(line_start(text, container.start)..text.len() + 1);
                unclosed_container(file, container)
            }
            Some(container) => {
                poisoned.push(line_start(text, container.start)..line_end(text, container.end) + 1);
                in_words(file, error)
            }
            None => {
                poisoned.push(region_of_line(text, at));
                in_words(file, error)
            }
        };
        problems.add(problem);
    }
    poisoned
}

/// How many syntax errors are looked at.
const MOST: usize = 200;

/// The outermost lists and inline tables behind `=`.
fn inline_containers(text: &str, table: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    for (_, value) in table {
        let span = value.span();
        let behind_equals =
            text.get(..span.start).is_some_and(|before| before.trim_end_matches([' ', '\t']).ends_with('='));
        match value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) if behind_equals => found.push(span),
            DeValue::Table(table) => inline_containers(text, table, found),
            DeValue::Array(array) => {
                for table in array.iter().filter_map(|item| item.get_ref().as_table()) {
                    inline_containers(text, table, found);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// The line of an error; of a broken `[header]`, everything up to the next one.
fn region_of_line(text: &str, at: usize) -> Range<usize> {
    let (start, end) = (line_start(text, at), line_end(text, at));
    if !text[start..end].trim_start().starts_with('[') {
        return start..end + 1;
    }
    let mut next = end + 1;
    while next < text.len() && !text[next..].trim_start_matches([' ', '\t']).starts_with('[') {
        next = line_end(text, next) + 1;
    }
    start..next
}

fn line_start(text: &str, at: usize) -> usize {
    let at = super::diagnostic::floor_boundary(text, at);
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    let at = super::diagnostic::floor_boundary(text, at);
    text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}

fn unclosed_container(file: &Arc<SourceFile>, container: &Range<usize>) -> Diagnostic {
    let place = Place::File(Arc::clone(file), container.start..container.start + 1);
    let (what, close) = if file.text[container.start..].starts_with('{') { ("table", "}") } else { ("list", "]") };
    Diagnostic::error(&place, format!("this {what} is never closed")).expected(format!("a `{close}` at its end"))
}

/// A syntax error in words; the parser's own where they are good.
fn in_words(file: &Arc<SourceFile>, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or_default();
    let place = Place::File(Arc::clone(file), span.clone());
    let found = file.shown(span.clone());
    let (message, expected) = match error.message().split_once(", expected ") {
        Some((message, expected)) => (message, Some(expected)),
        None => (error.message(), None),
    };
    match message {
        "string values must be quoted" if found.is_empty() => {
            Diagnostic::error(&place, "there is no value after `=`").expected("a value")
        }
        "string values must be quoted" => {
            let fix = format!("a text stands in quotes: \"{found}\"");
            Diagnostic::error(&place, format!("{} is not a value", quoted(found)))
                .expected("a text in quotes, a number, true or false")
                .fix(fix)
        }
        "duplicate key" => {
            Diagnostic::error(&place, format!("{} is set twice", quoted(found))).expected("each key and table once")
        }
        "unexpected key or value" => Diagnostic::error(&place, "something follows the value on the same line")
            .expected("one `key = value` a line")
            .fix("several keys stand on lines of their own, without `;` or `,` between them"),
        _ => {
            let problem = Diagnostic::error(&place, message.to_owned());
            match expected {
                Some(expected) => problem.expected(expected),
                None => problem,
            }
        }
    }
}

#[cfg(test)]
mod tests;
