//! The process itself: nothing of its memory leaves it, and it may open as many descriptors as the system allows.
//!
//! Keys live in memory. A core dump would carry them to disk, and a debugger of the same user could read them: both are
//! switched off. Neither failure stops the start (a container may forbid the calls); it is logged.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Switches core dumps and inspection by other processes off. Call it before keys are read.
pub fn keep_memory_private() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "cannot switch core dumps off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot keep other processes from reading our memory");
    }
}

/// Raises the soft limit of open descriptors to the hard one and returns it; `None`: unlimited. Each request in flight
/// needs two.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open descriptors");
            limit.current
        }
    }
}
