//! What the black-box tests share: the program under test, clients, upstreams, all with deadlines.
//!
//! Everything here is written from the contract on the wire, never from `src`: a signer, a parser of messages and a
//! recording upstream that reused our own code would repeat our own mistakes.

pub(crate) mod control;
pub(crate) mod frames;
pub(crate) mod h2_server;
pub(crate) mod hpack;
pub(crate) mod message;
pub(crate) mod netns;
pub(crate) mod nginx;
pub(crate) mod pki;
pub(crate) mod process;
pub(crate) mod python;
pub(crate) mod random;
pub(crate) mod raw;
pub(crate) mod recorder;
pub(crate) mod redis;
pub(crate) mod refusal;
pub(crate) mod relay;
pub(crate) mod sidecar;
pub(crate) mod sign;
pub(crate) mod tls;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Long enough for the slowest shared machine; reached only by a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Obviously fake keys.
pub(crate) const KEY_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const KEY_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Asks until there is an answer; fails after [`DEADLINE`], saying what was waited for.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A loopback address that was free a moment ago. Ports are never handed out twice by this process, and they come from
/// below the range the kernel takes for outgoing connections, so nothing else takes them meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *next == 0 {
        // Two test processes at once start in different places.
        *next = 10_000 + (std::process::id() % 400) as u16 * 50;
    }
    loop {
        *next = if *next >= 32_000 { 10_000 } else { *next + 1 };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *next));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// How many cases to run: few in the usual run, many with `COUNTERSIGN_TEST_FULL=1`.
pub(crate) fn count(usual: usize, full: usize) -> usize {
    if std::env::var_os("COUNTERSIGN_TEST_FULL").is_some_and(|value| value == "1") { full } else { usual }
}

/// What random tests begin with: the same in each run, another with `COUNTERSIGN_TEST_SEED=n`.
pub(crate) fn seed() -> u64 {
    std::env::var("COUNTERSIGN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122)
}

/// A tool the tests need is missing: with `CI=true` that is a failure, else the test says so and is skipped.
#[track_caller]
pub(crate) fn missing(tool: &str) {
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "{tool} is missing; tests/run installs it");
    eprintln!("SKIPPED: {tool} is missing; tests/run installs it");
}
