//! What clients get over TLS: the same proxy, and the truth about how they came.

use super::super::support::raw::{End, get_with};
use super::super::support::recorder::{Recorder, Then};
use super::super::support::tls::{Connector, Version};
use super::super::support::{KEY_A, count, eventually, python, sign};
use super::{guarding, run, stdout};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[test]
fn curl_speaks_both_versions_and_the_upstream_is_told_https() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let (sidecar, ca) = (tls.builder.start(), tls.files.path("ca.pem"));
    for (place, version) in
        [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]].into_iter().enumerate()
    {
        let url = format!("https://localhost:{}/marked-{place}", sidecar.address.port());
        let arguments = [
            &["-sS", "--cacert", ca.to_str().unwrap(), "-H", "X-Forwarded-Proto: http", "-w", " %{http_code}"],
            &version[..],
            &[&url],
        ];
        let output = run("curl", &arguments.concat());
        assert_eq!(stdout(&output), "ok 200", "{version:?} {output:?}");
        let seen = upstream.the(&format!("/marked-{place}"));
        assert_eq!(seen.fields.all("x-forwarded-proto"), ["https"], "what the client says of it does not count");
    }
    assert_eq!(sidecar.metric("countersign_tls_handshakes_total", &["kind=\"full\""]), 2.0);
    assert_eq!(sidecar.metric("countersign_tls_handshake_failures_total", &[]), 0.0);
}

#[test]
fn openssl_agrees_on_http_1_1_and_gets_no_old_version() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let (sidecar, ca) = (tls.builder.start(), tls.files.path("ca.pem"));
    let to = sidecar.address.to_string();
    let ask = |more: &[&str]| {
        let arguments =
            [&["s_client", "-connect", &to, "-servername", "localhost", "-CAfile", ca.to_str().unwrap()], more];
        super::both(&run("openssl", &arguments.concat()))
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = ask(&[version, "-alpn", "http/1.1"]);
        assert!(said.contains("Verify return code: 0 (ok)") && said.contains("ALPN protocol: http/1.1"), "{said}");
        assert!(said.contains(name), "{said}");
    }
    let said = ask(&["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]);
    assert!(said.contains("no peer certificate available"), "{said}");
    // Some offer nothing newer (`curl --http1.0`).
    let said = ask(&["-alpn", "http/1.0"]);
    assert!(said.contains("ALPN protocol: http/1.0"), "{said}");
    let said = ask(&["-alpn", "spdy/3"]);
    assert!(said.contains("no application protocol"), "{said}");
    for reason in ["incompatible", "no_protocol"] {
        let reason = format!("reason=\"{reason}\"");
        assert_eq!(sidecar.metric("countersign_tls_handshake_failures_total", &[&reason]), 1.0, "{reason}");
    }
}

#[test]
fn pythons_ssl_keeps_its_connection_over_many_requests() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let (sidecar, ca) = (tls.builder.start(), tls.files.path("ca.pem"));
    let Some(python) = python::interpreter() else { return };
    let script = "import http.client, ssl, sys\n\
        context = ssl.create_default_context(cafile=sys.argv[2])\n\
        connection = http.client.HTTPSConnection('localhost', int(sys.argv[1]), context=context)\n\
        for n in range(20):\n\
        \x20   connection.request('POST', '/files/x', body=b'x' * 100000)\n\
        \x20   answer = connection.getresponse()\n\
        \x20   assert (answer.status, answer.read()) == (200, b'ok')\n\
        print(connection.sock.version())\n";
    let port = sidecar.address.port().to_string();
    let output = run(python.to_str().unwrap(), &["-c", script, &port, ca.to_str().unwrap()]);
    assert_eq!(stdout(&output).trim(), "TLSv1.3", "{output:?}");
    assert_eq!(sidecar.metric("countersign_tls_handshakes_total", &[]), 1.0);
    let requests = upstream.requests();
    assert!(
        requests.iter().all(|request| request.connection == requests[0].connection),
        "the upstream's was kept too"
    );
}

#[test]
fn a_signature_counts_over_tls_as_anywhere_and_a_refusal_is_the_same() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let connector = Connector::trusting(&tls.authority);
    let signed = sign::headers(KEY_A, "npu-worker", "GET", "/api/internal/x");
    assert_eq!(connector.get(sidecar.address, "/api/internal/x", &signed).unwrap(), 200);
    assert_eq!(connector.get(sidecar.address, "/api/internal/x", "").unwrap(), 401);
    assert_eq!(upstream.the("/api/internal/x").fields.all("x-authenticated-service"), ["npu-worker"]);
}

#[test]
fn a_redirect_to_the_upstreams_own_address_leads_back_over_https() {
    let upstream = Recorder::with(|exchange| {
        let to = exchange.request.fields.one("x-to").unwrap_or_default().to_owned();
        exchange.send(format!("HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"));
        Then::Next
    });
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let connector = Connector::trusting(&tls.authority);
    for scheme in ["http:", "https:", ""] {
        let mut client = connector.connect(sidecar.address);
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: backend.test:8443\r\nX-To: {scheme}//{}/x\r\n\r\n",
            upstream.address
        ));
        assert_eq!(client.answer().fields.all("location"), ["https://backend.test:8443/x"], "{scheme}");
    }
}

