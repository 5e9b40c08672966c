//! Several upstreams of one listener: who gets what, who is taken out and let back in, and what a client notices.

mod killed;

use super::support::nginx::Nginx;
use super::support::raw::{Client, exchange, get};
use super::support::recorder::{Recorded, Recorder, Then};
use super::support::refusal::assert_own_failure;
use super::support::sidecar::{Builder, Sidecar, countersign};
use super::support::{KEY_A, eventually, free_address, sign};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A sidecar in front of these, one worker so that turns are exact.
fn before(upstreams: &[SocketAddr]) -> Builder {
    let list = upstreams.iter().map(|address| format!("\"http://{address}\"")).collect::<Vec<_>>().join(", ");
    Builder::guarding(upstreams[0]).set("inbound", "upstream", format!("[{list}]")).set("", "workers", "1")
}

fn addresses(upstreams: &[Recorder]) -> Vec<SocketAddr> {
    upstreams.iter().map(|upstream| upstream.address).collect()
}

/// Requests with this mark that each has got.
fn shares(upstreams: &[Recorder], mark: &str) -> Vec<usize> {
    upstreams.iter().map(|upstream| upstream.marked(mark).len()).collect()
}

/// The one request with this mark, whole, and where it went.
#[track_caller]
fn the_one(upstreams: &[Recorder], mark: &str) -> (SocketAddr, Recorded) {
    let shares = shares(upstreams, mark);
    assert_eq!(shares.iter().sum::<usize>(), 1, "{mark} came to {shares:?}");
    let at = upstreams.iter().zip(shares).find(|(_, count)| *count == 1).unwrap().0;
    (at.address, at.the(mark))
}

/// So many requests in a row on one connection; each must be answered 200.
#[track_caller]
fn in_a_row(sidecar: &Sidecar, target: &str, requests: usize) {
    let mut client = Client::connect(sidecar.address);
    for _ in 0..requests {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
    }
}

fn up(sidecar: &Sidecar, upstream: SocketAddr) -> f64 {
    sidecar.metric("countersign_upstream_up", &[&format!("upstream=\"{upstream}\"")])
}

/// Waits until this upstream's checks say so.
#[track_caller]
fn wait_until_up(sidecar: &Sidecar, upstream: SocketAddr, is_up: bool) {
    let value = f64::from(u8::from(is_up));
    eventually(&format!("{upstream} up: {is_up}"), || {
        let label = format!("upstream=\"{upstream}\"");
        let known = sidecar.metrics().lines().any(|line| {
            line.starts_with("countersign_upstream_up{")
                && line.contains(&label)
                && line.ends_with(&format!(" {value}"))
        });
        known.then_some(())
    });
}

#[track_caller]
fn readyz(sidecar: &Sidecar) -> (u16, serde_json::Value) {
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", sidecar.admin);
    let answer = exchange(sidecar.admin, request);
    (answer.status, answer.json())
}

#[test]
fn idle_upstreams_share_equally() {
    let upstreams = [Recorder::plain(), Recorder::plain(), Recorder::plain()];
    let sidecar = before(&addresses(&upstreams)).start();
    for upstream in addresses(&upstreams) {
        wait_until_up(&sidecar, upstream, true);
    }
    in_a_row(&sidecar, "/share", 30);
    assert_eq!(shares(&upstreams, "/share"), [10, 10, 10]);
}

