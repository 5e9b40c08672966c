//! Percent-decoding of a path: as the fleet's Python verifier sees it, and as its client signs it.
//!
//! Both are Python's `urllib.parse.unquote(path)`: escapes become bytes, an escape that is not `%` and two hex digits
//! stays as it is, and what is then no UTF-8 becomes U+FFFD, one for each maximal invalid part (`errors='replace'`;
//! `String::from_utf8_lossy` does the same).

use std::borrow::Cow;

/// The path decoded once, as `unquote` does it. Borrowed when there is nothing to decode.
pub fn percent_decoded(path: &str) -> Cow<'_, str> {
    decoded(path, |_| false)
}

/// The path as a signer signs it: decoded once, but an escaped `?`, `#` or `\` stays, written `%3F`, `%23`, `%5C`: a
/// client that means these bytes inside a path must hand them to its library escaped, and signs what it hands over.
pub fn signing_form(path: &str) -> Cow<'_, str> {
    decoded(path, |byte| matches!(byte, b'?' | b'#' | b'\\'))
}

fn decoded(path: &str, kept: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let Some(first) = path.find('%') else { return Cow::Borrowed(path) };
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = tail else {
            out.push(b'%');
            continue;
        };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
            out.push(b'%');
            continue;
        };
        rest = after;
        match high << 4 | low {
            kept_byte if kept(kept_byte) => out.extend_from_slice(format!("%{kept_byte:02X}").as_bytes()),
            plain => out.push(plain),
        }
    }
    Cow::Owned(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_as_python_unquote_does() {
        // right-hand sides printed by urllib.parse.unquote of Python 3.11
        for (path, expected) in [
            ("/plain", "/plain"),
            ("/api/%69nternal", "/api/internal"),
            ("/a%2Fb%2fc", "/a/b/c"),
            ("/caf%C3%A9", "/café"),
            ("/50%off", "/50%off"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
            ("/%%41", "/%A"),
            ("/%2541", "/%41"),
            ("/%ff", "/\u{fffd}"),
            ("/%C3%28", "/\u{fffd}("),
            ("/%e2%82", "/\u{fffd}"),
            ("/%f0%9f%98%41", "/\u{fffd}A"),
            ("/%c0%af", "/\u{fffd}\u{fffd}"),
            ("/%ed%a0%80", "/\u{fffd}\u{fffd}\u{fffd}"),
            ("/a%0ab%00", "/a\nb\0"),
        ] {
            assert_eq!(percent_decoded(path), expected, "{path}");
        }
    }

    #[test]
    fn a_signer_keeps_escaped_question_mark_hash_and_backslash() {
        for (path, expected) in [
            ("/a%3Fb", "/a%3Fb"),
            ("/a%3fb%23c%5cd", "/a%3Fb%23c%5Cd"),
            ("/a%20b%3F", "/a b%3F"),
            ("/a%2Fb%26", "/a/b&"),
            ("/%253F", "/%3F"),
        ] {
            assert_eq!(signing_form(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_without_escapes_is_borrowed() {
        assert!(matches!(percent_decoded("/api/x"), Cow::Borrowed(_)));
        assert!(matches!(signing_form("/api/x"), Cow::Borrowed(_)));
    }
}
