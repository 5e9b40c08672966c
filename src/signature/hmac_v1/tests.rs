//! The signed text, the known answer, and which forms of a path are taken.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use proptest::prelude::*;

fn key() -> ServiceKey {
    ServiceKey::from_text(&"a".repeat(64)).unwrap()
}

fn id() -> ServiceId {
    ServiceId::parse("test-service").unwrap()
}

#[test]
fn the_contracts_known_answer() {
    let headers = sign(&key(), &id(), "POST", "/api/test", 1_234_567_890);
    assert_eq!(headers.signature, "de80db4cb5149e8db2bc61c3bdf7a8ea2b58be7aeca6bf7e988804046fa13403");
    assert_eq!((&*headers.service_id, &*headers.timestamp), ("test-service", "1234567890"));
    assert_eq!(
        signed_text("test-service", "POST", "/api/test", "1234567890"),
        "test-service:POST:/api/test:1234567890"
    );
}

#[test]
fn answers_of_pythons_hmac() {
    // hmac.new(key, f"{id}:{method}:{path}:{ts}".encode(), hashlib.sha256).hexdigest() of Python 3.11
    for (method, path, seconds, expected) in [
        ("GET", "/", 1, "4af00e73c296904cbd1c34f752c1c4c6362a98e524ef267ad1c5a1e7122234f7"),
        (
            "HEAD",
            "/api/npu/results/42",
            1759742876,
            "5b8a1329cd8bd53e71d80361e34595a06483c04a3e416a1f592cbf69255612fc",
        ),
        (
            "POST",
            "/api/browser/caf%C3%A9%20x",
            1759742876,
            "4b4c838e8bd8033e22d120236f81eb3860d64631fd94f7a1d738899d593d05b3",
        ),
        ("get", "/a%3Fb%2Fc", 999999999999, "1a0b8104293d146723e179e8449bd773cedc9d13f5ccfb04f6df76f9bc84694c"),
        ("PUT", "/x:y:1", 12, "9eb2f3c4785d5d962b4d4ac94f765499bf2b9dbb7ca5acecbea6870f98f46c90"),
    ] {
        assert_eq!(sign(&key(), &id(), method, path, seconds).signature, expected, "{method} {path}");
    }
}

#[test]
fn the_mac_over_the_parts_is_the_mac_over_the_text() {
    let text = signed_text("a", "GET", "/b:c", "7");
    let mut whole = key().begin();
    whole.update(text.as_bytes());
    let whole: [u8; 32] = whole.finalize().into_bytes().into();
    assert_eq!(mac(&key(), "a", "GET", "/b:c", "7"), whole);
}

#[test]
fn a_signer_signs_the_decoded_path_and_a_verifier_also_takes_the_raw_one() {
    for (raw, forms) in [
        ("/api/test", &["/api/test"][..]),
        ("/", &["/"]),
        ("/api/a%20b", &["/api/a b", "/api/a%20b"]),
        ("/api/caf%C3%A9", &["/api/caf\u{e9}", "/api/caf%C3%A9"]),
        ("/api/%69nternal", &["/api/internal", "/api/%69nternal"]),
        ("/a%2Fb", &["/a/b", "/a%2Fb"]),
        ("/a%252Fb", &["/a%2Fb", "/a%252Fb"]),
        // what would cut a path short stays escaped
        ("/a%3Fb", &["/a%3Fb"]),
        ("/a%3fb", &["/a%3Fb", "/a%3fb"]),
        ("/a%23b%20c", &["/a%23b c", "/a%23b%20c"]),
        ("/a%5Cb", &["/a%5Cb"]),
        ("/a\\b", &["/a%5Cb", "/a\\b"]),
        // no escape, or no UTF-8
        ("/50%off", &["/50%off"]),
        ("/%zz", &["/%zz"]),
        ("/%ff", &["/\u{fffd}", "/%ff"]),
    ] {
        assert_eq!(SignedPaths::of(raw).iter().collect::<Vec<_>>(), forms, "{raw}");
    }
}

#[test]
fn a_path_without_escapes_is_borrowed() {
    assert!(matches!(SignedPaths::of("/api/npu/results").decoded, Cow::Borrowed(_)));
}

proptest! {
    /// The claim of the module's doc: from the left two colons, from the right one.
    #[test]
    fn a_signed_text_can_be_split_in_one_way_only(
        id in "[A-Za-z0-9][A-Za-z0-9._-]{0,20}", method in "[A-Za-z!#$%&'*+.^_`|~-]{1,10}", path in "/[ -~:]{0,40}", time in "[1-9][0-9]{0,11}"
    ) {
        let text = signed_text(&id, &method, &path, &time);
        let (found_id, rest) = text.split_once(':').unwrap();
        let (found_method, rest) = rest.split_once(':').unwrap();
        let (found_path, found_time) = rest.rsplit_once(':').unwrap();
        prop_assert_eq!((found_id, found_method, found_path, found_time), (&*id, &*method, &*path, &*time));
    }

    #[test]
    fn what_is_signed_never_holds_what_would_cut_it_short(raw in "/[!-~]{0,40}") {
        let raw: String = raw.chars().filter(|c| !matches!(c, '?' | '#')).collect();
        let paths = SignedPaths::of(&raw);
        prop_assert!(!paths.decoded().contains(['?', '#', '\\']));
        prop_assert!((1..=2).contains(&paths.iter().count()));
    }
}
