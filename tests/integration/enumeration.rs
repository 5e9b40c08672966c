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
