use super::*;

#[test]
fn an_upstream_is_a_host_and_a_port() {
    for (text, host, port) in [
        ("http://127.0.0.1:18001", "127.0.0.1", 18001),
        ("http://127.0.0.1:18001/", "127.0.0.1", 18001),
        ("HTTP://backend.internal", "backend.internal", 80),
        ("http://[::1]:8000", "[::1]", 8000),
        ("http://[::1]", "[::1]", 80),
        ("http://back_end:1", "back_end", 1),
    ] {
        assert_eq!(upstream(text), Ok(Upstream::http(host, port)), "{text}");
    }
}

#[test]
fn an_upstream_over_tls_says_so_and_has_its_own_port() {
    for (text, host, port) in [
        ("https://127.0.0.1:18001", "127.0.0.1", 18001),
        ("HTTPS://backend.internal/", "backend.internal", 443),
        ("https://[::1]", "[::1]", 443),
    ] {
        let upstream = upstream(text).unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port, upstream.scheme()), (host, port, "https"), "{text}");
    }
}

#[test]
fn an_allowed_host_names_its_port_and_perhaps_its_scheme() {
    for (text, shown) in [
        ("172.16.168.20:8001", "http://172.16.168.20:8001"),
        ("http://172.16.168.20:8001", "http://172.16.168.20:8001"),
        ("https://backend:8443", "https://backend:8443"),
        ("https://backend", "https://backend:443"),
        ("[::1]:80", "http://[::1]:80"),
    ] {
        let upstream = allowed_upstream(text).unwrap();
        assert_eq!(format!("{}://{upstream}", upstream.scheme()), shown);
    }
    for bad in
        ["", "backend", ":80", "backend:0", "backend:80/x", "*", "*.internal:80", "ftp://h:1", "u@h:1", "::1:80"]
    {
        assert!(allowed_upstream(bad).is_err(), "{bad:?} was taken");
    }
    for bad in ["https://backend:1", "http://backend:1", "backend", "backend:0", "[::1]", ""] {
        assert!(bare_upstream(bad).is_none(), "{bad:?} was taken");
    }
}

#[test]
fn what_is_no_upstream_is_refused() {
    for bad in [
        "",
        "127.0.0.1:8000",
        "http://",
        "http://:8000",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://a:b",
        "http://127.0.0.1:8000/api",
        "http://127.0.0.1:8000?x",
        "http://127.0.0.1:8000#x",
        "http://user:pw@h:1",
        "http://a b:1",
        "http://a\r\nHost: b",
        "http://::1:80",
        "http://[::1",
        "http://[x]:1",
        "ftp://h",
        "http:/h:1",
        "http://-a:1",
        "http://a..b:1",
        "https://",
        "https://127.0.0.1:0",
        "https://127.0.0.1:8000/api",
        "https://user@h",
        "hhttps://h:1",
        "unix:/x",
        "http://ö:1",
        "http://127.0.0.1:80:80",
    ] {
        assert!(upstream(bad).is_err(), "{bad:?} was taken");
    }
    assert!(upstream("127.0.0.1:8000").unwrap_err().fix.unwrap().contains("http://127.0.0.1:8000"));
}

#[test]
fn the_brackets_of_an_ipv6_upstream_are_no_part_of_its_name() {
    let upstream = upstream("http://[::1]:8000").unwrap();
    assert_eq!((upstream.lookup_host(), upstream.to_string().as_str()), ("::1", "[::1]:8000"));
    assert_eq!(resolve(upstream.lookup_host(), 8000), Some("[::1]:8000".parse().unwrap()));
}

#[test]
fn a_listener_is_an_address_a_socket_or_a_path() {
    for (text, expected) in [
        ("127.0.0.1:8001", Listen::Tcp("127.0.0.1:8001".parse().unwrap())),
        ("127.0.0.1:0", Listen::Tcp("127.0.0.1:0".parse().unwrap())),
        ("[::]:8001", Listen::Tcp("[::]:8001".parse().unwrap())),
        ("localhost:8001", Listen::Tcp("127.0.0.1:8001".parse().unwrap())),
        ("systemd:inbound", Listen::Systemd("inbound".into())),
        ("unix:/run/x.sock", Listen::Unix("/run/x.sock".into())),
    ] {
        assert_eq!(listen(text), Ok(expected), "{text}");
    }
    for bad in [
        "",
        "8001",
        ":8001",
        "*:8001",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:08001x",
        "::1:8001",
        "systemd:",
        "systemd:a:b",
        "systemd:a b",
        "unix:",
        "unix:run/x",
        "unix:/run/",
        "http://127.0.0.1:8001",
        "no-such-host.invalid:1",
        &format!("unix:/{}", "x".repeat(107)),
    ] {
        assert!(listen(bad).is_err(), "{bad:?} was taken");
    }
    assert!(listen(":8001").unwrap_err().fix.unwrap().contains("0.0.0.0:8001"));
}

#[test]
fn a_network_is_one_address_or_many() {
    for (text, expected) in [
        ("172.16.168.22", "172.16.168.22/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("::1", "::1/128"),
        ("fd00::/64", "fd00::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
    ] {
        assert_eq!(network(text).unwrap().to_string(), expected, "{text}");
    }
    for bad in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.1:80", "::/129", "10.0.0.0/", "010.0.0.1"] {
        assert!(network(bad).is_err(), "{bad:?} was taken");
    }
}

#[test]
fn an_allowed_host_is_what_a_host_header_holds() {
    for (text, expected) in [
        ("Backend.Internal:9180", "backend.internal:9180"),
        ("backend", "backend"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]:80"),
    ] {
        assert_eq!(allowed_host(text).as_deref(), Ok(expected));
    }
    for bad in ["", "*", "http://x", "a b", "a/b", "a:b", "[x]", "[::1"] {
        assert!(allowed_host(bad).is_err(), "{bad:?} was taken");
    }
}