#[test]
fn an_upstream_that_is_busy_gets_nothing_while_others_are_idle() {
    let release = Arc::new(AtomicBool::new(false));
    let held = release.clone();
    let slow = Recorder::with(move |exchange| {
        while exchange.request.target == "/held" && !held.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        exchange.reply(200, "slow")
    });
    let upstreams = [slow, Recorder::plain(), Recorder::plain()];
    let sidecar = before(&addresses(&upstreams)).start();
    for upstream in addresses(&upstreams) {
        wait_until_up(&sidecar, upstream, true);
    }
    // One after the other, until the slow one has got one.
    let mut clients = Vec::new();
    while upstreams[0].marked("/held").is_empty() {
        let before: usize = shares(&upstreams, "/held").iter().sum();
        let mut client = Client::connect(sidecar.address);
        client.send("GET /held HTTP/1.1\r\nHost: b\r\n\r\n");
        eventually("it to arrive", || (shares(&upstreams, "/held").iter().sum::<usize>() > before).then_some(()));
        if upstreams[0].marked("/held").is_empty() {
            assert_eq!(client.answer().status, 200);
        }
        clients.push(client);
    }
    let label = format!("upstream=\"{}\"", upstreams[0].address);
    assert_eq!(sidecar.metric("countersign_upstream_outstanding_requests", &[&label]), 1.0);
    in_a_row(&sidecar, "/others", 20);
    assert_eq!(shares(&upstreams, "/others"), [0, 10, 10]);
    release.store(true, Ordering::Relaxed);
    assert_eq!(clients.last_mut().unwrap().answer().text(), "slow");
    eventually("the held request to end", || {
        (sidecar.metric("countersign_upstream_outstanding_requests", &[&label]) == 0.0).then_some(())
    });
    in_a_row(&sidecar, "/again", 30);
    assert_eq!(shares(&upstreams, "/again"), [10, 10, 10]);
}

#[test]
fn one_whose_health_says_something_else_is_taken_out_and_let_back_in() {
    let says = Arc::new(Mutex::new("healthy"));
    let telling = says.clone();
    let sick = Recorder::with(move |exchange| match exchange.request.target.as_str() {
        "/api/health" => {
            let says = *telling.lock().unwrap_or_else(PoisonError::into_inner);
            exchange.reply(200, format!("{{\"status\":\"{says}\",\"version\":3}}"))
        }
        _ => exchange.reply(200, "sick"),
    });
    let well = || {
        Recorder::with(|exchange| match exchange.request.target.as_str() {
            "/api/health" => exchange.reply(200, "{\"status\":\"healthy\"}"),
            _ => exchange.reply(200, "well"),
        })
    };
    let upstreams = [sick, well(), well()];
    let sidecar = before(&addresses(&upstreams))
        .set(
            "inbound",
            "health",
            "{ path = \"/api/health\", interval = \"1s\", expect = 200, json = { status = \"healthy\" } }",
        )
        .start();
    for upstream in addresses(&upstreams) {
        wait_until_up(&sidecar, upstream, true);
    }
    assert_eq!(readyz(&sidecar).1.get("notes"), None);
    *says.lock().unwrap() = "degraded";
    wait_until_up(&sidecar, upstreams[0].address, false);
    in_a_row(&sidecar, "/without", 12);
    assert_eq!(shares(&upstreams, "/without"), [0, 6, 6]);
    let (status, answer) = readyz(&sidecar);
    assert_eq!((status, &answer["ready"]), (200, &true.into()), "{answer}");
    assert_eq!(answer["upstreams"].as_array().unwrap().len(), 3, "{answer}");
    assert_eq!(answer["upstreams"][0]["state"], "down");
    assert!(answer["notes"][0].as_str().unwrap().contains(&upstreams[0].address.to_string()), "{answer}");
    *says.lock().unwrap() = "healthy";
    wait_until_up(&sidecar, upstreams[0].address, true);
    in_a_row(&sidecar, "/restored", 12);
    assert_eq!(shares(&upstreams, "/restored"), [4, 4, 4]);
    assert_eq!(readyz(&sidecar).1.get("notes"), None);
}

