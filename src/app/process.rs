//! The process itself: nothing of its memory leaves it, it may open as many descriptors as the system allows, and a panic
//! is a line in the log.
//!
//! Keys live in memory. A core dump would carry them to disk, and a debugger of the same user could read them: both are
//! switched off. Neither failure stops the start (a container may forbid the calls); it is logged.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Switches core dumps and inspection by other processes off. Call it before keys are read. Returns what did not work.
pub fn keep_memory_private() -> Vec<String> {
    let mut problems = Vec::new();
    // Where it is off already the call is not made: a service manager that switched it off may forbid the call, too.
    if getrlimit(Resource::Core).maximum != Some(0)
        && let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
    {
        problems.push(format!("core dumps cannot be switched off: {error}"));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        problems.push(format!("inspection by other processes cannot be switched off: {error}"));
    }
    problems
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

/// The name of this machine, if it has a printable one. The kernel is asked, not `/proc`, which a hardened unit may not see.
pub fn host_name() -> Option<String> {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().ok()?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())).then(|| name.to_owned())
}

/// Logs panics with their place, so that they are found where everything else is found.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, what, "a panic: this is a fault of the program");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_machine_is_the_one_that_the_kernel_knows() {
        let known = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(host_name().as_deref(), Some(known.trim()));
    }
}
