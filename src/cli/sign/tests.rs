//! What is signed is what goes on the wire, and the printed line survives a shell.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::target::TargetFault;
use super::*;

fn headers(method: &str, target: &Target) -> SignatureHeaders {
    let key = ServiceKey::from_text(&"a".repeat(64)).unwrap();
    hmac_v1::sign(&key, &ServiceId::parse("test-service").unwrap(), method, &target.path, 1_234_567_890)
}

fn parse(url: &str) -> (Option<String>, String, Option<String>) {
    let Target { origin, path, query } = Target::parse(url).unwrap();
    (origin, path, query)
}

#[test]
fn the_path_of_a_url_is_what_goes_on_the_wire() {
    for (url, origin, path, query) in [
        ("http://h:1/a/b", Some("http://h:1"), "/a/b", None),
        ("HTTPS://h/a?x=1", Some("HTTPS://h"), "/a", Some("x=1")),
        ("http://h", Some("http://h"), "/", None),
        ("http://h?x", Some("http://h"), "/", Some("x")),
        ("http://h#f", Some("http://h"), "/", None),
        ("http://h/a#f?x", Some("http://h"), "/a", None),
        ("http://h/a?x#f", Some("http://h"), "/a", Some("x")),
        ("http://[::1]:80/a", Some("http://[::1]:80"), "/a", None),
        ("/a/b?x=1", None, "/a/b", Some("x=1")),
        ("/a/://b", None, "/a/://b", None),
        ("/caf\u{e9} x", None, "/caf%C3%A9%20x", None),
        ("/a%20b%3Fc", None, "/a%20b%3Fc", None),
        ("/a<b>`\"?y=<", None, "/a%3Cb%3E%60%22", Some("y=%3C")),
        ("/a/../b/./c//d\\e", None, "/a/../b/./c//d\\e", None),
    ] {
        assert_eq!(parse(url), (origin.map(str::to_owned), path.to_owned(), query.map(str::to_owned)), "{url}");
    }
}

#[test]
fn what_is_no_url_is_refused() {
    for (url, fault) in [
        ("", TargetFault::NotAUrl(String::new())),
        ("host/path", TargetFault::NotAUrl("host/path".into())),
        ("ftp://h/a", TargetFault::Scheme("ftp".into())),
        ("file:///etc/passwd", TargetFault::Scheme("file".into())),
        ("http:///a", TargetFault::NoHost("http:///a".into())),
        ("http://", TargetFault::NoHost("http://".into())),
        ("http://?x", TargetFault::NoHost("http://?x".into())),
    ] {
        assert_eq!(Target::parse(url), Err(fault), "{url}");
    }
}

#[test]
fn the_contracts_known_answer_comes_out_of_a_url_with_a_query() {
    let target = Target::parse("http://127.0.0.1:8001/api/test?x=1#y").unwrap();
    let signature = headers("POST", &target).signature;
    assert_eq!(signature, "de80db4cb5149e8db2bc61c3bdf7a8ea2b58be7aeca6bf7e988804046fa13403");
}

#[test]
fn a_curl_line_sends_what_was_signed() {
    for (method, url, expected) in [
        ("GET", "http://h/a", "curl --header 'X-Service-ID: test-service' "),
        ("POST", "http://h/a", "curl --request POST --header "),
        ("HEAD", "http://h/a", "curl --head --header "),
        ("post", "http://h/a", "curl --request post --header "),
        ("GET", "http://h/a/../b", "curl --path-as-is --header "),
        ("GET", "http://h/a/%2E%2e/b", "curl --path-as-is --header "),
        ("GET", "http://[::1]/a", "curl --globoff --header "),
    ] {
        let target = Target::parse(url).unwrap();
        let line = curl::line(method, &target, &headers(method, &target));
        assert!(line.starts_with(expected), "{line}");
        assert!(
            line.contains("--header 'X-Service-Timestamp: 1234567890' --header 'X-Service-Signature: "),
            "{line}"
        );
    }
}

#[test]
fn a_curl_line_survives_a_shell() {
    let target = Target::parse("http://h/it's;$(id)&{a}?x='\"").unwrap();
    let line = curl::line("GET", &target, &headers("GET", &target));
    let script = line.replacen("curl", "printf '%s\\n'", 1);
    let printed = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    let words = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(words.lines().last().unwrap(), "http://h/it's;$(id)&{a}?x='%22", "{line}");
    assert_eq!(words.lines().count(), 8, "{words}");
}
