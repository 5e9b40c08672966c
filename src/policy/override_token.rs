//! [`OverrideToken`], kept hashed; constant-time match.

/// The fleet's one static token: only a hash of it is kept.
#[derive(Debug)]
pub struct OverrideToken {}
