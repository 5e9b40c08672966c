//! An error as a person needs it: file, line, column, the line itself, what was expected.

use std::fmt;

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
    /// What was found.
    pub message: String,
}

/// Every problem of one load, in the order of the files. As text: ready to be read, without colour.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The problems, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// As shown to a person; with colour on a terminal.
    pub fn render(&self, _colour: bool) -> String {
        unimplemented!()
    }

    /// As `--json` gives them: an array of `severity`, `file`, `line`, `column`, `message`, `expected`, `fix`.
    pub fn to_json(&self) -> serde_json::Value {
        unimplemented!()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
