//! A request head: never a panic, and what is accepted reads one way only.
#![no_main]

use countersign::request::framing::Framing;
use countersign::request::head::{HeadLimits, RequestHead, Target, TargetForms, Version, early_fault, find_end};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { head: 65_536, target: 16_384, fields: 100 };

fuzz_target!(|bytes: &[u8]| {
    let end = find_end(bytes, 0);
    // However the bytes are cut into packets, the end is found in the same place.
    if let Ok(Some(end)) = end {
        assert_eq!(find_end(&bytes[..end], 0), Ok(Some(end)));
        assert!(bytes[..end].ends_with(b"\r\n\r\n"));
    }
    let Ok(Some(end)) = end else { return };
    outbound(&bytes[..end]);
    let Ok(head) = RequestHead::parse(&bytes[..end], &LIMITS) else { return };
    for cut in 0..end {
        assert_eq!(early_fault(&bytes[..cut], &LIMITS, TargetForms::Path), Ok(()), "an early fault in a head that is accepted whole");
    }
    let path = head.path();
    assert!(path.starts_with('/') || path == "*" && head.method() == "OPTIONS");
    assert!(path.bytes().all(|b| (0x21..0x7f).contains(&b) && !matches!(b, b'#' | b'<' | b'>' | b'`' | b'?')));
    let all = |name: &str| head.fields().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).count();
    assert!(all("host") == 1 || all("host") == 0 && head.version() == Version::Http10);
    assert_eq!(head.host().is_some(), all("host") == 1);
    assert!(all("content-length") + all("transfer-encoding") <= 1);
    match head.framing() {
        Framing::None => assert_eq!(all("transfer-encoding"), 0),
        Framing::Length(length) => assert!(length > 0 && all("content-length") == 1),
        Framing::Chunked => assert!(all("transfer-encoding") == 1 && head.version() == Version::Http11),
    }
    for (name, value) in head.fields() {
        assert!(!name.is_empty() && !name.iter().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || *b == b':'));
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | b'\0')));
    }
});

/// Where targets of any form are read, what is accepted as a path reads the same, and what is a URL has one authority.
fn outbound(text: &[u8]) {
    let strict = RequestHead::parse(text, &LIMITS);
    let Ok(head) = RequestHead::parse_as(text, &LIMITS, TargetForms::Any) else {
        assert!(strict.is_err(), "a path that is refused outbound alone");
        return;
    };
    let (path, line) = (head.path(), text.split(|b| *b == b'\r').next().unwrap_or_default());
    assert!(path.starts_with('/') || path == "*" && head.method() == "OPTIONS");
    match head.target() {
        Target::Path => assert!(strict.is_ok() || head.host().is_none()),
        Target::Url { authority, .. } => {
            assert!(strict.is_err() && !authority.is_empty() && !authority.contains(['/', '?', '#', ' ']));
            let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
            let written = std::str::from_utf8(line).expect("checked to be ASCII");
            assert!(written.contains(&format!("//{authority}{path}{query} ")) || matches!(path, "/" | "*"));
        }
        Target::Tunnel(_) => assert!(strict.is_err() && head.framing() == Framing::None),
    }
}
