//! An error as a person needs it: file, line, column, the line itself, what was found, what was expected, what to do.
//!
//! [`Diagnostics`] is every problem of one load. A problem knows its [`Place`] as a span of the file's text, a variable
//! or a flag; lines and columns are counted only when somebody looks. `render` draws them.

use super::watched::Watched;
use super::{mask, render};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of the configuration as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As it was named.
    pub path: PathBuf,
    /// What it held.
    pub text: String,
    /// Its place in the order of reading, from 0.
    pub order: usize,
    /// The text as it may be shown.
    masked: String,
}

impl SourceFile {
    pub(super) fn new(path: PathBuf, text: String, order: usize) -> SourceFile {
        let masked = mask::masked(&text);
        SourceFile { path, text, order, masked }
    }

    /// The text as it may be shown: every byte in its place, secrets overwritten.
    pub(super) fn masked(&self) -> &str {
        &self.masked
    }

    /// The first line of a span, as it may be shown.
    pub(super) fn shown(&self, span: Range<usize>) -> &str {
        let start = floor_boundary(&self.masked, span.start);
        let end = floor_boundary(&self.masked, span.end.max(start));
        self.masked[start..end].lines().next().unwrap_or_default()
    }
}

// The text may hold what should not be printed.
impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceFile").field(&self.path).finish()
    }
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A span of bytes of a file.
    File(Arc<SourceFile>, Range<usize>),
    /// A file that could not be read.
    Path(PathBuf),
    /// An environment variable.
    Variable(&'static str),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nowhere: something is missing as a whole.
    Nowhere,
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It stands, and a person should look.
    Warning,
}

/// One problem, where it is, and what to do.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// What was found; never a secret.
    pub message: String,
    /// Where.
    pub place: Place,
    /// What would have been right.
    pub expected: Option<String>,
    /// How to get there.
    pub fix: Option<String>,
    /// Another place that has to do with it, and what is there.
    pub related: Vec<(Place, String)>,
    /// Is it about something that is not there? Beside syntax errors nobody can say so.
    pub(super) is_absence: bool,
}

/// Every problem of one load, in the order of the files. As text: ready to be read, without colour.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    watched: Watched,
}

impl Diagnostic {
    /// A problem that refuses the configuration.
    pub(super) fn error(place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            place: place.clone(),
            expected: None,
            fix: None,
            related: Vec::new(),
            is_absence: false,
        }
    }

    /// Something a person should look at.
    pub(super) fn warning(place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(place, message) }
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Diagnostic {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Diagnostic {
        self.fix = Some(fix.into());
        self
    }

    pub(super) fn related(mut self, place: &Place, what: impl Into<String>) -> Diagnostic {
        self.related.push((place.clone(), what.into()));
        self
    }

    pub(super) fn absence(mut self) -> Diagnostic {
        self.is_absence = true;
        self
    }

    /// Line and column, both from 1, the column in characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.place.position()
    }
}

impl Place {
    /// Line and column, both from 1, the column in characters; `None` outside a file's text.
    pub fn position(&self) -> Option<(usize, usize)> {
        let Place::File(file, span) = self else { return None };
        let before = &file.text[..floor_boundary(&file.text, span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        // A byte order mark is no column.
        let column = before[line_start..].chars().filter(|c| *c != '\u{feff}').count() + 1;
        Some((before.matches('\n').count() + 1, column))
    }

    /// The file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Place::File(file, _) => Some(&file.path),
            Place::Path(path) => Some(path),
            Place::Variable(_) | Place::Flag(_) | Place::Nowhere => None,
        }
    }

    fn order(&self) -> (usize, usize) {
        match self {
            // Flags and variables come after the files: they were laid over them.
            Place::File(file, span) => (file.order, span.start),
            Place::Path(_) => (usize::MAX - 3, 0),
            Place::Variable(_) => (usize::MAX - 2, 0),
            Place::Flag(_) => (usize::MAX - 1, 0),
            Place::Nowhere => (usize::MAX, 0),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file, _) => match self.position() {
                Some((line, column)) => write!(f, "{}:{line}:{column}", file.path.display()),
                None => write!(f, "{}", file.path.display()),
            },
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Variable(name) => write!(f, "environment variable {name}"),
            Place::Flag(name) => write!(f, "{name} on the command line"),
            Place::Nowhere => f.write_str("the configuration as a whole"),
        }
    }
}

