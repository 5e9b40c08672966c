//! Has the linker put the functions beside each other that run when the program starts and serves as shipped
//! (`link/order.ld`, written by `benches/layout`).
//!
//! Of 9 MB of code a fifth ever runs so, strewn over all of it; and the kernel maps 64 KiB around whatever is touched. Beside
//! each other it is 3 MiB less of resident memory, a third of all. The order changes nothing else, and a name that is
//! not found is passed over.
//!
//! Left out: debug builds, which are linked often; and whoever chose a linker by hand, because only GNU ld and LLD are known to
//! understand it.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link/order.ld");
    let is = |name, value| env::var(name).is_ok_and(|found| found == value);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let is_own_linker =
        env::var_os("RUSTC_LINKER").is_some() || flags.contains("linker") || flags.contains("-fuse-ld");
    if is("PROFILE", "release")
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && !is_own_linker
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/link/order.ld", env!("CARGO_MANIFEST_DIR"));
    }
}
