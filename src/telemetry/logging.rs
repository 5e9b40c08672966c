//! Structured logs: constant messages, facts as fields.
