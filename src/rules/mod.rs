//! Which rules apply? Patterns, their specificity, and the class of a path over all its readings.

pub mod classify;
pub mod pattern;
pub mod percentage;