#[test]
fn bodies_of_any_size_pass_both_ways_whole() {
    let size = count(3 << 20, 64 << 20);
    let upstream = Recorder::with(|exchange| {
        let bytes = exchange.body().unwrap().bytes.clone();
        exchange.reply(200, bytes)
    });
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    for version in Version::BOTH {
        let mut client = Connector::new(&tls.authority, None, &[version]).connect(sidecar.address);
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        client.send(format!("POST /files/x HTTP/1.1\r\nHost: b\r\nContent-Length: {size}\r\n\r\n"));
        client.send(&body);
        let answer = client.answer();
        assert!(answer.status == 200 && answer.body.complete && answer.body.bytes == body, "{version:?}");
    }
}

#[test]
fn requests_sent_at_once_are_answered_in_order_and_a_connection_ends_with_close_notify() {
    let upstream = Recorder::with(|exchange| {
        let target = exchange.request.target.clone();
        exchange.reply(200, target)
    });
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let mut client = Connector::trusting(&tls.authority).connect(sidecar.address);
    let requests: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: b\r\n\r\n")).collect();
    client.send(requests);
    for n in 0..20 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
    client.send("GET /last HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().text(), "/last");
    assert_eq!(client.end(), End::Closed, "an end without close_notify would be an error here");
}

#[test]
fn a_client_that_has_said_its_last_word_still_gets_its_answer() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let mut client = Connector::trusting(&tls.authority).connect(sidecar.address);
    client.send("GET /files/x HTTP/1.1\r\nHost: b\r\n\r\n");
    client.stream.inner.conn.send_close_notify();
    client.stream.inner.flush().unwrap();
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn half_an_answer_never_looks_whole() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhalf");
        Then::Close
    });
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    for version in ["1.0", "1.1"] {
        let mut client = Connector::trusting(&tls.authority).connect(sidecar.address);
        client.send(format!("GET /files/x HTTP/{version}\r\nHost: b\r\n\r\n"));
        assert!(!client.try_answer("GET").is_ok_and(|answer| answer.body.complete), "HTTP/{version}");
    }
    // Only the end of the connection tells a client of HTTP/1.0 the end of a chunked answer: it must be no clean one.
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        Then::Close
    });
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let mut client = Connector::trusting(&tls.authority).connect(sidecar.address);
    client.send("GET /files/x HTTP/1.0\r\nHost: b\r\n\r\n");
    let mut all = Vec::new();
    assert!(client.stream.inner.read_to_end(&mut all).is_err(), "{:?}", String::from_utf8_lossy(&all));
}

#[test]
fn a_websocket_runs_over_tls() {
    let upstream = Recorder::with(|exchange| {
        exchange.send("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        loop {
            let bytes = std::mem::take(&mut exchange.stream.ahead);
            exchange.send(&bytes);
            if !matches!(exchange.stream.fill(), Ok(true)) {
                return Then::Close;
            }
        }
    });
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let mut client = Connector::trusting(&tls.authority).connect(sidecar.address);
    client.send("GET /ws HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.try_head().unwrap().0, 101);
    for bytes in [b"hello".to_vec(), vec![7; 300_000]] {
        client.send(&bytes);
        while client.stream.ahead.len() < bytes.len() {
            assert!(client.stream.fill().unwrap(), "the tunnel ended");
        }
        assert!(std::mem::take(&mut client.stream.ahead) == bytes);
    }
    client.stream.inner.conn.send_close_notify();
    client.stream.inner.flush().unwrap();
    assert_eq!(client.end(), End::Closed);
    eventually("the tunnel's end", || (sidecar.metric("countersign_tunnels", &[]) == 0.0).then_some(()));
}

#[test]
fn a_unix_socket_may_speak_tls_too() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let socket = tls.files.path("inbound.sock");
    let sidecar = tls.builder.set("inbound", "listen", format!("\"unix:{}\"", socket.display())).start();
    let stream = UnixStream::connect(&socket).unwrap();
    let mut client = Connector::trusting(&tls.authority).over(stream).unwrap();
    client.send("GET /files/x HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(upstream.the("/files/x").fields.all("x-forwarded-proto"), ["https"]);
    drop(sidecar);
}

#[test]
fn beside_a_listener_with_tls_one_without_says_http() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let plain = super::super::support::free_address();
    let second = format!("[[inbound]]\nlisten = \"{plain}\"\nupstream = \"http://{}\"\n", upstream.address);
    let rules = format!("{second}{}", super::super::support::sidecar::RULES);
    let sidecar = tls.builder.rename("inbound", "[inbound]").rules(&rules).start();
    assert_eq!(get_with(plain, "/files/plain", "").status, 200);
    assert_eq!(upstream.the("/files/plain").fields.all("x-forwarded-proto"), ["http"]);
    let connector = Connector::trusting(&tls.authority);
    assert_eq!(connector.get(sidecar.address, "/files/secure", "").unwrap(), 200);
    assert_eq!(upstream.the("/files/secure").fields.all("x-forwarded-proto"), ["https"]);
}

#[test]
fn who_reads_nothing_is_cut_over_tls_too() {
    let upstream = Recorder::with(|exchange| exchange.reply(200, vec![b'x'; 24 << 20]));
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.set("timeouts", "write_idle", "\"500ms\"").start();
    let mut deaf = Connector::trusting(&tls.authority).connect(sidecar.address);
    deaf.send("GET /files/x HTTP/1.1\r\nHost: b\r\n\r\n");
    let cut = || sidecar.metric("countersign_timeouts_total", &["timer=\"write_idle\""]);
    eventually("the deaf one to be cut", || (cut() == 1.0).then_some(()));
    assert!(!deaf.try_answer("GET").is_ok_and(|answer| answer.body.complete));
}
