//! State kept elsewhere: what must survive the process, and how it is written so that it does.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`mod@file`] | What is in the state directory, and when can it not be relied on? |
//! | [`writer`] | How does a move of enforcement get there, without delaying it? |
//! | [`standing`] | What is in force, and would it survive the process? |
//! | [`fleet`], [`fleet_board`] | How do several sidecars share it through Redis, and whom does that reach? |
//! | [`lease`] | Which of them drives a ramp? |
//! | [`grants`], [`grant_keeper`] | Which overrides were granted, and how many uses are left? |
//! | [`ramp`] | How far is the ramp, and what was usual? |

pub mod file;
pub mod fleet;
pub mod fleet_board;
pub mod grant_keeper;
pub mod grants;
pub mod lease;
pub mod ramp;
pub mod standing;
pub mod writer;
