use super::*;
use crate::admin::Readiness;
use crate::telemetry::metrics::Metrics;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

async fn start() -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = AdminState {
        metrics: Arc::new(Metrics::new(1, [])),
        readiness: Arc::new(Readiness::new(vec![])),
        allowed_hosts: Arc::default(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, Arc::new(state), async { drop(stopped.await) }));
    (address, stop, server)
}

async fn connect(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// What comes until the other side ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // a reset is an end too
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

const ASK: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_connection_answers_one_request_after_another() {
    let (address, _stop, _server) = start().await;
    let two = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n{ASK}");
    let text = rest(&mut connect(address, &two).await).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_its_connection() {
    let (address, _stop, _server) = start().await;
    for begun in ["", "GET /metrics HT", "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: "] {
        let began = Instant::now();
        let mut stream = connect(address, begun).await;
        assert!(!rest(&mut stream).await.contains("200"), "{begun:?}");
        assert!(began.elapsed() >= HEAD_TIMEOUT && began.elapsed() < LIFETIME, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn beyond_the_limit_newcomers_are_closed_and_a_place_that_is_free_again_is_given() {
    let (address, _stop, _server) = start().await;
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = connect(address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        // answered: it is counted
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    assert_eq!(rest(&mut connect(address, ASK).await).await, "");
    held.clear();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !rest(&mut connect(address, ASK).await).await.contains("200 OK") {
        assert!(std::time::Instant::now() < deadline, "no place became free");
    }
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let (address, _stop, _server) = start().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(2 * MAX_HEAD));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(2 * MAX_HEADERS));
    for request in [long, many] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // the refusal may come while we still write
        let _ = stream.write_all(request.as_bytes()).await;
        let text = rest(&mut stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert!(rest(&mut connect(address, ASK).await).await.contains("200 OK"));
}

#[tokio::test]
async fn an_order_to_stop_ends_idle_connections_and_the_server() {
    let (address, stop, server) = start().await;
    let mut idle = connect(address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    stop.send(()).unwrap();
    server.await.unwrap();
    rest(&mut idle).await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}
