//! An upstream dies under load.
//!
//! The promise: a request begun after that never fails for it, whatever its method. A request that was there when it died
//! gets 502 `upstream_closed` (or its answer is cut), unless it is idempotent and was on a reused connection without any answer
//! byte: that one is sent once more.

use super::super::support::nginx::Nginx;
use super::super::support::raw::Client;
use super::super::support::{eventually, free_address};
use super::{before, wait_until_up};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// What one request under load came to.
struct Outcome {
    begun: Instant,
    what: Result<u16, String>,
}

#[test]
fn one_that_is_killed_under_load_fails_no_request_that_begins_afterwards() {
    let who = |name: &str| format!("location = /who {{ return 200 \"{name}\"; }}");
    let at = [free_address(), free_address(), free_address()];
    let (Some(first), Some(_second), Some(_third)) = (
        Nginx::start_at(at[0], &who("first")),
        Nginx::start_at(at[1], &who("second")),
        Nginx::start_at(at[2], &who("third")),
    ) else {
        return;
    };
    let sidecar = before(&at).set("", "workers", "2").start();
    for upstream in at {
        wait_until_up(&sidecar, upstream, true);
    }
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let answered_by_first = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let (killed, _back) = std::thread::scope(|scope| {
        for method in ["GET", "GET", "GET", "POST"] {
            let (stop, done, outcomes, address) = (&stop, &done, &outcomes, sidecar.address);
            let answered_by_first = &answered_by_first;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    client.send(format!("{method} /who HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n"));
                    let what = match client.try_answer(method) {
                        Ok(answer) if answer.body.complete => {
                            if answer.text() == "first" {
                                answered_by_first.fetch_add(1, Ordering::Relaxed);
                            }
                            if answer.fields.one("connection") == Some("close") {
                                client = Client::connect(address);
                            }
                            Ok(answer.status)
                        }
                        other => {
                            client = Client::connect(address);
                            Err(format!("{other:?}"))
                        }
                    };
                    outcomes.lock().unwrap().push(Outcome { begun, what });
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |count: usize| {
            let now = done.load(Ordering::Relaxed);
            eventually("the load to go on", || (done.load(Ordering::Relaxed) >= now + count).then_some(()));
        };
        more(200);
        drop(first);
        let killed = Instant::now();
        more(400);
        wait_until_up(&sidecar, at[0], false);
        more(200);
        // And back in.
        let before = answered_by_first.load(Ordering::Relaxed);
        let back = Nginx::start_at(at[0], &who("first"));
        eventually("the one that is back to get requests", || {
            (answered_by_first.load(Ordering::Relaxed) > before + 20).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        (killed, back)
    });
    let outcomes = outcomes.into_inner().unwrap();
    let failed = |outcome: &&Outcome| outcome.what != Ok(200);
    let afterwards: Vec<_> = outcomes.iter().filter(failed).filter(|outcome| outcome.begun > killed).collect();
    assert!(afterwards.is_empty(), "{} failed, {:?}", afterwards.len(), afterwards[0].what);
    let under_way = outcomes.iter().filter(failed).count();
    assert!(under_way <= 4, "{under_way} of four clients' requests failed");
    eprintln!("{} requests, {under_way} were there when it died and failed", outcomes.len());
}
