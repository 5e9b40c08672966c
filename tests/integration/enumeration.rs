//! Enumeration: from outside, a service nobody knows and a known one with a wrong signature are the same.

use super::support::raw::{Answer, get_with};
use super::support::recorder::Recorder;
use super::support::sidecar::Builder;
use super::support::{KEY_A, KEY_B, sign};

const PATH: &str = "/api/internal/x";

/// The bytes of an answer with its request id and its date blotted out.
fn blotted(answer: &Answer) -> String {
    let id = answer.fields.one("x-request-id").unwrap();
    let text = String::from_utf8_lossy(&answer.head).into_owned() + &answer.text();
    let undated = text.split_inclusive("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
    undated.collect::<String>().replace(id, "ID")
}

#[test]
fn an_unknown_service_and_a_wrong_signature_get_the_same_bytes() {
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let known = get_with(sidecar.address, PATH, &sign::headers(KEY_B, "npu-worker", "GET", PATH));
    for id in ["nobody", "npu-worke", "npu-worker1", "NPU-WORKER", "a", &"z".repeat(64)] {
        let unknown = get_with(sidecar.address, PATH, &sign::headers(KEY_A, id, "GET", PATH));
        assert_eq!(blotted(&unknown), blotted(&known), "{id}");
    }
    assert_eq!((known.status, known.reason().as_str()), (401, "invalid_credentials"));
}

#[test]
fn a_wrong_override_token_tells_nothing_of_whether_there_is_one() {
    let upstream = Recorder::plain();
    let with = Builder::guarding(upstream.address).override_token("the-token-of-this-test").start();
    let without = Builder::guarding(upstream.address).start();
    for line in
        ["", "X-Override-Token: wrong\r\n", "X-Override-Token:\r\n", "X-Override-Token: a\r\nX-Override-Token: b\r\n"]
    {
        assert_eq!(
            blotted(&get_with(with.address, PATH, line)),
            blotted(&get_with(without.address, PATH, line)),
            "{line:?}"
        );
    }
}

#[test]
fn the_time_of_an_answer_tells_nothing_of_whether_a_service_is_known() {
    // Printed, not asserted: on a shared machine a figure proves nothing either way. That both do the same work is a
    // unit test of `signature::verify`.
    let upstream = Recorder::plain();
    let sidecar = Builder::guarding(upstream.address).unlimited().start();
    let mut client = super::support::raw::Client::connect(sidecar.address);
    let mut times: [Vec<u128>; 2] = Default::default();
    for round in 0..super::support::count(2_000, 200_000) {
        let id = if round % 2 == 0 { "npu-worker" } else { "npu-workes" };
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: b\r\n{}\r\n", sign::headers(KEY_B, id, "GET", PATH));
        let began = std::time::Instant::now();
        client.send(request);
        assert_eq!(client.answer().status, 401);
        times[round % 2].push(began.elapsed().as_nanos());
    }
    for (name, mut times) in ["known", "unknown"].into_iter().zip(times) {
        times.sort_unstable();
        let at = |percent: usize| times[times.len() * percent / 100];
        println!("{name}: p10 {} ns, p50 {} ns, p90 {} ns", at(10), at(50), at(90));
    }
}
