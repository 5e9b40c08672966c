//! Who may send what where: a row for each way in, and one for each way around.

use super::*;
use crate::request::head::{HeadLimits, TargetForms};
use std::net::Ipv4Addr;

const LIMITS: HeadLimits = HeadLimits { head: 65_536, target: 16_384, fields: 100 };
const PROGRAM: Peer = Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn place(host: &str, port: u16, tls: bool) -> Place {
    Place { host: host.to_owned(), port, tls }
}

/// Judges `line` with these header lines at a listener on 127.0.0.1:9001.
fn asked(way: Way<'_>, line: &str, headers: &str) -> Result<Passage, OutboundRefusal> {
    let head = format!("{line} HTTP/1.1\r\n{headers}\r\n");
    let head = RequestHead::parse_as(head.as_bytes(), &LIMITS, TargetForms::Any).unwrap();
    let listener = Listener { address: Some("127.0.0.1:9001".parse().unwrap()), allow_uids: None, way };
    judge(&head, PROGRAM, &listener, true)
}

fn one(line: &str, headers: &str) -> Result<Passage, OutboundRefusal> {
    asked(Way::Upstreams(&[place("172.16.168.20", 8001, false)]), line, headers)
}

fn forward(line: &str, headers: &str) -> Result<Passage, OutboundRefusal> {
    let allow = [
        place("172.16.168.20", 8001, false),
        place("backend.internal", 80, false),
        place("secure.internal", 443, true),
        place("[fd00::20]", 8001, false),
    ];
    asked(Way::ForwardProxy { allow: &allow, connect: &[place("git.internal", 443, false)] }, line, headers)
}

const REFUSED: Result<Passage, OutboundRefusal> = Err(OutboundRefusal::HostNotAllowed);

