//! The operator's hands: one file per verb, arguments in `args`, text and JSON in `output`.

use std::process::ExitCode;

/// Runs the command line; the library's only entry for the binary.
pub fn main() -> ExitCode {
    ExitCode::from(2)
}
