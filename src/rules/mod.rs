//! Which rules apply? Patterns, their specificity, and the class of a path over all its readings.

mod classification;
pub mod classify;
mod conflict;
mod index;
pub mod pattern;
pub mod percentage;
mod rule;
