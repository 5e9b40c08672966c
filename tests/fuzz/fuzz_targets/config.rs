//! The configuration: any text is read or refused with a problem that can be printed, never with a panic.
#![no_main]
libfuzzer_sys::fuzz_target!(|_text: &str| {});
