//! The head of an HTTP/2 request → [`RequestHead`], by way of the text that HTTP/1.1 would carry.
//!
//! There is one strict reading of requests, and this is not a second one: the fields are written as a head, and
//! [`RequestHead::parse`] judges it. What such text cannot show is refused here first:
//!
//! 1. `:authority` becomes `Host`; a `host` beside it is a second opinion of where the request goes, equal or not;
//! 2. a value with a space or tab at either end, which the text would lose;
//! 3. fields that speak about a connection, which the text would obey (h2 resets such streams already);
//! 4. a scheme other than `http` and `https`.
//!
//! The rest is the parser's: `u@h` and other odd hosts, none at all, CONNECT, paths without `/`, raw bytes, giants. The
//! lines of a cut `cookie` are joined (RFC 9113 section 8.2.3). A `#` in `:path` is cut before it can be seen here; that there
//! was one is known below (`super::blocks`).

use crate::request::head::{HeadFault, HeadLimits, RequestHead};
use crate::wire::h2::{is_of_connection, put, put_joined};
use http::HeaderName;
use http::header::{COOKIE, HOST};
use http::request::Parts;

/// The head of the request as the rest of the proxy knows it. `has_body`: the stream did not end with its header block.
///
/// # Errors
/// What is wrong with it.
pub(super) fn head(parts: Parts, has_body: bool, limits: &HeadLimits) -> Result<RequestHead, HeadFault> {
    let uri = parts.uri.into_parts();
    let target = uri.path_and_query.ok_or(if parts.method == http::Method::CONNECT {
        HeadFault::Connect
    } else {
        HeadFault::TargetForm
    })?;
    if uri.scheme.is_some_and(|scheme| scheme != http::uri::Scheme::HTTP && scheme != http::uri::Scheme::HTTPS) {
        return Err(HeadFault::TargetForm);
    }
    let mut text = Vec::with_capacity(512);
    for part in [parts.method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    if let Some(authority) = uri.authority {
        if parts.headers.contains_key(HOST) {
            return Err(HeadFault::HostRepeated);
        }
        put(&mut text, b"host", authority.as_str().as_bytes());
    }
    for (name, value) in &parts.headers {
        check(name, value.as_bytes())?;
        if *name != COOKIE {
            put(&mut text, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    put_joined(&mut text, b"cookie", &parts.headers, b"; ");
    if has_body && !parts.headers.contains_key(http::header::CONTENT_LENGTH) {
        put(&mut text, b"transfer-encoding", b"chunked");
    }
    text.extend_from_slice(b"\r\n");
    RequestHead::parse(&text, limits)
}

fn check(name: &HeaderName, value: &[u8]) -> Result<(), HeadFault> {
    let is_padded = |end: Option<&u8>| matches!(end, Some(b' ' | b'\t'));
    if is_padded(value.first()) || is_padded(value.last()) {
        return Err(HeadFault::FieldValue);
    }
    match name.as_str() {
        name if is_of_connection(name.as_bytes()) => Err(HeadFault::FieldName),
        "te" if value != b"trailers" => Err(HeadFault::FieldValue),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::framing::Framing;
    use http::Request;

    const LIMITS: HeadLimits = HeadLimits { head: 1000, target: 100, fields: 10 };

    fn read(uri: &str, fields: &[(&str, &str)], has_body: bool) -> Result<RequestHead, HeadFault> {
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        head(request.body(()).unwrap().into_parts().0, has_body, &LIMITS)
    }

    #[test]
    fn a_request_reads_as_the_same_request_in_http_1_would() {
        let got = read("https://a.example:8/x%2Fy?q=1", &[("te", "trailers"), ("x-a", "b c")], true).unwrap();
        assert_eq!((got.method(), got.path(), got.query()), ("POST", "/x%2Fy", Some("q=1")));
        assert_eq!((got.host(), got.framing()), (Some("a.example:8"), Framing::Chunked));
        let names: Vec<_> = got.fields().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(names, ["host", "te", "x-a", "transfer-encoding"]);
        assert_eq!(read("/x", &[("host", "b")], false).unwrap().host(), Some("b"));
        assert_eq!(read("http://b/x", &[("content-length", "5")], true).unwrap().framing(), Framing::Length(5));
        assert_eq!(read("http://b/x", &[], false).unwrap().framing(), Framing::None);
    }

    #[test]
    fn the_crumbs_of_a_cookie_are_one_line() {
        let got = read("http://b/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], false).unwrap();
        let cookies: Vec<_> = got.fields().filter(|(name, _)| *name == b"cookie").map(|(_, value)| value).collect();
        assert_eq!(cookies, [b"a=1; b=2"]);
    }

    #[test]
    fn what_two_servers_read_differently_is_refused() {
        for (uri, fields, fault) in [
            ("http://b/x", &[("host", "b")][..], HeadFault::HostRepeated),
            ("http://b/x", &[("host", "evil")], HeadFault::HostRepeated),
            ("/x", &[("host", "b"), ("host", "b")], HeadFault::HostRepeated),
            ("/x", &[], HeadFault::HostMissing),
            ("http://u@b/x", &[], HeadFault::HostMalformed),
            ("http://u:p@b/x", &[], HeadFault::HostMalformed),
            ("ftp://b/x", &[], HeadFault::TargetForm),
            ("http://b/x", &[("x-a", " b")], HeadFault::FieldValue),
            ("http://b/x", &[("x-a", "b ")], HeadFault::FieldValue),
            ("http://b/x", &[("x-a", "b\t")], HeadFault::FieldValue),
            ("http://b/x", &[("te", "gzip")], HeadFault::FieldValue),
            ("http://b/x", &[("te", "trailers, gzip")], HeadFault::FieldValue),
            ("http://b/x", &[("connection", "close")], HeadFault::FieldName),
            ("http://b/x", &[("keep-alive", "1")], HeadFault::FieldName),
            ("http://b/x", &[("proxy-connection", "x")], HeadFault::FieldName),
            ("http://b/x", &[("transfer-encoding", "chunked")], HeadFault::FieldName),
            ("http://b/x", &[("upgrade", "websocket")], HeadFault::FieldName),
            ("http://b/x", &[("content-length", "1"), ("content-length", "1")], HeadFault::ContentLength),
            ("http://b/x", &[("content-length", "+1")], HeadFault::ContentLength),
            ("*", &[("host", "b")], HeadFault::TargetForm),
            ("b:80", &[("host", "b")], HeadFault::TargetForm),
            ("http://b/caf\u{e9}", &[], HeadFault::TargetByte),
        ] {
            assert_eq!(read(uri, fields, true).unwrap_err(), fault, "{uri} {fields:?}");
        }
        assert_eq!(read(&format!("http://b/{}", "x".repeat(200)), &[], false).unwrap_err(), HeadFault::TargetTooLong);
        let many: Vec<(String, String)> = (0..20).map(|n| (format!("x-{n}"), "y".to_owned())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(read("http://b/", &many, false).unwrap_err(), HeadFault::TooManyFields);
        assert_eq!(read("http://b/", &[("x", &"y".repeat(2000))], false).unwrap_err(), HeadFault::HeadTooLong);
    }
}