#[test]
fn a_listener_of_one_destination_takes_its_own_names_and_the_destinations() {
    for host in ["127.0.0.1:9001", "localhost:9001", "LOCALHOST:9001", "[::1]:9001", "172.16.168.20:8001"] {
        assert_eq!(one("GET /a", &format!("Host: {host}\r\n")), Ok(Passage::Upstream), "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9001",
        "127.0.0.1.evil.example:9001",
        "localhost.evil.example:9001",
        "127.0.0.1:9002",
        "127.0.0.1",
        "localhost",
        "172.16.168.20",
        "172.16.168.20:80",
        "172.16.168.21:8001",
        "localhost.:9001",
        "127.1:9001",
        "2130706433:9001",
        "[::ffff:127.0.0.1]:9001",
        "0.0.0.0:9001",
    ] {
        assert_eq!(one("GET /a", &format!("Host: {host}\r\n")), REFUSED, "{host}");
    }
}

#[test]
fn a_default_port_may_be_left_out_of_the_destinations_name() {
    let (http, https) = ([place("backend.internal", 80, false)], [place("backend.internal", 443, true)]);
    for places in [&http, &https] {
        for host in [format!("backend.internal:{}", places[0].port), "Backend.Internal".to_owned()] {
            let judged = asked(Way::Upstreams(places), "GET /", &format!("Host: {host}\r\n"));
            assert_eq!(judged, Ok(Passage::Upstream), "{host}");
        }
    }
    assert_eq!(asked(Way::Upstreams(&http), "GET /", "Host: backend.internal:443\r\n"), REFUSED);
}

#[test]
fn a_listener_of_one_destination_takes_whole_urls_of_itself_and_the_destination_alone() {
    for url in ["http://127.0.0.1:9001/a", "http://localhost:9001/a", "http://172.16.168.20:8001/a"] {
        assert_eq!(one(&format!("GET {url}"), "Host: 172.16.168.20:8001\r\n"), Ok(Passage::Upstream), "{url}");
        assert_eq!(one(&format!("GET {url}"), "Host: evil.example\r\n"), REFUSED, "{url}");
    }
    for url in [
        "http://evil.example/a",
        "https://172.16.168.20:8001/a",
        "http://172.16.168.20/a",
        "http://u@172.16.168.20:8001/a",
        "http://172.16.168.20:8001@evil.example/a",
        "http://169.254.169.254/latest/meta-data",
    ] {
        assert_eq!(one(&format!("GET {url}"), "Host: 172.16.168.20:8001\r\n"), REFUSED, "{url}");
    }
    let tunnel = one("CONNECT 172.16.168.20:8001", "Host: 172.16.168.20:8001\r\n");
    assert_eq!(tunnel, Err(OutboundRefusal::ConnectNotAllowed));
}

#[test]
fn a_forward_proxy_signs_for_what_is_listed() {
    for (url, host, place) in [
        ("http://172.16.168.20:8001/a", "172.16.168.20:8001", 0),
        ("http://BACKEND.internal/a", "backend.internal", 1),
        ("http://backend.internal:80/a", "backend.internal:80", 1),
        ("https://secure.internal/a", "secure.internal", 2),
        ("https://secure.internal:443/a", "127.0.0.1:9001", 2),
        ("http://[fd00:0::20]:8001/", "[fd00::20]:8001", 3),
        // What a redirected port delivers.
        ("/a", "172.16.168.20:8001", 0),
        ("/a", "backend.internal", 1),
    ] {
        assert_eq!(
            forward(&format!("GET {url}"), &format!("Host: {host}\r\n")),
            Ok(Passage::Allowed(place)),
            "{url}"
        );
    }
}

#[test]
fn a_forward_proxy_is_open_to_nobody_else() {
    for url in [
        "http://172.16.168.21:8001/",
        "http://172.16.168.20/",
        "http://172.16.168.20:8002/",
        "http://2886772756:8001/",
        "http://0xac10a814:8001/",
        "http://0254.020.0250.024:8001/",
        "http://172.16.43028:8001/",
        "http://[::ffff:172.16.168.20]:8001/",
        "http://[::ffff:ac10:a814]:8001/",
        "http://172.16.168.20.:8001/",
        "http://backend.internal./",
        "http://backend/",
        "http://user@172.16.168.20:8001/",
        "http://user:pass@172.16.168.20:8001/",
        "http://172.16.168.20:8001@evil.example/",
        "http://evil.example\\@172.16.168.20:8001/",
        "http://evil.example%2f@172.16.168.20:8001/",
        "http://172.16.168.20:8001%2f.evil.example/",
        "http://172.16.168.20:08001/",
        "http://172.16.168.20:/",
        "https://172.16.168.20:8001/",
        "http://secure.internal:443/",
        "http://secure.internal/",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://127.0.0.1:9001/",
        "http://localhost:9001/",
        "http://git.internal:443/",
    ] {
        for host in ["172.16.168.20:8001", "127.0.0.1:9001"] {
            assert_eq!(forward(&format!("GET {url}"), &format!("Host: {host}\r\n")), REFUSED, "{url}");
        }
    }
    for host in ["127.0.0.1:9001", "localhost:9001", "evil.example", "secure.internal", "u", "172.16.168.20"] {
        assert_eq!(forward("GET /", &format!("Host: {host}\r\n")), REFUSED, "{host}");
    }
    assert_eq!(forward("GET /", "Host: \r\n"), REFUSED, "a path and no name");
}

#[test]
fn a_host_beside_a_url_may_not_say_something_else() {
    for host in ["evil.example", "backend.internal", "172.16.168.20", "172.16.168.20:80"] {
        let judged = forward("GET http://172.16.168.20:8001/", &format!("Host: {host}\r\n"));
        assert_eq!(judged, REFUSED, "{host}");
    }
    assert_eq!(forward("GET http://172.16.168.20:8001/", "Host: localhost:9001\r\n"), Ok(Passage::Allowed(0)));
}

#[test]
fn tunnels_lead_only_to_what_is_listed_for_them() {
    for host in ["git.internal:443", "git.internal", "127.0.0.1:9001"] {
        let judged = forward("CONNECT Git.Internal:443", &format!("Host: {host}\r\n"));
        assert_eq!(judged, Ok(Passage::Tunnel(0)), "{host}");
    }
    for target in [
        "git.internal",
        "git.internal:80",
        "git.internal:0443",
        "git.internal.:443",
        "u@git.internal:443",
        "172.16.168.20:8001",
        "secure.internal:443",
        "http://git.internal:443/",
        "/",
    ] {
        let judged = forward(&format!("CONNECT {target}"), "Host: git.internal:443\r\n");
        assert_eq!(judged, Err(OutboundRefusal::ConnectNotAllowed), "{target}");
    }
    assert_eq!(forward("CONNECT git.internal:443", "Host: evil.example:443\r\n"), REFUSED);
}

#[test]
fn a_web_page_is_nobodys_service() {
    for (line, host) in [("GET /a", "127.0.0.1:9001"), ("POST /a", "172.16.168.20:8001")] {
        for header in [
            "Origin: http://evil.example",
            "Origin: null",
            "origin: http://127.0.0.1:9001",
            "Origin:",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "sec-fetch-site: Same-Origin, cross-site",
            "Sec-Fetch-Site:",
            "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
        ] {
            let judged = one(line, &format!("Host: {host}\r\n{header}\r\n"));
            assert_eq!(judged, Err(OutboundRefusal::CrossOrigin), "{header}");
        }
        for header in ["Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "X-Origin: a", "Sec-Fetch-Mode: cors"] {
            assert_eq!(one(line, &format!("Host: {host}\r\n{header}\r\n")), Ok(Passage::Upstream), "{header}");
        }
    }
    let tunnel = forward("CONNECT git.internal:443", "Host: git.internal:443\r\nOrigin: http://a\r\n");
    assert_eq!(tunnel, Err(OutboundRefusal::CrossOrigin));
}

#[test]
fn a_unix_socket_tells_users_apart_and_has_no_address() {
    let places = [place("172.16.168.20", 8001, false)];
    let judged = |peer, allow_uids, host: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = RequestHead::parse_as(head.as_bytes(), &LIMITS, TargetForms::Any).unwrap();
        judge(&head, peer, &Listener { address: None, allow_uids, way: Way::Upstreams(&places) }, true)
    };
    for host in ["localhost", "172.16.168.20:8001", ""] {
        assert_eq!(judged(Peer::Unix(7), None, host), Ok(Passage::Upstream), "{host}");
        assert_eq!(judged(Peer::Unix(7), Some(&[6, 7]), host), Ok(Passage::Upstream), "{host}");
    }
    assert_eq!(judged(Peer::Unix(7), None, "evil.example"), REFUSED);
    for (peer, uids) in [(Peer::Unix(8), &[7][..]), (Peer::Unix(0), &[7]), (Peer::Unix(7), &[]), (PROGRAM, &[7])] {
        assert_eq!(judged(peer, Some(uids), "localhost"), Err(OutboundRefusal::PeerNotAllowed), "{peer:?}");
    }
}

