//! The network on the upstream side: connections, health.

pub mod health;
