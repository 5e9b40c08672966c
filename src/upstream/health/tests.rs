use super::*;
use crate::tls::TlsMaterials;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[test]
fn the_first_check_counts_as_it_is() {
    assert_eq!(Streak::default().step(true), HealthState::Up);
    assert_eq!(Streak::default().step(false), HealthState::Down);
}

#[test]
fn one_failure_is_no_outage_and_two_in_a_row_are() {
    let mut streak = Streak::default();
    let states: Vec<HealthState> =
        [true, false, true, false, false, false].into_iter().map(|ok| streak.step(ok)).collect();
    use HealthState::{Down, Up};
    assert_eq!(states, [Up, Up, Up, Up, Down, Down]);
}

#[test]
fn one_success_ends_an_outage() {
    let mut streak = Streak::default();
    streak.step(false);
    assert_eq!(streak.step(true), HealthState::Up);
    assert_eq!(streak.step(false), HealthState::Up, "and the next outage needs two failures again");
}

#[test]
fn doubt_is_settled_sooner_than_the_interval() {
    let mut streak = Streak::default();
    let (minute, tenth) = (Duration::from_secs(60), Duration::from_millis(100));
    streak.step(true);
    assert_eq!((streak.pause(minute), streak.pause(tenth)), (minute, tenth));
    streak.step(false);
    assert_eq!((streak.pause(minute), streak.pause(tenth)), (SOON, tenth));
}

/// An upstream that gives each connection this answer, and what it was asked first.
async fn upstream(answer: Vec<u8>) -> (Upstream, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 1024];
            let n = stream.read(&mut request).await.unwrap_or_default();
            let _ = asked.send(String::from_utf8_lossy(&request[..n]).into_owned());
            let _ = stream.write_all(&answer).await;
        }
    });
    (Upstream::http("127.0.0.1", port), requests)
}

fn check(json: &[(&str, &str)]) -> Health {
    let json: BTreeMap<_, _> = json.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    Health { path: "/api/health?deep=1".to_owned(), interval: Duration::from_millis(50), expect: 200, json }
}

async fn probe(answer: impl Into<Vec<u8>>, check: &Health) -> Result<(), String> {
    let (upstream, _requests) = upstream(answer.into()).await;
    probe::probe(&upstream, "name", Some(check), &TlsMaterials::default()).await.map_err(|fault| fault.to_string())
}

#[tokio::test]
async fn answers_as_expected_are_healthy_however_their_body_is_framed() {
    let json = check(&[("status", "healthy")]);
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"healthy\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"healthy\"}trailing",
        "HTTP/1.0 200 OK\r\n\r\n{\"status\":\"healthy\",\"more\":[1,2]}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"status\"\r\nb;x=1\r\n:\"healthy\"}\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"healthy\"}",
    ] {
        assert_eq!(probe(answer, &json).await, Ok(()), "{answer}");
    }
    assert_eq!(
        probe("HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", &check(&[])).await,
        Ok(()),
        "no body needed"
    );
    let other = Health { expect: 204, ..check(&[]) };
    assert_eq!(probe("HTTP/1.1 204 No Content\r\n\r\n", &other).await, Ok(()));
}

#[tokio::test]
async fn any_other_answer_is_not_and_says_why() {
    let json = check(&[("status", "healthy")]);
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(70_000));
    let long_head = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(70_000));
    for (answer, why) in [
        ("HTTP/1.1 500 Oh\r\n\r\n", "answered 500, expected 200"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"status\":\"broken\"}",
            "member \"status\" of the body is not \"healthy\"",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "member \"status\""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", "not a JSON object"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":", "broke before"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed (chunk)"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}", "broke before"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", "longer than 64 KiB"),
        (&long, "longer than 64 KiB"),
        (&long_head, "malformed (head_too_long)"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "malformed (content_length)"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "malformed (status_line)"),
        ("HTTP/1.1 200", "broke before"),
        ("", "broke before"),
    ] {
        let found = probe(answer, &json).await.unwrap_err();
        assert!(found.contains(why), "{}: {found}", &answer[..answer.len().min(80)]);
    }
}

