//! [`Mode`], [`Sampling`]: is this refusal carried out?

pub use crate::rules::percentage::Percentage;

/// Are refusals carried out at all?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// None is; every check still runs and is recorded.
    Log,
    /// As many as the percentage says.
    Enforce,
}

/// What a draw is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// Client address, method and path: a call is in or out for good.
    Call,
    /// Client address alone.
    Caller,
    /// Anew for each request.
    Random,
}

/// What is in force: mode, percentage, sampling. One value, swapped whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforcement {
    /// Log or enforce.
    pub mode: Mode,
    /// How much of what would be refused is refused.
    pub percentage: Percentage,
    /// What a draw is made by.
    pub sampling: Sampling,
}
