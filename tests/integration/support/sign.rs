//! `hmac-v1`, written from the contract: `hex(HMAC-SHA256(key, "{id}:{METHOD}:{path}:{timestamp}"))`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds now.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The signature in hex. The key is the ASCII bytes of its text.
pub(crate) fn signature(key: &str, id: &str, method: &str, path: &str, timestamp: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{id}:{method}:{path}:{timestamp}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The three header lines, each with its CRLF, signed now. `path` is the decoded path.
pub(crate) fn headers(key: &str, id: &str, method: &str, path: &str) -> String {
    headers_at(key, id, method, path, now())
}

/// The three header lines for a chosen second.
pub(crate) fn headers_at(key: &str, id: &str, method: &str, path: &str, timestamp: u64) -> String {
    format!(
        "X-Service-ID: {id}\r\nX-Service-Timestamp: {timestamp}\r\nX-Service-Signature: {}\r\n",
        signature(key, id, method, path, timestamp)
    )
}

#[test]
fn the_signer_of_the_tests_gives_the_contracts_known_answer() {
    assert_eq!(
        signature(super::KEY_A, "test-service", "POST", "/api/test", 1_234_567_890),
        "de80db4cb5149e8db2bc61c3bdf7a8ea2b58be7aeca6bf7e988804046fa13403"
    );
}