#[tokio::test]
async fn the_question_is_a_plain_get_on_a_connection_of_its_own() {
    let (upstream, mut requests) = upstream(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).await;
    probe::probe(&upstream, "backend:80", Some(&check(&[])), &TlsMaterials::default()).await.unwrap();
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /api/health?deep=1 HTTP/1.1\r\nHost: backend:80\r\n"), "{request}");
    assert!(request.contains("\r\nConnection: close\r\n"), "{request}");
}

#[tokio::test]
async fn without_a_check_it_is_enough_to_accept_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::http("127.0.0.1", listener.local_addr().unwrap().port());
    assert!(probe::probe(&upstream, "x", None, &TlsMaterials::default()).await.is_ok());
    drop(listener);
    let fault = probe::probe(&upstream, "127.0.0.1:1", None, &TlsMaterials::default()).await.unwrap_err().to_string();
    assert!(fault.contains("cannot connect to 127.0.0.1:1"), "{fault}");
}

async fn becomes(health: &UpstreamHealth, state: HealthState) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while health.state() != state {
        assert!(Instant::now() < deadline, "never {state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_watch_sees_an_upstream_go_and_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = UpstreamHealth::new(Upstream::http("127.0.0.1", address.port()));
    assert_eq!(health.state(), HealthState::Unknown);
    let watch = tokio::spawn(Arc::clone(&health).watch(None, Arc::default));
    becomes(&health, HealthState::Up).await;
    assert!(health.down().is_none());
    drop(listener);
    health.suspect();
    becomes(&health, HealthState::Down).await;
    let down = health.down().unwrap();
    assert!(down.why.contains("cannot connect"), "{}", down.why);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let _listener = socket.listen(16).unwrap();
    becomes(&health, HealthState::Up).await;
    assert!(health.down().is_none());
    watch.abort();
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_is_down() {
    // accepts by the kernel, and never answers
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let health = UpstreamHealth::new(Upstream::http("127.0.0.1", listener.local_addr().unwrap().port()));
    let watch = tokio::spawn(Arc::clone(&health).watch(Some(check(&[])), Arc::default));
    becomes(&health, HealthState::Down).await;
    assert!(health.down().unwrap().why.contains("no answer within 1s"));
    watch.abort();
}

#[test]
fn suspicion_asks_once_and_only_where_it_matters() {
    let health = UpstreamHealth::new(Upstream::http("[::1]", 80));
    assert_eq!(health.name(), "[::1]:80");
    health.suspect();
    assert!(!health.suspected.load(Ordering::Relaxed), "it is to be checked anyway");
    health.note(HealthState::Up, None);
    health.suspect();
    assert!(health.suspected.load(Ordering::Relaxed));
}

#[tokio::test]
async fn why_it_is_down_holds_no_byte_that_an_http_2_server_chose() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let debug = b"chosen\nby the server";
    let mut frames = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    frames.extend([0, 0, 8 + debug.len() as u8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11]);
    frames.extend(debug);
    tokio::io::AsyncWriteExt::write_all(&mut theirs, &frames).await.unwrap();
    let upstream = Upstream::http("127.0.0.1", 80);
    let why = http2::ask(ours, &upstream, "a", &check(&[])).await.unwrap_err().to_string();
    assert!(why.contains("HTTP/2 error 0xb") && !why.contains("chosen"), "{why}");
}

#[test]
fn an_upstream_that_may_be_gone_is_suspected_and_one_that_is_slow_or_odd_is_not() {
    let suspected = UpstreamFault::ALL.into_iter().filter(|fault| {
        let health = UpstreamHealth::new(Upstream::http("[::1]", 80));
        health.note(HealthState::Up, None);
        health.suspect_after(*fault);
        health.is_suspected()
    });
    let gone = [UpstreamFault::Unreachable, UpstreamFault::ConnectTimeout, UpstreamFault::Tls, UpstreamFault::Closed];
    assert_eq!(suspected.collect::<Vec<_>>(), gone);
}
