//! Printing: text for people, JSON for programs, and how a verb ends.
//!
//! Standard output may be a pipe whose reader has left (`countersign explain ... | head -1`). That is no error: what
//! cannot be read any more is not printed, and the exit code stays the answer's. Other write errors (a full disk) are
//! errors, because a script would take half an answer for a whole one.

use crate::config::diagnostic::Diagnostics;
use serde::Serialize;
use serde_json::json;
use std::io::{self, IsTerminal, Write};

/// How a verb that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, or yes: exit code 0.
    Done,
    /// No: a check failed. Exit code 1.
    No,
    /// Some of it is done and told; the rest could not be, because a store cannot be reached: exit code 3.
    Unreachable,
    /// The configuration is not good, and its problems have been printed: exit code 2.
    Misconfigured,
}

/// Why a verb could not do its work. Messages are whole sentences' worth of text without a final newline; the first
/// line says what is wrong, later ones what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments are well-formed but cannot be followed: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The configuration is not good: every problem with file, line and column. Exit code 2.
    #[error("{0}")]
    Configuration(Box<Diagnostics>),
    /// A store or a sidecar cannot be reached: exit code 3.
    #[error("{0}")]
    Unreachable(String),
    /// The surroundings do not let it (a port in use, a full disk): exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The same with several reasons, each a problem of its own: exit code 1.
    #[error("{}", .0.join("\n"))]
    FailedAll(Vec<String>),
}

impl CliError {
    /// The process's exit code for this.
    pub const fn exit_code(&self) -> u8 {
        match self {
            CliError::Failed(_) | CliError::FailedAll(_) => 1,
            CliError::Usage(_) | CliError::Configuration(_) => 2,
            CliError::Unreachable(_) => 3,
        }
    }

    /// As `--json` gives it. `problems` are objects as `check` gives them, whatever the error.
    fn to_json(&self) -> serde_json::Value {
        let whole = |message: &str| json!({ "severity": "error", "message": message });
        let (message, problems) = match self {
            CliError::Configuration(problems) => (problems.one_line(), problems.to_json()),
            CliError::FailedAll(list) => (list.join("; "), list.iter().map(|message| whole(message)).collect()),
            CliError::Usage(text) | CliError::Failed(text) | CliError::Unreachable(text) => {
                (text.clone(), json!([whole(text)]))
            }
        };
        let error = json!({ "kind": self.kind(), "message": message, "exit_code": self.exit_code() });
        json!({ "ok": false, "error": error, "problems": problems })
    }

    /// The word for it in JSON.
    const fn kind(&self) -> &'static str {
        match self {
            CliError::Usage(_) => "usage",
            CliError::Configuration(_) => "configuration",
            CliError::Failed(_) | CliError::FailedAll(_) => "failed",
            CliError::Unreachable(_) => "unreachable",
        }
    }
}

/// Where a verb prints its answer.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// `json`: was `--json` given?
    pub const fn new(json: bool) -> Output {
        Output { json }
    }

    /// Is JSON wanted? Then print one value with [`Output::json`] and no text.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// May the text carry colours? Only on a terminal, and not against `NO_COLOR`.
    pub fn is_colourful(&self) -> bool {
        !self.json && io::stdout().is_terminal() && colours_are_welcome()
    }

    /// The same for what goes to standard error.
    fn is_colourful_on_stderr(&self) -> bool {
        !self.json && io::stderr().is_terminal() && colours_are_welcome()
    }

    /// Prints text and a newline.
    ///
    /// # Errors
    /// When standard output cannot be written to; not when its reader has left.
    pub fn text(&self, text: impl std::fmt::Display) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        written(writeln!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// As [`Output::text`].
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        written(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Prints one value as indented JSON and a newline.
    ///
    /// # Errors
    /// As [`Output::text`].
    pub fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.text(text),
            Err(error) => Err(CliError::Failed(format!("cannot write the answer as JSON: {error}"))),
        }
    }

    /// The object alone, on standard output.
    pub fn error_object(&self, error: &CliError) {
        // Already failing: the exit code tells, whether or not anyone still reads.
        let _ = self.json(&error.to_json());
    }

    /// Reports an error: text on standard error; with `--json` also as an object on standard output.
    pub fn error(&self, error: &CliError) {
        if self.json {
            self.error_object(error);
        }
        match error {
            // Laid out by the diagnostics, which begin with `error:` of their own.
            CliError::Configuration(problems) => complain_raw(&problems.render(self.is_colourful_on_stderr())),
            CliError::FailedAll(list) => list.iter().for_each(|text| complain(text)),
            CliError::Usage(text) | CliError::Failed(text) | CliError::Unreachable(text) => complain(text),
        }
    }
}

/// `error: ...` on standard error.
pub fn complain(text: &str) {
    complain_raw(&format!("error: {text}"));
}

fn complain_raw(text: &str) {
    // Nowhere to report that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

fn colours_are_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn written(result: io::Result<()>) -> Result<(), CliError> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::Failed(format!("cannot write to standard output: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        assert_eq!(CliError::Failed(String::new()).exit_code(), 1);
        assert_eq!(CliError::Usage(String::new()).exit_code(), 2);
        assert_eq!(CliError::Unreachable(String::new()).exit_code(), 3);
        assert_eq!(CliError::Configuration(Box::default()).exit_code(), 2);
    }

    #[test]
    fn an_error_in_json_lists_its_problems_each_by_itself() {
        let error = CliError::FailedAll(vec!["a port".into(), "another".into()]).to_json();
        assert_eq!((&error["ok"], &error["error"]["exit_code"]), (&false.into(), &1.into()));
        assert_eq!(error["error"]["message"], "a port; another");
        assert_eq!(error["problems"][1], json!({ "severity": "error", "message": "another" }));
        let error = CliError::Usage("no".into()).to_json();
        assert_eq!(error["problems"], json!([{ "severity": "error", "message": "no" }]));
    }

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        assert!(written(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(written(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