#[test]
fn what_could_not_be_sent_to_one_goes_to_the_next_whole_and_once() {
    let upstreams = [Recorder::plain(), Recorder::plain()];
    // Connects, and so passes the check; then it is gone, and counts as up until the next one.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = gone.local_addr().unwrap();
    let sidecar = before(&[dead, upstreams[0].address, upstreams[1].address]).start();
    wait_until_up(&sidecar, dead, true);
    drop(gone);
    let body = "b".repeat(70_000);
    for n in 0..12 {
        let (method, host) = if n % 2 == 0 { ("POST", "Host: b\r\n") } else { ("PATCH", "") };
        let version = if host.is_empty() { "1.0" } else { "1.1" };
        let length = body.len();
        let request = format!("{method} /whole-{n}. HTTP/{version}\r\n{host}Content-Length: {length}\r\n\r\n{body}");
        assert_eq!(exchange(sidecar.address, request).status, 200, "{n}");
    }
    for n in 0..12 {
        let mark = format!("/whole-{n}.");
        let (at, request) = the_one(&upstreams, &mark);
        assert!(request.body.complete && request.body.bytes == body.as_bytes());
        let host = if n % 2 == 0 { "b" } else { &at.to_string() };
        assert_eq!(request.fields.one("host"), Some(host), "a request without Host gets that of its upstream");
    }
    assert!(sidecar.metric("countersign_upstream_passed_over_total", &[]) >= 1.0);
    assert_eq!(sidecar.metric("countersign_upstream_faults_total", &[]), 0.0, "nobody was answered a fault");
    assert!(upstreams.iter().all(|upstream| upstream.faults().is_empty()));
}

#[test]
fn a_redirect_of_whichever_upstream_leads_back_to_the_address_the_client_used() {
    let redirecting = || {
        Recorder::with(|exchange| {
            let own = exchange.stream.inner.local_addr().unwrap();
            exchange.send(format!("HTTP/1.1 307 X\r\nLocation: http://{own}/next\r\nContent-Length: 0\r\n\r\n"));
            Then::Next
        })
    };
    let upstreams = [redirecting(), redirecting()];
    let sidecar = before(&addresses(&upstreams)).start();
    let mut client = Client::connect(sidecar.address);
    for _ in 0..4 {
        client.send("GET /here HTTP/1.1\r\nHost: front.test:8001\r\n\r\n");
        assert_eq!(client.answer().fields.one("location"), Some("http://front.test:8001/next"));
    }
    assert_eq!(shares(&upstreams, "/here"), [2, 2]);
}

#[test]
fn a_tunnel_stays_at_its_upstream_and_counts_there() {
    let sick = Arc::new(AtomicBool::new(false));
    let fails = sick.clone();
    let echoing = move |name: &'static str, fails: Arc<AtomicBool>| {
        Recorder::with(move |exchange| match exchange.request.target.as_str() {
            "/health" if fails.load(Ordering::Relaxed) => exchange.reply(503, ""),
            "/ws" => {
                exchange.send(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nServer: {name}\r\n\r\n"
                ));
                loop {
                    let bytes = std::mem::take(&mut exchange.stream.ahead);
                    if !bytes.is_empty() {
                        exchange.send([name.as_bytes(), b":", &bytes].concat());
                    }
                    if !matches!(exchange.stream.fill(), Ok(true)) {
                        return Then::Close;
                    }
                }
            }
            _ => exchange.reply(200, name),
        })
    };
    let upstreams = [echoing("first", fails), echoing("second", Arc::default())];
    let sidecar = before(&addresses(&upstreams))
        .set("inbound", "health", "{ path = \"/health\", interval = \"1s\", expect = 200 }")
        .start();
    for upstream in addresses(&upstreams) {
        wait_until_up(&sidecar, upstream, true);
    }
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(sidecar.address);
        client.send("GET /ws HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        let (status, _, fields) = client.try_head().unwrap();
        assert_eq!(status, 101);
        tunnels.push((client, fields.one("server").unwrap().to_owned()));
    }
    assert_ne!(tunnels[0].1, tunnels[1].1, "one each");
    for upstream in addresses(&upstreams) {
        let label = format!("upstream=\"{upstream}\"");
        assert_eq!(sidecar.metric("countersign_upstream_outstanding_requests", &[&label]), 1.0);
    }
    sick.store(true, Ordering::Relaxed);
    wait_until_up(&sidecar, upstreams[0].address, false);
    for (client, at) in &mut tunnels {
        client.send("hello");
        let expected = format!("{at}:hello");
        while client.stream.ahead.len() < expected.len() {
            assert!(client.stream.fill().unwrap(), "the tunnel ended");
        }
        assert_eq!(client.stream.ahead, expected.as_bytes());
    }
    in_a_row(&sidecar, "/plain", 4);
    assert_eq!(shares(&upstreams, "/plain"), [0, 4]);
    drop(tunnels);
    eventually("the tunnels to be counted no more", || {
        (sidecar.metric("countersign_upstream_outstanding_requests", &[]) == 0.0).then_some(())
    });
}

