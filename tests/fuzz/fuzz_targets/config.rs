//! The configuration: any text is taken, or refused with problems that can be shown; never a panic.
#![no_main]

use countersign::config::check::{Overrides, Purpose, load};
use countersign::config::env::Environment;
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A file of this process, in memory.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/countersign-fuzz-config-{}.toml", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    // Other files and names are no part of the text.
    if ["include", "redis", "systemd"].iter().any(|word| bytes.windows(word.len()).any(|w| w == word.as_bytes())) {
        return;
    }
    std::fs::write(&*FILE, bytes).expect("a file in memory");
    match load(Some(&FILE), &Environment::default(), &Overrides::default(), Purpose::Inspect) {
        Ok(loaded) => assert!(!loaded.config.inbound.is_empty()),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            assert!(!problems.render(false).is_empty());
            problems.to_json();
        }
    }
});
