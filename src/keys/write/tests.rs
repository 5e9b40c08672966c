//! Promises of the module above.