#[test]
fn without_a_key_nothing_that_would_be_signed_leaves() {
    let places = [place("a", 80, false)];
    let judged = |line: &str, way| {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = RequestHead::parse_as(head.as_bytes(), &LIMITS, TargetForms::Any).unwrap();
        judge(&head, PROGRAM, &Listener { address: None, allow_uids: None, way }, false)
    };
    let proxy = Way::ForwardProxy { allow: &places, connect: &places };
    for (line, way) in [("GET /", Way::Upstreams(&places)), ("GET http://a/", proxy), ("GET /", proxy)] {
        assert_eq!(judged(line, way), Err(OutboundRefusal::SigningKeyUnavailable), "{line}");
    }
    assert_eq!(judged("CONNECT a:80", proxy), Ok(Passage::Tunnel(0)));
    assert_eq!(judged("GET http://b/", proxy), REFUSED, "what is refused in any case is refused for that");
}

/// Random edits of a listed URL: whatever passes is written as it is listed, but for the case of its letters.
#[test]
fn no_edit_of_a_listed_url_leads_anywhere_else() {
    let listed = [
        "http://172.16.168.20:8001",
        "http://backend.internal",
        "https://secure.internal:443",
        "http://[fd00::20]:8001",
    ];
    let pieces = [
        "@",
        ":",
        ".",
        "%2e",
        "%00",
        "0",
        "[",
        "]",
        "\\",
        "//",
        "evil.example",
        "::",
        "0x",
        "?",
        ";",
        "-",
        "8001",
        "A",
    ];
    let mut seed = 20_261_122_u32;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    let mut passed = 0;
    for _ in 0..20_000 {
        let mut url = format!("{}/p", listed[random(listed.len())]);
        for _ in 0..=random(2) {
            let at = random(url.len() + 1);
            let until = (at + random(3)).min(url.len());
            url.replace_range(at..until, pieces[random(pieces.len())]);
        }
        let text = format!("GET {url} HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n\r\n");
        if RequestHead::parse_as(text.as_bytes(), &LIMITS, TargetForms::Any).is_err() {
            continue;
        }
        let Ok(Passage::Allowed(place)) = forward(&format!("GET {url}"), "Host: 127.0.0.1:9001\r\n") else {
            continue;
        };
        passed += 1;
        let lower = url.to_ascii_lowercase();
        let written =
            ["http://172.16.168.20:8001", "http://backend.internal", "https://secure.internal", "http://[fd00:"]
                [place];
        let rest = lower.strip_prefix(written).unwrap_or_else(|| panic!("{url} was taken for {written}"));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let good = match place {
            0 => rest[..end].is_empty(),
            1 => matches!(&rest[..end], "" | ":80"),
            2 => matches!(&rest[..end], "" | ":443"),
            _ => rest[..end].ends_with("20]:8001"),
        };
        assert!(good, "{url} was taken for {written}");
    }
    assert!(passed > 100, "{passed}: the edits were too rough to show anything");
}
