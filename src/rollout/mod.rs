//! Where does the rollout stand, and what may happen next? Pure: clocks, files and sockets are handed in as values.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`state`] | What is in force, since when, by whom, why, and does a rollback hold it? |
//! | [`stored`] | How is that written down, and when is what was read no state? |

pub mod state;
pub mod stored;
