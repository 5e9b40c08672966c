//! A client that sends exactly the bytes it is given, and reads one answer.

use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Longer than any case takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any answer here has.
const LONGEST: u64 = 1 << 20;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `X-Request-ID`, or the body's `request_id`: a request that could not be read has an id of the sidecar's own.
    pub(super) request_id: String,
    /// The body's `reason`: what a refused caller is told.
    pub(super) told: Option<String>,
}

/// Sends `bytes` from this loopback address and reads the answer up to the end of the connection.
pub(super) async fn call(to: SocketAddr, from: Ipv4Addr, bytes: &[u8]) -> io::Result<Answer> {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let mut stream = socket.connect(to).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        match stream.take(LONGEST).read_to_end(&mut answer).await {
            Err(error) if answer.is_empty() => Err(error),
            // A refusal may be followed by a reset: the request's rest was not read.
            Ok(_) | Err(_) => parse(&answer),
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn parse(answer: &[u8]) -> io::Result<Answer> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {what}"));
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| wrong("its head does not end"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let header = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"))
        .map(|(_, value)| value.trim().to_owned());
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let in_body = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Answer {
        status: status.ok_or_else(|| wrong("it has no status"))?,
        request_id: header.or_else(|| in_body("request_id")).unwrap_or_default(),
        told: in_body("reason"),
    })
}
