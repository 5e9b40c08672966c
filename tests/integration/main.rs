//! Integration tests: one binary, a module per group of promises.
