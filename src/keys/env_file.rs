//! What stands in a `.env` file: `NAME=value` lines, read as a shell would read them.
//!
//! The fleet's files are written by hand and by `sed`, on Linux and on Windows, and are sourced by shells. So: `#` begins a comment
//! at the start of a line or behind a space, `export` may come first, a value may be quoted in whole or in part, a
//! backslash takes the next character as it is, CRLF ends a line, of two lines with one name the last counts.
//!
//! What a shell would *run* or look up (`$NAME`, back-ticks, `;`) is not done: such a value cannot be read, and says so when
//! it is asked for. Lines that are no assignment are passed over, as the files hold more than we ask for.

use zeroize::Zeroizing;

/// The assignments of a file, in order.
pub struct EnvFile {
    lines: Vec<Line>,
}

struct Line {
    name: String,
    /// From 1.
    number: usize,
    value: Result<Zeroizing<String>, ValueFault>,
}

/// Why a value cannot be read. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// `"…` or `'…`
    #[error("a quote is not closed")]
    OpenQuote,
    /// `a b`
    #[error("there is more behind a space; put the value in quotes")]
    SecondWord,
    /// `$`, back-tick or an operator of the shell.
    #[error("it holds a character that a shell would act on; put the value in single quotes")]
    ShellActs,
}

/// Where and why a value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct ValueError {
    /// Which line, from 1.
    pub line: usize,
    /// Why.
    pub fault: ValueFault,
}

impl EnvFile {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> EnvFile {
        let text = unmarked(text);
        let lines = text.lines().zip(1..).filter_map(|(line, number)| {
            let (name, value) = assignment(line)?;
            Some(Line { name: name.to_owned(), number, value: word(value) })
        });
        EnvFile { lines: lines.collect() }
    }

    /// The last value of this name; absent when no line assigns it.
    ///
    /// # Errors
    /// When that line is there and cannot be read.
    pub fn value(&self, name: &str) -> Result<Option<&str>, ValueError> {
        match self.lines.iter().rev().find(|line| line.name == name) {
            None => Ok(None),
            Some(Line { value: Ok(value), .. }) => Ok(Some(value)),
            Some(Line { value: Err(fault), number, .. }) => Err(ValueError { line: *number, fault: *fault }),
        }
    }
}

/// The text with these names set (`Some`) or taken out (`None`), and every other line and comment as it was.
///
/// A line of the name is written anew where the last one stood, with its `export`; earlier ones, which did not count, go: they may
/// hold secrets that are no longer wanted. A name that is not there yet is added at the end. Lines end as the others do. Values must
/// mean themselves to a shell, as hex digits and ids do.
pub fn rewritten(text: &str, changes: &[(&str, Option<&str>)]) -> Zeroizing<String> {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let added: usize = changes.iter().map(|(name, value)| name.len() + value.map_or(0, str::len) + 12).sum();
    // The whole room at once: a growing string would leave copies of a secret behind.
    let mut out = Zeroizing::new(String::with_capacity(text.len() + added + 2));
    let name_of = |line| assignment(line).map(|(name, _)| name);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let last = |name: &str| lines.iter().rposition(|line| name_of(unmarked(line)) == Some(name));
    for (at, line) in lines.iter().enumerate() {
        let named = name_of(unmarked(line));
        match changes.iter().find(|(name, _)| named == Some(*name)) {
            None => out.push_str(line),
            Some((name, Some(value))) if last(name) == Some(at) => {
                let indent = unmarked(line).trim_start();
                let export =
                    if indent.starts_with("export ") || indent.starts_with("export\t") { "export " } else { "" };
                out.extend([if line.starts_with(MARK) { "\u{feff}" } else { "" }, export, name, "=", value, end]);
            }
            Some(_) if line.starts_with(MARK) => out.push(MARK),
            Some(_) => {}
        }
    }
    for (name, value) in changes {
        if let (Some(value), None) = (value, last(name)) {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push_str(end);
            }
            out.extend([name, "=", value, end]);
        }
    }
    out
}

/// What editors on Windows put in front of a text.
const MARK: char = '\u{feff}';

fn unmarked(line: &str) -> &str {
    line.strip_prefix(MARK).unwrap_or(line)
}

/// Name and unread value of `NAME=value`, with or without `export`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line.split_once('=')?;
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    (starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some((name, value))
}

/// One word of a shell, and nothing but a comment behind it.
fn word(text: &str) -> Result<Zeroizing<String>, ValueFault> {
    // The whole room at once: a growing string would leave copies of a secret behind.
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\'' => loop {
                match rest.next().ok_or(ValueFault::OpenQuote)? {
                    '\'' => break,
                    inside => value.push(inside),
                }
            },
            '"' => double_quoted(&mut rest, &mut value)?,
            '\\' => value.extend(rest.next()),
            character if character.is_ascii_whitespace() => {
                let behind = rest.as_str().trim_ascii_start();
                return if behind.is_empty() || behind.starts_with('#') {
                    Ok(value)
                } else {
                    Err(ValueFault::SecondWord)
                };
            }
            '$' | '`' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => return Err(ValueFault::ShellActs),
            plain => value.push(plain),
        }
    }
    Ok(value)
}

/// Up to the closing `"`; a backslash counts only before `"`, `\`, `$` and back-tick.
fn double_quoted(rest: &mut std::str::Chars<'_>, value: &mut String) -> Result<(), ValueFault> {
    loop {
        match rest.next().ok_or(ValueFault::OpenQuote)? {
            '"' => return Ok(()),
            '$' | '`' => return Err(ValueFault::ShellActs),
            '\\' => match rest.next().ok_or(ValueFault::OpenQuote)? {
                escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            inside => value.push(inside),
        }
    }
}

#[cfg(test)]
mod tests;
