//! Which rules apply? Patterns, their specificity, and the class of a path over all its readings.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`pattern`] | Which paths does a rule name, and which of two rules names a path more closely? |
//! | `rule`, [`percentage`] | What does one rule ask, where, of whom, and how much of it is carried out? |
//! | `conflict` | Which rules cannot both stand? |
//! | `index` | Which rule does one reading fall under? |
//! | `overlong` | Which rules could a path fall under that is too long to be read? |
//! | [`classify`] | What do the rules say of a request, over all its readings? |
//! | `classification` | What is the answer: class, percentage, the rules that decided? |

mod classification;
pub mod classify;
mod conflict;
mod index;
mod overlong;
pub mod pattern;
pub mod percentage;
mod rule;
