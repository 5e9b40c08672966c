//! May this header stand on our own refusals (`[refusal].headers`)?
//!
//! What frames the message, what the proxy itself sets there, and what states an identity may not: a configured
//! `Content-Length` would split the answer stream, a configured `X-Authenticated-Service` would look like a fact. Values
//! are visible ASCII with inner blanks, so that no line break gets in (response splitting).

use super::values::{Expected, Reading};

/// Set by the proxy itself on refusals, or part of the framing.
const OURS: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-countersign-error",
    "x-override-token",
    "x-request-id",
];

/// A header name that may be configured.
pub(super) fn name(text: &str) -> Reading<String> {
    let token = !text.is_empty()
        && text.len() <= 256
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !token {
        return Err(Expected::new("a header name, such as \"Access-Control-Allow-Origin\""));
    }
    // Servers take `_` and `.` for `-`, so look-alikes are the same name here.
    let plain = text.to_ascii_lowercase().replace(['_', '.'], "-");
    let identity = plain.starts_with("x-service-") || plain == "x-authenticated-service";
    if identity || OURS.contains(&plain.as_str()) {
        return Err(Expected::new(
            "a header that the proxy does not set by itself, such as \"Access-Control-Allow-Origin\"",
        ));
    }
    Ok(text.to_owned())
}

/// A header value.
pub(super) fn value(text: &str) -> Reading<String> {
    let good = text.len() <= 4096
        && text.bytes().all(|b| b == b' ' || b == b'\t' || b.is_ascii_graphic())
        && !text.starts_with([' ', '\t'])
        && !text.ends_with([' ', '\t']);
    if good {
        Ok(text.to_owned())
    } else {
        Err(Expected::new("visible ASCII without blanks at the ends, at most 4096 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_can_carry_cors_headers() {
        for good in ["Access-Control-Allow-Origin", "vary", "X-Frame-Options", "Strict-Transport-Security"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for good in ["*", "https://app.example, https://b.example", "", "a\tb"] {
            assert_eq!(value(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn framing_identity_and_our_own_headers_cannot_be_configured() {
        for bad in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Content_Length",
            "X-Authenticated-Service",
            "x.authenticated.service",
            "X_Service_ID",
            "X-Service-Signature",
            "WWW-Authenticate",
            "Retry-After",
            "X-Request-ID",
            "X-Countersign-Error",
            "",
            "a b",
            "a:b",
            "a\r\nb",
            "naïve",
        ] {
            assert!(name(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn no_value_can_split_an_answer() {
        for bad in ["a\r\nSet-Cookie: x", "a\nb", "\u{0}", " a", "a ", "é"] {
            assert!(value(bad).is_err(), "{bad:?} was taken");
        }
    }
}
