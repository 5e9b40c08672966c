//! Who counts as the client, and who cannot choose that.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;

fn client(peer: &str, trusted: &[&str], lines: &[&str]) -> String {
    let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
    let peer = Peer::Ip(peer.parse().unwrap());
    ClientAddress::of(peer, &trusted, lines.iter().map(|line| line.as_bytes())).to_string()
}

#[test]
fn the_client_is_the_rightmost_address_that_is_not_trusted() {
    let proxies = ["10.0.0.0/8", "2001:db8:1::/48"];
    for (peer, lines, expected) in [
        // nobody in between
        ("192.0.2.1", &[][..], "192.0.2.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        // one proxy, and what the client wrote before it
        ("10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", &["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", &["10.9.9.9, 192.0.2.7"], "192.0.2.7"),
        // several proxies, in one line or in several
        ("10.0.0.1", &["192.0.2.7, 10.0.0.3, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", &["1.1.1.1", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", &["1.1.1.1,192.0.2.7", "10.0.0.3,\t10.0.0.2"], "192.0.2.7"),
        // nothing but proxies
        ("10.0.0.1", &["10.0.0.4, 10.0.0.3"], "10.0.0.4"),
        // forms that proxies write
        ("10.0.0.1", &["192.0.2.7:4711"], "192.0.2.7"),
        ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
        ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", &["192.0.2.7, [2001:db8:1::2]:80"], "192.0.2.7"),
        // IPv4-mapped is IPv4, as a peer, a proxy and an entry
        ("::ffff:192.0.2.1", &["1.1.1.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", &["192.0.2.7, [::ffff:10.0.0.2]:80"], "192.0.2.7"),
    ] {
        assert_eq!(client(peer, &proxies, lines), expected, "{peer} {lines:?}");
    }
}

#[test]
fn a_peer_that_is_not_trusted_cannot_name_another() {
    for trusted in [&[][..], &["10.0.0.0/8"], &["::/0"], &["2001:db8::/32"]] {
        for lines in [&["1.1.1.1"][..], &["10.0.0.1"], &["192.0.2.1, 10.0.0.1", "::1"], &[""]] {
            assert_eq!(client("192.0.2.1", trusted, lines), "192.0.2.1", "{trusted:?} {lines:?}");
        }
    }
}

#[test]
fn what_is_no_address_ends_the_walk_at_the_last_trusted_hop() {
    for garbage in [
        "unknown",
        "_hidden",
        "",
        "   ",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.7:",
        "192.0.2.7:99999",
        "192.0.2.7 10.0.0.1",
        "[192.0.2.7]",
        "[2001:db8::7",
        "2001:db8::7]:80",
        "[2001:db8::7]80",
        "fe80::1%eth0",
        "[fe80::1%2]:80",
        "\"192.0.2.7\"",
        "for=192.0.2.7",
        "192.0.2.7\u{e9}",
        "0192.0.2.7",
        "localhost",
    ] {
        let line = format!("1.1.1.1, {garbage}");
        assert_eq!(client("10.0.0.1", &["10.0.0.0/8"], &[&line]), "10.0.0.1", "{garbage:?}");
        let line = format!("1.1.1.1, {garbage}, 10.0.0.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.0/8"], &[&line]), "10.0.0.2", "{garbage:?}");
    }
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let peer = Peer::Ip("10.0.0.1".parse().unwrap());
    assert_eq!(ClientAddress::of(peer, &trusted, [&b"1.1.1.1, \xff\xfe"[..]]).to_string(), "10.0.0.1");
}

#[test]
fn a_network_written_ipv4_mapped_covers_ipv4() {
    assert_eq!(client("10.0.0.1", &["::ffff:10.0.0.0/104"], &["192.0.2.7"]), "192.0.2.7");
    assert_eq!(client("11.0.0.1", &["::ffff:10.0.0.0/104"], &["192.0.2.7"]), "11.0.0.1");
}

#[test]
fn a_unix_peer_is_its_uid_and_names_nobody_else() {
    let trusted = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let client = ClientAddress::of(Peer::Unix(1000), &trusted, [&b"1.1.1.1"[..]]);
    assert_eq!((client.to_string().as_str(), client.ip()), ("unix:1000", None));
    assert_eq!(client.limit_key(), LimitKey::Unix(1000));
    assert!(!Peer::Unix(0).is_trusted(&trusted));
}

#[test]
fn refusals_count_per_ipv4_address_and_per_ipv6_network() {
    let key = |address: &str| ClientAddress::of(Peer::Ip(address.parse().unwrap()), &[], []).limit_key();
    assert_eq!(key("192.0.2.1"), LimitKey::V4(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("2001:db8:0:1::1"), LimitKey::V6Net(0x2001_0db8_0000_0001));
    assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
}

proptest::proptest! {
    #[test]
    fn no_header_of_a_stranger_moves_it(
        lines in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..64), 0..4)
    ) {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = Peer::Ip("192.0.2.1".parse().unwrap());
        let client = ClientAddress::of(peer, &trusted, lines.iter().map(Vec::as_slice));
        proptest::prop_assert_eq!(client.to_string(), "192.0.2.1");
    }

    #[test]
    fn what_stands_left_of_the_client_changes_nothing(
        left in "[ -~]{0,40}", client_octet in 1u8..255
    ) {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = Peer::Ip("10.0.0.1".parse().unwrap());
        let line = format!("{left},192.0.2.{client_octet}, 10.0.0.2");
        let client = ClientAddress::of(peer, &trusted, [line.as_bytes()]);
        proptest::prop_assert_eq!(client.to_string(), format!("192.0.2.{client_octet}"));
    }
}
