//! Where does the rollout stand, and what may happen next? Pure: clocks, files and sockets are handed in as values.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`state`] | What is in force, since when, by whom, why, and does a rollback hold it? |
//! | [`recorded`] | What do the records of the past say: who is safe, what happened, which rules are missing? |
//! | [`stored`] | How is that written down, and when is what was read no state? |
//! | [`shared`] | What do several sidecars hold in common, and what comes of two that differ? |
//! | [`shared::sealed`] | How is that written down so that only the fleet can have written it? |
//! | [`health`] | How do the calls fare that we judge by? Exact counts over trailing windows. |
//! | [`ground`] | May what was seen so far still be held against what is in force now? |
//! | [`baseline`] | What was usual while nothing was refused? |
//! | [`trigger`], [`evidence`] | Do these figures take enforcement back, and why? |
//! | [`gates`] | Go or no-go, before each step? |
//! | [`ramp`], [`stage`] | Stay, advance, finish or roll back? |

pub mod baseline;
pub mod evidence;
pub mod gates;
pub mod ground;
pub mod health;
pub mod ramp;
pub mod recorded;
pub mod shared;
pub mod stage;
pub mod state;
pub mod stored;
pub mod trigger;
