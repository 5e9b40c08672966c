//! How long does each service's key last? As `keys list` finds it; services marked `unused` need none.

use crate::cli::args::ConfigArgs;
use crate::cli::keys::lifetimes;
use crate::rollout::gates::figures::{Fact, Key};

/// Asks the store.
pub(super) fn gather(config: &ConfigArgs) -> Fact<Vec<Key>> {
    lifetimes(config).map_err(|error| error.to_string().replace('\n', "; "))
}