impl Diagnostics {
    /// These problems, put in order; several that say the same of the same place are one.
    pub(super) fn new(mut list: Vec<Diagnostic>, watched: Watched) -> Diagnostics {
        // Stable: problems of one place stay in the order in which they were found.
        list.sort_by_key(|problem| problem.place.order());
        list.dedup_by(|a, b| a.place == b.place && a.message == b.message);
        if let Some(more) = list.len().checked_sub(MOST).filter(|more| *more > 0) {
            let severity = if list[MOST..].iter().any(|rest| rest.severity == Severity::Error) {
                Severity::Error
            } else {
                Severity::Warning
            };
            list.truncate(MOST);
            list.push(Diagnostic {
                severity,
                ..Diagnostic::error(&Place::Nowhere, format!("and {more} more of them"))
            });
        }
        Diagnostics { list, watched }
    }

    /// These and more of them.
    pub(super) fn and(self, more: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics::new(self.list.into_iter().chain(more).collect(), self.watched)
    }

    /// The problems, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many errors, how many warnings.
    pub fn count(&self) -> (usize, usize) {
        let errors = self.list.iter().filter(|problem| problem.severity == Severity::Error).count();
        (errors, self.list.len() - errors)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What a refused configuration depends on: watched as well, a change there may mend it.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// As shown to a person; with colour on a terminal.
    pub fn render(&self, colour: bool) -> String {
        render::render(&self.list, colour)
    }

    /// On one line, for logs and records: `FILE:8:8: what is wrong (expected what); …`. The first ten.
    pub fn one_line(&self) -> String {
        let errors = || self.list.iter().filter(|problem| problem.severity == Severity::Error);
        let mut lines: Vec<String> = errors().take(10).map(Diagnostic::one_line).collect();
        if let Some(more) = errors().count().checked_sub(10).filter(|more| *more > 0) {
            lines.push(format!("and {more} more"));
        }
        lines.join("; ")
    }

    /// As `--json` gives them: an array of objects with `severity`, `message`, `expected`, `fix`, and `file`, `line`,
    /// `column`, or `variable`, or `flag`. Absent facts are left out.
    pub fn to_json(&self) -> serde_json::Value {
        self.list.iter().map(Diagnostic::to_json).collect()
    }
}

impl Diagnostic {
    fn one_line(&self) -> String {
        let expected = self.expected.as_ref().map(|expected| format!(" (expected {expected})")).unwrap_or_default();
        match &self.place {
            Place::Nowhere => format!("{}{expected}", self.message),
            place => format!("{place}: {}{expected}", self.message),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        let mut put = |name: &str, value: serde_json::Value| object.insert(name.to_owned(), value);
        put(
            "severity",
            match self.severity {
                Severity::Error => "error".into(),
                Severity::Warning => "warning".into(),
            },
        );
        put("message", self.message.clone().into());
        if let Some(expected) = &self.expected {
            put("expected", expected.clone().into());
        }
        if let Some(fix) = &self.fix {
            put("fix", fix.clone().into());
        }
        if let Some(path) = self.place.path() {
            put("file", path.display().to_string().into());
        }
        if let Some((line, column)) = self.position() {
            put("line", line.into());
            put("column", column.into());
        }
        match &self.place {
            Place::Variable(name) => put("variable", (*name).into()),
            Place::Flag(name) => put("flag", (*name).into()),
            Place::File(..) | Place::Path(_) | Place::Nowhere => None,
        };
        if !self.related.is_empty() {
            let related = self
                .related
                .iter()
                .map(|(place, what)| serde_json::json!({ "place": place.to_string(), "what": what }));
            put("related", related.collect());
        }
        serde_json::Value::Object(object)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// Another kind of file, given by mistake, has a mistake in every line.
const MOST: usize = 100;

/// The nearest character boundary at or before `index`.
pub(super) fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}
