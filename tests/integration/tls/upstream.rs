//! Upstreams over TLS: a real nginx behind the sidecar, and servers that do what none should.

use super::super::support::nginx::Nginx;
use super::super::support::pki::{Authority, Files, Leaf, Pair};
use super::super::support::raw::{Answer, Client, exchange, get, get_with};
use super::super::support::refusal::assert_own_failure;
use super::super::support::sidecar::{Builder, Sidecar};
use super::super::support::tls::{Connector, Served, read_head, upstream};
use super::super::support::{eventually, free_address};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

/// An nginx with TLS, and what it is known by.
struct Secure {
    address: SocketAddr,
    authority: Authority,
    files: Files,
    nginx: Nginx,
}

impl Secure {
    /// `server`: further directives; `$client_ca` stands for the CA of the clients.
    fn start(authority: Authority, pair: &Pair, server: &str) -> Option<Secure> {
        let (address, files) = (free_address(), Files::new());
        let (cert, key) = files.pair("server", pair);
        files.write("ca.pem", authority.pem());
        let ca = files.path("ca.pem");
        let server = server.replace("$client_ca", &ca.display().to_string());
        let nginx = Nginx::start(&format!(
            "listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};
             location /told {{ return 200 \"$connection $ssl_protocol $scheme [$ssl_client_s_dn]\"; }}
             location /up {{ client_max_body_size 0; proxy_pass http://unix:{}:; }}
             {server}",
            cert.display(),
            key.display(),
            files.path("nowhere.sock").display(),
        ))?;
        Some(Secure { address, authority, files, nginx })
    }

    fn good(server: &str) -> Option<Secure> {
        let authority = Authority::new("upstreams'");
        let pair = authority.server();
        Secure::start(authority, &pair, server)
    }

    /// A sidecar in front of it, with these keys of `upstream_tls` (`CA`: its authority's file).
    fn guarded(&self, host: &str, tls: &str) -> Builder {
        guarding(host, self.address.port(), &tls.replace("CA", &format!("{:?}", self.files.path("ca.pem"))))
    }
}

fn guarding(host: &str, port: u16, tls: &str) -> Builder {
    let builder = Builder::guarding(SocketAddr::from(([127, 0, 0, 1], port))).set(
        "inbound",
        "upstream",
        format!("\"https://{host}:{port}\""),
    );
    if tls.is_empty() { builder } else { builder.set("inbound", "upstream_tls", format!("{{ {tls} }}")) }
}

#[track_caller]
fn assert_insecure(answer: &Answer) {
    assert_eq!(assert_own_failure(answer, 502), "upstream_tls");
}

#[track_caller]
fn assert_logged(sidecar: &Sidecar, word: &str) {
    let found = || sidecar.process.stderr.text().lines().any(|line| line.contains("no TLS") && line.contains(word));
    eventually(&format!("{word:?} in the log:\n{}", sidecar.process.stderr.text()), || found().then_some(()));
}

#[test]
fn nginx_is_reached_over_both_versions_and_connections_are_kept() {
    for (protocols, name) in [("TLSv1.2", "TLSv1.2"), ("TLSv1.2 TLSv1.3", "TLSv1.3")] {
        let Some(secure) = Secure::good(&format!("ssl_protocols {protocols};")) else { return };
        let sidecar = secure.guarded("localhost", "ca = CA").set("", "workers", "1").start();
        let told: Vec<String> = (0..20).map(|_| get(sidecar.address, "/told").text()).collect();
        assert!(told[0].contains(&format!("{name} https [")), "{told:?}");
        assert!(told.iter().all(|other| *other == told[0]), "one connection carried all: {told:?}");
    }
}

#[test]
fn a_new_connection_resumes_an_earlier_session() {
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let told = "location /reused { return 200 \"$ssl_session_reused\"; }";
        let server = format!("ssl_protocols {protocol}; keepalive_timeout 0; {told}");
        let Some(secure) = Secure::good(&server) else { return };
        let sidecar = secure.guarded("localhost", "ca = CA").start();
        eventually("a resumed session", || (get(sidecar.address, "/reused").text() == "r").then_some(()));
    }
}

#[test]
fn bodies_pass_both_ways_over_tls_to_the_upstream() {
    let authority = Authority::new("upstreams'");
    let address = upstream(&authority.server(), |mut stream: Served| {
        use std::io::Read;
        // Echoes each chunk's bytes as they come; the test's request has a length.
        while read_head(&mut stream) {
            let mut body = vec![0; 2 << 20];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let _ = write!(stream, "HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&body);
            let _ = stream.flush();
        }
    });
    let files = Files::new();
    let ca = files.write("ca.pem", authority.pem());
    let sidecar = guarding("localhost", address.port(), &format!("ca = {ca:?}")).start();
    let body: Vec<u8> = (0..2_u32 << 20).map(|n| (n % 253) as u8).collect();
    for _ in 0..3 {
        let head = format!("POST /files/x HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = exchange(sidecar.address, [head.as_bytes(), &body].concat());
        assert!(answer.status == 200 && answer.body.bytes == body);
    }
}

#[test]
fn files_of_nginx_come_whole() {
    let Some(secure) = Secure::good("") else { return };
    let body: Vec<u8> = (0..5_u32 << 20).map(|n| (n % 241) as u8).collect();
    std::fs::write(secure.nginx.root.join("large"), &body).unwrap();
    let sidecar = secure.guarded("localhost", "ca = CA").start();
    assert!(get(sidecar.address, "/static/large").body.bytes == body);
}

#[test]
fn an_upstream_of_another_ca_gets_nothing_and_the_log_says_why() {
    let Some(secure) = Secure::good("") else { return };
    let files = Files::new();
    let other = files.write("other.pem", Authority::new("another").pem());
    for tls in [format!("ca = {other:?}"), String::new()] {
        let sidecar = guarding("localhost", secure.address.port(), &tls).start_alive();
        assert_insecure(&get(sidecar.address, "/told"));
        assert_logged(&sidecar, "UnknownIssuer");
        assert_eq!(sidecar.metric("countersign_upstream_faults_total", &["upstream_tls"]), 1.0);
        eventually("the check to see it", || {
            (sidecar.metric("countersign_upstream_up", &[]) == 0.0 && sidecar.metrics().contains("upstream_up{"))
                .then_some(())
        });
    }
}

#[test]
fn another_name_is_refused_unless_it_is_the_one_that_was_meant() {
    let authority = Authority::new("upstreams'");
    let pair = authority.issue(Leaf { dns: &["backend.internal"], ..Leaf::default() });
    let Some(secure) = Secure::start(authority, &pair, "") else { return };
    let sidecar = secure.guarded("localhost", "ca = CA").start_alive();
    assert_insecure(&get(sidecar.address, "/told"));
    assert_logged(&sidecar, "certificate not valid for name");
    let sidecar = secure.guarded("127.0.0.1", "ca = CA, name = \"backend.internal\"").start();
    assert_eq!(get(sidecar.address, "/told").status, 200);
    let sidecar = secure.guarded("localhost", "ca = CA, name = \"other.internal\"").start_alive();
    assert_insecure(&get(sidecar.address, "/told"));
}

#[test]
fn an_address_in_the_url_is_looked_for_in_the_certificate() {
    let Some(secure) = Secure::good("") else { return };
    let sidecar = secure.guarded("127.0.0.1", "ca = CA").start();
    assert_eq!(get(sidecar.address, "/told").status, 200);
}

#[test]
fn an_ended_certificate_is_refused() {
    let authority = Authority::new("upstreams'");
    let pair = authority.issue(Leaf { dns: &["localhost"], ended: true, ..Leaf::default() });
    let Some(secure) = Secure::start(authority, &pair, "") else { return };
    let sidecar = secure.guarded("localhost", "ca = CA").start_alive();
    assert_insecure(&get(sidecar.address, "/told"));
    assert_logged(&sidecar, "certificate expired");
}

#[test]
fn our_client_certificate_is_shown_to_an_upstream_that_asks() {
    let Some(secure) = Secure::good("ssl_verify_client optional; ssl_client_certificate $client_ca;") else { return };
    let own = secure.authority.issue(Leaf { common: "sidecar-20", ..Leaf::default() });
    let (cert, key) = secure.files.pair("own", &own);
    let sidecar = secure.guarded("localhost", &format!("ca = CA, cert = {cert:?}, key = {key:?}")).start();
    assert!(get(sidecar.address, "/told").text().ends_with("[CN=sidecar-20]"));
    let without = secure.guarded("localhost", "ca = CA").start();
    assert!(get(without.address, "/told").text().ends_with("[]"));
}

#[test]
fn an_upstream_that_speaks_no_tls_gets_no_request() {
    let Some(plain) = Nginx::start("") else { return };
    let files = Files::new();
    let ca = files.write("ca.pem", Authority::new("any").pem());
    let sidecar = guarding("localhost", plain.address.port(), &format!("ca = {ca:?}")).start_alive();
    assert_insecure(&get(sidecar.address, "/files/secret"));
    assert_logged(&sidecar, "InvalidContentType");
}

#[test]
fn the_health_check_asks_over_tls() {
    let Some(secure) = Secure::good("location /health { return 200 '{\"status\": \"healthy\"}'; }") else { return };
    let health = "{ path = \"/health\", interval = \"1s\", json = { status = \"healthy\" } }";
    let sidecar = secure.guarded("localhost", "ca = CA").set("inbound", "health", health).start();
    assert_eq!(sidecar.metric("countersign_upstream_up", &[]), 1.0);
}

#[test]
fn an_answer_that_only_an_end_ends_is_whole_with_close_notify_and_cut_without() {
    let authority = Authority::new("upstreams'");
    let files = Files::new();
    let ca = files.write("ca.pem", authority.pem());
    for clean in [true, false] {
        let address = upstream(&authority.server(), move |mut stream: Served| {
            if !read_head(&mut stream) {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\nhalf");
            if clean {
                stream.conn.send_close_notify();
            }
            let _ = stream.flush();
        });
        let sidecar = guarding("localhost", address.port(), &format!("ca = {ca:?}")).start();
        let answer = get(sidecar.address, "/files/x");
        assert_eq!((answer.status, answer.text().as_str(), answer.body.complete), (200, "half", clean));
    }
}

#[test]
fn a_stray_answer_on_a_pooled_connection_is_never_reused() {
    let authority = Authority::new("upstreams'");
    let (asked, turn) = (AtomicUsize::new(0), Arc::new(Barrier::new(2)));
    let here = Arc::clone(&turn);
    let address = upstream(&authority.server(), move |mut stream: Served| {
        let answer = |text: &str| format!("HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n{text}");
        while read_head(&mut stream) {
            let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            let _ = stream.write_all(answer(if is_first { "first" } else { "fresh" }).as_bytes());
            let _ = stream.flush();
            if is_first {
                here.wait();
                let _ = stream.write_all(answer("stray").as_bytes());
                let _ = stream.flush();
                here.wait();
            }
        }
    });
    let files = Files::new();
    let ca = files.write("ca.pem", authority.pem());
    let sidecar = guarding("localhost", address.port(), &format!("ca = {ca:?}")).set("", "workers", "1").start();
    assert_eq!(get(sidecar.address, "/x").text(), "first");
    turn.wait();
    turn.wait();
    for _ in 0..3 {
        assert_eq!(get(sidecar.address, "/x").text(), "fresh");
    }
}

#[test]
fn where_http_1_is_chosen_for_http_2_connections_are_opened_side_by_side() {
    let authority = Authority::new("upstreams'");
    let (is_known, begun) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let chosen = Arc::clone(&is_known);
    let address = upstream(&authority.server(), move |mut stream: Served| {
        if chosen.load(Ordering::Relaxed) {
            // No handshake before there are two to be made.
            begun.fetch_add(1, Ordering::Relaxed);
            eventually("another connection", || (begun.load(Ordering::Relaxed) >= 2).then_some(()));
        }
        if read_head(&mut stream) {
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            let _ = stream.flush();
        }
    });
    let files = Files::new();
    let ca = files.write("ca.pem", authority.pem());
    let sidecar = guarding("localhost", address.port(), &format!("ca = {ca:?}"))
        .set("inbound", "upstream_http2", "true")
        // One check, before: the next would be a second connection too.
        .set("inbound", "health", "{ path = \"/health\", interval = \"1h\" }")
        .set("", "workers", "1")
        .start();
    assert_eq!(get(sidecar.address, "/x").text(), "ok");
    is_known.store(true, Ordering::Relaxed);
    let mut clients = [Client::connect(sidecar.address), Client::connect(sidecar.address)];
    for client in &mut clients {
        client.send("GET /x HTTP/1.1\r\nHost: b\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn another_ca_after_a_reload_counts_for_kept_connections_too() {
    let Some(secure) = Secure::good("") else { return };
    let sidecar = secure.guarded("localhost", "ca = CA").set("", "workers", "1").start();
    let first = get(sidecar.address, "/told").text();
    assert_eq!(get(sidecar.address, "/told").text(), first);
    secure.files.replace("ca.pem", Authority::new("another").pem());
    eventually("the other CA to count", || {
        let answer = get(sidecar.address, "/told");
        (answer.status == 502).then(|| assert_insecure(&answer))
    });
    secure.files.replace("ca.pem", secure.authority.pem());
    eventually("the old CA to count again", || (get(sidecar.address, "/told").status == 200).then_some(()));
}

#[test]
fn a_redirect_that_names_the_tls_upstream_is_rewritten_to_the_clients_way() {
    let Some(secure) = Secure::good("location /go { return 307 https://localhost:$server_port/there; }") else {
        return;
    };
    let sidecar = secure.guarded("localhost", "ca = CA").start();
    let answer = get_with(sidecar.address, "/go", "");
    assert_eq!(answer.fields.all("location"), ["http://backend.test/there"]);
}

#[test]
fn what_waits_for_a_restart_goes_on_as_it_is() {
    let Some(secure) = Secure::good("") else { return };
    let other = secure.files.write("other.pem", Authority::new("another").pem());
    let (cert, key) = secure.files.pair("own", &secure.authority.server());
    let sidecar = secure
        .guarded("localhost", "ca = CA")
        .set("inbound", "tls", format!("{{ cert = {cert:?}, key = {key:?} }}"))
        .start();
    let connector = Connector::trusting(&secure.authority);
    let status = || connector.get(sidecar.address, "/told", "").unwrap();
    assert_eq!(status(), 200);
    let ca = format!("{:?}", secure.files.path("ca.pem"));
    let text = sidecar.config().replace(&ca, &format!("{other:?}"));
    let elsewhere = text.replace(&sidecar.address.to_string(), &free_address().to_string());
    let (moved_cert, moved_key) = secure.files.pair("moved", &secure.authority.server());
    let elsewhere = elsewhere
        .replace(&format!("{cert:?}"), &format!("{moved_cert:?}"))
        .replace(&format!("{key:?}"), &format!("{moved_key:?}"));
    for (text, generation) in [(text, 2.0), (elsewhere, 3.0)] {
        std::fs::write(sidecar.config_path(), text).unwrap();
        eventually("the reload", || {
            (sidecar.metric("countersign_config_generation", &[]) == generation).then_some(())
        });
        assert_eq!(status(), 200, "{}", sidecar.process.stderr.text());
    }
    assert!(sidecar.process.stderr.text().contains("needs a restart"), "{}", sidecar.process.stderr.text());
}
