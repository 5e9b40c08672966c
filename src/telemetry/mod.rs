//! Those who watch: audit records, metrics, logs.

pub mod audit;
pub(crate) mod json;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod notify;
pub(crate) mod time;
