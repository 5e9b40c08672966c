//! An error as a person needs it: file, line, column, the line itself, what was expected.
