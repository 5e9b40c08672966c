//! The environment of the fleet's `.env` files, laid over the file.

use std::collections::BTreeMap;
use std::fmt;

/// What a load may know of the process it runs in. Holds secrets: its `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Environment {
    /// Variables by name, as they came.
    pub variables: BTreeMap<String, String>,
    /// Does the process run as root? Decides the default directories.
    pub root: bool,
}

impl Environment {
    /// Of this process. The only reader of `std::env` in the configuration.
    pub fn of_process() -> Environment {
        unimplemented!()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("root", &self.root)
            .finish()
    }
}