#[test]
fn where_none_is_up_the_answer_is_502_until_one_listens_again() {
    let upstreams = [free_address(), free_address(), free_address()];
    let sidecar = before(&upstreams).start_alive();
    for upstream in upstreams {
        wait_until_up(&sidecar, upstream, false);
    }
    for request in
        ["GET /a HTTP/1.1\r\nHost: b\r\n\r\n", "POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi"]
    {
        let answer = exchange(sidecar.address, request);
        assert_eq!(assert_own_failure(&answer, 502), "upstream_unreachable");
    }
    let (status, answer) = readyz(&sidecar);
    assert_eq!((status, answer["reasons"].as_array().unwrap().len()), (503, 3), "{answer}");
    // The first request finds the one that listens, before any check does.
    let Some(_nginx) = Nginx::start_at(upstreams[1], "") else { return };
    for _ in 0..4 {
        assert_eq!(get(sidecar.address, "/back").status, 200);
    }
    wait_until_up(&sidecar, upstreams[1], true);
    assert_eq!(readyz(&sidecar).0, 200);
    assert_eq!((up(&sidecar, upstreams[0]), up(&sidecar, upstreams[2])), (0.0, 0.0));
}

#[test]
fn check_shows_every_upstream() {
    let upstreams = [free_address(), free_address()];
    let sidecar = before(&upstreams).start_alive();
    let run = |arguments: &[&str]| {
        let output = countersign().args(arguments).arg(sidecar.config_path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown: serde_json::Value = serde_json::from_str(&run(&["--json", "check"])).unwrap();
    let urls = upstreams.map(|address| format!("http://{address}"));
    assert_eq!(shown["inbound"][0]["upstreams"], serde_json::json!(urls), "{shown}");
    let text = run(&["check"]);
    assert!(urls.iter().all(|url| text.contains(url)), "{text}");
}

#[test]
fn an_outbound_listener_shares_and_passes_over_in_the_same_way_and_signs_each_request_once() {
    let upstreams = [Recorder::plain(), Recorder::plain()];
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = gone.local_addr().unwrap();
    let signing = free_address();
    let list =
        [dead, upstreams[0].address, upstreams[1].address].map(|address| format!("\"http://{address}\"")).join(", ");
    let sidecar = Builder::guarding(upstreams[0].address)
        .set("", "workers", "1")
        .set("service", "id", "\"npu-worker\"")
        .set("[outbound]", "listen", format!("\"{signing}\""))
        .set("[outbound]", "upstream", format!("[{list}]"))
        .start();
    wait_until_up(&sidecar, dead, true);
    drop(gone);
    let mut client = Client::connect(signing);
    for n in 0..12 {
        client.send(format!("POST /out-{n}. HTTP/1.1\r\nHost: {signing}\r\nContent-Length: 4\r\n\r\nbody"));
        assert_eq!(client.answer().status, 200, "{n}");
    }
    assert!(sidecar.metric("countersign_upstream_passed_over_total", &[]) >= 1.0);
    for n in 0..12 {
        let path = format!("/out-{n}.");
        let (at, request) = the_one(&upstreams, &path);
        assert_eq!(request.fields.one("host"), Some(at.to_string().as_str()), "the Host of where it went");
        assert_eq!(request.body.bytes, b"body");
        let timestamp = request.fields.one("x-service-timestamp").unwrap().parse().unwrap();
        let expected = sign::signature(KEY_A, "npu-worker", "POST", &path, timestamp);
        assert_eq!(request.fields.all("x-service-signature"), [expected.as_str()]);
    }
}
