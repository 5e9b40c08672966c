//! The network on the upstream side: connections, health.

pub mod answer;
pub mod balance;
mod h2;
pub mod health;
pub mod pool;
