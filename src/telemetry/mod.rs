//! Those who watch: audit records, metrics, logs.

pub mod audit;
pub mod logging;
pub mod metrics;
pub mod names;
