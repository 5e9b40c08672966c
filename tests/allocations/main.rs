//! How often does one request ask for memory?
//!
//! A whole sidecar runs in this process, with one worker, audit to a file, metrics, failure limit and replay table on, and is
//! sent requests over one kept connection. Every allocation of the process is counted, of the audit log's thread too: whoever
//! sends and whoever answers runs on threads that were given all their memory before. What is counted is the difference
//! between two rounds of which one has twice the requests, so that what happens once does not count.
//!
//! More than the bounds below fails. Less asks, past the harness, for a lower bound: write the figures that it tells into
//! [`BOUNDS`], and say in the commit what changed them.

mod sidecar;
mod traffic;

use sidecar::Sidecar;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::io::Write;
use traffic::{Client, Requests};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is sent, how often that may allocate, and how many bytes it may ask for.
const BOUNDS: [(Requests, f64, f64); 6] = [
    (Requests::Signed, 0.0, 130.0),
    (Requests::Upload, 0.0, 270.0),
    (Requests::Exempt, 0.0, 70.0),
    (Requests::Refused, 9.0, 890.0),
    (Requests::Escaped, 7.0, 650.0),
    (Requests::Outbound, 6.0, 290.0),
];

/// Requests of the smaller round.
const ROUND: usize = 2000;

/// The audit log's thread takes what is there when it wakes, so its share of a request is not the same each time.
const ALLOCATIONS_BETWEEN_RUNS: f64 = 0.6;
const BYTES_BETWEEN_RUNS: f64 = 200.0;

#[test]
fn a_request_allocates_no_more_than_is_written_here() {
    let sidecar = Sidecar::start();
    let mut wrong = Vec::new();
    for (requests, allocations, bytes) in BOUNDS {
        let address = sidecar.address(requests);
        let mut client = Client::connect(address);
        // Tables grow to their size, connections are made.
        client.send(requests, &requests.make(address, 0, ROUND));
        let once = count(&mut client, &requests.make(address, ROUND, ROUND), requests);
        let twice = count(&mut client, &requests.make(address, 2 * ROUND, 2 * ROUND), requests);
        let each = |twice: usize, once: usize| (twice as f64 - once as f64) / ROUND as f64;
        let (found_allocations, found_bytes) = (each(twice.0, once.0), each(twice.1, once.1));
        let told = format!(
            "{requests:?}: {found_allocations:.2} allocations of {found_bytes:.0} bytes, not {allocations} of {bytes}"
        );
        println!("{told}");
        let (more, longer) = (found_allocations - allocations, found_bytes - bytes);
        if more > ALLOCATIONS_BETWEEN_RUNS || longer > BYTES_BETWEEN_RUNS {
            wrong.push(told);
        } else if more < -ALLOCATIONS_BETWEEN_RUNS || longer < -BYTES_BETWEEN_RUNS {
            // The harness keeps what a passing test prints to itself.
            let _ = writeln!(std::io::stderr(), "tests/allocations asks for a lower bound: {told}");
        }
    }
    assert!(wrong.is_empty(), "a request allocates more than tests/allocations allows:\n{}", wrong.join("\n"));
}

/// Allocations and bytes asked for while these are sent and answered.
fn count(client: &mut Client, made: &[Vec<u8>], requests: Requests) -> (usize, usize) {
    let before = ALLOCATOR.stats();
    client.send(requests, made);
    let after = ALLOCATOR.stats() - before;
    (after.allocations + after.reallocations, after.bytes_allocated)
}
