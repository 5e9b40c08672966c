//! The network on the upstream side: connections, health.

pub mod answer;
pub mod balance;
pub mod health;
pub mod pool;
