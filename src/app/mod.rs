//! Wiring: start and stop order, reloads, signals.

pub mod holder;
pub mod listeners;
pub mod process;
pub mod state_dir;
